"""What becomes of Criteo's 13 integer columns: `original`, `log`, `standard` or `quantile`.

In all of them a missing cell becomes 0, without an indicator: the integer 0 (for I2, which is never missing, `log` has
−3 there), or the training mean or median. Works on columns that are too large for memory, as vocabulary does, which is
all that it imports of this package.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from tabnas.data.criteo.vocabulary import distinct

METHODS = {
    "original": "as it is",
    "log": "log(x + 1), log(x + 4) for I2",
    "standard": "standardised",
    "quantile": "normal quantile of its rank",
}
"""What there is to choose from, in words."""

N_QUANTILES = 1000

Chunks = Callable[[], Iterator[NDArray[np.float32]]]
"""Goes over a column's values in the training rows, NaN where there is none."""


class Scaling(Protocol):
    """What a column's values become."""

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) → (n,), NaN where it was."""


class Original(NamedTuple):
    """As they are."""

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values


class Log(NamedTuple):
    """DCN-V2's log(x + 1), for I2 log(x + 4), continued to where these are undefined.

    sign(y) · log(|y| + 1) with y = x + shift. Wang et al., DCN V2 (WWW 2021).
    """

    shift: float
    """3 for I2, else 0."""

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        shifted = values + self.shift
        return np.copysign(np.log1p(np.abs(shifted)), shifted)


class Standard(NamedTuple):
    """(x − mean) / std of the training split; std is 1 for a constant."""

    mean: float
    std: float

    @staticmethod
    def fit(chunks: Chunks) -> "Standard":
        n, total, squares = 0, 0.0, 0.0
        for values in _present(chunks):
            n, total = n + len(values), total + float(values.sum())
        mean = total / max(n, 1)
        for values in _present(chunks):
            squares += float(np.square(values - mean).sum())
        return Standard(mean, float(np.sqrt(squares / max(n, 1))) or 1.0)

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return (values - self.mean) / self.std


class Quantile(NamedTuple):
    """The standard normal quantile of the share of training values below, half of the equal ones among them.

    Exact at up to about N_QUANTILES values, linear between them, constant beyond.
    """

    values: NDArray[np.float64]
    normal: NDArray[np.float64]

    @staticmethod
    def fit(chunks: Chunks) -> "Quantile":
        n = sum(len(values) for values in _present(chunks))
        below, knots, shares = 0, [np.empty(0)], [np.empty(0)]
        for keys, counts in distinct(lambda: (_key(values.astype(np.float32)) for values in _present(chunks))):
            after = below + np.cumsum(counts)
            before = after - counts
            is_knot = (before * N_QUANTILES // max(n, 1) != after * N_QUANTILES // max(n, 1)) | (before == 0)
            knots.append(_value(keys[is_knot]).astype(np.float64))
            shares.append(((before + after) / 2 / max(n, 1))[is_knot])
            below = int(after[-1]) if len(after) else below
        return Quantile(np.concatenate(knots), ndtri(np.concatenate(shares)))

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.interp(values, self.values, self.normal) if len(self.values) else np.zeros_like(values)


def fit(method: str, name: str, chunks: Chunks) -> Scaling:
    """The scaling of the column `name` by one of METHODS."""
    if method == "log":
        return Log(3.0 if name == "I2" else 0.0)
    if method == "standard":
        return Standard.fit(chunks)
    return Quantile.fit(chunks) if method == "quantile" else Original()


def scaled(scaling: Scaling, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,) values → (n,) what the network sees; 0 for NaN."""
    return np.nan_to_num(scaling(values.astype(np.float64))).astype(np.float32)


def _present(chunks: Chunks) -> Iterator[NDArray[np.float64]]:
    for chunk in chunks():
        yield chunk[~np.isnan(chunk)].astype(np.float64)


def _key(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Integers in the order of the values."""
    bits = (values + np.float32(0)).view(np.uint32)  # −0 becomes 0
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


def _value(keys: NDArray[np.uint32]) -> NDArray[np.float32]:
    """The inverse of `_key`."""
    return np.where(keys >> 31, keys & np.uint32(0x7FFFFFFF), ~keys).astype(np.uint32).view(np.float32)
