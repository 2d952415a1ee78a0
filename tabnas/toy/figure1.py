"""How the sampling probabilities move (the paper's Figure 1), and P(V) with its estimates (Figures 5(b) and 14)."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from rich import box
from rich.table import Table

from tabnas.errors import UserError, require_integer, require_number
from tabnas.method import ConditionalDraws, Method, Rejection, RewardShaping, Step
from tabnas.space import Widths, hyphenated
from tabnas.study.figures import COLOURS, save
from tabnas.toy.outcome import Meter, Row, interval, method, one_thread, quantiles, rows_of, write_csv
from tabnas.toy.runs import Runs

if TYPE_CHECKING:
    from tabnas.toy.search import ToySetup


class Figure1:
    """The mean over runs of the probability of each architecture, at some points of the search.

    num_runs: of each method. shown: the points, in evaluations; `trainer.max_epochs` is added. betas: of the Abs
    Reward. num_samples: N, the last of which is used for the probabilities, and all of them for P(V). num_children: K.
    """

    name = "figure1"
    known_losses = True

    def __init__(
        self,
        num_runs: int,
        shown: Sequence[int],
        betas: Sequence[float],
        num_samples: Sequence[int],
        num_children: int,
    ) -> None:
        require_integer("study.num_runs", num_runs, low=1, high=1_000_000, remedy="2000 will do")
        require_integer("study.num_children", num_children, low=1, high=1000, remedy="2 is a good choice")
        for key, values in {"shown": shown, "betas": betas, "num_samples": num_samples}.items():
            if isinstance(values, str) or not isinstance(values, Sequence) or not values:
                raise UserError(f"study.{key}", "must be a list of numbers", values, "see conf/experiment/toy")
        for n in shown:
            require_integer("study.shown", n, low=0, remedy="0 is the start")
        for beta in betas:
            require_number("study.betas", beta, low=-1e6, high=0, remedy="the paper shows -1 and -2")
        for n in num_samples:
            require_integer("study.num_samples", n, low=1, high=100_000, remedy="5 is a good choice")
        self.num_runs, self.shown, self.betas = num_runs, list(shown), list(betas)
        self.num_samples, self.num_children = list(num_samples), num_children

    def run(self, setup: "ToySetup", progress: Callable[[int, int], None]) -> Row:
        """All searches; the content of study.json."""
        if setup.space.n_layers != 2:
            raise UserError("space.choices", "must have two layers to be shown", setup.space.n_layers, "see figure13")
        generator = torch.Generator().manual_seed(setup.seed)
        shaped = [
            (f"Abs Reward, β = {beta:g}", RewardShaping, {"reward": "tunas_abs", "beta": float(beta)})
            for beta in self.betas
        ]
        rejecting = [(f"rejection, N = {n}", Rejection, {"num_samples": n}) for n in self.num_samples]
        k = self.num_children
        exact = (f"draws from P(y | V), K = {k}", ConditionalDraws, {"num_children": k})
        todo: list[tuple[str, type[Method], Row]] = [*shaped, *rejecting, exact]
        total = setup.max_epochs * (len(todo) - 1) + setup.max_epochs // k
        meter = Meter(progress, self.num_runs * total)
        methods = []
        with one_thread():
            for name, kind, settings in todo:
                made = method(setup, kind, generator, **settings)
                steps = setup.max_epochs // made.num_children
                runs = Runs(made, setup.data, self.num_runs, total_steps=steps)
                film = Film(setup, runs, {n for n in self.shown if n < setup.max_epochs} | {setup.max_epochs}, meter)
                runs.run(film)
                (row,) = rows_of(runs, setup, [{"method": name, "eta": made.eta}])
                methods.append({**row, **film.finish()})
        return {"methods": methods}

    def write(self, found: Row, setup: "ToySetup") -> None:
        """study.csv and the figures, into the run's folder."""
        rows = [
            {"method": m["method"], "evaluations": f["evaluations"], "of": f["of"], "architecture": a, "probability": p}
            for m in found["methods"]
            for f in m["frames"]
            for a, p in f["probabilities"].items()
        ]
        write_csv(setup.folder / "study.csv", rows)
        save(self._heat_maps(found, setup), setup.folder / "figure1.png")
        save(self._prob_valid(found), setup.folder / "prob_valid.png")

    def tables(self, found: Row) -> list[Table]:
        """For the terminal: the probabilities at the end, and the shares of runs."""
        table = Table(box=box.SIMPLE_HEAD, title=f"mean over {self.num_runs:,} runs, at the end", title_justify="left")
        table.add_column("method")
        for name in found["methods"][0]["frames"][0]["probabilities"]:
            table.add_column(name, justify="right")
        table.add_column("finds the best", justify="right")
        for m in found["methods"]:
            last = m["frames"][-1]["probabilities"].values()
            table.add_row(m["method"], *(f"{p:.2f}" for p in last), interval(m["finds_best"]))
        table.caption = "P(y) with the Abs Reward, P(y | V) with the others"
        return [table]

    def _heat_maps(self, found: Row, setup: "ToySetup") -> Figure:
        """On the left what the architectures cost and lose, on the right their probabilities, a row for each method."""
        last = f"N = {self.num_samples[-1]}"
        methods = [m for m in found["methods"] if not m["method"].startswith("rejection") or m["method"].endswith(last)]
        columns = len(methods[0]["frames"])
        figure = Figure(figsize=(2.5 * columns + 3.2, 2.5 * len(methods)), layout="constrained")
        left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[2.6, 2.5 * columns + 0.6])[0]
        costs, losses = left.subplots(2, 1)
        cost = setup.limits.costs[0]
        _cells(costs, setup, {w: float(cost(w)) / cost.scale for w in setup.space}, "{:g}", cost.name)
        _cells(losses, setup, setup.data.losses, "{:g}", "loss")
        _mark(losses, setup, setup.best_feasible())
        for axis in (costs, losses):
            axis.set(xlabel="width of layer 2", ylabel="width of layer 1")
        left.supxlabel(
            "hatched: infeasible\norange frame: the best feasible; on the\nright the most probable at the end",
            fontsize=9,
        )
        grid = right.subplots(len(methods), columns, sharex=True, sharey=True, squeeze=False)
        for axes, m in zip(grid, methods, strict=True):
            for axis, frame in zip(axes, m["frames"], strict=True):
                values = {w: frame["probabilities"][hyphenated(w)] for w in setup.space}
                image = _cells(axis, setup, values, "{:.0%}", "", vmin=0.0, vmax=1.0)
                _bars(axis, frame["layers"])
            _mark(axis, setup, max(values, key=lambda w: values[w]))
            axes[0].set_ylabel(f"{m['method']}\n{frame['of']}")
        for axis, frame in zip(grid[0], methods[0]["frames"], strict=True):
            axis.set_title(f"{frame['evaluations']} evaluations", fontsize=10, pad=26)
        right.supxlabel("width of layer 2", fontsize=10)
        right.supylabel("width of layer 1", fontsize=10)
        right.colorbar(image, ax=grid, label=f"probability, mean over {self.num_runs:,} runs", shrink=0.6)
        return figure

    def _prob_valid(self, found: Row) -> Figure:
        """P(V) over the steps, exact over the runs, exact and estimated in the first of them; a panel for each N."""
        methods = [m for m in found["methods"] if m["prob_valid"]["estimate"]]
        figure = Figure(figsize=(3.3 * len(methods) + 1.7, 3.2), layout="constrained")
        axes = figure.subplots(1, len(methods), sharey=True, squeeze=False)[0]
        for axis, m in zip(axes, methods, strict=True):
            series = m["prob_valid"]
            steps, exact = series["steps"], series["exact"]
            axis.fill_between(steps, exact["low"], exact["high"], color="0.85", linewidth=0, label="8 of 10 runs")
            axis.plot(steps, exact["mean"], "--", color="0.3", linewidth=1.5, label="mean over runs")
            axis.plot(steps, series["estimate"]["first"], color=COLOURS[4], linewidth=0.8, label="run 1, estimated")
            axis.plot(steps, exact["first"], color=COLOURS[0], linewidth=1.8, label="run 1, exact")
            axis.set_title(m["method"], fontsize=10)
            axis.set_xlabel("step")
            axis.grid(alpha=0.3)
        axes[0].set_ylabel("P(V)")
        axes[0].set_ylim(-0.03, 1.03)
        figure.legend(*axes[0].get_legend_handles_labels(), fontsize=9, loc="outside right upper")
        return figure


