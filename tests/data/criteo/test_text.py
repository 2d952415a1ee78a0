"""Which lines are bad, and why; and hexadecimal cells."""

import logging

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabnas.data.criteo import load, source
from tabnas.data.criteo.text import hexadecimal, parse
from tabnas.errors import UserError
from tests.data.criteo.form import text

GOOD = text(3).splitlines()[0]


def changed(column: int, cell: bytes) -> bytes:
    fields = GOOD.split(b"\t")
    fields[column] = cell
    return b"\t".join(fields)


BAD = {
    GOOD + b"\t": "it has 41 fields instead of 40",
    GOOD.rsplit(b"\t", 1)[0]: "it has 39 fields instead of 40",
    b"x": "it has 1 fields instead of 40",
    changed(0, b""): "the label is '' instead of 0 or 1",
    changed(0, b"2"): "the label is '2' instead of 0 or 1",
    changed(0, b"-1"): "the label is '-1' instead of 0 or 1",
    changed(1, b"1.5"): "I1 is '1.5' instead of an integer of 64 bits",
    changed(2, b" 5"): "I2 is ' 5' instead of an integer of 64 bits",
    changed(2, b"+5"): "I2 is '+5' instead of an integer of 64 bits",
    changed(3, b"0x1F"): "I3 is '0x1F' instead of an integer of 64 bits",
    changed(13, b"9223372036854775808"): "I13 is '9223372036854775808' instead of an integer of 64 bits",
    changed(13, "½".encode()): r"I13 is '\xc2\xbd' instead of an integer of 64 bits",
    changed(14, b"g0000000"): "C1 is 'g0000000' instead of at most 8 hexadecimal digits",
    changed(15, b"\xff\xfe000000"): r"C2 is '\xff\xfe000000' instead of at most 8 hexadecimal digits",
    changed(39, b"123456789"): "C26 is '123456789' instead of at most 8 hexadecimal digits",
    changed(39, b"@"): "C26 is '@' instead of at most 8 hexadecimal digits",
    changed(20, b'"abc"'): "C7 is '\"abc\"' instead of at most 8 hexadecimal digits",
    changed(20, b"ab\rcd"): r"C7 is 'ab\rcd' instead of at most 8 hexadecimal digits",
}


@pytest.mark.parametrize(("line", "reason"), BAD.items(), ids=BAD.values())
def test_a_bad_line_is_told_with_its_number_and_left_out(line, reason):
    parsed = parse(b"\n".join([GOOD, b"", line, GOOD]) + b"\n")
    assert parsed.bad == [(3, reason)]
    assert parsed.n_lines == 4
    alone = parse(GOOD)
    assert len(parsed.label) == 2
    for one, two in zip([*alone.numbers, *alone.categories], [*parsed.numbers, *parsed.categories], strict=True):
        np.testing.assert_array_equal(np.repeat(one, 2), two)


CELLS = st.one_of(
    st.from_regex(rb"-?[0-9]{0,21}", fullmatch=True),
    st.binary(max_size=9).map(lambda cell: cell.replace(b"\n", b"")),
    st.sampled_from(
        [b"nan", b"NULL", b"NA", b"true", b"inf", b"1e3", b"1_0", b"0x1", b"\xef\xbb\xbf1", b"1\x0c", b"0.0"]
    ),
)


@given(st.integers(0, 39), CELLS)
def test_a_line_is_good_or_bad_whatever_stands_beside_it(column, cell):
    line = changed(column, cell)
    alone, beside = parse(line), parse(line + b"\nbad")
    assert alone.bad == beside.bad[:-1]
    for one, two in zip(alone[:4], beside[:4], strict=True):
        np.testing.assert_array_equal(one, two)


@given(st.lists(st.text("0123456789abcdefABCDEF", max_size=8), min_size=1))
def test_hexadecimal_is_what_python_reads(cells):
    values, missing = hexadecimal(pa.array([cell.encode() for cell in cells], pa.binary()))
    assert values.tolist() == [int(cell or "0", 16) for cell in cells]
    assert (np.zeros(len(cells), bool) if missing is None else missing).tolist() == [not cell for cell in cells]


