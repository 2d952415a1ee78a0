"""What a column is taken for."""

import numpy as np
import pandas as pd
import pytest

from tabnas.data.frame.build import MISSING_TOKENS
from tabnas.data.frame.kinds import kind_of
from tabnas.data.frame.values import days, numbers, texts, tidied, truths


def kind(values, name="x", **options):
    column = values if isinstance(values, pd.Series) else pd.Series(values)
    found = kind_of(tidied(column.rename(name), MISSING_TOKENS), **options)
    return found.name if found.dropped is None else f"dropped: {found.dropped}"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.5, 2.5, 2.5], "numerical"),
        ([3, 1, 1], "numerical"),
        ([0, 1, 1], "numerical"),
        (["1", "2.5e3", "?", "-4"], "numerical"),
        ([" 1", "2 ", "", "1"], "numerical"),
        (["007", "012", "007"], "categorical"),
        (["0", "-0.5", "0"], "numerical"),
        ([True, False, True], "boolean"),
        ([True, None, False, True], "boolean"),
        (pd.Series([True, None, False], dtype="boolean"), "boolean"),
        (["yes", "No", "?", "yes"], "boolean"),
        (["t", "f", "t"], "boolean"),
        (["y", "", "y"], "categorical"),
        (["a", "b", "a"], "categorical"),
        (["a", "", "a"], "categorical"),
        (pd.Series([1, 2, 1], dtype="category"), "categorical"),
        (pd.Series(["a", "b", "a"], dtype="category"), "categorical"),
        (pd.Series(["a", "b", "c"], dtype="category"), "dropped: different in every row"),
        (["2020-01-01", "2020-02-30", "2020-01-01"], "categorical"),
        (["2020-01-01", "", "2021-12-31T23:59:59Z"], "date"),
        (["2020-01-01 10:00", "2020-01-01 11:30", "2020-01-01 10:00"], "date"),
        (pd.to_datetime(pd.Series(["2020-01-01", "2020-01-02"])), "date"),
        (pd.to_datetime(pd.Series(["2020-01-01", None, "2020-01-02"])).dt.tz_localize("Europe/Berlin"), "date"),
        (pd.to_timedelta(pd.Series([1, 2, 2], dtype="int64"), unit="D"), "numerical"),
        (pd.Series([1, None, 3, 3], dtype="Int64"), "numerical"),
        ([None, None], "dropped: empty"),
        (["", "?"], "dropped: empty"),
        ([5, 5, 5], "dropped: constant"),
        ([5, None, 5], "dropped: constant"),
        (["a", "a"], "dropped: constant"),
        ([11, 12, 14], "dropped: an id"),
        ([14, 12, 11], "dropped: an id"),
        (["11", "12", "14"], "dropped: an id"),
        ([14, 11, 12], "numerical"),
        ([1.5, 2.5, 3.5], "numerical"),
        ([1, 2, None], "numerical"),
        (["b", "a", "c"], "dropped: different in every row"),
        (["b", "a", "c", ""], "categorical"),
    ],
)
def test_kinds(values, expected):
    assert kind(values) == expected


@pytest.mark.parametrize("name", ["id", "ID", "user_id", "userId", "customerID", "Id.no", "unnamed 0", "row index"])
def test_different_whole_numbers_are_an_id_by_their_name(name):
    assert kind([14, 11, 12], name) == "dropped: an id"


@pytest.mark.parametrize("name", ["idea", "paid", "humidity", "grid", "width"])
def test_not_every_name_with_id_in_it(name):
    assert kind([14, 11, 12], name) == "numerical"


def test_a_given_kind_is_taken():
    assert kind([1, 2, 3], given="numerical") == "numerical"
    assert kind([1, 2, 3], given="categorical") == "categorical"
    assert kind([1, 1, 1], given="categorical") == "dropped: constant"


def test_what_is_to_be_kept_is():
    assert kind([1, 1, 1], keep=True) == kind([1, 2, 3], keep=True) == "numerical"
    assert kind([None], keep=True) == "dropped: empty"


def test_missing_tokens_that_are_numbers():
    tokens = (-999, "inf", "n/a")
    assert numbers(tidied(pd.Series([1.0, -999.0, np.inf, 2.0]), tokens)).tolist() == pytest.approx(
        [1, np.nan, np.nan, 2], nan_ok=True
    )
    assert numbers(tidied(pd.Series(["1", "-999", "n/a"]), tokens)).tolist() == pytest.approx(
        [1, np.nan, np.nan], nan_ok=True
    )


def test_whole_numbers_are_written_alike():
    for values in ([1, 2], [1.0, 2.0], ["1", "2"]):
        assert texts(tidied(pd.Series(values), ())).tolist() == ["1", "2"]
    assert texts(tidied(pd.Series([1, 2], dtype="category"), ())).tolist() == ["1", "2"]
    assert texts(tidied(pd.Series([1, 2.5]), ())).tolist() == ["1", "2.5"]
    assert texts(tidied(pd.Series([True, False]), ())).tolist() == ["True", "False"]


def test_days_and_truths():
    assert days(pd.Series(["1970-01-02", "1970-01-01T12:00:00+00:00", "x"])).tolist() == pytest.approx(
        [1, 0.5, np.nan], nan_ok=True
    )
    assert days(pd.to_datetime(pd.Series(["1970-01-03"]))).tolist() == [2]
    assert days(pd.Series(np.array(["9999-12-31", "0001-01-01"], "datetime64[s]"))).tolist() == [
        2932896,
        -719162,
    ]
    assert truths(pd.Series(["Yes", "n", "1", "0", "x"])).tolist() == pytest.approx([1, 0, 1, 0, np.nan], nan_ok=True)
