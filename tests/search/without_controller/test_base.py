"""What holds for every searcher without a controller."""

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tabnas.errors import UserError
from tabnas.method import Rejection
from tabnas.search.without_controller import Bayesian, Evolution, Exhaustive, OneShotUniform, WithoutController
from tabnas.trainer import fit, make_trainer
from tests.brute_force import feasible, problems
from tests.search.without_controller.conftest import made

EXPLORERS = {
    OneShotUniform: {"num_draws": 30},
    Bayesian: {"num_initial": 4, "num_steps": 8, "num_candidates": 20},
    Evolution: {"population": 6, "steps": 4, "num_children": 5, "tournament": 2},
    Exhaustive: {"max_architectures": 10**6},
}
every_explorer = pytest.mark.parametrize(("kind", "own"), EXPLORERS.items(), ids=lambda p: getattr(p, "__name__", ""))


@every_explorer
@settings(deadline=None, max_examples=40)
@given(problem=problems(), num_selected=st.integers(1, 4), seed=st.integers(0, 99))
def test_only_what_is_feasible_is_asked_for_once_and_the_best_of_it_chosen(kind, own, problem, num_selected, seed):
    space, costs, at_most, _ = problem
    valid = set(feasible(space, costs, at_most))
    asked = []

    def losses(children):
        asked.extend(space.indices(widths) for widths in children)
        return [loss(space.indices(widths)) for widths in children]

    def loss(indices):
        return float(torch.rand((), generator=torch.Generator().manual_seed(hash((seed, *indices)) % 2**31)))

    chosen, how = made(kind, space, costs, at_most, seed, num_selected=num_selected, **own).choose(losses)
    assert set(asked) <= valid
    assert len(asked) == len(set(asked)) > 0
    assert [tuple(y) for y in chosen.tolist()] == sorted(asked, key=loss)[:num_selected]
    assert how.startswith(f"smallest one-shot loss of {len(asked)} ")


@every_explorer
def test_the_seed_settles_what_is_explored(connect4, kind, own):
    explored = []
    for seed in (1, 1, 2):
        asked = []

        def losses(children, asked=asked):
            asked.extend(children)
            return connect4.losses(children)

        connect4.new(kind, seed, **own).choose(losses)
        explored.append(asked)
    assert explored[0] == explored[1]
    assert (explored[0] == explored[2]) == (kind is Exhaustive)


@every_explorer
def test_the_supernet_is_trained_as_where_rl_steps_are_still_to_come(new_search, tmp_path, kind, own):
    """Bit for bit, on the same draws."""
    searches = []
    for each, more in ((kind, own), (Rejection, {"rl_from": 0.99})):
        small = new_search(kind=each, **more)
        fit(make_trainer("cpu", 3, []), small.search, small.data.train_dataloader(), tmp_path / "none")
        searches.append(small.search)
    one, other = (search.state_dict() for search in searches)
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    search = searches[0]
    assert not search.controller.logits.any()
    assert search.counts["rl_updates"] == search.counts["children_evaluated"] == 0
    explored = int(search.selection.selected[0].how.split("loss of ")[1].split()[0])
    assert search.counts["forward_passes"] == explored * 4  # 60 rows in minibatches of 16
    valid = [widths for widths in search.space if search.limits.allow(widths)]
    losses = dict(zip(valid, search.one_shot_losses(valid), strict=True))
    found = [s.widths for s in search.selection.selected]
    assert explored <= len(valid) == 5
    assert found == sorted(found, key=losses.__getitem__)
    if explored == len(valid):
        assert found == sorted(valid, key=losses.__getitem__)[:3]
    assert {s.probability for s in search.selection.selected} == {None}


def test_losses_of_fewer_rows_are_of_those_rows(new_search):
    search = new_search(kind=OneShotUniform, max_rows=16).search
    rows = search.valid.take(torch.arange(0, 60, 4))
    children = [(4, 2), (2, 2), (2, 8)]
    assert search.one_shot_losses(children) == pytest.approx([search.one_shot(w, rows)["loss"] for w in children])
    assert search.counts["forward_passes"] == 3
    assert search.one_shot_losses([]) == []


def test_weight_draws_from_v(new_search, tmp_path, monkeypatch):
    trained = []
    for weight_draws in ("p", "valid"):
        small = new_search(kind=OneShotUniform, weight_draws=weight_draws)
        update = type(small.search)._weight_update
        seen = set()
        monkeypatch.setattr(
            type(small.search),
            "_weight_update",
            lambda self, rows, widths, *more, seen=seen, update=update: (
                seen.update(widths) or update(self, rows, widths, *more)
            ),
        )
        fit(make_trainer("cpu", 3, []), small.search, small.data.train_dataloader(), tmp_path / "none")
        monkeypatch.undo()
        trained.append({small.search.limits.allow(widths) for widths in seen - {None}})
    assert trained == [{True, False}, {True}]


@pytest.mark.parametrize("kind", EXPLORERS)
def test_there_are_no_settings_of_a_controller(kind):
    taken = {name for c in kind.__mro__[:2] for name in inspect.signature(c.__init__).parameters}
    assert {"warmup_fraction", "weight_draws", "num_selected", "max_rows"} <= taken
    assert not taken & {"eta", "rl_from", "rl_every", "baseline_decay", "selection"}
    assert issubclass(kind, WithoutController)


@pytest.mark.parametrize(
    ("kind", "settings", "name"),
    [
        (OneShotUniform, {"num_draws": 0}, "search.num_draws"),
        (OneShotUniform, {"num_selected": 0}, "search.num_selected"),
        (OneShotUniform, {"max_rows": 0}, "search.max_rows"),
        (OneShotUniform, {"weight_draws": "v"}, "search.weight_draws"),
        (Bayesian, {"num_initial": 0}, "search.num_initial"),
        (Bayesian, {"num_steps": -1}, "search.num_steps"),
        (Bayesian, {"num_candidates": 0}, "search.num_candidates"),
        (Bayesian, {"length_scale": 0}, "search.length_scale"),
        (Bayesian, {"noise": 0}, "search.noise"),
        (Evolution, {"population": 0}, "search.population"),
        (Evolution, {"steps": 0.5}, "search.steps"),
        (Evolution, {"num_children": 0}, "search.num_children"),
        (Evolution, {"tournament": 0}, "search.tournament"),
        (Exhaustive, {"by": "loss"}, "search.by"),
        (Exhaustive, {"max_architectures": 0}, "search.max_architectures"),
    ],
)
def test_refuses(connect4, kind, settings, name):
    with pytest.raises(UserError) as caught:
        connect4.new(kind, **settings)
    assert caught.value.name == name
