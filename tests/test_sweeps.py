"""Sweeps whose jobs are processes of their own, by Hydra's launchers."""

import json
import os
import pickle
import subprocess
import sys

import pytest

from tabnas.errors import UserError
from tests.conftest import ROOT

SMALL = (
    "experiment=quick", "space.choices=[[8,16],[8,16]]", "trainer.max_epochs=2", "retrain.seeds=1",
    "retrain.max_epochs=1", "retrain.min_architectures=0",
)  # fmt: skip


def test_a_mistake_comes_back_from_a_job_as_it_was():
    was = UserError("search.eta", "must be a number above 0", -1.5, "try 0.01")
    found = pickle.loads(pickle.dumps(was))
    assert (found.name, str(found)) == (was.name, str(was))
    assert str(was) == "search.eta: must be a number above 0, got -1.5; try 0.01"


def train(folder, *arguments):
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "limits", "code"),
    [
        (("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"), ("4000", "1", "2000"), 2),
        (("hydra/launcher=submitit_local",), ("4000", "2000"), 0),
    ],
)
def test_jobs_at_the_same_time(tmp_path, launcher, limits, code):
    done = train(tmp_path, "-m", *launcher, "hydra.sweep.dir=sweep", f"limits.0.limit={','.join(limits)}", *SMALL)
    assert done.returncode == code, done.stderr
    sweep = tmp_path / "sweep"
    for job, limit in enumerate(limits):
        path = sweep / str(job) / "result.json"
        assert path.exists() == (limit != "1")
        if path.exists():
            result = json.loads(path.read_text())
            assert result["limits"][0]["limit"] == int(limit)
            assert f"limits.0.limit={limit}" in result["reproduce"]["overrides"]
    finished = len(limits) - limits.count("1")
    assert f"{finished} of them finished" in " ".join((sweep / "report.html").read_text().split())
    if code:
        assert "tabnas: error: limits: the limit on params must be at least" in done.stderr
        assert "'limits.0.limit=1'" in done.stderr  # Hydra says which job
        assert "Traceback" not in done.stderr
    again = train(tmp_path, f"resume=sweep/{len(limits) - 1}")
    assert again.returncode == 0, again.stderr
    assert "this run had finished" in again.stderr
