"""A DataFrame becomes a Table, step by step."""

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from tabnas.data.frame import source as sources
from tabnas.data.frame.fit import Fate, fit
from tabnas.data.frame.source import Source
from tabnas.data.frame.split import by_column, by_time, stratified
from tabnas.data.frame.target import Target, read_target
from tabnas.data.frame.values import MISSING_TOKENS
from tabnas.data.table import Column, Rows, Split, Table, parts, random_split
from tabnas.errors import UserError, require_one_of
from tabnas.task import Classification, Task

Load = TypeVar("Load", bound=Callable[..., Table])


def from_frame(
    frame: pd.DataFrame,
    *,
    target: str | None,
    valid_frame: pd.DataFrame | None = None,
    test_frame: pd.DataFrame | None = None,
    task: str = "auto",
    kinds: Mapping[str, str] | None = None,
    drop: Collection[str] | None = None,
    drop_uninformative: bool = True,
    missing_tokens: Collection[str | float] | None = None,
    numerical: str = "standard",
    min_count: int = 2,
    max_categories: int = 1000,
    high_cardinality: str = "error",
    hash_buckets: int = 1024,
    weight: str | None = None,
    class_weight: str | None = None,
    split_column: str | None = None,
    time_column: str | None = None,
    val_fraction: float = 0.2,
    test_fraction: float = 0.0,
    split_seed: int = 0,
    stratify: bool = True,
) -> Table:
    """A table of the DataFrame's rows; UserError, naming `dataset.KEY`, for whatever cannot be right.

    target: the column to predict; rows without a value there are left out.
    valid_frame: the validation rows. Without it split_column says which they are, or time_column, or chance.
    test_frame: the test rows. Without it they are chosen in the way the validation rows are, but for those of
        valid_frame, beside which there are none.
    task: auto, classification or regression; see target.read_target.
    kinds: numerical, categorical, boolean or date by column, in place of the inferred kind; see kinds.kind_of.
    drop: columns to leave out. drop_uninformative: ids and constants too, with a line that says so.
    missing_tokens: text or numbers that mean that there is no value; None: MISSING_TOKENS.
    numerical: standard, original (the paper's), quantile (to a normal distribution), log (and then standard).
    min_count: training rows that a category needs for an id of its own; the others share one.
    max_categories, high_cardinality: error, or hash into hash_buckets ids, where a column has more categories than
        that, or is text that rarely repeats.
    weight: a column of numbers ≥ 0, how much each row counts; rows of weight 0 are left out.
    class_weight: balanced: weights under which all classes count alike, of mean 1 in training, times `weight`.
    split_column: train, valid or test by row; without any that validate, chance chooses these among those that train.
    time_column: the latest rows test, those before them validate.
    val_fraction, test_fraction: share of the rows that validate and test, by time or by chance. split_seed: of chance.
    stratify: by chance, with the same share of every class.

    All is inferred and fitted on the training rows alone. A missing number becomes the training mean of what its
    column becomes, a missing category the id MISSING.
    """
    tokens, kinds, drop = _tokens(missing_tokens), _kinds(kinds), _names(drop)
    require_one_of("dataset.class_weight", class_weight, (None, "balanced"))
    require_one_of("dataset.stratify", stratify, (True, False))
    require_one_of("dataset.drop_uninformative", drop_uninformative, (True, False))
    source = sources.read(
        frame, valid_frame, test_frame, missing_tokens=tokens, target=target, weight=weight, split_column=split_column,
        time_column=time_column, kinds=kinds, drop=drop,
    )  # fmt: skip
    answer = read_target(source.columns[str(target)], task)
    if class_weight and answer.classes is None:
        raise UserError("dataset.class_weight", "must go with classes", class_weight, "leave it out for regression")
    chance = partial(_by_chance, answer, stratify, val_fraction, split_seed)
    split = _split(source, chance, val_fraction, test_fraction)
    values, fitted_task = answer.fitted(split.train)
    features = source.columns.drop(columns=list(source.roles))
    encoding, fates = fit(
        features.iloc[np.sort(split.train)], target=str(target), kinds=kinds, drop=drop,
        drop_uninformative=drop_uninformative, missing_tokens=tokens,
        numerical=numerical, min_count=min_count, max_categories=max_categories, high_cardinality=high_cardinality,
        hash_buckets=hash_buckets,
    )  # fmt: skip
    weights = source.weights
    if class_weight:
        weights = _balancing(values, split.train) * (1.0 if weights is None else weights)
    numbers, ids = encoding.encode_tidied(features, len(features))
    cardinalities = tuple(column.cardinality for column in encoding.categorical)
    rows = Rows(
        torch.from_numpy(numbers),
        torch.from_numpy(ids.astype(np.uint8) if max(cardinalities, default=1) <= 256 else ids),
        torch.from_numpy(values),
        None if weights is None else torch.from_numpy(weights.astype(np.float32)),
    )
    fates |= _fates_of_roles(source, fitted_task)
    train, valid, test = parts(rows, split)
    return Table(
        train,
        valid,
        cardinalities,
        fitted_task,
        tuple(
            Column(name, fates[name].kind, source.missing[name], int(column.nunique()), fates[name].became)
            for name, column in source.columns.items()
        ),
        encoding=encoding.to_json(),
        has_reserved_ids=True,
        test=test,
    )


