"""Rewards of quality and cost: the gradient of (r − r̄)·log P(y) with r by hand."""

import pytest
import torch

from tabnas.cost import Limits, ParameterCount
from tabnas.errors import UserError
from tabnas.method import RewardShaping
from tabnas.space import SearchSpace
from tests.brute_force import log_probs, misfit, padded_logits

SPACE = SearchSpace([[2, 3, 4], [2, 3, 4]])
COST = ParameterCount(2, 1)
BETA = -0.5

# r(y) of 2-2 (15 parameters), 4-2 (25) and 4-4 (37) with Q = 0.1, 0.4 and 0.9 at T0 = 25, β = −0.5.
BY_HAND = {
    "mnasnet": (0.1 * (25 / 15) ** 0.5, 0.4, 0.9 * (25 / 37) ** 0.5),
    "mnasnet_clipped": (0.1 * (25 / 15) ** 0.5, 0.4, 0.9),
    "tunas_abs": (0.1 - 0.5 * 10 / 25, 0.4, 0.9 - 0.5 * 12 / 25),
    "quality": (0.1, 0.4, 0.9),
}
CHILDREN = torch.tensor([[0, 0], [2, 0], [2, 2]])
QUALITY = torch.tensor([0.1, 0.4, 0.9], dtype=torch.float64)


def made(reward, **settings):
    settings = {"beta": BETA} | settings if reward != "quality" else settings
    generator = torch.Generator().manual_seed(0)
    return RewardShaping(
        space=SPACE, limits=Limits(COST, 25), generator=generator, name="any", reward=reward, **settings
    )


@pytest.mark.parametrize("reward", BY_HAND)
def test_rewards_by_hand(reward):
    assert [COST(SPACE.widths(y)) for y in CHILDREN.tolist()] == [15, 25, 37]
    method = made(reward)
    logits = padded_logits(SPACE, seed=0).detach()
    taken = [
        method.step(logits, y[None], q[None], torch.tensor([True])) for y, q in zip(CHILDREN, QUALITY, strict=True)
    ]
    assert [t.reward.item() for t in taken] == pytest.approx(BY_HAND[reward])


@pytest.mark.parametrize("reward", BY_HAND)
def test_ascent_is_the_gradient_of_the_objective(reward):
    method = made(reward, baseline_decay=0.8)
    logits = padded_logits(SPACE, seed=0)
    past = []
    for child, q, r in zip(CHILDREN, QUALITY, BY_HAND[reward], strict=True):
        weights = [0.8 ** (len(past) - 1 - i) for i in range(len(past))]
        baseline = sum(w * x for w, x in zip(weights, past, strict=True)) / sum(weights) if past else 0.0
        taken = method.step(logits.detach(), child[None], q[None], torch.tensor([True]))
        objective = (r - baseline) * log_probs(SPACE, [tuple(child.tolist())], logits)[0]
        (expected,) = torch.autograd.grad(objective, logits)
        assert torch.allclose(taken.ascent, expected, rtol=0, atol=1e-6)
        assert taken.advantage.item() == pytest.approx(r - baseline)
        assert taken.applies
        assert taken.log_prob_valid is None
        past.append(r)


@pytest.mark.parametrize("reward", BY_HAND)
def test_the_mean_over_all_draws_is_the_exact_gradient(reward):
    """Σ_y P(y) · ascent(y) = ∇ E[r], infeasible y included."""
    logits = padded_logits(SPACE, seed=2, spread=0.8)
    everything = [SPACE.indices(w) for w in SPACE]
    log_p = log_probs(SPACE, everything, logits)
    quality = torch.linspace(-0.5, 0.9, 9, dtype=torch.float64)
    rewards, total = [], torch.zeros(2, 3, dtype=torch.float64)
    for y, q, log in zip(torch.tensor(everything), quality, log_p.detach(), strict=True):
        method = made(reward)
        method.baseline.update(0.3)
        taken = method.step(logits.detach(), y[None], q[None], torch.tensor([True]))
        rewards.append(taken.reward[0])
        total += log.exp() * taken.ascent
    (expected,) = torch.autograd.grad((log_p.exp() * torch.stack(rewards)).sum(), logits)
    assert torch.allclose(total, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("reward", BY_HAND)
def test_nothing_is_rejected(reward):
    method = made(reward)
    logits = padded_logits(SPACE, seed=1).detach()
    draws = [tuple(method.draw(logits)[0].tolist()) for _ in range(5000)]
    everything = [SPACE.indices(w) for w in SPACE]
    p = log_probs(SPACE, everything, logits).exp().tolist()
    assert misfit(draws, dict(zip(everything, p, strict=True))) < 1
    assert method.evaluated(torch.tensor(draws)[:, None]).all()


@pytest.mark.parametrize("reward", BY_HAND)
def test_runs_side_by_side_learn_what_each_learns_alone(reward):
    logits = torch.stack([padded_logits(SPACE, seed).detach() for seed in range(9)])
    everything = torch.tensor([SPACE.indices(w) for w in SPACE])
    together, alone = made(reward), [made(reward) for _ in logits]
    for t in range(4):
        children = everything.roll(t, dims=0)[:, None]
        quality = torch.linspace(-0.5, 0.9, 9, dtype=torch.float64).roll(2 * t)[:, None]
        taken = together.step(logits, children, quality, together.evaluated(children))
        assert taken.applies.tolist() == [True] * 9
        for r, method in enumerate(alone):
            one = method.step(logits[r], children[r], quality[r], method.evaluated(children[r]))
            for name in ("ascent", "reward", "advantage"):
                assert torch.allclose(getattr(taken, name)[r], getattr(one, name), rtol=0, atol=1e-6)


def test_several_limits_are_for_the_reward_without_cost(new_method, problem):
    several = len(problem.limits.costs) > 1
    assert new_method(RewardShaping, reward="quality").limits is problem.limits
    for reward in ("mnasnet", "mnasnet_clipped", "tunas_abs"):
        if several:
            with pytest.raises(UserError, match="limits: must be one with a reward that has one T0, got 2; give one"):
                new_method(RewardShaping, reward=reward, beta=BETA)
        else:
            assert new_method(RewardShaping, reward=reward, beta=BETA).reward == reward


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"reward": "nas"}, "search.reward"),
        ({"reward": None}, "search.reward"),
        ({"reward": "mnasnet", "beta": 0.1}, "search.beta"),
        ({"reward": "mnasnet", "beta": "little"}, "search.beta"),
        ({"reward": "tunas_abs", "beta": float("-inf")}, "search.beta"),
    ],
)
def test_refuses(new_method, wrong, key):
    with pytest.raises(UserError) as caught:
        new_method(RewardShaping, **wrong)
    assert caught.value.name == key
