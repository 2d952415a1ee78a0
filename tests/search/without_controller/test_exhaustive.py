import pytest

from tabnas.cost import Flops, ParameterCount
from tabnas.errors import UserError
from tabnas.search.without_controller import Exhaustive
from tabnas.space import SearchSpace


def test_every_feasible_architecture_is_asked_for_and_the_best_found(connect4):
    asked = []

    def losses(children):
        asked.extend(children)
        return connect4.losses(children)

    chosen, how = connect4.new(Exhaustive, num_selected=5).choose(losses)
    assert sorted(asked) == sorted(connect4.valid)
    found = [connect4.space.widths(y) for y in chosen.tolist()]
    assert found == sorted(connect4.valid, key=connect4.loss)[:5]
    assert how == "smallest one-shot loss of 665 architectures, all that are feasible"


def test_by_training_from_scratch_all_are_chosen_and_none_is_asked_for(toy, new_method):
    method = new_method(Exhaustive, *toy, by="stand_alone")
    chosen, _ = method.choose(lambda children: pytest.fail("there is no SuperNet to ask"))
    widths = [toy.space.widths(y) for y in chosen.tolist()]
    assert sorted(widths) == [(2, 2), (2, 3), (2, 4), (3, 2), (3, 3), (4, 2)]
    assert not method.trains_supernet


def test_too_many_are_refused_with_their_number(connect4):
    with pytest.raises(UserError, match=r"search\.max_architectures: must be at least 665, as many .*, got 664;"):
        connect4.new(Exhaustive, max_architectures=664)
    assert len(connect4.new(Exhaustive, max_architectures=665).everything) == 665


def test_what_cannot_be_listed_is_refused(new_method):
    space = SearchSpace([list(range(8, 168, 8))] * 6)
    costs = [ParameterCount(1027, 1), Flops(1027, 1)]
    with pytest.raises(UserError, match=r"limits: .*to be listed in so large a space.*\['params', 'flops'\]"):
        new_method(Exhaustive, space, costs, [50_000, 49_000])
