"""A run's folder: kept to one run, taken up again where it stopped, left alone where a run never began."""

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tabnas import model, result
from tabnas.cli import resuming
from tests.conftest import ROOT
from tests.test_conf import compose
from tests.test_run import QUICK, SHORT, folder_of, without_seconds


def test_a_finished_run_taken_up_shows_its_result(train_py, tmp_path):
    first = train_py(*SHORT)
    again = train_py(f"resume={folder_of(tmp_path)}")
    assert again.code == 0
    assert "this run had finished" in again.err
    assert again.out.splitlines()[:-1] == first.out.splitlines()[:-1]


@pytest.mark.parametrize(
    ("stopped_in", "left"),
    [
        ("tabnas.pipeline.candidates", "checkpoints/last.ckpt"),
        ("tabnas.run.save_network", "search.json"),
        ("tabnas.retrain.evaluate", "retrain/*.ckpt"),
        ("tabnas.run.save_network", "retrain/*.json"),
    ],
)
def test_the_seconds_of_a_run_taken_up_are_those_of_all_sessions(train_py, tmp_path, monkeypatch, stopped_in, left):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stopped_in, stop)
        assert train_py(*SHORT, "hydra.run.dir=run").code == 130
    path = next((tmp_path / "run").glob(left))
    if path.suffix == ".ckpt":
        content = torch.load(path, weights_only=True)
        content["tabnas"]["seconds"] = 1000
        torch.save(content, path)
    else:
        content = json.loads(path.read_text())
        (content["search"] if left == "search.json" else content[0])["seconds"] = 1000
        path.write_text(json.dumps(content))
    assert train_py("resume=run").code == 0
    seconds = result.read(tmp_path / "run")["seconds"]
    assert 1000 <= seconds["search"] + seconds["retrain"] <= seconds["total"] < 1500


def test_a_new_run_does_not_take_over_another_ones_folder(train_py, tmp_path):
    train_py(*SHORT, "hydra.run.dir=run")
    before = (tmp_path / "run" / "result.json").read_bytes()
    again = train_py(*SHORT, "hydra.run.dir=run", "seed=5")
    assert again.code == 2
    assert "hydra.run.dir: must not be the folder of another run" in again.err
    assert (tmp_path / "run" / "result.json").read_bytes() == before


def test_a_sweep_given_again_ends_what_had_not_ended(train_py, tmp_path):
    """As Slurm does with a job that it starts again."""
    sweep = ("-m", *SHORT, "hydra.sweep.dir=sweep")
    train_py(*sweep, "seed=0,1")
    paths = [tmp_path / "sweep" / job / "result.json" for job in ("0", "1")]
    before = [json.loads(path.read_text()) for path in paths]
    paths[1].unlink()
    written = paths[0].stat().st_mtime_ns
    again = train_py(*sweep, "seed=0,1")
    assert (again.code, again.err.count("this run had finished")) == (0, 1)
    assert paths[0].stat().st_mtime_ns == written
    ended = json.loads(paths[1].read_text())
    assert without_seconds(ended) == without_seconds(before[1])
    other = train_py(*sweep, "seed=0,2")
    assert other.code == 2
    assert "hydra.run.dir: must not be the folder of another run" in other.err
    assert json.loads(paths[1].read_text()) == ended


def test_a_sweep_of_known_losses_given_again(train_py):
    sweep = ("-m", "dataset=toy", "search=tabnas,exhaustive", "trainer.max_epochs=20", "hydra.sweep.dir=sweep")
    assert train_py(*sweep).code == 0
    again = train_py(*sweep)
    assert (again.code, again.err.count("this run had finished")) == (0, 2)


def test_two_runs_at_once_do_not_share_a_folder(train_py, tmp_path):
    import fcntl

    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        outcome = train_py(*SHORT, "hydra.run.dir=run")
    assert outcome.code == 2
    assert "hydra.run.dir: must not be in use by another run" in outcome.err


