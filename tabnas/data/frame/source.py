"""The rows as the source has them: tidied, checked against what the config names, without those that cannot be used."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabnas.data.frame.kinds import KINDS
from tabnas.data.frame.values import numbers, tidied
from tabnas.errors import UserError, require_one_of, unknown

log = logging.getLogger(__name__)

MOST_WITHOUT_TARGET = 0.2


@dataclass(frozen=True)
class Source:
    """n rows that have a target and weigh something."""

    columns: pd.DataFrame
    """n rows; see values.tidied."""
    is_valid: NDArray[np.bool_] | None
    """(n,) where the validation rows are given."""
    weights: NDArray[np.float64] | None
    """(n,) above 0."""
    roles: dict[str, str]
    """By column: target, weight, split, time."""
    missing: dict[str, float]
    """By column, the share of the source's rows without a value."""


def read(
    frame: pd.DataFrame,
    valid_frame: pd.DataFrame | None,
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
    names = _names(frame)
    given = {"target": target, "weight": weight, "split_column": split_column, "time_column": time_column}
    if target is None:
        raise UserError("dataset.target", f"must name one of the columns {_few(names)}", target, "name one")
    for key, named in [*given.items(), *(("drop", c) for c in drop)]:
        if named is not None and named not in names:
            raise unknown(f"dataset.{key}", named, names)
    for column, kind in kinds.items():
        if column not in names:
            raise unknown(f"dataset.kinds.{column}", column, names)
        require_one_of(f"dataset.kinds.{column}", kind, KINDS)
    keys: dict[str, str] = {}
    for key, name in given.items():
        if name in keys:
            rule = f"must not be the column of dataset.{keys[name]}"
            raise UserError(f"dataset.{key}", rule, name, "name another column")
        if name is not None:
            keys[name] = key
    if target in drop or target in kinds:
        key = "drop" if target in drop else f"kinds.{target}"
        raise UserError(
            f"dataset.{key}", "must not be the target", target, "leave it out; dataset.task says what it is"
        )
    ways = [k for k in ("split_column", "time_column") if given[k]] + ["valid_path"] * (valid_frame is not None)
    if len(ways) > 1:
        raise UserError(f"dataset.{ways[0]}", f"must not come with dataset.{ways[1]}", given.get(ways[0]), "give one")

    frames = [frame.set_axis(names, axis=1)]
    if valid_frame is not None:
        frames.append(_same_columns(valid_frame, [n for n in names if n not in drop]))
    columns = _tidied(frames, missing_tokens)
    if columns.empty:
        raise UserError("dataset.path", "must have rows", "none", "give a table with rows")
    is_valid = None if valid_frame is None else np.arange(len(columns)) >= len(frame)
    missing = {name: float(columns[name].isna().mean()) for name in names}
    keep = _has_target(columns[target])
    weights = None if weight is None else _weights(columns[weight])
    if weights is not None:
        if n := int((keep & (weights == 0)).sum()):
            log.warning("dataset.weight: %s rows of weight 0 are left out", f"{n:,}")
        keep = keep & (weights > 0)
        if not keep.any():
            raise UserError("dataset.weight", "must be above 0 in some row", weight, "name another column")
    return Source(
        columns[keep].reset_index(drop=True),
        None if is_valid is None else is_valid[keep],
        None if weights is None else weights[keep],
        {name: key.removesuffix("_column") for name, key in keys.items()},
        missing,
    )


def _names(frame: pd.DataFrame) -> list[str]:
    names = [str(name) for name in frame.columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError("dataset.path", "must have columns of different names", twice, "rename one of each")
    return names


def _few(names: list[str]) -> str:
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "")


def _same_columns(frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    frame = frame.set_axis(_names(frame), axis=1)
    if absent := [name for name in names if name not in frame]:
        rule = "must have the columns of dataset.path"
        raise UserError("dataset.valid_path", rule, f"none called {_few(absent)}", "add them, or see dataset.drop")
    if frame.empty:
        raise UserError("dataset.valid_path", "must have rows", "none", "give a table with rows")
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
