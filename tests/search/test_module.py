"""The search against a plain PyTorch loop, a pinned trajectory, and what each switch must change."""

import importlib
import math

import pytest
import torch

from tabnas.bench.overhead import plain_loop
from tabnas.errors import UserError
from tabnas.feasibility import Enumeration, Listed, MonteCarlo
from tabnas.method import ConditionalDraws, Rejection, RewardShaping
from tabnas.optim import SGD
from tabnas.trainer import fit, make_trainer

KINDS = [
    (Rejection, {}), (Rejection, {"num_samples": 64}), (ConditionalDraws, {}), (ConditionalDraws, {"num_children": 1}),
    (RewardShaping, {"reward": "tunas_abs", "beta": -0.5}),
]  # fmt: skip
every_kind = pytest.mark.parametrize(("kind", "settings"), KINDS)


def trained(small, tmp_path, epochs=3):
    fit(make_trainer("cpu", epochs, []), small.search, small.data.train_dataloader(), tmp_path / "none")
    return small.search


def same_state(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_equals_a_plain_loop_bit_for_bit(new_search, tmp_path):
    search = trained(new_search(warmup_fraction=0.0), tmp_path)
    plain = new_search(warmup_fraction=0.0)
    plain_loop(plain.search, plain.data, search.total_steps)
    assert search.counts["rl_updates"] > 0
    assert same_state(search, plain.search)
    assert search.method.baseline == plain.search.method.baseline


@every_kind
def test_the_size_of_a_block_changes_nothing(new_search, tmp_path, kind, settings):
    searches = [trained(new_search(kind=kind, steps_per_block=n, **settings), tmp_path) for n in (1, 7)]
    assert searches[0].counts["rl_updates"] > 0
    assert same_state(*searches)
    assert searches[0].counts == searches[1].counts


@every_kind
def test_same_seed_same_search_and_another_seed_another(new_search, tmp_path, kind, settings):
    first, second, other = (trained(new_search(kind=kind, seed=s, **settings), tmp_path) for s in (3, 3, 4))
    assert same_state(first, second)
    assert not same_state(first, other)


@every_kind
def test_pinned_trajectory(new_search, tmp_path, kind, settings):
    """Catches an unmeant change of the algorithm; change the numbers only with a change that is meant."""
    search = trained(new_search(epochs=8, eta=0.05, kind=kind, **settings), tmp_path, epochs=8)
    pinned = PINNED[KINDS.index((kind, settings))]
    assert (search.counts, search.leading()) == pinned[:2]
    assert search.controller.logits[0].tolist() == pytest.approx(pinned[2], abs=1e-3)
    assert search.method.baseline.value == pytest.approx(pinned[3], abs=1e-3)


def counts(rl_updates, children_evaluated, skipped_infeasible=0):
    return {
        "weight_updates": 88, "rl_updates": rl_updates, "children_evaluated": children_evaluated,
        "forward_passes": children_evaluated,
        "skipped_infeasible": skipped_infeasible, "skipped_no_sample": 0, "skipped_weight_updates": 0,
    }  # fmt: skip


PINNED = [
    (counts(34, 34, 32), (4, 4), [-0.4540, 0.4540, 0.0], -0.0272),
    (counts(34, 34, 32), (4, 4), [-0.7969, 0.7969, 0.0], -0.0112),
    (counts(66, 132), (2, 8), [0.8255, -0.8255, 0.0], 0.0),
    (counts(66, 66), (4, 4), [-1.5596, 1.5596, 0.0], 0.0640),
    (counts(66, 66), (4, 8), [-1.1660, 1.5495, -0.7174], 0.0108),
]


@pytest.mark.parametrize(
    ("kind", "settings", "seed"),
    [
        (Rejection, {}, 0),
        (Rejection, {}, 1),
        (ConditionalDraws, {}, 0),
        (ConditionalDraws, {"num_children": 1}, 0),
        (ConditionalDraws, {"num_children": 4, "rl_every": 2}, 0),
        (RewardShaping, {"reward": "quality"}, 0),
    ],
)
def test_learns_what_pays(new_search, tmp_path, monkeypatch, kind, settings, seed):
    """With rewards that only like the first layer wide and the second narrow, that is what the controller finds."""
    small = new_search(epochs=100, eta=0.1, seed=seed, limit=100, kind=kind, **settings)
    best = (8, 2)
    assert small.search.limits.allow(best)
    assert not small.search.limits.allow((8, 8))
    monkeypatch.setattr(
        type(small.search), "_quality", lambda self, rows, children: torch.tensor([float(w == best) for w in children])
    )
    search = trained(small, tmp_path, epochs=100)
    assert search.leading() == best
    if kind is not RewardShaping:
        assert search.history[-1]["prob_valid"] > search.history[0]["prob_valid"]


def test_prob_valid_is_exact_unless_samples_are_asked_for(new_search):
    assert isinstance(new_search().search.method.estimator, Listed)
    asked = new_search(num_samples=17).search.method
    assert isinstance(asked.estimator, MonteCarlo)
    assert (asked.estimator.num_samples, asked.program is not None) == (17, True)


def test_steps_without_a_feasible_sample_are_skipped_and_counted(new_search, tmp_path):
    small = new_search(num_samples=1, limit=45)
    search = trained(small, tmp_path)
    assert search.counts["skipped_no_sample"] > 0
    assert search.controller.logits.isfinite().all()
    acted = sum(search.counts[key] for key in ("rl_updates", "skipped_infeasible", "skipped_no_sample"))
    assert acted == search.total_steps - math.ceil(search.total_steps / 4)


@pytest.mark.parametrize("n_children", [1, 2, 5])
def test_every_child_of_an_exact_search_is_feasible_and_counted(new_search, tmp_path, monkeypatch, n_children):
    small = new_search(kind=ConditionalDraws, num_children=n_children, weight_draws="valid", limit=70, flops=50)
    trained_widths, asked = [], []
    update, quality = type(small.search)._weight_update, type(small.search)._quality

    def weight_update(self, rows, widths, *more):
        trained_widths.extend(widths)
        return update(self, rows, widths, *more)

    def qualities(self, rows, children):
        asked.append(children)
        return quality(self, rows, children)

    monkeypatch.setattr(type(small.search), "_weight_update", weight_update)
    monkeypatch.setattr(type(small.search), "_quality", qualities)
    search = trained(small, tmp_path)
    rl_steps = search.total_steps - math.ceil(search.total_steps / 4)
    assert [len(children) for children in asked] == [n_children] * rl_steps
    assert search.counts["rl_updates"] == rl_steps
    assert search.counts["children_evaluated"] == n_children * rl_steps
    assert search.counts["skipped_infeasible"] == search.counts["skipped_no_sample"] == 0
    assert all(search.limits.allow(widths) for children in asked for widths in children)
    assert all(search.limits.allow(widths) for widths in trained_widths if widths is not None)
    assert len(set(trained_widths)) > 2


@every_kind
def test_children_evaluated_are_those_whose_quality_was_looked_at(new_search, tmp_path, monkeypatch, kind, settings):
    small, asked = new_search(kind=kind, **settings), []
    original = type(small.search)._quality

    def qualities(self, rows, children):
        asked.extend(children)
        return original(self, rows, children)

    monkeypatch.setattr(type(small.search), "_quality", qualities)
    search = trained(small, tmp_path)
    assert search.counts["children_evaluated"] == search.counts["forward_passes"] == len(asked) > 0
    infeasible = [widths for widths in asked if not search.limits.allow(widths)]
    assert bool(infeasible) == (kind is RewardShaping)


@pytest.mark.parametrize("rl_every", [1, 2, 5, 1000])
def test_rl_steps_come_every_few_weight_steps(new_search, tmp_path, rl_every):
    search = trained(new_search(kind=ConditionalDraws, rl_every=rl_every), tmp_path)
    after_warmup = range(math.ceil(search.total_steps / 4), search.total_steps)
    assert search.counts["rl_updates"] == sum(step % rl_every == 0 for step in after_warmup)
    assert search.counts["weight_updates"] == search.total_steps


@pytest.mark.parametrize(("rl_from", "begins"), [(None, 0.25), (0.0, 0.25), (0.1, 0.25), (0.25, 0.25), (0.6, 0.6)])
def test_rl_steps_begin_after_warmup_or_later(new_search, tmp_path, rl_from, begins):
    search = trained(new_search(epochs=5, kind=ConditionalDraws, rl_from=rl_from), tmp_path, epochs=5)
    assert search.total_steps == 55
    assert search.counts["rl_updates"] == sum(step / 55 >= begins for step in range(55))
    before = [point for point in search.history if point["step"] <= 55 * begins]
    assert len(before) > 2
    assert all(set(layer) == {layer[0]} for point in before for layer in point["probabilities"])  # uniform as yet


def one_rl_update(new_search, children, **method):
    """The step of given children's RL update, by SGD with a rate of 1, and what it was computed from."""
    small = new_search(warmup_fraction=0.0, rl_optimizer="sgd", eta=1.0, **method)
    search = small.search
    with torch.no_grad():
        search.controller.logits.copy_(torch.tensor([[0.5, -0.2, 0.1], [0.0, 0.3, -0.4]]))
    before = search.controller.logits.detach().clone()
    (_, optimizer), _ = search.configure_optimizers()
    rows = next(iter(small.data.train_dataloader())).valid.split(16)[0]
    step = search._rl_update(rows, torch.tensor(children), 0.0, optimizer)
    return search, before, search.controller.logits.detach() - before, step, rows


@pytest.mark.parametrize(
    ("rl_from", "progress", "share"),
    [(None, 0.25, 1.0), (None, 0.625, 0.5), (None, 1.0, 0.0), (0.1, 0.625, 0.5), (0.6, 0.6, 1.0), (0.6, 0.8, 0.5)],
)
def test_the_cosine_of_eta_runs_from_the_first_rl_step(new_search, rl_from, progress, share):
    small = new_search(rl_schedule="cosine", eta=0.3, rl_from=rl_from)
    (_, optimizer), _ = small.search.configure_optimizers()
    rows = next(iter(small.data.train_dataloader())).valid.split(16)[0]
    small.search._rl_update(rows, torch.tensor([[0, 1]]), progress, optimizer)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.3 * share)


