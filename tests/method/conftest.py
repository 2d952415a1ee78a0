"""Methods on the paper's toy example, or with limits on parameters and multiply-accumulates together."""

import importlib
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from tabnas.cost import Flops, Limits, ParameterCount
from tabnas.method import Method, Step
from tabnas.space import SearchSpace
from tests.brute_force import Indices, feasible, log_probs, padded_logits

QUALITY = {
    (2, 2): 0.1, (2, 3): 0.1, (2, 4): 0.34,
    (3, 2): 0.1, (3, 3): 0.34, (3, 4): 0.7,
    (4, 2): 0.4, (4, 3): 0.7, (4, 4): 0.9,
}  # fmt: skip
"""1 − the losses of Figure 1."""


class Problem(NamedTuple):
    """A space within limits at some logits (L, C), float64."""

    space: SearchSpace
    limits: Limits
    valid: list[Indices]
    logits: Tensor

    @property
    def log_prob_valid(self) -> Tensor:
        return log_probs(self.space, self.valid, self.logits).logsumexp(dim=0)

    def log_prob(self, indices: Indices) -> Tensor:
        return log_probs(self.space, [tuple(indices)], self.logits)[0]

    def gradient(self, objective: Tensor) -> Tensor:
        """By autograd."""
        return torch.autograd.grad(objective, self.logits)[0]

    def quality(self, children: Tensor) -> Tensor:
        """Q of each child: (..., K, L) → (..., K) float64."""
        flat = [QUALITY[self.space.widths(y)] for y in children.reshape(-1, self.space.n_layers).tolist()]
        return torch.tensor(flat, dtype=torch.float64).view(children.shape[:-1])


@pytest.fixture(params=["one limit", "two limits"])
def problem(request: pytest.FixtureRequest) -> Problem:
    space = SearchSpace([[2, 3, 4], [2, 4, 3]])
    costs, at_most = {
        "one limit": ([ParameterCount(2, 1)], [25]),
        "two limits": ([ParameterCount(2, 1), Flops(2, 1)], [25, 16]),  # the second rules out 3-3 and 4-2, of 18
    }[request.param]
    valid = feasible(space, costs, at_most)
    assert len(valid) == {"one limit": 6, "two limits": 4}[request.param]
    return Problem(space, Limits(costs, at_most), valid, padded_logits(space, seed=3, spread=0.8))


@pytest.fixture
def new_method(problem: Problem) -> Callable[..., Method]:
    def build(kind: type[Method], seed: int = 0, **settings: object) -> Method:
        generator = torch.Generator().manual_seed(seed)
        return kind(space=problem.space, limits=problem.limits, generator=generator, name="any", **settings)

    return build


@pytest.fixture
def never_listed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """V is followed by Refreshed however few it has; not if the parameter is False."""
    never = getattr(request, "param", True)
    if never:
        monkeypatch.setattr(importlib.import_module("tabnas.feasibility.stepwise"), "MOST_LISTED", 0)
    return never


def step(method: Method, problem: Problem, children: Tensor, quality: Tensor) -> Step:
    """At the problem's logits."""
    return method.step(problem.logits.detach(), children, quality, method.evaluated(children))
