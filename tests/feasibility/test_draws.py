"""Draws from P(y | V), by every way to them: exactly distributed, and independent of each other."""

import itertools
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor

from tabnas.cost import ParameterCount
from tabnas.feasibility import ChainProgram, Enumeration, Listed, MonteCarlo, Refreshed
from tabnas.space import SearchSpace
from tests.brute_force import COSTS, feasible, log_probs, misfit, padded_logits

SPACES = {
    "toy": (SearchSpace([[2, 3, 4], [2, 3, 4]]), (ParameterCount(2, 1),), (25,)),
    "unequal layers": (SearchSpace([[7, 2, 3], [5, 1], [4, 9]]), COSTS["params with embeddings"], (90,)),
    "two limits": (SearchSpace([[7, 2, 3], [5, 1], [4, 9]]), COSTS["params and flops"], (75, 50)),
}


def exact_draws(kind) -> Callable[..., list[tuple[int, ...]]]:
    def draw(problem, logits: Tensor, n: int, generator: torch.Generator) -> Tensor:
        return kind(*problem).sample(logits, n, generator=generator)

    return draw


def listed(problem, logits: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Two at a time, with other logits between."""
    source = Listed(Enumeration(*problem), generator=generator)
    return in_pairs(source, logits, n)


def refreshed(problem, logits: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """From one pool, drawn at other logits than those asked for."""
    source = Refreshed(ChainProgram(*problem), generator=generator, pool_size=10 * n, max_error=1e9)
    source.sample(elsewhere(logits), 1)
    drawn = in_pairs(source, logits, n)
    assert source.refreshes == 1
    return drawn


def refreshed_often(problem, logits: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """From many small pools, used up here and there."""
    source = Refreshed(Enumeration(*problem), generator=generator, pool_size=64, max_error=1e9)
    drawn = in_pairs(source, logits, n)
    assert source.refreshes > n / 64
    return drawn


def in_pairs(source, logits: Tensor, n: int) -> Tensor:
    pairs = []
    for i in range(n // 2):
        if i % 3 == 0:
            source.sample(elsewhere(logits), 1)
        pairs.append(source.sample(logits, 2))
    return torch.cat(pairs)


def elsewhere(logits: Tensor) -> Tensor:
    return logits + 0.3 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(9))


def monte_carlo(problem, logits: Tensor, n: int, generator: torch.Generator) -> Tensor:
    return MonteCarlo(*problem, num_samples=1, generator=generator).sample(logits, n)


WAYS = [exact_draws(ChainProgram), exact_draws(Enumeration), listed, refreshed, refreshed_often, monte_carlo]
NAMES = ["ChainProgram", "Enumeration", "Listed", "Refreshed", "Refreshed often", "MonteCarlo"]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("draws", WAYS, ids=NAMES)
def test_draws_follow_the_conditional_distribution_and_not_each_other(draws, space, generator):
    problem = SPACES[space]
    logits = padded_logits(problem[0], seed=3, spread=0.7).detach().float()
    valid = feasible(*problem)
    conditional = log_probs(problem[0], valid, logits.double()).softmax(dim=0).tolist()
    expected = dict(zip(valid, conditional, strict=True))
    drawn = [tuple(y) for y in draws(problem, logits, 16_000, generator).tolist()]
    assert misfit(drawn, expected) < 1
    pairs = {(a, b): expected[a] * expected[b] for a, b in itertools.product(valid, valid)}
    for first in (0, 1):  # within the pairs drawn at once, and across them
        assert misfit(neighbours(drawn[first:]), pairs) < 1


def neighbours(drawn: list[tuple[int, ...]]) -> Iterable[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Pairs that do not overlap, so that they are independent if the draws are."""
    return zip(drawn[::2], drawn[1::2], strict=False)


@pytest.mark.parametrize("draws", WAYS, ids=NAMES)
def test_the_generator_settles_the_draws(draws):
    problem = SPACES["toy"]
    logits = padded_logits(problem[0], seed=3).detach()
    first, again, other = (draws(problem, logits, 2000, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
