"""One block of lines of Criteo's display advertising file → columns; and which of its lines are bad, and why.

A line is a label, 13 integers and 26 hexadecimal numbers of at most 8 digits, separated by tabs; all but the label may
be empty. Imports nothing of tabnas.
"""

import re
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

LABEL = "label"
INTEGERS = tuple(f"I{i}" for i in range(1, 14))
CATEGORIES = tuple(f"C{i}" for i in range(1, 27))
NAMES = (LABEL, *INTEGERS, *CATEGORIES)

_TYPES = {LABEL: pa.int8(), **dict.fromkeys(INTEGERS, pa.int64()), **dict.fromkeys(CATEGORIES, pa.binary())}
_LABEL = re.compile(rb"-?0+|0*1")
_INTEGER = re.compile(rb"(?:-?0{0,99}\d{1,19})?")
_CATEGORY = re.compile(rb"[0-9a-fA-F]{0,8}")
_LINE = re.compile(rb"(?:%b)(?:\t%b){13}(?:\t%b){26}" % (_LABEL.pattern, _INTEGER.pattern, _CATEGORY.pattern))
_MANY_DIGITS = re.compile(rb"\d{19}")
_LENIENT = (b"x", b"X", b" ", b"+")  # pyarrow takes " 0x1F" for an integer,
_MARK = b"\xef\xbb\xbf"  # and passes over a byte order mark


class BadLine(NamedTuple):
    """A line that cannot be used."""

    number: int
    """From 1."""
    reason: str


class Parsed(NamedTuple):
    """The n good lines of a block, column by column."""

    label: NDArray[np.uint8]
    """(n,) 0 or 1."""
    numbers: list[NDArray[np.float32]]
    """13 times (n,), NaN where there is none. float32 is what a network sees; it rounds integers above 2²⁴."""
    categories: list[NDArray[np.uint32]]
    """26 times (n,), 0 where there is none."""
    missing: NDArray[np.uint32]
    """(n,) bit j is set where categories[j] has none."""
    n_lines: int
    """Of the block, good, bad or blank."""
    bad: list[BadLine]


def parse(block: bytes) -> Parsed:
    """The columns of some whole lines. Blank lines are passed over; bad ones are left out and told."""
    n_lines = block.count(b"\n") + (not block.endswith(b"\n"))
    if not block.startswith(_MARK) and not any(character in block for character in _LENIENT):
        try:
            return Parsed(*_columns(block), n_lines, [])
        except ValueError:  # pyarrow's, or from below: it is looked for line by line
            pass
    good, bad = [], []
    for number, line in enumerate(block.split(b"\n"), 1):
        line = line.removesuffix(b"\r")
        if _LINE.fullmatch(line) and (not _MANY_DIGITS.search(line) or _fits(line)):
            good.append(line)
        elif line:
            bad.append(BadLine(number, _reason(line)))
    return Parsed(*_columns(b"\n".join(good)), n_lines, bad)


def _columns(
    block: bytes,
) -> tuple[NDArray[np.uint8], list[NDArray[np.float32]], list[NDArray[np.uint32]], NDArray[np.uint32]]:
    """Label, numbers, categories and missing of Parsed; ValueError for a bad line, or one that may be."""
    if not block.strip():
        nothing = np.empty(0, np.uint32)
        return np.empty(0, np.uint8), [np.empty(0, np.float32)] * 13, [nothing] * 26, nothing
    table = pyarrow.csv.read_csv(
        pa.BufferReader(block),
        pyarrow.csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=NAMES),
        pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False),
        pyarrow.csv.ConvertOptions(column_types=_TYPES, null_values=[""], strings_can_be_null=False),
    )
    label, *rest = (column.chunk(0) for column in table.columns)
    if label.null_count or not set(np.unique(label.to_numpy())) <= {0, 1}:
        raise ValueError("a label other than 0 and 1")
    numbers = [_number(column) for column in rest[:13]]
    missing = np.zeros(len(label), np.uint32)
    categories = []
    for j, column in enumerate(rest[13:]):
        values, absent = hexadecimal(column)
        categories.append(values)
        if absent is not None:
            missing |= absent.astype(np.uint32) << np.uint32(j)
    return label.to_numpy().view(np.uint8), numbers, categories, missing


def _number(column: pa.Array) -> NDArray[np.float32]:
    values: NDArray[np.int64 | np.float64] = column.to_numpy(zero_copy_only=False)  # with NaN for a null
    return values.astype(np.float32)


def hexadecimal(column: pa.Array) -> tuple[NDArray[np.uint32], NDArray[np.bool_] | None]:
    """The values of a binary array (n,), and where it is empty, None for nowhere; ValueError for what is no number.

    >>> hexadecimal(pa.array([b"0000001F", b"", b"1f"], pa.binary()))
    (array([31,  0, 31], dtype=uint32), array([False,  True, False]))
    """
    _, offset_buffer, data_buffer = column.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32)[column.offset : column.offset + len(column) + 1]
    data = np.frombuffer(data_buffer or b"", np.uint8)[offsets[0] : offsets[-1]]
    n_present, remainder = divmod(len(data), 8)
    lengths = np.diff(offsets)
    if remainder or np.count_nonzero(lengths == 8) != n_present:
        if lengths.max() > 8:
            raise ValueError("more than 8 digits")
        digits = np.full((np.count_nonzero(lengths), 8), ord("0"), np.uint8)
        present_lengths = lengths[lengths > 0]
        digits[np.arange(8) >= 8 - present_lengths[:, None]] = data
        data = digits.reshape(-1)
    pairs = _PAIR.take(data.view(np.uint16))
    if pairs.size and pairs.max() > 255:
        raise ValueError("a digit that is not hexadecimal")
    present = pairs.astype(np.uint8).view(">u4").astype(np.uint32)
    if len(present) == len(column):
        return present, None
    values = np.zeros(len(column), np.uint32)
    values[lengths > 0] = present
    return values, lengths == 0


def _pairs() -> NDArray[np.uint16]:
    """(65536,) the byte that two hexadecimal digits stand for, by the two characters as a native uint16; 256: none."""
    digit = np.full(256, 256, np.uint16)
    for value, characters in enumerate([*"0123456789", "aA", "bB", "cC", "dD", "eE", "fF"]):
        for character in characters:
            digit[ord(character)] = value
    first, second = np.arange(65536, dtype=np.uint16).view(np.uint8).reshape(-1, 2).T
    values: NDArray[np.uint16] = np.minimum(digit[first] * 16 + digit[second], 256)
    return values


_PAIR = _pairs()


def _fits(line: bytes) -> bool:
    return all(_is_integer(field) for field in line.split(b"\t")[1:14])


def _is_integer(field: bytes) -> bool:
    return bool(_INTEGER.fullmatch(field)) and -(2**63) <= int(field or 0) < 2**63


def _reason(line: bytes) -> str:
    fields = line.split(b"\t")
    if len(fields) != len(NAMES):
        return f"it has {len(fields)} fields instead of {len(NAMES)}"
    if not _LABEL.fullmatch(fields[0]):
        return f"the label is {_shown(fields[0])} instead of 0 or 1"
    for name, field in zip(NAMES[1:], fields[1:], strict=True):
        if name in INTEGERS and not _is_integer(field):
            return f"{name} is {_shown(field)} instead of an integer of 64 bits"
        if name in CATEGORIES and not _CATEGORY.fullmatch(field):
            return f"{name} is {_shown(field)} instead of at most 8 hexadecimal digits"
    raise AssertionError(line)


def _shown(field: bytes) -> str:
    return repr(field[:20])[1:]
