"""How the controller's probabilities and P(V) move over a search (Figures 5, 6, 9 and 14)."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from rich.table import Table

from tabnas.build import Setup
from tabnas.errors import UserError, require_integer
from tabnas.space import hyphenated
from tabnas.study.figures import COLOURS, save
from tabnas.study.jobs import Outcomes, Search, carry_out
from tabnas.study.words import table

Found = dict[str, Any]


class Probabilities:
    """One search of each method.

    methods: by name, settings of `search`, which must be one with a controller.
    processes: searches at a time; None: as many as there are cores.
    """

    name = "probabilities"
    known_losses = False

    def __init__(self, methods: Mapping[str, Mapping[str, Any]], processes: int | None = None) -> None:
        if not isinstance(methods, Mapping) or not methods:
            raise UserError("study.methods", "must name at least one method", methods, "see conf/experiment/study")
        if processes is not None:
            require_integer("study.processes", processes, low=1, remedy="null is one on each core")
        self.methods, self.processes = dict(methods), processes

    def run(self, setup: Setup, progress: Callable[[int, int], None]) -> Found:
        """All searches; the content of study.json."""
        searches = [Search(name, {"search": settings}, controller=True) for name, settings in self.methods.items()]
        return self.analysis(carry_out(setup, lambda done: searches, self.processes, progress))

    def analysis(self, outcomes: Outcomes) -> Found:
        """study.json's content, from the jobs' outcomes alone."""
        methods = []
        for name in self.methods:
            outcome = outcomes[name]
            if "error" in outcome:
                methods.append({"method": name, "error": outcome["error"]})
                continue
            search = outcome["search"]
            chosen = [c["widths"] for c in outcome["candidates"] if "search" in c["chosen_by"]]
            methods.append(
                {
                    "method": name,
                    "selected": chosen,
                    **{key: search[key] for key in ("history", "prob_valid", "leading", "seconds", "rl_updates")},
                    "skipped": search["skipped_infeasible"] + search["skipped_no_sample"],
                }
            )
        return {"methods": methods}

    def tables(self, found: Found) -> list[Table]:
        """For the terminal: where each search ended."""
        rows = []
        for method in found["methods"]:
            if "error" in method:
                rows.append([method["method"], "failed", "", "", "", ""])
                continue
            leading, history = method["leading"], method["history"]
            rows.append([
                method["method"], _prob(history[0]["prob_valid"]), _prob(method["prob_valid"]),
                f"{hyphenated(leading['widths'])}{'' if leading['feasible'] else ' (over the limit)'}",
                ", ".join(map(hyphenated, method["selected"])), f"{method['rl_updates']:,} + {method['skipped']:,}",
            ])  # fmt: skip
        columns = ("method", "P(V) at first", "at the end", "most probable widths", "selected", "RL steps, and skipped")
        return [
            table(
                self.name, columns, rows, "one search of each method; P(V): a sampled architecture is within the limit"
            )
        ]

    def write(self, found: Found, setup: Setup) -> None:
        """probabilities.png and .svg: a row for each method, a panel for each layer, and P(V)."""
        methods = [method for method in found["methods"] if "error" not in method]
        if not methods:
            return
        choices = setup.space.choices
        figure = Figure(figsize=(2.6 * len(choices) + 3.4, 2.3 * len(methods) + 0.5), layout="constrained")
        grid = figure.subplots(len(methods), len(choices) + 1, squeeze=False, sharex=False)
        for axes, method in zip(grid, methods, strict=True):
            history = method["history"]
            steps = [0, *(point["step"] for point in history)]
            for i, (axis, widths) in enumerate(zip(axes, choices, strict=False)):
                table_of = np.array([point["probabilities"][i] for point in history]).T
                image = axis.pcolormesh(
                    steps, np.arange(len(widths) + 1), table_of, cmap="cividis", norm=PowerNorm(0.5, 0, 1)
                )
                shown = range(0, len(widths), max(1, len(widths) // 7))
                axis.set_yticks([j + 0.5 for j in shown], [str(widths[j]) for j in shown], fontsize=7)
                axis.set_title(f"layer {i + 1}", fontsize=9)
            axes[0].set_ylabel(f"{method['method']}\nwidth", fontsize=9)
            _prob_valid(axes[-1], history)
            for axis in axes:
                axis.tick_params(axis="x", labelsize=7)
                axis.set_xlim(0, steps[-1])
        for axis in grid[-1]:
            axis.set_xlabel("step", fontsize=9)
        figure.colorbar(
            image, ax=grid[:, :-1], label="probability", shrink=0.5, location="left", ticks=[0, 0.05, 0.2, 0.5, 1]
        )
        save(figure, setup.folder / "probabilities.png")


def _prob_valid(axis: Any, history: list[Found]) -> None:
    """P(V) over the steps, and its estimate where there is one; when the whole SuperNet was warmed up is shaded."""
    for key, label, style in (("prob_valid_estimate", "estimated", COLOURS[1]), ("prob_valid", "exact", COLOURS[0])):
        points = [(point["step"], point[key]) for point in history if point[key] is not None]
        if points:
            axis.plot(*zip(*points, strict=True), color=style, linewidth=1.2, label=label)
    warm = [point["step"] for point in history if point["warmup_probability"] > 0]
    if warm:
        axis.axvspan(0, warm[-1], color="0.9", linewidth=0, label="warmup")
    axis.set_title("P(V)", fontsize=9)
    axis.set_ylim(-0.03, 1.03)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7)


def _prob(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
