import pytest
import torch

from tabnas.errors import UserError
from tabnas.search.warmup import LayerWarmup
from tabnas.trainer import fit, make_trainer


def test_probability_falls_linearly_from_one_to_zero():
    warmup = LayerWarmup(0.25)
    assert [warmup.probability(t) for t in (0.0, 0.0625, 0.125, 0.25, 0.9)] == [1.0, 0.75, 0.5, 0.0, 0.0]
    assert LayerWarmup(0.0).probability(0.0) == 0.0


@pytest.mark.parametrize("fraction", [-0.1, 1.0, "a"])
def test_refuses(fraction):
    with pytest.raises(UserError, match=r"search\.warmup_fraction"):
        LayerWarmup(fraction)


def trained(small, tmp_path, epochs):
    fit(make_trainer("cpu", epochs, []), small.search, small.data.train_dataloader(), tmp_path / "none")
    return small.search


def test_the_controller_waits_through_warmup(new_search, tmp_path):
    """40 epochs, so that a quarter is 10 and ends between two blocks."""
    small = new_search(epochs=40)
    search = trained(small, tmp_path, 10)
    assert search.step == search.total_steps // 4
    assert search.counts["rl_updates"] + search.counts["skipped_infeasible"] == 0
    assert not search.controller.logits.any()
    assert search.counts["weight_updates"] == search.step


def test_the_controller_acts_in_every_step_after_warmup(new_search, tmp_path):
    small = new_search(epochs=8)
    search = trained(small, tmp_path, 8)
    acted = search.counts["rl_updates"] + search.counts["skipped_infeasible"]
    assert acted == search.total_steps - search.total_steps // 4
    assert search.controller.logits.any()


def test_whole_supernet_steps_have_the_probability_they_should(new_search, tmp_path, monkeypatch):
    small = new_search(epochs=200, choices=((2, 4),), limit=100)
    whole = []
    update = type(small.search)._weight_update

    def spy(self, rows, widths, progress, optimizer):
        whole.append(widths == [None])
        return update(self, rows, widths, progress, optimizer)

    monkeypatch.setattr(type(small.search), "_weight_update", spy)
    search = trained(small, tmp_path, 100)
    n = search.total_steps // 4
    share = sum(whole[:n]) / n
    p = torch.tensor([1 - t / n for t in range(n)])
    assert abs(share - p.mean()) < 4 * (p * (1 - p)).sum().sqrt() / n
    assert whole[0]
    assert not any(whole[n:])
