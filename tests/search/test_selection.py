import math
from types import SimpleNamespace

import pytest
import torch

from tabnas.controller import sample
from tabnas.cost import Flops, ParameterCount
from tabnas.errors import UserError
from tabnas.feasibility import Enumeration
from tabnas.method import ConditionalDraws, Rejection, RewardShaping
from tabnas.search.selection import FinalSelection
from tabnas.trainer import fit, make_trainer

LOGITS = [[0.3, 0.1, -0.2], [0.0, 0.2, 0.1]]
CERTAIN_AND_INFEASIBLE = [[0, 25.0, 40.0], [0, 25.0, 40.0]]


def with_logits(new_search, logits, **method):
    search = new_search(**method).search
    with torch.no_grad():
        search.controller.logits.copy_(torch.as_tensor(logits))
    return search


def feasible_widths(search):
    return [w for w in search.space if search.limits.allow(w)]


def cost(search, widths):
    return search.limits.costs[0](widths)


def test_largest_is_algorithm_3(new_search):
    search = with_logits(new_search, LOGITS)
    draws = sample(search.controller.logits, 40, torch.Generator().manual_seed(0)).tolist()
    feasible = {search.space.widths(d) for d in draws} & set(feasible_widths(search))
    expected = sorted((cost(search, widths) for widths in feasible), reverse=True)[:2]
    selected = FinalSelection(num_draws=40, num_selected=2).select(search)
    assert [cost(search, s.widths) for s in selected] == expected
    assert len({s.widths for s in selected}) == 2
    assert {s.how for s in selected} == {"largest feasible of 40 draws"}


def test_one_shot_takes_the_smallest_losses_of_the_distinct_feasible_draws(new_search):
    """Losses by hand on the whole validation split, whatever the draws' order or number."""
    small = new_search()
    search = small.search
    with torch.no_grad():
        search.controller.logits.copy_(torch.tensor(LOGITS))
    rows = small.data.valid
    assert rows.n_rows == 60  # more than a minibatch of 16
    draws = sample(search.controller.logits, 25, torch.Generator().manual_seed(0)).tolist()
    feasible = {search.space.widths(d) for d in draws} & set(feasible_widths(search))
    assert 2 < len(feasible) < 25
    inputs = search.encoder(rows.numerical, rows.categorical)
    losses = {widths: search.task.loss(search.supernet(inputs, widths), rows.target).item() for widths in feasible}
    selected = FinalSelection(rule="one_shot", num_draws=25, num_selected=2).select(search)
    assert [s.widths for s in selected] == sorted(losses, key=losses.__getitem__)[:2]
    assert {s.how for s in selected} == {f"smallest one-shot loss of {len(feasible)} distinct among 25 draws"}
    assert search.one_shot_losses(list(losses)) == pytest.approx(list(losses.values()), abs=1e-6)


def test_one_shot_ranks_by_the_loss_it_is_given(new_search):
    """Each architecture's loss is asked for once, and only of feasible ones."""
    search = with_logits(new_search, LOGITS)
    asked = []

    def losses(children):
        asked.extend(children)
        return [abs(a - 4) + b for a, b in children]

    chosen, _ = FinalSelection(rule="one_shot", num_draws=400, num_selected=99).indices(
        search.method, search.controller.logits.detach(), losses
    )
    feasible = feasible_widths(search)
    assert sorted(asked) == sorted(feasible)
    found = [search.space.widths(y) for y in chosen.tolist()]
    assert sorted(found) == sorted(feasible)
    assert [abs(a - 4) + b for a, b in found] == sorted(abs(a - 4) + b for a, b in feasible)


@pytest.mark.parametrize("kind", [Rejection, ConditionalDraws])
@pytest.mark.parametrize("rule", ["largest", "one_shot"])
def test_draws_valid_find_v_where_draws_p_do_not(new_search, kind, rule):
    search = with_logits(new_search, CERTAIN_AND_INFEASIBLE, kind=kind)
    (by_p,) = FinalSelection(rule=rule, draws="p", num_draws=30).select(search)
    assert by_p.how.startswith("none of 30 draws was feasible")
    by_v = FinalSelection(rule=rule, draws="valid", num_draws=30).select(search)
    assert all("none of" not in s.how for s in by_v)
    assert {s.widths for s in by_v} <= set(feasible_widths(search))


def test_draws_valid_are_of_the_conditional_distribution(new_search):
    """With many draws all of V is drawn, so that the largest are the largest there are."""
    search = with_logits(new_search, LOGITS, limit=70, flops=50)
    selected = FinalSelection(draws="valid", num_draws=300, num_selected=99).select(search)
    assert sorted(s.widths for s in selected) == sorted(feasible_widths(search))


@pytest.mark.parametrize("flops", [None, 50])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [(Rejection, {}), (ConditionalDraws, {}), (RewardShaping, {"reward": "quality"})],
)
@pytest.mark.parametrize("rule", ["largest", "one_shot", "most_probable"])
@pytest.mark.parametrize("draws", ["p", "valid"])
def test_everything_that_is_returned_is_feasible(new_search, tmp_path, kind, settings, rule, draws, flops):
    """After a search, within one limit or two."""
    selection = {"rule": rule, "draws": draws, "num_draws": 60}
    small = new_search(kind=kind, flops=flops, eta=0.1, selection=selection, **settings)
    search = small.search
    fit(make_trainer("cpu", 3, []), search, small.data.train_dataloader(), tmp_path / "none")
    selected = search.selection.selected
    feasible = feasible_widths(search)
    assert len(feasible) == (5 if flops is None else 3)
    assert 1 <= len(selected) <= 3
    assert {s.widths for s in selected} <= set(feasible)
    assert len({s.widths for s in selected}) == len(selected)
    assert all(0 < s.probability <= 1 for s in selected)


