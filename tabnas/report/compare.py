"""How the architectures of a run compare."""

import math
from typing import Any

from scipy.stats import ttest_ind_from_stats

from tabnas.report import words
from tabnas.report.charts import Point, scatter
from tabnas.report.source import Result
from tabnas.report.svg import key

SHAPES = {"search": "circle", "uniform width": "square", "random feasible": "triangle"}
OTHER = "diamond"


def within_noise(one: dict[str, Any], other: dict[str, Any], level: float = 0.05) -> bool:
    """Whether the losses of two architectures' trainings do not differ by Welch's t-test; True for single trainings."""
    a, b = (found["stand_alone"]["loss"] for found in (one, other))
    if a.get("std") is None or b.get("std") is None:
        return True
    if a["std"] == b["std"] == 0:
        return bool(a["mean"] == b["mean"])
    sizes = [len(told["runs"]) for told in (a, b)]
    test = ttest_ind_from_stats(a["mean"], a["std"], sizes[0], b["mean"], b["std"], sizes[1], equal_var=False)
    return bool(test.pvalue > level)


def compared(result: Result) -> dict[str, Any]:
    """The architectures in order of their loss, with charts of it over the cost and over the one-shot loss."""
    dataset = result["dataset"]
    best = result["architectures"][result["best"]]
    found = sorted(result["architectures"], key=lambda a: a["stand_alone"]["loss"]["mean"])
    metrics = ["loss", *dataset["metrics"]]
    has_test = any(a.get("test") for a in found)
    has_one_shot = any(a.get("one_shot") for a in found)
    rows = [
        {
            "rank": rank,
            "widths": words.hyphenated(a["widths"]),
            "shape": shape(a),
            "chosen_by": a["chosen_by"],
            "costs": [words.amount(value) for value in a["costs"].values()],
            "one_shot": words.number(a["one_shot"]["loss"]) if a.get("one_shot") else "",
            "valid": [words.spread(a["stand_alone"][name]) for name in metrics],
            "test": [words.spread(a["test"][name]) if a.get("test") and name in a["test"] else "" for name in metrics],
            "is_best": a is best,
            "is_close": a is not best and within_noise(best, a) and best["stand_alone"]["loss"].get("std") is not None,
        }
        for rank, a in enumerate(found, start=1)
    ]
    return {
        "rows": rows,
        "costs": [words.cost(name) for name in best["costs"]],
        "metrics": [words.metric(name, dataset["task"]) for name in metrics],
        "has_test": has_test,
        "has_one_shot": has_one_shot,
        "shapes": [
            (name, key(s)) for name, s in [*SHAPES.items(), ("other", OTHER)] if s in {row["shape"] for row in rows}
        ],
        "charts": _charts(result, found, best) if len(found) > 1 else [],
    }


def shape(found: dict[str, Any]) -> str:
    """Of the mark of an architecture, by who chose it; the search comes first."""
    return next((shape for name, shape in SHAPES.items() if name in found["chosen_by"]), OTHER)


def _charts(result: Result, found: list[dict[str, Any]], best: dict[str, Any]) -> list[dict[str, Any]]:
    loss = words.metric("loss", result["dataset"]["task"])
    limited: dict[str, Any] = result["limits"][0] if result["limits"] else {"cost": "params", "limit": None}
    cost = words.cost(limited["cost"])

    def point(rank: int, a: dict[str, Any], x: float) -> Point:
        told = a["stand_alone"]["loss"]
        std = told.get("std") or 0.0
        title = f"{words.hyphenated(a['widths'])}: {words.spread(told)}"
        return Point(x, told["mean"], told["mean"] - std, told["mean"] + std, str(rank), shape(a), title, a is best)

    ranked = list(enumerate(found, start=1))
    charts = [
        {
            "caption": "Loss from scratch over cost; bars are ± one standard deviation over trainings. Numbers are the "
            "table's ranks; dashed: the limit; an arrow: beyond the axis.",
            "drawing": scatter(
                [point(rank, a, a["costs"][limited["cost"]]) for rank, a in ranked],
                x_label=cost, y_label=loss, title=f"{loss} over {cost}", limit=limited["limit"],
            ),
        }
    ]  # fmt: skip
    seen = [(rank, a) for rank, a in ranked if a.get("one_shot") and math.isfinite(a["one_shot"]["loss"])]
    if len(seen) >= 3:
        charts.append(
            {
                "caption": "Loss from scratch over the loss with the search's shared weights (one-shot), by which a "
                "search ranks. The closer to a rising line, the better its ranking.",
                "drawing": scatter(
                    [point(rank, a, a["one_shot"]["loss"]) for rank, a in seen],
                    x_label=f"one-shot {loss}", y_label=loss, title=f"{loss} over one-shot {loss}",
                ),
            }
        )  # fmt: skip
    return charts
