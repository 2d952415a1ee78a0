import math

import pytest
import torch
from torch.distributions import Categorical

from tabnas.controller import Controller, log_prob, sample
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
