"""Which rows train, which validate and which test: at random (stratified), by a column, by time."""

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from tabnas.data.frame.values import days, is_text, numbers, texts
from tabnas.data.table import Split, check_fractions, generator, random_split
from tabnas.errors import UserError

TRAINING = ("train", "training", "0", "false")
VALIDATION = ("valid", "validation", "val", "dev", "1", "true")
TESTING = ("test", "testing")


def stratified(classes: NDArray[np.int64], val_fraction: float, seed: int, *, test_fraction: float = 0.0) -> Split:
    """At random, so that of each class's n rows val_fraction · n validate and test_fraction · n test, give or take
    less than a row, or two for the latter. What validates does not depend on test_fraction.

    classes (n,): from 0. Every class keeps a row for training, also one with a single row.
    """
    n_test = len(random_split(len(classes), val_fraction, seed, test_fraction=test_fraction).test)
    order = torch.randperm(len(classes), generator=generator(seed)).numpy()
    grouped = order[np.argsort(classes[order], kind="stable")]
    validates = _evenly(classes[grouped], val_fraction)
    rest = grouped[~validates]
    tests = _evenly(classes[rest], n_test / len(rest))
    part = np.zeros(len(classes), np.int8)
    part[grouped[validates]], part[rest[tests]] = 1, 2
    return Split(*(order[part[order] == number] for number in range(3)))


def _evenly(classes: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """(n,) which rows to take: of rows sorted by class every (1 / share)-th, but never all of a class."""
    taken: NDArray[np.bool_] = np.diff(np.floor(np.arange(len(classes) + 1) * share + 0.5)) > 0
    left = np.bincount(classes[~taken], minlength=classes.max() + 1)
    for absent in np.flatnonzero(left == 0):
        taken[np.flatnonzero(classes == absent)[:1]] = False
    return taken


def by_column(column: pd.Series) -> Split:
    """As the tidied column says; it may mark no rows for validation, but then for testing."""
    words = texts(column).str.lower()
    known = words.isin([*TRAINING, *VALIDATION, *TESTING])
    if not known.all():
        other = words[~known].iloc[0]
        given = "a missing value" if pd.isna(other) else str(other)
        rule = f"must have only {', '.join(TRAINING)} for training, {', '.join(VALIDATION)} for validation, or test"
        raise UserError("dataset.split_column", rule, given, "rename the values of that column")
    split = Split(*(np.flatnonzero(words.isin(names)) for names in (TRAINING, VALIDATION, TESTING)))
    for part, n in (("training", len(split.train)), ("validation or testing", len(words) - len(split.train))):
        if not n:
            found = sorted(words.unique())
            raise UserError("dataset.split_column", f"must mark rows for {part}", found, "mark some, or leave it out")
    return split


def by_time(column: pd.Series, val_fraction: float, *, test_fraction: float = 0.0) -> Split:
    """The latest rows test, those before them validate: all rows of a split are later than any of the one before.

    Rows of the same time stay together, so that the shares are the nearest possible to those asked for. A
    test_fraction of less than half a row, or of but two times, leaves none for testing.
    """
    check_fractions(val_fraction, test_fraction)
    times = numbers(column)
    if is_text(column) and np.isnan(times).any():
        times = days(column)
    if np.isnan(times).any():
        rule = "must name a column of dates (ISO 8601) or numbers without missing values"
        first = column[np.isnan(times)].iloc[0]
        given = f"{column.name}, with {'a missing value' if pd.isna(first) else first}"
        raise UserError("dataset.time_column", rule, given, "drop those rows or choose another split")
    distinct, n_earlier = np.unique(np.sort(times), return_index=True)
    if len(distinct) < 2:
        rule = "must name a column of at least two times"
        raise UserError("dataset.time_column", rule, column.name, "choose another split")
    ends = np.append(n_earlier, len(times))  # of the rows before each time, and of all
    last = len(distinct)
    if round(test_fraction * len(times)) and len(distinct) > 2:
        last = 2 + int(np.argmin(np.abs(ends[2:-1] - (1 - test_fraction) * len(times))))
    first = 1 + int(np.argmin(np.abs(ends[1:last] - (ends[last] - val_fraction * len(times)))))
    rank = np.searchsorted(distinct, times)
    return Split(*map(np.flatnonzero, (rank < first, (rank >= first) & (rank < last), rank >= last)))
