"""What is predicted: a column as class indices or as standardised numbers; n rows."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype

from tabnas.data.frame.values import LARGEST, numbers, texts
from tabnas.errors import UserError, require_one_of
from tabnas.task import Classification, Regression, Task

TASKS = ("auto", "classification", "regression")
MOST_INTEGER_CLASSES = 20
"""Whole numbers of at most so many values are taken for classes, of more for quantities."""
MOST_CLASSES = 10_000


@dataclass(frozen=True)
class Target:
    """Of all rows, whatever their split."""

    values: NDArray[np.int64] | NDArray[np.float64]
    """(n,) indices into the classes, or the numbers in their own units."""
    classes: tuple[str, ...] | None

    def fitted(self, train: NDArray[np.int64]) -> tuple[NDArray[np.int64] | NDArray[np.float32], Task]:
        """(n,) as the network is to learn it, and the task, from the training rows' numbers.

        UserError where a class has no training row, or where the training rows' numbers are all the same.
        """
        if self.classes is not None:
            absent = np.flatnonzero(np.bincount(self.values[train], minlength=len(self.classes)) == 0)
            if len(absent):
                rule = "must have a training row of every class"
                remedy = "choose another split, or leave the rows of that class out"
                raise UserError("dataset.target", rule, f"none of {self.classes[absent[0]]}", remedy)
            return self.values.astype(np.int64), Classification(self.classes)
        mean, std = float(self.values[train].mean()), float(self.values[train].std())
        if np.ptp(self.values[train]) == 0 or std == 0:
            rule = "must have more than one value in the training split"
            raise UserError("dataset.target", rule, f"{mean:g} alone", "choose another target or split")
        return ((self.values - mean) / std).astype(np.float32), Regression(mean, std)


def read_target(column: pd.Series, task: str) -> Target:
    """Of a tidied column without missing values. task: one of TASKS.

    auto: categories, booleans and text are classes, and so are whole numbers of at most MOST_INTEGER_CLASSES values;
    other numbers are quantities.
    """
    require_one_of("dataset.task", task, TASKS)
    if task == "classification" or (task == "auto" and _is_class(column)):
        return _classes(column)
    return Target(_quantities(column), None)


def _is_class(column: pd.Series) -> bool:
    if isinstance(column.dtype, pd.CategoricalDtype) or is_bool_dtype(column.dtype):
        return True
    values = numbers(column)
    whole = not np.isnan(values).any() and bool((values == np.floor(values)).all())
    return bool(np.isnan(values).any()) or (whole and len(np.unique(values)) <= MOST_INTEGER_CLASSES)


def _classes(column: pd.Series) -> Target:
    """In order: by number where all names are numbers, else by text."""
    codes, distinct = pd.factorize(texts(column))
    names = distinct.tolist()
    as_numbers = numbers(pd.Series(names, dtype="string"))
    all_numbers = not np.isnan(as_numbers).any()
    names.sort(key=float if all_numbers else None)
    if len(names) < 2:
        raise UserError("dataset.target", f"must have at least two classes in {column.name}", names, "name another")
    most = min(MOST_CLASSES, max(MOST_INTEGER_CLASSES, len(codes) // 2))
    if len(names) > most:
        rule = f"must have at most {most:,} classes in {len(codes):,} rows"
        remedy = "give dataset.task=regression" if all_numbers else "name another column"
        raise UserError("dataset.target", rule, f"{len(names):,} in {column.name}", remedy)
    index = {name: i for i, name in enumerate(names)}
    return Target(np.array([index[name] for name in distinct], np.int64)[codes], tuple(names))


def _quantities(column: pd.Series) -> NDArray[np.float64]:
    values = numbers(column)
    if np.isnan(values).any():
        other = texts(column[np.isnan(values)]).iloc[0]
        remedy = "give dataset.task=classification, or list it in dataset.missing_tokens"
        raise UserError("dataset.target", "must be a number in every row", f"{other} in {column.name}", remedy)
    large = values[np.abs(values) > LARGEST]
    if len(large):
        remedy = "list it in dataset.missing_tokens to leave such rows out"
        raise UserError("dataset.target", f"must be below {LARGEST:g} in size", f"{large[0]} in {column.name}", remedy)
    return values
