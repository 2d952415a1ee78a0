"""Which settings find the best architecture, and how often (the paper's Figure 13 and appendix E)."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from tabnas.errors import UserError, require_integer, require_number
from tabnas.method import ConditionalDraws, Rejection, RewardShaping
from tabnas.space import hyphenated
from tabnas.study.figures import COLOURS, save
from tabnas.toy.outcome import Meter, Row, interval, method, one_thread, rows_of, write_csv
from tabnas.toy.runs import Runs

if TYPE_CHECKING:
    from tabnas.toy.search import ToySetup

MEASURES = {"finds_best": "most probable feasible: the best", "argmax_feasible": "argmax of the layers: feasible"}


class Figure13:
    """Shares of runs over β of the Abs Reward, N of the rejection-based reward, K of draws from P(y | V), and η.

    num_runs: of each setting. A run may evaluate `trainer.max_epochs` children: with K a step it makes a K-th of the
    steps. betas: 0 or below. etas: in place of search.eta.
    """

    name = "figure13"
    known_losses = True

    def __init__(
        self,
        num_runs: int,
        betas: Sequence[float],
        num_samples: Sequence[int],
        num_children: Sequence[int],
        etas: Sequence[float],
    ) -> None:
        require_integer("study.num_runs", num_runs, low=1, high=1_000_000, remedy="2000 give intervals of 0.02")
        lists = {"betas": betas, "num_samples": num_samples, "num_children": num_children, "etas": etas}
        for key, values in lists.items():
            if isinstance(values, str) or not isinstance(values, Sequence) or not values:
                raise UserError(f"study.{key}", "must be a list of numbers", values, "see conf/experiment/toy")
        for beta in betas:
            require_number("study.betas", beta, low=-1e6, high=0, remedy="the paper's grid is from 0 to -10")
        for n in num_samples:
            require_integer("study.num_samples", n, low=1, high=100_000, remedy="the paper's grid is from 1 to 30")
        for k in num_children:
            require_integer("study.num_children", k, low=1, high=1000, remedy="1, 2 and 4 are a good choice")
        for eta in etas:
            require_number("study.etas", eta, low=0, open_low=True, remedy="the paper has 0.1")
        self.num_runs, self.betas, self.num_samples = num_runs, list(betas), list(num_samples)
        self.num_children, self.etas = list(num_children), list(etas)

    def run(self, setup: "ToySetup", progress: Callable[[int, int], None]) -> Row:
        """All searches; the content of study.json."""
        generator = torch.Generator().manual_seed(setup.seed)
        variants = self._variants()
        steps = sum(setup.max_epochs // variant.get("num_children", 1) for variant in variants)
        steps += setup.max_epochs * len(self.betas)
        meter = Meter(progress, self.num_runs * len(self.etas) * steps)
        rows: list[Row] = []
        with one_thread():
            for eta in self.etas:
                rows += self._abs_reward(setup, eta, generator, meter)
                for variant in variants:
                    rows += self._variant(setup, eta, dict(variant), generator, meter)
        return {"rows": rows}

    def write(self, found: Row, setup: "ToySetup") -> None:
        """study.csv and the figures, into the run's folder."""
        best = hyphenated(setup.best_feasible())
        write_csv(setup.folder / "study.csv", found["rows"])
        save(self._over_settings(found["rows"], best), setup.folder / "figure13.png")
        save(self._over_eta(found["rows"], best), setup.folder / "eta.png")

    def tables(self, found: Row) -> list[Table]:
        """For the terminal: the settings that stand out, by η. study.csv has all."""
        shown = [row for row in found["rows"] if self._stands_out(row)]
        tables = []
        for measure, heading in MEASURES.items():
            table = Table(
                box=box.SIMPLE_HEAD, title=f"share of {self.num_runs:,} runs: {heading}", title_justify="left"
            )
            table.add_column("method")
            for eta in self.etas:
                table.add_column(f"η = {eta:g}", justify="right")
            for name in dict.fromkeys(map(label, shown)):
                cells = {row["eta"]: interval(row[measure]) for row in shown if label(row) == name}
                table.add_row(name, *(cells[eta] for eta in self.etas))
            tables.append(table)
        tables[-1].caption = (
            "warm baseline: the first reward only starts the baseline, where Algorithm 1 has 0 at the start\n"
            "zero steps: a skipped step is one of Adam with gradient 0, where the search leaves Adam alone"
        )
        tables[-1].caption_justify = "left"
        return tables

    def _stands_out(self, row: Row) -> bool:
        if row["method"] == "tunas_abs":
            return row["beta"] in (-1, -2, -4, -10)
        return row.get("num_samples") in (None, min(self.num_samples), 5, max(self.num_samples))

    def _abs_reward(self, setup: "ToySetup", eta: float, generator: torch.Generator, meter: Meter) -> list[Row]:
        """One batch for the whole grid of β."""
        shaped = method(setup, RewardShaping, generator, reward="tunas_abs", eta=eta)
        assert isinstance(shaped, RewardShaping)
        shaped.beta = torch.tensor(self.betas).repeat_interleave(self.num_runs)[:, None]
        runs = Runs(shaped, setup.data, self.num_runs * len(self.betas), total_steps=setup.max_epochs)
        runs.run(meter)
        return rows_of(runs, setup, [{"method": "tunas_abs", "eta": eta, "beta": beta} for beta in self.betas])

    def _variants(self) -> list[Row]:
        """The settings of the other batches, as their rows have them; num_samples None: exact P(V)."""
        rejection: list[Row] = [{"method": "tabnas", "num_samples": n} for n in (*self.num_samples, None)]
        exact: list[Row] = [{"method": "tabnas_exact", "num_children": k} for k in self.num_children]
        some = [row for row in rejection if row["num_samples"] in (5, None)]
        alone = [row for row in exact if row["num_children"] == 1]
        warm = [{**row, "first_reward": "baseline"} for row in (*some, *alone)]
        zero = [{**row, "skipped": "zero"} for row in some]
        both = [{**row, "first_reward": "baseline", "skipped": "zero"} for row in some]
        return [*rejection, *exact, *warm, *zero, *both]

    def _variant(
        self, setup: "ToySetup", eta: float, variant: Row, generator: torch.Generator, meter: Meter
    ) -> list[Row]:
        row = {"method": variant.pop("method"), "eta": eta, **variant}
        how = {name: variant.pop(name) for name in ("first_reward", "skipped") if name in variant}
        kind = Rejection if row["method"] == "tabnas" else ConditionalDraws
        steps = setup.max_epochs // variant.get("num_children", 1)
        runs = Runs(
            method(setup, kind, generator, eta=eta, **variant), setup.data, self.num_runs, total_steps=steps, **how
        )
        runs.run(meter)
        return rows_of(runs, setup, [row])

    def _over_settings(self, rows: list[Row], best: str) -> Figure:
        """Both measures over |β|, N and K, a line for each η."""
        figure = Figure(figsize=(11, 6), layout="constrained")
        grid = figure.subplots(2, 3, sharey=True, sharex="col", width_ratios=[3, 3, 1.6])
        plain = [row for row in rows if not {"first_reward", "skipped"} & set(row)]
        for axes, measure, says in zip(
            grid, MEASURES, (f"share of runs that find {best}", "share with a feasible argmax"), strict=True
        ):
            for eta, colour in zip(self.etas, COLOURS, strict=False):
                at = [row for row in plain if row["eta"] == eta]
                _line(axes[0], [r for r in at if "beta" in r], lambda r: -r["beta"], measure, colour, f"η = {eta:g}")
                _line(axes[1], [r for r in at if r.get("num_samples")], lambda r: r["num_samples"], measure, colour, "")
                (exact,) = (r for r in at if r["method"] == "tabnas" and r["num_samples"] is None)
                axes[1].axhline(exact[measure]["share"], color=colour, linestyle=":", linewidth=1)
                children = [{**r, "place": i} for i, r in enumerate(r for r in at if "num_children" in r)]
                _line(axes[2], children, lambda r: r["place"], measure, colour, "", marker="o")
            axes[0].set_ylabel(says)
            axes[0].set_ylim(-0.03, 1.03)
            for axis in axes:
                axis.grid(alpha=0.3)
        for axis, title in zip(
            grid[0], ("Abs Reward", "rejection (dotted: exact P(V))", "draws from P(y | V)"), strict=True
        ):
            axis.set_title(title, fontsize=11)
        for axis, says in zip(grid[1], ("|β|", "N, Monte-Carlo samples of P(V)", "K, children a step"), strict=True):
            axis.set_xlabel(says)
        grid[1, 2].set_xticks(range(len(self.num_children)), list(map(str, self.num_children)))
        grid[0, 0].legend(fontsize=9, loc="upper right")
        return figure

    def _over_eta(self, rows: list[Row], best: str) -> Figure:
        """The share of runs that find the best over η, a line for each method."""
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axis = figure.subplots()
        plain = [
            r for r in rows if self._stands_out(r) and not {"first_reward", "skipped"} & set(r) and "beta" not in r
        ]
        for i, name in enumerate(dict.fromkeys(map(label, plain))):
            at = [row for row in plain if label(row) == name]
            dashes = "-" if at[0]["method"] == "tabnas_exact" else "--"
            _line(
                axis,
                at,
                lambda r: r["eta"],
                "finds_best",
                COLOURS[i % len(COLOURS)],
                name,
                marker="o",
                linestyle=dashes,
            )
        axis.set_xscale("log")
        axis.set_xticks(self.etas, [f"{eta:g}" for eta in self.etas])
        axis.minorticks_off()
        axis.set_xlabel("η")
        axis.set_ylabel(f"share of runs that find {best}")
        axis.grid(alpha=0.3)
        figure.legend(loc="outside right upper", fontsize=9)
        return figure


def label(row: Row) -> str:
    """A setting in words."""
    if row["method"] == "tunas_abs":
        return f"Abs Reward, β = {row['beta']:g}"
    if row["method"] == "tabnas_exact":
        says = f"draws from P(y | V), K = {row['num_children']}"
    else:
        says = f"rejection, N = {row['num_samples']}" if row["num_samples"] else "rejection, exact P(V)"
    says += ", warm baseline" if row.get("first_reward") == "baseline" else ""
    return says + (", zero steps" if row.get("skipped") == "zero" else "")


def _line(
    axis: Axes, rows: list[Row], x: Callable[[Row], float], measure: str, colour: str, name: str, **style: Any
) -> None:
    places = [x(row) for row in rows]
    axis.plot(places, [r[measure]["share"] for r in rows], color=colour, label=name or None, linewidth=1.5, **style)
    low, high = ([r[measure][end] for r in rows] for end in ("low", "high"))
    axis.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0)
