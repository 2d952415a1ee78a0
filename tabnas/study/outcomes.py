"""What the outcomes of a study's jobs say. May import errors, jobs, space and statistics."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tabnas.errors import UserError
from tabnas.space import Widths
from tabnas.statistics import Estimate, mean
from tabnas.study.jobs import Job, Outcomes, Training

Found = Mapping[str, Any]

RETRAIN_SEEDS = 1_000_000
"""From the study's seed to the first of those of trainings that nothing was chosen by."""


def again(widths: Widths, seed: int, n: int) -> Training:
    """n trainings, in a study of this seed, with seeds that nothing was chosen by."""
    return Training(widths, range(seed + RETRAIN_SEEDS, seed + RETRAIN_SEEDS + n))


def selected(outcome: Found) -> list[Widths]:
    """What a search selected."""
    return [tuple(c["widths"]) for c in outcome.get("candidates", ()) if "search" in c["chosen_by"]]


def succeeded(jobs: Sequence[Job], outcomes: Outcomes) -> list[Training]:
    """The trainings among these jobs, but for those that failed; UserError where all did."""
    trainings = [job for job in jobs if isinstance(job, Training)]
    found = [job for job in trainings if "error" not in outcomes[job.name]]
    if not found:
        rule, why = "must have a training from scratch that does not fail", outcomes[trainings[0].name]["error"]
        raise UserError("study", rule, why, "mend this, and start the study anew")
    return found


def failed_trainings(outcomes: Outcomes) -> dict[str, str]:
    """By name, why they failed."""
    return {name: outcome["error"] for name, outcome in outcomes.items() if "error" in outcome and "widths" in outcome}


def best_trained(jobs: Sequence[Job], outcomes: Outcomes) -> Widths:
    """Of the trainings among these jobs that of the smallest mean validation loss."""
    return min(
        succeeded(jobs, outcomes), key=lambda job: np.mean([run["loss"] for run in outcomes[job.name]["runs"]])
    ).widths


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
