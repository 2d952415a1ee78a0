"""Several replicas in one process: what a step is, by a second route, and that it is a mean over those that take part.

That processes do the same is in tests/test_processes.py.
"""

import pytest
import torch

from tabnas.controller import log_prob
from tabnas.errors import UserError
from tabnas.method import ConditionalDraws, Rejection, RewardShaping
from tabnas.optim import SGD
from tabnas.trainer import fit, make_trainer


def trained(small, tmp_path, epochs=3):
    fit(make_trainer("cpu", epochs, []), small.search, small.data.train_dataloader(), tmp_path / "none")
    return small.search


def step_rows(small, n_replicas):
    """The training and validation rows of a step."""
    block = next(iter(small.data.train_dataloader()))
    return block.train.split(16 * n_replicas)[0], block.valid.split(16 * n_replicas)[0]


def started(new_search, **method):
    """A search of SGD steps of rate 1 at logits that are not uniform."""
    small = new_search(
        warmup_fraction=0.0, rl_optimizer="sgd", eta=1.0, optimizer=SGD(lr=1.0), steps_per_block=1, **method
    )
    with torch.no_grad():
        small.search.controller.logits.copy_(torch.tensor([[0.5, -0.2, 0.1], [0.0, 0.3, -0.4]]))
    return small


FEASIBLE = ([0, 1], [1, 0], [0, 0])
INFEASIBLE = ([2, 2], [2, 1])


@pytest.mark.parametrize(
    "children", [FEASIBLE, (*FEASIBLE[:2], INFEASIBLE[0]), (INFEASIBLE[1], FEASIBLE[1], INFEASIBLE[0])]
)
def test_the_rl_step_is_the_mean_over_feasible_replicas(new_search, children):
    """Each replica's −(Q − Q̄)·ok·log [P(y)/P(V)] · replicas / feasible, averaged over the replicas, by autograd."""
    small = started(new_search, replicas_per_device=3)
    search = small.search
    _, rows = step_rows(small, 3)
    search.method.baseline.update(0.3)
    logits = search.controller.logits.detach().clone().requires_grad_()
    ok = torch.tensor([float(search.limits.allow(search.space.widths(y))) for y in children])
    inputs = [search.encoder(r.numerical, r.categorical) for r in rows.split(16)]
    loss = [
        search.task.loss(search.supernet(x, search.space.widths(y)), r.target)
        for x, y, r in zip(inputs, children, rows.split(16), strict=True)
    ]
    q = (1.0 - torch.stack(loss)).detach()
    log_p = log_prob(logits, torch.tensor(children)) - search.method.program.log_prob(logits)
    (-(q - 0.3) * ok * log_p * (3 / ok.sum())).mean().backward()
    before = search.controller.logits.detach().clone()
    (_, optimizer), _ = search.configure_optimizers()
    search._rl_update(rows, torch.tensor(children), 0.0, optimizer)
    assert torch.allclose(search.controller.logits.detach() - before, -logits.grad, atol=1e-6)
    mean = (q * ok).sum() / ok.sum()
    assert search.method.baseline.value == pytest.approx((0.9 * 0.1 * 0.3 + 0.1 * mean.item()) / (1 - 0.9**2), abs=1e-6)
    assert search.counts["children_evaluated"] == ok.sum()


def test_without_a_feasible_replica_nothing_moves(new_search):
    small = new_search(replicas_per_device=2, warmup_fraction=0.0)
    search = small.search
    _, rows = step_rows(small, 2)
    (_, optimizer), _ = search.configure_optimizers()
    search._rl_update(rows, torch.tensor([[0, 1], [2, 2]]), 0.0, optimizer)  # so that the moments are not 0
    before = [
        t.clone() for t in (search.controller.logits.detach(), *optimizer.state[search.controller.logits].values())
    ]
    search._rl_update(rows, torch.tensor(INFEASIBLE), 0.0, optimizer)
    after = (search.controller.logits.detach(), *optimizer.state[search.controller.logits].values())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert before[1].any()
    assert (search.counts["rl_updates"], search.counts["skipped_infeasible"]) == (1, 1)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("widths", [[(2, 8), (4, 2), (4, 4)], [(2, 8), None, (4, 4)], [(4, 4)] * 3])
