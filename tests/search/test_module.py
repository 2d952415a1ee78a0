"""The search against a plain PyTorch loop, a pinned trajectory, and what each switch must change."""

import math

import pytest
import torch

from tabnas.bench.overhead import plain_loop
from tabnas.errors import UserError
from tabnas.feasibility import Enumeration, MonteCarlo
from tabnas.trainer import fit, make_trainer


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


def test_the_size_of_a_block_changes_nothing(new_search, tmp_path):
    assert same_state(*(trained(new_search(steps_per_block=n), tmp_path) for n in (1, 7)))


def test_same_seed_same_search_and_another_seed_another(new_search, tmp_path):
    first, second, other = (trained(new_search(seed=seed), tmp_path) for seed in (3, 3, 4))
    assert same_state(first, second)
    assert not same_state(first, other)


def test_pinned_trajectory(new_search, tmp_path):
    """Catches an unmeant change of the algorithm; change the numbers only with a change that is meant."""
    search = trained(new_search(epochs=8, eta=0.05), tmp_path, epochs=8)
    assert search.counts == PINNED_COUNTS
    assert search.leading() == PINNED_LEADING
    assert search.baseline.value == pytest.approx(PINNED_BASELINE, abs=1e-4)


PINNED_COUNTS = {
    "weight_updates": 88, "rl_updates": 38, "skipped_infeasible": 28, "skipped_no_sample": 0,
    "skipped_weight_updates": 0,
}  # fmt: skip
PINNED_LEADING = (4, 4)
PINNED_BASELINE = 0.08082


@pytest.mark.parametrize("seed", range(3))
def test_learns_what_pays(new_search, tmp_path, monkeypatch, seed):
    """With rewards that only like the first layer wide and the second narrow, that is what the controller finds."""
    small = new_search(epochs=150, eta=0.1, seed=seed, limit=100)
    best = (8, 2)
    assert small.search.cost(best) <= small.search.limit < small.search.cost((8, 8))
    monkeypatch.setattr(type(small.search), "_reward", lambda self, rows, widths: float(widths == best))
    search = trained(small, tmp_path, epochs=150)
    assert search.leading() == best
    assert search.history[-1]["prob_valid"] > search.history[0]["prob_valid"]


def test_exact_by_enumeration_up_to_a_size_else_monte_carlo(new_search):
    assert isinstance(new_search().search.feasibility, Enumeration)
    large = new_search(enumerate_up_to=8).search
    assert large.exact is None
    assert isinstance(large.feasibility, MonteCarlo)
    assert large.feasibility.num_samples == 32_768
    asked = new_search(num_samples=17).search
    assert isinstance(asked.feasibility, MonteCarlo)
    assert (asked.feasibility.num_samples, asked.exact is not None) == (17, True)


def test_steps_without_a_feasible_sample_are_skipped_and_counted(new_search, tmp_path, monkeypatch):
    small = new_search(num_samples=1, limit=45)
    search = trained(small, tmp_path)
    assert search.counts["skipped_no_sample"] > 0
    assert search.controller.logits.isfinite().all()
    acted = sum(search.counts[key] for key in ("rl_updates", "skipped_infeasible", "skipped_no_sample"))
    assert acted == search.total_steps - math.ceil(search.total_steps / 4)


def one_rl_update(new_search, **method):
    """The gradient on the logits of one RL step on a feasible architecture, and what it was computed from."""
    small = new_search(warmup_fraction=0.0, rl_optimizer="sgd", eta=1.0, **method)
    search = small.search
    with torch.no_grad():
        search.controller.logits.copy_(torch.tensor([[0.5, -0.2, 0.1], [0.0, 0.3, -0.4]]))
    before = search.controller.logits.detach().clone()
    (_, optimizer), _ = search.configure_optimizers()
    block = next(iter(small.data.train_dataloader()))
    rows = block.valid.split(16)[0]
    reward, advantage, _ = search._rl_update(rows, [0, 1], 0.0, optimizer)
    return search, before, search.controller.logits.detach() - before, reward, advantage


@pytest.mark.parametrize(("progress", "share"), [(0.25, 1.0), (0.625, 0.5), (1.0, 0.0)])
def test_the_cosine_of_eta_runs_from_the_end_of_warmup(new_search, progress, share):
    small = new_search(rl_schedule="cosine", eta=0.3)
    (_, optimizer), _ = small.search.configure_optimizers()
    rows = next(iter(small.data.train_dataloader())).valid.split(16)[0]
    small.search._rl_update(rows, [0, 1], progress, optimizer)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.3 * share)


def test_logits_that_are_not_finite_stop_the_search(new_search, tmp_path):
    with pytest.raises(UserError, match=r"logits: must stay finite, by step \d+ of the search.*lower search\.eta"):
        trained(new_search(warmup_fraction=0.0, eta=1e39), tmp_path)


def onehot(indices, like):
    table = torch.zeros_like(like)
    for i, j in enumerate(indices):
        table[i, j] = 1
    return table


def test_rl_update_follows_the_conditional_gradient(new_search):
    """∇J = (Q − Q̄)·(onehot(y) − E[onehot | V]): the update by hand, by a sum over V."""
    search, before, moved, reward, advantage = one_rl_update(new_search)
    assert advantage == reward  # Q̄ is 0 before the first
    feasible = search.exact.feasible.tolist()
    p = before.softmax(dim=1)
    weights = torch.stack([math.prod(p[i, j] for i, j in enumerate(y)) for y in feasible])
    expected_onehot = sum(w * onehot(y, before) for w, y in zip(weights / weights.sum(), feasible, strict=True))
    assert torch.allclose(moved, advantage * (onehot([0, 1], before) - expected_onehot), atol=1e-5)
    assert search.baseline.value == pytest.approx(reward)


@pytest.mark.parametrize("prob_valid", ["constant", "omitted"])
def test_ablations_leave_out_the_gradient_of_prob_valid(new_search, prob_valid):
    _, before, moved, _, advantage = one_rl_update(new_search, prob_valid=prob_valid)
    assert torch.allclose(moved, advantage * (onehot([0, 1], before) - before.softmax(dim=1)), atol=1e-5)


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


def test_divergence_is_a_users_error(new_search, tmp_path):
    with pytest.raises(UserError, match=r"loss: must stay finite, at step \d+ of the search, got nan"):
        trained(new_search(lr=1e30), tmp_path)


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ({"eta": 0}, "search.eta"),
        ({"eta": "fast"}, "search.eta"),
        ({"num_samples": 0}, "search.num_samples"),
        ({"num_samples": 2.5}, "search.num_samples"),
        ({"enumerate_up_to": -1}, "search.enumerate_up_to"),
        ({"proposal": "q"}, "search.proposal"),
        ({"prob_valid": "exact"}, "search.prob_valid"),
        ({"baseline_decay": 1.0}, "search.baseline_decay"),
        ({"rl_optimizer": "lbfgs"}, "search.rl_optimizer"),
        ({"rl_schedule": "linear"}, "search.rl_schedule"),
        ({"skip_infeasible_weight_updates": "maybe"}, "search.skip_infeasible_weight_updates"),
    ],
)
def test_refuses(new_search, method, name):
    with pytest.raises(UserError) as caught:
        new_search(**method)
    assert caught.value.name == name