def test_probability_is_conditional_on_feasibility(new_search):
    for more in ({}, {"flops": 50}):
        search = with_logits(new_search, LOGITS, **more)
        everything = FinalSelection(rule="most_probable", num_selected=99).select(search)
        exact = Enumeration(search.space, search.limits.costs, search.limits.at_most)
        assert len(everything) == exact.count()
        assert sum(s.probability for s in everything) == pytest.approx(1.0)
        assert [s.probability for s in everything] == sorted((s.probability for s in everything), reverse=True)


def test_probability_when_prob_valid_underflows(new_search):
    search = with_logits(new_search, [[0, 150.0, 300.0], [0, 150.0, 300.0]], limit=45)
    (selected,) = FinalSelection(num_draws=10).select(search)
    assert selected.widths in feasible_widths(search)
    assert selected.probability == pytest.approx(1.0)


def test_probability_is_unknown_where_there_is_no_estimate(new_search, monkeypatch):
    search = with_logits(new_search, LOGITS)
    monkeypatch.setattr(search.method, "log_prob_valid", lambda logits: -math.inf)
    assert {s.probability for s in FinalSelection(num_draws=40).select(search)} == {None}


def test_deterministic_distributions_give_their_argmax_alone(new_search):
    search = with_logits(new_search, [[9.0, 0, 0], [0, 9.0, 0]])
    (selected,) = FinalSelection().select(search)
    assert selected.widths == (2, 4)
    assert "0.99 or more" in selected.how


def test_a_deterministic_but_infeasible_argmax_is_not_returned(new_search):
    search = with_logits(new_search, [[0, 0, 6.0], [0, 0, 6.0]])
    assert not search.limits.allow((8, 8))
    selected = FinalSelection().select(search)
    assert {s.widths for s in selected} <= set(feasible_widths(search))


@pytest.mark.parametrize("settings", [{}, {"num_samples": 10}, {"flops": 84}])
@pytest.mark.parametrize("exact", [True, False])
def test_without_a_feasible_draw_the_most_probable_feasible_is_returned(new_search, settings, exact):
    search = with_logits(new_search, CERTAIN_AND_INFEASIBLE, **settings)
    if not exact:
        search.method.program = None  # as where the space is too large for one
    (selected,) = FinalSelection(num_draws=10).select(search)
    assert selected.how == "none of 10 draws was feasible: the most probable feasible instead"
    best = max(
        feasible_widths(search),
        key=lambda w: sum(search.controller.logits[i, j].item() for i, j in enumerate(search.space.indices(w))),
    )
    assert selected.widths == best


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"rule": "best"}, "search.selection.rule"),
        ({"draws": "v"}, "search.selection.draws"),
        ({"num_draws": 0}, "search.selection.num_draws"),
        ({"num_selected": "all"}, "search.selection.num_selected"),
        ({"deterministic": 2}, "search.selection.deterministic"),
    ],
)
def test_refuses(arguments, name):
    with pytest.raises(UserError) as caught:
        FinalSelection(**arguments)
    assert caught.value.name == name


def test_a_network_built_otherwise_than_counted_is_an_error(new_search, monkeypatch):
    for flops, name in ((None, "params"), (1000, "params")):
        search = with_logits(new_search, [[9.0, 0, 0], [0, 9.0, 0]], flops=flops)
        child = search.supernet.child
        monkeypatch.setattr(search.supernet, "child", lambda widths, build=child: build((2, 8)))
        with pytest.raises(RuntimeError, match=rf"\(2, 4\) as built costs 67 {name}, not 43"):
            FinalSelection().select(search)


@pytest.mark.parametrize(("kind", "built"), [(ParameterCount, 43), (Flops, 34)])
def test_a_cost_that_counts_too_little_is_an_error(new_search, monkeypatch, kind, built):
    search = with_logits(new_search, [[9.0, 0, 0], [0, 9.0, 0]], flops=1000)
    monkeypatch.setattr(kind, "__call__", lambda self, widths: 5)
    with pytest.raises(RuntimeError, match=rf"\(2, 4\) as built costs {built} {kind.name}, not 5"):
        FinalSelection().select(search)


def test_counted_embeddings_are_part_of_the_recount(new_search):
    search = with_logits(new_search, LOGITS)
    n_inputs = search.encoder.n_inputs
    counted = ParameterCount(n_inputs, 3, n_embedding_params=16)
    search.limits.costs, search.limits.at_most = (counted,), (90 + 16,)
    assert len(FinalSelection(num_draws=40).select(search)) == 3


def test_what_is_over_a_limit_is_not_returned(new_search, monkeypatch):
    search = with_logits(new_search, LOGITS, flops=50)
    infeasible = torch.tensor([search.space.indices((8, 8))])
    monkeypatch.setattr(FinalSelection, "indices", lambda self, *_: (infeasible, "by mistake"))
    with pytest.raises(RuntimeError, match=r"\(8, 8\) costs \{'params': 163, 'flops': 144\}, which is over a limit"):
        FinalSelection().select(search)


def test_a_checkpoint_brings_back_what_was_selected(new_search):
    search = with_logits(new_search, LOGITS)
    selection = FinalSelection(num_draws=40)
    selection.on_train_end(SimpleNamespace(is_global_zero=True), search)
    again = FinalSelection()
    again.load_state_dict(selection.state_dict())
    assert again.selected == selection.selected != []
