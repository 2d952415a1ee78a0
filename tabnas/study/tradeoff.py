"""Loss over cost of random architectures, and what those on the Pareto front look like (Figures 3, 11, Table 3)."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from tabnas.build import Setup
from tabnas.cost import Limits
from tabnas.errors import UserError, require_integer, require_number
from tabnas.space import Widths, hyphenated
from tabnas.statistics import pareto, share
from tabnas.study import pool
from tabnas.study.figures import COLOURS, save
from tabnas.study.jobs import Job, Outcomes, Training, carry_out
from tabnas.study.outcomes import again, estimates, failed_trainings, split, succeeded
from tabnas.study.words import bracketed, left_out, plus_minus, table

Found = dict[str, Any]


class Tradeoff:
    """Random architectures whose cost, the first limit's, is within a range around the limit.

    pool: architectures, the same number in each of `bands` ranges of cost, uniformly drawn there, trained once each.
    cost_range: from which share of the first limit to which.
    retrainings: of each architecture of the front, with seeds it was not chosen by.
    processes: jobs at a time; None: as many as there are cores.
    """

    name = "tradeoff"
    known_losses = False

    def __init__(
        self,
        pool: int = 120,
        bands: int = 8,
        cost_range: Sequence[float] = (0.2, 2.0),
        retrainings: int = 5,
        processes: int | None = None,
    ) -> None:
        require_integer("study.bands", bands, low=1, remedy="8 will do")
        require_integer("study.pool", pool, low=bands, remedy="120 will do; each band needs one at least")
        require_integer("study.retrainings", retrainings, low=1, remedy="5 is the paper's number")
        if isinstance(cost_range, str) or not isinstance(cost_range, Sequence) or len(cost_range) != 2:
            raise UserError("study.cost_range", "must be a list of two shares", cost_range, "[0.2, 2.0] is the default")
        low, high = cost_range
        require_number("study.cost_range.0", low, low=0, remedy="0.2 is the default")
        require_number("study.cost_range.1", high, low=low, open_low=True, remedy="2.0 is the default")
        if processes is not None:
            require_integer("study.processes", processes, low=1, remedy="null is one on each core")
        self.pool, self.bands, self.cost_range = pool, bands, (low, high)
        self.retrainings, self.processes = retrainings, processes

    def run(self, setup: Setup, progress: Callable[[int, int], None]) -> Found:
        """All trainings; the content of study.json."""
        drawn = self.drawn(setup)
        outcomes = carry_out(setup, lambda done: self.plan(setup, drawn, done), self.processes, progress)
        return self.analysis(setup, drawn, outcomes)

    def drawn(self, setup: Setup) -> list[Widths]:
        """The architectures, band by band."""
        limits, (low, high) = setup.limits, self.cost_range
        ends = np.linspace(low * limits.at_most[0], high * limits.at_most[0], self.bands + 1)
        found: list[Widths] = []
        for i in range(self.bands):
            within = Limits(limits.costs, [math.floor(ends[i + 1]), *limits.at_most[1:]])
            if within.allow(setup.space.smallest):
                each = self.pool // self.bands + (i < self.pool % self.bands)
                found += pool.drawn(setup.space, within, each, at_least=math.floor(ends[i]) + 1, seed=setup.seed + i)
        if not found:
            raise UserError(
                "study.cost_range",
                "must be that of some architectures",
                list(self.cost_range),
                "widen it, or raise limits",
            )
        return found

    def plan(self, setup: Setup, drawn: Sequence[Widths], outcomes: Outcomes) -> Sequence[Job]:
        """All jobs that are known."""
        jobs: list[Job] = [Training(widths, [setup.seed]) for widths in drawn]
        if all(job.name in outcomes for job in jobs):
            trained = succeeded(jobs, outcomes)
            front = self.front(setup, [outcomes[job.name] for job in trained])
            jobs += [self.again(setup, job) for job, is_best in zip(trained, front, strict=True) if is_best]
        return jobs

    def again(self, setup: Setup, job: Training) -> Training:
        """An architecture of the front, as its loss is reported."""
        return again(job.widths, setup.seed, self.retrainings)

    def front(self, setup: Setup, trained: Sequence[Found]) -> np.ndarray[Any, Any]:
        """(R,) bool: which of the trained have no other that loses and costs less."""
        cost = setup.limits.costs[0].name
        return pareto([job["costs"][cost] for job in trained], [job["runs"][0]["loss"] for job in trained])

    def analysis(self, setup: Setup, drawn: Sequence[Widths], outcomes: Outcomes) -> Found:
        """study.json's content, from the jobs' outcomes alone."""
        metrics = ["loss", setup.table.task.reported[0]]
        n_inputs, cost = setup.search.encoder.n_inputs, setup.limits.costs[0].name
        jobs, of = succeeded([Training(widths, [setup.seed]) for widths in drawn], outcomes), split(outcomes)
        trained = [outcomes[job.name] for job in jobs]
        rows = []
        for job, outcome, is_best in zip(jobs, trained, self.front(setup, trained), strict=True):
            row = {
                "widths": list(job.widths),
                "cost": outcome["costs"][cost],
                "loss": outcome["runs"][0]["loss"],
                "front": bool(is_best),
                "bottlenecks": bottlenecks(n_inputs, job.widths),
            }
            if is_best:
                runs = outcomes[self.again(setup, job).name].get("runs")
                row["again"] = None if runs is None else estimates(runs, metrics, of)
            rows.append(row)
        front = [row for row in rows if row["front"]]
        shares = {
            name: share(sum(bool(row["bottlenecks"]) for row in some), len(some))
            for name, some in (("front", front), ("all", rows))
        }
        about = {
            "cost": cost,
            "limit": setup.limits.at_most[0] / setup.limits.costs[0].scale,
            "metrics": metrics,
            "split": of,
        }
        failed = failed_trainings(outcomes)
        return {**about, "architectures": rows, "with_bottleneck": shares, "failed_trainings": failed}

    def tables(self, found: Found) -> list[Table]:
        """The front, for the terminal."""
        cost, metric = found["cost"], found["metrics"][1]
        front = sorted((row for row in found["architectures"] if row["front"]), key=lambda row: row["cost"])
        of = found["split"]
        rows = [
            [
                hyphenated(row["widths"]), f"{row['cost']:,}", f"{row['loss']:.4f}",
                *("failed" if row["again"] is None else plus_minus(row["again"][key]) for key in ("loss", metric)),
                named(row["bottlenecks"]),
            ]
            for row in front
        ]  # fmt: skip
        columns = (
            "architecture", cost, "validation loss\nit was chosen by", f"{of} loss\ntrained again",
            f"{of} {metric.replace('_', ' ')}\ntrained again", "bottleneck",
        )  # fmt: skip
        shares, n = found["with_bottleneck"], len(found["architectures"])
        caption = (
            f"Pareto front of {n} random architectures; 95 % intervals\n"
            f"a layer narrower than what is before it and after it: {bracketed(shares['front'])} of the front, "
            f"{bracketed(shares['all'])} of all"
        ) + left_out(found.get("failed_trainings", ()), "trainings")
        return [table(self.name, columns, rows, caption)]

    def write(self, found: Found, setup: Setup) -> None:
        """tradeoff.png and .svg."""
        figure = Figure(figsize=(8.5, 5), layout="constrained")
        axis = figure.subplots()
        rows = found["architectures"]
        for has, marker, colour, label in (
            (True, "o", COLOURS[0], "with a bottleneck"),
            (False, "^", COLOURS[4], "without"),
        ):
            some = [row for row in rows if bool(row["bottlenecks"]) == has]
            axis.plot(
                [r["cost"] for r in some],
                [r["loss"] for r in some],
                marker,
                color=colour,
                markersize=5,
                alpha=0.7,
                label=label,
            )
        front = sorted((row for row in rows if row["front"]), key=lambda row: row["cost"])
        axis.step(
            [row["cost"] for row in front],
            [row["loss"] for row in front],
            where="post",
            color="black",
            linewidth=1,
            label="Pareto front",
        )
        axis.axvline(found["limit"], linestyle="--", color="0.4", linewidth=1, label="the limit")
        losses = [row["loss"] for row in rows]
        lowest = min(losses)
        pad = 0.06 * (np.quantile(losses, 0.9) - lowest)
        axis.set_ylim(lowest - 2 * pad, np.quantile(losses, 0.9) + pad)
        axis.set(xlabel=found["cost"], ylabel="validation loss of one training")
        axis.margins(x=0.08)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=9)
        figure.draw_without_rendering()
        for row in _labelled(axis, front):
            axis.annotate(
                hyphenated(row["widths"]),
                (row["cost"], row["loss"]),
                xytext=(-3, -3),
                textcoords="offset points",
                ha="right",
                va="top",
                fontsize=7,
            )
        save(figure, setup.folder / "tradeoff.png")


def _labelled(axis: Axes, front: Sequence[Found]) -> list[Found]:
    """Of the front those whose labels leave room for each other; the table has all."""
    height, kept = 10.0 * axis.figure.dpi / 72, []
    below = np.inf
    for row in front:  # whose losses fall as their costs rise
        y = axis.transData.transform((row["cost"], row["loss"]))[1]
        if y < below - height:
            kept.append(row)
            below = y
    return kept


def bottlenecks(n_inputs: int, widths: Sequence[int]) -> list[int]:
    """Numbers, from 1, of the hidden layers that are narrower than what is before and the hidden layer after them.

    The input representation counts, as in the paper, whose 32-144-24 has its bottleneck in layer 1 on 1,027 inputs.
    """
    before = [n_inputs, *widths]
    return [i + 1 for i in range(len(widths) - 1) if before[i] > widths[i] < widths[i + 1]]


def named(layers: Sequence[int]) -> str:
    return "" if not layers else f"layer {' and '.join(map(str, layers))}"