class Film:
    """Keeps the mean probabilities at some points of a batch, in evaluations, and P(V) over its steps."""

    def __init__(self, setup: "ToySetup", runs: Runs, shown: set[int], meter: Meter) -> None:
        self.runs, self.meter = runs, meter
        self.names = [hyphenated(setup.space.widths(y)) for y in runs.joint.architectures.tolist()]
        self.shown = {n // runs.method.num_children for n in shown if n <= setup.max_epochs}
        self.every = max(1, runs.total_steps // 250)
        self.given_valid = not isinstance(runs.method, RewardShaping)
        self.frames: list[Row] = []
        self.steps: list[int] = []
        self.exact: list[Row] = []
        self.estimate: list[Row] = []

    def __call__(self, runs: Runs, step: Step) -> None:
        if runs.n_steps in self.shown:
            self._frame()
        if runs.n_steps % self.every == 0:
            self.steps.append(runs.n_steps)
            self.exact.append(quantiles(runs.joint.log_prob_and_marginals(runs.logits)[0].exp()))
            if isinstance(runs.method, Rejection) and step.log_prob_valid is not None:
                self.estimate.append(quantiles(step.log_prob_valid.exp()))
        self.meter(runs, step)

    def finish(self) -> Row:
        """The frames, that after the last step included, and P(V)."""
        self._frame()
        series = {"exact": self.exact, "estimate": self.estimate}
        by_name = {
            name: {key: [row[key] for row in rows] for key in rows[0]} if rows else None
            for name, rows in series.items()
        }
        return {"frames": self.frames, "prob_valid": {"steps": self.steps, **by_name}}

    def _frame(self) -> None:
        runs = self.runs
        probabilities = runs.joint.probabilities(runs.logits)
        if self.given_valid:
            probabilities = probabilities.clone()
            probabilities[:, runs.joint.n_feasible :] = 0.0
            probabilities = probabilities / probabilities.sum(dim=1, keepdim=True)
        mean = probabilities.mean(dim=0).tolist()
        in_order = sorted(zip(runs.joint.order.tolist(), self.names, mean, strict=True))
        self.frames.append(
            {
                "evaluations": runs.n_steps * runs.method.num_children,
                "of": "P(y | V)" if self.given_valid else "P(y)",
                "probabilities": {name: value for _, name, value in in_order},
                "layers": runs.logits.softmax(dim=-1).mean(dim=0).tolist(),
            }
        )


def _cells(axis: Axes, setup: "ToySetup", values: dict[Widths, float], text: str, title: str, **scale: Any) -> Any:
    """A cell for each architecture, layer 1 down and layer 2 across; those infeasible hatched."""
    first, second = setup.space.choices
    table = torch.tensor([[values[a, b] for b in second] for a in first])
    image = axis.imshow(table.numpy(), cmap="Blues", **scale)
    middle = (scale.get("vmin", min(values.values())) + scale.get("vmax", max(values.values()))) / 2
    for (i, a), (j, b) in ((x, y) for x in enumerate(first) for y in enumerate(second)):
        value = values[a, b]
        axis.text(j, i, text.format(value), ha="center", va="center", color="white" if value > middle else "black")
        if not setup.limits.allow((a, b)):
            axis.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, hatch="////", edgecolor="0.7", linewidth=0))
    axis.set_xticks(range(len(second)), list(map(str, second)))
    axis.set_yticks(range(len(first)), list(map(str, first)))
    axis.set_title(title, fontsize=10)
    return image


def _bars(axis: Axes, layers: list[list[float]]) -> None:
    """The distribution of layer 2 above the cells, and that of layer 1 on their right."""
    above = axis.inset_axes((0.0, 1.04, 1.0, 0.22))
    above.bar(range(len(layers[1])), layers[1], color=COLOURS[4])
    above.set(xlim=(-0.5, len(layers[1]) - 0.5), ylim=(0, 1))
    beside = axis.inset_axes((1.04, 0.0, 0.22, 1.0))
    beside.barh(range(len(layers[0])), layers[0], color=COLOURS[4])
    beside.set(ylim=(len(layers[0]) - 0.5, -0.5), xlim=(0, 1))
    for bars in (above, beside):
        bars.set_axis_off()


def _mark(axis: Axes, setup: "ToySetup", widths: Widths) -> None:
    i, j = setup.space.indices(widths)
    axis.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=COLOURS[1], linewidth=3))
