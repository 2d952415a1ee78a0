"""One search on a table of losses, by the real search's controller, method and selection."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from tabnas.controller import Controller
from tabnas.cost import Limits
from tabnas.errors import UserError
from tabnas.feasibility import MonteCarlo
from tabnas.method import Method, Rejection, Step
from tabnas.optim import SGD, Adam, Child, schedule_factor
from tabnas.reward import quality
from tabnas.search.module import HISTORY_POINTS
from tabnas.search.plain import random_feasible, uniform_width
from tabnas.search.selection import FinalSelection
from tabnas.space import SearchSpace, Widths
from tabnas.study.protocol import Study
from tabnas.supernet import SuperNet
from tabnas.toy.table import LossTable

TASK = "known losses"
"""In a result: what its losses are."""


class ToySearch:
    """Algorithm 1 with losses that are known, so that there are no weights to train and no warmup.

    total_steps: RL steps, those skipped included.
    """

    def __init__(self, method: Method, table: LossTable, total_steps: int) -> None:
        if method.warmup_fraction:
            rule = "must be 0 with known losses, as there are no weights to warm up"
            raise UserError("search.warmup_fraction", rule, method.warmup_fraction, "leave it out")
        self.method, self.table, self.total_steps = method, table, total_steps
        self.space, self.limits = method.space, method.limits
        self.controller = Controller(method.space)
        self.selection = FinalSelection(**method.selection)
        self.supernet = SuperNet(method.space, table.n_inputs, table.n_outputs)  # not trained: for selection's recount
        self.seconds = 0.0
        self.counts = {
            "rl_updates": 0,
            "children_evaluated": 0,
            "forward_passes": 0,
            "skipped_infeasible": 0,
            "skipped_no_sample": 0,
        }
        self.history: list[dict[str, Any]] = []
        """About HISTORY_POINTS snapshots: step, what `_metrics` gives."""

    def run(self) -> None:
        """Search, then select."""
        method, logits = self.method, self.controller.logits
        settings = Adam(lr=method.eta) if method.rl_optimizer == "adam" else SGD(lr=method.eta)
        optimizer = settings.child([logits])  # torch's first optimizer takes a second of imports
        started = time.perf_counter()
        since: list[Step] = []  # applied since the last snapshot
        rl_from = method.rl_from or 0.0
        for n in range(self.total_steps if method.has_controller else 0):
            progress = n / self.total_steps
            due = progress >= rl_from and n % method.rl_every == 0
            if due and (step := self._step()) is not None:
                since.append(step)
                rate = method.eta * schedule_factor(method.rl_schedule, (progress - rl_from) / (1.0 - rl_from))
                optimizer.param_groups[0]["lr"] = rate
                logits.grad = -step.ascent
                optimizer.update(Child([None], [logits]))
            if (n + 1) * HISTORY_POINTS // self.total_steps > n * HISTORY_POINTS // self.total_steps:
                self.history.append({"step": n + 1, **self._metrics(since)})
                since = []
        if not bool(logits[self.space.mask].isfinite().all()):
            raise UserError("logits", "must stay finite", "nan or inf", "lower search.eta")
        self.selection.selected = self.selection.select(cast(Any, self))
        self.seconds = time.perf_counter() - started

    def _step(self) -> Step | None:
        """What an RL step does to the logits, or None where it is skipped."""
        method, logits = self.method, self.controller.logits.detach()
        children = method.draw(logits)
        evaluated = method.evaluated(children)
        if not bool(evaluated.any()):
            self.counts["skipped_infeasible"] += 1
            return None
        self.counts["children_evaluated"] += int(evaluated.sum())
        self.counts["forward_passes"] += int(evaluated.sum())
        step = method.step(logits, children, quality(self.table.loss(children)), evaluated)
        self.counts["rl_updates" if step.applies else f"skipped_{step.why_skipped}"] += 1
        return step if step.applies else None

    @torch.no_grad()
    def _metrics(self, steps: list[Step]) -> dict[str, Any]:
        method, logits = self.method, self.controller.logits.detach()
        estimated = isinstance(method, Rejection) and isinstance(method.estimator, MonteCarlo)
        estimates = [s.log_prob_valid.exp() for s in steps if s.log_prob_valid is not None] if estimated else []
        return {
            "reward": _mean([s.reward.mean() for s in steps]),
            "advantage": _mean([s.advantage.abs().mean() for s in steps]),
            "prob_valid": math.exp(method.log_prob_valid(logits)),
            "prob_valid_estimate": _mean(estimates),
            "probabilities": self.layer_probabilities(),
        }

    def layer_probabilities(self) -> list[list[float]]:
        """p_ij per layer, without the padding."""
        table = self.controller.probabilities().tolist()
        return [row[:n] for row, n in zip(table, self.space.n_choices, strict=True)]

    def one_shot_losses(self, children: Sequence[Widths]) -> list[float]:
        """The known losses, each counted as one forward pass."""
        self.counts["forward_passes"] += len(children)
        return [self.table.losses[widths] for widths in children]


@dataclass
class ToySetup:
    """Everything a run on a table of losses works with, checked."""

    config: dict[str, Any]
    folder: Path
    data: LossTable
    space: SearchSpace
    limits: Limits
    costs: Callable[[Widths], dict[str, float]]
    """By name: the number of parameters, and whatever is limited."""
    search: ToySearch
    study: Study | None
    """Many searches instead of the one."""
    max_epochs: int
    seed: int

    def about(self) -> dict[str, Any]:
        """The part of the results that says what was asked."""
        data = {"n_train": 0, "n_val": 0, "n_inputs": self.data.n_inputs, "n_outputs": self.data.n_outputs}
        return {
            "config": self.config,
            "dataset": {"name": self.config["dataset"]["name"], "task": TASK, **data},
            "space": {"choices": [list(layer) for layer in self.space.choices], "size": self.space.size},
            "limits": self.config["limits"],
        }

    def best_feasible(self) -> Widths:
        """The best there is to find."""
        return self.data.best([widths for widths in self.space if self.limits.allow(widths)])


def result_of(setup: ToySetup, started: float) -> dict[str, Any]:
    """The content of result.json after the search. started: time.perf_counter() at the start of the run."""
    search, method = setup.search, setup.search.method
    leading = setup.space.widths(search.controller.logits.argmax(dim=1).tolist())
    architectures = _architectures(setup)
    losses = [found["stand_alone"]["loss"]["mean"] for found in architectures]
    return {
        "version": 1,
        "seconds": {"search": search.seconds, "retrain": 0.0, "total": time.perf_counter() - started},
        **setup.about(),
        "search": {
            "method": method.name,
            "epochs": setup.max_epochs if method.has_controller else 0,
            "weight_updates": 0,
            **search.counts,
            "seconds": search.seconds,
            "prob_valid": math.exp(method.log_prob_valid(search.controller.logits)),
            "leading": {
                "widths": list(leading), "costs": setup.costs(leading), "feasible": setup.limits.allow(leading),
            } if method.has_controller else None,
            "logits": [
                row[:n]
                for row, n in zip(search.controller.logits.tolist(), setup.space.n_choices, strict=True)
            ],
            "selection": search.selection.selected[0].how,
            "history": search.history,
        },
        "architectures": architectures,
        "best": losses.index(min(losses)),
    }  # fmt: skip


def _architectures(setup: ToySetup) -> list[dict[str, Any]]:
    """What the search selected and two plain choices at the same limits, each once."""
    search = setup.search
    chosen: dict[Widths, dict[str, Any]] = {
        found.widths: {"chosen_by": "search", "probability": found.probability} for found in search.selection.selected
    }
    draws = torch.Generator().manual_seed(setup.seed)
    plain = {
        "uniform width": uniform_width(setup.space, setup.limits),
        "random feasible": random_feasible(setup.space, setup.limits, search.method.program, draws),
    }
    for name, widths in plain.items():
        if widths in chosen:
            chosen[widths]["chosen_by"] += f", {name}"
        elif widths is not None:
            chosen[widths] = {"chosen_by": name, "probability": None}
    return [
        {
            "widths": list(widths),
            "costs": setup.costs(widths),
            **about,
            "one_shot": {"loss": setup.data.losses[widths]},
            "stand_alone": {
                "loss": {"mean": setup.data.losses[widths], "std": None, "runs": [setup.data.losses[widths]]},
                "seconds": 0.0,
            },
        }
        for widths, about in chosen.items()
    ]


def _mean(values: list[Tensor]) -> float | None:
    return float(torch.stack(values).mean()) if values else None