def _split(
    source: Source, chance: Callable[[NDArray[np.int64], float], Split], val_fraction: float, test_fraction: float
) -> Split:
    """Row numbers of each split, those of training and of validation not empty.

    chance: splits the rows with the numbers given, with the share given for testing.
    """
    by_role = {role: name for name, role in source.roles.items()}
    own, valid, test = (np.flatnonzero(source.file == number) for number in range(3))
    share = 0.0 if len(test) else test_fraction
    if len(valid):
        split = Split(own, valid, test)
    elif "split" in by_role:
        split = by_column(source.columns[by_role["split"]])
        if not len(split.valid):
            split = chance(split.train, 0.0)._replace(test=split.test)
    elif "time" in by_role:
        found = by_time(source.columns[by_role["time"]].iloc[own], val_fraction, test_fraction=share)
        split = Split(*(own[numbers] for numbers in found))
    else:
        split = chance(own, share)
    if len(test):
        split = split._replace(test=test)
    if not len(split.train) or not len(split.valid):
        rule = f"must leave rows with a {by_role['target']} for training and for validation"
        given = f"{len(split.train):,} and {len(split.valid):,}"
        raise UserError("dataset.val_fraction", rule, given, "give more rows or another split")
    return split


def _by_chance(
    target: Target, stratify: bool, val_fraction: float, seed: int, rows: NDArray[np.int64], test_fraction: float
) -> Split:
    """Of the rows with these numbers."""
    if stratify and target.classes is not None:
        classes = target.values[rows].astype(np.int64)
        split = stratified(classes, val_fraction, seed, test_fraction=test_fraction)
    else:
        split = random_split(len(rows), val_fraction, seed, test_fraction=test_fraction)
    return Split(*(rows[numbers] for numbers in split))


def _tokens(given: Collection[str | float] | None) -> tuple[str | float, ...]:
    if given is None:
        return MISSING_TOKENS
    if isinstance(given, str) or not all(isinstance(token, str | int | float) for token in given):
        rule = "must be a list of text and numbers"
        raise UserError("dataset.missing_tokens", rule, given, "write ['?', -999], with '' for nothing at all")
    return tuple(given)


def _names(given: Collection[str] | None) -> tuple[str, ...]:
    """A config reads a column's name as a number where it looks like one."""
    if isinstance(given, str):
        raise UserError("dataset.drop", "must be a list of columns", given, f"write [{given}]")
    return tuple(map(str, () if given is None else given))


def _kinds(given: Mapping[str, str] | None) -> dict[str, str]:
    if not isinstance(given, Mapping | None):
        raise UserError("dataset.kinds", "must say a kind by column", given, "write {age: numerical}")
    return {str(name): kind for name, kind in (given or {}).items()}


def _balancing(target: NDArray[Any], train: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) weights that depend on the class alone, such that those of each class have the same sum in training."""
    by_class = np.bincount(target[train])
    weights = len(train) / (len(by_class) * by_class)
    return np.asarray(weights[target])


def _fates_of_roles(source: Source, task: Task) -> dict[str, Fate]:
    fates = {}
    for name, role in source.roles.items():
        if role != "target":
            became = {"weight": "weight of the row", "split": "the split", "time": "the split, not learnt from"}[role]
        elif isinstance(task, Classification):
            became = f"{len(task.classes):,} classes"
        else:
            became = f"standardised: mean {task.mean:.4g}, deviation {task.std:.4g}"
        fates[name] = Fate(role, became)
    return fates


def takes_frame_options(load: Load) -> Load:
    """For load(…, **options) that hands its options to from_frame: the signature it stands for.

    So whoever looks at the signature (tabnas.build does) learns of every option, and of none that does not exist.
    """
    own = [p for p in inspect.signature(load).parameters.values() if p.kind is not p.VAR_KEYWORD]
    known = {p.name for p in own} | {"frame", "valid_frame", "test_frame"}
    others = [p for p in inspect.signature(from_frame).parameters.values() if p.name not in known]
    load.__signature__ = inspect.Signature([*own, *others])  # type: ignore[attr-defined]
    return load
