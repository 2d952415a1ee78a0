"""Which rows validate."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabnas.data.frame.split import by_column, by_time, stratified
from tabnas.errors import UserError


def parts_of(split, n):
    train, valid = split
    assert sorted([*train, *valid]) == list(range(n))
    return train, valid


@given(st.lists(st.integers(1, 40), min_size=2, max_size=8), st.floats(0.05, 0.9), st.integers(0, 5))
def test_stratified_shares_are_within_a_row(counts, val_fraction, seed):
    classes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    try:
        train, valid = parts_of(stratified(classes, val_fraction, seed), len(classes))
    except UserError:
        assert round(val_fraction * len(classes)) == 0
        return
    in_valid = np.bincount(classes[valid], minlength=len(counts))
    assert (np.abs(in_valid - val_fraction * np.array(counts)) <= 1).all()
    assert (np.bincount(classes[train], minlength=len(counts)) >= 1).all()


def test_stratified_takes_every_row_at_the_same_rate():
    classes = np.repeat([0, 1], [30, 10])
    hits = np.zeros(40)
    n = 400
    for seed in range(n):
        hits[stratified(classes, 0.2, seed)[1]] += 1
    assert np.abs(hits / n - 0.2).max() < 4.5 * np.sqrt(0.2 * 0.8 / n)


def test_stratified_depends_on_the_seed_alone():
    classes = np.arange(100) % 3
    assert np.array_equal(stratified(classes, 0.2, 1)[1], stratified(classes, 0.2, 1)[1])
    assert not np.array_equal(np.sort(stratified(classes, 0.2, 1)[1]), np.sort(stratified(classes, 0.2, 2)[1]))


@pytest.mark.parametrize(
    ("values", "valid"),
    [
        (["train", "valid", "train"], [1]),
        (["Training", "train", "VAL"], [2]),
        ([0, 1, 1], [1, 2]),
        ([False, False, True], [2]),
        (["train", "test", "test"], [1, 2]),
    ],
)
def test_by_column(values, valid):
    assert by_column(pd.Series(values))[1].tolist() == valid


def test_by_column_leaves_test_rows_out_where_there_are_others(caplog):
    train, valid = by_column(pd.Series(["train", "valid", "test", "test"]))
    assert (train.tolist(), valid.tolist()) == ([0], [1])
    assert "2 test rows are left out" in caplog.text


@pytest.mark.parametrize(
    "values", [["train", "train"], ["valid", "test"], ["train", "valid", "x"], ["train", "valid", None]]
)
def test_by_column_mistakes(values):
    with pytest.raises(UserError, match=r"dataset\.split_column"):
        by_column(pd.Series(values, dtype="string"))


@given(st.lists(st.integers(0, 30), min_size=2, max_size=60), st.floats(0.01, 0.9))
def test_by_time_all_validate_later_and_the_share_is_the_nearest(times, val_fraction):
    values = np.array(times)
    if len(set(times)) < 2:
        with pytest.raises(UserError, match=r"dataset\.time_column.*two times"):
            by_time(pd.Series(values), val_fraction)
        return
    train, valid = parts_of(by_time(pd.Series(values), val_fraction), len(times))
    assert values[train].max() < values[valid].min()
    off = [abs((values >= t).mean() - val_fraction) for t in sorted(set(times))[1:]]
    assert abs(len(valid) / len(times) - val_fraction) == pytest.approx(min(off))


@pytest.mark.parametrize("made", [lambda s: s, pd.to_datetime])
def test_by_time_reads_dates(made):
    column = made(pd.Series(["2021-01-01", "2019-05-05", "2020-02-02", "2018-01-01", "2020-12-31"]))
    assert by_time(column.astype("string") if column.dtype == object else column, 0.2)[1].tolist() == [0]


@pytest.mark.parametrize("values", [["2021-01-01", "yesterday"], ["2021-01-01", None]])
def test_by_time_mistakes(values):
    with pytest.raises(UserError, match=r"dataset\.time_column"):
        by_time(pd.Series(values, dtype="string", name="when"), 0.2)
