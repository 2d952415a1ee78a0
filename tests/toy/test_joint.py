"""Draws and P(V) of many runs, against Enumeration and MonteCarlo."""

import math

import pytest
import torch

from tabnas.cost import Limits, ParameterCount
from tabnas.feasibility import Enumeration, MonteCarlo
from tabnas.toy.joint import BLOCK, Joint, JointMonteCarlo, position, runs_last
from tests.brute_force import misfit

N_RUNS = 64


@pytest.fixture(params=["toy", "uneven"])
def problem(request, toy, uneven):
    """Space, limits and the logits (R, L, C) of runs that know nothing of each other."""
    space, limit = (toy.space, 25) if request.param == "toy" else uneven
    logits = runs_last(torch.zeros(space.mask.shape).masked_fill(~space.mask, -torch.inf), N_RUNS)
    return space, Limits(ParameterCount(2, 1), limit), logits + torch.randn(logits.shape, generator=generator_of(1)) * 2


def generator_of(seed):
    return torch.Generator().manual_seed(seed)


def enumeration(space, limits):
    return Enumeration(space, limits.costs, limits.at_most)


def test_the_runs_are_last_in_memory():
    logits = runs_last(torch.arange(6.0).view(2, 3), 5)
    assert (logits.shape, logits.stride()) == ((5, 2, 3), (1, 15, 5))
    assert all(torch.equal(run, torch.arange(6.0).view(2, 3)) for run in logits)


def test_positions_are_the_order_of_the_space(uneven):
    space, _ = uneven
    indices = torch.tensor([space.indices(widths) for widths in space])
    assert position(indices, space).tolist() == list(range(space.size))


def test_prob_valid_and_marginals_equal_enumeration(problem):
    space, limits, logits = problem
    log_prob_valid, marginals = Joint(space, limits, generator_of(0)).log_prob_and_marginals(logits)
    expected = enumeration(space, limits).log_prob_and_marginals(logits.double())
    assert torch.allclose(log_prob_valid.double(), expected[0], atol=2e-6)
    assert torch.allclose(marginals.double(), expected[1], atol=1e-6)
    assert (marginals[:, ~space.mask] == 0).all()


def test_where_feasible_is_all_but_impossible(toy):
    """P(V) below the smallest float32: 4-4 has it all."""
    one = torch.tensor([[0.0, 1.0, 150.0], [2.0, 0.0, 150.0]])
    logits = runs_last(one, 3)
    joint = Joint(toy.space, Limits(toy.cost, toy.limit), generator_of(0))
    log_prob_valid, marginals = joint.log_prob_and_marginals(logits)
    expected = Enumeration(*toy).log_prob_and_marginals(one.double())
    assert expected[0] < -140
    assert torch.allclose(log_prob_valid.double(), expected[0].expand(3), rtol=1e-6)
    assert torch.allclose(marginals.double(), expected[1].expand(3, 2, 3), atol=1e-6)
    assert joint.is_feasible(joint.sample(logits, 50)).all()
    assert not joint.is_feasible(joint.draw(logits, 50)).any()


def test_what_was_kept_is_not_taken_for_other_logits(problem):
    space, limits, logits = problem
    joint = Joint(space, limits, generator_of(0))
    before = joint.log_prob_and_marginals(logits)[0]
    after = joint.log_prob_and_marginals(logits.flip(0))[0]
    assert torch.allclose(before.flip(0), after, atol=1e-6)
    assert not torch.allclose(before, after, atol=1e-3)


def test_probabilities_add_up_and_name_the_right_architectures(problem):
    space, limits, logits = problem
    joint = Joint(space, limits, generator_of(0))
    probabilities = joint.probabilities(logits)
    p = logits.softmax(dim=-1)
    for s, indices in enumerate(joint.architectures.tolist()):
        assert joint.order[s] == position(torch.tensor(indices), space)
        expected = math.prod(p[3, i, j].item() for i, j in enumerate(indices))
        assert probabilities[3, s].item() == pytest.approx(expected, rel=1e-4, abs=1e-7)
        assert limits.allow(space.widths(indices)) == (s < joint.n_feasible)


