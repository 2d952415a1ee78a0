"""Which rows train and which validate: at random (stratified), by a column, by time.

Each function returns the row numbers of the training and of the validation split, (n,) int64 each.
"""

import logging

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from tabnas.data.frame.values import days, is_text, numbers, texts
from tabnas.data.table import generator, random_split
from tabnas.errors import UserError, require_number

log = logging.getLogger(__name__)

Split = tuple[NDArray[np.int64], NDArray[np.int64]]

TRAINING = ("train", "training", "0", "false")
VALIDATION = ("valid", "validation", "val", "dev", "1", "true")
TEST = ("test", "testing")


def stratified(classes: NDArray[np.int64], val_fraction: float, seed: int) -> Split:
    """At random, so that of each class's n rows val_fraction · n validate, give or take less than a row.

    classes (n,): from 0. Every class keeps a row for training, also one with a single row.
    """
    random_split(len(classes), val_fraction, seed)  # for its checks
    order = torch.randperm(len(classes), generator=generator(seed)).numpy()
    grouped = order[np.argsort(classes[order], kind="stable")]
    # In the row of classes one after another, every (1 / val_fraction)-th row validates.
    passed = np.floor(np.arange(len(classes) + 1) * val_fraction + 0.5)
    validates = np.diff(passed) > 0
    in_training = np.bincount(classes[grouped][~validates], minlength=classes.max() + 1)
    for absent in np.flatnonzero(in_training == 0):
        validates[np.flatnonzero(classes[grouped] == absent)[0]] = False
    is_valid = np.zeros(len(classes), bool)
    is_valid[grouped[validates]] = True
    return order[~is_valid[order]], order[is_valid[order]]


def by_column(column: pd.Series) -> Split:
    """As the tidied column says.

    Test rows validate where no rows are marked for validation, else they are left out.
    """
    words = texts(column).str.lower()
    known = words.isin([*TRAINING, *VALIDATION, *TEST])
    if not known.all():
        rule = f"must have only {', '.join(TRAINING)} for training and {', '.join(VALIDATION)} (or test) for validation"
        other = words[~known].iloc[0]
        given = "a missing value" if pd.isna(other) else str(other)
        raise UserError("dataset.split_column", rule, given, "rename the values of that column")
    train, valid = words.isin(TRAINING).to_numpy(), words.isin(VALIDATION).to_numpy()
    if not valid.any():
        valid = words.isin(TEST).to_numpy()
    for part, rows in (("training", train), ("validation", valid)):
        if not rows.any():
            found = sorted(words.unique())
            raise UserError("dataset.split_column", f"must mark rows for {part}", found, "mark some, or leave it out")
    if n := int((~train & ~valid).sum()):
        log.warning("dataset.split_column: %s test rows are left out", f"{n:,}")
    return np.flatnonzero(train), np.flatnonzero(valid)


def by_time(column: pd.Series, val_fraction: float) -> Split:
    """The latest rows validate, all of them later than any training row.

    Rows of the same time stay together, so that the share is the nearest possible to val_fraction.
    """
    require_number("dataset.val_fraction", val_fraction, low=0, high=0.9, open_low=True, remedy="the paper has 0.2")
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
    cut = 1 + int(np.argmin(np.abs(n_earlier[1:] - (1 - val_fraction) * len(times))))
    is_valid = times >= distinct[cut]
    return np.flatnonzero(~is_valid), np.flatnonzero(is_valid)
