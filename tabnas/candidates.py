"""The architectures a run trains from scratch: what the search selected, and what one could have chosen without it."""

import logging
from typing import Any

import torch

from tabnas.build import Setup, torch_device
from tabnas.latency import Latency, measure_network
from tabnas.search.plain import random_feasible, uniform_width
from tabnas.search.without_controller import RandomSearch
from tabnas.space import Widths

log = logging.getLogger(__name__)


N_RANKED = 50
"""Architectures drawn, at least, to see how one-shot losses spread."""


def candidates(setup: Setup) -> list[dict[str, Any]]:
    """What the search selected and two plain choices at the same limit, each once, with their one-shot metrics.

    Where those are fewer than `retrain.min_architectures`, others that lie evenly over the one-shot ranking fill up,
    by which trust.assess judges it. Without a SuperNet there are neither metrics, None, nor a ranking.
    """
    search = setup.search
    chosen: dict[Widths, dict[str, Any]] = {}
    for selected in search.selection.selected:
        chosen[selected.widths] = {"chosen_by": "search", "probability": selected.probability}
    draws = torch.Generator().manual_seed(setup.seed)
    plain = {"uniform width": uniform_width(setup.space, setup.limits)}
    if not isinstance(search.method, RandomSearch):
        plain["random feasible"] = random_feasible(setup.space, setup.limits, search.method.program, draws)
    for name, widths in plain.items():
        if widths is None:
            log.warning("%s: no such architecture was found within the limit", name)
        elif widths in chosen:
            chosen[widths]["chosen_by"] += f", {name}"
        else:
            chosen[widths] = {"chosen_by": name, "probability": None}
    if search.method.trains_supernet:
        for widths in _over_the_ranking(setup, setup.min_architectures - len(chosen), set(chosen), draws):
            chosen[widths] = {"chosen_by": "check of the ranking", "probability": None}
    return [
        {
            "widths": list(widths),
            "costs": setup.costs(widths),
            **_measured(setup, widths),
            **about,
            "one_shot": search.one_shot(widths, setup.data.valid) if search.method.trains_supernet else None,
        }
        for widths, about in chosen.items()
    ]


def _over_the_ranking(setup: Setup, n: int, known: set[Widths], draws: torch.Generator) -> list[Widths]:
    """At most n architectures other than the known, at even steps of the one-shot ranking of some drawn from V."""
    if n <= 0:
        return []
    program = setup.search.method.program
    drawn = {random_feasible(setup.space, setup.limits, program, draws) for _ in range(max(N_RANKED, 2 * n))}
    others = sorted(widths for widths in drawn if widths is not None and widths not in known)
    losses = dict(zip(others, setup.search.one_shot_losses(others), strict=True))
    ranked = sorted(others, key=losses.__getitem__)
    if n > len(ranked):
        log.warning("retrain.min_architectures: only %d others were found within the limit", len(ranked))
        n = len(ranked)
    return [ranked[(2 * i + 1) * len(ranked) // (2 * n)] for i in range(n)]


def _measured(setup: Setup, widths: Widths) -> dict[str, Any]:
    """Where latency is limited by the sum of its layers' times, that of the whole network, its encoder included."""
    batch_sizes = [e.get("batch_size", 1) for e in setup.config["limits"] if e["cost"] == Latency.name]
    if not batch_sizes:
        return {}
    device = torch_device(setup.accelerator)
    network = setup.retraining.module(widths, setup.seed).to(device).eval()
    rows = setup.data.valid.take(torch.arange(batch_sizes[0]) % setup.data.valid.n_rows)
    numerical, categorical = rows.numerical.to(device), rows.categorical.to(device)
    nanoseconds = measure_network(lambda: network(numerical, categorical), device=device)
    return {"measured": {Latency.name: nanoseconds / Latency.scale}}
