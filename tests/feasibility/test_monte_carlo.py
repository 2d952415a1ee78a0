"""The paper's estimate of P(V) against what it estimates, and the walks and draws that go with it."""

import itertools
import math

import pytest
import torch

from tabnas.cost import Flops, ParameterCount
from tabnas.errors import UserError
from tabnas.feasibility import ChainProgram, Enumeration, MonteCarlo
from tabnas.space import SearchSpace
from tests.brute_force import padded_logits
from tests.conftest import PAPER_WIDTHS

TWO_LIMITS = SearchSpace([[7, 2, 3], [5, 1], [4, 9]]), (ParameterCount(3, 2), Flops(3, 2)), (75, 50)

both_proposals = pytest.mark.parametrize("proposal", ["p", "uniform"])


@pytest.fixture(params=["toy", "two limits"])
def problem(request, toy):
    return toy if request.param == "toy" else TWO_LIMITS


@both_proposals
def test_is_unbiased(problem, generator, proposal):
    logits = padded_logits(problem[0], seed=7)
    truth = Enumeration(*problem).log_prob(logits).exp().item()
    estimator = MonteCarlo(*problem, num_samples=50, proposal=proposal, generator=generator)
    with torch.no_grad():
        runs = torch.stack([estimator.log_prob(logits).exp() for _ in range(4000)])
    error = runs.std().item() / math.sqrt(len(runs))
    assert abs(runs.mean().item() - truth) < 4 * error


def test_with_p_has_the_variance_of_a_coin(problem, generator):
    """Appendix G.1: with q = stop_grad(p) each summand is Bernoulli(P(V))."""
    logits = padded_logits(problem[0], seed=7).detach()
    truth = Enumeration(*problem).log_prob(logits).exp().item()
    estimator = MonteCarlo(*problem, num_samples=50, generator=generator)
    runs = torch.stack([estimator.log_prob(logits).exp() for _ in range(4000)])
    expected = truth * (1 - truth) / 50
    assert runs.var().item() == pytest.approx(expected, rel=4 * math.sqrt(2 / len(runs)))


@both_proposals
def test_gradient_is_consistent(problem, generator, proposal):
    logits = padded_logits(problem[0], seed=11)
    (truth,) = torch.autograd.grad(Enumeration(*problem).log_prob(logits), logits)
    estimator = MonteCarlo(*problem, num_samples=5_000, proposal=proposal, generator=generator)
    runs = torch.stack([torch.autograd.grad(estimator.log_prob(logits), logits)[0] for _ in range(400)])
    error = runs.std(dim=0) / math.sqrt(len(runs))
    assert ((runs.mean(dim=0) - truth).abs() < 4.5 * error + 1e-3).all()  # 1e-3: the bias of a log of a mean, O(1/N)


@both_proposals
@pytest.mark.parametrize("num_samples", [1, 8, 300])
def test_marginals_are_the_gradient_of_the_same_draws(problem, proposal, num_samples):
    logits = padded_logits(problem[0], seed=11)
    traced, by_hand = (
        MonteCarlo(*problem, num_samples=num_samples, proposal=proposal, generator=torch.Generator().manual_seed(1))
        for _ in range(2)
    )
    for _ in range(10):
        log_prob = traced.log_prob(logits)
        value, marginals = by_hand.log_prob_and_marginals(logits)
        assert value.item() == pytest.approx(log_prob.item(), abs=1e-12)
        if log_prob.item() == -math.inf:
            assert marginals.isnan().all()
        else:
            (gradient,) = torch.autograd.grad(log_prob, logits)
            assert torch.allclose(marginals - logits.softmax(dim=1), gradient, rtol=0, atol=1e-12)
            assert marginals.sum(dim=1).tolist() == pytest.approx([1.0] * len(marginals))


def test_controllers_side_by_side_have_draws_of_their_own(toy, generator):
    """Each row is an estimate of its own P(V); rows of equal logits differ."""
    rows = [padded_logits(toy.space, seed=seed).detach() for seed in (1, 1, 2)]
    logits = torch.stack(rows * 500).requires_grad_()
    estimator = MonteCarlo(*toy, num_samples=200, generator=generator)
    log_prob = estimator.log_prob(logits)
    assert log_prob.shape == (1500,)
    first, twin, _ = (log_prob.detach()[k::3] for k in range(3))
    assert not torch.equal(first, twin)
    (gradient,) = torch.autograd.grad(log_prob.sum(), logits)
    values, marginals = estimator.log_prob_and_marginals(logits.detach())
    for k, row in enumerate(rows):
        own = row.clone().requires_grad_()
        truth = Enumeration(*toy).log_prob(own)
        (slope,) = torch.autograd.grad(truth, own)
        for estimates in (log_prob.detach()[k::3].exp(), values[k::3].exp()):
            error = estimates.std() / math.sqrt(500)
            assert abs(estimates.mean() - truth.exp()) < 4 * error
        for slopes in (gradient[k::3], marginals[k::3] - row.softmax(dim=1)):
            error = slopes.std(dim=0) / math.sqrt(500)
            assert ((slopes.mean(dim=0) - slope).abs() < 4.5 * error + 5e-3).all()  # 5e-3: the bias, O(1/N)


