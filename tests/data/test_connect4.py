import lzma
from collections import Counter
from importlib.resources import files

import numpy as np
import pytest
import torch

from tabnas.data import connect4
from tabnas.data.table import random_split
from tabnas.errors import UserError


def test_is_ucis_file_row_by_row():
    table = connect4.load()
    order = torch.from_numpy(np.concatenate(random_split(67_557, 0.2, 0))).argsort()
    squares_of, outcomes = (
        torch.cat([getattr(part, name) for part in (table.train, table.valid)])[order]
        for name in ("categorical", "target")
    )
    text = lzma.decompress((files("tabnas.data") / "connect-4.data.xz").read_bytes()).decode().split()
    assert squares_of.shape == (67_557, 42)
    assert table.cardinalities == (3,) * 42
    assert table.task.n_outputs == 3
    for i in (0, 1, 33_333, 67_556):
        squares = [connect4.SQUARES[j] for j in squares_of[i].tolist()]
        assert [*squares, table.task.classes[outcomes[i]]] == text[i].split(",")
    counts = Counter(outcomes.tolist())
    assert [counts[i] for i in range(3)] == [44_473, 16_635, 6_449]


def test_is_packed_small():
    assert len((files("tabnas.data") / "connect-4.data.xz").read_bytes()) < 300_000


def test_a_damaged_file_is_noticed(monkeypatch):
    monkeypatch.setattr(connect4, "SHA256", "0" * 64)
    with pytest.raises(UserError, match="SHA-256"):
        connect4.load()
