"""Which values a categorical column has in the training split, and the id of each.

Works on columns that are too large for memory: `chunks()` goes over the values of the training rows, some at a time,
and is called several times. Imports hashing of this package and the reserved ids of tabnas.data.table.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabnas.data.criteo.hashing import mixed
from tabnas.data.table import N_RESERVED, RARE, UNSEEN

MOST_VALUES = 1 << 22  # sorted at once
_BINS = 1 << 16

Chunks = Callable[[], Iterator[NDArray[np.uint32]]]


class Vocabulary(NamedTuple):
    """The id of every value that the training rows have, however rare: 8 bytes for each."""

    values: NDArray[np.uint32]
    """Ascending."""
    ids: NDArray[np.int32]
    """RARE, or from N_RESERVED by falling frequency, of equal ones by value."""

    @staticmethod
    def fit(chunks: Chunks, min_count: int) -> "Vocabulary":
        """min_count: of a value in the training rows, to have an id of its own."""
        pieces = list(distinct(chunks))
        values, counts = (np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
        kept = np.flatnonzero(counts >= min_count)
        kept = kept[np.argsort(-counts[kept], kind="stable")]
        ids = np.full(len(values), RARE, np.int32)
        ids[kept] = np.arange(N_RESERVED, N_RESERVED + len(kept), dtype=np.int32)
        return Vocabulary(values, ids)

    @property
    def cardinality(self) -> int:
        """Number of ids with the reserved ones."""
        return max(int(self.ids.max(initial=0)) + 1, N_RESERVED)

    def encoder(self) -> Callable[[NDArray[np.uint32]], NDArray[np.int32]]:
        """(n,) values → (n,) ids; UNSEEN for those which the training rows do not have."""
        index, ids = pd.Index(self.values), np.append(self.ids, np.int32(UNSEEN))
        return lambda values: ids[index.get_indexer(values)]  # which gives −1 for what is not there

    def save(self, path: Path) -> None:
        """As an .npy file of records (value, id)."""
        entries = np.empty(len(self.values), [("value", np.uint32), ("id", np.int32)])
        entries["value"], entries["id"] = self
        np.save(path, entries, allow_pickle=False)

    @staticmethod
    def load(path: Path) -> "Vocabulary":
        """What `save` wrote."""
        entries = np.load(path, allow_pickle=False)
        return Vocabulary(entries["value"], entries["id"])


def hashed(values: NDArray[np.uint32], n_buckets: int) -> NDArray[np.int32]:
    """(n,) values → (n,) ids from N_RESERVED to N_RESERVED + n_buckets − 1, the same in every column."""
    return (mixed(values) % np.uint32(n_buckets)).astype(np.int32) + np.int32(N_RESERVED)


def distinct(chunks: Chunks) -> Iterator[tuple[NDArray[np.uint32], NDArray[np.int64]]]:
    """The distinct values, ascending, and how often each occurs, some at a time; at least one, perhaps empty, pair.

    A histogram of the upper 16 bits tells which ranges of values can be sorted in memory together. A range that
    cannot be divided any further has at most 65,536 values, which are counted without sorting.
    """
    histogram = np.zeros(_BINS, np.int64)
    for chunk in chunks():
        histogram += np.bincount(chunk >> 16, minlength=_BINS)
    for first, last in _ranges(histogram):
        if first == last:
            counts = np.zeros(_BINS, np.int64)
            for chunk in chunks():
                counts += np.bincount(chunk[chunk >> 16 == first] & 0xFFFF, minlength=_BINS)
            present = np.flatnonzero(counts)
            yield (present + (first << 16)).astype(np.uint32), counts[present]
        else:
            low, high = np.uint32(first << 16), np.uint32((last << 16) + 0xFFFF)
            within = (chunk[(chunk >= low) & (chunk <= high)] for chunk in chunks())
            yield np.unique(np.concatenate([np.empty(0, np.uint32), *within]), return_counts=True)


def _ranges(histogram: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """First and last bin of ranges that hold at most MOST_VALUES together, or are one bin; at least one range."""
    first, held = 0, 0
    for bin_, count in enumerate(histogram.tolist()):
        if held + count > MOST_VALUES and bin_ > first:
            yield first, bin_ - 1
            first, held = bin_, 0
        held += count
    yield first, _BINS - 1
