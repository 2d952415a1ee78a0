import pytest
import torch

from tabnas.reward import MovingAverage, rejection_objective


def test_objective_is_advantage_times_conditional_log_probability():
    log_p, log_v = torch.tensor(-3.0, requires_grad=True), torch.tensor(-1.0, requires_grad=True)
    objective = rejection_objective(0.25, log_p, log_v)
    objective.backward()
    assert objective.item() == pytest.approx(0.25 * (-3.0 + 1.0))
    assert (log_p.grad.item(), log_v.grad.item()) == (0.25, -0.25)
    assert rejection_objective(0.25, log_p, None).item() == pytest.approx(-0.75)


def test_moving_average_is_bias_corrected():
    average, rewards = MovingAverage(0.9), [0.5, 0.1, -0.3, 0.8]
    assert average.value == 0.0
    for n, reward in enumerate(rewards, start=1):
        average.update(reward)
        weights = [0.1 * 0.9 ** (n - 1 - i) for i in range(n)]
        expected = sum(w * r for w, r in zip(weights, rewards, strict=False)) / sum(weights)
        assert average.value == pytest.approx(expected)


def test_moving_average_of_a_constant_is_that_constant():
    average = MovingAverage(0.9)
    for _ in range(5):
        average.update(0.37)
        assert average.value == pytest.approx(0.37)
