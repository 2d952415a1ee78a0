import pytest
import torch

from tabnas.cost import Flops, Limits, ParameterCount
from tabnas.feasibility import ChainProgram, Enumeration
from tabnas.search.plain import random_feasible, uniform_width
from tabnas.space import SearchSpace
from tests.brute_force import feasible, misfit
from tests.conftest import PAPER_WIDTHS


def test_uniform_width_is_the_widest_that_fits():
    space, params, flops = SearchSpace([PAPER_WIDTHS] * 3), ParameterCount(84, 3), Flops(84, 3)
    assert uniform_width(space, Limits(params, 10_000)) == (48, 48, 48)
    assert params((64, 64, 64)) > 10_000
    assert uniform_width(space, Limits((params, flops), (10_000, flops((32, 32, 32))))) == (32, 32, 32)


def test_uniform_width_needs_a_common_width_that_fits():
    assert uniform_width(SearchSpace([[2, 4], [3, 5]]), Limits(ParameterCount(2, 1), 100)) is None
    assert uniform_width(SearchSpace([[2, 8], [4, 8]]), Limits(ParameterCount(2, 1), 30)) is None


@pytest.mark.parametrize("kind", [ChainProgram, Enumeration, None])
def test_random_feasible_is_uniform_over_v(generator, kind):
    space = SearchSpace([[7, 2, 3], [5, 1], [4, 2, 9]])
    costs, at_most = (ParameterCount(3, 2), Flops(3, 2)), (70, 50)
    program = kind and kind(space, costs, at_most)
    valid = [space.widths(y) for y in feasible(space, costs, at_most)]
    drawn = [random_feasible(space, Limits(costs, at_most), program, generator) for _ in range(2000)]
    assert misfit(drawn, dict.fromkeys(valid, 1 / len(valid))) < 1


def test_random_feasible_without_a_program_gives_up(generator, monkeypatch):
    monkeypatch.setattr("tabnas.feasibility.monte_carlo.DRAW_BUDGET", 20_000)
    space, cost = SearchSpace([PAPER_WIDTHS] * 6), ParameterCount(84, 3)
    limits = Limits(cost, cost(space.smallest))
    assert random_feasible(space, limits, None, generator) is None
    exact = ChainProgram(space, cost, limits.at_most)
    assert random_feasible(space, limits, exact, generator) == space.smallest == (8,) * 6


def test_random_feasible_leaves_the_global_generator_alone(generator):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    space, cost = SearchSpace([[2, 3], [2, 3]]), ParameterCount(2, 1)
    random_feasible(space, Limits(cost, 20), ChainProgram(space, cost, 20), generator)
    random_feasible(space, Limits(cost, 20), None, generator)
    assert torch.equal(before, torch.get_rng_state())
