import lzma
from collections import Counter
from importlib.resources import files

import pytest

from tabnas.data import connect4
from tabnas.errors import UserError


def test_is_ucis_file_row_by_row():
    table = connect4.load()
    text = lzma.decompress((files("tabnas.data") / "connect-4.data.xz").read_bytes()).decode().split()
    assert table.rows.categorical.shape == (67_557, 42)
    assert table.cardinalities == (3,) * 42
    assert table.n_outputs == 3
    for i in (0, 1, 33_333, 67_556):
        squares = [connect4.SQUARES[j] for j in table.rows.categorical[i].tolist()]
        assert [*squares, table.classes[table.rows.target[i]]] == text[i].split(",")
    counts = Counter(table.rows.target.tolist())
    assert [counts[i] for i in range(3)] == [44_473, 16_635, 6_449]


def test_is_packed_small():
    assert len((files("tabnas.data") / "connect-4.data.xz").read_bytes()) < 300_000


def test_a_damaged_file_is_noticed(monkeypatch):
    monkeypatch.setattr(connect4, "SHA256", "0" * 64)
    with pytest.raises(UserError, match="SHA-256"):
        connect4.load()
