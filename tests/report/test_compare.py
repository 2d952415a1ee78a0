"""What is within the noise of training."""

import numpy as np
import pytest
from scipy.stats import ttest_ind, ttest_ind_from_stats

from tabnas.report.compare import shape, within_noise
from tests.report.results import spread


def found(*losses):
    return {"stand_alone": {"loss": spread(*losses)}}


@pytest.mark.parametrize("difference", [0.1, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("seed", range(5))
def test_for_two_it_is_students_test(difference, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(0, 1, 3).tolist(), rng.normal(difference, 1, 4).tolist()
    if np.mean(a) > np.mean(b):
        a, b = b, a
    close = within_noise(found(*a), [found(*b)])
    assert bool(close) == (ttest_ind(a, b).pvalue >= 0.05)


def test_the_variance_is_pooled_over_all():
    runs = [[0.40, 0.42], [0.43, 0.43], [0.60, 0.61], [0.48, 0.40]]
    deviation, n = np.sqrt(np.mean([np.var(r, ddof=1) for r in runs])), 2
    others = [found(*r) for r in runs[1:]]
    close = within_noise(found(*runs[0]), others)
    half = len(runs) * (n - 1) / 2 + 1  # two samples of this size have the four's degrees of freedom
    factor = np.sqrt(half / n)  # on the deviation: their standard error is that of two trainings each
    p_values = [
        ttest_ind_from_stats(np.mean(runs[0]), deviation * factor, half, np.mean(r), deviation * factor, half).pvalue
        for r in runs[1:]
    ]
    assert [any(a is b for b in close) for a in others] == [p >= 0.05 for p in p_values] == [True, False, True]


def test_single_trainings_tell_nothing_of_noise():
    assert within_noise(found(0.4), [found(0.5)]) is None


def test_one_trained_once_is_judged_by_the_spread_of_the_others():
    once = [found(0.41), found(0.9)]
    assert within_noise(found(0.40, 0.42, 0.41), once) == once[:1]


def test_the_search_comes_first_where_several_chose():
    assert shape({"chosen_by": "search, uniform width"}) == "circle"
    assert shape({"chosen_by": "uniform width, random feasible"}) == "square"
    assert shape({"chosen_by": "check of the ranking"}) == "diamond"