def followed_by_refreshed(monkeypatch):
    monkeypatch.setattr(importlib.import_module("tabnas.feasibility.stepwise"), "MOST_LISTED", 0)


diverging = pytest.mark.parametrize(
    ("kind", "settings"),
    [*KINDS, (Rejection, {"weight_draws": "valid"}), (ConditionalDraws, {"weight_draws": "valid"})],
)


@pytest.mark.timeout(2)
@pytest.mark.parametrize("listed", [True, False])
@diverging
def test_logits_that_are_not_finite_stop_the_search(new_search, tmp_path, monkeypatch, kind, settings, listed):
    if not listed:
        followed_by_refreshed(monkeypatch)
    small = new_search(kind=kind, warmup_fraction=0.0, eta=1e39, **settings)
    with pytest.raises(UserError, match=r"logits: must stay finite, by step \d+ of the search.*lower search\.eta"):
        trained(small, tmp_path)


def onehot(indices, like):
    table = torch.zeros_like(like)
    for i, j in enumerate(indices):
        table[i, j] = 1
    return table


def expected_onehot(search, logits):
    """E[onehot | V] by a sum over V."""
    feasible = Enumeration(search.space, search.limits.costs, search.limits.at_most).feasible.tolist()
    p = logits.softmax(dim=1)
    weights = torch.stack([math.prod(p[i, j] for i, j in enumerate(y)) for y in feasible])
    return sum(w * onehot(y, logits) for w, y in zip(weights / weights.sum(), feasible, strict=True))


