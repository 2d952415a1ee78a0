"""What the page of one run tells, section by section. Sections that a result has nothing for are None."""

import shlex
from typing import Any

from tabnas.report import architecture, words
from tabnas.report.compare import compared, within_noise
from tabnas.report.progress import progress
from tabnas.report.settings import flat
from tabnas.report.source import Result

MOST_COLUMNS = 300
FEW_COLUMNS = 12
"""Shown without being asked for."""


def tell(result: Result, name: str) -> dict[str, Any]:
    """The variables of run.html. name: of the run's folder."""
    dataset = result["dataset"]
    best = result["architectures"][result["best"]]
    return {
        "name": name,
        "dataset": dataset,
        "limits": limits(result),
        "asked": _asked(result),
        "best": best,
        "widths": words.hyphenated(best["widths"]),
        "picture": architecture.picture(
            dataset["n_inputs"], best["widths"], dataset["n_outputs"], best["costs"]["params"]
        ),
        "costs": [_cost(result, cost, value) for cost, value in best["costs"].items()],
        "measured": best.get("measured", {}),
        "metrics": _metrics(result, best),
        "noise": _noise(result),
        "trust": _trust(result),
        "compared": compared(result),
        "data": _data(dataset),
        "progress": progress(result),
        "seconds": result.get("seconds", {}),
        "reproduce": _reproduce(result),
        "seed": result["config"].get("seed"),
        "config": "\n".join(f"{key}={words.plain(value)}" for key, value in flat(result["config"]).items()),
    }


def limits(result: Result) -> str:
    """In words: `at most 10,000 parameters`."""
    told = [f"{words.amount(limit['limit'])} {words.cost(limit['cost'])}" for limit in result["limits"]]
    return f"at most {words.listed(told)}" if told else "no limit"


def n_trainings(found: dict[str, Any]) -> int:
    return len(found["stand_alone"]["loss"]["runs"])


def _asked(result: Result) -> str:
    """In one sentence, or two."""
    dataset, search, choices = result["dataset"], result["search"], result["space"]["choices"]
    loss, method = words.metric("loss", dataset["task"]), search["method"]
    each = {tuple(layer) for layer in choices}
    of_widths = f" with {len(choices[0])} widths each" if len(each) == 1 else ""
    found = (
        f"Of the {result['space']['size']:,} networks of {words.count(len(choices), 'hidden layer')}{of_widths}, "
        f"{min(map(min, choices))} to {max(map(max, choices)):,} units, "
        f"the one with the smallest {loss} on {dataset['name']} that has {limits(result)}."
    )
    described = f" ({words.METHODS[method]})" if method in words.METHODS else ""
    epochs = f" in {words.count(search['epochs'], 'epoch')}" if search.get("epochs") else ""
    best = result["architectures"][result["best"]]
    return (
        f"{found} Searched by {method}{described}{epochs}; then {words.count(len(result['architectures']), 'network')} "
        f"trained from scratch, {words.count(n_trainings(best), 'time')} each."
    )


def _cost(result: Result, name: str, value: float) -> dict[str, Any]:
    """A cost beside its limit, if it has one."""
    limit = next((entry["limit"] for entry in result["limits"] if entry["cost"] == name), None)
    share = None if not limit else 100 * value / limit
    return {"name": words.cost(name), "value": words.amount(value), "limit": limit, "share": share}


