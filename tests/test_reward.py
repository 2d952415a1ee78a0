"""Rewards against numbers by hand, and baselines against their definitions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tabnas.reward import MovingAverage, leave_one_out, mnasnet, mnasnet_clipped, quality, tunas_abs

# Q, T/T0, β; and by hand: mnasnet, mnasnet_clipped, tunas_abs.
BY_HAND = [
    (0.6, 1.0, -0.07, 0.6, 0.6, 0.6),  # at the limit none says anything
    (0.6, 4.0, -0.5, 0.3, 0.6, -0.9),  # 4^−½ = ½; 0.6 − ½·3
    (0.6, 0.25, -0.5, 1.2, 1.2, 0.225),  # ¼^−½ = 2; 0.6 − ½·¾
    (-0.6, 4.0, -0.5, -0.3, -0.6, -2.1),  # a loss above 1: dear is rewarded
    (0.6, 2.0, 0.0, 0.6, 0.6, 0.6),
]


@pytest.mark.parametrize(("q", "ratio", "beta", "plain", "clipped", "absolute"), BY_HAND)
def test_rewards_by_hand(q, ratio, beta, plain, clipped, absolute):
    q, ratio = torch.tensor([q, q]), torch.tensor([ratio, ratio])
    for exponent in (beta, torch.tensor(beta)):
        assert mnasnet(q, ratio, exponent).tolist() == pytest.approx([plain] * 2)
        assert mnasnet_clipped(q, ratio, exponent).tolist() == pytest.approx([clipped] * 2)
        assert tunas_abs(q, ratio, exponent).tolist() == pytest.approx([absolute] * 2)


def test_quality_is_one_less_the_loss():
    assert quality(0.25) == 0.75
    assert quality(torch.tensor([0.5, 2.0])).tolist() == [0.5, -1.0]


@given(rewards=st.lists(st.floats(-10, 10), min_size=2, max_size=9))
def test_leave_one_out_is_each_less_the_mean_of_the_others(rewards):
    advantages = leave_one_out(torch.tensor(rewards, dtype=torch.float64))
    for k, advantage in enumerate(advantages.tolist()):
        others = rewards[:k] + rewards[k + 1 :]
        assert advantage == pytest.approx(rewards[k] - sum(others) / len(others), abs=1e-9)
    assert advantages.sum().item() == pytest.approx(0, abs=1e-9)


def test_leave_one_out_of_many_runs_is_that_of_each():
    rewards = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    together = leave_one_out(rewards)
    for i in range(3):
        for j in range(4):
            assert torch.allclose(together[i, j], leave_one_out(rewards[i, j]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.9999])
def test_moving_average_is_bias_corrected(decay):
    """Algorithm 1, line 18: (1 − γ)·Σ_i γ^(n − i)·Q_i over the sum of its weights, 1 − γ^n."""
    average, rewards = MovingAverage(decay), [0.5, 0.1, -0.3, 0.8]
    assert average.value == 0.0
    for n, reward in enumerate(rewards, start=1):
        average.update(reward)
        total = sum((1 - decay) * decay ** (n - i) * rewards[i - 1] for i in range(1, n + 1))
        assert average.value == pytest.approx(total / (1 - decay**n))


def test_moving_average_of_a_constant_is_that_constant():
    average = MovingAverage(0.9)
    for _ in range(5):
        average.update(0.37)
        assert average.value == pytest.approx(0.37)


def test_averages_side_by_side_take_up_what_applies_to_each():
    draws = torch.Generator().manual_seed(0)
    together, alone = MovingAverage(0.9), [MovingAverage(0.9) for _ in range(6)]
    for _ in range(20):
        rewards, applies = torch.rand(6, generator=draws), torch.rand(6, generator=draws) < 0.4
        together.update(rewards, applies)
        for average, reward, taken in zip(alone, rewards.tolist(), applies.tolist(), strict=True):
            if taken:
                average.update(reward)
        expected = [average.value for average in alone]
        assert (together.value + torch.zeros(6)).tolist() == pytest.approx(expected, abs=1e-6)
    assert 0.0 not in expected


def test_what_does_not_apply_at_first_leaves_0():
    average = MovingAverage(0.9)
    average.update(torch.tensor([0.5, 0.5]), torch.tensor([True, False]))
    assert average.value.tolist() == pytest.approx([0.5, 0.0])
