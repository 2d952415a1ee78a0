"""What the page of several runs tells: which settings they differ in, and what became of each."""

import statistics
from collections.abc import Sequence
from typing import Any

from tabnas.report import architecture, words
from tabnas.report.charts import Point, scatter
from tabnas.report.compare import shape, within_noise
from tabnas.report.run import limits
from tabnas.report.settings import SEED, flat, short, varied
from tabnas.report.source import Job, Result

MOST_LABELS = 30
LONGEST_LABEL = 7
"""Of points in the chart."""


def tell(jobs: Sequence[Job], name: str) -> dict[str, Any]:
    """The variables of sweep.html. name: of the folder."""
    finished = [(job, job.result) for job in jobs if job.result is not None]
    unfinished = [job for job in jobs if job.result is None]
    rows = sorted((_row(job, result) for job, result in finished), key=lambda row: row["loss"])
    keys = varied([result for _, result in finished])
    for row in rows:
        row["settings"] = [words.setting(key, row["config"].get(key)) for key in keys]
    tasks = {(result["dataset"]["name"], result["dataset"]["task"]) for _, result in finished}
    is_comparable = len(tasks) == 1
    best = rows[0] if rows and is_comparable else None
    return {
        "name": name,
        "titles": sorted({f"{result['dataset']['name']}, {limits(result)}" for _, result in finished}),
        "n_jobs": len(jobs),
        "keys": keys,
        "short": [short(key, keys) for key in keys],
        "rows": rows,
        "unfinished": unfinished,
        "is_comparable": is_comparable,
        "loss": words.metric("loss", next(iter(tasks))[1]) if is_comparable else "loss",
        "best": best,
        "picture": None if best is None else _picture(best["result"], best["found"]),
        "noise": _noise(rows) if best is not None and len(rows) > 1 else "",
        "grid": grid(rows, keys) if is_comparable else None,
        "chart": _chart(rows) if is_comparable and len(rows) > 1 else None,
    }


def _row(job: Job, result: Result) -> dict[str, Any]:
    """A finished job. Its network is the best of what the search itself selected: others do not depend on settings."""
    searched = [found for found in result["architectures"] if "search" in found["chosen_by"]]
    found = min(searched or result["architectures"], key=lambda a: a["stand_alone"]["loss"]["mean"])
    metric = next(iter(result["dataset"]["metrics"]), None)
    prob_valid = result["search"].get("prob_valid")
    seconds = result.get("seconds", {}).get("total")
    return {
        "job": job.name,
        "page": job.page,
        "result": result,
        "config": flat(result["config"]),
        "found": found,
        "widths": words.hyphenated(found["widths"]),
        "loss": found["stand_alone"]["loss"]["mean"],
        "loss_told": words.spread(found["stand_alone"]["loss"]),
        "metric": None if metric is None else words.metric(metric, result["dataset"]["task"]),
        "metric_value": None if metric is None else found["stand_alone"][metric]["mean"],
        "metric_told": "" if metric is None else words.spread(found["stand_alone"][metric]),
        "params": found["costs"]["params"],
        "prob_valid": "" if prob_valid is None else words.number(prob_valid),
        "seconds": seconds,
        "duration": "" if seconds is None else words.duration(seconds),
    }


def grid(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> dict[str, Any] | None:
    """Mean loss by the two settings (or one) with the most values; None where only seeds differ."""
    settings = [key for key in keys if key != SEED]
    if not settings:
        return None
    values = {key: _ordered({row["config"].get(key) for row in rows}) for key in settings}
    chosen = sorted(settings, key=lambda key: -len(values[key]))[:2]
    across = max(chosen, key=lambda key: (len(values[key]), settings.index(key)))
    down = next((key for key in chosen if key != across), None)
    in_lines = [[row for row in rows if row["config"].get(down) == y] for y in values[down]] if down else [list(rows)]
    cells = [
        [[row["loss"] for row in line if row["config"].get(across) == x] for x in values[across]] for line in in_lines
    ]
    means = [statistics.fmean(losses) for line in cells for losses in line if losses]
    low, high = min(means), max(means)

    def cell(losses: list[float]) -> dict[str, Any] | None:
        if not losses:
            return None
        mean = statistics.fmean(losses)
        std = words.number(statistics.stdev(losses), mean) if len(losses) > 1 else None
        share = 5 + 45 * ((high - mean) / (high - low) if high > low else 0.5)
        return {"mean": words.number(mean), "std": std, "n": len(losses), "share": share, "is_best": mean == low < high}

    return {
        "across": short(across, keys),
        "down": down and short(down, keys),
        "low": words.number(low),
        "high": words.number(high),
        "columns": [words.setting(across, value) for value in values[across]],
        "lines": [
            (words.setting(down, value) if down else "", [cell(losses) for losses in line])
            for value, line in zip(values[down] if down else [None], cells, strict=True)
        ],
        "averaged": [short(key, keys) for key in keys if key not in chosen],
    }


def _ordered(values: set[Any]) -> list[Any]:
    """Numbers in their order, then others by their text, then none."""

    def order(value: Any) -> tuple[int, float, str]:
        if isinstance(value, int | float):
            return (0, value, "")
        return (2, 0, "") if value is None else (1, 0, str(value))

    return sorted(values, key=order)


def _picture(result: Result, found: dict[str, Any]) -> Any:
    dataset = result["dataset"]
    return architecture.picture(dataset["n_inputs"], found["widths"], dataset["n_outputs"], found["costs"]["params"])


def _noise(rows: Sequence[dict[str, Any]]) -> str:
    best, *others = rows
    close = within_noise(best["found"], [row["found"] for row in others])
    if close is None:
        return "Each network was trained once, so how much training varies is unknown: small differences tell nothing."
    if not close:
        return f"It is better than all {len(others)} others by more than the noise of training."
    meaning = "within the noise of training of it."
    if len(close) == len(others):
        return f"All {len(others)} others are {meaning}" if len(others) > 1 else f"The other is {meaning}"
    return f"Of the other {len(others)}, {len(close)} {'is' if len(close) == 1 else 'are'} {meaning}"


def _chart(rows: Sequence[dict[str, Any]]) -> Any:
    together: dict[tuple[float, float], list[dict[str, Any]]] = {}
    for row in rows:
        together.setdefault((row["params"], row["loss"]), []).append(row)
    points: list[Point] = []
    for (params, mean), same in together.items():
        std = same[0]["found"]["stand_alone"]["loss"].get("std") or 0.0
        label = same[0]["job"] if len(same) == 1 else f"{len(same)} runs"
        is_short = len(together) <= MOST_LABELS and len(label) <= LONGEST_LABEL
        title = f"{', '.join(row['job'] for row in same)}: {same[0]['widths']}, {same[0]['loss_told']}"
        points.append(
            Point(
                params,
                mean,
                mean - std,
                mean + std,
                label if is_short else "",
                shape(same[0]["found"]),
                title,
                not points,
            )
        )
    loss = words.metric("loss", rows[0]["result"]["dataset"]["task"])
    return scatter(points, x_label="parameters", y_label=loss, title=f"{loss} over parameters, job by job")
