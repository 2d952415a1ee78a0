"""Estimators of P(V) against a plain enumeration written here."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tabnas.cost import ParameterCount
from tabnas.errors import UserError
from tabnas.feasibility import Enumeration, MonteCarlo
from tabnas.space import SearchSpace
from tests.conftest import PAPER_WIDTHS


def spelled_out(space, cost, limit, logits):
    """P(y) of every feasible y, as differentiable scalars, from first principles."""
    layers = [logits[i, :n].softmax(dim=0) for i, n in enumerate(space.n_choices)]
    return {
        indices: math.prod(layers[i][j] for i, j in enumerate(indices))
        for indices in itertools.product(*map(range, space.n_choices))
        if cost(space.widths(indices)) <= limit
    }


def padded_logits(space, seed, spread=1.5):
    logits = spread * torch.randn(space.mask.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return logits.masked_fill(~space.mask, -torch.inf).requires_grad_()


@settings(deadline=None)
@given(
    choices=st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=4, unique=True), min_size=1, max_size=3),
    quantile=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_enumeration_equals_first_principles(choices, quantile, seed):
    space, cost = SearchSpace(choices), ParameterCount(3, 2)
    costs = sorted(map(cost, space))
    limit = costs[int(quantile * (len(costs) - 1))]
    logits = padded_logits(space, seed)
    enumeration = Enumeration(space, cost, limit)
    expected = spelled_out(space, cost, limit, logits)
    total = torch.stack(list(expected.values())).sum().log()
    assert enumeration.count() == len(expected)
    assert enumeration.log_prob(logits).item() == pytest.approx(total.item(), abs=1e-12)
    (ours,) = torch.autograd.grad(enumeration.log_prob(logits), logits)
    (theirs,) = torch.autograd.grad(total, logits)
    assert torch.allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize(
    ("n_inputs", "n_outputs", "n_layers", "limit", "count"),
    [(1027, 1, 3, 41153, 856), (1027, 1, 4, 59697, 17762), (180, 10, 4, 27882, 16886), (84, 3, 3, 10000, 665)],
)
def test_known_counts(n_inputs, n_outputs, n_layers, limit, count):
    enumeration = Enumeration(SearchSpace([PAPER_WIDTHS] * n_layers), ParameterCount(n_inputs, n_outputs), limit)
    assert enumeration.count() == count


@pytest.mark.slow
def test_known_count_of_five_layers():
    enumeration = Enumeration(SearchSpace([PAPER_WIDTHS] * 5), ParameterCount(1027, 1), 75353)
    assert enumeration.count() == 340590  # the paper's appendix D


def test_draws_follow_the_conditional_distribution(toy, generator):
    logits = padded_logits(toy.space, seed=3).detach()
    enumeration = Enumeration(*toy)
    expected = {k: v.item() for k, v in spelled_out(*toy, logits).items()}
    total, n = sum(expected.values()), 20_000
    draws = [tuple(row) for row in enumeration.sample(logits, n, generator=generator).tolist()]
    chi_square = sum((draws.count(indices) - n * p / total) ** 2 / (n * p / total) for indices, p in expected.items())
    assert set(draws) <= set(expected)
    assert chi_square < 20.5  # the 0.999 quantile with 5 degrees of freedom


def test_most_probable(toy):
    logits = padded_logits(toy.space, seed=5).detach()
    expected = spelled_out(*toy, logits)
    ranked = [list(k) for k in sorted(expected, key=lambda k: -expected[k].item())]
    assert Enumeration(*toy).most_probable(logits, 4).tolist() == ranked[:4]
    assert Enumeration(*toy).most_probable(logits, 99).tolist() == ranked


@pytest.mark.parametrize("proposal", ["p", "uniform"])
def test_monte_carlo_is_unbiased(toy, generator, proposal):
    logits = padded_logits(toy.space, seed=7)
    truth = Enumeration(*toy).log_prob(logits).exp().item()
    estimator = MonteCarlo(*toy, num_samples=50, proposal=proposal, generator=generator)
    with torch.no_grad():
        runs = torch.stack([estimator.log_prob(logits).exp() for _ in range(4000)])
    error = runs.std().item() / math.sqrt(len(runs))
    assert abs(runs.mean().item() - truth) < 4 * error


def test_monte_carlo_with_p_has_the_variance_of_a_coin(toy, generator):
    """Appendix G.1: with q = stop_grad(p) each summand is Bernoulli(P(V))."""
    logits = padded_logits(toy.space, seed=7).detach()
    truth = Enumeration(*toy).log_prob(logits).exp().item()
    estimator = MonteCarlo(*toy, num_samples=50, generator=generator)
    runs = torch.stack([estimator.log_prob(logits).exp() for _ in range(4000)])
    expected = truth * (1 - truth) / 50
    assert runs.var().item() == pytest.approx(expected, rel=4 * math.sqrt(2 / len(runs)))


@pytest.mark.parametrize("proposal", ["p", "uniform"])
def test_monte_carlo_gradient_is_consistent(toy, generator, proposal):
    logits = padded_logits(toy.space, seed=11)
    (truth,) = torch.autograd.grad(Enumeration(*toy).log_prob(logits), logits)
    estimator = MonteCarlo(*toy, num_samples=5_000, proposal=proposal, generator=generator)
    runs = torch.stack([torch.autograd.grad(estimator.log_prob(logits), logits)[0] for _ in range(400)])
    error = runs.std(dim=0) / math.sqrt(len(runs))
    assert ((runs.mean(dim=0) - truth).abs() < 4.5 * error + 1e-3).all()  # 1e-3: the bias of a log of a mean, O(1/N)


def test_monte_carlo_without_a_feasible_draw_says_minus_infinity(toy, generator):
    logits = torch.tensor([[0.0, 0.0, 40.0], [0.0, 0.0, 40.0]], requires_grad=True)  # all but surely 4-4, infeasible
    log_prob = MonteCarlo(*toy, num_samples=20, generator=generator).log_prob(logits)
    assert log_prob.item() == -math.inf
    assert not log_prob.requires_grad


def test_monte_carlo_most_probable_equals_enumeration(generator):
    space, cost, limit = SearchSpace([PAPER_WIDTHS] * 3), ParameterCount(84, 3), 10_000
    for seed in range(3):
        logits = padded_logits(space, seed, spread=3.0).detach()
        walked = MonteCarlo(space, cost, limit, num_samples=1, generator=generator).most_probable(logits, 5)
        assert walked.tolist() == Enumeration(space, cost, limit).most_probable(logits, 5).tolist()


def test_monte_carlo_most_probable_always_finds_something(generator, monkeypatch):
    monkeypatch.setattr("tabnas.feasibility.monte_carlo.SEARCH_BUDGET", 10)
    space, cost = SearchSpace([PAPER_WIDTHS] * 3), ParameterCount(84, 3)
    logits = torch.arange(20.0).repeat(3, 1)  # the widest first
    estimator = MonteCarlo(space, cost, cost(space.smallest), num_samples=1, generator=generator)
    assert estimator.most_probable(logits, 3).tolist() == [[0, 0, 0]]


def test_padding_is_never_drawn(generator):
    space, cost = SearchSpace([[2], [2, 3, 4], [2, 3]]), ParameterCount(2, 1)
    logits = padded_logits(space, 0)
    estimator = MonteCarlo(space, cost, 10_000, num_samples=5_000, generator=generator)
    assert estimator.log_prob(logits).item() == pytest.approx(0.0, abs=1e-12)
    (gradient,) = torch.autograd.grad(Enumeration(space, cost, 10_000).log_prob(logits), logits)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("method", [Enumeration, MonteCarlo])
def test_an_empty_feasible_set_is_an_error(toy, generator, method):
    more = {"num_samples": 5, "generator": generator} if method is MonteCarlo else {}
    with pytest.raises(UserError, match="at least 15, the cost of the smallest architecture, got 14"):
        method(toy.space, toy.cost, 14, **more)
