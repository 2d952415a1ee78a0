"""Tables in memory.

Shapes: n rows, d numerical and c categorical columns; in a block, n is a whole number of minibatches.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tabnas.errors import UserError


class Rows(NamedTuple):
    """Some rows of a table."""

    numerical: Tensor
    """(n, d) float32."""
    categorical: Tensor
    """(n, c) ids from 0 within each column, of the narrowest integer type that holds them."""
    target: Tensor
    """(n,) int64 class index."""

    @property
    def n_rows(self) -> int:
        return len(self.target)

    def take(self, index: Tensor) -> "Rows":
        """The rows at `index` (k,) int64, in its order."""
        return Rows(*(column.index_select(0, index) for column in self))

    def split(self, size: int) -> list["Rows"]:
        """Consecutive pieces of `size` rows, without copying; the last may be shorter."""
        return [Rows(*piece) for piece in zip(*(column.split(size) for column in self), strict=True)]


class Block(NamedTuple):
    """The rows of several consecutive steps, handed over at once."""

    train: Rows
    valid: Rows | None
    """As many minibatches as `train` for the RL steps; None in stand-alone training."""


@dataclass(frozen=True)
class Table:
    """A classification table, every column encoded as numbers."""

    rows: Rows
    cardinalities: tuple[int, ...]
    """Number of values of each categorical column."""
    classes: tuple[str, ...]

    @property
    def n_numerical(self) -> int:
        return self.rows.numerical.shape[1]

    @property
    def n_outputs(self) -> int:
        """Logits of a network for it: one for two classes, else one per class."""
        return 1 if len(self.classes) == 2 else len(self.classes)

    @staticmethod
    def from_arrays(
        name: str,
        numerical: NDArray[np.floating] | None,
        categorical: NDArray[np.integer] | None,
        target: NDArray[np.integer],
        classes: tuple[str, ...],
    ) -> "Table":
        """numerical (n, d) or None, categorical ids (n, c) or None, target (n,) index into classes."""
        if len(classes) < 2:
            raise UserError(f"dataset={name}", "must have at least two classes", list(classes), "choose another target")
        n = len(target)
        numerical = np.empty((n, 0), np.float32) if numerical is None else numerical
        categorical = np.empty((n, 0), np.uint8) if categorical is None else categorical
        cardinalities = tuple(int(column.max()) + 1 for column in categorical.T)
        width = np.min_scalar_type(max(cardinalities, default=1))
        ids = categorical.astype(np.uint8 if width == np.uint8 else np.int32)
        rows = Rows(
            torch.from_numpy(numerical.astype(np.float32)),
            torch.from_numpy(ids),
            torch.from_numpy(target.astype(np.int64)),
        )
        return Table(rows, cardinalities, classes)
