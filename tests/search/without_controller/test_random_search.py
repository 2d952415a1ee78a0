import itertools
from importlib import import_module

import pytest

from tabnas.cost import Flops
from tabnas.errors import UserError
from tabnas.search.without_controller import RandomSearch
from tests.brute_force import misfit

module = import_module("tabnas.search.without_controller.random_search")


@pytest.fixture(params=["listed", "drawn", "by chance"])
def route(request, monkeypatch):
    """The three ways to draw: from a list of V, by the exact program, and by trial."""
    if request.param != "listed":
        monkeypatch.setattr(module, "MOST_LISTED", 0)
    if request.param == "by chance":
        monkeypatch.setattr(module, "exact", lambda *_: None)


def widths_of(method):
    chosen, _ = method.choose(lambda children: pytest.fail("there is no SuperNet to ask"))
    return [method.space.widths(y) for y in chosen.tolist()]


def test_distinct_feasible_and_within_the_range(route, connect4):
    for cost_range in (None, [0.7, 1.0], [0.2, 0.25]):
        low, high = cost_range or (0.0, 1.0)
        for seed in range(5):
            found = widths_of(connect4.new(RandomSearch, seed, num_architectures=8, cost_range=cost_range))
            assert len(set(found)) == len(found) == 8
            assert all(low * 10_000 <= connect4.cost(widths) <= high * 10_000 for widths in found)


def test_uniform_over_v_within_the_range(route, toy, new_method):
    """3-2, 2-3, 2-4, 3-3 and 4-2 cost 18 to 25 parameters: the pairs of them are equally likely."""
    drawn = [
        frozenset(widths_of(new_method(RandomSearch, *toy, seed, num_architectures=2, cost_range=[0.7, 1])))
        for seed in range(200)
    ]
    inside = [w for w in toy.space if 0.7 * 25 <= toy.cost(w) <= 25]
    assert len(inside) == 5
    assert misfit(drawn, {frozenset(pair): 0.1 for pair in itertools.combinations(inside, 2)}) < 1


def test_the_seed_settles_the_draws(route, connect4):
    one, same, other = (widths_of(connect4.new(RandomSearch, seed)) for seed in (3, 3, 4))
    assert one == same != other


def test_the_range_is_of_the_first_limit_and_the_others_hold_too(connect4, new_method):
    flops = Flops(84, 3)
    costs, at_most = [connect4.cost, flops], [connect4.limit, 6000]
    found = widths_of(new_method(RandomSearch, connect4.space, costs, at_most, cost_range=[0.5, 0.6]))
    assert len(found) == 10
    assert all(5000 <= connect4.cost(widths) <= 6000 and flops(widths) <= 6000 for widths in found)


def test_all_of_v_may_be_drawn(toy, new_method):
    assert len(widths_of(new_method(RandomSearch, *toy, num_architectures=6))) == 6


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"num_architectures": 0}, "search.num_architectures: must be an integer of at least 1, got 0"),
        (
            {"num_architectures": 7},
            "search.num_architectures: must be at most 6, as many as were found feasible, got 7",
        ),
        (
            {"num_architectures": 6, "cost_range": [0.7, 1]},
            "search.num_architectures: must be at most 5, as many as were found feasible at 0.7 to 1 of the limit, got",
        ),
        (
            {"cost_range": [0.1, 0.2]},
            "search.cost_range: must hold the cost of a feasible architecture, got [0.1, 0.2]",
        ),
        ({"cost_range": [0.94, 0.98]}, "search.cost_range: must hold the cost of a feasible architecture"),
        ({"cost_range": [1.0, 0.7]}, "search.cost_range: must be [low, high] with low ≤ high, got [1.0, 0.7]"),
        ({"cost_range": [0.7, 1.2]}, "search.cost_range: must be a number in [0, 1], got 1.2"),
        ({"cost_range": 0.7}, "search.cost_range: must be [low, high], got 0.7"),
        ({"cost_range": [0.7]}, "search.cost_range: must be [low, high], got [0.7]"),
        ({"cost_range": "07"}, "search.cost_range: must be [low, high], got '07'"),
    ],
)
def test_refuses(toy, new_method, settings, told):
    with pytest.raises(UserError) as caught:
        new_method(RandomSearch, *toy, **settings)
    assert str(caught.value).startswith(told)


def test_gives_up_where_chance_finds_too_few(connect4, monkeypatch):
    monkeypatch.setattr(module, "MOST_LISTED", 0)
    monkeypatch.setattr(module, "MOST_DRAWS", 400)
    with pytest.raises(UserError, match=r"search\.num_architectures: must be at most \d+, as many as were found"):
        connect4.new(RandomSearch, num_architectures=600)