def test_the_weight_step_is_the_mean_of_the_replicas_gradients(new_search, widths, sparse):
    """By mask mode, whose gradients are of full width; each child on its own minibatch."""
    small = started(new_search, replicas_per_device=3, sparse=sparse)
    search = small.search
    rows, _ = step_rows(small, 3)
    modules = (search.encoder, search.supernet)
    parameters = [p for module in modules for p in module.parameters()]
    for w, minibatch in zip(widths, rows.split(16), strict=True):
        x = search.encoder(minibatch.numerical, minibatch.categorical)
        outputs = search.supernet(x, w or search.space.largest, mode="mask")
        (search.task.loss(outputs, minibatch.target) / 3).backward()
    expected = [p.detach() - p.grad for p in parameters]
    search.zero_grad()
    (optimizer, _), _ = search.configure_optimizers()
    loss = search._weight_update(rows, widths, 0.0, optimizer)
    assert all(torch.allclose(p.detach(), e, atol=1e-5) for p, e in zip(parameters, expected, strict=True))
    assert 0.5 < loss < 3


def test_adam_leaves_alone_what_no_replica_holds(new_search):
    small = new_search(replicas_per_device=2, warmup_fraction=0.0)
    search = small.search
    rows, _ = step_rows(small, 2)
    (optimizer, _), _ = search.configure_optimizers()
    search._weight_update(rows, [None, None], 0.0, optimizer)
    weight = search.supernet.layers[1].weight
    before, moments = weight.detach().clone(), optimizer.state[weight]["exp_avg"].clone()
    search._weight_update(rows, [(2, 4), (4, 2)], 0.0, optimizer)
    moved = (weight.detach() != before) | (optimizer.state[weight]["exp_avg"] != moments)
    assert moved[:4, :4].all()
    assert not moved[4:].any()
    assert not moved[:, 4:].any()


def test_infeasible_replicas_can_be_left_out_of_the_weight_step(new_search):
    small = started(new_search, replicas_per_device=2, skip_infeasible_weight_updates=True)
    alone = started(new_search, replicas_per_device=1)
    rows, _ = step_rows(small, 2)
    for search, of_rows, widths in (
        (small.search, rows, [(8, 8), (2, 4)]),
        (alone.search, rows.split(16)[1], [(2, 4)]),
    ):
        (optimizer, _), _ = search.configure_optimizers()
        search._weight_update(of_rows, widths, 0.0, optimizer)
    pairs = zip(small.search.parameters(), alone.search.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert small.search._weight_update(rows, [(8, 8), (8, 4)], 0.0, optimizer) is None
    assert small.search.counts["skipped_weight_updates"] == 1


@pytest.mark.parametrize("n_children", [1, 2])
def test_exact_searches_judge_all_replicas_children_against_each_other(new_search, n_children):
    small = started(new_search, replicas_per_device=3, kind=ConditionalDraws, num_children=n_children)
    search = small.search
    _, rows = step_rows(small, 3)
    children = search.method.draw(search._logits(), 3)
    assert children.shape == (3 * n_children, 2)
    (_, optimizer), _ = search.configure_optimizers()
    step = search._rl_update(rows, children, 0.0, optimizer)
    others = [(step.reward.sum() - r) / (3 * n_children - 1) for r in step.reward]
    assert torch.allclose(step.advantage, step.reward - torch.stack(others), atol=1e-6)
    assert search.method.baseline.total == 0.0


@pytest.mark.parametrize("kind", [Rejection, ConditionalDraws, RewardShaping])
def test_a_search_of_several_replicas(new_search, tmp_path, kind):
    reward = {"reward": "tunas_abs", "beta": -0.5} if kind is RewardShaping else {}
    small = new_search(epochs=8, kind=kind, replicas_per_device=3, **reward)
    search = trained(small, tmp_path, epochs=8)
    assert search.total_steps == search.step == search.counts["weight_updates"] == 8 * (180 // 48)
    assert search.counts["children_evaluated"] > search.counts["rl_updates"] > 0
    if kind is not Rejection:
        assert search.counts["children_evaluated"] == 3 * search.method.num_children * search.counts["rl_updates"]
    assert search.controller.logits.any()
    assert search.selection.selected


def test_refuses_more_replicas_than_rows(new_search):
    with pytest.raises(UserError, match=r"batch_size: must be at most the 60 rows .* over the 4 replicas.* give 15"):
        new_search(replicas_per_device=4)
