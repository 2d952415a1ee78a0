"""Jobs do not depend on each other, on the number of processes, or on being killed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from tabnas.errors import UserError
from tabnas.retrain import Retraining
from tabnas.study.jobs import _in_processes
from tabnas.study.run import markdown
from tabnas.study.words import table
from tests.conftest import ROOT
from tests.study.conftest import TINY, outcomes_in

FEW = ("study.seeds=2", "study.pool=5", "~study.methods.mnasnet", "~study.methods.tunas_abs")


def timeless(value):
    """Without what depends on the clock."""
    if isinstance(value, dict):
        return {
            k: timeless(v) for k, v in value.items() if k not in ("seconds", "cost", "less", "curves", "unit_seconds")
        }
    return [timeless(v) for v in value] if isinstance(value, list) else value


def test_a_search_that_fails_is_told_of_and_left_out(study):
    folder, outcome = study("compare", "study.seeds=1", *FEW[1:], "study.methods.tabnas_exact.eta=1e38")
    assert outcome.code == 0, outcome.err
    found = json.loads((folder / "study.json").read_text())
    failed = found["methods"][1]
    assert failed["runs"] == []
    assert "logits: must stay finite" in failed["errors"][0]
    assert "all failed" in outcome.out
    assert "1 searches failed" in outcome.out
    assert found["methods"][0]["runs"]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("compare", ("study.seeds=1", *FEW[1:], "~study.methods.tabnas_exact")),
        ("tradeoff", ("study.pool=6", "study.bands=2", "study.retrainings=1")),
        ("calibration", ("study.pool=5", "study.seeds=1", "study.grid=[]")),
    ],
)
def test_a_training_that_fails_is_told_of_and_left_out(study, monkeypatch, name, settings):
    whole, tried = Retraining.outcomes, []

    def all_but_the_first(self, widths, seeds):
        tried.append(widths)
        if widths == tried[0]:
            raise UserError("loss", "must stay finite", "nan", "lower optimizer.lr")
        return whole(self, widths, seeds)

    monkeypatch.setattr(Retraining, "outcomes", all_but_the_first)
    folder, outcome = study(name, *settings, "seed=1000000")
    assert (outcome.code, outcome.err) == (0, "")
    assert "trainings failed and are left out" in outcome.out
    found = json.loads((folder / "study.json").read_text())
    assert "loss: must stay finite" in next(iter(found["failed_trainings"].values()))
    kept = [tuple(row["widths"]) for row in found["pool" if name == "compare" else "architectures"]]
    assert set(kept) <= set(tried) - {tried[0]}
    assert len(kept) >= 3
    again = {path.name for path in folder.glob("jobs/*-seed2000000")}  # apart from what they were chosen by
    assert bool(again) == (name != "calibration")


def test_without_a_training_that_does_not_fail_there_is_no_study(study):
    _, outcome = study("tradeoff", "study.pool=2", "study.bands=1", "optimizer.lr=1e30")
    assert outcome.code == 2
    assert "study: must have a training from scratch that does not fail, got 'loss: must stay finite" in outcome.err


@pytest.mark.parametrize(("given", "threads"), [(None, 3), ("1", 1)])
def test_a_job_alone_has_as_many_threads_as_one_beside_others(monkeypatch, tmp_path, given, threads):
    monkeypatch.delenv("OMP_NUM_THREADS") if given is None else monkeypatch.setenv("OMP_NUM_THREADS", given)
    monkeypatch.setattr("tabnas.study.jobs.cpu_count", lambda: 6)
    before = torch.get_num_threads()
    monkeypatch.setattr("tabnas.study.jobs.do", lambda *_: torch.get_num_threads())
    assert list(_in_processes(tmp_path, ["alone"], 2)) == [threads]
    monkeypatch.setattr("tabnas.study.jobs.do", lambda *_: os.environ["OMP_NUM_THREADS"])
    assert list(_in_processes(tmp_path, ["one", "other"], 2)) == [str(threads)] * 2
    assert torch.get_num_threads() == before


def test_markdown_is_the_table():
    made = table("title", ("a", "b\nc"), [("x|y", "1"), ("z", "2\n3")], "caption")
    assert markdown(made) == "**title**\n\n| a | b c |\n|---|---:|\n| x\\|y | 1 |\n| z | 2 3 |\n\ncaption"


def start(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, start_new_session=True)


def wait_for(process, folder, n):
    """Until n jobs are done."""
    while len(list(folder.glob("jobs/*/outcome.json"))) < n:
        assert process.poll() is None, f"ended before it could be stopped: {process.stderr.read().decode()}"
        time.sleep(0.02)


def group_is_gone(process, within):
    """Whether all processes of its group end in time."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
def test_killed_and_interrupted_it_ends_as_one_that_was_not(study, tmp_path):
    whole, outcome = study("compare", *FEW)
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "stopped"
    few = [argument for argument in TINY if not argument.startswith("study.processes")]
    first = start(tmp_path, "experiment=study/compare", *few, *FEW, "study.processes=2", f"hydra.run.dir={folder}")
    wait_for(first, folder, 2)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    assert group_is_gone(first, 30)
    second = start(tmp_path, f"resume={folder}")
    wait_for(second, folder, 5)
    os.killpg(second.pid, signal.SIGINT)  # as Ctrl-C does
    told = second.communicate()[1].decode()
    assert second.returncode == 130
    assert told == "tabnas: stopped; go on with: python train.py resume=stopped\n"
    assert group_is_gone(second, 30)
    third = start(tmp_path, f"resume={folder}")
    assert (third.communicate()[1], third.returncode) == (b"", 0)
    assert timeless(outcomes_in(folder)) == timeless(outcomes_in(whole))
    results = [timeless(json.loads((path / "study.json").read_text())) for path in (whole, folder)]
    for result in results:
        del result["config"]["study"]["processes"]
    assert results[0] == results[1]
