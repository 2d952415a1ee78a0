"""New rows encoded as a built table's: what predictions need. The files are those of build, wherever they are now.

Imports hashing's, numbers', text's and vocabulary's parts of this package, and frame's reading of cells.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabnas.data.criteo.numbers import Log, Original, Quantile, Scaling, Standard, scaled
from tabnas.data.criteo.text import CATEGORIES, INTEGERS
from tabnas.data.criteo.vocabulary import Vocabulary, hashed
from tabnas.data.frame.values import MISSING_TOKENS, line_of, numbers, texts, tidied
from tabnas.data.table import MISSING
from tabnas.errors import UserError

HEXADECIMAL = r"[0-9a-fA-F]{1,8}"


@dataclass(frozen=True)
class CriteoEncoding:
    """13 columns of integers and 26 of hexadecimal numbers, n rows."""

    scalings: tuple[Scaling, ...]
    encoders: tuple[Callable[[NDArray[np.uint32]], NDArray[np.int32]], ...]

    names = [*INTEGERS, *CATEGORIES]  # noqa: RUF012

    def encode(self, frame: pd.DataFrame) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Numerical (n, 13) and ids (n, 26); UserError for a cell that is neither empty nor of Criteo's form."""
        values = np.empty((len(frame), len(INTEGERS)), np.float32)
        for i, (name, scaling) in enumerate(zip(INTEGERS, self.scalings, strict=True)):
            values[:, i] = scaled(scaling, _integers(tidied(frame[name], MISSING_TOKENS)))
        ids = np.empty((len(frame), len(CATEGORIES)), np.int32)
        for i, (name, encoder) in enumerate(zip(CATEGORIES, self.encoders, strict=True)):
            codes, distinct = _hexadecimals(tidied(frame[name], MISSING_TOKENS))
            ids[:, i] = np.append(encoder(distinct), np.int32(MISSING))[codes]
        return values, ids

    @staticmethod
    def from_json(made: Mapping[str, Any], folder: Path) -> "CriteoEncoding":
        """made: the table's encoding. folder: with the folders `vocabulary` and `quantiles`."""
        method, fitted = made["numerical"]["method"], made["numerical"]["columns"]
        of_name: dict[str, Callable[[str], Scaling]] = {
            "original": lambda name: Original(),
            "log": lambda name: Log(**fitted[name]),
            "standard": lambda name: Standard(**fitted[name]),
            "quantile": lambda name: Quantile(*np.load(folder / "quantiles" / f"{name}.npy", allow_pickle=False).T),
        }
        buckets = made["categorical"]["n_buckets"]
        return CriteoEncoding(
            tuple(map(of_name[method], INTEGERS)),
            tuple(
                partial(hashed, n_buckets=buckets)
                if buckets is not None
                else Vocabulary.load(folder / "vocabulary" / f"{name}.npy").encoder()
                for name in CATEGORIES
            ),
        )


def _integers(column: pd.Series) -> NDArray[np.float32]:
    values = numbers(column)
    _require(column, np.isfinite(values) & (values == np.floor(values)), "an integer")
    return values.astype(np.float32)


def _hexadecimals(column: pd.Series) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """(n,) which of the distinct values, and these; −1 for none."""
    written = texts(column)
    _require(column, written.str.fullmatch(HEXADECIMAL).fillna(False).to_numpy(bool), "at most 8 hexadecimal digits")
    codes, distinct = pd.factorize(written)
    return codes, np.array([int(value, 16) for value in distinct], np.uint32)


def _require(column: pd.Series, fits: NDArray[np.bool_], rule: str) -> None:
    wrong = ~fits & column.notna().to_numpy(bool)
    if wrong.any():
        row = int(np.argmax(wrong))
        given = f"{column.iloc[row]} in row {line_of(column, row):,}"
        raise UserError(f"column {column.name}", f"must be {rule} in every row, as in training", given, "correct it")
