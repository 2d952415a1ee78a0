"""What happens without each part of the method, beside what the paper says of it (section 4.3, appendix F)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from tabnas.build import Setup
from tabnas.errors import UserError, require_one_of
from tabnas.statistics import Estimate, mean
from tabnas.study import pool
from tabnas.study.compare import Compare, Found
from tabnas.study.figures import COLOURS, save
from tabnas.study.jobs import Outcomes
from tabnas.study.words import plus_minus, table

PREDICTIONS = {"loss": ("worse", "the same"), "prob_valid": ("falls", "rises")}


class Ablations(Compare):
    """Methods that each differ from the first in one setting.

    predictions: by method, what the paper says: loss, "worse" than the first's or "the same", and prob_valid, P(V) over
        the search, that "falls" below or "rises" above what it is at first.
    The others are Compare's.
    """

    name = "ablations"

    def __init__(self, predictions: Mapping[str, Mapping[str, str]], **common: Any) -> None:
        super().__init__(**common)
        for method, predicted in predictions.items():
            require_one_of("study.predictions", method, list(self.methods)[1:])
            if not isinstance(predicted, Mapping):
                raise UserError(f"study.predictions.{method}", "must say what of", predicted, "such as {loss: worse}")
            for what, how in predicted.items():
                require_one_of(f"study.predictions.{method}", what, PREDICTIONS)
                require_one_of(f"study.predictions.{method}.{what}", how, PREDICTIONS[what])
        self.predictions = {method: dict(predicted) for method, predicted in predictions.items()}

    def analysis(self, setup: Setup, *planned: Any) -> Found:
        found, outcomes = super().analysis(setup, *planned), planned[-1]
        size = pool.count(setup.space, setup.limits)
        found["prob_valid_at_first"] = None if size is None else size / setup.space.size
        for method in found["methods"]:
            if method["runs"]:
                method["history"] = self._history(setup, method["method"], outcomes)
                at_end = [run["prob_valid"] for run in method["runs"]]
                method["prob_valid"] = None if None in at_end else mean(at_end)  # without a controller
        return found

    def _history(self, setup: Setup, method: str, outcomes: Outcomes) -> list[Found]:
        """P(V) over the steps, in the mean of the runs; where it is exact."""
        searches = [search for (name, _), search in self.searches(setup, outcomes).items() if name == method]
        histories = [outcomes[s.name]["search"]["history"] for s in searches if "search" in outcomes[s.name]]
        return [
            {"step": points[0]["step"], "prob_valid": float(np.mean([point["prob_valid"] for point in points]))}
            for points in zip(*histories, strict=True)
            if all(point["prob_valid"] is not None for point in points)
        ]

    def tables(self, found: Found) -> list[Table]:
        first, at_first = found["methods"][0], found["prob_valid_at_first"]
        rows = []
        for method in found["methods"][1:]:
            if not method["runs"]:
                rows.append([method["method"], "", "", "", "all failed"])
                continue
            predicted = self.predictions.get(method["method"], {})
            told = []
            if "loss" in predicted and method["less_first"]:
                told.append(f"loss {predicted['loss']}: {judged(method['less_first'], predicted['loss'])}")
            if "prob_valid" in predicted and at_first is not None:
                end, how = method["prob_valid"], predicted["prob_valid"]
                told.append(f"P(V) {how}: {judged(_less(end, at_first), how) if end else 'no controller'}")
            rows.append([
                method["method"], "" if not method["less_first"] else plus_minus(method["less_first"], sign=True),
                f"{np.mean([run['params'] for run in method['runs']]):,.0f}",
                "" if method["prob_valid"] is None else plus_minus(method["prob_valid"], 3),
                "\n".join(told) or "the paper says nothing",
            ])  # fmt: skip
        columns = (
            "without", f"{found['split']} loss −\nthat of {first['method']}", "params", "P(V) at\nthe end",
            "the paper's prediction: the finding",
        )  # fmt: skip
        caption = "95 % intervals over runs, differences by seed"
        if at_first is not None and first["runs"] and first["prob_valid"]:
            end = plus_minus(first["prob_valid"], 3)
            caption += f"; P(V) at first {at_first:.3f}, at the end of {first['method']} {end}"
        made = table(self.name, columns, rows, caption)
        made.columns[-1].justify = "left"
        return [*super().tables(found), made]

    def write(self, found: Found, setup: Setup) -> None:
        """Compare's figure, and prob_valid.png and .svg: P(V) over the steps."""
        super().write(found, setup)
        figure = Figure(figsize=(8, 4.2), layout="constrained")
        axis = figure.subplots()
        styles = ("-", "--", "-.", ":")
        for i, method in enumerate(method for method in found["methods"] if method.get("history")):
            steps = [point["step"] for point in method["history"]]
            values = [point["prob_valid"] for point in method["history"]]
            colour, style = COLOURS[i % len(COLOURS)], styles[i % len(styles)]
            axis.plot(steps, values, style, color=colour, linewidth=1.6, label=method["method"])
        axis.set(xlabel="step", ylabel=f"P(V), mean of {self.seeds} runs", ylim=(-0.03, 1.03))
        axis.grid(alpha=0.3)
        figure.legend(loc="outside right upper", fontsize=9)
        save(figure, setup.folder / "prob_valid.png")


def judged(difference: Estimate, predicted: str) -> str:
    """What the interval of a difference says of a prediction, in words."""
    if difference["interval"] is None:
        return "one run: not known"
    low, high = difference["interval"]
    if predicted == "the same":
        if low <= 0 <= high:
            return f"no difference shown, at most {max(abs(low), abs(high)):.4f} either way"
        return f"refuted, it is {'worse' if low > 0 else 'better'}"
    if predicted == "falls":
        low, high = -high, -low
    if low > 0:
        return "shown"
    return "refuted, it is the other way" if high < 0 else "not shown"


def _less(found: Estimate, known: float) -> Estimate:
    """An estimate minus a number."""
    interval = found["interval"] and [end - known for end in found["interval"]]
    return {"value": found["value"] - known, "interval": interval}
