"""Rows in the form of Criteo's display advertising data, made up, with an interaction to be found.

Imports only hashing and text of this package.

As in the real file: 13 heavy-tailed integers, some negative; 26 hexadecimal categories, from 3 to 10 million values a
column, frequencies by a power law; cells missing in several columns at once; a quarter of the labels 1. The logit of a
label is the sum of the inner products of every two of its INTERACTING categories' vectors of length 4, a factorisation
machine, plus smaller linear effects of those categories and of three integers.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
from numpy.typing import NDArray

from tabnas.data.criteo.hashing import mixed
from tabnas.data.criteo.text import CATEGORIES, INTEGERS, LABEL

VERSION = 1  # of what the rows of a seed are
BLOCK_ROWS = 1 << 16

# Median, spread of the logarithm, subtracted at the end, missing share: read off a sample of the real file.
_INTEGERS = (
    (1.7, 1.55, 0, 0.45), (5, 2.6, 2, 0), (8, 1.5, 0, 0.2), (5, 1.2, 0, 0.2), (2800, 1.9, 0, 0.05), (41, 1.65, 0, 0.25),
    (3.6, 1.75, 0, 0.05), (8, 1.15, 0, 0), (42, 1.55, 0, 0.05), (0.6, 0.9, 0, 0.45), (1.8, 1.05, 0, 0.05),
    (0.3, 2, 0, 0.77), (6, 1.3, 0, 0.2),
)  # fmt: skip
# Number of values (of the whole real file), exponent of the power law (from the share of the most frequent), missing.
_CATEGORIES = (
    (1460, 2, 0), (583, 1.04, 0), (10131227, 1.02, 0.03), (2202608, 1.08, 0.03), (305, 2.59, 0), (24, 2.02, 0.12),
    (12517, 0.65, 0), (633, 2.3, 0), (3, 3.97, 0), (93145, 1.46, 0), (5683, 0.71, 0), (8351593, 1.02, 0.03),
    (3194, 0.7, 0), (27, 1.5, 0), (14992, 0.76, 0), (5461306, 1.01, 0.03), (10, 1.54, 0), (5652, 0.9, 0),
    (2173, 2.31, 0.45), (4, 0.61, 0.45), (7046547, 1.02, 0.03), (18, 1.98, 0.77), (15, 1.69, 0), (286181, 1.07, 0.03),
    (105, 1.51, 0.45), (142572, 1.08, 0.45),
)  # fmt: skip
INTERACTING = ("C1", "C2", "C6", "C8", "C14", "C17", "C23")


def block(seed: int, index: int) -> bytes:
    """Rows index·BLOCK_ROWS and following, BLOCK_ROWS of them, as text: always the same for a seed and index."""
    rng = np.random.default_rng((VERSION, seed, index))
    n = BLOCK_ROWS
    missing = {share: rng.random(n) < share for share in sorted({row[-1] for row in _INTEGERS + _CATEGORIES} - {0})}
    numbers = [
        (median * np.exp(spread * rng.standard_normal(n))).clip(max=2**31).astype(np.int64) - subtracted
        for median, spread, subtracted, _ in _INTEGERS
    ]
    categories = []
    for j, (n_values, exponent, _) in enumerate(_CATEGORIES):
        power = 1 - exponent
        rank = ((((n_values + 1) ** power - 1) * rng.random(n) + 1) ** (1 / power)).astype(np.uint32)
        categories.append(mixed(rank * np.uint32(32) + np.uint32(j)))
    label = rng.random(n) < 1 / (1 + np.exp(-_logit(numbers, categories, missing)))
    columns = [pa.array(label.astype(np.uint8))]
    columns += [_with_missing(pa.array(v), missing.get(row[-1])) for v, row in zip(numbers, _INTEGERS, strict=True)]
    columns += [_with_missing(_text(v), missing.get(row[-1])) for v, row in zip(categories, _CATEGORIES, strict=True)]
    sink = pa.BufferOutputStream()
    options = pyarrow.csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none", batch_size=n)
    pyarrow.csv.write_csv(pa.table(columns, names=[LABEL, *INTEGERS, *CATEGORIES]), sink, options)
    return bytes(sink.getvalue().to_pybytes())


def blocks(n_rows: int, seed: int = 0) -> Iterator[bytes]:
    """The first `n_rows` rows of a seed, as text, some at a time."""
    n_full, remainder = divmod(n_rows, BLOCK_ROWS)
    for index in range(n_full):
        yield block(seed, index)
    if remainder:
        yield b"".join(block(seed, n_full).splitlines(keepends=True)[:remainder])


def _logit(
    numbers: list[NDArray[np.int64]], categories: list[NDArray[np.uint32]], missing: dict[float, NDArray[np.bool_]]
) -> NDArray[np.float64]:
    """(n,) logits; a missing category has the vector 0, a missing integer the effect 0."""
    total, squares = np.zeros((len(numbers[0]), 4)), np.zeros(len(numbers[0]))
    for name in INTERACTING:
        j = CATEGORIES.index(name)
        vectors = (mixed(categories[j] ^ np.uint32(0x5BD1E995)).view(np.uint8).reshape(-1, 4) - 127.5) / 128
        if (share := _CATEGORIES[j][-1]) in missing:
            vectors[missing[share]] = 0
        total += vectors
        squares += np.square(vectors).sum(axis=1)
    logit: NDArray[np.float64] = -1.55 + 0.5 * (np.square(total).sum(axis=1) - squares) + 0.3 * total[:, 0]
    for i, weight in ((5, -0.2), (6, 0.2), (10, 0.25)):
        median, spread, _, share = _INTEGERS[i]
        logit += weight * np.where(missing[share], 0, np.log((numbers[i] + 0.5) / median) / spread)
    return logit


def _text(values: NDArray[np.uint32]) -> pa.Array:
    """As 8 hexadecimal digits each."""
    characters = _DIGITS[values.astype(">u4").view(np.uint8)]
    offsets = np.arange(0, 8 * len(values) + 1, 8, dtype=np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(characters))


_DIGITS = np.frombuffer(b"".join(f"{byte:02x}".encode() for byte in range(256)), np.uint16)


def _with_missing(column: pa.Array, missing: NDArray[np.bool_] | None) -> pa.Array:
    if missing is None:
        return column
    return pa.compute.if_else(pa.array(missing), pa.scalar(None, column.type), column)
