"""Made-up rows of a table that a network was trained on: to compare answers on, and to time them."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabnas.data.frame.encode import Encoding, Numerical

SHARE_MISSING = 0.05
UNSEEN_TEXT = "unseen in training, made up"


def made_up(encoding: Encoding, n: int, seed: int) -> pd.DataFrame:
    """n rows of columns that are spread as in training, each for itself, with missing, rare and unseen cells."""
    generator = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for made in encoding.numerical:
        columns[made.name] = pd.Series(_numbers(made, n, generator)).mask(generator.random(n) < SHARE_MISSING)
    for vocabulary in encoding.categorical:
        others = [] if vocabulary.closed else [None, UNSEEN_TEXT, *vocabulary.rare[:3]]
        columns[vocabulary.name] = generator.choice(np.array([*vocabulary.vocabulary, *others], object), n)
    return pd.DataFrame(columns)


def cells(frame: pd.DataFrame, encoding: Encoding) -> dict[str, NDArray[Any]]:
    """What the graph takes for a frame: of each column (n, 1), numbers as double and all else as text."""
    numbers = {made.name for made in encoding.numerical if made.kind == "numerical"}
    return {
        name: frame[[name]].to_numpy(np.float64) if name in numbers else frame[[name]].fillna("").to_numpy(object)
        for name in encoding.names
    }


def _numbers(made: Numerical, n: int, generator: np.random.Generator) -> NDArray[Any]:
    """Of a column that becomes one number, n cells of its kind."""
    if made.kind == "boolean":
        return generator.choice(["yes", "no"], n)
    if made.bend == "quantile":
        points = np.asarray(made.quantiles)
        between = np.interp(generator.random(n), np.linspace(0, 1, len(points)), points)
        return np.where(generator.random(n) < 0.5, between, generator.choice(points, n))
    values = made.shift + made.scale * (made.missing + generator.standard_normal(n))
    if made.bend == "log":
        values = np.sign(values) * np.expm1(np.abs(values))
    if made.kind == "date":
        times = np.datetime64(0, "s") + (values * 86400).astype("timedelta64[s]")
        values = np.clip(times, *np.array(["0001-01-01", "9999-12-31"], "M8[s]")).astype(str)
    return np.asarray(values)
