"""The paper's experiments, on stand-ins of their tables: its inputs, limits and settings, and that they run."""

import json
from pathlib import Path

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra

import tabnas.cli  # noqa: F401  (registers the resolvers that config.yaml uses)
from tabnas.build import build
from tests.data import stand_ins

CONF = Path(__file__).parents[2] / "conf"

# Reference, its parameters, batch, rate, schedule, weights' optimizer, epochs of search and training (Tables 1 and 2).
PAPER = {
    "criteo3": ("32-144-24", 41_153, 512, 0.002, "cosine", "Adam", 120, 60),
    "criteo4": ("48-128-16-112", 59_697, 512, 0.002, "cosine", "Adam", 120, 60),
    "criteo5": ("48-240-24-256-8", 75_353, 512, 0.002, "cosine", "Adam", 120, 60),
    "volkert4": ("48-160-32-144", 27_882, 32, 0.01, "constant", "SGD", 240, 120),
    "volkert9": ("144-128-112-16-16-48-144-24-160", 78_114, 32, 0.01, "constant", "SGD", 240, 120),
    "aloi": ("64-192-48-32", 64_568, 128, 0.0005, "constant", "Adam", 100, 50),
    "higgs": (None, 5_000, 64, 0.05, "constant", "SGD", 120, 60),
}
MONTE_CARLO = {"criteo3": 3072, "criteo4": 32_768, "criteo5": 32_768, "volkert4": 10_000, "volkert9": 5_000_000}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("stand_ins")


@pytest.fixture
def overrides(folder, monkeypatch):
    """What leads an experiment to a stand-in for its table."""
    monkeypatch.setattr("sklearn.datasets._openml.urlopen", None)  # nothing may be fetched
    return lambda name: [f"experiment=paper/{name}", *stand_ins.overrides(f"experiment=paper/{name}", folder)]


def compose(arguments):
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("config", overrides=arguments)


def test_these_are_all_but_connect4():
    found = {path.stem for path in (CONF / "experiment" / "paper").glob("*.yaml")}
    assert found == {*PAPER, "connect4"}


@pytest.mark.parametrize("name", PAPER)
def test_is_the_papers(name, overrides, tmp_path):
    reference, limit, batch, lr, schedule, optimizer, epochs, retrain_epochs = PAPER[name]
    cfg = compose(overrides(name))
    setup = build(cfg, tmp_path)
    assert (cfg.limits[0].cost, cfg.limits[0].limit) == ("params", limit)
    if reference:
        widths = tuple(map(int, reference.split("-")))
        assert setup.costs(widths) == {"params": limit}
        assert all(w in layer for w, layer in zip(widths, setup.space.choices, strict=True))
    assert (cfg.dataset.batch_size, cfg.optimizer.lr, cfg.optimizer.schedule) == (batch, lr, schedule)
    assert type(setup.optimizer).__name__ == optimizer
    assert cfg.optimizer.get("momentum", 0) == (0.9 if name.startswith("volkert") else 0)
    assert (setup.max_epochs, setup.retrain_epochs) == (epochs, retrain_epochs)
    assert cfg.search.num_samples == MONTE_CARLO.get(name, cfg.search.num_samples)
    assert 0.001 <= cfg.search.eta <= 0.01
    assert cfg.dataset.numerical == "original"


@pytest.mark.parametrize("name", ["volkert4", "volkert9", "aloi", "higgs"])
def test_runs(name, overrides, tmp_path, train_py):
    short = ["trainer.max_epochs=2", "retrain.max_epochs=1", "retrain.seeds=1", "search.num_samples=null"]
    outcome = train_py(*overrides(name), *short)
    assert outcome.code == 0, outcome.err
    (result,) = tmp_path.rglob("result.json")
    found = json.loads(result.read_text())
    assert found["dataset"]["name"] == name.rstrip("49")
    assert found["dataset"]["n_inputs"] == {"volkert4": 180, "volkert9": 180, "aloi": 128, "higgs": 28}[name]
    assert all(a["costs"]["params"] <= PAPER[name][1] for a in found["architectures"])
