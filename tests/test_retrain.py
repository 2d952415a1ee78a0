import json
from dataclasses import replace

import pytest
import torch
from pytorch_lightning import Callback

from tabnas.data.datamodule import TableDataModule
from tabnas.encoder import Encoder
from tabnas.network import Network
from tabnas.optim import SGD, Adam
from tabnas.retrain import Retraining, summary, summary_on_test
from tabnas.task import evaluate


@pytest.fixture
def retraining(new_search, small_table, tmp_path):
    return Retraining(
        data=new_search().data,
        new_encoder=lambda: Encoder(small_table.n_numerical, small_table.cardinalities, 2),
        task=small_table.task,
        optimizer=Adam(lr=0.01, schedule="cosine"),
        max_epochs=4,
        accelerator="cpu",
        checkpoint_every_seconds=1000,
        folder=tmp_path / "retrain",
    )


@pytest.mark.parametrize(
    ("optimizer", "sparse"),
    [
        (Adam(lr=0.01, schedule="cosine"), False),
        (SGD(lr=0.05, momentum=0.9), False),
        (SGD(lr=0.05), True),  # without momentum a row without gradient does not move, so that sparse changes nothing
    ],
)
def test_equals_a_plain_training_loop(retraining, small_table, optimizer, sparse):
    def new_encoder():
        return Encoder(small_table.n_numerical, small_table.cardinalities, 2, sparse=sparse)

    retraining = replace(retraining, optimizer=optimizer, new_encoder=new_encoder)
    outcome = retraining.outcomes((8, 4), [7])[0]
    torch.manual_seed(7)
    encoder = retraining.new_encoder()
    network = Network(encoder.n_inputs, (8, 4), 3)
    parameters = [*encoder.parameters(), *network.parameters()]
    if isinstance(optimizer, Adam):
        plain = torch.optim.Adam(parameters, lr=0.01, betas=(0.9, 0.999), eps=1e-3)
    else:
        plain = torch.optim.SGD(parameters, lr=0.05, momentum=optimizer.momentum)
    loader = retraining.data.blocks(seed=7, with_validation=False)
    total, step = 4 * retraining.data.steps_per_epoch, 0
    for n_epochs in range(1, 5):
        loader.n_epochs = n_epochs
        for block in loader:
            for rows in block.train.split(16):
                if isinstance(optimizer, Adam):
                    plain.param_groups[0]["lr"] = (
                        0.01 * (1 + torch.cos(torch.tensor(torch.pi * step / total)).item()) / 2
                    )
                plain.zero_grad()
                outputs = network(encoder(rows.numerical, rows.categorical))
                retraining.task.loss(outputs, rows.target).backward()
                plain.step()
                step += 1
    assert step == total
    expected = evaluate(retraining.task, lambda n, c: network(encoder(n, c)), *retraining.data.valid)
    assert outcome["loss"] == pytest.approx(expected["loss"], rel=1e-4)


def test_learns(retraining):
    assert replace(retraining, max_epochs=40).outcomes((8, 8), [0])[0]["balanced_error"] < 0.15


def test_the_seed_fixes_everything(retraining, tmp_path):
    again = replace(retraining, folder=tmp_path / "again")
    first, second = (r.outcomes((8, 4), [3])[0] for r in (retraining, again))
    assert first["loss"] == second["loss"]
    assert first["loss"] != retraining.outcomes((8, 4), [4])[0]["loss"]
    weights = [torch.load(r.weights((8, 4), 3), weights_only=True) for r in (retraining, again)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_what_is_done_is_not_repeated(retraining):
    retraining.outcomes((8, 4), [0])[0]
    path = retraining.folder / "8-4-seed0.json"
    path.write_text(json.dumps([{"loss": 1.25, "balanced_error": 0.5, "seconds": 1.0}]))
    assert retraining.outcomes((8, 4), [0])[0]["loss"] == 1.25


class Killed(Exception):
    pass


class KilledAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if module.step >= self.step:
            raise Killed


@pytest.mark.parametrize("stops", [(5,), (22,), (27,), (5, 16, 32), (11, 27)])
@pytest.mark.parametrize("seeds", [(3,), (3, 5, 4)])
def test_a_training_taken_up_ends_as_if_never_stopped(retraining, tmp_path, stops, seeds):
    """11 steps an epoch, in blocks of 5, for 4 epochs."""
    stopped = replace(retraining, checkpoint_every_seconds=0, folder=tmp_path / "stopped")
    for step in stops:
        with pytest.raises(Killed):
            stopped.outcomes((8, 4), seeds, [KilledAt(step)])
    whole, parts = (r.outcomes((8, 4), seeds) for r in (retraining, stopped))
    assert [one["loss"] for one in whole] == [one["loss"] for one in parts]
    for seed in seeds:
        weights = [torch.load(r.weights((8, 4), seed), weights_only=True) for r in (retraining, stopped)]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_test_rows_change_nothing_but_their_own_metrics(retraining, small_table, tmp_path):
    """Not even where they are not finite."""
    data = retraining.data
    outcomes = {}
    for name, value in {"fine": 0.5, "wild": float("nan")}.items():
        test = small_table.valid.take(torch.arange(12))
        table = replace(small_table, test=test._replace(numerical=torch.full_like(test.numerical, value)))
        served = TableDataModule(table, batch_size=16, seed=data.seed, steps_per_block=5)
        ours = replace(retraining, data=served, folder=tmp_path / name, patience=2, keep="best")
        outcomes[name] = ours.outcomes((8, 4), [0, 1])
    for fine, wild in zip(*outcomes.values(), strict=True):
        assert set(fine["test"]) == {"loss", "balanced_error", "accuracy", "auroc"}
        assert wild["test"] is None
        assert {**fine, "seconds": 0, "test": 0} == {**wild, "seconds": 0, "test": 0}
    assert summary_on_test(outcomes["wild"]) is None


def test_the_test_split_is_judged_as_the_validation_split(retraining, small_table):
    retraining.data.test = small_table.valid
    for outcome in retraining.outcomes((8, 4), [0, 1]):
        assert outcome["test"] == {name: outcome[name] for name in ("loss", "balanced_error", "accuracy", "auroc")}


def test_outcomes_without_a_test(retraining):
    """Also those left by a version that had none."""
    outcomes = [
        {"loss": 1.0, "seconds": 1.0, "weight_updates": 9, "test": {"loss": 2.0}},
        {"loss": 1.0, "seconds": 1.0, "weight_updates": 9, "test": {"loss": 4.0}},
    ]
    assert summary_on_test(outcomes) == {"loss": {"mean": 3.0, "std": pytest.approx(2**0.5), "runs": [2.0, 4.0]}}
    assert summary_on_test([outcomes[0], {"loss": 1.0, "seconds": 1.0}]) is None
    assert set(summary(outcomes)) == {"loss", "seconds", "weight_updates"}


def test_summary_of_several_seeds():
    outcomes = [
        {"loss": 1.0, "balanced_error": 0.2, "seconds": 3.0, "weight_updates": 40},
        {"loss": 3.0, "balanced_error": 0.4, "seconds": 4.0, "weight_updates": 50},
    ]
    table = summary(outcomes)
    assert (table["seconds"], table["weight_updates"]) == (7.0, 90)
    assert table["loss"] == {"mean": 2.0, "std": pytest.approx(2**0.5), "runs": [1.0, 3.0]}
    assert summary(outcomes[:1])["loss"]["std"] is None
