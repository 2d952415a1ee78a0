"""From `limits: [{cost: params, limit: 10000}]` in a config to limits, checked. May import space, cost and latency."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabnas.cost import Cost, Flops, Limits, ParameterCount
from tabnas.errors import UserError, require_integer, require_number, require_one_of, unknown
from tabnas.latency import Latency
from tabnas.space import SearchSpace, Widths, hyphenated

COSTS: dict[str, tuple[str, ...]] = {
    "params": ("count_embeddings",),
    "flops": (),
    "latency_us": ("batch_size",),
}
"""The costs there are, and the options of each beside `limit`."""


def limits_from(
    config: object,
    space: SearchSpace,
    *,
    n_inputs: int,
    n_outputs: int,
    n_embedding_params: int,
    device: str,
    folder: Path,
    kept: Path,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Limits, list[dict[str, Any]]]:
    """The limits, and the config with each limit as a number.

    n_inputs, n_outputs: of the networks. n_embedding_params: entries of the embedding tables, for `count_embeddings`.
    device, folder, progress: of Latency.cached.
    kept: the table of a run that is resumed, whose feasible set must stay as it was; it need not exist.

    Raises UserError for whatever is wrong; that V is empty shows later.
    """
    remedy = "give limits=[{cost: params, limit: 10000}], or limits.0.limit=10000"
    if not isinstance(config, list) or not config:
        raise UserError("limits", "must be a list of limits", config, remedy)
    costs: list[Cost] = []
    at_most: list[int] = []
    described: list[dict[str, Any]] = []
    for i, entry in enumerate(config):
        key = f"limits.{i}"
        if not isinstance(entry, Mapping) or not {"cost", "limit"} <= set(entry):
            raise UserError(key, "must have the keys cost and limit", entry, remedy)
        if not isinstance(entry["cost"], str) or entry["cost"] not in COSTS:
            raise unknown(f"{key}.cost", entry["cost"], COSTS)
        options = {name: value for name, value in entry.items() if name not in ("cost", "limit")}
        for name in options:
            if name not in COSTS[entry["cost"]]:
                raise unknown(f"{key}.{name}", name, ("cost", "limit", *COSTS[entry["cost"]]))
        if entry["cost"] in [c.name for c in costs]:
            raise UserError(f"{key}.cost", "must not be limited twice", entry["cost"], "give each cost once")
        cost: Cost
        if entry["cost"] == "params":
            counted = options.get("count_embeddings", False)
            require_one_of(f"{key}.count_embeddings", counted, (True, False))
            cost = ParameterCount(n_inputs, n_outputs, n_embedding_params if counted else 0)
        elif entry["cost"] == "flops":
            cost = Flops(n_inputs, n_outputs)
        else:
            size = options.get("batch_size", 1)
            require_integer(f"{key}.batch_size", size, low=1, remedy="1 is a single row's latency")
            of = (space, n_inputs, n_outputs)
            if kept.exists():
                cost = Latency.read(kept, *of)
            else:
                cost = Latency.cached(*of, batch_size=size, device=device, folder=folder, progress=progress)
        most, about = _amount(f"{key}.limit", entry["limit"], cost, space)
        costs.append(cost)
        at_most.append(most)
        described.append({**entry, **about})
    return Limits(costs, at_most), described


def _amount(key: str, given: object, cost: Cost, space: SearchSpace) -> tuple[int, dict[str, Any]]:
    """A limit in the cost's integer units, and how result.json has it: a number, or an architecture that costs it."""
    if isinstance(given, str | Sequence):
        reference = _architecture(key, given, space)
        most = cost(reference)
        shown = most if cost.scale == 1 else most / cost.scale
        return most, {"limit": shown, "reference": hyphenated(reference)}
    remedy = "give a number, or an architecture such as 32-144-24"
    require_number(key, given, low=0, high=2**53, open_low=True, remedy=remedy)
    assert isinstance(given, int | float)
    if cost.scale == 1 and given != int(given):
        raise UserError(key, f"must be a whole number of {cost.name}", given, remedy)
    return round(given * cost.scale), {"limit": int(given) if cost.scale == 1 else given}  # 1e4 is 10000


def _architecture(key: str, given: str | Sequence[object], space: SearchSpace) -> Widths:
    parts = given.split("-") if isinstance(given, str) else list(map(str, given))
    widths = tuple(int(part) for part in parts if part.isdecimal())
    if len(widths) != len(parts) or len(widths) != space.n_layers or 0 in widths:
        remedy = f"give {space.n_layers} widths such as {hyphenated(space.smallest)}, or a number"
        raise UserError(key, "must be a number, or an architecture with as many layers as the space", given, remedy)
    outside = [w for w, layer in zip(widths, space.choices, strict=True) if w not in layer]
    if outside:
        raise UserError(key, "must be an architecture of the space", given, f"{outside[0]} is no choice there")
    return widths