@pytest.mark.parametrize("of", ["p", "valid"])
def test_draws_follow_their_distribution(problem, of):
    space, limits, logits = problem
    logits = runs_last(logits[0], 2000)
    joint = Joint(space, limits, generator_of(2))
    draws = (joint.draw if of == "p" else joint.sample)(logits, 5)
    assert draws.shape == (2000, 5, space.n_layers)
    n = len(joint.architectures) if of == "p" else joint.n_feasible
    p = joint.probabilities(logits)[0, :n].double()
    expected = dict(zip(map(tuple, joint.architectures[:n].tolist()), (p / p.sum()).tolist(), strict=True))
    assert misfit(map(tuple, draws.flatten(0, 1).tolist()), expected) < 1


def test_children_of_a_step_are_independent(toy):
    """Pairs of draws of one run follow the product of their distributions."""
    joint = Joint(toy.space, Limits(toy.cost, toy.limit), generator_of(3))
    draws = joint.sample(runs_last(torch.zeros(2, 3), 10_000), 2).tolist()
    feasible = list(map(tuple, joint.architectures[:6].tolist()))
    expected = {(a, b): 1 / 36 for a in feasible for b in feasible}
    assert misfit(((tuple(a), tuple(b)) for a, b in draws), expected) < 1


def estimates(kind, problem, num_samples, repeats):
    """log P̂(V) and the marginals of many estimates at the same logits."""
    space, limits, logits = problem
    plain = MonteCarlo(space, limits.costs, limits.at_most, num_samples=num_samples, generator=generator_of(4))
    if kind is JointMonteCarlo:
        plain = JointMonteCarlo(Joint(space, limits, generator_of(5)), plain)
    return plain.log_prob_and_marginals(runs_last(logits[0], repeats))


def test_hits_are_binomial(problem):
    space, limits, logits = problem
    log_prob_valid, _ = estimates(JointMonteCarlo, problem, num_samples=3, repeats=20_000)
    p = enumeration(space, limits).log_prob(logits[0].double()).exp().item()
    expected = {hits: math.comb(3, hits) * p**hits * (1 - p) ** (3 - hits) for hits in range(4)}
    assert misfit((log_prob_valid.exp() * 3).round().int().tolist(), expected) < 1


def test_one_sample_is_a_draw_or_a_miss(problem):
    """And the miss says so as MonteCarlo does."""
    space, limits, logits = problem
    log_prob_valid, marginals = estimates(JointMonteCarlo, problem, num_samples=1, repeats=20_000)
    hit = log_prob_valid == 0
    assert (log_prob_valid[~hit] == -torch.inf).all()
    assert (marginals[~hit] == 0).all()
    program = enumeration(space, limits)
    p = logits[0].double().softmax(dim=-1)
    total = program.log_prob(logits[0].double()).exp().item()
    expected = {tuple(y): math.prod(p[i, j].item() for i, j in enumerate(y)) / total for y in program.feasible.tolist()}
    assert misfit(map(tuple, marginals[hit].argmax(dim=-1).tolist()), expected) < 1


def test_estimates_have_the_moments_of_monte_carlo(problem):
    ours, theirs = (estimates(kind, problem, num_samples=5, repeats=20_000) for kind in (JointMonteCarlo, MonteCarlo))
    for power in (1, 2):
        a, b = (m[log_p > -torch.inf].double() ** power for log_p, m in (ours, theirs))
        error = (a.var(dim=0) / len(a) + b.var(dim=0) / len(b)).sqrt()
        assert ((a.mean(dim=0) - b.mean(dim=0)).abs() <= 5 * error).all()


def test_more_samples_than_are_drawn_at_once(problem):
    space, limits, logits = problem
    n = 100 * BLOCK + 1
    log_prob_valid, marginals = estimates(JointMonteCarlo, problem, num_samples=n, repeats=4)
    truth, expected = enumeration(space, limits).log_prob_and_marginals(logits[0].double())
    p = truth.exp()
    assert ((log_prob_valid.exp() - p).abs() < 5 * (p * (1 - p) / n).sqrt()).all()
    assert torch.allclose(marginals.double(), expected.expand_as(marginals), atol=5 * 0.5 / math.sqrt(n * float(p)))


def test_other_proposals_are_refused(toy, generator):
    plain = MonteCarlo(*toy, num_samples=1, proposal="uniform", generator=generator)
    with pytest.raises(ValueError, match="not from 'uniform'"):
        JointMonteCarlo(Joint(toy.space, Limits(toy.cost, toy.limit), generator), plain)
