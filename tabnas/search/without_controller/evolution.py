"""search=evolution: weight-sharing evolutionary search (appendix D)."""

from typing import Any

import torch
from torch import Tensor

from tabnas.errors import require_integer
from tabnas.search.without_controller.base import Losses, WithoutController


class Evolution(WithoutController):
    """A population in V whose best are mutated, and whose worst make room for what is better.

    population: uniform draws from V at first, and what is kept after every step.
    steps: the paper has 10 with a population of 100, and 60 with 50; it says nothing of what follows.
    num_children: mutants a step. With 30 all explored come to 400, about the paper's budget of 405; with 60 steps and a
        population of 50 it takes 6.
    tournament: members drawn at random, of which the one of the smallest loss becomes a parent.

    A mutant differs from its parent in one layer, whose width is drawn from those that keep it feasible.
    """

    explored = "architectures explored by evolution"

    def __init__(
        self,
        *,
        population: int = 100,
        steps: int = 10,
        num_children: int = 30,
        tournament: int = 5,
        **common: Any,
    ) -> None:
        require_integer("search.population", population, low=1, remedy="the paper has 100")
        require_integer("search.steps", steps, low=0, remedy="the paper has 10")
        require_integer("search.num_children", num_children, low=1, remedy="30 is the default")
        require_integer("search.tournament", tournament, low=1, remedy="5 is the default")
        super().__init__(**common)
        self.population, self.steps = population, steps
        self.num_children, self.tournament = num_children, tournament

    def explore(self, losses: Losses) -> None:
        members = self._fittest(self.draws(self.population), losses)
        for _ in range(self.steps):
            contestants = torch.randint(len(members), (self.num_children, self.tournament), generator=self.generator)
            parents = members[contestants.amin(dim=1)]  # members are in order of their loss
            mutants = torch.stack([self.mutant(parent) for parent in parents])
            members = self._fittest(torch.cat([members, mutants]).unique(dim=0), losses)

    def mutant(self, parent: Tensor) -> Tensor:
        """One of V that differs from `parent`, itself in V, in one layer: choice indices (L,) → (L,).

        The layer is drawn first, from those that can change. The parent itself where V has no other: costs do not fall
        with a width, so that any other with all but one of its layers made the smallest is a neighbour of the smallest.
        """
        layers = [i for i, n in enumerate(self.space.n_choices) for _ in range(n)]
        choices = [j for n in self.space.n_choices for j in range(n)]
        at = torch.arange(len(layers))
        neighbours = parent.repeat(len(layers), 1)
        neighbours[at, layers] = torch.tensor(choices)
        feasible = self.limits.allow_many(self.space.gather_widths(neighbours))
        possible = at[feasible & (neighbours != parent).any(dim=1)]
        if not len(possible):
            return parent
        of_layer = torch.tensor(layers)[possible]
        layer = self._one_of(of_layer.unique())
        return neighbours[self._one_of(possible[of_layer == layer])]

    def _one_of(self, values: Tensor) -> Tensor:
        return values[torch.randint(len(values), (), generator=self.generator)]

    def _fittest(self, members: Tensor, losses: Losses) -> Tensor:
        """The `population` of the smallest loss, in that order."""
        return members[losses(members).argsort(stable=True)[: self.population]]
