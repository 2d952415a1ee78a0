"""A search with a controller beside searches without one at the same number of forward passes (Table 4, appendix D)."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.table import Table

from tabnas.build import Setup
from tabnas.study.compare import Compare, Found
from tabnas.study.jobs import Outcomes, Search
from tabnas.study.words import table


class Table4(Compare):
    """The others may evaluate as many architectures as the first method's forward passes, with the same seed, allow.

    An architecture is evaluated on the validation split, in minibatches of the batch size. The settings of the other
    methods stand for the paper's budget of 405 architectures, and are scaled to what there is.
    """

    name = "table4"

    def searches(self, setup: Setup, outcomes: Outcomes) -> dict[tuple[str, int], Search]:
        known = super().searches(setup, outcomes)
        first = next(iter(self.methods))
        found = {}
        for (method, seed), search in known.items():
            if method == first:
                found[method, seed] = search
            elif known[first, seed].name in outcomes:
                passes = outcomes[known[first, seed].name].get("search", {}).get("forward_passes", 0)
                settings = within(self.methods[method], passes, setup.data.valid.n_rows, setup.data.batch_size)
                found[method, seed] = Search(search.name, {"search": settings, "seed": seed})
        return found

    def tables(self, found: Found) -> list[Table]:
        rows = [
            [
                method["method"],
                f"{np.mean([run['forward_passes'] for run in method['runs']]):,.0f}",
                f"{np.mean([run['weight_updates'] for run in method['runs']]):,.0f}",
            ]
            for method in found["methods"]
            if method["runs"]
        ]
        caption = "of a minibatch, by the shared weights; means over the runs"
        return [*super().tables(found), table("work", ("method", "forward passes", "weight updates"), rows, caption)]


def within(settings: Mapping[str, Any], forward_passes: int, n_rows: int, batch_size: int) -> dict[str, Any]:
    """The settings of a search without a controller, such that it takes at most so many forward passes."""
    rows = min(n_rows, settings.get("max_rows") or n_rows)
    budget = max(2, forward_passes // math.ceil(rows / batch_size))
    found = dict(settings)
    if "population" in settings:
        whole = settings["population"] + settings["steps"] * settings["num_children"]
        found["population"] = max(1, min(budget - 1, round(settings["population"] * budget / whole)))
        left = budget - found["population"]
        found["steps"] = min(settings["steps"], left)
        found["num_children"] = left // found["steps"]
    elif "num_initial" in settings:
        whole = settings["num_initial"] + settings["num_steps"]
        found["num_initial"] = max(1, round(settings["num_initial"] * budget / whole))
        found["num_steps"] = budget - found["num_initial"]
    elif "num_draws" in settings:
        found["num_draws"] = budget
    return found
