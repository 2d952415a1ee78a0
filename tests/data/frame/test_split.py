"""Which rows validate and which test."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabnas.data.frame.split import by_column, by_time, stratified
from tabnas.errors import UserError


def parts_of(split, n):
    train, valid, test = split
    assert sorted([*train, *valid, *test]) == list(range(n))
    return train, valid, test


COUNTS = st.lists(st.integers(1, 40), min_size=2, max_size=8)


@given(COUNTS, st.floats(0.05, 0.9), st.floats(0, 0.9), st.integers(0, 5))
def test_stratified_shares_are_within_a_row(counts, val_fraction, test_fraction, seed):
    classes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    n_val, n_test = (round(share * len(classes)) for share in (val_fraction, test_fraction))
    try:
        split = stratified(classes, val_fraction, seed, test_fraction=test_fraction)
    except UserError:
        assert n_val == 0 or val_fraction + test_fraction >= 1 or n_val + n_test >= len(classes)
        return
    train, valid, test = parts_of(split, len(classes))
    in_valid, in_test = (np.bincount(classes[rows], minlength=len(counts)) for rows in (valid, test))
    assert (np.abs(in_valid - val_fraction * np.array(counts)) <= 1).all()
    # Within a row of the share of what does not validate, and of the whole number of test rows.
    assert (np.abs(in_test - n_test * (counts - in_valid) / (len(classes) - len(valid))) <= 1).all()
    assert (np.bincount(classes[train], minlength=len(counts)) >= 1).all()
    assert np.array_equal(valid, stratified(classes, val_fraction, seed).valid)


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
    ],
)
def test_by_column(values, valid):
    assert by_column(pd.Series(values)).valid.tolist() == valid


@pytest.mark.parametrize("values", [["train", "valid", "test", "test"], ["train", "train", "Testing", "test"]])
def test_by_column_test_rows_test(values):
    assert by_column(pd.Series(values)).test.tolist() == [2, 3]


@pytest.mark.parametrize(
    "values", [["train", "train"], ["valid", "test"], ["train", "valid", "x"], ["train", "valid", None]]
)
def test_by_column_mistakes(values):
    with pytest.raises(UserError, match=r"dataset\.split_column"):
        by_column(pd.Series(values, dtype="string"))


TIMES = st.lists(st.integers(0, 30), min_size=2, max_size=60)


@given(TIMES, st.floats(0.01, 0.9))
def test_by_time_all_validate_later_and_the_share_is_the_nearest(times, val_fraction):
    values = np.array(times)
    if len(set(times)) < 2:
        with pytest.raises(UserError, match=r"dataset\.time_column.*two times"):
            by_time(pd.Series(values), val_fraction)
        return
    train, valid, test = parts_of(by_time(pd.Series(values), val_fraction), len(times))
    assert values[train].max() < values[valid].min()
    assert not len(test)
    off = [abs((values >= t).mean() - val_fraction) for t in sorted(set(times))[1:]]
    assert abs(len(valid) / len(times) - val_fraction) == pytest.approx(min(off))


@given(TIMES.filter(lambda times: len(set(times)) > 1), st.floats(0.01, 0.5), st.floats(0, 0.45))
def test_by_time_all_test_later_still(times, val_fraction, test_fraction):
    values = np.array(times)
    split = by_time(pd.Series(values), val_fraction, test_fraction=test_fraction)
    train, valid, test = parts_of(split, len(times))
    assert values[train].max() < values[valid].min()
    distinct = sorted(set(times))
    if round(test_fraction * len(times)) == 0 or len(distinct) == 2:
        assert not len(test)
        return
    assert values[valid].max() < values[test].min()
    off = [abs((values >= t).mean() - test_fraction) for t in distinct[2:]]
    assert abs(len(test) / len(times) - test_fraction) == pytest.approx(min(off))


@pytest.mark.parametrize("made", [lambda s: s, pd.to_datetime])
def test_by_time_reads_dates(made):
    column = made(pd.Series(["2021-01-01", "2019-05-05", "2020-02-02", "2018-01-01", "2020-12-31"]))
    assert by_time(column.astype("string") if column.dtype == object else column, 0.2)[1].tolist() == [0]


@pytest.mark.parametrize("values", [["2021-01-01", "yesterday"], ["2021-01-01", None]])
def test_by_time_mistakes(values):
    with pytest.raises(UserError, match=r"dataset\.time_column"):
        by_time(pd.Series(values, dtype="string", name="when"), 0.2)