@pytest.mark.parametrize("kind", [Rejection, ConditionalDraws])
def test_rl_update_follows_the_conditional_gradient(new_search, kind):
    """∇J = (Q − Q̄)·(onehot(y) − E[onehot | V]): the update by hand, by a sum over V."""
    one = {"num_children": 1} if kind is ConditionalDraws else {}
    search, before, moved, step, _ = one_rl_update(new_search, [[0, 1]], kind=kind, **one)
    assert step.advantage == step.reward  # Q̄ is 0 before the first
    by_hand = step.advantage * (onehot([0, 1], before) - expected_onehot(search, before))
    assert torch.allclose(moved, by_hand, atol=1e-5)
    assert search.method.baseline.value == pytest.approx(step.reward.item())


def test_several_children_are_judged_on_the_same_rows_against_each_other(new_search):
    """½·(Q(a) − Q(b))·(onehot(a) − onehot(b)), twice half of it; the qualities with the SuperNet's weights."""
    children = [[0, 1], [1, 0]]
    search, before, moved, step, rows = one_rl_update(new_search, children, kind=ConditionalDraws)
    inputs = search.encoder(rows.numerical, rows.categorical)
    a, b = (
        1 - search.task.loss(search.supernet(inputs, search.space.widths(child)), rows.target).item()
        for child in children
    )
    assert step.reward.tolist() == pytest.approx([a, b], abs=1e-6)
    assert step.advantage.tolist() == pytest.approx([a - b, b - a], abs=1e-6)
    difference = onehot(children[0], before) - onehot(children[1], before)
    assert torch.allclose(moved, (a - b) / 2 * difference, atol=1e-6)
    assert a != b


