"""Known losses."""

import pytest
import torch

from tabnas.errors import UserError
from tabnas.feasibility import Enumeration
from tabnas.space import SearchSpace
from tabnas.toy.table import LossTable
from tests.test_conf import compose
from tests.toy.conftest import LOSSES


def test_the_papers_losses_and_limit_are_the_configs():
    cfg = compose("dataset=toy")
    assert dict(cfg.dataset.losses) == LOSSES
    assert [list(layer) for layer in cfg.space.choices] == [[2, 3, 4], [2, 3, 4]]
    assert cfg.limits == [{"cost": "params", "limit": 25}]
    assert (cfg.search.eta, cfg.search.warmup_fraction, cfg.trainer.max_epochs) == (0.1, 0, 500)


def test_what_is_feasible_and_best(toy, table):
    feasible = [toy.space.widths(y) for y in Enumeration(*toy).feasible.tolist()]
    assert feasible == [(2, 2), (2, 3), (2, 4), (3, 2), (3, 3), (4, 2)]
    assert table.best(feasible) == (4, 2)
    assert toy.cost((4, 2)) == 25


def test_losses_by_choice_indices(toy, table):
    children = torch.tensor([[[0, 2], [2, 0]], [[1, 1], [2, 2]]])
    assert torch.equal(table.loss(children), torch.tensor([[0.66, 0.6], [0.66, 0.1]]))
    for widths, loss in table.losses.items():
        assert table.loss(torch.tensor(toy.space.indices(widths))).item() == pytest.approx(loss)


def test_losses_of_layers_of_unequal_length():
    space = SearchSpace([[1, 2], [3, 4, 5], [6, 7]])
    losses = {"-".join(map(str, widths)): float(i) for i, widths in enumerate(space)}
    table = LossTable(losses, 1, 1, space)
    assert table.loss(torch.tensor([[1, 2, 0], [0, 1, 1]])).tolist() == [losses["2-5-6"], losses["1-4-7"]]


@pytest.mark.parametrize(
    ("losses", "says"),
    [
        (3, "dataset.losses: must map architectures to losses, got 3"),
        ({**LOSSES, "4-4": "small"}, "dataset.losses.4-4: must be a number, got 'small'"),
        ({**LOSSES, "4-4": float("nan")}, "dataset.losses.4-4: must be a number, got nan"),
        ({"2-2": 0.9}, "dataset.losses: must hold every architecture of the space, 2-3 too"),
    ],
)
def test_wrong_losses(toy, losses, says):
    with pytest.raises(UserError) as error:
        LossTable(losses, 2, 1, toy.space)
    assert says in str(error.value)


def test_wrong_sizes(toy):
    with pytest.raises(UserError, match=r"dataset\.n_outputs: must be an integer of at least 1, got None"):
        LossTable(LOSSES, 2, None, toy.space)
