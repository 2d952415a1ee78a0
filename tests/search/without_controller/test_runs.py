"""Whole runs of the searchers without a controller."""

import json

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from tabnas import model, result
from tabnas.network import Network
from tests.conftest import ROOT
from tests.test_run import QUICK, SHORT, folder_of, without_seconds
from tests.test_run_folder import killed_when, start

RUNS = {
    "bayesian": ("search.num_initial=3", "search.num_steps=4"),
    "evolution": ("search.population=4", "search.steps=2", "search.num_children=3"),
    "exhaustive": (),
    "one_shot_uniform": ("search.num_draws=20", "search.weight_draws=valid"),
    "random": ("search.num_architectures=4",),
}
WITH_SUPERNET = sorted(set(RUNS) - {"random"})
BY_TRAINING = {"random": ("search.num_architectures=5",), "exhaustive": ("search.by=stand_alone",)}


def test_there_are_no_others():
    configs = (ROOT / "conf" / "search").glob("*.yaml")
    assert {path.stem for path in configs if "search.without_controller" in path.read_text()} == set(RUNS)


def checked(found, outcome):
    """What every result has; those the search chose."""
    assert (outcome.code, outcome.err) == (0, "")
    for architecture in found["architectures"]:
        built = Network(64, architecture["widths"], 10)
        assert sum(p.numel() for p in built.parameters()) == architecture["costs"]["params"] <= 4000
        alone = architecture["stand_alone"]
        assert alone["weight_updates"] == 2 * 2 * 19  # 2 seeds, 2 epochs
        assert "-".join(map(str, architecture["widths"])) in outcome.out
    about = found["search"]
    assert (about["leading"], about["rl_updates"], about["children_evaluated"]) == (None, 0, 0)
    assert {value for row in about["logits"] for value in row} == {0}
    assert about["prob_valid"] == pytest.approx(11 / 16)
    return [a for a in found["architectures"] if "search" in a["chosen_by"]]


