"""Every config composes and instantiates."""

from pathlib import Path

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra

import tabnas.cli  # noqa: F401  (registers the resolvers that config.yaml uses)
from tabnas.build import build
from tabnas.space import SearchSpace
from tests.conftest import ROOT
from tests.data import stand_ins

CONF = ROOT / "conf"
GROUPS = ("dataset", "space", "optimizer", "search", "trainer", "accelerator", "experiment")


def options():
    for group in GROUPS:
        for path in sorted((CONF / group).rglob("*.yaml")):
            yield f"{group}={path.relative_to(CONF / group).with_suffix('')}"


def compose(*overrides: str):
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("config", overrides=list(overrides))


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """Where stand-ins of the tables that do not ship are."""
    return tmp_path_factory.mktemp("stand_ins")


@pytest.mark.parametrize("option", list(options()))
def test_composes_and_instantiates(option, tmp_path, made_up):
    if option == "accelerator=gpu":
        pytest.importorskip("torch").cuda.is_available() or pytest.skip("no GPU here")
    if option == "accelerator=tpu":
        pytest.skip("runs in an environment of its own: tests/tpu")
    limits = ["limits.0.limit=100000"] if option == "space=layers9" else []
    setup = build(compose(option, *limits, *stand_ins.overrides(option, made_up)), tmp_path)
    assert setup.search.total_steps == setup.max_epochs * setup.data.steps_per_epoch
    assert not list(tmp_path.iterdir())


def test_the_groups_here_are_those_there_are():
    assert {p.name for p in CONF.iterdir() if p.is_dir()} - {"hydra"} == set(GROUPS)


@pytest.mark.parametrize(
    ("option", "size"), [("layers3", 8000), ("layers4", 160_000), ("layers5", 3_200_000), ("layers9", 5_159_780_352)]
)
def test_the_papers_spaces(option, size):
    assert SearchSpace(list(map(list, compose(f"space={option}").space.choices))).size == size


def test_the_papers_connect4():
    cfg = compose("experiment=paper/connect4")
    assert (cfg.dataset.batch_size, cfg.optimizer.lr, cfg.optimizer.schedule) == (32, 0.0005, "cosine")
    assert (cfg.search.eta, cfg.search.num_samples) == (0.005, 3072)
    assert (cfg.trainer.max_epochs, cfg.retrain.max_epochs, cfg.dataset.embedding_dim) == (60, 60, 2)


def test_every_yaml_says_what_it_is():
    for path in CONF.rglob("*.yaml"):
        assert "#" in path.read_text() or path.parent.name in ("help", "accelerator"), Path(path)
