"""What a search's result is worth beside that of random search at the same cost (the paper's Figures 2 and 12).

Costs are in units of one stand-alone training: the mean seconds of those of the pool. A search costs its own seconds
and those of training what it selected. Architectures are chosen by their loss on the validation split, which is
optimistic, and reported by that on the test split.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from tabnas.build import Setup
from tabnas.errors import UserError, require_integer, require_number
from tabnas.search.plain import uniform_width
from tabnas.space import Widths, hyphenated
from tabnas.statistics import band_of_best, difference, difference_from, expected_best, mean
from tabnas.study import pool
from tabnas.study.figures import COLOURS, MARKERS, save
from tabnas.study.jobs import Job, Outcomes, Search, Training, carry_out
from tabnas.study.outcomes import again, best_trained, estimates, failed_trainings, of_split, selected, split, succeeded
from tabnas.study.words import left_out, plus_minus, table, verdict

Found = dict[str, Any]

FEWEST = 5  # architectures of a pool


class Compare:
    """Each method `seeds` times, beside a pool of random architectures.

    methods: by name, settings of `search`. The others are compared with the first.
    seeds: searches of each method; also trainings of the reference, the widest network of one width throughout, and of
        the skyline, the best of all that were trained, trained again.
    pool: feasible architectures, drawn uniformly, trained once each.
    near: from this share of the first limit on, architectures count for random search near the limit.
    processes: jobs at a time; None: as many as there are cores.
    """

    name = "compare"
    known_losses = False

    def __init__(
        self,
        methods: Mapping[str, Mapping[str, Any]],
        seeds: int = 5,
        pool: int = 60,
        near: float = 0.7,
        processes: int | None = None,
    ) -> None:
        if not isinstance(methods, Mapping) or not methods:
            raise UserError("study.methods", "must name at least one method", methods, "see conf/experiment/study")
        require_integer("study.seeds", seeds, low=1, remedy="5 give a first idea of the spread")
        require_integer("study.pool", pool, low=FEWEST, remedy="60 will do")
        require_number("study.near", near, low=0, high=1, remedy="0.7 is the default")
        if processes is not None:
            require_integer("study.processes", processes, low=1, remedy="null is one on each core")
        self.methods, self.seeds, self.pool, self.near, self.processes = dict(methods), seeds, pool, near, processes

    def run(self, setup: Setup, progress: Callable[[int, int], None]) -> Found:
        """All searches and trainings; the content of study.json."""
        widths = pool.drawn_or_refused(setup.space, setup.limits, self.pool, seed=setup.seed, fewest=FEWEST)
        reference = uniform_width(setup.space, setup.limits)
        outcomes = carry_out(setup, lambda done: self.plan(setup, widths, reference, done), self.processes, progress)
        return self.analysis(setup, widths, reference, outcomes)

    def plan(
        self, setup: Setup, drawn: Sequence[Widths], reference: Widths | None, outcomes: Outcomes
    ) -> Sequence[Job]:
        """All jobs that are known."""
        seeds = range(setup.seed, setup.seed + self.seeds)
        searches = self.searches(setup, outcomes)
        jobs = evenly(list(searches.values()), [Training(widths, [setup.seed]) for widths in drawn])
        if reference is not None:
            jobs.append(Training(reference, seeds))
        for (_, seed), search in searches.items():
            jobs += [Training(widths, [seed]) for widths in selected(outcomes.get(search.name, {}))]
        if len(searches) == len(self.methods) * self.seeds and all(job.name in outcomes for job in jobs):
            jobs.append(again(best_trained(jobs, outcomes), setup.seed, self.seeds))
        return jobs

    def searches(self, setup: Setup, outcomes: Outcomes) -> dict[tuple[str, int], Search]:
        """By method and seed; those that are known, given the outcomes so far."""
        return {
            (name, seed): Search(f"{name}-seed{seed}", {"search": settings, "seed": seed})
            for seed in range(setup.seed, setup.seed + self.seeds)
            for name, settings in self.methods.items()
        }

    def analysis(self, setup: Setup, drawn: Sequence[Widths], reference: Widths | None, outcomes: Outcomes) -> Found:
        """study.json's content, from the jobs' outcomes alone."""
        metrics = ["loss", setup.table.task.reported[0]]
        of_pool = succeeded([Training(widths, [setup.seed]) for widths in drawn], outcomes)
        trained = [outcomes[job.name] for job in of_pool]
        unit = float(np.mean([job["runs"][0]["seconds"] for job in trained]))
        of = split(outcomes)
        about = {"metrics": metrics, "split": of, "unit_seconds": unit}
        of_all = Pool(trained, metrics, of, pool.count(setup.space, setup.limits))
        cost = setup.limits.costs[0]
        dear = [cost(job.widths) >= self.near * setup.limits.at_most[0] for job in of_pool]
        close = [job for job, is_dear in zip(trained, dear, strict=True) if is_dear]
        pools = {"random": of_all}
        if len(close) >= FEWEST:
            pools["near"] = Pool(close, metrics, of, None)
        methods = [self._method(name, setup, outcomes, unit, pools, about) for name in self.methods]
        first = methods[0]
        for other in methods[1:]:
            other["less_first"] = _paired(other["runs"], first["runs"])
        known = {"skyline": self.plan(setup, drawn, reference, outcomes)[-1].name}
        if reference is not None:
            seeds = range(setup.seed, setup.seed + self.seeds)
            known = {"uniform width": Training(reference, seeds).name, **known}
        marks = [
            {
                "name": name,
                "widths": job["widths"],
                "params": job["costs"]["params"],
                **estimates(job["runs"], metrics, of),
            }
            for name, job in ((name, outcomes[job]) for name, job in known.items())
            if "error" not in job
        ]
        most = max([run["cost"] for method in methods for run in method["runs"]], default=1.0)
        curves = {name: each.curve(min(1.25 * most + 5, each.size)) for name, each in pools.items()}
        return {
            **about,
            "methods": methods,
            "marks": marks,
            "pool": of_all.rows(),
            "curves": curves,
            "failed_trainings": failed_trainings(outcomes),
        }

    def _method(
        self,
        name: str,
        setup: Setup,
        outcomes: Outcomes,
        unit: float,
        pools: Mapping[str, "Pool"],
        about: Found,
    ) -> Found:
        metrics, of = about["metrics"], about["split"]
        runs, errors = [], []
        for (method, seed), search in self.searches(setup, outcomes).items():
            if method != name:
                continue
            outcome = outcomes[search.name]
            if "error" in outcome:
                errors.append(outcome["error"])
                continue
            every = [outcomes[Training(widths, [seed]).name] for widths in selected(outcome)]
            trainings = [job for job in every if "error" not in job]
            if not trainings:
                errors.append(every[0]["error"])
                continue
            seconds = outcome["search"]["seconds"] + sum(job["runs"][0]["seconds"] for job in trainings)
            best = min(trainings, key=lambda job: job["runs"][0]["loss"])
            runs.append(
                {
                    "seed": seed,
                    "widths": best["widths"],
                    "params": best["costs"]["params"],
                    "valid_loss": best["runs"][0]["loss"],
                    **{metric: of_split(best["runs"][0], of)[metric] for metric in metrics},
                    "cost": seconds / unit,
                    "trained": len(trainings),
                    **{key: outcome["search"].get(key) for key in ("seconds", "weight_updates", "forward_passes")},
                    "prob_valid": outcome["search"]["prob_valid"] if outcome["search"]["leading"] else None,
                }
            )
        found: Found = {"method": name, "runs": runs, "errors": errors}
        if runs:
            found |= {key: mean([run[key] for run in runs]) for key in ("cost", *metrics)}
            found["less"] = {
                which: {
                    metric: each.less([r[metric] for r in runs], [r["cost"] for r in runs], metric)
                    for metric in metrics
                }
                for which, each in pools.items()
            }
        return found

    def tables(self, found: Found) -> list[Table]:
        """For the terminal: each method beside random search, and beside the first method."""
        metric = found["metrics"][1]
        rows = []
        for method in found["methods"]:
            if not method["runs"]:
                rows.append([method["method"], "all failed", *[""] * 6])
                continue
            less = [each["loss"] for each in method["less"].values()]
            rows.append([
                method["method"], str(len(method["runs"])), plus_minus(method["cost"], 1),
                f"{np.mean([run['params'] for run in method['runs']]):,.0f}",
                plus_minus(method["loss"]), plus_minus(method[metric]),
                *(f"{plus_minus(each, sign=True)}\n{verdict(each)}" for each in less), *[""] * (2 - len(less)),
            ])  # fmt: skip
        for mark in found["marks"]:
            name = f"{mark['name']}, {hyphenated(mark['widths'])}"
            params, losses = f"{mark['params']:,}", (plus_minus(mark["loss"]), plus_minus(mark[metric]))
            rows.append([name, "", "", params, *losses, "", ""])
        of = found["split"]
        columns = (
            "method", "runs", "cost", "params", f"{of} loss", f"{of}\n{metric.replace('_', ' ')}",
            "loss − random search's\nat equal cost", "− random search's\nnear the limit",
        )  # fmt: skip
        caption = (
            f"95 % intervals; cost in stand-alone trainings, of {found['unit_seconds']:.1f} s; "
            f"random search: the expected best of a pool of {len(found['pool'])}; chosen by validation loss"
            "\nuniform width, and skyline, the best of all trained again: means of networks, not the best of several"
        )
        if found["split"] == "validation":
            caption += "\nno test split: the loss of what was chosen by it is optimistic, most for the largest costs"
        if any(run["cost"] > len(found["pool"]) - 1 for method in found["methods"] for run in method["runs"]):
            caption += (
                "\nsome searches cost as much as the whole pool, of which no interval can be told: raise study.pool"
            )
        caption += left_out([error for method in found["methods"] for error in method["errors"]], "searches")
        caption += left_out(found.get("failed_trainings", ()), "trainings")
        made = [table(self.name, columns, rows, caption)]
        first = found["methods"][0]["method"]
        paired = [
            [m["method"], plus_minus(m["less_first"], sign=True), verdict(m["less_first"])]
            for m in found["methods"][1:]
            if m["less_first"] is not None
        ]
        if paired:
            made.append(
                table(
                    "the same seed",
                    ("method", f"{of} loss − that of {first}", ""),
                    paired,
                    "paired differences, 95 % intervals",
                )
            )
        return made

    def write(self, found: Found, setup: Setup) -> None:
        """compare.png and .svg: loss over cost."""
        figure = Figure(figsize=(10.5, 4.4), layout="constrained")
        for axis, metric in zip(figure.subplots(1, 2), found["metrics"], strict=True):
            _panel(axis, found, metric)
        figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper", fontsize=9)
        save(figure, setup.folder / f"{self.name}.png")


class Pool:
    """Random architectures, each trained once, from which random search is computed.

    trained: outcomes of trainings with one seed. of: the split they are reported by.
    size_of_all: how many there are to be drawn, if known.
    """

    def __init__(self, trained: Sequence[Found], metrics: Sequence[str], of: str, size_of_all: int | None) -> None:
        self.trained, self.size = trained, len(trained)
        self.valid = [job["runs"][0]["loss"] for job in trained]
        self.held_out = {metric: [of_split(job["runs"][0], of)[metric] for job in trained] for metric in metrics}
        drawn = self.size / size_of_all if size_of_all else 0.0
        self.correction = math.sqrt(max(0.0, 1.0 - drawn))
        """For a finite population: where the pool is all there is, its expected best is exact."""

    def less(self, values: Sequence[float], costs: Sequence[float], metric: str) -> Found:
        """The mean of searches' values − that of random searches of the same costs."""
        found = [expected_best(min(max(c, 1.0), self.size), self.valid, self.held_out[metric]) for c in costs]
        expected, errors = map(np.array, zip(*found, strict=True))
        error = float(errors.max()) * self.correction if self.correction else 0.0
        if math.isnan(error):
            return {"value": float(np.mean(values - expected)), "interval": None}
        return difference_from(np.subtract(values, expected - expected.mean()), expected.mean(), error, self.size - 1)

    def curve(self, most: float) -> list[Found]:
        """The expected best of k, and where it lies with 95 %, up to `most`."""
        return [
            {
                "k": k,
                **{
                    metric: {
                        "mean": expected_best(k, self.valid, values)[0],
                        "band": list(band_of_best(k, self.valid, values)),
                    }
                    for metric, values in self.held_out.items()
                },
            }
            for k in range(1, math.floor(most) + 1)
        ]

    def rows(self) -> list[Found]:
        return [
            {
                "widths": job["widths"],
                "params": job["costs"]["params"],
                "valid_loss": job["runs"][0]["loss"],
                **{metric: values[i] for metric, values in self.held_out.items()},
                "seconds": job["runs"][0]["seconds"],
            }
            for i, job in enumerate(self.trained)
        ]


