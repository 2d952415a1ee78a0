"""A study on a few rows of the digits."""

import json
from pathlib import Path
from typing import Any

import pytest

TINY = (
    "dataset=digits", "space.choices=[[8,16,32],[8,16,32]]", "limits.0.limit=3000", "trainer.max_epochs=2",
    "trainer.log_every_n_steps=20", "retrain.max_epochs=1", "dataset.batch_size=128", "study.processes=1",
)  # fmt: skip


def outcomes_in(folder: Path) -> dict[str, Any]:
    return {path.parent.name: json.loads(path.read_text()) for path in (folder / "jobs").glob("*/outcome.json")}


def is_figure(path: Path) -> bool:
    """Whether there is a PNG, and an SVG beside it, that shows something."""
    png, svg = path.read_bytes(), path.with_suffix(".svg").read_text()
    return png[:8] == b"\x89PNG\r\n\x1a\n" and len(png) > 10_000 and svg.count("<path") > 10 and "</svg>" in svg


@pytest.fixture
def study(train_py, tmp_path):
    """Runs a study; its folder and the command's outcome."""

    def call(name: str, *arguments: str):
        outcome = train_py(f"experiment=study/{name}", *TINY, *arguments, "hydra.run.dir=run")
        return tmp_path / "run", outcome

    return call
