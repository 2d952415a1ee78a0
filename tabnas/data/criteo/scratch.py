"""What a build keeps on disk between its passes: each split's columns, one file each, read and written in pieces.

Imports text of this package.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabnas.data.criteo.text import CATEGORIES, INTEGERS, Parsed

SPLITS = ("train", "valid", "test")
COLUMN_ROWS = 1 << 18  # of a column, in memory at once
TABLE_ROWS = 1 << 16  # of all columns
_MISSING = "missing"


class Scratch:
    """Columns of each split's rows, in a folder of their own.

    n_rows: of each split; n_ones: how many of them have label 1; n_missing: cells of each column, over all.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.n_rows, self.n_ones = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0)
        self.n_missing = dict.fromkeys((*INTEGERS, *CATEGORIES), 0)

    def path(self, split: str, name: str) -> Path:
        return self.folder / f"{split}_{name}.bin"

    def numbers(self, name: str, split: str) -> Iterator[NDArray[np.float32]]:
        """An integer column in pieces, NaN where there is none."""
        return self._pieces(split, name, np.float32, COLUMN_ROWS)

    def present(self, name: str) -> Iterator[NDArray[np.uint32]]:
        """What there is in a categorical column of the training rows, in pieces."""
        bit = np.uint32(1 << CATEGORIES.index(name))
        pieces = [self._pieces("train", column, np.uint32, COLUMN_ROWS) for column in (name, _MISSING)]
        for values, missing in zip(*pieces, strict=True):
            yield values[missing & bit == 0]

    def replace(
        self, name: str, split: str, encode: Callable[[NDArray[np.uint32]], NDArray[np.int32]], missing_id: int
    ) -> None:
        """Write encode(values) over a categorical column's values, missing_id where there is none."""
        bit = np.uint32(1 << CATEGORIES.index(name))
        with self.path(split, name).open("r+b") as file:
            for missing in self._pieces(split, _MISSING, np.uint32, COLUMN_ROWS):
                at = file.tell()
                ids = encode(np.fromfile(file, np.uint32, len(missing)))
                ids[missing & bit != 0] = missing_id
                file.seek(at)
                file.write(ids.data)

    def rows(self, split: str, names: tuple[str, ...], dtype: type) -> Iterator[list[NDArray[Any]]]:
        """Several columns side by side, in pieces."""
        columns = [self._pieces(split, name, dtype, TABLE_ROWS) for name in names]
        for piece in zip(*columns, strict=True):
            yield list(piece)

    def _pieces(self, split: str, name: str, dtype: type, n_rows: int) -> Iterator[NDArray[Any]]:
        with self.path(split, name).open("rb") as file:
            while True:
                piece: NDArray[Any] = np.fromfile(file, dtype, n_rows)
                if not len(piece):
                    return
                yield piece


class ScratchWriter(ExitStack):
    """Appends rows to a Scratch, and their labels to the files that stay."""

    def __init__(self, scratch: Scratch, targets: dict[str, Path]) -> None:
        super().__init__()
        self.scratch = scratch
        names = (*INTEGERS, *CATEGORIES, _MISSING)
        self._files = {
            split: [
                self.enter_context(path.open("wb"))
                for path in (targets[split], *(scratch.path(split, name) for name in names))
            ]
            for split in SPLITS
        }

    def write(self, rows: Parsed, split_of: NDArray[np.integer]) -> None:
        """split_of (n,): for each of the n rows the index in SPLITS."""
        columns: list[NDArray[Any]] = [rows.label, *rows.numbers, *rows.categories, rows.missing]
        for number, split in enumerate(SPLITS):
            chosen = split_of == number
            for file, column in zip(self._files[split], columns, strict=True):
                file.write(column[chosen].data)
            self.scratch.n_rows[split] += int(np.count_nonzero(chosen))
            self.scratch.n_ones[split] += int(np.count_nonzero(rows.label[chosen]))
        n_missing = self.scratch.n_missing
        for name, numbers in zip(INTEGERS, rows.numbers, strict=True):
            n_missing[name] += int(np.count_nonzero(np.isnan(numbers)))
        for j, name in enumerate(CATEGORIES):
            n_missing[name] += int(np.count_nonzero(rows.missing & np.uint32(1 << j)))