def test_no_byte_but_a_digit_is_a_digit():
    for byte in range(256):
        cell = pa.array([b"0000000" + bytes([byte])], pa.binary())
        if chr(byte) in "0123456789abcdefABCDEF":
            assert hexadecimal(cell)[0][0] == int(chr(byte), 16)
        else:
            with pytest.raises(ValueError, match="hexadecimal"):
                hexadecimal(cell)


@pytest.fixture
def spoilt(tmp_path):
    """1,000 lines, of which lines 5 and 900 of the second part are bad."""
    lines = text(1000).splitlines()
    lines[504], lines[599 + 300] = b"0\t1", changed(20, b"zz")
    (tmp_path / "parts").mkdir()
    for name, part in (("a", lines[:500]), ("b", lines[500:])):
        (tmp_path / "parts" / name).write_bytes(b"\n".join(part) + b"\n")
    return {"path": tmp_path / "parts", "cache": tmp_path / "cache", "min_count": 1}


def test_a_bad_line_stops_the_build(spoilt):
    with pytest.raises(UserError, match=r"^dataset\.path: .*parts/b, line 5: it has 2 fields instead of 40.*skip$"):
        load(**spoilt)
    assert not list(spoilt["cache"].glob("*/"))


def test_bad_lines_are_left_out_if_asked_for(spoilt, caplog):
    with caplog.at_level(logging.WARNING):
        table = load(on_bad_line="skip", max_bad_share=0.01, **spoilt)
    assert table.train.n_rows + table.valid.n_rows == 998
    assert "2 of 1,000 lines are left out" in caplog.text
    assert "b, line 400: C7 is 'zz'" in caplog.text


def test_too_many_bad_lines_are_an_error(spoilt):
    with pytest.raises(UserError, match=r"^dataset\.max_bad_share: .*2 of 1,000.*line 5.*got 0\.001"):
        load(on_bad_line="skip", **spoilt)


def test_a_hopeless_file_is_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "BLOCK_BYTES", 10_000)
    (tmp_path / "train.txt").write_bytes(b"bad\n" * 1000 + text(5000))
    told = []
    with pytest.raises(UserError, match=r"^dataset\.max_bad_share: "):
        load(path=tmp_path / "train.txt", cache=tmp_path, on_bad_line="skip", progress=lambda *what: told.append(what))
    assert len(told) < 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"^dataset\.path: must hold at least two rows"),
        (b"\n\n", r"^dataset\.path: must hold at least two rows"),
        (GOOD + b"\n", r"^dataset\.val_fraction: must leave rows for"),
        (b"\n".join([changed(0, b"1")] * 100), r"^dataset\.path: must hold both labels.*got '1 alone'"),
        (b"\n".join([changed(0, b"0")] * 100), r"^dataset\.path: must hold both labels.*got '0 alone'"),
        (b"\x1f\x8b" + b"\0" * 100, r"^dataset\.path: must hold intact files"),
        (b"\0" * (1 << 24), r"^dataset\.path: must be text"),
    ],
    ids=["empty", "blank", "one row", "ones", "zeros", "no gzip", "no lines"],
)
def test_what_no_table_can_be_made_of(content, message, tmp_path):
    (tmp_path / "train.txt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        load(path=tmp_path / "train.txt", cache=tmp_path / "cache")


@pytest.mark.parametrize("path", [None, "", 3])
def test_a_path_must_be_one(path):
    with pytest.raises(UserError, match=r"^dataset\.path: "):
        load(path=path)


def test_a_missing_file_is_told_with_where_to_get_it(tmp_path):
    with pytest.raises(UserError) as caught:
        load(path=tmp_path / "train.txt", cache=tmp_path)
    for part in ("dataset.path=", "dataset.url=", "terms", "dataset=criteo_synthetic"):
        assert part in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"^dataset\.path: "):
        load(path=tmp_path / "empty", cache=tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("val_fraction", 0), ("val_fraction", 1), ("split_seed", -1), ("numerical", "logarithm"), ("min_count", 0),
        ("hash_buckets", 0), ("hash_buckets", 2**31), ("on_bad_line", "warn"), ("max_bad_share", 2),
    ],
)  # fmt: skip
def test_options_are_checked_before_anything_is_read(name, value):
    with pytest.raises(UserError, match=rf"^dataset\.{name}: "):
        load(path="nowhere", **{name: value})
