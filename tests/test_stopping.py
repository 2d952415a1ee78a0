"""When a stand-alone training stops, and with which epoch's weights."""

import math
from dataclasses import replace

import pytest
import torch
from pytorch_lightning import Callback

from tabnas import stopping
from tests.test_retrain import Killed, KilledAt, retraining  # noqa: F401

EPOCHS, SEEDS = 6, (0, 1, 2)
SCRIPT = (
    (5.0, 5.0, 5.0),
    (4.0, 4.0, math.nan),
    (4.0, 3.0, 6.0),  # 4.0 again is no smaller loss
    (4.5, 4.0, 1.0),
    (1.0, 5.0, 2.0),
    (0.5, 0.1, 3.0),
)
"""Per epoch, the validation loss of each seed."""


def copied(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


class EveryEpoch(Callback):
    """Keeps each seed's weights after every epoch of 11 steps."""

    def __init__(self):
        self.weights = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if module.step % 11 == 0:
            self.weights.append([copied(module.alone(number)) for number in range(module.n_seeds)])


@pytest.mark.parametrize(
    ("patience", "keep", "n_epochs", "chosen"),
    [
        (2, "best", 5, (2, 3, 1)),
        (2, "last", 5, (4, 5, 3)),
        (1, "best", 4, (2, 3, 1)),
        (1, "last", 4, (3, 4, 2)),
        (None, "best", 6, (6, 6, 4)),
        (None, "last", 6, (6, 6, 6)),
    ],
)
def test_the_epoch(retraining, monkeypatch, patience, keep, n_epochs, chosen):  # noqa: F811
    """chosen: the epoch that counts, of each seed."""
    script = iter([loss for epoch in SCRIPT for loss in epoch])
    monkeypatch.setattr(stopping, "loss_of", lambda *_: next(script))
    seen = EveryEpoch()
    retraining = replace(retraining, max_epochs=EPOCHS, patience=patience, keep=keep)
    retraining.outcomes((8, 4), SEEDS, [seen])
    assert len(seen.weights) == n_epochs
    for number, epoch in enumerate(chosen):
        weights = torch.load(retraining.weights((8, 4), SEEDS[number]), weights_only=True)
        assert all(torch.equal(weights[name], value) for name, value in seen.weights[epoch - 1][number].items())


@pytest.mark.parametrize("stops", [(22,), (5, 33, 44), (11, 55)])
@pytest.mark.parametrize("seeds", [(3,), (3, 5, 4)])
def test_taken_up_as_if_never_stopped(retraining, tmp_path, stops, seeds):  # noqa: F811
    settings = {"max_epochs": 8, "patience": 2, "keep": "best", "optimizer": replace(retraining.optimizer, lr=0.3)}
    whole = replace(retraining, **settings)
    stopped = replace(whole, checkpoint_every_seconds=0, folder=tmp_path / "stopped")
    seen = EveryEpoch()
    outcomes = whole.outcomes((8, 4), seeds, [seen])
    for step in stops:
        if step < 11 * len(seen.weights):
            with pytest.raises(Killed):
                stopped.outcomes((8, 4), seeds, [KilledAt(step)])
    again = stopped.outcomes((8, 4), seeds)
    assert [one["loss"] for one in outcomes] == [one["loss"] for one in again]
    for seed in seeds:
        weights = [torch.load(r.weights((8, 4), seed), weights_only=True) for r in (whole, stopped)]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


class KilledAtTheEnd(Callback):
    def on_train_end(self, trainer, module):
        raise Killed


def test_killed_when_all_had_stopped(retraining, tmp_path, monkeypatch):  # noqa: F811
    """The last checkpoint is of the epoch at which the fit stops: there is nothing left to train."""
    settings = {"patience": 1, "keep": "last", "checkpoint_every_seconds": 0}
    stopped = replace(retraining, **settings)
    losses = iter([1.0, 2.0])
    monkeypatch.setattr(stopping, "loss_of", lambda *_: next(losses))
    with pytest.raises(Killed):
        stopped.outcomes((8, 4), [3], [KilledAtTheEnd()])
    seen = EveryEpoch()
    stopped.outcomes((8, 4), [3], [seen])
    assert not seen.weights
    two_epochs = replace(retraining, folder=tmp_path / "whole")
    steps = EveryEpoch()
    two_epochs.outcomes((8, 4), [3], [steps])
    weights = torch.load(stopped.weights((8, 4), 3), weights_only=True)
    assert all(torch.equal(weights[name], value) for name, value in steps.weights[1][0].items())
