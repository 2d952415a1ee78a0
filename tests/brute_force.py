"""The other route to every number about V: going through the space one architecture at a time, in float64."""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from hypothesis import strategies as st
from scipy.stats import chi2
from torch import Tensor

from tabnas.cost import Cost, Flops, ParameterCount
from tabnas.space import SearchSpace

Indices = tuple[int, ...]

COSTS: dict[str, tuple[Cost, ...]] = {
    "params": (ParameterCount(3, 2),),
    "flops": (Flops(3, 2),),
    "params with embeddings": (ParameterCount(3, 2, n_embedding_params=17),),
    "params and flops": (ParameterCount(3, 2), Flops(3, 2)),
}


def feasible(space: SearchSpace, costs: Cost | Sequence[Cost], limits: int | Sequence[int]) -> list[Indices]:
    """The choice indices of every architecture within all limits, in the order of the space."""
    costs = costs if isinstance(costs, Sequence) else [costs]
    limits = limits if isinstance(limits, Sequence) else [limits]
    return [
        indices
        for indices in itertools.product(*map(range, space.n_choices))
        if all(cost(space.widths(indices)) <= limit for cost, limit in zip(costs, limits, strict=True))
    ]


def log_probs(space: SearchSpace, architectures: Sequence[Indices], logits: Tensor) -> Tensor:
    """log P(y) of each, differentiable."""
    layers = [row[:n].log_softmax(dim=0) for row, n in zip(logits, space.n_choices, strict=True)]
    columns = torch.tensor(architectures).T
    return torch.stack([layer[column] for layer, column in zip(layers, columns, strict=True)]).sum(dim=0)


def onehots(space: SearchSpace, architectures: Sequence[Indices]) -> Tensor:
    """(n, L, C) float64."""
    table = torch.zeros(len(architectures), *space.mask.shape, dtype=torch.float64)
    for k, indices in enumerate(architectures):
        for i, j in enumerate(indices):
            table[k, i, j] = 1
    return table


def padded_logits(space: SearchSpace, seed: int, spread: float = 1.5) -> Tensor:
    """Normal logits, float64, that take a gradient."""
    logits = spread * torch.randn(space.mask.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return logits.masked_fill(~space.mask, -torch.inf).requires_grad_()


@st.composite
def problems(draw) -> tuple[SearchSpace, tuple[Cost, ...], tuple[int, ...], Tensor]:
    """A space of 1 to 4 layers of unequal length, costs, limits from the smallest cost to the largest, and logits."""
    costs = COSTS[draw(st.sampled_from(sorted(COSTS)))]
    widths = st.integers(1, 40 if len(costs) == 1 else 11)  # the states of a program for two limits are many
    layer = st.lists(widths, min_size=1, max_size=5, unique=True)
    space = SearchSpace(draw(st.lists(layer, min_size=1, max_size=4)))
    limits = tuple(draw(st.integers(cost(space.smallest), cost(space.largest))) for cost in costs)
    return (
        space,
        costs,
        limits,
        padded_logits(space, draw(st.integers(0, 1000)), draw(st.sampled_from([0.0, 1.5, 6.0]))),
    )


def misfit(draws: Iterable[object], expected: dict[object, float]) -> float:
    """The chi-square statistic of draws over its 0.9999 quantile: above 1 they do not follow the probabilities.

    Outcomes of fewer than 5 expected draws count as one.
    """
    counts = Counter(draws)
    assert set(counts) <= set(expected)
    n = counts.total()
    cells, rest = [], [0.0, 0.0]
    for outcome, p in expected.items():
        if n * p >= 5:
            cells.append((counts[outcome], n * p))
        else:
            rest = [rest[0] + counts[outcome], rest[1] + n * p]
    if rest[1] >= 5:
        cells.append((rest[0], rest[1]))
    assert len(cells) > 1
    statistic = sum((count - mean) ** 2 / mean for count, mean in cells)
    return statistic / chi2.isf(1e-4, len(cells) - 1)
