"""V followed step by step: Listed is exact, Refreshed as near as it says, and both go on where they stopped."""

import contextlib
import importlib
import math

import pytest
import torch

from tabnas.cost import Flops, ParameterCount
from tabnas.errors import UserError
from tabnas.feasibility import ChainProgram, Enumeration, Listed, Refreshed, exact, stepwise
from tabnas.space import SearchSpace
from tests.brute_force import COSTS, padded_logits
from tests.conftest import PAPER_WIDTHS
from tests.feasibility.test_chain import Depth

VOLKERT = SearchSpace([PAPER_WIDTHS] * 4), ParameterCount(180, 10), 27_882
UNEQUAL = SearchSpace([PAPER_WIDTHS, PAPER_WIDTHS[:7], PAPER_WIDTHS[3:15]]), ParameterCount(84, 3), 10_000


def walk(space: SearchSpace, n_steps: int, seed: int, size: float = 0.02):
    """Logits of a search: steps of Adam on noisy gradients that pull somewhere. float32."""
    draws = torch.Generator().manual_seed(seed)
    logits = torch.zeros(space.mask.shape).masked_fill(~space.mask, -torch.inf).requires_grad_()
    adam = torch.optim.Adam([logits], lr=size, eps=1e-3)
    pull = torch.randn(logits.shape, generator=draws)
    for _ in range(n_steps):
        yield logits.detach().clone()
        noise = torch.randn(logits.shape, generator=draws)
        logits.grad = (noise + 0.3 * pull).masked_fill(~space.mask, 0.0)
        adam.step()


def test_listed_is_the_program_at_every_step(generator):
    program = Enumeration(*UNEQUAL)
    listed = Listed(program, generator=generator)
    for logits in walk(program.space, 30, seed=0):
        logits = logits.double()
        for _ in range(2):  # the second from what was kept
            value, marginals = listed.log_prob_and_marginals(logits)
            exact_value, exact_marginals = program.log_prob_and_marginals(logits)
            assert value.item() == pytest.approx(exact_value.item(), abs=1e-10)
            assert torch.allclose(marginals, exact_marginals, rtol=0, atol=1e-10)


