"""How the architectures of a run compare."""

import math
from collections.abc import Sequence
from typing import Any

from scipy.stats import t

from tabnas.report import words
from tabnas.report.charts import Point, scatter
from tabnas.report.source import Result
from tabnas.report.svg import key

SHAPES = {"search": "circle", "uniform width": "square", "random feasible": "triangle"}
OTHER = "diamond"


def within_noise(best: dict[str, Any], others: Sequence[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """Those whose mean loss is not told from the best's by a t-test at 5 %; None where all were trained once.

    The variance of a training is pooled over all of them: two or three trainings alone tell little of it.
    """
    told = [found["stand_alone"]["loss"] for found in (best, *others)]
    freedom = sum(len(loss["runs"]) - 1 for loss in told)
    if not freedom:
        return None
    squares = sum((len(loss["runs"]) - 1) * loss["std"] ** 2 for loss in told if loss.get("std") is not None)
    margin = float(t.ppf(0.975, freedom)) * math.sqrt(squares / freedom)

    def is_close(loss: dict[str, Any]) -> bool:
        error = math.sqrt(1 / len(loss["runs"]) + 1 / len(told[0]["runs"]))
        return bool(loss["mean"] - told[0]["mean"] <= margin * error)

    return [found for found, loss in zip(others, told[1:], strict=True) if is_close(loss)]


def compared(result: Result) -> dict[str, Any]:
    """The architectures in order of their loss, with charts of it over the cost and over the one-shot loss."""
    dataset = result["dataset"]
    best = result["architectures"][result["best"]]
    found = sorted(result["architectures"], key=lambda a: a["stand_alone"]["loss"]["mean"])
    close = within_noise(best, [a for a in found if a is not best]) or []
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
            "is_close": any(a is other for other in close),
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
            (name, key(s)) for name, s in [*SHAPES.items(), ("others", OTHER)] if s in {row["shape"] for row in rows}
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
                    cut_outliers=False,
                ),
            }
        )  # fmt: skip
    return charts
