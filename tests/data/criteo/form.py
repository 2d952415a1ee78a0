"""Made-up text in Criteo's form for the tests, and what should become of it, by pandas."""

import functools
import io
import math

import numpy as np
import pandas as pd
from scipy.special import ndtri

from tabnas.data.criteo.made_up import blocks
from tabnas.data.criteo.text import CATEGORIES, INTEGERS, NAMES


@functools.cache
def text(n_rows: int = 5000, seed: int = 0) -> bytes:
    """Made-up rows, with some cells that those never have."""
    lines = b"".join(blocks(n_rows, seed)).splitlines()
    for i, column, cell in (
        (3, 5, b"-7"), (4, 5, b"-0"), (5, 1, b"9223372036854775807"), (6, 1, b"-9223372036854775808"),
        (7, 20, b"0"), (8, 20, b"00000000"), (9, 20, b"ffffffff"), (10, 21, b"ABCDEF"), (11, 21, b"abcdef"),
    ):  # fmt: skip
        if i < n_rows:
            fields = lines[i].split(b"\t")
            fields[column] = cell
            lines[i] = b"\t".join(fields)
    return b"\n".join(lines) + b"\n"


def uniform(seed: int, row: int) -> float:
    """hashing.uniform, number by number."""
    mask = 2**64 - 1
    state = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
    x = (state + (row + 1) * 0x9E3779B97F4A7C15) & mask
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & mask
    return ((x ^ x >> 31) >> 11) / 2**53


def expected(
    content: bytes, *, val_fraction: float = 0.1, test_fraction=0.0, split_seed: int = 0, numerical="log", min_count=10
):
    """For each split numerical, categorical and target; and the cardinalities."""
    types = dict.fromkeys(INTEGERS, "Int64") | dict.fromkeys(CATEGORIES, str)
    frame = pd.read_csv(io.BytesIO(content), sep="\t", names=NAMES, dtype=types, na_values=[""], keep_default_na=False)
    draws = np.array([uniform(split_seed, row) for row in range(len(frame))])
    is_valid, is_test = draws < val_fraction, (draws >= val_fraction) & (draws < val_fraction + test_fraction)
    is_train = ~is_valid & ~is_test
    numbers, ids, cardinalities = {}, {}, []
    for name in INTEGERS:
        x = frame[name].astype("float32").astype("float64")
        train = x[is_train].dropna()
        if numerical == "log":
            shifted = x + (3 if name == "I2" else 0)
            x = np.sign(shifted) * np.log(1 + shifted.abs())
        elif numerical == "standard":
            x = (x - train.mean()) / train.std(ddof=0)
        elif numerical == "quantile":
            x = x.map(normal_quantiles(train), na_action="ignore") if len(train) else x
        numbers[name] = x.fillna(0).astype("float32")
    for name in CATEGORIES:
        values = frame[name].map(lambda cell: int(cell, 16), na_action="ignore")
        counts = values[is_train].dropna().astype(int).value_counts()
        kept = sorted((-count, value) for value, count in counts.items() if count >= min_count)
        vocabulary = dict.fromkeys(counts.index, 1) | {value: i for i, (_, value) in enumerate(kept, 3)}
        ids[name] = [0 if pd.isna(value) else vocabulary.get(int(value), 2) for value in values]
        cardinalities.append(3 + len(kept))
    tables = [pd.DataFrame(numbers).to_numpy(), pd.DataFrame(ids).to_numpy(), frame["label"].to_numpy()]
    return [[table[rows] for table in tables] for rows in (is_train, is_valid, is_test)], tuple(cardinalities)


def normal_quantiles(train: pd.Series):
    """By numbers.Quantile's definition, from the sorted values."""
    ordered, knots = np.sort(train.to_numpy()), {}
    for value in np.unique(ordered):
        below, after = np.searchsorted(ordered, value), np.searchsorted(ordered, value, side="right")
        if below == 0 or math.floor(1000 * below / len(ordered)) != math.floor(1000 * after / len(ordered)):
            knots[value] = ndtri((below + after) / 2 / len(ordered))
    return lambda value: np.interp(value, list(knots), list(knots.values()))
