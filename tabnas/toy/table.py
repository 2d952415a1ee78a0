"""Known losses in place of a network and its data. May import errors, space and joint."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tabnas.errors import UserError, require_integer
from tabnas.space import SearchSpace, Widths, hyphenated
from tabnas.toy.joint import position


class LossTable:
    """The loss of every architecture of a space.

    losses: by architecture, as the paper writes it: {"2-2": 0.9, …}.
    n_inputs, n_outputs: of the networks that the table stands for, as their cost depends on them.

    Raises UserError for anything else, and if an architecture of the space is missing.
    """

    steps_per_epoch = 1  # there are no rows to go through; the paper, too, counts the toy's steps as epochs (Figure 1)

    def __init__(self, losses: object, n_inputs: object, n_outputs: object, space: SearchSpace) -> None:
        key, remedy = "dataset.losses", "see conf/dataset/toy.yaml"
        if not isinstance(losses, Mapping):
            raise UserError(key, "must map architectures to losses", losses, remedy)
        for name, loss in losses.items():
            if not isinstance(loss, int | float) or isinstance(loss, bool) or not math.isfinite(loss):
                raise UserError(f"{key}.{name}", "must be a number", loss, remedy)
        missing = [hyphenated(widths) for widths in space if hyphenated(widths) not in losses]
        if missing:
            raise UserError(key, f"must hold every architecture of the space, {missing[0]} too", list(losses), remedy)
        require_integer("dataset.n_inputs", n_inputs, low=1, remedy="the paper has 2")
        require_integer("dataset.n_outputs", n_outputs, low=1, remedy="the paper has 1")
        assert isinstance(n_inputs, int)
        assert isinstance(n_outputs, int)
        self.space, self.n_inputs, self.n_outputs = space, n_inputs, n_outputs
        self.losses: dict[Widths, float] = {widths: float(losses[hyphenated(widths)]) for widths in space}
        self.by_index = torch.tensor(list(self.losses.values()))
        """(S,) float32, in the order of the space."""

    def loss(self, children: Tensor) -> Tensor:
        """The loss of each: children (..., L) choice indices → (...)."""
        return self.by_index.take(position(children, self.space))

    def best(self, among: Sequence[Widths]) -> Widths:
        """The architecture of the smallest loss, the first in the order of the space where there are several."""
        return min(among, key=lambda widths: self.losses[widths])
