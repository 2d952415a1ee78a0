"""Which columns there is something to learn from, and their encoding, fitted to the training rows."""

import logging
from collections.abc import Collection, Mapping
from typing import NamedTuple

import pandas as pd

from tabnas.data.frame.encode import SCALINGS, Categorical, Encoding, Numerical
from tabnas.data.frame.kinds import kind_of, misfits
from tabnas.errors import UserError, require_integer, require_one_of

log = logging.getLogger(__name__)

SHORT_VOCABULARY = 20
"""A column with more values than this, most of them different, is free text or a key, and no category."""
LINES = 5
"""So many dropped columns are told in a line each; more, in a line for each reason."""

BECAME = {
    "standard": "standardised",
    "original": "as it is",
    "quantile": "normal quantiles",
    "log": "logarithm, standardised",
}


class Fate(NamedTuple):
    """What becomes of a column: a part of the data report."""

    kind: str
    became: str


def fit(
    rows: pd.DataFrame,
    *,
    target: str,
    kinds: Mapping[str, str],
    drop: Collection[str],
    drop_uninformative: bool,
    missing_tokens: tuple[str | float, ...],
    numerical: str,
    min_count: int,
    max_categories: int,
    high_cardinality: str,
    hash_buckets: int,
) -> tuple[Encoding, dict[str, Fate]]:
    """The encoding and each column's fate.

    rows: the tidied features of the training rows, in the order of the source. The rest: see from_frame.
    """
    require_one_of("dataset.numerical", numerical, SCALINGS)
    require_one_of("dataset.high_cardinality", high_cardinality, ("error", "hash"))
    for key, value, example in (
        ("min_count", min_count, 2), ("max_categories", max_categories, 1000), ("hash_buckets", hash_buckets, 1024)
    ):  # fmt: skip
        require_integer(f"dataset.{key}", value, low=1, high=2**30, remedy=f"{example} is a good choice")
    numbers: list[Numerical] = []
    categories: list[Categorical] = []
    fates: dict[str, Fate] = {}
    dropped: dict[str, str] = {}
    for name, column in rows.items():
        if name in drop:
            fates[name] = Fate("", "dropped: as asked")
            continue
        kind, reason = kind_of(column, kinds.get(name), keep=not drop_uninformative)
        if reason:
            dropped[name] = reason
            fates[name] = Fate(kind, f"dropped: {reason}")
        elif kind == "categorical":
            too_many = _too_many(column, name in kinds, max_categories)
            if too_many and high_cardinality == "error":
                raise _refused(column, too_many)
            categories.append(Categorical.fit(column, min_count, hash_buckets if too_many else None))
            fates[name] = Fate(kind, _embedding(categories[-1]))
        else:
            numbers.append(Numerical.fit(column, kind, numerical))
            became = {"boolean": "0 or 1", "date": "days, standardised"}.get(kind, BECAME[numerical])
            fates[name] = Fate(kind, became)
    _tell(dropped)
    if not numbers and not categories:
        remedy = "keep a column, or give one a kind in dataset.kinds"
        raise UserError("dataset.drop", "must leave a column to learn from", list(drop), remedy)
    return Encoding(tuple(numbers), tuple(categories), missing_tokens, target), fates


def _too_many(column: pd.Series, is_given: bool, max_categories: int) -> str | None:
    """Why the column has too many categories, if it has."""
    n, n_rows = column.nunique(), int(column.notna().sum())
    if n > max_categories:
        return f"at most dataset.max_categories = {max_categories:,} values"
    if not is_given and n > SHORT_VOCABULARY and 2 * n > n_rows:
        return "values that repeat"
    return None


def _refused(column: pd.Series, rule: str) -> UserError:
    key = f"dataset.kinds.{column.name}"
    given = f"{column.nunique():,} different ones in {column.notna().sum():,} rows"
    remedy = f"give dataset.high_cardinality=hash, or dataset.drop=[{column.name}]"
    strange = misfits(column, "numerical")
    if 0 < 2 * len(strange) < column.nunique():
        shown = ", ".join(map(repr, strange[:3])) + (", …" if len(strange) > 3 else "")
        remedy = f"if it is numerical, add {shown} to dataset.missing_tokens; else {remedy}"
    return UserError(key, f"must be a categorical column with {rule}", given, remedy)


def _embedding(column: Categorical) -> str:
    if column.hash_buckets:
        return f"embedding of {column.hash_buckets:,} hash buckets"
    rare = f" and {len(column.rare):,} rare" if column.rare else ""
    return f"embedding of {len(column.vocabulary):,} values{rare}"


def _tell(dropped: Mapping[str, str]) -> None:
    """A line for each column, or for each reason where there are many."""
    if len(dropped) <= LINES:
        for name, reason in dropped.items():
            log.warning("dataset: column %s is dropped: %s", name, reason)
        return
    for reason in sorted(set(dropped.values())):
        names = [name for name, its in dropped.items() if its == reason]
        shown = ", ".join(names[:LINES]) + (", …" if len(names) > LINES else "")
        log.warning("dataset: %s columns are dropped (%s): %s", f"{len(names):,}", reason, shown)
