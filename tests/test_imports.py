"""Imports run one way, and the core stays plain torch."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tabnas"

# What each module may import of tabnas, itself and its own folder aside.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "reward": set(),
    "metrics": set(),
    "statistics": set(),
    "task": {"metrics"},
    "numerical": {"errors"},
    "encoder": {"numerical"},
    "network": set(),
    "ranks": set(),
    "accelerator": {"errors", "trainer"},
    "trainer": {"errors", "ranks"},
    "space": {"errors"},
    "cli": {"errors", "ranks"},
    "arguments": {"errors"},
    "run_folder": {"cli", "errors", "ranks"},
    "cost": {"space"},
    "controller": {"space"},
    "feasibility": {"errors", "space", "cost", "controller"},
    "method": {"errors", "space", "cost", "controller", "reward", "feasibility"},
    "latency": {"errors", "space", "cost", "network"},
    "limits": {"errors", "space", "cost", "latency"},
    "supernet": {"space", "network"},
    "optim": {"errors", "supernet"},
    "data": {"errors", "task"},
    "result": {"trainer"},
    "report": {"errors"},
    "card": set(),
    "model": {"card", "encoder", "errors", "network", "task", "trainer"},
    "predict": {"data", "errors", "model", "progress", "task"},
    "progress": {"space", "ranks"},
    "reference": {"errors"},
    "export": {"card", "data", "errors", "latency", "model", "predict", "task", "trainer"},
    "search": {
        "errors", "space", "cost", "reward", "controller", "feasibility", "method", "encoder", "supernet", "optim",
        "task", "data", "accelerator",
    },
    "trust": {"statistics"},
    "toy": {
        "errors", "space", "cost", "reward", "controller", "feasibility", "method", "supernet", "optim", "search",
        "study", "trainer",
    },
    "study": {  # its jobs are built and searched as runs are
        "errors", "space", "cost", "feasibility", "search", "task", "trainer", "progress", "cli", "statistics",
        "hyperparameters", "pipeline", "build", "data",
    },
    "stand_alone": {"errors", "encoder", "optim", "task", "data"},
    "seeds": {"encoder", "network", "optim", "stand_alone", "data"},
    "stopping": {"errors", "stand_alone", "task", "data"},
    "retrain": {
        "errors", "space", "encoder", "network", "optim", "seeds", "stand_alone", "stopping", "task", "data", "trainer",
    },
}  # fmt: skip
PLAIN_TORCH = {"errors", "space", "cost", "feasibility", "method", "controller", "reward"}
ONLY_ROOTS_MAY_IMPORT_EVERYTHING = {
    "run", "pipeline", "candidates", "hyperparameters", "estimators", "build", "bench", "__init__",
}  # fmt: skip


def parts():
    return sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
            if node.module == "tabnas":
                names |= {f"tabnas.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


@pytest.mark.parametrize("path", parts(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    part = part_of(path)
    if part in ONLY_ROOTS_MAY_IMPORT_EVERYTHING:
        return
    inside = {name.split(".")[1] for name in imported(path) if name.startswith("tabnas.")}
    assert inside - {part} <= MAY_IMPORT[part]


def test_nothing_but_its_own_test_is_allowed_in_the_table():
    assert set(MAY_IMPORT) == {part_of(path) for path in parts()} - ONLY_ROOTS_MAY_IMPORT_EVERYTHING


@pytest.mark.parametrize("path", parts(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_core_knows_neither_lightning_nor_hydra(path):
    if part_of(path) in PLAIN_TORCH:
        outside = {name.split(".")[0] for name in imported(path)}
        assert not outside & {"pytorch_lightning", "lightning_fabric", "hydra", "omegaconf", "pandas", "sklearn"}


@pytest.mark.parametrize("path", parts(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_file_is_a_god_file(path):
    assert len(path.read_text().splitlines()) <= 400
