"""Names, numbers and amounts as the page tells them."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

METRICS = {"balanced_error": "balanced error", "auroc": "AUROC", "rmse": "RMSE", "r2": "R²"}
COSTS = {"params": "parameters", "flops": "multiply-accumulates", "latency_us": "µs of latency"}
METHODS = {
    "tabnas": "reinforcement learning that rejects networks over the limit",
    "tabnas_exact": "reinforcement learning on draws from the networks within the limit alone",
    "tunas_abs": "reinforcement learning with TuNAS's absolute-value reward",
    "mnasnet": "reinforcement learning with MnasNet's reward",
    "mnasnet_clipped": "reinforcement learning with MnasNet's reward, clipped below the limit",
    "resource_oblivious": "reinforcement learning that ignores the limit",
    "random": "random draws within the limit, each trained from scratch",
    "bayesian": "Bayesian optimisation over shared weights",
    "evolution": "evolution over shared weights",
    "exhaustive": "every network within the limit in turn",
    "one_shot_uniform": "shared weights alone, without a controller",
}


def metric(name: str, task: str) -> str:
    """`loss` is the log loss of classes, and the squared error of a standardised number."""
    if name == "loss":
        return "squared error" if task == "regression" else "log loss"
    return METRICS.get(name, name.replace("_", " "))


def cost(name: str) -> str:
    return COSTS.get(name, name.replace("_", " "))


def hyphenated(widths: Sequence[int]) -> str:
    return "-".join(map(str, widths))


def number(value: float, like: float | None = None) -> str:
    """With four decimals, or fewer or more where `like` (the value itself, unless given) is of another size."""
    like = value if like is None else like
    exponent = math.floor(math.log10(abs(like))) if like else 0
    return f"{value:,.{4 if exponent in (-1, 0) else max(0, 3 - exponent)}f}"


def amount(value: float) -> str:
    """Of a cost: whole, or with one decimal."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def spread(told: Mapping[str, Any]) -> str:
    """`mean ± std`, or the mean alone of a single training."""
    mean, std = told["mean"], told.get("std")
    return number(mean) if std is None else f"{number(mean)} ± {number(std, mean)}"


def interval(told: Mapping[str, Any]) -> str:
    """`[low, high]`, or nothing where there is none."""
    if told["interval"] is None:
        return ""
    low, high = told["interval"]
    return f"[{number(low, told['value'])}, {number(high, told['value'])}]"


def duration(seconds: float) -> str:
    """In seconds, minutes or hours, whichever is read best."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def count(n: int, noun: str, plural: str | None = None) -> str:
    """`1 column`, `2 columns`."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def listed(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def plain(value: Any) -> str:
    """A value of the config as the command line has it."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def setting(key: str, value: Any) -> str:
    """The same, short enough for a table, and in words where there are any."""
    if key.rpartition(".")[2] == "num_samples" and value is None:
        return "exact"
    text = plain(value)
    return text if len(text) <= 40 else text[:39] + "…"
