"""From columns to numbers: fitted once, to the training rows, and applied to any rows. JSON can hold it.

Shapes: n rows, d numerical and c categorical columns.
"""

import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri
from sklearn.preprocessing import QuantileTransformer

from tabnas.data.frame.kinds import misfits
from tabnas.data.frame.values import LARGEST, READERS, line_of, texts, tidied
from tabnas.data.table import MISSING, N_RESERVED, RARE, UNSEEN
from tabnas.errors import UserError

SCALINGS = ("standard", "original", "quantile", "log")
N_QUANTILES = 1000


@dataclass(frozen=True)
class Numerical:
    """A column that becomes one number: bend, then (value − shift) / scale; `missing` where there is no value."""

    name: str
    kind: str
    """numerical, boolean (0 or 1) or date (days since 1970)."""
    bend: str
    """none; log: sign(x)·log(1 + |x|); quantile: the normal quantile of the share of training values below."""
    shift: float
    scale: float
    missing: float
    """The training mean of what the column becomes."""
    quantiles: tuple[float, ...] = ()
    """Of the training values, at equal steps from 0 to 1; for bend: quantile."""

    def encode(self, column: pd.Series) -> NDArray[np.float32]:
        """(n,) of the tidied column."""
        values = (_bent(_read(column, self.kind), self.bend, self.quantiles) - self.shift) / self.scale
        return np.where(np.isnan(values), self.missing, values).astype(np.float32)

    def check(self, column: pd.Series) -> None:
        """UserError unless the tidied column, of new rows, is of this kind."""
        values = READERS[self.kind](column)
        wrong = (np.isnan(values) & column.notna().to_numpy(dtype=bool)) | (np.abs(values) > LARGEST)
        if wrong.any():
            rule = f"must be {self.kind}, as in training" + (f", and below {LARGEST:g}" if self.kind != "date" else "")
            row = int(np.argmax(wrong))
            given = f"{column.iloc[row]} in row {line_of(column, row):,}"
            raise UserError(f"column {self.name}", rule, given, "correct it, or leave the cell empty")

    @staticmethod
    def fit(column: pd.Series, kind: str, scaling: str) -> "Numerical":
        """For a tidied column of training rows. scaling: one of SCALINGS, of numerical columns.

        Booleans stay 0 and 1, and dates are always standardised: a network cannot work on 20,000 days.
        """
        values = _read(column, kind)
        values = values[~np.isnan(values)]
        bend = scaling if kind == "numerical" and scaling in ("log", "quantile") else "none"
        quantiles = ()
        if bend == "quantile":
            made = QuantileTransformer(n_quantiles=min(N_QUANTILES, len(values)), subsample=None)
            quantiles = tuple(made.fit(values[:, None]).quantiles_[:, 0].tolist())
        values = _bent(values, bend, quantiles)
        mean, deviation = float(values.mean()), float(values.std())
        standardised = kind == "date" or (kind == "numerical" and scaling in ("standard", "log"))
        if standardised:
            return Numerical(str(column.name), kind, bend, mean, deviation or 1.0, 0.0)
        return Numerical(str(column.name), kind, bend, 0.0, 1.0, mean, quantiles)


def _read(column: pd.Series, kind: str) -> NDArray[np.float64]:
    values = READERS[kind](column)
    if np.isnan(values).sum() > column.isna().sum():
        other = misfits(column, kind)
        rule = f"must be a kind that every value of column {column.name} fits"
        remedy = f"list it in dataset.missing_tokens, or give dataset.kinds={{{column.name}: categorical}}"
        raise UserError(f"dataset.kinds.{column.name}", rule, f"{kind} and the value {other.iloc[0]}", remedy)
    large = np.abs(values) > LARGEST
    if large.any():
        rule = f"must have a kind that allows values of {LARGEST:g} and above, inf among them, as numerical does not"
        given = f"{values[large][0]} in {int(large.sum())} rows"
        remedy = f"list it in dataset.missing_tokens, or {column.name} in dataset.drop"
        raise UserError(f"dataset.kinds.{column.name}", rule, given, remedy)
    return values


def _bent(values: NDArray[np.float64], bend: str, quantiles: tuple[float, ...]) -> NDArray[np.float64]:
    if bend == "log":
        return np.sign(values) * np.log1p(np.abs(values))
    if bend == "none":
        return values
    # Where many training values are equal, the middle of the shares below and up to them, as in scikit-learn. Unlike
    # there the ends are no exception, so that a column of mostly zeros does not become one of mostly -5.2.
    points, shares = np.asarray(quantiles), np.linspace(0, 1, len(quantiles))
    values = np.clip(values, points[0], points[-1])
    below = np.interp(values, points, shares)
    above = -np.interp(-values, -points[::-1], -shares[::-1])
    half_a_step = 0.5 / len(points)
    return np.asarray(ndtri(np.clip((below + above) / 2, half_a_step, 1 - half_a_step)))


