"""Architectures that a study trains without a search. May import cost, errors, feasibility and space."""

import torch

from tabnas.cost import Limits
from tabnas.errors import UserError
from tabnas.feasibility import MonteCarlo, exact
from tabnas.space import SearchSpace, Widths

MOST_DRAWS = 100_000


def drawn(space: SearchSpace, limits: Limits, n: int, *, at_least: int = 0, seed: int) -> list[Widths]:
    """n distinct feasible architectures, uniformly drawn, of at least this cost by the first limit.

    Fewer where there are no more, or where they are so rare that MOST_DRAWS do not find them.
    """
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.zeros(space.mask.shape).masked_fill(~space.mask, -torch.inf)
    program = exact(space, limits.costs, limits.at_most)
    chance = MonteCarlo(space, limits.costs, limits.at_most, num_samples=1, generator=generator)
    chosen: dict[Widths, None] = {}
    batch = max(1000, 4 * n)
    for _ in range(0, MOST_DRAWS, batch):
        if program is not None:
            indices = program.sample(uniform, batch, generator=generator)
        else:
            indices = chance.sample(uniform, batch)
        for y in indices.tolist():
            widths = space.widths(y)
            if len(chosen) < n and limits.costs[0](widths) >= at_least:
                chosen[widths] = None
        if len(chosen) == n:
            break
    return list(chosen)


def count(space: SearchSpace, limits: Limits) -> int | None:
    """|V|; None where it cannot be counted."""
    program = exact(space, limits.costs, limits.at_most)
    return None if program is None else program.count()


def drawn_or_refused(space: SearchSpace, limits: Limits, n: int, *, seed: int, fewest: int) -> list[Widths]:
    """As `drawn`, of any cost; UserError where there are fewer than `fewest`."""
    found = drawn(space, limits, n, seed=seed)
    if len(found) < fewest:
        remedy = "raise the limits, or give more widths to choose from"
        raise UserError("limits", f"must leave at least {fewest} architectures to compare with", len(found), remedy)
    return found