def evenly(*kinds: Sequence[Job]) -> list[Job]:
    """Jobs of several kinds in turn, so that a machine's busy times fall on the seconds of all of them alike."""
    placed = [((i + 0.5) / len(jobs), kind, job) for kind, jobs in enumerate(kinds) for i, job in enumerate(jobs)]
    return [job for *_, job in sorted(placed, key=lambda entry: entry[:2])]


def _paired(runs: Sequence[Found], first: Sequence[Found]) -> Found | None:
    """The difference in loss over the seeds that both have."""
    losses = {run["seed"]: run["loss"] for run in first}
    pairs = [(run["loss"], losses[run["seed"]]) for run in runs if run["seed"] in losses]
    return difference(*zip(*pairs, strict=True)) if pairs else None


def _panel(axis: Axes, found: Found, metric: str) -> None:
    for name, style, label in (
        ("random", "-", "random search, 95 % band"),
        ("near", "--", "random search near the limit"),
    ):
        if name in found["curves"]:
            curve = found["curves"][name]
            k = [point["k"] for point in curve]
            axis.plot(k, [point[metric]["mean"] for point in curve], style, color="0.35", linewidth=1.5, label=label)
            if name == "random":
                band = np.array([point[metric]["band"] for point in curve])
                axis.fill_between(k, band[:, 0], band[:, 1], color="0.88", linewidth=0)
    highest = [found["curves"]["random"][0][metric]["mean"]]
    for i, method in enumerate(method for method in found["methods"] if method["runs"]):
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        runs, value = method["runs"], method[metric]
        axis.plot([r["cost"] for r in runs], [r[metric] for r in runs], marker, color=colour, alpha=0.3, markersize=4)
        half = 0.0 if value["interval"] is None else value["interval"][1] - value["value"]
        axis.errorbar(
            method["cost"]["value"], value["value"], half, fmt=marker, color=colour, capsize=4, label=method["method"]
        )
        highest.append(max(run[metric] for run in runs))
    for mark, style in zip(found["marks"], (":", "-."), strict=False):
        axis.axhline(mark[metric]["value"], linestyle=style, color="0.2", linewidth=1.2, label=mark["name"])
        highest.append(mark[metric]["value"])
    lowest = min(
        [point[metric]["band"][0] for point in found["curves"]["random"]]
        + [run[metric] for method in found["methods"] for run in method["runs"]]
        + [mark[metric]["value"] for mark in found["marks"]]
    )
    pad = 0.05 * (max(highest) - lowest)
    axis.set_ylim(lowest - pad, max(highest) + pad)
    axis.set(xlabel="cost, in stand-alone trainings", ylabel=f"{found['split']} {metric.replace('_', ' ')}")
    axis.grid(alpha=0.3)
