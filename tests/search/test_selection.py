import pytest
import torch

from tabnas.controller import sample
from tabnas.errors import UserError
from tabnas.search.selection import FinalSelection


def with_logits(new_search, logits, **method):
    search = new_search(**method).search
    with torch.no_grad():
        search.controller.logits.copy_(torch.as_tensor(logits))
    return search


def test_largest_is_algorithm_3(new_search):
    search = with_logits(new_search, [[0.3, 0.1, -0.2], [0.0, 0.2, 0.1]])
    draws = sample(search.controller.logits, 40, torch.Generator().manual_seed(0)).tolist()
    feasible = {search.space.widths(d) for d in draws if search.cost(search.space.widths(d)) <= search.limit}
    expected = sorted((search.cost(widths) for widths in feasible), reverse=True)[:2]
    selected = FinalSelection(num_draws=40, num_selected=2).select(search)
    assert [search.cost(s.widths) for s in selected] == expected
    assert len({s.widths for s in selected}) == 2
    assert {s.how for s in selected} == {"largest feasible of 40 draws"}


def test_probability_is_conditional_on_feasibility(new_search):
    search = with_logits(new_search, [[0.3, 0.1, -0.2], [0.0, 0.2, 0.1]])
    everything = FinalSelection(rule="most_probable", num_selected=99).select(search)
    assert len(everything) == search.exact.count()
    assert sum(s.probability for s in everything) == pytest.approx(1.0)
    assert [s.probability for s in everything] == sorted((s.probability for s in everything), reverse=True)


def test_probability_when_prob_valid_underflows(new_search):
    search = with_logits(new_search, [[0, 150.0, 300.0], [0, 150.0, 300.0]], limit=45)
    feasible = [w for w in search.space if search.cost(w) <= 45]
    (selected,) = FinalSelection(num_draws=10).select(search)
    assert selected.widths in feasible
    assert selected.probability == pytest.approx(1.0)


def test_deterministic_distributions_give_their_argmax_alone(new_search):
    search = with_logits(new_search, [[9.0, 0, 0], [0, 9.0, 0]])
    (selected,) = FinalSelection().select(search)
    assert selected.widths == (2, 4)
    assert "0.99 or more" in selected.how


def test_a_deterministic_but_infeasible_argmax_is_not_returned(new_search):
    search = with_logits(new_search, [[0, 0, 6.0], [0, 0, 6.0]])
    selected = FinalSelection().select(search)
    assert all(search.cost(s.widths) <= search.limit for s in selected)


@pytest.mark.parametrize("method", [{}, {"enumerate_up_to": 0, "num_samples": 10}])
def test_without_a_feasible_draw_the_most_probable_feasible_is_returned(new_search, method):
    search = with_logits(new_search, [[0, 25.0, 40.0], [0, 25.0, 40.0]], **method)
    (selected,) = FinalSelection(num_draws=10).select(search)
    assert selected.how == "none of 10 draws was feasible: the most probable feasible instead"
    best = max(
        (w for w in search.space if search.cost(w) <= search.limit),
        key=lambda w: sum(search.controller.logits[i, j].item() for i, j in enumerate(search.space.indices(w))),
    )
    assert selected.widths == best


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"rule": "best"}, "search.selection.rule"),
        ({"num_draws": 0}, "search.selection.num_draws"),
        ({"num_selected": "all"}, "search.selection.num_selected"),
        ({"deterministic": 2}, "search.selection.deterministic"),
    ],
)
def test_refuses(arguments, name):
    with pytest.raises(UserError) as caught:
        FinalSelection(**arguments)
    assert caught.value.name == name


def test_what_is_returned_is_recounted_on_the_built_network(new_search, monkeypatch):
    search = with_logits(new_search, [[9.0, 0, 0], [0, 9.0, 0]])
    monkeypatch.setattr("tabnas.search.selection._recount", lambda *_: search.limit + 1)
    with pytest.raises(RuntimeError, match="costs more than the limit 90"):
        FinalSelection().select(search)
