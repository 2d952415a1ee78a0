"""Estimates with their 95 % intervals, as result files have them: {"value": …, "interval": [low, high]}.

Plain numpy and scipy; imports nothing of tabnas.
"""

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

Estimate = dict[str, Any]
"""value: a float, or None where it is undefined; interval: [low, high], or None where it cannot be estimated."""

Array = NDArray[Any]

TAIL = 0.025
SMALL = 20
"""Pairs, up to which the interval of Kendall's τ is found by simulation."""
N_SIMULATED = 4000
"""Samples, the same for every τ: the limits are within about 0.02 of the exact ones."""


def mean(values: ArrayLike) -> Estimate:
    """The mean with Student's interval, which a single value has not."""
    x = np.asarray(values, dtype=float)
    if len(x) == 1:
        return {"value": float(x[0]), "interval": None}
    return _student(x.mean(), x.std(ddof=1) / math.sqrt(len(x)), len(x) - 1)


def difference(first: ArrayLike, second: ArrayLike) -> Estimate:
    """The mean of paired differences, first − second, with Student's interval."""
    return mean(np.subtract(first, second))


def difference_from(values: ArrayLike, other: float, other_error: float, other_freedom: float) -> Estimate:
    """mean(values) − other, an estimate independent of them with its own standard error and degrees of freedom.

    Welch's interval with Satterthwaite's degrees of freedom.
    """
    x = np.asarray(values, dtype=float)
    if len(x) == 1:
        return {"value": float(x[0] - other), "interval": None}
    own = x.var(ddof=1) / len(x)
    variance = own + other_error**2
    parts = own**2 / (len(x) - 1) + other_error**4 / other_freedom
    return _student(x.mean() - other, math.sqrt(variance), variance**2 / parts if parts else 1.0)


def share(successes: int, n: int) -> Estimate:
    """A share of n with Wilson's interval."""
    found = stats.binomtest(successes, n).proportion_ci(1 - 2 * TAIL, method="wilson")
    return _estimate(successes / n, found.low, found.high)


def pearson(x: ArrayLike, y: ArrayLike) -> Estimate:
    """Pearson's correlation of n pairs with Fisher's interval, which supposes that they are normal."""
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if _undefined(a, b):
        return {"value": None, "interval": [-1.0, 1.0]}
    found = stats.pearsonr(a, b)
    if len(a) == 3:
        return _estimate(found.statistic, -1.0, 1.0)
    return _estimate(found.statistic, *found.confidence_interval(1 - 2 * TAIL))


