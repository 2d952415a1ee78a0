import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tabnas.cost import ParameterCount
from tabnas.search.without_controller import Evolution
from tabnas.space import SearchSpace
from tests.brute_force import feasible, misfit, problems
from tests.search.without_controller.conftest import made


@settings(deadline=None, max_examples=60)
@given(problem=problems(), data=st.data())
def test_a_mutant_is_any_feasible_neighbour(problem, data):
    """All of them, and nothing else, by brute force; the parent itself only where V has no other."""
    space, costs, at_most, _ = problem
    valid = feasible(space, costs, at_most)
    parent = data.draw(st.sampled_from(valid))
    neighbours = {y for y in valid if sum(a != b for a, b in zip(parent, y, strict=True)) == 1}
    method = made(Evolution, space, costs, at_most)
    mutants = {tuple(method.mutant(torch.tensor(parent)).tolist()) for _ in range(12 * len(neighbours) + 1)}
    if len(valid) == 1:
        assert mutants == {parent}
    else:
        assert mutants <= neighbours != set()


def test_layers_are_equally_likely_to_change_and_then_their_widths(toy, new_method):
    """From 3-2: 2-2 and 4-2 in the first layer, 3-3 in the second, as 3-4 is not feasible."""
    method = new_method(Evolution, *toy)
    parent = torch.tensor(toy.space.indices((3, 2)))
    mutants = [toy.space.widths(method.mutant(parent).tolist()) for _ in range(1000)]
    assert misfit(mutants, {(2, 2): 0.25, (4, 2): 0.25, (3, 3): 0.5}) < 1


def test_finds_the_best_of_665_by_at_most_250_losses(connect4):
    """Where as many draws find it in three runs of eight."""
    for seed in range(5):
        method = connect4.new(Evolution, seed, population=50, steps=20, num_children=10)
        assert connect4.found(method)[0] == connect4.best


def test_its_budget_is_a_bound(connect4):
    n_asked = []

    def losses(children):
        n_asked.append(len(children))
        return connect4.losses(children)

    connect4.new(Evolution, population=20, steps=6, num_children=7).choose(losses)
    assert n_asked[0] <= 20
    assert all(n <= 7 for n in n_asked[1:])
    assert len(n_asked) == 7


def test_an_only_architecture_is_its_own_population(new_method):
    space = SearchSpace([[4, 2], [4, 2]])
    method = new_method(Evolution, space, ParameterCount(3, 1), 17)
    chosen, how = method.choose(lambda children: [0.7] * len(children))
    assert [space.widths(y) for y in chosen.tolist()] == [(2, 2)]
    assert how == "smallest one-shot loss of 1 architectures explored by evolution"


def test_a_larger_tournament_presses_harder(connect4):
    """The mean loss of a first generation of mutants falls: their parents are better."""
    means = []
    for tournament in (1, 20):
        asked = []

        def losses(children, asked=asked):
            asked.append(connect4.losses(children))
            return asked[-1]

        connect4.new(Evolution, population=100, steps=1, num_children=300, tournament=tournament).choose(losses)
        means.append(sum(asked[1]) / len(asked[1]))
    assert means[1] < means[0]
