"""Seeds trained at once are what each would be alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tabnas.data.datamodule import TableDataModule
from tabnas.data.table import Table
from tabnas.encoder import Encoder
from tabnas.numerical import fitted
from tabnas.optim import SGD, Adam
from tabnas.retrain import MOST_SEEDS, Retraining
from tabnas.task import Regression

SEEDS = (3, 0, 7)


def rows(table, **columns):
    """The table with other columns in both splits, each made from its rows."""
    splits = (r._replace(**{name: make(r) for name, make in columns.items()}) for r in (table.train, table.valid))
    train, valid = splits
    return replace(table, train=train, valid=valid)


@pytest.fixture
def new_retraining(small_table, tmp_path):
    def build(*, table=small_table, optimizer=None, embedding=None, sparse=False, **settings) -> Retraining:
        numerical = fitted(embedding, table.train.numerical)
        data = TableDataModule(table, batch_size=16, seed=0, steps_per_block=5)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        common = {"max_epochs": 4, "accelerator": "cpu", "checkpoint_every_seconds": 1000, "folder": folder, **settings}
        return Retraining(
            data=data,
            new_encoder=lambda: Encoder(
                table.n_numerical, table.cardinalities, 2, sparse=sparse, unseen=0, numerical=numerical
            ),
            task=table.task,
            optimizer=optimizer or Adam(lr=0.01, schedule="cosine"),
            **common,
        )

    return build


def assert_as_alone(new_retraining, rel=1e-5, **settings):
    together, alone = new_retraining(**settings), new_retraining(**settings)
    outcomes = together.outcomes((8, 4), SEEDS)
    for seed, outcome in zip(SEEDS, outcomes, strict=True):
        (single,) = alone.outcomes((8, 4), [seed])
        for name in set(single) - {"seconds", "test"}:
            assert outcome[name] == pytest.approx(single[name], rel=rel, abs=1e-6), name
        weights, expected = (torch.load(r.weights((8, 4), seed), weights_only=True) for r in (together, alone))
        assert weights.keys() == expected.keys()
        for name in expected:
            torch.testing.assert_close(weights[name], expected[name], rtol=1e-3, atol=1e-4)
    assert len({outcome["loss"] for outcome in outcomes}) == len(SEEDS)


@pytest.mark.parametrize(
    "optimizer", [Adam(lr=0.01, schedule="cosine"), SGD(lr=0.05, momentum=0.9), SGD(lr=0.05)], ids=repr
)
def test_classes(new_retraining, optimizer):
    assert_as_alone(new_retraining, optimizer=optimizer)


def test_two_classes_without_categories(new_retraining):
    rng = np.random.default_rng(0)
    numerical = rng.standard_normal((200, 5))
    target = (numerical[:, 0] + rng.standard_normal(200) > 0).astype(int)
    table = Table.from_arrays("two", numerical, None, target, ("no", "yes"), val_fraction=0.25)
    assert_as_alone(new_retraining, table=table)


def test_regression_with_weights(new_retraining, small_table):
    table = rows(
        small_table, target=lambda r: r.numerical[:, 0] + r.categorical[:, 0] - 1.5, weight=lambda r: r.target + 0.5
    )
    assert_as_alone(new_retraining, table=replace(table, task=Regression(0.0, 1.0)))


def test_weighted_classes_without_numbers(new_retraining, small_table):
    table = rows(small_table, numerical=lambda r: r.numerical[:, :0], weight=lambda r: r.numerical[:, 1].exp())
    assert_as_alone(new_retraining, table=table)


@pytest.mark.parametrize("kind", ["piecewise_linear", "periodic"])
def test_embedded_numbers(new_retraining, kind):
    assert_as_alone(new_retraining, embedding={"kind": kind, "dim": 3})


def test_each_with_the_epoch_of_its_own(new_retraining):
    assert_as_alone(new_retraining, optimizer=Adam(lr=0.05), max_epochs=12, patience=2, keep="best", rel=1e-4)


def test_the_other_seeds_do_not_matter(new_retraining):
    outcomes = [new_retraining().outcomes((8, 4), seeds)[0] for seeds in ((5, 1), (5, 2, 9, 4))]
    assert outcomes[0]["loss"] == pytest.approx(outcomes[1]["loss"], rel=1e-5)


def test_a_seed_of_its_own_initialisation_and_order(new_retraining):
    """The same seed twice is the same training twice."""
    first, second = new_retraining().outcomes((8, 4), (5, 5))
    for name in set(first) - {"test"}:
        assert first[name] == pytest.approx(second[name], rel=1e-5)


def test_which_are_trained_at_once(new_retraining):
    few, many = range(3), range(MOST_SEEDS + 2)
    assert new_retraining().groups((8, 4), few) == [few]
    assert [len(group) for group in new_retraining().groups((8, 4), many)] == [MOST_SEEDS, 2]
    assert [len(group) for group in new_retraining().groups((8000, 400), few)] == [1, 1, 1]
    assert [len(group) for group in new_retraining(sparse=True).groups((8, 4), few)] == [1, 1, 1]
    mapped = new_retraining()
    mapped.data.shuffle_rows = 64
    assert [len(group) for group in mapped.groups((8, 4), few)] == [1, 1, 1]
