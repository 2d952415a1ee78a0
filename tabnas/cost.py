"""What an architecture costs. A cost maps widths to an integer; a limit on it makes an architecture feasible or not.

May import space.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Cost(Protocol):
    """What feasibility needs of a cost."""

    name: str
    """As in `limits: [{cost: NAME, limit: …}]` and in result.json."""

    def __call__(self, widths: Sequence[int]) -> int:
        """The cost of one architecture, from its L widths."""

    def many(self, widths: Tensor) -> Tensor:
        """The costs of many: widths (n, L) int64 → costs (n,) int64."""


class ParameterCount:
    """Number of weights and biases from the input representation to the output logits: Σ (in + 1)·out over its layers.

    As in the paper, embedding tables are not counted, and layer normalisation has no parameters.

    n_inputs: size of the input representation, embeddings included (Criteo: 13 + 26·39 = 1027).
    n_outputs: number of logits; 1 for two classes.

    >>> ParameterCount(1027, 1)((32, 144, 24))
    41153
    """

    name = "params"

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        self.n_inputs = n_inputs
        self.n_outputs = n_outputs

    def __call__(self, widths: Sequence[int]) -> int:
        total, before = 0, self.n_inputs
        for width in (*widths, self.n_outputs):
            total += (before + 1) * width
            before = width
        return total

    def many(self, widths: Tensor) -> Tensor:
        """widths (n, L) int64 → parameters (n,) int64."""
        first = (self.n_inputs + 1) * widths[:, 0]
        hidden = ((widths[:, :-1] + 1) * widths[:, 1:]).sum(dim=1)
        last = (widths[:, -1] + 1) * self.n_outputs
        return first + hidden + last
