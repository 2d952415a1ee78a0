"""What the outcomes of a study's jobs say. May import jobs, space and statistics."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tabnas.space import Widths
from tabnas.statistics import mean
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


def split(run: Found) -> str:
    """The split that a training is reported by."""
    return "test" if run.get("test") else "validation"


def held_out(run: Found, metric: str) -> float:
    """A metric of a training on the test split, where there is one, else on the validation split."""
    value: float = (run.get("test") or run)[metric]
    return value


def estimates(runs: Sequence[Found], metrics: Sequence[str]) -> Found:
    """Each metric's mean over trainings."""
    return {metric: mean([held_out(run, metric) for run in runs]) for metric in metrics}
