"""Tables ready for training: split, and every column encoded as numbers.

Shapes: n rows, d numerical and c categorical columns; in a block, n is a whole number of minibatches.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from tabnas.errors import UserError, require_integer, require_number
from tabnas.task import Classification, Task

MISSING, RARE, UNSEEN, N_RESERVED = 0, 1, 2, 3
"""Ids in a categorical column with a vocabulary: no value; a value too rare in training for an id of its own; a value
that training did not have. The vocabulary's own values follow."""


class Rows(NamedTuple):
    """Some rows of a table, in memory or mapped from disk."""

    numerical: Tensor
    """(n, d) float32."""
    categorical: Tensor
    """(n, c) ids from 0 within each column, uint8 or int32."""
    target: Tensor
    """(n,) int64 class index, or float32 standardised value; see tabnas.task. On disk a class index may be uint8."""
    weight: Tensor | None = None
    """(n,) float32 ≥ 0: how much a row counts in every loss and metric; None where all count alike."""

    @property
    def n_rows(self) -> int:
        return len(self.target)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Rows":
        """The same of every column."""
        weight = None if self.weight is None else function(self.weight)
        return Rows(function(self.numerical), function(self.categorical), function(self.target), weight)

    def take(self, index: Tensor) -> "Rows":
        """The rows at `index` (k,) int64, in its order."""
        return self.map(lambda column: column.index_select(0, index))

    def slice(self, start: int, stop: int) -> "Rows":
        """The rows from `start` up to `stop`, without copying."""
        return self.map(lambda column: column[start:stop])

    def split(self, size: int) -> list["Rows"]:
        """Consecutive pieces of `size` rows, without copying; the last may be shorter."""
        pieces = ([None] * -(-self.n_rows // size) if column is None else column.split(size) for column in self)
        return [Rows(*piece) for piece in zip(*pieces, strict=True)]


class Split(NamedTuple):
    """Row numbers of each split, (n,) int64."""

    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    test: NDArray[np.int64]
    """Empty where no rows are held out."""


class Block(NamedTuple):
    """The rows of several consecutive steps, handed over at once."""

    train: Rows
    valid: Rows | None
    """As many minibatches as `train` for the RL steps; None in stand-alone training."""


@dataclass(frozen=True)
class Column:
    """What became of a column of the source, for the data report."""

    name: str
    kind: str
    """numerical, categorical, boolean, date, target, weight, split, time; what else the source calls it."""
    missing: float
    """Share of the rows without a value."""
    n_values: int | None
    """Distinct values, where they were counted."""
    became: str
    """In words: "standardised", "embedding of 17 values", "dropped: constant", …"""


@dataclass(frozen=True)
class Table:
    """A table, split into training, validation and test rows, every column encoded as numbers."""

    train: Rows
    valid: Rows
    cardinalities: tuple[int, ...]
    """Number of ids of each categorical column."""
    task: Task
    columns: tuple[Column, ...] = ()
    """Of the source, in its order; empty where the source has nothing to tell."""
    encoding: dict[str, Any] | None = None
    """What was fitted to the training split, as JSON can hold it: enough to encode new rows in the same way."""
    has_reserved_ids: bool = False
    """Whether ids begin with MISSING, RARE and UNSEEN in every categorical column."""
    test: Rows | None = None
    """Held out: neither the search nor the choice of a network looks at them. None where there are none."""

    @property
    def n_numerical(self) -> int:
        return self.train.numerical.shape[1]

    @staticmethod
    def from_arrays(
        name: str,
        numerical: NDArray[np.floating] | None,
        categorical: NDArray[np.integer] | None,
        target: NDArray[np.integer],
        classes: tuple[str, ...],
        *,
        val_fraction: float = 0.2,
        test_fraction: float = 0.0,
        split_seed: int = 0,
        standardize: bool = False,
    ) -> "Table":
        """A classification table from arrays without missing values, split at random.

        numerical (n, d) or None, categorical ids (n, c) or None, target (n,) index into classes.
        standardize: subtract the training mean from each numerical column and divide by the training deviation.
        """
        if len(classes) < 2:
            raise UserError(f"dataset={name}", "must have at least two classes", list(classes), "choose another target")
        split = random_split(len(target), val_fraction, split_seed, test_fraction=test_fraction)
        n = len(target)
        values = np.empty((n, 0), np.float32) if numerical is None else numerical
        encoding = None
        if standardize and values.shape[1]:
            values = values.astype(np.float32)
            scaler = StandardScaler().fit(values[split.train])
            values = scaler.transform(values)
            encoding = {"mean": scaler.mean_.tolist(), "scale": scaler.scale_.tolist()}
        ids = np.empty((n, 0), np.uint8) if categorical is None else categorical
        cardinalities = tuple(int(column.max()) + 1 for column in ids.T)
        width = np.min_scalar_type(max(cardinalities, default=1))
        rows = Rows(
            torch.from_numpy(values.astype(np.float32)),
            torch.from_numpy(ids.astype(np.uint8 if width == np.uint8 else np.int32)),
            torch.from_numpy(target.astype(np.int64)),
        )
        train, valid, test = parts(rows, split)
        return Table(train, valid, cardinalities, Classification(classes), encoding=encoding, test=test)


def parts(rows: Rows, split: Split) -> tuple[Rows, Rows, Rows | None]:
    """The training, the validation and, if there are any, the test rows."""
    train, valid, test = (rows.take(torch.from_numpy(numbers)) for numbers in split)
    return train, valid, test if test.n_rows else None


def random_split(n_rows: int, val_fraction: float, seed: int, *, test_fraction: float = 0.0) -> Split:
    """At random, each split in random order. What validates does not depend on test_fraction.

    val_fraction, test_fraction: see check_fractions; a test_fraction of less than half a row leaves none for testing.
    seed: of the split, apart from the seed of a run, so that runs are compared on the same rows.
    """
    check_fractions(val_fraction, test_fraction)
    require_integer("dataset.split_seed", seed, low=0, remedy="any fixed integer will do")
    n_val, n_test = round(val_fraction * n_rows), round(test_fraction * n_rows)
    if not n_val:
        rule = f"must leave a row of the {n_rows} for validation"
        raise UserError("dataset.val_fraction", rule, val_fraction, "the paper has 0.2")
    if n_test and n_val + n_test >= n_rows:
        rule = f"must leave a row of the {n_rows} for training beside {n_val} for validation"
        raise UserError("dataset.test_fraction", rule, test_fraction, "0 holds out none")
    order = torch.randperm(n_rows, generator=generator(seed)).numpy()
    return Split(order[n_val + n_test :], order[:n_val], order[n_val : n_val + n_test])


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """UserError unless the shares of the rows for validation, in (0, 0.9], and testing, in [0, 0.9], leave others."""
    require_number("dataset.val_fraction", val_fraction, low=0, high=0.9, open_low=True, remedy="the paper has 0.2")
    require_number("dataset.test_fraction", test_fraction, low=0, high=0.9, remedy="0.1 is usual, 0 holds out none")
    if val_fraction + test_fraction >= 1:
        rule = f"must leave rows for training beside dataset.val_fraction = {val_fraction:g}"
        raise UserError("dataset.test_fraction", rule, test_fraction, "0.1 is usual, 0 holds out none")


def generator(*key: int) -> torch.Generator:
    """A generator of its own for each key."""
    state = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state >> 1)
