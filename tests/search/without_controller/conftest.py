"""Searchers on known losses."""

from collections.abc import Callable, Sequence

import pytest
import torch

from tabnas.cost import Cost, Limits, ParameterCount
from tabnas.search.without_controller import WithoutController
from tabnas.space import SearchSpace, Widths
from tests.conftest import PAPER_WIDTHS


def made(
    kind: type[WithoutController], space: SearchSpace, costs: Cost | Sequence[Cost], at_most: int | Sequence[int],
    seed: int = 0, **settings: object,
) -> WithoutController:  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    return kind(space=space, limits=Limits(costs, at_most), generator=generator, name="any", **settings)


class Connect4:
    """The default run's space and limit, 665 of 8,000 feasible, with a smooth loss whose best is a bottleneck."""

    def __init__(self) -> None:
        self.space = SearchSpace([PAPER_WIDTHS] * 3)
        self.cost, self.limit = ParameterCount(84, 3), 10_000
        self.valid = [widths for widths in self.space if self.cost(widths) <= self.limit]
        self.best = min(self.valid, key=self.loss)

    def loss(self, widths: Widths) -> float:
        a, b, c = self.space.indices(widths)
        return 0.4 + ((a - 5) / 20) ** 2 + ((b - 3) / 20) ** 2 + ((c - 8) / 40) ** 2 - (a - 5) * (c - 8) / 2000

    def losses(self, children: Sequence[Widths]) -> list[float]:
        return [self.loss(widths) for widths in children]

    def new(self, kind: type[WithoutController], seed: int = 0, **settings: object) -> WithoutController:
        return made(kind, self.space, self.cost, self.limit, seed, **settings)

    def found(self, method: WithoutController) -> list[Widths]:
        """What the method chooses by the known losses."""
        indices, _ = method.choose(self.losses)
        return [self.space.widths(y) for y in indices.tolist()]


@pytest.fixture(scope="session")
def connect4() -> Connect4:
    return Connect4()


@pytest.fixture
def new_method() -> Callable[..., WithoutController]:
    return made
