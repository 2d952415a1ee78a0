"""Metrics of classes against scikit-learn's, which know weights, and torchmetrics', which do not."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import recall_score, roc_auc_score
from torchmetrics.functional.classification import binary_auroc, multiclass_auroc, multiclass_recall

from tabnas.metrics import auroc, recalls
from tabnas.task import Classification

N_CLASSES = (2, 3, 5)


def drawn(seed: int, n: int, n_classes: int, decimals: int = 1):
    """Scores with ties (n, n_classes), classes that all occur, weights."""
    rng = np.random.default_rng(seed)
    true = rng.permutation(np.arange(n) % n_classes)
    scores = np.round(rng.standard_normal((n, n_classes)) + np.eye(n_classes)[true], decimals)
    return scores, true, rng.uniform(0.1, 2, n)


def by_pairs(score, positive, weight):
    """The definition: over the pairs of a positive and a negative row."""
    won = (score[positive][:, None] > score[~positive]) + 0.5 * (score[positive][:, None] == score[~positive])
    pairs = weight[positive][:, None] * weight[~positive]
    return (won * pairs).sum() / pairs.sum()


@given(st.integers(0, 1000), st.integers(4, 40))
def test_auroc_of_two_classes(seed, n):
    scores, true, weight = drawn(seed, n, 2)
    score = scores[:, 1:]
    assert auroc(score, true, weight)[0] == pytest.approx(by_pairs(score[:, 0], true == 1, weight))
    assert auroc(score, true, weight)[0] == pytest.approx(roc_auc_score(true, score[:, 0], sample_weight=weight))
    assert auroc(score, true)[0] == pytest.approx(roc_auc_score(true, score[:, 0]))


@given(st.integers(0, 1000), st.integers(20, 40), st.sampled_from([3, 5]))
def test_auroc_of_several_classes_is_one_against_the_rest(seed, n, n_classes):
    scores, true, weight = drawn(seed, n, n_classes)
    probabilities = torch.from_numpy(scores).softmax(dim=1).numpy()
    found = auroc(probabilities, true, weight)[0]
    assert found == pytest.approx(roc_auc_score(true, probabilities, sample_weight=weight, multi_class="ovr"))


@given(st.integers(0, 1000), st.sampled_from(N_CLASSES), st.integers(2, 6))
def test_leaving_out_a_group_is_not_having_it(seed, n_classes, n_groups):
    scores, true, weight = drawn(seed, 30, n_classes)
    scores = scores[:, 1:] if n_classes == 2 else scores
    group = np.random.default_rng(seed).integers(n_groups, size=30)
    group[0] = n_groups - 1
    found = auroc(scores, true, weight, group)
    for number in range(n_groups):
        kept = group != number
        without = auroc(scores[kept], true[kept], weight[kept])[0]
        assert found[1 + number] == pytest.approx(without, nan_ok=True)


def test_classes_that_do_not_occur_are_left_out():
    scores, true, _ = drawn(0, 60, 4)
    true[true == 2] = 1
    areas = [roc_auc_score(true == c, scores[:, c]) for c in (0, 1, 3)]
    assert auroc(scores, true)[0] == pytest.approx(np.mean(areas))
    assert np.isnan(auroc(scores, np.zeros(60, int))[0])


@pytest.mark.parametrize("n_classes", N_CLASSES)
def test_recalls(n_classes):
    _, true, weight = drawn(0, 60, n_classes)
    predicted = np.random.default_rng(1).integers(n_classes, size=60)
    wanted = recall_score(true, predicted, average=None, sample_weight=weight)
    assert recalls(predicted == true, true, weight) == pytest.approx(wanted)
    assert len(recalls(predicted == true, true + (true > 0))) == n_classes  # without class 1


@pytest.mark.parametrize("n_classes", N_CLASSES)
def test_a_task_reports_what_torchmetrics_does(n_classes):
    task = Classification(tuple(map(str, range(n_classes))))
    outputs, true = torch.randn(500, task.n_outputs, dtype=torch.float64), torch.arange(500) % n_classes
    found = task.metrics(outputs, true)
    if n_classes == 2:
        predicted, area = (outputs[:, 0] > 0).long(), binary_auroc(outputs[:, 0], true)
    else:
        predicted, area = outputs.argmax(dim=1), multiclass_auroc(outputs, true, n_classes)
    assert found["auroc"] == pytest.approx(area.item(), abs=1e-6)
    recall = multiclass_recall(predicted, true, n_classes, average="macro").item()
    assert found["balanced_error"] == pytest.approx(1 - recall, abs=1e-6)
    assert found["accuracy"] == pytest.approx(multiclass_recall(predicted, true, n_classes, average="micro").item())
