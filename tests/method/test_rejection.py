"""The paper's rejection-based reward: Algorithm 2, line 11, written out by hand."""

import math

import pytest
import torch

from tabnas.errors import UserError
from tabnas.feasibility import Enumeration, Listed, MonteCarlo, Refreshed
from tabnas.method import Rejection
from tests.brute_force import feasible, log_probs, padded_logits
from tests.method.conftest import step

UNBIASED = pytest.mark.parametrize("prob_valid", ["differentiated", "constant", "omitted"])


def objective(problem, child, advantage, prob_valid, log_prob_valid):
    """J(y) = stop_grad(Q(y) − Q̄) · log[P(y) / P(V)], or an ablation of it."""
    if prob_valid == "differentiated":
        return advantage * (problem.log_prob(child) - log_prob_valid)
    if prob_valid == "constant":
        return advantage * (problem.log_prob(child) - log_prob_valid.detach())
    return advantage * problem.log_prob(child)


@UNBIASED
@pytest.mark.parametrize("followed_by", [Listed, Refreshed])
def test_ascent_is_the_gradient_of_the_objective(new_method, problem, request, prob_valid, followed_by):
    if followed_by is Refreshed:
        request.getfixturevalue("never_listed")
    method = new_method(Rejection, prob_valid=prob_valid, baseline_decay=0.8)
    rewards = []
    for child in problem.valid:
        children = torch.tensor([child])
        quality = problem.quality(children)
        weights = [0.8 ** (len(rewards) - 1 - i) for i in range(len(rewards))]
        baseline = sum(w * r for w, r in zip(weights, rewards, strict=True)) / sum(weights) if rewards else 0.0
        taken = step(method, problem, children, quality)
        advantage = quality.item() - baseline
        expected = problem.gradient(objective(problem, child, advantage, prob_valid, problem.log_prob_valid))
        assert torch.allclose(taken.ascent, expected, rtol=0, atol=1e-10)
        assert taken.reward.tolist() == quality.tolist()
        assert taken.advantage.item() == pytest.approx(advantage, abs=1e-12)
        assert taken.applies
        if prob_valid == "omitted":
            assert taken.log_prob_valid is None
        else:
            assert taken.log_prob_valid.item() == pytest.approx(problem.log_prob_valid.item(), abs=1e-10)
        rewards.append(quality.item())
    assert isinstance(method.estimator, followed_by)


@UNBIASED
@pytest.mark.parametrize("proposal", ["p", "uniform"])
def test_with_samples_it_is_that_of_the_estimate_from_the_same_draws(new_method, problem, prob_valid, proposal):
    method = new_method(Rejection, prob_valid=prob_valid, num_samples=40, proposal=proposal)
    same_draws = torch.Generator().manual_seed(0)
    costs, at_most = problem.limits.costs, problem.limits.at_most
    traced = MonteCarlo(problem.space, costs, at_most, num_samples=40, proposal=proposal, generator=same_draws)
    for child in problem.valid:
        children = torch.tensor([child])
        advantage = problem.quality(children).item() - method.baseline.value
        taken = step(method, problem, children, problem.quality(children))
        estimate = traced.log_prob(problem.logits) if prob_valid != "omitted" else None
        expected = problem.gradient(objective(problem, child, advantage, prob_valid, estimate))
        assert torch.allclose(taken.ascent, expected, rtol=0, atol=1e-10)
        assert (None if estimate is None else estimate.item()) == (
            None if taken.log_prob_valid is None else pytest.approx(taken.log_prob_valid.item(), abs=1e-10)
        )


