"""What the phases of a run hand on to each other."""

import importlib
import inspect
from dataclasses import replace

import torch

from tabnas import candidates, result
from tabnas.data import digits
from tests.test_run import SHORT, without_seconds


def test_the_test_rows_change_nothing_but_what_is_told_of_them(train_py, tmp_path, monkeypatch):
    """Neither the search nor any choice looks at them."""
    original, found = digits.load, []

    def scrambled(**settings):
        table = original(**settings)
        target = torch.randint(10, (table.test.n_rows,), generator=torch.Generator().manual_seed(0))
        return replace(table, test=table.test._replace(numerical=-3 * table.test.numerical, target=target))

    scrambled.__signature__ = inspect.signature(original)
    for name, load in {"as_it_is": original, "scrambled": scrambled}.items():
        monkeypatch.setattr(digits, "load", load)
        assert train_py(*SHORT, "retrain.keep=best", f"hydra.run.dir={name}").code == 0
        found.append(without_seconds(result.read(tmp_path / name)))
    told = [[one["network"].pop("test"), *(found["test"] for found in one["architectures"])] for one in found]
    assert all(fine["loss"] != scrambled["loss"] for fine, scrambled in zip(*told, strict=True))
    for one in found:
        del one["reproduce"]
        for architecture in one["architectures"]:
            del architecture["test"]
    assert found[0] == found[1]


def test_as_many_architectures_as_were_asked_for(train_py, tmp_path, monkeypatch):
    monkeypatch.setattr(candidates, "N_RANKED", 1)
    assert train_py(*SHORT, "retrain.min_architectures=7", "hydra.run.dir=run").code == 0
    assert len(result.read(tmp_path / "run")["architectures"]) == 7
    few = ("space.choices=[[8],[8,16]]", "retrain.min_architectures=7", "hydra.run.dir=few")
    assert train_py(*SHORT, *few).code == 0
    assert "retrain.min_architectures: only" in (tmp_path / "few" / "train.log").read_text()


def test_the_log_says_where_nothing_is_exact(train_py, tmp_path, monkeypatch):
    assert train_py(*SHORT, "hydra.run.dir=exact").code == 0
    monkeypatch.setattr(importlib.import_module("tabnas.feasibility.chain"), "MOST_STATES", 1)
    monkeypatch.setattr(importlib.import_module("tabnas.feasibility.stepwise"), "LISTABLE", 1)
    assert train_py(*SHORT, "hydra.run.dir=estimated").code == 0
    told = [
        "not exact, in so large a space" in (tmp_path / run / "train.log").read_text() for run in ("exact", "estimated")
    ]
    assert told == [False, True]


def test_a_checkpoint_of_a_gpu_is_read_without_one(train_py, tmp_path, monkeypatch):
    assert train_py(*SHORT, "hydra.run.dir=run").code == 0
    folder = tmp_path / "run"
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
    torch.save(checkpoint, folder / "checkpoints" / "last.ckpt")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    for name in ("result.json", "search.json"):
        (folder / name).unlink()
    again = train_py("resume=run")
    assert again.code == 0, again.err
