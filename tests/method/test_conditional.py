"""Draws from P(y | V): unbiased whatever K, and no more than the policy gradient written out by hand."""

import itertools
import math

import pytest
import torch

from tabnas.errors import UserError
from tabnas.feasibility import Enumeration, Refreshed
from tabnas.method import ConditionalDraws
from tests.brute_force import log_probs, misfit, padded_logits
from tests.method.conftest import step


def exact_gradient(problem):
    """∇ E[Q | V], by enumeration."""
    log_p = log_probs(problem.space, problem.valid, problem.logits)
    return problem.gradient((log_p.softmax(dim=0) * problem.quality(torch.tensor(problem.valid))).sum())


@pytest.mark.parametrize("n_children", [1, 2, 3])
def test_ascent_is_the_gradient_of_the_objective(new_method, problem, n_children):
    """The mean of stop_grad(advantage) · log[P(y) / P(V)]."""
    method = new_method(ConditionalDraws, num_children=n_children)
    method.baseline.update(0.3)
    for child in itertools.islice(itertools.product(problem.valid, repeat=n_children), 0, None, 5):
        children = torch.tensor(child)
        quality = problem.quality(children)
        if n_children == 1:
            advantage = quality - method.baseline.value
        else:
            others = torch.stack([torch.cat([quality[:k], quality[k + 1 :]]).mean() for k in range(n_children)])
            advantage = quality - others
        taken = step(method, problem, children, quality)
        terms = [a * (problem.log_prob(y) - problem.log_prob_valid) for a, y in zip(advantage, child, strict=True)]
        expected = problem.gradient(torch.stack(terms).mean())
        assert torch.allclose(taken.ascent, expected, rtol=0, atol=1e-10)
        assert torch.allclose(taken.advantage, advantage, rtol=0, atol=1e-12)
        assert torch.equal(taken.reward, quality)
        assert taken.applies
        assert (taken.log_prob_valid is None) == (n_children > 1)


@pytest.mark.parametrize("n_children", [1, 2, 3])
def test_the_mean_over_all_draws_is_the_exact_gradient(new_method, problem, n_children):
    """Σ over all K-tuples of V of Π P(y_k | V) · ascent = ∇ E[Q | V]."""
    expected = exact_gradient(problem)
    conditional = log_probs(problem.space, problem.valid, problem.logits.detach()).softmax(dim=0)
    total = torch.zeros_like(expected)
    for chosen in itertools.product(range(len(problem.valid)), repeat=n_children):
        method = new_method(ConditionalDraws, num_children=n_children)
        method.baseline.update(0.3)
        children = torch.tensor([problem.valid[k] for k in chosen])
        taken = step(method, problem, children, problem.quality(children))
        total += conditional[list(chosen)].prod() * taken.ascent
    assert torch.allclose(total, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("never_listed", [False, True], ids=["Listed", "Refreshed"], indirect=True)
@pytest.mark.parametrize("n_children", [1, 2, 3])
def test_the_mean_over_its_own_draws_is_the_exact_gradient(new_method, problem, never_listed, n_children):
    """One after the other with the moving average as it comes: each step is unbiased given those before."""
    method, n = new_method(ConditionalDraws, num_children=n_children), 2000
    logits = problem.logits.detach()
    ascents = []
    for _ in range(n):
        children = method.draw(logits)
        ascents.append(step(method, problem, children, problem.quality(children)).ascent)
    ascents = torch.stack(ascents)
    error = ascents.std(dim=0) / math.sqrt(n)
    assert (error[:, 0] > 0).all()
    assert ((ascents.mean(dim=0) - exact_gradient(problem)).abs() <= 4 * error + 1e-12).all()
    assert isinstance(method.feasible, Refreshed) == never_listed


def test_more_children_are_less_noise(new_method, problem):
    logits, spread = problem.logits.detach(), {}
    for n_children in (2, 8):
        method = new_method(ConditionalDraws, num_children=n_children)
        children = torch.stack([method.draw(logits) for _ in range(1000)])
        taken = method.step(logits.expand(1000, 2, 3), children, problem.quality(children), method.evaluated(children))
        spread[n_children] = taken.ascent.var(dim=0).sum().item()
    assert spread[8] < spread[2] / 3  # 1/4, and less for the better baseline


def test_children_are_feasible_and_follow_p_given_v(new_method, problem):
    method = new_method(ConditionalDraws, num_children=4)
    logits = problem.logits.detach()
    draws = [tuple(y) for _ in range(2000) for y in method.draw(logits).tolist()]
    conditional = log_probs(problem.space, problem.valid, logits).softmax(dim=0).tolist()
    assert misfit(draws, dict(zip(problem.valid, conditional, strict=True))) < 1
    assert method.evaluated(torch.tensor(draws[:8]).view(2, 4, 2)).tolist() == [[True] * 4] * 2


def test_what_follows_a_search_follows_one_controller(new_method):
    with pytest.raises(ValueError, match=r"follows one controller, logits \(L, C\), got \(3, 2, 3\)"):
        new_method(ConditionalDraws).draw(torch.zeros(3, 2, 3))


@pytest.mark.parametrize("n_children", [1, 2, 5])
def test_runs_side_by_side_learn_what_each_learns_alone(new_method, problem, n_children):
    logits = torch.stack([padded_logits(problem.space, seed, spread=0.8).detach() for seed in range(8)])
    valid = torch.tensor(problem.valid)
    draws = torch.Generator().manual_seed(1)
    listed = Enumeration(problem.space, problem.limits.costs, problem.limits.at_most)

    def made():
        method = new_method(ConditionalDraws, num_children=n_children)
        method.feasible = listed  # which takes many controllers, where what follows one search does not
        return method

    together, alone = made(), [made() for _ in logits]
    for _ in range(4):
        children = valid[torch.randint(0, len(valid), (8, n_children), generator=draws)]
        quality = problem.quality(children)
        taken = together.step(logits, children, quality, together.evaluated(children))
        assert taken.applies.tolist() == [True] * 8
        for r, method in enumerate(alone):
            one = method.step(logits[r], children[r], quality[r], method.evaluated(children[r]))
            assert torch.allclose(taken.ascent[r], one.ascent, rtol=0, atol=1e-6)
            assert torch.allclose(taken.advantage[r], one.advantage, rtol=0, atol=1e-6)
            assert torch.equal(taken.reward[r], one.reward)


@pytest.mark.parametrize("given", [0, -1, 1001, 2.0, "two", None])
def test_refuses(new_method, given):
    with pytest.raises(UserError) as caught:
        new_method(ConditionalDraws, num_children=given)
    assert caught.value.name == "search.num_children"
