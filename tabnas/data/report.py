"""What is in a table, before anything is trained on it: for the console and, plain, for the log."""

from itertools import groupby

import numpy as np
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from tabnas.data.table import Column, Table
from tabnas.task import Classification

MOST_COLUMNS = 30
"""Told one by one; more are told in groups of the same kind that became the same."""
MOST_CLASSES = 10
MOST_NAMES = 3
"""Of a group's columns."""


def show(table: Table, name: str, console: Console) -> None:
    """Print the report: what the table is, and what became of its columns."""
    console.print(*summary(table, name), sep="\n", markup=False, highlight=False)
    rows = _rows(table.columns)
    if not rows:
        return
    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("column", "kind", "missing", "values", "became"):
        grid.add_column(heading, justify="right" if heading in ("missing", "values") else "left", overflow="fold")
    for row in rows:
        grid.add_row(*map(Text, row))  # as it is: a name may look like markup
    console.print(grid)


def lines(table: Table, name: str) -> list[str]:
    """The same as plain lines."""
    told = [
        f"{column}: {kind or 'left out'}, {missing or 'none'} missing, {values or '?'} values → {became}"
        for column, kind, missing, values, became in _rows(table.columns)
    ]
    return [*summary(table, name), *told]


def summary(table: Table, name: str) -> list[str]:
    """A few lines on the whole table."""
    task, missing = table.task, [column.missing for column in table.columns if column.kind != "target"]
    n_categorical = table.train.categorical.shape[1]
    n_rows = f"{table.train.n_rows:,} training, {table.valid.n_rows:,} validation"
    n_test = "no" if table.test is None else f"{table.test.n_rows:,}"
    told = [
        f"{name}: {task.name}, {n_rows} and {n_test} test rows",
        f"inputs: {table.n_numerical:,} numerical, {n_categorical:,} categorical"
        + (f"; {np.mean(missing):.1%} of the cells missing" if missing else ""),
    ]
    if not isinstance(task, Classification):
        return [*told, f"target: mean {task.mean:.4g}, deviation {task.std:.4g} in training"]
    shares = np.bincount(table.train.target.numpy(), minlength=len(task.classes)) / table.train.n_rows
    if len(shares) <= MOST_CLASSES:
        named = ", ".join(f"{label} {share:.1%}" for label, share in zip(task.classes, shares, strict=True))
    else:
        named = f"{len(shares):,}, of {shares.min():.2%} to {shares.max():.2%} of the training rows"
    return [*told, f"classes: {named}"]


def _rows(columns: tuple[Column, ...]) -> list[tuple[str, ...]]:
    """Name, kind, missing, values, became: of each column, or of each group where there are many columns."""
    if len(columns) <= MOST_COLUMNS:
        groups = [[column] for column in columns]
    else:
        ordered = sorted(columns, key=_alike)  # stable: columns of a group stay in the source's order
        groups = [list(group) for _, group in groupby(ordered, key=_alike)]
    return [_row(group) for group in groups]


def _alike(column: Column) -> tuple[str, str]:
    """What columns of a group share; how many values an embedding has is told as a range."""
    return column.kind, "embedding" if column.became.startswith("embedding of") else column.became


def _row(group: list[Column]) -> tuple[str, ...]:
    first = group[0]
    names = ", ".join(column.name for column in group[:MOST_NAMES])
    if len(group) > 1:
        names = f"{len(group):,} columns: {names}" + (", …" if len(group) > MOST_NAMES else "")
    became = first.became if len({column.became for column in group}) == 1 else _alike(first)[1]
    missing = np.mean([column.missing for column in group])
    return names, first.kind, f"{missing:.1%}" if missing else "", _span([column.n_values for column in group]), became


def _span(counts: list[int | None]) -> str:
    known = [count for count in counts if count is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
