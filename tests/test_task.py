import math

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, r2_score, root_mean_squared_error
from sklearn.metrics import log_loss as sklearn_log_loss

from tabnas.task import Classification, Regression, evaluate, judged, loss_of, with_intervals

MANY, TWO = Classification(("a", "b", "c", "d")), Classification(("no", "yes"))


def balanced_error(logits, target, weight=None):
    return MANY.metrics(logits, target, weight)["balanced_error"]


def test_log_loss_equals_scikit_learn():
    logits, target = torch.randn(50, 4, dtype=torch.float64), torch.arange(50) % 4
    assert MANY.loss(logits, target).item() == pytest.approx(sklearn_log_loss(target, logits.softmax(dim=1)))
    single = torch.randn(50, 1, dtype=torch.float64)
    assert TWO.loss(single, target % 2).item() == pytest.approx(sklearn_log_loss(target % 2, single.sigmoid()[:, 0]))


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
    monkeypatch.setattr("tabnas.task.EVALUATION_ROWS", 7)
    numerical, target = torch.randn(50, 4), torch.arange(50) % 4
    found = evaluate(MANY, lambda numerical, _: numerical, numerical, torch.empty(50, 0), target)
    assert found["loss"] == pytest.approx(MANY.loss(numerical, target).item())
    assert math.isfinite(found["balanced_error"])
    assert loss_of(MANY, lambda numerical, _: numerical, numerical, torch.empty(50, 0), target) == found["loss"]


def test_what_is_measured():
    """`measured` is what dashboards are told beforehand."""
    for task in (MANY, TWO, Regression(0.0, 1.0)):
        target = torch.arange(30) % 2
        target = target.float() if isinstance(task, Regression) else target
        found = task.metrics(torch.randn(30, task.n_outputs), target)
        assert tuple(found) == task.measured
        assert set(task.reported) <= set(found)


@pytest.mark.parametrize("task", [MANY, TWO])
def test_one_class_alone_has_no_auroc(task):
    found = task.metrics(torch.randn(5, task.n_outputs), torch.ones(5, dtype=torch.long))
    assert set(found) == {"balanced_error", "accuracy"}


def test_intervals_are_those_of_leaving_groups_out():
    outputs, target, weight = torch.randn(90, 4), torch.arange(90) % 4, torch.rand(90) + 0.1
    told = with_intervals(MANY, outputs, target, weight)
    for name in ("loss", *MANY.measured):
        without = []
        for group in range(20):
            kept = torch.arange(90) % 20 != group
            without.append(judged(MANY, outputs[kept], target[kept], weight[kept])[name])
        value = judged(MANY, outputs, target, weight)[name]
        half = 2.0930240544 * (19 / 20 * sum((one - value) ** 2 for one in without)) ** 0.5
        assert told[name]["value"] == pytest.approx(value)
        assert told[name]["interval"] == pytest.approx([value - half, value + half])


def test_an_interval_of_few_rows_is_by_as_many_groups():
    outputs, target = torch.randn(3, 4), torch.arange(3)
    value = MANY.loss(outputs, target).item()
    without = [MANY.loss(outputs[kept], target[kept]).item() for kept in ([1, 2], [0, 2], [0, 1])]
    half = 4.3027 * (2 / 3 * sum((one - value) ** 2 for one in without)) ** 0.5
    told = with_intervals(MANY, outputs, target)["loss"]["interval"]
    assert told == pytest.approx([max(0, value - half), value + half], rel=1e-4)


def test_a_single_row_has_no_interval():
    told = with_intervals(Regression(0.0, 1.0), torch.randn(1, 1), torch.randn(1))
    assert {name: metric["interval"] for name, metric in told.items()} == {"loss": None, "rmse": None, "r2": None}


def test_intervals_keep_to_what_a_metric_can_be():
    told = with_intervals(TWO, torch.tensor([[-1.0], [1.0]] * 10 + [[1.0]]), torch.tensor([0, 1] * 10 + [0]))
    assert told["auroc"]["interval"][1] == 1
    assert told["accuracy"]["interval"][1] == 1


def test_an_interval_that_has_no_sense_is_left_out():
    """Without the one row of class 1 there is no AUROC."""
    told = with_intervals(TWO, torch.randn(40, 1), torch.tensor([1] + [0] * 39))
    assert set(told) == {"loss", "balanced_error", "accuracy"}


def test_outputs():
    assert (MANY.n_outputs, TWO.n_outputs, Regression(0.0, 1.0).n_outputs) == (4, 1, 1)


@pytest.mark.parametrize("task", [MANY, TWO, Regression(3.0, 2.0)])
def test_a_weight_counts_a_row_so_many_times(task):
    outputs = torch.randn(30, task.n_outputs, dtype=torch.float64)
    target = torch.arange(30) % 2 if task is TWO else torch.arange(30) % 4
    target = target.double() if isinstance(task, Regression) else target
    times = torch.arange(30) % 3 + 1
    repeated = [column.repeat_interleave(times, dim=0) for column in (outputs, target)]
    assert task.loss(outputs, target, times.double()).item() == pytest.approx(task.loss(*repeated).item())
    weighted = task.metrics(outputs, target, times.double())
    assert weighted == pytest.approx(task.metrics(*repeated))


def test_regression_is_reported_in_the_targets_own_units():
    task = Regression(mean=100.0, std=20.0)
    outputs, target = torch.randn(40, 1), torch.randn(40)
    true, predicted = (100 + 20 * values.numpy() for values in (target, outputs[:, 0]))
    found = task.metrics(outputs, target)
    assert found["rmse"] == pytest.approx(root_mean_squared_error(true, predicted), rel=1e-5)
    assert found["r2"] == pytest.approx(r2_score(true, predicted), rel=1e-4)
    assert task.loss(outputs, target).item() * 400 == pytest.approx(found["rmse"] ** 2, rel=1e-5)
