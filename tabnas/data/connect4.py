"""Connect-4 as the UCI repository and OpenML (40668) have it: 67,557 positions of 8 plies, won, lost or drawn for x.

The file shipped beside this module is UCI's `connect-4.data`, compressed. It was rebuilt from all legal positions in
UCI's order (neither player has won, the next move is not forced) with the game-theoretic values of the opening book
in the PyPI package bitbully-databases 0.0.2 (MIT licence); its checksum is checked at every load.
"""

import hashlib
import io
import lzma
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pandas as pd

from tabnas.data.frame.encode import Categorical, Encoding
from tabnas.data.table import Table
from tabnas.errors import UserError

SHA256 = "c060eb3bebf4a10ce4d1caf8e9bf4770664b671952c5f0b58627a774613f885b"
SQUARES = ("b", "x", "o")  # blank, first player, second player
CLASSES = ("win", "loss", "draw")
COLUMNS = [f"{column}{row}" for column in "abcdefg" for row in range(1, 7)]
TARGET = "outcome"


def load(*, val_fraction: float = 0.2, test_fraction: float = 0.0, split_seed: int = 0) -> Table:
    """42 categorical columns of 3 values, 3 classes, 67,557 rows in UCI's order."""
    frame = pd.read_csv(io.BytesIO(_unpacked()), names=[*COLUMNS, TARGET], dtype="category")
    squares = np.stack([frame[c].cat.set_categories(SQUARES).cat.codes.to_numpy() for c in COLUMNS], axis=1)
    outcome = frame[TARGET].cat.set_categories(CLASSES).cat.codes.to_numpy()
    table = Table.from_arrays(
        "connect4",
        None,
        squares,
        outcome,
        CLASSES,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        split_seed=split_seed,
    )
    encoding = Encoding((), tuple(Categorical(c, SQUARES, (), closed=True) for c in COLUMNS), (), TARGET)
    return replace(table, encoding=encoding.to_json())


def _unpacked() -> bytes:
    path = files("tabnas.data") / "connect-4.data.xz"
    content = lzma.decompress(path.read_bytes())
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise UserError("dataset=connect4", f"the shipped file must have SHA-256 {SHA256}", found, "reinstall tabnas")
    return content
