"""Choices a person could make without a search, at the same limits: what the search is compared with in every run."""

import torch

from tabnas.cost import Limits
from tabnas.errors import UserError
from tabnas.feasibility import ChainProgram, Enumeration, MonteCarlo
from tabnas.space import SearchSpace, Widths


def uniform_width(space: SearchSpace, limits: Limits) -> Widths | None:
    """The widest feasible architecture whose layers are all of one width; None if there is none."""
    common = set.intersection(*map(set, space.choices))
    feasible = [w for w in common if limits.allow([w] * space.n_layers)]
    return (max(feasible),) * space.n_layers if feasible else None


def random_feasible(
    space: SearchSpace, limits: Limits, program: Enumeration | ChainProgram | None, generator: torch.Generator
) -> Widths | None:
    """An architecture drawn uniformly from V; None if there is no exact program and chance finds none."""
    uniform = torch.zeros(space.mask.shape).masked_fill(~space.mask, -torch.inf)
    if program is not None:
        return space.widths(program.sample(uniform, 1, generator=generator)[0].tolist())
    chance = MonteCarlo(space, limits.costs, limits.at_most, num_samples=1, generator=generator)
    try:
        return space.widths(chance.sample(uniform, 1)[0].tolist())
    except UserError:
        return None