def rank_correlation(x: ArrayLike, y: ArrayLike) -> Estimate:
    """Kendall's τ-b of n pairs with an interval that is honest at small n too.

    Up to SMALL pairs it holds every τ of a bivariate normal distribution of which a sample of n has a τ as large as
    this, and one as small, with a probability of at least 2.5 % each; a sample τ of 1 has a lower limit below 1 with
    it. Beyond, Fisher's transform with variance 0.437 / (n − 4) (Fieller, Hartley and Pearson, Biometrika 44, 1957).
    τ depends on ranks alone, so any distribution does whose ranks are those of a normal one. Where the pairs were
    picked to spread over x, τ is larger than that of pairs drawn at random.
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if _undefined(a, b):
        return {"value": None, "interval": [-1.0, 1.0]}
    tau, n = round(float(stats.kendalltau(a, b).statistic), 9), len(a)
    if n <= SMALL:
        return _estimate(tau, _lower_limit(tau, n), -_lower_limit(-tau, n))
    half = stats.norm.ppf(1 - TAIL) * math.sqrt(0.437 / (n - 4))
    z = float(np.arctanh(np.clip(tau, -1 + 1e-9, 1 - 1e-9)))
    return _estimate(tau, math.tanh(z - half), math.tanh(z + half))


def best_of(k: float, select: ArrayLike) -> Array:
    """(R,) for each of a pool of R the probability of being the best of k draws without replacement.

    The best is the one with the smallest `select` (R,), the first of equals. Between whole numbers, k is drawn: 2.3
    stands for 2 draws with a probability of 0.7 and for 3 with 0.3.
    """
    values = np.asarray(select, dtype=float)
    size = len(values)
    if not 1 <= k <= size:
        raise ValueError(f"k must be from 1 to {size}, not {k}")
    low, part = int(k), k - int(k)
    probability = (1 - part) * _of_order(size, low) + (part * _of_order(size, low + 1) if part else 0.0)
    found = np.empty(size)
    found[np.argsort(values, kind="stable")] = probability
    return found


def expected_best(k: float, select: ArrayLike, outcome: ArrayLike) -> tuple[float, float]:
    """The expected `outcome` (R,) of the one with the smallest `select` of k draws, and its standard error.

    The error is that of a pool of R as a sample of all there are, by the jackknife over the pool; nan where k = R.
    """
    a, b = np.asarray(select, dtype=float), np.asarray(outcome, dtype=float)
    value, size = float(best_of(k, a) @ b), len(a)
    if k > size - 1:
        return value, math.nan
    kept = ~np.eye(size, dtype=bool)
    left_out = np.array([best_of(k, a[row]) @ b[row] for row in kept])
    return value, math.sqrt((size - 1) / size * ((left_out - left_out.mean()) ** 2).sum())


def band_of_best(k: float, select: ArrayLike, outcome: ArrayLike) -> tuple[float, float]:
    """Where `outcome` (R,) of the one with the smallest `select` of k draws lies with a probability of 95 %."""
    order = np.argsort(outcome, kind="stable")
    values, below = np.asarray(outcome, dtype=float)[order], best_of(k, select)[order].cumsum()
    low, high = np.searchsorted(below, [TAIL, 1 - TAIL])
    return float(values[low]), float(values[min(high, len(values) - 1)])


def pareto(costs: ArrayLike, losses: ArrayLike) -> Array:
    """(R,) bool: those that no other is at least as good as in both and better in one."""
    c, x = np.asarray(costs, dtype=float), np.asarray(losses, dtype=float)
    as_good = (c[:, None] <= c) & (x[:, None] <= x)
    better = (c[:, None] < c) | (x[:, None] < x)
    found: Array = np.logical_not((as_good & better).any(axis=0))
    return found


def _of_order(size: int, k: int) -> Array:
    """(R,) of the i-th smallest of R the probability of being the best of k draws: C(R − i, k − 1) / C(R, k)."""
    i = np.arange(1, size)
    ratios = np.maximum(size - i - k + 1, 0) / (size - i)
    found: Array = k / size * np.concatenate([[1.0], ratios.cumprod()])
    return found


@cache
def _normal_pairs(n: int) -> tuple[Array, Array]:
    """(N_SIMULATED, n (n − 1) / 2) twice: differences within pairs of n standard normal values, independent."""
    draws = np.random.default_rng(0).standard_normal((2, N_SIMULATED, n))
    first, second = np.triu_indices(n, 1)
    differences = draws[..., first] - draws[..., second]
    return differences[0], differences[1]


def _sample_taus(tau: float, n: int) -> Array:
    """(N_SIMULATED,) Kendall's τ of samples of n from a bivariate normal distribution with this τ."""
    x, noise = _normal_pairs(n)
    rho = math.sin(math.pi / 2 * tau)
    concordant: Array = x * (rho * x + math.sqrt(1 - rho**2) * noise) > 0
    found: Array = 2 * concordant.mean(axis=1) - 1
    return found


@cache
def _lower_limit(found: float, n: int) -> float:
    """The smallest τ under which a sample τ of at least `found` has a probability of 2.5 %."""

    def excess(tau: float) -> float:
        return float((_sample_taus(tau, n) >= found - 1e-9).mean()) - TAIL

    if excess(-1.0) >= 0:
        return -1.0
    limit: float = optimize.brentq(excess, -1.0, 1.0, xtol=1e-3)
    return limit


def _undefined(x: Array, y: Array) -> bool:
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"pairs are needed, not {x.shape} and {y.shape}")
    return len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0


def _student(value: float, error: float, freedom: float) -> Estimate:
    half = float(stats.t.ppf(1 - TAIL, freedom)) * error
    return _estimate(value, value - half, value + half)


def _estimate(value: float, low: float, high: float) -> Estimate:
    return {"value": float(value), "interval": [float(low), float(high)]}
