"""A column of a DataFrame as text, numbers, days or truth values; n rows. Whatever has no value is missing in all."""

from collections.abc import Callable, Collection

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

TRUTHS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "t": 1.0, "f": 0.0, "y": 1.0, "n": 0.0}
MISSING_TOKENS = ("", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NaT", "NULL", "null", "None")
"""Text that means that there is no value, unless a source says otherwise."""
CODE = r"-?0\d+"
"""A number that nobody writes like this: a code, such as a post code."""
ISO_DATE = r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}.*)?"
LARGEST = 1e30
"""In size, of any number to learn from: its square fits a double, itself a float."""


def tidied(column: pd.Series, missing_tokens: Collection[str | float]) -> pd.Series:
    """The column with text stripped, and missing where it holds a missing token.

    missing_tokens: text, or numbers: one that is a number (-999, inf) also counts in columns of numbers.
    Returns a column of numbers, booleans, dates, text (dtype string) or, where it was that before, dtype category.
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return tidied(column.astype(object).infer_objects(), missing_tokens).astype("category")
    if isinstance(dtype, pd.PeriodDtype):
        return column.dt.to_timestamp()
    if types.is_timedelta64_dtype(dtype):
        return column.dt.total_seconds() / 86400
    if types.is_datetime64_any_dtype(dtype) or types.is_bool_dtype(dtype):
        return column
    if types.is_numeric_dtype(dtype) and not types.is_complex_dtype(dtype):
        tokens = [number for token in missing_tokens if (number := _number(token)) is not None]
        hit = column.isin(tokens)
        return column.mask(hit) if hit.any() else column
    text = column.astype("string").str.strip()
    return text.mask(text.isin([str(token) for token in missing_tokens]))


def line_of(column: pd.Series, row: int) -> int:
    """The row's number in its table, from 1: by the index, where that is one of numbers, as of a piece of a file."""
    dtype = column.index.dtype
    return int(column.index[row] if isinstance(dtype, np.dtype) and dtype.kind in "iu" else row) + 1


def as_numbers(column: pd.Series) -> pd.Series:
    """The tidied column, as numbers if it is text that holds nothing else; it is quicker to work with."""
    if not is_text(column) or np.isnan(numbers(column.dropna().iloc[:100])).any():
        return column
    values = numbers(column)
    if np.isnan(values).sum() > column.isna().sum() or column.str.fullmatch(CODE).any():
        return column
    return pd.Series(values, column.index, name=column.name)


def _number(token: str | float) -> float | None:
    try:
        return float(token)
    except ValueError:
        return None


def is_text(column: pd.Series) -> bool:
    """Whether a tidied column holds text."""
    return isinstance(column.dtype, pd.StringDtype)


def texts(column: pd.Series) -> pd.Series:
    """(n,) dtype string. A whole number is written without a point, whether it is stored as 1 or 1.0."""
    if is_text(column):
        return column
    distinct = column.dropna().unique()
    written = {value: _written(value) for value in distinct}
    return column.astype(object).map(written).astype("string")


def _written(value: object) -> str:
    return str(int(value)) if isinstance(value, float | np.floating) and float(value).is_integer() else str(value)


def numbers(column: pd.Series) -> NDArray[np.float64]:
    """(n,), NaN where there is no value or it is no number."""
    if types.is_datetime64_any_dtype(column.dtype):
        return days(column)
    if not types.is_numeric_dtype(column.dtype):
        column = pd.to_numeric(texts(column), errors="coerce")
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))


def days(column: pd.Series) -> NDArray[np.float64]:
    """(n,) days since 1970, NaN where there is no value or it is no date in ISO 8601. Without a time zone: UTC."""
    if not types.is_datetime64_any_dtype(column.dtype):
        text = texts(column)
        column = text.where(text.str.fullmatch(ISO_DATE).fillna(False).astype(bool))
        column = pd.to_datetime(column.astype(object), format="ISO8601", errors="coerce", utc=True)
    if column.dt.tz is not None:
        column = column.dt.tz_convert(None)
    since = column.to_numpy("datetime64[us]") - np.datetime64(0, "us")  # nanoseconds would end in 2262
    return np.asarray(since / np.timedelta64(1, "D"))


def truths(column: pd.Series) -> NDArray[np.float64]:
    """(n,) 1 or 0, NaN where there is no value or it is none of TRUTHS, 0 and 1."""
    if types.is_bool_dtype(column.dtype):
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    values, words = numbers(column), texts(column).str.lower()
    truth = words.astype(object).map(TRUTHS).to_numpy(dtype=np.float64)
    return np.where(np.isin(values, (0.0, 1.0)), values, truth)


READERS: dict[str, Callable[[pd.Series], NDArray[np.float64]]] = {
    "numerical": numbers,
    "boolean": truths,
    "date": days,
}
"""How a column of each kind that becomes one number is read."""
