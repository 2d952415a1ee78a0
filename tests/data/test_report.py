"""What is told of a table before training."""

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from tabnas.data import connect4, report, sklearn_tables
from tabnas.data.frame import from_frame
from tabnas.data.table import Table


def shown(table, name="t", width=100):
    console = Console(file=io.StringIO(), width=width)
    report.show(table, name, console)
    return console.file.getvalue()


@pytest.fixture
def table():
    frame = pd.DataFrame(
        {
            "[bold]x": [0.5, None, 2, 3] * 10,
            "text": ["a", "b", None, "a"] * 10,
            "key": range(40),
            "label": ["yes", "no"] * 20,
        }
    )
    return from_frame(frame, target="label")


def test_lines(table):
    assert report.lines(table, "mine") == [
        "mine: classification, 32 training, 8 validation and no test rows",
        "inputs: 1 numerical, 1 categorical; 16.7% of the cells missing",
        "classes: no 50.0%, yes 50.0%",
        "[bold]x: numerical, 25.0% missing, 3 values → standardised",
        "text: categorical, 25.0% missing, 2 values → embedding of 2 values",
        "key: numerical, none missing, 40 values → dropped: an id",
        "label: target, none missing, 2 values → 2 classes",
    ]


def test_the_console_has_the_same(table):
    text = shown(table)
    assert "[bold]x" in text
    for part in ("dropped: an id", "25.0%", "embedding of 2 values", "classes: no 50.0%, yes 50.0%"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 100


def test_many_columns_are_grouped():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.standard_normal((50, 60))).rename(columns=lambda i: f"n{i}")
    frame = frame.assign(**{f"c{i}": rng.choice(["a", "b", "c"][: 2 + i % 2], 50) for i in range(5)})
    lines = report.lines(from_frame(frame.assign(label=["x", "y"] * 25), target="label"), "wide")
    assert len(lines) == 6
    assert lines[3] == "5 columns: c0, c1, c2, …: categorical, none missing, 2 to 3 values → embedding"
    assert lines[4].startswith("60 columns: n0, n1, n2, …: numerical")


def test_regression_and_many_classes():
    assert "target: mean" in report.lines(sklearn_tables.load(name="diabetes"), "d")[2]
    target = np.arange(400) % 20
    table = Table.from_arrays("many", np.ones((400, 2)), None, target, tuple(map(str, range(20))))
    assert report.lines(table, "many")[2].startswith("classes: 20, of ")


def test_a_table_that_tells_nothing_of_its_columns():
    table = connect4.load(test_fraction=0.1)
    assert report.lines(table, "connect4") == [
        "connect4: classification, 47,290 training, 13,511 validation and 6,756 test rows",
        "inputs: 0 numerical, 42 categorical",
        "classes: win 65.9%, loss 24.7%, draw 9.5%",
    ]
    assert shown(table, "connect4").splitlines() == report.lines(table, "connect4")
