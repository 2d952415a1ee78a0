"""How a search went: counts, curves, layer probabilities."""

from typing import Any

from tabnas.report import words
from tabnas.report.charts import curve, probabilities, shades
from tabnas.report.source import Result

COUNTS = {
    "epochs": "epochs",
    "weight_updates": "weight updates",
    "rl_updates": "controller updates",
    "children_evaluated": "networks evaluated for the controller",
    "forward_passes": "forward passes of the SuperNet",
    "skipped_infeasible": "draws over the limit, rejected",
    "skipped_no_sample": "updates skipped: no sample within the limit",
    "skipped_weight_updates": "weight updates skipped: over the limit",
}


def progress(result: Result) -> dict[str, Any]:
    """Counts as (name, number), and charts of the history where a search has one."""
    search = result["search"]
    counts = [(told, f"{search[name]:,}") for name, told in COUNTS.items() if search.get(name)]
    if search.get("seconds") is not None:
        counts.append(("duration", words.duration(search["seconds"])))
    if search.get("prob_valid") is not None and search.get("rl_updates", True):
        counts.append(("P(V) at the end", words.number(search["prob_valid"])))
    if search.get("selection"):
        counts.append(("selected", search["selection"]))
    history = [snapshot for snapshot in search.get("history") or [] if "step" in snapshot]
    drawn = history if len(history) > 1 else []
    return {"counts": counts, "curves": _curves(result, drawn), "layers": _layers(result, drawn), "shades": shades()}


def _curves(result: Result, history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    steps = [snapshot["step"] for snapshot in history]
    warmup = max((s["step"] for s in history if s.get("warmup_probability")), default=0)
    loss = words.metric("loss", result["dataset"]["task"])
    wanted = [
        ("prob_valid", "P(V)", 0.0, "The probability that a draw of the controller is within the limit."),
        ("train_loss", f"training {loss}", None, "Mean loss of the weight updates; what is drawn changes as well."),
        ("reward", "reward", None, "Mean reward of the controller's updates, 1 − loss where nothing is added."),
    ]
    charts = []
    for name, label, low, caption in wanted:
        values = [snapshot.get(name) for snapshot in history]
        if len(set(values) - {None}) > 1:
            made = curve(steps, values, label=label, title=f"{label} over the steps", low=low, warmup=warmup)
            charts.append({"caption": caption, "drawing": made})
    return charts


def _layers(result: Result, history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    told = [snapshot for snapshot in history if snapshot.get("probabilities")]
    if len(told) < 2 or told[0]["probabilities"] == told[-1]["probabilities"]:  # there is no controller
        return []
    steps = [snapshot["step"] for snapshot in told]
    best = result["architectures"][result["best"]]["widths"]
    charts = []
    for i, widths in enumerate(result["space"]["choices"]):
        last = told[-1]["probabilities"][i]
        leader = max(range(len(last)), key=last.__getitem__)
        ends = f"layer {i + 1} ends at {widths[leader]:,} units with probability {last[leader]:.2f}"
        made = probabilities(
            steps, [snapshot["probabilities"][i] for snapshot in told], widths, label=f"layer {i + 1}: units",
            title=f"probabilities of the widths over the steps; {ends}", chosen=best[i],
        )  # fmt: skip
        charts.append({"caption": ends[0].upper() + ends[1:] + ".", "drawing": made})
    return charts
