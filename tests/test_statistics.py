import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from tabnas import statistics
from tabnas.statistics import band_of_best, best_of, expected_best, pareto, pearson, rank_correlation, share

POOL = st.lists(st.floats(-100, 100), min_size=2, max_size=30)


def normal_pairs(rng, n, rho):
    x, noise = rng.standard_normal((2, n))
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def coverage(estimate, rho, truth, n, runs):
    rng = np.random.default_rng(1)
    intervals = [estimate(*normal_pairs(rng, n, rho))["interval"] for _ in range(runs)]
    return sum(low <= truth <= high for low, high in intervals) / runs


def test_mean_is_students_interval():
    values = [0.41, 0.40, 0.44, 0.39, 0.42]
    found = statistics.mean(values)
    assert found["value"] == pytest.approx(np.mean(values))
    low, high = stats.ttest_1samp(values, 0).confidence_interval()
    assert found["interval"] == pytest.approx([low, high])
    assert statistics.mean([0.4]) == {"value": 0.4, "interval": None}


def test_difference_is_paired():
    a, b = np.array([0.41, 0.50, 0.61]), np.array([0.40, 0.48, 0.60])
    low, high = stats.ttest_rel(a, b).confidence_interval()
    found = statistics.difference(a, b)
    assert found["interval"] == pytest.approx([low, high])
    assert found["value"] == pytest.approx(0.04 / 3)


def test_difference_from_an_estimate_is_welchs_interval():
    a, b = np.array([0.41, 0.50, 0.61, 0.33]), np.array([0.40, 0.48, 0.60])
    low, high = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    error = b.std(ddof=1) / math.sqrt(3)
    assert statistics.difference_from(a, b.mean(), error, 2)["interval"] == pytest.approx([low, high])


def test_share_is_wilsons_interval():
    assert share(0, 5) == {"value": 0.0, "interval": pytest.approx([0.0, 0.4345], abs=1e-3)}


def test_pearson_is_fishers_interval():
    x, y = normal_pairs(np.random.default_rng(0), 30, 0.7)
    found = pearson(x, y)
    r = np.corrcoef(x, y)[0, 1]
    half = 1.959964 / math.sqrt(27)
    assert found["value"] == pytest.approx(r)
    assert found["interval"] == pytest.approx([math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)])


# The share of intervals that hold the truth, within 3 standard errors of a share of 95 % for so many runs.
@pytest.mark.parametrize(("n", "rho"), [(6, 0.0), (6, 0.9), (12, 0.8), (40, 0.8)])
def test_intervals_of_kendalls_tau_hold_the_truth(n, rho):
    truth, runs = 2 / math.pi * math.asin(rho), 400
    assert coverage(rank_correlation, rho, truth, n, runs) >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / runs)


def test_kendalls_tau_counts_pairs():
    x, y = [1, 2, 3, 4, 5, 6], [1, 3, 2, 4, 6, 5]
    found = rank_correlation(x, y)
    assert found["value"] == pytest.approx((13 - 2) / 15)
    assert rank_correlation(x, [-value for value in y])["interval"] == pytest.approx(
        [-h for h in found["interval"][::-1]]
    )


def test_six_pairs_in_the_same_order_are_no_proof_of_a_perfect_ranking():
    found = rank_correlation(range(6), range(6))
    low, high = found["interval"]
    assert found["value"] == high == 1
    # By another route: 6 pairs are in perfect order with a probability of 2.5 % at this τ.
    rng = np.random.default_rng(2)
    x, y = np.stack([normal_pairs(rng, 6, math.sin(math.pi / 2 * low)) for _ in range(20_000)], axis=1)
    in_order = (np.argsort(x, axis=1) == np.argsort(y, axis=1)).all(axis=1).mean()
    assert in_order == pytest.approx(0.025, abs=0.01)


def test_small_and_large_samples_agree_where_they_meet(monkeypatch):
    x, y = normal_pairs(np.random.default_rng(3), 20, 0.6)
    exact = rank_correlation(x, y)["interval"]
    monkeypatch.setattr(statistics, "SMALL", 0)
    assert rank_correlation(x, y)["interval"] == pytest.approx(exact, abs=0.06)


@pytest.mark.parametrize("correlation", [pearson, rank_correlation])
def test_nothing_is_known_from_two_pairs_or_equal_values(correlation):
    unknown = {"value": None, "interval": [-1.0, 1.0]}
    assert correlation([1, 2], [1, 2]) == correlation([1, 1, 1, 1], [1, 2, 3, 4]) == unknown
    assert correlation([1, 2, 3], [1, 2, 3])["interval"][0] < 0
    with pytest.raises(ValueError, match="pairs"):
        correlation([1, 2, 3], [1, 2])


@given(POOL, st.data())
def test_the_best_of_k_is_one_of_the_pool(pool, data):
    k = data.draw(st.floats(1, len(pool)))
    probability = best_of(k, pool)
    assert probability.sum() == pytest.approx(1)
    assert (probability >= 0).all()


@given(st.integers(1, 40), st.integers(1, 40))
def test_the_ith_smallest_is_the_best_of_k_by_counting_subsets(size, k):
    if k <= size:
        expected = [
            special.comb(size - i, k - 1, exact=True) / special.comb(size, k, exact=True) for i in range(1, size + 1)
        ]
        assert best_of(k, range(size)) == pytest.approx(expected)


def test_the_expected_best_is_that_of_simulated_searches():
    rng = np.random.default_rng(4)
    select = rng.normal(size=30)
    outcome = select + rng.normal(size=30)
    k, runs = 7, 20_000
    draws = rng.permuted(np.tile(np.arange(30), (runs, 1)), axis=1)[:, :k]
    found = outcome[draws[np.arange(runs), select[draws].argmin(axis=1)]]
    assert expected_best(k, select, outcome)[0] == pytest.approx(found.mean(), abs=4 * found.std() / math.sqrt(runs))
    assert band_of_best(k, select, outcome) == pytest.approx(np.quantile(found, [0.025, 0.975]), abs=0.05)


def test_the_expected_best_of_one_and_of_all():
    select, outcome = [3.0, 1.0, 2.0], [0.3, 0.2, 0.1]
    value, error = expected_best(1, select, outcome)
    assert (value, error) == pytest.approx((0.2, np.std(outcome, ddof=1) / math.sqrt(3)))
    value, error = expected_best(3, select, outcome)
    assert value == pytest.approx(0.2)
    assert math.isnan(error)
    assert expected_best(1.5, select, outcome)[0] == pytest.approx((0.2 + expected_best(2, select, outcome)[0]) / 2)
    with pytest.raises(ValueError, match="from 1 to 3"):
        best_of(4, select)


def test_the_error_of_the_expected_best_is_that_of_pools():
    rng = np.random.default_rng(5)
    pools = rng.normal(size=(400, 40))
    values, errors = zip(*(expected_best(4, pool, pool) for pool in pools), strict=True)
    assert np.sqrt(np.square(errors).mean()) == pytest.approx(np.std(values), rel=0.15)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=20))
def test_the_front_is_that_of_its_definition(points):
    expected = [not any(q[0] <= p[0] and q[1] <= p[1] and q != p for q in points) for p in points]
    assert pareto(*zip(*points, strict=True)).tolist() == expected
