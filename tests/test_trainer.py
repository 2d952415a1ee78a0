import importlib

import pytest
import torch

from tabnas.errors import UserError
from tabnas.feasibility import Refreshed
from tabnas.method import ConditionalDraws, RewardShaping
from tabnas.trainer import PeriodicCheckpoint, WholeCheckpointIO, fit, make_trainer, write_whole


def test_a_write_that_fails_leaves_the_old_content(tmp_path):
    path = tmp_path / "folder" / "file"
    write_whole(path, lambda file: file.write(b"old"))

    def interrupted(file):
        file.write(b"half of the n")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, interrupted)
    assert path.read_bytes() == b"old"
    write_whole(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"


def test_checkpoints_load_safely(new_search, tmp_path):
    small = new_search()
    trainer = make_trainer("cpu", 1, [PeriodicCheckpoint(tmp_path / "last.ckpt", 0)])
    fit(trainer, small.search, small.data.train_dataloader(), tmp_path / "none")
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert content["tabnas"]["step"] == small.search.step
    assert {"controller.logits", "supernet.layers.0.weight", "encoder.embedding.weight"} <= set(content["state_dict"])
    assert all(isinstance(plugin, WholeCheckpointIO) for plugin in [trainer.strategy.checkpoint_io])


def test_a_search_taken_up_after_its_end_has_selected(new_search, tmp_path):
    """Killed between the last checkpoint and what is made of it."""
    ended, taken_up = new_search(num_samples=20), new_search(num_samples=20)
    for small in (ended, taken_up):
        small.search.method.program = None  # P(V) is estimated anew by draws that go on as well
    trainer = make_trainer("cpu", 3, [])
    fit(trainer, ended.search, ended.data.train_dataloader(), tmp_path / "none")
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    fit(make_trainer("cpu", 3, []), taken_up.search, taken_up.data.train_dataloader(), tmp_path / "last.ckpt")
    assert taken_up.search.selection.selected == ended.search.selection.selected != []
    methods, logits = (taken_up.search.method, ended.search.method), ended.search.controller.logits
    assert methods[0].log_prob_valid(logits) == methods[1].log_prob_valid(logits)


def test_weights_that_are_not_finite_are_not_saved(new_search, tmp_path):
    small = new_search()
    trainer = make_trainer("cpu", 3, [])
    fit(trainer, small.search, small.data.train_dataloader(), tmp_path / "none")
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    good = (tmp_path / "last.ckpt").read_bytes()
    with torch.no_grad():
        small.search.supernet.layers[0].weight[0, 0] = torch.inf
    with pytest.raises(UserError, match="weights: must stay finite"):
        trainer.save_checkpoint(tmp_path / "last.ckpt")
    assert (tmp_path / "last.ckpt").read_bytes() == good


class Killed(Exception):
    pass


RESUMED = {
    "tabnas, estimated": {"num_samples": 20},
    "tabnas": {},
    "tabnas, refreshed": {"flops": 84},
    "exact, refreshed": {"kind": ConditionalDraws, "weight_draws": "valid"},
    "exact, refreshed, one child, two limits": {"kind": ConditionalDraws, "num_children": 1, "flops": 84},
    "exact, listed": {"kind": ConditionalDraws, "num_children": 3, "rl_every": 2},
    "shaped": {"kind": RewardShaping, "reward": "mnasnet", "beta": -0.1, "weight_draws": "valid"},
}


STOPS = [(5,), (22,), (25,), (60,), (87,), (5, 25, 60), (22, 60)]  # of 88 steps, 11 an epoch, 5 a block
CASES = [
    *(("exact, refreshed", stops) for stops in STOPS),
    *((name, stops) for name in RESUMED for stops in STOPS[-2:] if name != "exact, refreshed"),
]


@pytest.mark.parametrize(("name", "stops"), CASES)
def test_a_search_taken_up_ends_as_if_never_stopped(new_search, tmp_path, monkeypatch, stops, name):
    """Stopped before warmup ends, at the end of an epoch, in the middle of one, in the last block, and repeatedly."""
    if "refreshed" in name:
        module = importlib.import_module("tabnas.feasibility.stepwise")
        monkeypatch.setattr(module, "MOST_LISTED", 0)
        monkeypatch.setattr(module.Refreshed.__init__, "__kwdefaults__", {"pool_size": 64, "max_error": 0.03})

    def new():
        return new_search(epochs=8, steps_per_block=5, **RESUMED[name])

    whole = new()
    fit(make_trainer("cpu", 8, []), whole.search, whole.data.train_dataloader(), tmp_path / "none")

    checkpoint = tmp_path / "last.ckpt"
    original = type(whole.search).training_step
    for step in stops:
        stopped = new()

        def dies(self, block, batch_idx, at=step):
            if self.step >= at:
                raise Killed
            return original(self, block, batch_idx)

        with monkeypatch.context() as patch:
            patch.setattr(type(stopped.search), "training_step", dies)
            around = [PeriodicCheckpoint(checkpoint, 0)]
            with pytest.raises(Killed):
                fit(make_trainer("cpu", 8, around), stopped.search, stopped.data.train_dataloader(), checkpoint)

    taken_up = new()
    fit(make_trainer("cpu", 8, []), taken_up.search, taken_up.data.train_dataloader(), checkpoint)
    for key, value in whole.search.state_dict().items():
        assert torch.equal(taken_up.search.state_dict()[key], value), key
    assert taken_up.search.counts == whole.search.counts
    assert taken_up.search.history == whole.search.history
    assert taken_up.search.selection.selected == whole.search.selection.selected
    assert taken_up.search.step == whole.search.step == whole.search.total_steps
    assert taken_up.search.method.baseline == whole.search.method.baseline
    assert torch.equal(taken_up.search.generator.get_state(), whole.search.generator.get_state())
    if "refreshed" in name:
        ours, theirs = taken_up.search.method.feasible, whole.search.method.feasible
        assert isinstance(ours, Refreshed)
        assert (ours.steps, ours.refreshes, ours.largest_error) == (
            theirs.steps,
            theirs.refreshes,
            theirs.largest_error,
        )
        assert theirs.refreshes > 1
        assert 0 < theirs._used < 64 or name == "tabnas, refreshed"  # which draws from p
