"""Runs of several processes: they find what one process with as many replicas finds, and end when one of them does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tabnas import result
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

SHORT = ("experiment=quick", "trainer.max_epochs=4", "retrain.max_epochs=2", "hydra.run.dir=run")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
TWO = ("trainer.devices=2",)


def started(folder: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, *launcher, str(ROOT / "train.py"), *arguments]
    return subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)


def done(folder: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> dict:
    process = started(folder, *arguments, launcher=launcher)
    _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "")
    return result.read(folder / "run")


def same_search(one, other):
    assert np.concatenate(one["search"]["logits"]) == pytest.approx(np.concatenate(other["search"]["logits"]), abs=1e-4)
    for point, same in zip(one["search"]["history"], other["search"]["history"], strict=True):
        for key in ("step", "train_loss", "reward", "advantage", "prob_valid"):
            assert point[key] == pytest.approx(same[key], abs=1e-4), key
    for key in ("weight_updates", "rl_updates", "children_evaluated", "skipped_infeasible"):
        assert one["search"][key] == other["search"][key], key
    assert [a["widths"] for a in one["architectures"]] == [a["widths"] for a in other["architectures"]]


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    """What one process finds that stands for two replicas."""
    return done(tmp_path_factory.mktemp("one"), *SHORT, "search.replicas_per_device=2")


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


@pytest.mark.parametrize("launcher", [(), TORCHRUN], ids=["lightning", "torchrun"])
def test_two_processes_find_what_one_with_two_replicas_finds(tmp_path, one_process, launcher):
    found = done(tmp_path, *SHORT, *TWO, launcher=launcher)
    same_search(found, one_process)
    for several, alone in zip(found["architectures"], one_process["architectures"], strict=True):
        assert several["stand_alone"]["loss"]["runs"] == pytest.approx(alone["stand_alone"]["loss"]["runs"], abs=1e-4)
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {
        ".hydra", ".lock", "checkpoints", "model", "report.html", "result.json", "run.yaml", "search.json",
        "tensorboard", "train.log",
    }  # fmt: skip
    again = started(tmp_path, "resume=run", launcher=launcher)
    _, err = again.communicate(timeout=120)
    assert (again.returncode, "this run had finished" in err) == (0, True)


@pytest.mark.parametrize("lost", ["first", "other"])
def test_a_lost_process_ends_the_run_which_goes_on_with_one(tmp_path, lost):
    long = ("trainer.max_epochs=200", "trainer.checkpoint_every_seconds=0")
    process = started(tmp_path, *SHORT, *long, *TWO)
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    other = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
    os.kill(process.pid if lost == "first" else other, signal.SIGKILL)
    _, err = process.communicate(timeout=60)  # of the other as well
    assert process.returncode == (-signal.SIGKILL if lost == "first" else 1)
    line = "tabnas: error: a process of this run has ended before its time; go on with: python train.py resume=run\n"
    assert err == line
    found = done(tmp_path, "resume=run", "trainer.devices=1")
    assert found["search"]["weight_updates"] == 200 * (1258 // 128)
    assert found["config"]["search"]["replicas_per_device"] == 2


def test_a_mistake_that_shows_in_training_is_told_once(tmp_path):
    process = started(tmp_path, *SHORT, *TWO, "optimizer.lr=1e30")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert err.count("\n") == 1
    assert err.startswith("tabnas: error: loss: must stay finite")


def test_as_many_replicas_as_before_when_resumed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.yaml").write_text("trainer: {devices: 1}\nsearch: {replicas_per_device: 2}\n")
    process = started(tmp_path, "resume=run", "trainer.devices=3")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "trainer.devices: must, times trainer.num_nodes, divide the 2 replicas" in err
