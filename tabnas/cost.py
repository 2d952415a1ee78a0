"""What an architecture costs, and limits on it. A cost maps widths to an integer; V is what keeps to all limits.

May import space. Latency, which has to be measured, is in latency.py.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from tabnas.space import SearchSpace

IntOrTensor = TypeVar("IntOrTensor", int, Tensor)


class Cost(Protocol):
    """What a limit needs of a cost. It may not fall as a layer gets wider: V is empty if the smallest is too dear."""

    name: str
    """As in `limits: [{cost: NAME, limit: …}]` and in result.json."""
    scale: int
    """How many of the integer units counted here make one unit of `name`: 1000 nanoseconds are one `latency_us`."""

    def __call__(self, widths: Sequence[int]) -> int:
        """The cost of one architecture, from its L widths."""

    def many(self, widths: Tensor) -> Tensor:
        """The costs of many: widths (n, L) int64 → costs (n,) int64."""


class ChainCost(ABC):
    """A cost that is a sum over consecutive layers: what ChainProgram takes.

    n_inputs: size of the input representation, embeddings included (Criteo: 13 + 26·39 = 1027).
    n_outputs: number of logits; 1 for two classes.
    fixed: what every architecture costs beside its layers.
    """

    name: str
    scale = 1

    def __init__(self, n_inputs: int, n_outputs: int, fixed: int = 0) -> None:
        self.n_inputs, self.n_outputs, self.fixed = n_inputs, n_outputs, fixed

    @abstractmethod
    def layer(self, before: IntOrTensor, width: IntOrTensor, output: bool) -> IntOrTensor:
        """The cost, 0 or more, of a layer of `width` units on `before` inputs; int64 tensors broadcast.

        output: whether it is the output layer, which has no layer normalisation and no ReLU.
        """

    def __call__(self, widths: Sequence[int]) -> int:
        total, before = self.fixed, self.n_inputs
        for width in widths:
            total += self.layer(before, width, False)
            before = width
        return total + self.layer(before, self.n_outputs, True)

    def many(self, widths: Tensor) -> Tensor:
        """widths (n, L) int64 → costs (n,) int64."""
        ends = torch.tensor([self.n_inputs, self.n_outputs], device=widths.device).expand(len(widths), 2)
        before = torch.cat([ends[:, :1], widths[:, :-1]], dim=1)
        hidden = self.layer(before, widths, False).sum(dim=1)
        return hidden + self.layer(widths[:, -1], ends[:, 1], True) + self.fixed

    def terms(self, space: SearchSpace) -> list[Tensor]:
        """The cost of each of the L + 1 layers by the choices on both sides, int64.

        (1, C_1) for the first, (C_i, C_i+1) between, (C_L, 1) for the output layer. An architecture's cost is the sum
        of one entry of each, and `fixed`.
        """
        sizes = [torch.tensor(s) for s in ((self.n_inputs,), *space.choices, (self.n_outputs,))]
        return [
            self.layer(before[:, None], width[None, :], i == space.n_layers)
            for i, (before, width) in enumerate(itertools.pairwise(sizes))
        ]


class ParameterCount(ChainCost):
    """Number of weights and biases from the input representation to the output logits: Σ (in + 1)·out over its layers.

    Layer normalisation has no parameters. As in the paper, embedding tables are not counted unless their number of
    entries is given as n_embedding_params.

    >>> ParameterCount(1027, 1)((32, 144, 24))
    41153
    """

    name = "params"

    def __init__(self, n_inputs: int, n_outputs: int, n_embedding_params: int = 0) -> None:
        super().__init__(n_inputs, n_outputs, fixed=n_embedding_params)

    def layer(self, before: IntOrTensor, width: IntOrTensor, output: bool) -> IntOrTensor:
        return (before + 1) * width


class Flops(ChainCost):
    """Multiply-accumulates of one row's forward pass through the layers' weights: Σ in·out.

    One multiply-accumulate counts as one. Biases, layer normalisation, ReLU and embedding look-ups are left out, as
    usual; they are of the order of the widths, not of their products.

    >>> Flops(2, 1)((4, 2))
    18
    """

    name = "flops"

    def layer(self, before: IntOrTensor, width: IntOrTensor, output: bool) -> IntOrTensor:
        return before * width


class Limits:
    """Limits that must all hold.

    costs, at_most: one or several costs, and as many limits in their integer units.
    """

    def __init__(self, costs: Cost | Sequence[Cost], at_most: int | Sequence[int]) -> None:
        self.costs: tuple[Cost, ...] = tuple(costs) if isinstance(costs, Sequence) else (costs,)
        self.at_most: tuple[int, ...] = tuple(at_most) if isinstance(at_most, Sequence) else (at_most,)
        if len(self.costs) != len(self.at_most) or not self.costs:
            raise ValueError(f"one limit for each cost, got {len(self.costs)} costs and {len(self.at_most)} limits")

    def allow(self, widths: Sequence[int]) -> bool:
        """Whether an architecture is feasible."""
        return all(cost(widths) <= most for cost, most in zip(self.costs, self.at_most, strict=True))

    def allow_many(self, widths: Tensor) -> Tensor:
        """widths (n, L) int64 → feasible (n,) bool."""
        within = [cost.many(widths) <= most for cost, most in zip(self.costs, self.at_most, strict=True)]
        return torch.stack(within).all(dim=0) if len(within) > 1 else within[0]

    def amounts(self, widths: Sequence[int]) -> Mapping[str, float]:
        """Each cost of an architecture by name, in the unit of its name."""
        return {cost.name: cost(widths) if cost.scale == 1 else cost(widths) / cost.scale for cost in self.costs}