@pytest.mark.parametrize("prob_valid", ["constant", "omitted"])
def test_ablations_leave_out_the_gradient_of_prob_valid(new_search, prob_valid):
    _, before, moved, step, _ = one_rl_update(new_search, [[0, 1]], prob_valid=prob_valid)
    assert torch.allclose(moved, step.advantage * (onehot([0, 1], before) - before.softmax(dim=1)), atol=1e-5)


def test_a_shaped_reward_follows_the_plain_gradient_whatever_the_cost(new_search):
    search, before, moved, step, _ = one_rl_update(
        new_search, [[2, 2]], kind=RewardShaping, reward="tunas_abs", beta=-0.5
    )
    cost, limit = search.limits.costs[0]((8, 8)), search.limits.at_most[0]
    assert cost > limit
    rows_quality = step.reward + 0.5 * (cost / limit - 1)
    assert -3 < rows_quality < 1  # 1 − a log loss
    assert torch.allclose(moved, step.advantage * (onehot([2, 2], before) - before.softmax(dim=1)), atol=1e-5)


def test_an_infeasible_child_is_not_looked_at(new_search):
    search, _, moved, step, _ = one_rl_update(new_search, [[2, 2]])
    assert step is None
    assert not moved.any()
    assert (search.counts["skipped_infeasible"], search.counts["children_evaluated"]) == (1, 0)


def test_infeasible_weight_updates_can_be_skipped(new_search, tmp_path, monkeypatch):
    small = new_search(epochs=8, skip_infeasible_weight_updates=True)
    search = trained(small, tmp_path, epochs=8)
    assert search.counts["skipped_weight_updates"] > 0
    assert search.counts["skipped_weight_updates"] + search.counts["weight_updates"] == search.total_steps


def test_history_is_a_hundred_points_at_most(new_search, tmp_path):
    search = trained(new_search(epochs=40), tmp_path, epochs=40)
    steps = [point["step"] for point in search.history]
    assert steps == sorted(set(steps))
    assert 50 <= len(steps) <= 100
    assert steps[-1] == search.total_steps
    for point in search.history:
        assert [sum(row) for row in point["probabilities"]] == pytest.approx([1.0, 1.0])


@pytest.mark.timeout(2)
@pytest.mark.parametrize("listed", [True, False])
@diverging
def test_divergence_is_a_users_error(new_search, tmp_path, monkeypatch, kind, settings, listed):
    if not listed:
        followed_by_refreshed(monkeypatch)
    with pytest.raises(UserError, match=r"loss: must stay finite, at step \d+ of the search, got nan"):
        trained(new_search(kind=kind, warmup_fraction=0.0, lr=1e30, **settings), tmp_path)


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ({"warmup_fraction": 1.0}, "search.warmup_fraction"),
        ({"selection": {"rule": "best"}}, "search.selection.rule"),
        ({"rl_every": 0}, "search.rl_every"),
    ],
)
def test_refuses(new_search, method, name):
    with pytest.raises(UserError) as caught:
        new_search(**method)
    assert caught.value.name == name


def test_metrics_say_what_was_exact_and_what_was_estimated(new_search, tmp_path):
    for settings, estimated in (({}, False), ({"num_samples": 64}, True), ({"prob_valid": "omitted"}, False)):
        search = trained(new_search(**settings), tmp_path)
        exact = Enumeration(search.space, search.limits.costs, search.limits.at_most)
        logits = search.controller.logits.detach()
        assert search.history[-1]["prob_valid"] == pytest.approx(exact.log_prob(logits).exp().item())
        updated = [point for point in search.history if point["reward"] is not None]
        assert len(updated) > 2
        assert all(0 < point["advantage"] < 3 for point in updated)
        assert {point["prob_valid_estimate"] is not None for point in updated} == {estimated}


def test_sparse_embedding_updates_change_nothing_without_momentum(new_search, tmp_path):
    found = []
    for sparse in (False, True):
        small = new_search(sparse=sparse, optimizer=SGD(lr=0.05))
        trained(small, tmp_path / str(sparse))
        found.append([p.detach() for p in small.search.parameters()])
    for dense, sparse in zip(*found, strict=True):
        assert torch.allclose(dense, sparse, atol=1e-6)


def test_sparse_adam_leaves_rows_that_no_minibatch_used(new_search, tmp_path):
    small = new_search(sparse=True)
    table = small.search.encoder.embedding.weight
    before = table.detach().clone()
    constant = small.data.train.categorical.clone()
    constant[:, 1] = 2  # the second column's other ids, rows 4, 5 and 7, never occur
    small.data.train = small.data.train._replace(categorical=constant)
    trained(small, tmp_path)
    moved = (table.detach() != before).any(dim=1)
    assert moved.tolist() == [True] * 4 + [False, False, True, False]