def _metrics(result: Result, best: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each metric: over trainings from scratch, and of the one network kept, by split."""
    network = result.get("network") or {}
    tests = best.get("test") or {}
    rows = []
    for name in [name for name, told in best["stand_alone"].items() if isinstance(told, dict)]:
        row: dict[str, str | None] = {"name": words.metric(name, result["dataset"]["task"])}
        for split, over_runs in (("valid", best["stand_alone"]), ("test", tests)):
            row[f"{split}_mean"] = words.spread(over_runs[name]) if name in over_runs else None
            told = (network.get(split) or {}).get(name)
            row[f"{split}_network"] = None if told is None else words.number(told["value"])
            row[f"{split}_interval"] = None if told is None else words.interval(told)
        rows.append(row)
    return rows


def _noise(result: Result) -> str:
    """Who chose the best of the architectures, if not the search, and whether another may be as good; in sentences."""
    best = result["architectures"][result["best"]]
    ordered = sorted(result["architectures"], key=lambda a: a["stand_alone"]["loss"]["mean"])
    others = [found for found in ordered if found is not best]
    return " ".join([*_not_of_the_search(best, ordered), _closeness(best, others)])


def _not_of_the_search(best: dict[str, Any], ordered: list[dict[str, Any]]) -> list[str]:
    if "search" in best["chosen_by"]:
        return []
    searched = next((found for found in ordered if "search" in found["chosen_by"]), None)
    rest = (
        ""
        if searched is None
        else (
            f"; the best that it selected is {words.hyphenated(searched['widths'])}, "
            f"with {words.spread(searched['stand_alone']['loss'])}"
        )
    )
    return [f"The search did not select it (chosen by: {best['chosen_by']}){rest}."]


def _closeness(best: dict[str, Any], others: list[dict[str, Any]]) -> str:
    if not others:
        return "No other network was trained, so there is nothing to compare it with."
    near = within_noise(best, others)
    if near is None:
        return "Each network was trained once, so how much training varies is unknown: small differences tell nothing."
    if not near:
        return f"It is better than the other {len(others)} by more than the noise of training."
    close = [words.hyphenated(found["widths"]) for found in near]
    meaning = f"within the noise of training: as good, as far as {n_trainings(best)} trainings tell."
    if len(close) == len(others):
        return f"All {words.count(len(others), 'other')} are {meaning}" if len(close) > 1 else f"The other is {meaning}"
    them = words.listed(close) if len(close) <= 4 else f"{len(close)} of them"
    return f"Of the other {len(others)}, {them} {'is' if len(close) == 1 else 'are'} {meaning}"


def _data(dataset: dict[str, Any]) -> dict[str, Any]:
    """Splits and columns."""
    splits = {"training": dataset["n_train"], "validation": dataset["n_val"], "test": dataset.get("n_test") or 0}
    total = sum(splits.values())
    columns = dataset.get("columns") or []
    return {
        "splits": [(name, n, 100 * n / total) for name, n in splits.items() if n],
        "columns": columns[:MOST_COLUMNS],
        "n_columns": len(columns),
        "n_more": max(0, len(columns) - MOST_COLUMNS),
        "is_open": len(columns) <= FEW_COLUMNS,
    }


def _trust(result: Result) -> dict[str, Any] | None:
    """What the run says of its search's ranking, with correlations as (name, value and interval)."""
    trust = result.get("trust")
    if trust is None:
        return None
    known = [(name, trust.get(key)) for key, name in (("kendall", "Kendall's τ"), ("pearson", "Pearson's r"))]
    correlations = [
        f"{name} {told['value']:.2f}" + (" [{:.2f}, {:.2f}]".format(*told["interval"]) if told.get("interval") else "")
        for name, told in known
        if told and told.get("value") is not None
    ]
    return {
        "verdict": trust["verdict"],
        "words": trust["words"],
        "remedy": trust.get("remedy"),
        "n": trust["n"],
        "n_seeds": trust.get("n_seeds"),
        "correlations": correlations,
    }


def _reproduce(result: Result) -> dict[str, Any] | None:
    given = result.get("reproduce")
    if given is None:
        return None
    about = {
        **given.get("versions", {}),
        "device": given.get("device"),
        "finished": (given.get("finished") or "").replace("T", " "),
    }
    command = given.get("command") or shlex.join(["python", "train.py", *given.get("overrides", [])])
    return {"command": command, "about": {name: told for name, told in about.items() if told}}
