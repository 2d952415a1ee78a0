"""The rows as the source has them: tidied, checked against what the config names, without those that cannot be used."""

import difflib
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabnas.data.frame.kinds import KINDS
from tabnas.data.frame.values import as_numbers, numbers, tidied
from tabnas.errors import UserError, require_one_of

log = logging.getLogger(__name__)

MOST_WITHOUT_TARGET = 0.2
CONTRADICTIONS = (
    ("split_column", "time_column"), ("split_column", "valid_path"), ("time_column", "valid_path"),
    ("split_column", "test_path"),
)  # fmt: skip
"""Pairs of keys that would both say which rows are whose."""


@dataclass(frozen=True)
class Source:
    """n rows that have a target and weigh something."""

    columns: pd.DataFrame
    """n rows; see values.tidied."""
    file: NDArray[np.int64]
    """(n,) which file a row is from: 0 of the table itself, 1 of validation rows, 2 of test rows."""
    weights: NDArray[np.float64] | None
    """(n,) above 0."""
    roles: dict[str, str]
    """By column: target, weight, split, time."""
    missing: dict[str, float]
    """By column, the share of the source's rows without a value."""


def read(
    frame: pd.DataFrame,
    valid_frame: pd.DataFrame | None,
    test_frame: pd.DataFrame | None,
    *,
    missing_tokens: Collection[str | float],
    target: str | None,
    weight: str | None,
    split_column: str | None,
    time_column: str | None,
    kinds: Mapping[str, str],
    drop: Collection[str],
) -> Source:
    """The source of a table; arguments as those of from_frame."""
    names = _names(frame, "dataset.path")
    named = {"target": target, "weight": weight, "split_column": split_column, "time_column": time_column}
    given = {key: str(name) for key, name in named.items() if name is not None}
    roles = _roles(names, given, kinds, drop)
    others = {"valid_path": valid_frame, "test_path": test_frame}
    for first, second in CONTRADICTIONS:
        if first in given and (second in given or others.get(second) is not None):
            raise UserError(
                f"dataset.{first}", f"must not come with dataset.{second}", given[first], "give one of them"
            )
    frames, file = [frame.set_axis(names, axis=1)], [np.zeros(len(frame), np.int64)]
    for number, (key, other) in enumerate(others.items(), 1):
        if other is not None:
            frames.append(_same_columns(other, [n for n in names if n not in drop], f"dataset.{key}"))
            file.append(np.full(len(other), number))
    columns = _tidied(frames, missing_tokens)
    columns = pd.DataFrame({n: c if kinds.get(str(n)) == "categorical" else as_numbers(c) for n, c in columns.items()})
    if columns.empty:
        raise UserError("dataset.path", "must have rows", "none", "give a table with rows")
    missing = {name: float(columns[name].isna().mean()) for name in names}
    keep = _has_target(columns[given["target"]])
    weights = _weights(columns[given["weight"]]) if "weight" in given else None
    if weights is not None:
        if n := int((keep & (weights == 0)).sum()):
            log.warning("dataset.weight: %s rows of weight 0 are left out", f"{n:,}")
        keep = keep & (weights > 0)
        if not keep.any():
            raise UserError("dataset.weight", "must be above 0 in some row", weight, "name another column")
    origin = np.concatenate(file)
    for number, key in enumerate(("path", *others)):
        if (origin == number).any() and not (origin[keep] == number).any():
            rule = f"must leave rows with a {given['target']}"
            raise UserError(f"dataset.{key}", rule, "none", "give more rows or another split")
    return Source(
        columns[keep].reset_index(drop=True),
        origin[keep],
        None if weights is None else weights[keep],
        {name: key.removesuffix("_column") for name, key in roles.items()},
        missing,
    )


def _names(frame: pd.DataFrame, key: str) -> list[str]:
    names = pd.Index([str(name) for name in frame.columns])
    if not names.is_unique:
        twice = names[names.duplicated()].unique().tolist()
        raise UserError(key, "must have columns of different names", twice, "rename one of each")
    return list(names)