@dataclass(frozen=True)
class Categorical:
    """A column that becomes an id: MISSING, RARE, UNSEEN, then one for each value of the vocabulary or hash bucket."""

    name: str
    vocabulary: tuple[str, ...]
    rare: tuple[str, ...]
    """Values in too few training rows for an id of their own."""
    hash_buckets: int | None = None
    """In place of a vocabulary: ids by the CRC-32 of the value."""
    closed: bool = False
    """Whether there can be no other value than those of the vocabulary, none missing; their ids begin at 0 then."""

    @property
    def cardinality(self) -> int:
        return len(self.vocabulary) if self.closed else N_RESERVED + (self.hash_buckets or len(self.vocabulary))

    def encode(self, column: pd.Series) -> NDArray[np.int32]:
        """(n,) of the tidied column."""
        codes, distinct = pd.factorize(texts(column))
        if self.closed:
            ids = pd.Index(self.vocabulary).get_indexer(distinct)[codes] if len(distinct) else codes
            if (wrong := (ids < 0) | (codes < 0)).any():
                rule = f"must be one of {', '.join(self.vocabulary)} in every row"
                given = column[wrong].iloc[0]
                remedy = "correct it"
                raise UserError(f"column {self.name}", rule, "nothing" if pd.isna(given) else str(given), remedy)
            return np.asarray(ids, np.int32)
        if buckets := self.hash_buckets:
            ids = [N_RESERVED + zlib.crc32(value.encode()) % buckets for value in distinct]
        else:
            known = {v: N_RESERVED + i for i, v in enumerate(self.vocabulary)} | dict.fromkeys(self.rare, RARE)
            ids = [known.get(value, UNSEEN) for value in distinct]
        return np.asarray(np.array([*ids, MISSING], np.int32)[codes])  # factorize's code of no value is -1

    @staticmethod
    def fit(column: pd.Series, min_count: int, hash_buckets: int | None) -> "Categorical":
        """For a tidied column of training rows. min_count: rows a value needs for an id of its own."""
        if hash_buckets:
            return Categorical(str(column.name), (), (), hash_buckets)
        counts = texts(column).value_counts().sort_index()
        return Categorical(
            str(column.name),
            tuple(counts.index[counts >= min_count].tolist()),
            tuple(counts.index[counts < min_count].tolist()),
        )


@dataclass(frozen=True)
class Encoding:
    """Of a whole table."""

    numerical: tuple[Numerical, ...]
    categorical: tuple[Categorical, ...]
    missing_tokens: tuple[str | float, ...]
    target: str

    def encode(self, frame: pd.DataFrame) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Numerical (n, d) and categorical ids (n, c). Other columns of the frame are not looked at.

        UserError where the frame lacks a column, or has a value in it that the column's kind cannot read.
        """
        if absent := [name for name in self.names if name not in frame]:
            rule = f"must have the columns {', '.join(self.names)}"
            raise UserError("dataset.path", rule, f"none called {', '.join(absent)}", "add it")
        columns = {name: tidied(frame[name], self.missing_tokens) for name in self.names}
        for made in self.numerical:
            made.check(columns[made.name])
        return self.encode_tidied(columns, len(frame))

    @property
    def names(self) -> list[str]:
        """Of the columns that are encoded, the numerical ones first."""
        return [c.name for c in self.numerical] + [c.name for c in self.categorical]

    def encode_tidied(
        self, columns: Mapping[str, pd.Series] | pd.DataFrame, n: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """The same of tidied columns by name."""
        numerical = np.empty((n, len(self.numerical)), np.float32)
        for i, made in enumerate(self.numerical):
            numerical[:, i] = made.encode(columns[made.name])
        categorical = np.empty((n, len(self.categorical)), np.int32)
        for i, vocabulary in enumerate(self.categorical):
            categorical[:, i] = vocabulary.encode(columns[vocabulary.name])
        return numerical, categorical

    def to_json(self) -> dict[str, Any]:
        """What json.dumps can take."""
        tokens = tuple(t if isinstance(t, str) or np.isfinite(t) else str(t) for t in self.missing_tokens)
        return {**asdict(self), "missing_tokens": tokens}

    @staticmethod
    def from_json(made: Mapping[str, Any]) -> "Encoding":
        """From what to_json gave, also after a round trip through JSON, which turns tuples into lists."""
        return Encoding(
            tuple(Numerical(**{**c, "quantiles": tuple(c["quantiles"])}) for c in made["numerical"]),
            tuple(
                Categorical(**{**c, "vocabulary": tuple(c["vocabulary"]), "rare": tuple(c["rare"])})
                for c in made["categorical"]
            ),
            tuple(made["missing_tokens"]),
            made["target"],
        )
