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


def candidates(setup: Setup) -> list[dict[str, Any]]:
    """What the search selected and two plain choices at the same limit, each once, with their one-shot metrics.

    Those are None where there is no SuperNet.
    """
    search = setup.search
    chosen: dict[Widths, dict[str, Any]] = {}
    for selected in search.selection.selected:
        chosen[selected.widths] = {"chosen_by": "search", "probability": selected.probability}
    plain = {"uniform width": uniform_width(setup.space, setup.limits)}
    if not isinstance(search.method, RandomSearch):
        draws = torch.Generator().manual_seed(setup.seed)
        plain["random feasible"] = random_feasible(setup.space, setup.limits, search.method.program, draws)
    for name, widths in plain.items():
        if widths is None:
            log.warning("%s: no such architecture was found within the limit", name)
        elif widths in chosen:
            chosen[widths]["chosen_by"] += f", {name}"
        else:
            chosen[widths] = {"chosen_by": name, "probability": None}
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
