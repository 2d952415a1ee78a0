import math

import pytest
import torch
from torch.distributions import Categorical

from tabnas.controller import Controller, log_prob, onehot_mean, sample
from tabnas.space import SearchSpace


def test_starts_uniform_over_unequal_layers():
    controller = Controller(SearchSpace([[2, 4, 8], [2, 4]]))
    assert controller.probabilities().tolist() == [[pytest.approx(1 / 3)] * 3, [0.5, 0.5, 0.0]]
    assert controller.entropy().tolist() == pytest.approx([math.log(3), math.log(2)])
    assert controller.log_prob([2, 1]).item() == pytest.approx(math.log(1 / 6))


def test_log_prob_equals_torch_distributions():
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    indices = torch.randint(0, 5, (20, 3), generator=torch.Generator().manual_seed(1))
    expected = Categorical(logits=logits).log_prob(indices).sum(dim=1)
    assert torch.allclose(log_prob(logits, indices), expected, atol=1e-12)


def test_gradient_is_onehot_minus_p_and_zero_on_padding():
    controller = Controller(SearchSpace([[2, 4, 8], [2, 4]]))
    controller.log_prob([2, 0]).backward()
    expected = torch.tensor([[-1 / 3, -1 / 3, 2 / 3], [0.5, -0.5, 0.0]])
    assert torch.allclose(controller.logits.grad, expected)


def test_padded_logits_survive_an_adam_step():
    controller = Controller(SearchSpace([[2, 4, 8], [2, 4]]))
    optimizer = torch.optim.Adam([controller.logits], lr=0.1, eps=1e-3, fused=True)
    controller.log_prob([2, 0]).backward()
    optimizer.step()
    assert controller.logits[1, 2] == -torch.inf
    assert controller.probabilities().isfinite().all()


def test_samples_follow_the_softmax(generator):
    logits = torch.tensor([[0.0, 1.0, -1.0], [2.0, 0.0, -torch.inf]])
    n = 20_000
    draws = sample(logits, n, generator)
    frequencies = torch.stack([(draws == j).float().mean(dim=0) for j in range(3)], dim=1)
    p = logits.softmax(dim=1)
    assert ((frequencies - p).abs() <= 4 * (p * (1 - p) / n).sqrt()).all()


def test_controllers_side_by_side_are_those_alone(generator):
    logits = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    shared = torch.randint(0, 5, (7, 4), generator=generator)
    own = torch.randint(0, 5, (2, 3, 7, 4), generator=generator)
    weights = torch.rand(2, 3, 7, generator=generator, dtype=torch.float64)
    for i in range(2):
        for j in range(3):
            assert torch.equal(log_prob(logits, shared)[i, j], log_prob(logits[i, j], shared))
            assert torch.equal(log_prob(logits, own)[i, j], log_prob(logits[i, j], own[i, j]))
            for indices, alone in ((shared, shared), (own, own[i, j])):
                together = onehot_mean(indices, weights, logits)[i, j]
                assert torch.equal(together, onehot_mean(alone, weights[i, j], logits[i, j]))


def test_onehot_mean_is_the_weighted_sum_of_onehots(generator):
    indices = torch.randint(0, 5, (7, 4), generator=generator)
    weights = torch.rand(7, generator=generator)
    by_hand = torch.zeros(4, 5)
    for k in range(7):
        for i in range(4):
            by_hand[i, indices[k, i]] += weights[k]
    assert torch.allclose(onehot_mean(indices, weights, torch.zeros(4, 5)), by_hand, rtol=0, atol=1e-6)


def test_samples_of_controllers_side_by_side_follow_their_own(generator):
    logits = torch.tensor([[[0.0, 1.0, -1.0]], [[2.0, 0.0, -torch.inf]]])
    n = 20_000
    draws = sample(logits, n, generator)
    assert draws.shape == (2, n, 1)
    p = logits.softmax(dim=-1)[:, 0]
    frequencies = torch.stack([(draws[..., 0] == j).float().mean(dim=1) for j in range(3)], dim=1)
    assert ((frequencies - p).abs() <= 4 * (p * (1 - p) / n).sqrt()).all()
    both = sample(torch.zeros(2, 1, 3), n, generator)[..., 0]
    assert abs((both[0] == both[1]).float().mean() - 1 / 3) < 4 * math.sqrt(2 / 9 / n)
