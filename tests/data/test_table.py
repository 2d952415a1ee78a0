import numpy as np
import pytest
import torch

from tabnas.data import digits
from tabnas.data.table import Rows, Table, random_split
from tabnas.errors import UserError


def as_set(rows):
    return {tuple(row) for row in rows.numerical.tolist()}


def test_splits_without_overlap(small_table):
    assert (small_table.train.n_rows, small_table.valid.n_rows) == (180, 60)
    assert len(as_set(small_table.train) | as_set(small_table.valid)) == 240


def test_the_split_follows_its_seed_alone():
    first, again, other = (random_split(100, 0.2, seed)[1] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert set(first) != set(other)


@pytest.mark.parametrize(("n_rows", "n_test"), [(100, 10), (20, 2), (4, 0)])
def test_what_validates_does_not_depend_on_what_tests(n_rows, n_test):
    split, without = (random_split(n_rows, 0.25, 3, test_fraction=share) for share in (0.1, 0))
    assert np.array_equal(split.valid, without.valid)
    assert len(split.test) == n_test
    assert sorted(np.concatenate(split)) == list(range(n_rows))


def test_a_table_of_arrays_with_test_rows():
    target = np.arange(40) % 2
    arrays = ("t", np.arange(40.0)[:, None], None, target, ("a", "b"))
    table = Table.from_arrays(*arrays, test_fraction=0.1, standardize=True)
    assert (table.train.n_rows, table.valid.n_rows, table.test.n_rows) == (28, 8, 4)
    assert table.train.numerical.mean().abs() < 1e-6
    assert Table.from_arrays(*arrays).test is None


def test_standardize_uses_the_training_split_alone():
    table = digits.load()
    varying = table.train.numerical.std(dim=0) > 0
    assert table.train.numerical.mean(dim=0).abs().max() < 1e-5
    spread = table.train.numerical.std(dim=0, correction=0)[varying]
    assert torch.allclose(spread, torch.ones(int(varying.sum())), atol=1e-4)
    assert table.valid.numerical.mean(dim=0).abs().max() > 1e-3


def test_rows_without_and_with_weights():
    rows = Rows(torch.arange(6.0)[:, None], torch.empty(6, 0), torch.arange(6))
    weighted = rows._replace(weight=torch.arange(6.0))
    assert [piece.n_rows for piece in rows.split(4)] == [4, 2]
    assert rows.split(4)[1].weight is None
    assert weighted.split(4)[1].weight.tolist() == [4, 5]
    assert weighted.take(torch.tensor([5, 0])).weight.tolist() == [5, 0]
    assert weighted.slice(2, 4).target.tolist() == [2, 3]


@pytest.mark.parametrize("val_fraction", [0, 1.5, 0.001])
def test_refuses_a_split(val_fraction):
    with pytest.raises(UserError) as caught:
        random_split(100, val_fraction, 0)
    assert caught.value.name == "dataset.val_fraction"


@pytest.mark.parametrize(("n_rows", "test_fraction"), [(100, -0.1), (100, 0.8), (3, 0.7), (100, "0.1")])
def test_refuses_a_test_split(n_rows, test_fraction):
    with pytest.raises(UserError) as caught:
        random_split(n_rows, 0.25, 0, test_fraction=test_fraction)
    assert caught.value.name == "dataset.test_fraction"


def test_refuses_a_single_class():
    with pytest.raises(UserError, match="at least two classes"):
        Table.from_arrays("one", np.zeros((5, 1)), None, np.zeros(5, int), ("a",))
