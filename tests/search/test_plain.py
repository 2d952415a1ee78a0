import torch

from tabnas.cost import ParameterCount
from tabnas.feasibility import Enumeration, MonteCarlo
from tabnas.search.plain import random_feasible, uniform_width
from tabnas.space import SearchSpace
from tests.conftest import PAPER_WIDTHS


def test_uniform_width_is_the_widest_that_fits():
    space, cost = SearchSpace([PAPER_WIDTHS] * 3), ParameterCount(84, 3)
    assert uniform_width(space, cost, 10_000) == (48, 48, 48)
    assert cost((64, 64, 64)) > 10_000


def test_uniform_width_needs_a_common_width_that_fits():
    assert uniform_width(SearchSpace([[2, 4], [3, 5]]), ParameterCount(2, 1), 100) is None
    assert uniform_width(SearchSpace([[2, 8], [4, 8]]), ParameterCount(2, 1), 30) is None


def test_random_feasible_is_uniform_over_v(toy, generator):
    n = 3000
    enumeration = Enumeration(*toy)
    monte_carlo = MonteCarlo(*toy, num_samples=1, generator=generator)
    for feasibility, runs in ((enumeration, n), (monte_carlo, 200)):
        drawn = [random_feasible(toy.space, feasibility, toy.cost, toy.limit, generator) for _ in range(runs)]
        assert set(drawn) == {w for w in toy.space if toy.cost(w) <= toy.limit}
        counts = torch.tensor([drawn.count(w) for w in set(drawn)]).double()
        assert ((counts - runs / 6) ** 2 / (runs / 6)).sum() < 20.5  # 0.999 quantile, 5 degrees of freedom


def test_random_feasible_gives_up(generator, monkeypatch):
    monkeypatch.setattr("tabnas.search.plain.TRIES", 20_000)
    space, cost = SearchSpace([PAPER_WIDTHS] * 6), ParameterCount(84, 3)
    feasibility = MonteCarlo(space, cost, cost(space.smallest), num_samples=1, generator=generator)
    assert random_feasible(space, feasibility, cost, cost(space.smallest), generator) is None
