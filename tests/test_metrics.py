import math

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from sklearn.metrics import log_loss as sklearn_log_loss

from tabnas.metrics import balanced_error, evaluate, log_loss


def test_log_loss_equals_scikit_learn():
    logits, target = torch.randn(50, 4, dtype=torch.float64), torch.arange(50) % 4
    assert log_loss(logits, target).item() == pytest.approx(sklearn_log_loss(target, logits.softmax(dim=1)))
    single = torch.randn(50, 1, dtype=torch.float64)
    assert log_loss(single, target % 2).item() == pytest.approx(sklearn_log_loss(target % 2, single.sigmoid()[:, 0]))


def test_balanced_error_equals_scikit_learn():
    logits, target = torch.randn(200, 4), torch.arange(200) % 4
    expected = 1 - balanced_accuracy_score(target, logits.argmax(dim=1))
    assert balanced_error(logits, target) == pytest.approx(expected)


def test_balanced_error_leaves_out_classes_that_do_not_occur():
    logits = torch.eye(3)[torch.tensor([0, 0, 1, 2])]
    assert balanced_error(logits, torch.tensor([0, 0, 1, 1])) == pytest.approx(0.25)


def test_two_classes_from_one_logit():
    assert balanced_error(torch.tensor([[-1.0], [2.0], [3.0], [1.0]]), torch.tensor([0, 0, 1, 1])) == pytest.approx(
        0.25
    )


def test_evaluation_in_pieces_is_that_of_the_whole(monkeypatch):
    monkeypatch.setattr("tabnas.metrics.EVALUATION_ROWS", 7)
    numerical, target = torch.randn(50, 4), torch.arange(50) % 4
    found = evaluate(lambda numerical, _: numerical, numerical, torch.empty(50, 0), target)
    assert found["loss"] == pytest.approx(log_loss(numerical, target).item())
    assert math.isfinite(found["balanced_error"])
