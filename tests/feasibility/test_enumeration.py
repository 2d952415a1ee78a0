"""What listing V can do beside what it shares with the dynamic program (test_exact.py)."""

import pytest
import torch

from tabnas.cost import ParameterCount
from tabnas.feasibility import Enumeration
from tabnas.feasibility import enumeration as module
from tabnas.space import SearchSpace
from tests.brute_force import feasible, padded_logits
from tests.conftest import PAPER_WIDTHS


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


@pytest.mark.parametrize("chunk", [1, 7, 48, 49, 10**6])
def test_lists_v_in_the_order_of_the_space_whatever_the_chunk(monkeypatch, chunk):
    monkeypatch.setattr(module, "CHUNK", chunk)
    space, cost = SearchSpace([[7, 2, 3], [5, 1], [4, 2, 9, 3], [6, 1]]), ParameterCount(3, 2)
    limit = (cost(space.smallest) + cost(space.largest)) // 2
    assert Enumeration(space, cost, limit).feasible.tolist() == [list(y) for y in feasible(space, cost, limit)]


def test_controllers_side_by_side_get_what_each_gets_alone(toy):
    enumeration = Enumeration(*toy)
    logits = torch.stack([padded_logits(toy.space, seed).detach() for seed in range(6)]).view(2, 3, 2, 3)
    logits.requires_grad_()
    together = enumeration.log_prob(logits)
    (gradient,) = torch.autograd.grad(together.sum(), logits)
    values, marginals = enumeration.log_prob_and_marginals(logits)
    assert (together.shape, marginals.shape) == ((2, 3), logits.shape)
    assert torch.equal(values, together)
    for i in range(2):
        for j in range(3):
            own = logits[i, j].detach().requires_grad_()
            alone = enumeration.log_prob(own)
            assert together[i, j].item() == pytest.approx(alone.item(), abs=1e-12)
            assert torch.allclose(gradient[i, j], torch.autograd.grad(alone, own)[0], rtol=0, atol=1e-12)
            assert torch.allclose(marginals[i, j], enumeration.marginals(own), rtol=0, atol=1e-12)