def test_the_mean_ascent_is_that_of_the_expected_quality(new_method, problem):
    """Σ_y P(y)·1(y ∈ V)·ascent(y) = P(V) · ∇ Σ_y P(y | V)·Q(y), whatever the baseline."""
    children = torch.tensor(problem.valid)
    quality = problem.quality(children)
    log_p = log_probs(problem.space, problem.valid, problem.logits)
    expected = problem.gradient((log_p.softmax(dim=0) * quality).sum()) * problem.log_prob_valid.exp().detach()
    for start in (0.0, 0.7):
        total = torch.zeros_like(expected)
        for child, q, log in zip(children, quality, log_p.detach(), strict=True):
            method = new_method(Rejection)
            method.baseline.update(start)
            total += log.exp() * step(method, problem, child[None], q[None]).ascent
        assert torch.allclose(total, expected, rtol=0, atol=1e-10)


def test_what_is_evaluated_is_what_is_feasible(new_method, problem):
    method = new_method(Rejection)
    draws = method.draw(problem.logits.detach().expand(200, 2, 3))
    assert draws.shape == (200, 1, 2)
    together = method.evaluated(draws)
    alone = torch.stack([method.evaluated(children) for children in draws])
    by_hand = [[tuple(y) in problem.valid for y in children] for children in draws.tolist()]
    assert together.tolist() == alone.tolist() == by_hand
    assert together.any()
    assert not together.all()
    several = torch.tensor([problem.valid[0], problem.space.indices((4, 4)), problem.valid[-1]])
    assert method.evaluated(several).tolist() == [True, False, True]


def test_an_infeasible_child_changes_nothing(new_method, problem):
    method = new_method(Rejection)
    step(method, problem, torch.tensor([problem.valid[0]]), torch.tensor([0.4], dtype=torch.float64))
    children = torch.tensor([problem.space.indices((4, 4))])
    taken = step(method, problem, children, torch.tensor([0.9], dtype=torch.float64))
    assert not taken.applies
    assert method.baseline.value == pytest.approx(0.4)


@UNBIASED
def test_the_baseline_may_average_over_infeasible_children_too(new_method, problem, prob_valid):
    """Several children, the objective by hand; those that are infeasible are in the baseline alone."""
    method = new_method(Rejection, prob_valid=prob_valid, baseline_over="all", baseline_decay=0.8)
    infeasible = problem.space.indices((4, 4))
    rounds = [[infeasible], [problem.valid[0]], [problem.valid[1], infeasible, problem.valid[2]], [infeasible] * 2]
    means = []
    for indices in rounds:
        children = torch.tensor(indices)
        quality = problem.quality(children)
        assert method.evaluated(children).all()
        weights = [0.8 ** (len(means) - 1 - i) for i in range(len(means))]
        baseline = sum(w * m for w, m in zip(weights, means, strict=True)) / sum(weights) if means else 0.0
        taken = step(method, problem, children, quality)
        good = [(y, q.item()) for y, q in zip(indices, quality, strict=True) if y != infeasible]
        expected = torch.zeros_like(taken.ascent)
        for y, q in good:
            of_one = objective(problem, y, q - baseline, prob_valid, problem.log_prob_valid)
            expected += problem.gradient(of_one) / len(good)
        assert torch.allclose(taken.ascent, expected, rtol=0, atol=1e-10)
        assert (bool(taken.applies), taken.why_skipped) == (bool(good), "infeasible")
        means.append(quality.mean().item())
        assert method.baseline.value != pytest.approx(baseline)


@UNBIASED
def test_a_step_without_a_feasible_sample_is_skipped(new_method, problem, prob_valid):
    """All but surely 4-4 at these logits; the ablations go by the same estimate, as there is none to omit."""
    method = new_method(Rejection, num_samples=20, prob_valid=prob_valid)
    logits = torch.tensor([[0.0, 0.0, 40.0], [0.0, 40.0, 0.0]])
    children = torch.tensor([problem.valid[0]])
    taken = method.step(logits, children, torch.tensor([0.5]), method.evaluated(children))
    assert bool(taken.applies) == (prob_valid == "omitted")
    assert method.baseline.value == pytest.approx(0.5 if prob_valid == "omitted" else 0.0)
    if prob_valid != "omitted":
        assert taken.log_prob_valid.item() == -math.inf


