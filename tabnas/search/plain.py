"""Choices a person could make without a search, at the same limit: what the search is compared with in every run."""

import torch

from tabnas.controller import sample
from tabnas.cost import Cost
from tabnas.feasibility import Enumeration, MonteCarlo
from tabnas.space import SearchSpace, Widths

TRIES = 1_000_000  # draws before giving up on hitting V by chance in a space too large to enumerate


def uniform_width(space: SearchSpace, cost: Cost, limit: int) -> Widths | None:
    """The widest feasible architecture whose layers are all of one width; None if there is none."""
    common = set.intersection(*map(set, space.choices))
    feasible = [w for w in common if cost([w] * space.n_layers) <= limit]
    return (max(feasible),) * space.n_layers if feasible else None


def random_feasible(
    space: SearchSpace, feasibility: Enumeration | MonteCarlo, cost: Cost, limit: int, generator: torch.Generator
) -> Widths | None:
    """An architecture drawn uniformly from V; None if chance finds none in TRIES draws."""
    uniform = torch.zeros(space.mask.shape).masked_fill(~space.mask, -torch.inf)
    if isinstance(feasibility, Enumeration):
        return space.widths(feasibility.sample(uniform, 1, generator=generator)[0].tolist())
    for _ in range(TRIES // 10_000):
        draws = sample(uniform, 10_000, generator)
        feasible = draws[cost.many(space.gather_widths(draws)) <= limit]
        if len(feasible):
            return space.widths(feasible[0].tolist())
    return None