def test_a_file_system_without_locks_is_a_warning(train_py, tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    monkeypatch.setattr("tabnas.pipeline.fit", interrupted)
    outcome = train_py(*SHORT, "hydra.run.dir=run")
    assert outcome.code == 130  # it had begun
    assert "WARNING: hydra.run.dir: this file system has no locks" in outcome.err


def interrupted(*_):
    raise KeyboardInterrupt


def test_ctrl_c_before_a_run_has_begun_leaves_nothing(train_py, tmp_path, monkeypatch):
    monkeypatch.setattr("tabnas.run.build", interrupted)
    for more in ((), ("hydra.output_subdir=null",)):
        outcome = train_py(*SHORT, *more)
        assert (outcome.code, outcome.err) == (130, "tabnas: stopped\n")
        assert not [path for path in tmp_path.rglob("*") if path.name != "outputs"]


def test_ctrl_c_in_a_folder_with_a_comma(train_py, monkeypatch):
    monkeypatch.setattr("tabnas.pipeline.fit", interrupted)
    first = train_py(*SHORT, "hydra.run.dir='a, b'")
    line = """tabnas: stopped; go on with: python train.py 'resume="a, b"'\n"""
    assert (first.code, first.err) == (130, line)
    again = train_py(*shlex.split(line)[7:])
    assert (again.code, again.err) == (130, line)


@pytest.mark.parametrize(
    "name", ["run", "2026-01-31/12-00-00", "a,b", "a b", "it's", 'a "b"', "a=[b]", "a\\", "0.10", "null", "$HOME", "é"]
)
def test_what_takes_a_run_up_is_read_as_it_was_meant(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (argument,) = shlex.split(resuming(tmp_path / name))
    assert str(compose(argument).resume) == name


def test_without_hydras_own_files(train_py, tmp_path):
    """Kept from being written, or left behind when the folder was copied."""
    assert train_py(*SHORT, "hydra.run.dir=run", "hydra.output_subdir=null").code == 0
    assert result.read(tmp_path / "run")["reproduce"]["overrides"] == list(SHORT)
    (tmp_path / "run" / "result.json").unlink()
    again = train_py("resume=run")
    assert (again.code, again.err) == (0, "")
    assert result.read(tmp_path / "run")["reproduce"]["overrides"] == []
    assert (tmp_path / "run" / "report.html").exists()


def test_a_failed_start_deletes_nothing_it_did_not_make(train_py, tmp_path):
    (tmp_path / "mine" / ".hydra").mkdir(parents=True)
    for name in ("train.log", "notes.txt"):
        (tmp_path / "mine" / name).write_text("mine")
    assert train_py(*SHORT, "hydra.run.dir=mine", "seed=-1").code == 2
    assert (tmp_path / "mine" / "train.log").read_text().startswith("mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def killed_when(process: subprocess.Popen[bytes], reached) -> None:
    """kill -9 as soon as `reached()` holds."""
    deadline = time.monotonic() + 120
    while not reached():
        assert process.poll() is None, f"ended before it could be killed: {process.stderr.read().decode()}"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()


@pytest.mark.slow
@pytest.mark.parametrize("search", [("search.num_samples=64",), ("search=tabnas_exact",)], ids="".join)
def test_a_run_killed_in_warmup_search_and_retraining_ends_as_one_never_killed(tmp_path, search):
    arguments = (*QUICK, "hydra.run.dir=run", "trainer.max_epochs=20", *search)
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = start(tmp_path / "whole", *arguments)
    assert whole.wait() == 0
    whole.stderr.close()

    run = tmp_path / "killed" / "run"
    checkpoint = run / "checkpoints" / "last.ckpt"

    def step_is(low: int, high: int) -> bool:
        return checkpoint.exists() and low <= torch.load(checkpoint, weights_only=True)["tabnas"]["step"] <= high

    killed_when(start(tmp_path / "killed", *arguments), lambda: (run / "run.yaml").exists())
    assert not checkpoint.exists()
    killed_when(start(tmp_path / "killed", f"resume={run}"), lambda: step_is(19, 94))
    killed_when(start(tmp_path / "killed", f"resume={run}"), lambda: step_is(120, 370))
    killed_when(start(tmp_path / "killed", f"resume={run}"), lambda: (run / "search.json").exists())
    killed_when(start(tmp_path / "killed", f"resume={run}"), lambda: any(run.glob("retrain/*.ckpt")))
    killed_when(start(tmp_path / "killed", f"resume={run}"), lambda: len(list(run.glob("retrain/*.json"))) >= 2)
    last = start(tmp_path / "killed", f"resume={run}")
    assert last.wait() == 0
    last.stderr.close()
    results = [json.loads((tmp_path / name / "run" / "result.json").read_text()) for name in ("whole", "killed")]
    assert without_seconds(results[0]) == without_seconds(results[1])
    networks = [model.load(tmp_path / name / "run")[0].state_dict() for name in ("whole", "killed")]
    for name, value in networks[0].items():
        assert torch.equal(networks[1][name], value)


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(tmp_path):
    process = start(tmp_path, *QUICK, "hydra.run.dir=run", "trainer.max_epochs=2000")
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    said = process.stderr.read().decode()
    process.stderr.close()
    assert said.splitlines()[-1].startswith("tabnas: stopped; go on with: python train.py resume=")