class Rows:
    """As many controllers as there are logits, each with a child of its own."""

    def __init__(self, problem):
        self.logits = torch.stack([padded_logits(problem.space, seed, spread=0.8).detach() for seed in range(12)])
        everything = list(map(problem.space.indices, problem.space))
        self.steps = [torch.tensor([[everything[(5 * t + r) % 9]] for r in range(12)]) for t in range(6)]


@UNBIASED
def test_runs_side_by_side_learn_what_each_learns_alone(new_method, problem, prob_valid):
    rows = Rows(problem)
    costs, at_most = problem.limits.costs, problem.limits.at_most

    def made():
        method = new_method(Rejection, prob_valid=prob_valid)
        method.estimator = Enumeration(problem.space, costs, at_most)
        return method

    together, alone = made(), [made() for _ in rows.logits]
    for children in rows.steps:
        quality = problem.quality(children)
        taken = together.step(rows.logits, children, quality, together.evaluated(children))
        assert taken.ascent.shape == rows.logits.shape
        for r, method in enumerate(alone):
            one = method.step(rows.logits[r], children[r], quality[r], method.evaluated(children[r]))
            assert bool(one.applies) == bool(taken.applies[r]) == (tuple(children[r, 0].tolist()) in problem.valid)
            assert torch.allclose(taken.advantage[r], one.advantage, rtol=0, atol=1e-6)
            assert torch.equal(taken.reward[r], one.reward)
            if one.applies:
                assert torch.allclose(taken.ascent[r], one.ascent, rtol=0, atol=1e-6)
                if prob_valid != "omitted":
                    assert taken.log_prob_valid[r].item() == pytest.approx(one.log_prob_valid.item(), abs=1e-6)


def test_runs_side_by_side_estimate_their_own_prob_valid(new_method, problem):
    """Samples of its own for each; the mean over many of the ascent is that of many single runs: the exact one."""
    method = new_method(Rejection, num_samples=2000)
    n = 400
    logits = problem.logits.detach().expand(n, 2, 3)
    children = torch.tensor([problem.valid[1]]).expand(n, 1, 2)
    taken = method.step(logits, children, torch.ones(n, 1, dtype=torch.float64), method.evaluated(children))
    assert taken.applies.all()
    assert taken.log_prob_valid.unique().numel() > n / 8
    expected = problem.gradient(problem.log_prob(problem.valid[1]) - problem.log_prob_valid)
    error = taken.ascent.std(dim=0) / math.sqrt(n)
    assert ((taken.ascent.mean(dim=0) - expected).abs() < 4.5 * error + 1e-3).all()  # 1e-3: the bias, O(1/N)


@pytest.mark.parametrize("rubbish", [123.0, math.nan])
def test_the_quality_of_what_is_not_evaluated_is_not_looked_at(new_method, problem, rubbish):
    method = new_method(Rejection, prob_valid="omitted")
    children = torch.tensor([[problem.valid[0]], [problem.space.indices((4, 4))]])
    logits = problem.logits.detach().expand(2, 2, 3)
    quality = torch.tensor([[0.25], [rubbish]], dtype=torch.float64)
    taken = method.step(logits, children, quality, method.evaluated(children))
    assert taken.applies.tolist() == [True, False]
    assert method.baseline.value.tolist() == pytest.approx([0.25, 0.0])


def test_the_toy_examples_v_is_what_a_limit_of_25_leaves(problem):
    everything = [problem.space.indices(w) for w in problem.space]
    assert len(everything) == 9
    assert problem.valid == feasible(problem.space, problem.limits.costs, problem.limits.at_most)


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"num_samples": 0}, "search.num_samples"),
        ({"num_samples": 2.5}, "search.num_samples"),
        ({"num_samples": 10**8}, "search.num_samples"),
        ({"proposal": "q"}, "search.proposal"),
        ({"prob_valid": "exact"}, "search.prob_valid"),
    ],
)
def test_refuses(new_method, wrong, key):
    with pytest.raises(UserError) as caught:
        new_method(Rejection, **wrong)
    assert caught.value.name == key