def test_a_controller_without_a_feasible_draw_does_not_disturb_the_others(toy, generator):
    hopeless = torch.tensor([[0.0, 0.0, 90.0], [0.0, 0.0, 90.0]])  # 4-4 for certain
    logits = torch.stack([torch.zeros(2, 3), hopeless]).requires_grad_()
    estimator = MonteCarlo(*toy, num_samples=1000, generator=generator)
    log_prob = estimator.log_prob(logits)
    values, marginals = estimator.log_prob_and_marginals(logits)
    for estimate in (log_prob, values):
        assert estimate[0].exp().item() == pytest.approx(2 / 3, abs=4 * math.sqrt(2 / 9 / 1000))
        assert estimate[1].item() == -math.inf
    assert marginals[0].isfinite().all()
    assert marginals[1].isnan().all()
    assert torch.autograd.grad(log_prob[0], logits)[0].isfinite().all()


def test_without_a_feasible_draw_says_minus_infinity(toy, generator):
    logits = torch.tensor([[0.0, 0.0, 40.0], [0.0, 0.0, 40.0]], requires_grad=True)  # all but surely 4-4, infeasible
    log_prob = MonteCarlo(*toy, num_samples=20, generator=generator).log_prob(logits)
    assert log_prob.item() == -math.inf
    assert not log_prob.requires_grad


def test_most_probable_equals_the_exact_programs(generator):
    space, cost, limit = SearchSpace([PAPER_WIDTHS] * 3), ParameterCount(84, 3), 10_000
    for seed, kind in itertools.product(range(3), (Enumeration, ChainProgram)):
        logits = padded_logits(space, seed, spread=3.0).detach()
        walked = MonteCarlo(space, cost, limit, num_samples=1, generator=generator).most_probable(logits, 5)
        assert walked.tolist() == kind(space, cost, limit).most_probable(logits, 5).tolist()


def test_most_probable_is_all_of_v_where_k_is_more(problem, generator):
    logits = padded_logits(problem[0], seed=5).detach()
    walked = MonteCarlo(*problem, num_samples=1, generator=generator).most_probable(logits, 99)
    assert walked.tolist() == Enumeration(*problem).most_probable(logits, 99).tolist()


def test_most_probable_always_finds_something(generator, monkeypatch):
    monkeypatch.setattr("tabnas.feasibility.monte_carlo.SEARCH_BUDGET", 10)
    space, cost = SearchSpace([PAPER_WIDTHS] * 3), ParameterCount(84, 3)
    logits = torch.arange(20.0).repeat(3, 1)  # the widest first
    estimator = MonteCarlo(space, cost, cost(space.smallest), num_samples=1, generator=generator)
    assert estimator.most_probable(logits, 3).tolist() == [[0, 0, 0]]


def test_drawing_until_feasible_has_a_budget(generator, monkeypatch):
    monkeypatch.setattr("tabnas.feasibility.monte_carlo.DRAW_BUDGET", 20_000)
    space, cost = SearchSpace([PAPER_WIDTHS] * 6), ParameterCount(84, 3)
    estimator = MonteCarlo(space, cost, cost(space.smallest), num_samples=1, generator=generator)
    with pytest.raises(UserError, match=r"limits: must be met by some of 20,000 draws .* got '0 of the 3 needed'"):
        estimator.sample(torch.zeros(6, 20), 3)


def test_many_draws_are_made_within_the_budget(toy, generator, monkeypatch):
    """200 feasible ones of about 300, where a thousand are allowed."""
    monkeypatch.setattr("tabnas.feasibility.monte_carlo.DRAW_BUDGET", 1000)
    draws = MonteCarlo(*toy, num_samples=1, generator=generator).sample(torch.zeros(2, 3), 200)
    assert draws.shape == (200, 2)


@pytest.mark.parametrize(("limits", "says"), [((14, 99), "params must be at least 15"), ((99, 9), "flops .* least 10")])
def test_an_empty_feasible_set_is_a_users_error(toy, generator, limits, says):
    with pytest.raises(UserError, match=f"limits: the limit on {says}"):
        MonteCarlo(toy.space, (ParameterCount(2, 1), Flops(2, 1)), limits, num_samples=5, generator=generator)
