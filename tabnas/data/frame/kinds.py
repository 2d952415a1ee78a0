"""What a column is: numerical, categorical, boolean or date; or nothing to learn from."""

import re
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from tabnas.data.frame.values import CODE, READERS, TRUTHS, days, is_text, numbers, texts

KINDS = ("numerical", "categorical", "boolean", "date")

ID_NAME = re.compile(r"(?:^|[^a-z])(?:id|index|unnamed.*)(?:[^a-z]|$)|[a-z]I[dD]$")


class Kind(NamedTuple):
    name: str
    """One of KINDS."""
    dropped: str | None = None
    """Why there is nothing to learn from it; None where there is."""


def kind_of(column: pd.Series, given: str | None = None, *, keep: bool = False) -> Kind:
    """What the tidied column is, from the training rows alone, in the order of the source.

    given: the kind to take instead of the inferred one; then it is dropped only where it would be constant.
    keep: drop it only where it has no values.

    Numbers, also in text, are numerical however few there are; those in text with leading zeros are codes and so
    categorical. Text of yes and no, true and false, their first letters: boolean. Text in ISO 8601: date. Dropped:
    columns without values or with one; whole numbers that are all different and in ascending or descending order, or
    whose name says id; text that is different in every row, unless most of it are numbers.
    """
    present = column.dropna()
    kind = given or _inferred(column, present)
    if present.empty:
        return Kind(kind, "empty")
    if keep:
        return Kind(kind)
    if present.nunique() == 1 and (kind != "categorical" or len(present) == len(column)):
        return Kind(kind, "constant")
    if given is None and len(present) == len(column) and present.is_unique:
        if kind == "numerical" and _is_id(str(column.name), numbers(column)):
            return Kind(kind, "an id")
        if kind == "categorical" and np.isnan(numbers(column)).mean() > 0.5:
            return Kind(kind, "different in every row")
    return Kind(kind)


def _inferred(column: pd.Series, present: pd.Series) -> str:
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return "categorical"
    if types.is_bool_dtype(dtype):
        return "boolean"
    if types.is_datetime64_any_dtype(dtype):
        return "date"
    if not is_text(column):
        return "numerical"
    distinct = pd.Series(present.unique(), dtype="string")
    words = set(distinct.str.lower())
    if len(words) == 2 and words <= set(TRUTHS):  # one of them, or none: yes or nothing, two categories
        return "boolean"
    if not np.isnan(numbers(distinct)).any():
        return "categorical" if distinct.str.fullmatch(CODE).any() else "numerical"
    return "categorical" if np.isnan(days(distinct)).any() else "date"


def _is_id(name: str, values: NDArray[np.float64]) -> bool:
    """Whether the values, all different, number the rows."""
    if not np.isfinite(values).all() or (values != np.floor(values)).any():
        return False
    steps = np.diff(values)
    return bool((steps > 0).all() or (steps < 0).all() or _names_id(name))


def _names_id(name: str) -> bool:
    return bool(ID_NAME.search(name) or ID_NAME.search(name.lower()))


def misfits(column: pd.Series, kind: str) -> pd.Series:
    """The distinct values of the tidied column that cannot be read as `kind`."""
    present = column.dropna()
    if kind == "categorical":
        return present.iloc[:0]
    return texts(present[np.isnan(READERS[kind](present))]).drop_duplicates()
