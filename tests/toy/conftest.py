"""The paper's toy example for methods, and many searches on it."""

from collections.abc import Callable

import pytest
import torch

from tabnas.cost import Limits
from tabnas.method import Method
from tabnas.space import SearchSpace
from tabnas.toy.runs import Runs
from tabnas.toy.table import LossTable
from tests.conftest import Toy

LOSSES = {
    "2-2": 0.9, "2-3": 0.9, "2-4": 0.66, "3-2": 0.9, "3-3": 0.66, "3-4": 0.3, "4-2": 0.6, "4-3": 0.3, "4-4": 0.1,
}  # fmt: skip


@pytest.fixture
def table(toy: Toy) -> LossTable:
    return LossTable(LOSSES, 2, 1, toy.space)


@pytest.fixture
def new_method(toy: Toy) -> Callable[..., Method]:
    def build(kind: type[Method], seed: int = 0, **settings: object) -> Method:
        generator = torch.Generator().manual_seed(seed)
        settings = {"eta": 0.1, **settings}
        return kind(
            space=toy.space, limits=Limits(toy.cost, toy.limit), generator=generator, name=kind.__name__, **settings
        )

    return build


@pytest.fixture
def new_runs(new_method, table) -> Callable[..., Runs]:
    """A batch of `num_runs` searches by a kind of method; other keywords are the method's."""

    def build(
        kind: type[Method], num_runs: int, total_steps: int = 500, *, first_reward: str = "step",
        skipped: str = "nothing", **settings: object,
    ) -> Runs:  # fmt: skip
        how = {"first_reward": first_reward, "skipped": skipped}
        return Runs(new_method(kind, **settings), table, num_runs, total_steps=total_steps, **how)

    return build


@pytest.fixture
def uneven() -> tuple[SearchSpace, int]:
    """Three layers of unequal length, so that logits are padded, and a limit that a third of them keep to."""
    return SearchSpace([[2, 3, 4], [5, 2], [1, 2, 3, 6]]), 40