@pytest.mark.parametrize("names", COSTS)
def test_refreshed_is_the_program_at_the_first_step(generator, names):
    space = SearchSpace([[7, 2, 3], [5, 1], [4, 2, 9]])
    limits = [(cost(space.smallest) + cost(space.largest)) // 2 for cost in COSTS[names]]
    for program in (ChainProgram(space, COSTS[names], limits), Enumeration(space, COSTS[names], limits)):
        refreshed = Refreshed(program, generator=generator)
        logits = padded_logits(space, seed=3).detach()
        value, marginals = refreshed.log_prob_and_marginals(logits)
        assert refreshed.error == pytest.approx(0, abs=1e-9)
        assert value.item() == pytest.approx(program.log_prob(logits).item(), abs=1e-10)
        assert torch.allclose(marginals, program.marginals(logits), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("problem", "seed"), [(VOLKERT, 0), (VOLKERT, 1), (UNEQUAL, 2)])
def test_refreshed_knows_its_error(problem, seed):
    """Errors of E[onehot | V] over the standard deviation of onehot(y) − E[onehot | V], along 300 steps."""
    program = ChainProgram(*problem)
    refreshed = Refreshed(program, generator=torch.Generator().manual_seed(seed))
    estimated, true, of_log_prob = [], [], []
    for logits in walk(program.space, 300, seed):
        value, marginals = refreshed.log_prob_and_marginals(logits)
        exact_value, exact_marginals = program.log_prob_and_marginals(logits.double())
        noise = (exact_marginals - exact_marginals**2).sum().sqrt()
        estimated.append(refreshed.error)
        true.append(float((marginals - exact_marginals).norm() / noise))
        of_log_prob.append(float(value - exact_value))
        assert (marginals >= 0).all()
        assert value <= 0
    true, estimated, of_log_prob = map(torch.tensor, (true, estimated, of_log_prob))
    between = estimated > 1e-6  # not where the program was run
    ratio = (true[between] / estimated[between]).square().mean().sqrt()
    assert 0.75 < ratio < 1.33  # errors of one pool, of which there are about ten, go together
    assert true.max() < 0.03
    assert true.square().mean().sqrt() < 0.01
    assert true[~between].max() < 1e-6
    assert of_log_prob.abs().max() < 0.02  # of a walk whose log P(V) goes over more than 0.5
    assert refreshed.largest_error == estimated.max() <= refreshed.max_error == 0.01
    assert refreshed.steps == 300
    assert 2 <= refreshed.refreshes <= 40


def test_the_walk_goes_somewhere():
    """So that following it is worth something."""
    program = ChainProgram(*VOLKERT)
    values = [program.log_prob(logits).item() for logits in walk(program.space, 300, seed=0)]
    assert max(values) - min(values) > 0.5


def test_the_program_is_run_when_the_error_is_too_large_or_the_pool_used_up():
    program = ChainProgram(*UNEQUAL)
    here = padded_logits(program.space, seed=0, spread=0.3).detach()
    there = padded_logits(program.space, seed=1, spread=0.3).detach()
    refreshed = Refreshed(program, generator=torch.Generator().manual_seed(0), pool_size=128, max_error=0.01)
    refreshed.log_prob_and_marginals(here)
    refreshed.sample(here, 100)
    refreshed.log_prob_and_marginals(here)
    assert (refreshed.steps, refreshed.refreshes) == (1, 1)
    refreshed.sample(here, 100)
    assert (refreshed.steps, refreshed.refreshes) == (1, 2)
    refreshed.log_prob_and_marginals(there)
    assert (refreshed.steps, refreshed.refreshes) == (2, 3)
    assert refreshed.error == pytest.approx(0, abs=1e-9)
    patient = Refreshed(program, generator=torch.Generator().manual_seed(0), pool_size=128, max_error=1e9)
    patient.log_prob_and_marginals(here)
    patient.log_prob_and_marginals(there)
    assert (patient.steps, patient.refreshes) == (2, 1)
    assert patient.error > 0.01


@pytest.mark.parametrize("max_error", [0.03, 0.01, 0.003])
def test_fewer_refreshes_for_a_larger_error(max_error):
    program = ChainProgram(*UNEQUAL)

    def refreshes(most: float) -> int:
        refreshed = Refreshed(program, generator=torch.Generator().manual_seed(0), max_error=most)
        for logits in walk(program.space, 150, seed=0):
            refreshed.log_prob_and_marginals(logits)
        assert refreshed.largest_error <= most
        return refreshed.refreshes

    assert refreshes(max_error) < refreshes(max_error / 3)


def test_far_away_logits_are_answered_exactly(generator):
    """Weights that underflow must not pass for an answer."""
    program = ChainProgram(*UNEQUAL)
    space = program.space
    refreshed = Refreshed(program, generator=generator)
    for slope in (0.0, 30.0, -30.0, 1000.0, 0.0):
        logits = (slope * torch.arange(20.0)).expand(3, 20).masked_fill(~space.mask, -torch.inf).double()
        widths = space.gather_widths(refreshed.sample(logits, 5))
        value, marginals = refreshed.log_prob_and_marginals(logits)
        assert program.limits.allow_many(widths).all()
        assert value.item() == pytest.approx(program.log_prob(logits).item(), rel=1e-10)
        assert torch.allclose(marginals, program.marginals(logits), rtol=0, atol=1e-10)


@pytest.mark.parametrize("left", [1, 2])
def test_refreshed_follows_a_v_that_leaves_next_to_no_choice(generator, left):
    space, cost = SearchSpace([[7, 2, 3], [5, 1], [4, 2, 9]]), ParameterCount(3, 2)
    program = ChainProgram(space, cost, sorted(map(cost, space))[left - 1])
    assert program.count() == left
    refreshed = Refreshed(program, generator=generator)
    for logits in walk(space, 50, seed=0):
        logits = logits.double()
        assert program.limits.allow_many(space.gather_widths(refreshed.sample(logits, 2))).all()
        value, marginals = refreshed.log_prob_and_marginals(logits)
        assert value.item() == pytest.approx(program.log_prob(logits).item(), abs=1e-3)
        assert torch.allclose(marginals, program.marginals(logits), rtol=0, atol=0.02)
    assert refreshed.refreshes < 10


@pytest.mark.timeout(2)
@pytest.mark.parametrize("kind", [Listed, Refreshed])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_no_reason_to_hang(generator, kind, bad):
    """A search that diverges has such logits until the end of a block, where it is told of."""
    source = kind(Enumeration(*UNEQUAL), generator=generator)
    logits = torch.zeros(3, 20).masked_fill(~source.space.mask, -torch.inf)
    source.sample(logits, 2)
    logits[1, 1] = bad
    with contextlib.suppress(UserError):
        assert source.sample(logits, 2).shape == (2, 3)


def go_on(source, space, seed):
    """What 40 more steps give."""
    answers = []
    for logits in walk(space, 40, seed):
        answers.append((source.sample(logits, 2), *source.log_prob_and_marginals(logits)))
    return answers


@pytest.mark.parametrize("n_steps", [0, 1, 7, 60])
@pytest.mark.parametrize("through_a_file", [False, True])
@pytest.mark.parametrize("kind", [ChainProgram, Enumeration])
def test_refreshed_goes_on_bit_for_bit(tmp_path, kind, n_steps, through_a_file):
    program = kind(*UNEQUAL)
    generator = torch.Generator().manual_seed(0)
    refreshed = Refreshed(program, generator=generator, pool_size=256, max_error=0.02)
    for logits in walk(program.space, n_steps, seed=1, size=0.05):
        refreshed.log_prob_and_marginals(logits)
        refreshed.sample(logits, 3)
    assert n_steps < 60 or (refreshed.refreshes > 1 and 0 < refreshed._used < 256)
    state = {"feasible": refreshed.state_dict(), "generator": generator.get_state()}
    if through_a_file:
        torch.save(state, tmp_path / "state.pt")
        state = torch.load(tmp_path / "state.pt", weights_only=True)
    other = torch.Generator()
    taken_up = Refreshed(kind(*UNEQUAL), generator=other, pool_size=256, max_error=0.02)
    taken_up.load_state_dict(state["feasible"])
    other.set_state(state["generator"])
    for ours, theirs in zip(
        go_on(taken_up, program.space, seed=2), go_on(refreshed, program.space, seed=2), strict=True
    ):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    for name in ("steps", "refreshes", "largest_error", "error"):
        assert getattr(taken_up, name) == getattr(refreshed, name), name


def test_listed_goes_on_bit_for_bit():
    program = Enumeration(*UNEQUAL)
    generator, other = torch.Generator().manual_seed(0), torch.Generator()
    listed = Listed(program, generator=generator)
    go_on(listed, program.space, seed=1)
    taken_up = Listed(program, generator=other)
    taken_up.load_state_dict(listed.state_dict())
    other.set_state(generator.get_state())
    for ours, theirs in zip(go_on(taken_up, program.space, seed=2), go_on(listed, program.space, seed=2), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_exact_is_the_chain_program_or_a_listing_or_nothing():
    small, large = SearchSpace([PAPER_WIDTHS] * 2), SearchSpace([PAPER_WIDTHS[:12]] * 9)
    params, flops = ParameterCount(84, 3), Flops(84, 3)
    assert isinstance(exact(large, params, 50_000), ChainProgram)
    assert isinstance(exact(small, (params, flops), (3_000, 2_500)), ChainProgram)
    assert isinstance(exact(small, Depth(), 30), Enumeration)
    assert isinstance(exact(small, (params, Depth()), (30_000, 30)), Enumeration)
    assert isinstance(exact(small, (params, flops), (30_000, 25_000)), Enumeration)  # too many states
    assert exact(large, Depth(), 30) is None
    assert exact(large, (params, flops), (50_000, 45_000)) is None
    for space, cost in ((small, params), (large, params), (small, Depth())):
        with pytest.raises(UserError, match="limits: the limit on"):
            exact(space, cost, 7)


def test_listed_where_v_is_small_else_refreshed(monkeypatch, generator):
    module = importlib.import_module("tabnas.feasibility.stepwise")  # not the function of that name
    for program in (ChainProgram(*UNEQUAL), Enumeration(*UNEQUAL)):
        monkeypatch.setattr(module, "MOST_LISTED", program.count())
        followed = stepwise(program, generator)
        assert isinstance(followed, Listed)
        assert followed.program.count() == program.count()
        monkeypatch.setattr(module, "MOST_LISTED", program.count() - 1)
        followed = stepwise(program, generator)
        assert isinstance(followed, Refreshed)
        assert followed.program is program
    monkeypatch.setattr(module, "MOST_LISTED", 10**9)
    monkeypatch.setattr(module, "LISTABLE", 1000)  # of 1,680
    assert isinstance(stepwise(ChainProgram(*UNEQUAL), generator), Refreshed)
