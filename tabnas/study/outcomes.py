"""What the outcomes of a study's jobs say. May import jobs, space and statistics."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tabnas.space import Widths
from tabnas.statistics import Estimate, mean
from tabnas.study.jobs import Outcomes

Found = Mapping[str, Any]

RETRAIN_SEEDS = 1_000_000
"""The first of the seeds of trainings that nothing was chosen by."""


def selected(outcome: Found) -> list[Widths]:
    """What a search selected."""
    return [tuple(c["widths"]) for c in outcome.get("candidates", ()) if "search" in c["chosen_by"]]


def best_trained(outcomes: Outcomes) -> Widths:
    """Of all that were trained, but for what was trained again, that of the smallest mean validation loss."""
    trained = [o for name, o in outcomes.items() if "runs" in o and str(RETRAIN_SEEDS) not in name]
    best = min(trained, key=lambda job: np.mean([run["loss"] for run in job["runs"]]))
    return tuple(best["widths"])


def split(outcomes: Outcomes) -> str:
    """The split that trainings are reported by: the test split, where all have been measured on one."""
    runs = [run for outcome in outcomes.values() for run in outcome.get("runs", ())]
    return "test" if all(run.get("test") for run in runs) else "validation"


def of_split(run: Found, name: str) -> Found:
    """A training's metrics on a split."""
    found: Found = run["test"] if name == "test" else run
    return found


def estimates(runs: Sequence[Found], metrics: Sequence[str], name: str) -> dict[str, Estimate]:
    """Each metric's mean over trainings, on a split."""
    return {metric: mean([of_split(run, name)[metric] for run in runs]) for metric in metrics}