@pytest.mark.parametrize("search", WITH_SUPERNET)
def test_a_run_by_one_shot_losses(train_py, tmp_path, search):
    outcome = train_py(*SHORT, f"search={search}", *RUNS[search])
    found = result.read(folder_of(tmp_path))
    chosen = checked(found, outcome)
    about = found["search"]
    assert (about["method"], about["epochs"], about["weight_updates"]) == (search, 4, 4 * 19)
    explored = int(about["selection"].split("loss of ")[1].split()[0])
    assert about["forward_passes"] == explored * -(-found["dataset"]["n_val"] // 64)
    assert {"bayesian": explored == 7, "exhaustive": explored == 11}.get(search, 4 <= explored <= 11)
    assert len(chosen) == 3
    assert [a["one_shot"]["loss"] for a in chosen] == sorted(a["one_shot"]["loss"] for a in chosen)
    assert {a["probability"] for a in chosen} == {None}
    assert about["history"][-1]["step"] == 4 * 19
    assert {point["prob_valid"] for point in about["history"]} == {None}
    assert not any("probabilities" in point for point in about["history"])
    assert found["trust"]["n"] == len(found["architectures"]) >= 6


@pytest.mark.parametrize("search", BY_TRAINING)
def test_a_run_by_training_from_scratch(train_py, tmp_path, search):
    outcome = train_py(*SHORT, f"search={search}", *BY_TRAINING[search])
    found = result.read(folder_of(tmp_path))
    chosen = checked(found, outcome)
    about = found["search"]
    assert (about["method"], about["epochs"], about["weight_updates"], about["forward_passes"]) == (search, 0, 0, 0)
    assert about["history"] == []
    assert len(chosen) == {"random": 5, "exhaustive": 11}[search]
    assert {a["one_shot"] for a in found["architectures"]} == {None}
    assert {"search", "uniform width"} >= {w for a in found["architectures"] for w in a["chosen_by"].split(", ")} - {
        "random feasible" if search == "exhaustive" else ""
    }
    assert found["trust"] is None
    assert "one-shot" not in outcome.out
    assert not (folder_of(tmp_path) / "checkpoints").exists()
    losses = [a["stand_alone"]["loss"]["mean"] for a in found["architectures"]]
    assert found["best"] == losses.index(min(losses))


def test_only_the_best_of_many_are_shown(train_py, tmp_path, monkeypatch):
    monkeypatch.setattr(result, "MOST_SHOWN", 4)
    outcome = train_py(*SHORT, "search=exhaustive", "search.by=stand_alone", "retrain.max_epochs=1")
    architectures = result.read(folder_of(tmp_path))["architectures"]
    shown = [line.split()[0] for line in outcome.out.splitlines() if line.strip()[:1].isdigit()]
    best = sorted(architectures, key=lambda a: a["stand_alone"]["loss"]["mean"])[:4]
    assert shown == ["-".join(map(str, a["widths"])) for a in best]
    assert "the best 4 of 11; mean ± std" in outcome.out


@pytest.mark.parametrize("search", ["evolution", "random"])
def test_the_dashboard_shows_no_controller(train_py, tmp_path, search):
    assert train_py(*SHORT, f"search={search}", *RUNS[search]).code == 0
    events = EventAccumulator(str(folder_of(tmp_path) / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    shown = set(events.Tags()["scalars"])
    assert {"final/loss", "final/balanced_error", "final/params", "final/prob_valid"} <= shown
    assert ("weights/loss" in shown) == (search == "evolution")
    assert not [name for name in shown if name.startswith(("probability_layer", "entropy", "controller"))]
    started = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    parameters = set(HParamsPluginData.FromString(started).session_start_info.hparams)
    assert {"search", "seed", "limit"} <= parameters
    assert "eta" not in parameters


@pytest.mark.parametrize("search", RUNS)
def test_on_the_toy_example(train_py, tmp_path, search):
    own = ("search.num_architectures=6",) if search == "random" else RUNS[search]
    outcome = train_py("dataset=toy", f"search={search}", "search.num_selected=2", *own)
    if search == "random":
        assert "search.num_selected" in outcome.err  # it selects what it draws
        outcome = train_py("dataset=toy", f"search={search}", *own)
    assert (outcome.code, outcome.err) == (0, "")
    found = result.read(folder_of(tmp_path))
    assert found["search"]["epochs"] == 0
    assert all(a["costs"]["params"] <= 25 for a in found["architectures"])
    best = found["architectures"][found["best"]]
    if search in ("exhaustive", "random", "one_shot_uniform"):
        assert best["widths"] == [4, 2]
    assert "P(V)" not in outcome.out


WRONG = {
    (
        "search=random",
        "search.num_architectures=0",
    ): "search.num_architectures: must be an integer of at least 1, got 0",
    ("search=random", "search.num_architectures=12"): "search.num_architectures: must be at most 11, as many as were",
    ("search=random", "search.cost_range=[0.99,1]"): "search.cost_range: must hold the cost of a feasible architecture",
    ("search=random", "search.eta=0.1"): "search.eta: must be one of cost_range, name, num_architectures, got",
    ("search=exhaustive", "search.max_architectures=10"): "search.max_architectures: must be at least 11, as many",
    ("search=exhaustive", "search.by=losses"): "search.by: must be one of one_shot, stand_alone, got 'losses'",
    ("search=bayesian", "search.length_scale=-1"): "search.length_scale: must be a number above 0, got -1",
    ("search=evolution", "+search.mutation=0.1"): "search.mutation: must be one of",
    ("search=one_shot_uniform", "search.warmup_fraction=1"): "search.warmup_fraction: must be a number in [0, 0.99]",
    ("search=bayesian", "limits.0.limit=100"): "limits: the limit on params must be at least 682",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_mistakes_are_told_before_training(train_py, tmp_path, arguments):
    outcome = train_py("experiment=quick", *arguments)
    assert outcome.code == 2
    assert outcome.err.startswith("tabnas: error: ")
    assert WRONG[arguments] in outcome.err
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.slow
@pytest.mark.parametrize("search", ["bayesian", "random"])
def test_a_run_killed_anywhere_ends_as_one_never_killed(tmp_path, search):
    arguments = (*QUICK, "hydra.run.dir=run", "trainer.max_epochs=20", f"search={search}", *RUNS[search])
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = start(tmp_path / "whole", *arguments)
    assert whole.wait() == 0
    whole.stderr.close()
    run = tmp_path / "killed" / "run"
    killed_when(start(tmp_path / "killed", *arguments), lambda: (run / "run.yaml").exists())
    if search == "bayesian":
        killed_when(start(tmp_path / "killed", f"resume={run}"), lambda: (run / "checkpoints" / "last.ckpt").exists())
    killed_when(start(tmp_path / "killed", f"resume={run}"), lambda: (run / "search.json").exists())
    killed_when(start(tmp_path / "killed", f"resume={run}"), lambda: any(run.glob("retrain/*.ckpt")))
    killed_when(start(tmp_path / "killed", f"resume={run}"), lambda: len(list(run.glob("retrain/*.json"))) >= 2)
    last = start(tmp_path / "killed", f"resume={run}")
    assert last.wait() == 0
    last.stderr.close()
    results = [json.loads((tmp_path / name / "run" / "result.json").read_text()) for name in ("whole", "killed")]
    for found in results:
        found.pop("reproduce", None)
    assert without_seconds(results[0]) == without_seconds(results[1])
    networks = [model.load(tmp_path / name / "run")[0].state_dict() for name in ("whole", "killed")]
    assert all(torch.equal(networks[1][name], value) for name, value in networks[0].items())