def _roles(names: list[str], given: dict[str, str], kinds: Mapping[str, str], drop: Collection[str]) -> dict[str, str]:
    """By column the key that names it, checked. given: the column by key."""
    if "target" not in given:
        raise UserError("dataset.target", f"must name one of the columns {_few(names)}", None, "name one")
    for key, name in [*given.items(), *(("drop", name) for name in drop), *((f"kinds.{name}", name) for name in kinds)]:
        if name not in names:
            raise _no_column(f"dataset.{key}", name, names)
    for name, kind in kinds.items():
        require_one_of(f"dataset.kinds.{name}", kind, KINDS)
    roles: dict[str, str] = {}
    for key, name in given.items():
        not_that = f"must not be the column of dataset.{roles.get(name, key)}"
        if name in roles:
            raise UserError(f"dataset.{key}", not_that, name, "name another column")
        if name in drop:
            raise UserError("dataset.drop", not_that, name, "leave it out")
        if name in kinds:
            remedy = "dataset.task says what it is" if key == "target" else "leave it out"
            raise UserError(f"dataset.kinds.{name}", not_that, kinds[name], remedy)
        roles[name] = key
    return roles


def _no_column(key: str, given: str, names: list[str]) -> UserError:
    close = difflib.get_close_matches(given, names, n=1) or [n for n in names if n.lower() == given.lower()]
    remedy = f"did you mean {close[0]!r}?" if close else "choose one of these"
    return UserError(key, f"must be one of the {len(names):,} columns {_few(names)}", given, remedy)


def _few(names: list[str]) -> str:
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "")


def _same_columns(frame: pd.DataFrame, names: list[str], key: str) -> pd.DataFrame:
    frame = frame.set_axis(_names(frame, key), axis=1)
    if absent := [name for name in names if name not in frame]:
        rule = "must have the columns of dataset.path"
        raise UserError(key, rule, f"none called {_few(absent)}", "add them, or see dataset.drop")
    if frame.empty:
        raise UserError(key, "must have rows", "none", "give a table with rows")
    return frame[names]


def _tidied(frames: list[pd.DataFrame], missing_tokens: Collection[str | float]) -> pd.DataFrame:
    """One below the other; a column that is a category in the first is one in the whole."""
    joined = frames[0] if len(frames) == 1 else pd.concat([f.astype(object) for f in frames], ignore_index=True)
    made = {}
    for name, first in frames[0].items():
        column = joined[name] if len(frames) == 1 else joined[name].infer_objects()
        column = column.astype("category") if isinstance(first.dtype, pd.CategoricalDtype) else column
        made[name] = tidied(column, missing_tokens).reset_index(drop=True)
    return pd.DataFrame(made)


def _has_target(column: pd.Series) -> NDArray[np.bool_]:
    """(n,) whether the tidied target has a value."""
    has = column.notna().to_numpy(dtype=bool)
    n = int((~has).sum())
    if n > MOST_WITHOUT_TARGET * len(has):
        rule = f"must have a value in at least {1 - MOST_WITHOUT_TARGET:.0%} of the rows"
        remedy = "drop the others from the file, or see dataset.missing_tokens"
        raise UserError("dataset.target", rule, f"{n:,} of {len(has):,} without in {column.name}", remedy)
    if n:
        log.warning("dataset.target: %s rows without a value in %s are left out", f"{n:,}", column.name)
    return np.asarray(has)


def _weights(column: pd.Series) -> NDArray[np.float64]:
    values = numbers(column)
    wrong = ~np.isfinite(values) | (values < 0)
    if wrong.any():
        other = column[wrong].iloc[0]
        given = f"{'a missing value' if pd.isna(other) else other} in {column.name}"
        raise UserError("dataset.weight", "must name a column of finite numbers ≥ 0", given, "name another column")
    return values
