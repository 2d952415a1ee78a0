"""What Enumeration and ChainProgram both promise, against first principles and each other."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tabnas.cost import Flops, ParameterCount
from tabnas.errors import UserError
from tabnas.feasibility import ChainProgram, Enumeration
from tabnas.space import SearchSpace
from tests.brute_force import COSTS, feasible, log_probs, onehots, padded_logits, problems
from tests.conftest import PAPER_WIDTHS

TOLERANCE = 1e-10

both = pytest.mark.parametrize("kind", [ChainProgram, Enumeration])


def agree(ours, theirs):
    return torch.allclose(ours, theirs, rtol=0, atol=TOLERANCE)


@both
@settings(deadline=None, max_examples=200)
@given(problem=problems())
def test_equals_first_principles(kind, problem):
    space, costs, limits, logits = problem
    program = kind(space, costs, limits)
    valid = feasible(space, costs, limits)
    log_p = log_probs(space, valid, logits)
    log_prob_valid = log_p.logsumexp(dim=0)
    conditional = (log_p - log_prob_valid).detach().exp()
    marginals = (conditional[:, None, None] * onehots(space, valid)).sum(dim=0)
    entropy = -(conditional * (log_p - log_prob_valid)).sum()

    ours = program.log_prob(logits)
    assert program.count() == len(valid)
    assert ours.item() == pytest.approx(log_prob_valid.item(), abs=TOLERANCE)
    assert agree(program.marginals(logits), marginals)
    for value, table in (program.log_prob_and_marginals(logits), solved(program, logits)):
        assert value.item() == pytest.approx(log_prob_valid.item(), abs=TOLERANCE)
        assert agree(table, marginals)
    assert program.entropy(logits).item() == pytest.approx(entropy.item(), abs=TOLERANCE)
    (gradient,) = torch.autograd.grad(3 * ours, logits)
    (by_hand,) = torch.autograd.grad(3 * log_prob_valid, logits)
    assert agree(gradient, by_hand)
    assert agree(gradient, 3 * (marginals - logits.softmax(dim=1)).detach())


def solved(program, logits):
    solution = program.solve(logits.detach())
    return torch.tensor(solution.log_prob, dtype=torch.float64), solution.marginals()


@both
@settings(deadline=None, max_examples=200)
@given(problem=problems(), k=st.integers(1, 40))
def test_most_probable_are_the_most_probable_in_order(kind, problem, k):
    space, costs, limits, logits = problem
    logits = logits.detach()
    valid = feasible(space, costs, limits)
    found = [tuple(row) for row in kind(space, costs, limits).most_probable(logits, k).tolist()]
    assert len(set(found)) == len(found) == min(k, len(valid))
    assert set(found) <= set(valid)
    ranked = log_probs(space, valid, logits).sort(descending=True).values[:k]
    assert agree(log_probs(space, found, logits), ranked)


@both
@pytest.mark.parametrize("names", COSTS)
def test_most_probable_takes_equals_in_the_order_of_the_space(kind, names):
    space = SearchSpace([[7, 2, 3], [5, 1], [4, 2, 9]])
    limits = [(cost(space.smallest) + cost(space.largest)) // 2 for cost in COSTS[names]]
    logits = torch.zeros(3, 3).masked_fill(~space.mask, -torch.inf)
    valid = feasible(space, COSTS[names], limits)
    program = kind(space, COSTS[names], limits)
    for k in (1, 4, 99):
        assert program.most_probable(logits, k).tolist() == [list(indices) for indices in valid[:k]]


@both
def test_gradcheck(kind):
    space = SearchSpace([[7, 2, 3], [5, 1], [4, 2, 9]])
    program = kind(space, COSTS["params and flops"], [70, 50])
    logits = padded_logits(space, seed=2)
    assert 1 < program.count() < space.size
    assert torch.autograd.gradcheck(program.log_prob, logits)


@both
@pytest.mark.parametrize("names", COSTS)
def test_the_smallest_limit_leaves_one_architecture(kind, names):
    space = SearchSpace([[7, 2, 3], [5, 1], [4, 2, 9]])
    limits = [cost(space.smallest) for cost in COSTS[names]]
    program = kind(space, COSTS[names], limits)
    logits = padded_logits(space, seed=4)
    only = space.indices(space.smallest)
    assert program.count() == 1
    assert program.log_prob(logits).item() == pytest.approx(log_probs(space, [only], logits).item(), abs=TOLERANCE)
    assert agree(program.marginals(logits), onehots(space, [only])[0])
    assert program.entropy(logits).item() == pytest.approx(0, abs=TOLERANCE)
    assert program.most_probable(logits.detach(), 5).tolist() == [list(only)]
    assert program.sample(logits, 7, generator=torch.Generator()).tolist() == [list(only)] * 7


@both
@pytest.mark.parametrize("beyond", [0, 1, 10**9, 2**53])
def test_a_limit_that_nothing_exceeds_leaves_p_as_it_is(kind, beyond):
    space = SearchSpace([[7, 2, 3], [5, 1], [4, 2, 9]])
    costs = COSTS["params and flops"]
    program = kind(space, costs, [cost(space.largest) + beyond for cost in costs])
    logits = padded_logits(space, seed=4)
    p = logits.detach().softmax(dim=1)
    assert program.count() == space.size
    log_prob_valid = program.log_prob(logits)
    assert log_prob_valid.item() == pytest.approx(0, abs=TOLERANCE)
    assert agree(program.marginals(logits), p)
    assert program.entropy(logits).item() == pytest.approx(torch.special.entr(p).sum().item(), abs=TOLERANCE)
    assert agree(torch.autograd.grad(log_prob_valid, logits)[0], torch.zeros_like(p))


@both
@pytest.mark.parametrize("choices", [[[3]], [[5, 2, 9]], [[3], [4]], [[4], [2, 6], [5]], [[2, 6], [5], [1, 3]]])
def test_one_layer_and_one_choice(kind, choices):
    space = SearchSpace(choices)
    for limit in {ParameterCount(3, 2)(widths) for widths in space}:
        program = kind(space, ParameterCount(3, 2), limit)
        valid = feasible(space, ParameterCount(3, 2), limit)
        logits = padded_logits(space, seed=1).detach()
        log_p = log_probs(space, valid, logits)
        assert program.count() == len(valid)
        assert program.log_prob(logits).item() == pytest.approx(log_p.logsumexp(dim=0).item(), abs=TOLERANCE)
        ranked = [list(valid[i]) for i in log_p.argsort(descending=True)]
        assert program.most_probable(logits, 99).tolist() == ranked
        drawn = program.sample(logits, 20, generator=torch.Generator().manual_seed(0)).tolist()
        assert {tuple(d) for d in drawn} <= set(valid)


@both
def test_logits_of_1000_leave_the_best_that_fits(kind):
    """P(V) is exp(-2000) or e^0, by whether V holds what the logits want; float64 has nothing between 5e-324 and 0."""
    space = SearchSpace([[2, 3, 4], [2, 3, 4], [2, 4]])
    cost = ParameterCount(2, 1)
    wanted = (4, 4, 4)
    logits = torch.full((3, 3), -1000.0, dtype=torch.float64).masked_fill(~space.mask, -torch.inf)
    for i, j in enumerate(space.indices(wanted)):
        logits[i, j] = 1000.0
    logits.requires_grad_()
    for limit in sorted({cost(widths) for widths in space}):
        valid = feasible(space, cost, limit)
        log_p = log_probs(space, valid, logits)
        total = log_p.logsumexp(dim=0)
        program = kind(space, cost, limit)
        assert program.log_prob(logits).item() == pytest.approx(total.item(), abs=TOLERANCE)
        assert agree(torch.autograd.grad(program.log_prob(logits), logits)[0], torch.autograd.grad(total, logits)[0])
        best = {valid[i] for i in (log_p > log_p.max() - 1).nonzero()[:, 0]}
        drawn = program.sample(logits, 50, generator=torch.Generator().manual_seed(0)).tolist()
        assert {tuple(d) for d in drawn} == best
        assert tuple(program.most_probable(logits.detach(), 1)[0].tolist()) in best
    assert program.count() == space.size


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_answers_are_of_the_type_of_the_logits(kind, toy, dtype):
    logits = padded_logits(toy.space, seed=3).detach().to(dtype).requires_grad_()
    program = kind(*toy)
    exact = log_probs(toy.space, feasible(*toy), logits.detach().double()).logsumexp(dim=0)
    value, marginals = program.log_prob(logits), program.marginals(logits)
    assert {value.dtype, marginals.dtype, program.entropy(logits).dtype} == {dtype}
    assert torch.autograd.grad(value, logits)[0].dtype == dtype
    assert value.item() == pytest.approx(exact.item(), abs=1e-6)


EMPTY = {
    ("params", 14): "limit on params must be at least 15, the cost of the smallest architecture, got 14",
    ("flops", 9): "limit on flops must be at least 10, the cost of the smallest architecture, got 9",
    ("both", 14, 1000): "limit on params must be at least 15, the cost of the smallest architecture, got 14",
    ("both", 1000, 9): "limit on flops must be at least 10, the cost of the smallest architecture, got 9",
    ("both", -3, -8): "limit on params must be at least 15, the cost of the smallest architecture, got -3",
}


@both
@pytest.mark.parametrize("case", EMPTY)
def test_an_empty_feasible_set_is_a_users_error(kind, toy, case):
    name, *limits = case
    costs = {"params": [ParameterCount(2, 1)], "flops": [Flops(2, 1)], "both": [ParameterCount(2, 1), Flops(2, 1)]}
    with pytest.raises(UserError) as caught:
        kind(toy.space, costs[name], limits)
    assert caught.value.name == "limits"
    assert EMPTY[case] in str(caught.value)


@both
def test_the_toy_example(kind, toy):
    """Figure 1."""
    program = kind(*toy)
    logits = torch.zeros(2, 3)
    shown = {toy.space.widths(y) for y in program.most_probable(logits, 99).tolist()}
    assert shown == {(2, 2), (2, 3), (2, 4), (3, 2), (3, 3), (4, 2)}
    assert program.log_prob(logits).exp().item() == pytest.approx(6 / 9)
    assert program.entropy(logits).item() == pytest.approx(math.log(6))


def test_the_two_agree_on_a_space_of_the_paper():
    space, costs, limits = SearchSpace([PAPER_WIDTHS] * 3), (ParameterCount(84, 3), Flops(84, 3)), (4_000, 3_700)
    chain, listed = ChainProgram(space, costs, limits), Enumeration(space, costs, limits)
    for seed, spread in itertools.product(range(3), (0.3, 3.0)):
        logits = padded_logits(space, seed, spread)
        assert agree(chain.log_prob(logits), listed.log_prob(logits))
        assert agree(chain.marginals(logits), listed.marginals(logits))
        assert agree(chain.entropy(logits), listed.entropy(logits))
        best = [program.most_probable(logits.detach(), 30).tolist() for program in (chain, listed)]
        assert best[0] == best[1]
    assert chain.count() == listed.count()
