"""The search of fixed shapes takes the steps of the ordinary one. On XLA: tests/tpu."""

import pytest
import torch
from pytorch_lightning import Callback

from tabnas.errors import UserError
from tabnas.feasibility import ChainProgram, Enumeration
from tabnas.method import ConditionalDraws, Rejection, RewardShaping
from tabnas.optim import SGD
from tabnas.search import TabNAS
from tabnas.search.pool import Pool
from tabnas.search.static import StaticTabNAS
from tabnas.trainer import PeriodicCheckpoint, fit, make_trainer


class Killed(Exception):
    pass


class KillAt(Callback):
    """Between two blocks."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if pl_module.step >= self.step:
            raise Killed


CASES = {
    "tabnas": {},
    "tabnas, 3 replicas": {"replicas_per_device": 3},
    "tabnas, draws from V": {"weight_draws": "valid", "replicas_per_device": 2},
    "tabnas, two limits": {"flops": 60},
    "P(V) omitted": {"prob_valid": "omitted"},
    "baseline over all": {"baseline_over": "all"},
    "baseline over all, 3 replicas": {"baseline_over": "all", "prob_valid": "omitted", "replicas_per_device": 3},
    "infeasible weight steps skipped": {"skip_infeasible_weight_updates": True, "replicas_per_device": 2},
    "exact": {"kind": ConditionalDraws},
    "exact, one child": {"kind": ConditionalDraws, "num_children": 1, "rl_every": 2},
    "exact, 2 replicas": {"kind": ConditionalDraws, "replicas_per_device": 2},
    "shaped": {"kind": RewardShaping, "reward": "tunas_abs", "beta": -0.5, "replicas_per_device": 2},
    "SGD, sparse": {"optimizer": SGD(lr=0.05, momentum=0.9), "sparse": True, "replicas_per_device": 2},
}


def trained(small, tmp_path, epochs, callbacks=(), checkpoint=None):
    small.search.double()
    small.data.train = small.data.train._replace(numerical=small.data.train.numerical.double())
    small.data.valid = small.data.valid._replace(numerical=small.data.valid.numerical.double())
    trainer = make_trainer("cpu", epochs, callbacks)
    fit(trainer, small.search, small.data.train_dataloader(), checkpoint or tmp_path / "none")
    return small.search, trainer


@pytest.mark.parametrize("case", CASES)
def test_takes_the_same_steps(new_search, tmp_path, case):
    """In float64, from the same draws, over a whole search."""
    settings = {"epochs": 3, "eta": 0.05, **CASES[case]}
    (one, _), (other, _) = (
        trained(new_search(module=module, **settings), tmp_path, 3) for module in (TabNAS, StaticTabNAS)
    )
    assert one.counts == other.counts
    assert one.counts["rl_updates"] > 2
    for name, value in one.state_dict().items():
        assert torch.allclose(value, other.state_dict()[name], rtol=0, atol=1e-8), name
    for mine, theirs in zip(one.optimizers(), other.optimizers(), strict=True):
        for state, same in zip(mine.state.values(), theirs.state.values(), strict=True):
            moments = state.keys() - {"step"}  # which SGD does not count in the one
            assert all(torch.allclose(state[key], same[key], rtol=0, atol=1e-8) for key in moments)
    assert one.method.baseline.value == pytest.approx(other.method.baseline.value, abs=1e-6)
    assert [s.widths for s in one.selection.selected] == [s.widths for s in other.selection.selected]
    for ours, theirs in zip(one.history, other.history, strict=True):
        for key in ("train_loss", "reward", "advantage", "prob_valid"):
            assert ours[key] == pytest.approx(theirs[key], abs=1e-4), key


def test_a_search_goes_on_as_the_other(new_search, tmp_path):
    for first, then in ((TabNAS, StaticTabNAS), (StaticTabNAS, TabNAS)):
        whole, _ = trained(new_search(epochs=4), tmp_path, 4)
        with pytest.raises(Killed):
            trained(
                new_search(module=first, epochs=4),
                tmp_path,
                4,
                [PeriodicCheckpoint(tmp_path / "last.ckpt", 0), KillAt(22)],
            )
        taken_up, _ = trained(new_search(module=then, epochs=4), tmp_path, 4, checkpoint=tmp_path / "last.ckpt")
        assert taken_up.counts == whole.counts
        for name, value in whole.state_dict().items():
            assert torch.allclose(value, taken_up.state_dict()[name], rtol=0, atol=1e-8), name


@pytest.fixture
def program(toy):
    return ChainProgram(toy.space, toy.cost, toy.limit)


LOGITS = torch.tensor([[0.5, -0.2, 0.1], [0.0, 0.3, -0.4]])


def test_a_listed_pool_is_exact(program, generator):
    pool = Pool(program, generator)
    pool.refresh(torch.zeros(2, 3), torch.device("cpu"))
    log_p, marginals = pool.log_prob_and_marginals(LOGITS[None])
    solution = program.solve(LOGITS)
    assert log_p.item() == pytest.approx(solution.log_prob, abs=1e-6)
    assert torch.allclose(marginals[0].double(), solution.marginals(), atol=1e-6)


def test_draws_of_a_listed_pool_have_their_probabilities(toy, program, generator):
    pool = Pool(program, generator)
    pool.refresh(torch.zeros(2, 3), torch.device("cpu"))
    n = 20_000
    drawn = pool.at(LOGITS, torch.rand(n, generator=generator))
    feasible = Enumeration(toy.space, toy.cost, toy.limit).feasible
    p = LOGITS.softmax(dim=1)
    expected = torch.stack([p[0, a] * p[1, b] for a, b in feasible.tolist()])
    expected = expected / expected.sum()
    for y, share in zip(feasible, expected, strict=True):
        found = (drawn == y).all(dim=1).float().mean()
        assert abs(found - share) < 4 * (share * (1 - share) / n).sqrt()


def test_a_drawn_pool_is_exact_where_it_was_drawn_and_says_how_far_it_is_off_elsewhere(program, generator):
    pool = Pool(program, generator, most_listed=0)
    pool.refresh(LOGITS, torch.device("cpu"))
    for logits, error in ((LOGITS, 0.0), (LOGITS + torch.tensor([[0.3, 0.0, 0.0], [0.0, 0.0, 0.2]]), 0.03)):
        log_p, marginals = pool.log_prob_and_marginals(logits[None])
        solution = program.solve(logits)
        assert log_p.item() == pytest.approx(solution.log_prob, abs=1e-6 + error)
        assert torch.allclose(marginals[0].double(), solution.marginals(), atol=1e-6 + error)
        assert pool.error.item() <= error


def test_refuses_what_it_cannot_do(new_search):
    with pytest.raises(UserError, match=r"search.num_samples: must be null on a TPU, got 64"):
        new_search(module=StaticTabNAS, num_samples=64)


def test_refuses_draws_from_a_large_set(new_search, monkeypatch):
    monkeypatch.setattr("tabnas.search.pool.MOST_LISTED", 3)
    monkeypatch.setattr(Pool.__init__, "__defaults__", (3,))
    new_search(module=StaticTabNAS)
    for settings in ({"kind": ConditionalDraws}, {"weight_draws": "valid"}):
        with pytest.raises(UserError, match=r"limits: must leave at most 3 feasible architectures"):
            new_search(module=StaticTabNAS, **settings)


def test_a_search_by_a_drawn_pool(new_search, tmp_path, monkeypatch):
    monkeypatch.setattr(Pool.__init__, "__defaults__", (0,))
    small = new_search(module=StaticTabNAS, epochs=8, eta=0.02)
    search, _ = trained(small, tmp_path, 8)
    assert not search._pool.listed
    assert 0 < search.history[-1]["gradient_error"] == search.gradient_error < 0.1
    checkpoint = {}
    search.on_save_checkpoint(checkpoint)
    other = new_search(module=StaticTabNAS, epochs=8).search
    other.on_load_checkpoint(checkpoint)
    assert other.gradient_error == search.gradient_error
    assert isinstance(search.method, Rejection)
