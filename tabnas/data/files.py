"""A file of the user's: CSV (whatever its dialect, compressed too), Parquet or Feather."""

import bz2
import contextlib
import csv
import gzip
import io
import lzma
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import pandas as pd
import pyarrow

from tabnas.data.frame import from_frame, takes_frame_options
from tabnas.data.table import Table
from tabnas.errors import UserError, require_one_of

TEXT = (".csv", ".tsv", ".txt", ".data")
BINARY = {".parquet": pd.read_parquet, ".pq": pd.read_parquet, ".feather": pd.read_feather, ".arrow": pd.read_feather}
DECIMAL_COMMA = r"^(\s*[-+]?\d*),(\d+\s*)$"
DELIMITERS = ",;\t|"
UNREADABLE = (
    OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, csv.Error,
    pd.errors.ParserWarning, pyarrow.ArrowException,
)  # fmt: skip
SAMPLE_CHARACTERS = 65536
"""Of the beginning, to tell the dialect by."""


@takes_frame_options
def load(
    *,
    path: str | None = None,
    valid_path: str | None = None,
    test_path: str | None = None,
    decimal: str = ".",
    target: str | None = None,
    **options: Any,
) -> Table:
    """The table in the file `path`; validated on that in `valid_path` and tested on that in `test_path`, if given.

    The rest: see frame.from_frame.

    decimal: the mark in the numbers of CSV files, a point or a comma.
    """
    require_one_of("dataset.decimal", decimal, (".", ","))
    if path is None:
        raise UserError("dataset.path", "must name a file", path, f"give a {', '.join((*TEXT[:2], *BINARY))} file")
    valid_frame = None if valid_path is None else read(valid_path, "dataset.valid_path", decimal)
    test_frame = None if test_path is None else read(test_path, "dataset.test_path", decimal)
    frame = read(path, "dataset.path", decimal)
    if target is not None and target not in frame and any(map(_is_number, frame.columns)):
        first = ", ".join(map(str, frame.columns[:5]))
        raise UserError("dataset.path", "must begin with a line of column names", first, "add one, one name a column")
    return from_frame(frame, target=target, valid_frame=valid_frame, test_frame=test_frame, **options)


def read(path: str, key: str, decimal: str = ".") -> pd.DataFrame:
    """The file as it is; all text if it is a CSV file, with a point in numbers.

    key: of the config, that an error is to name.
    """
    file, kind, compression = located(path, key)
    with readable(key, path):
        if kind in TEXT:
            frame = _read_text(lambda: OPENERS.get(compression, open)(file, "rb"), key)
            return with_points(frame, decimal)
        frame = BINARY[kind](file)
    return frame.reset_index() if frame.index.name is not None else frame


def located(path: str, key: str) -> tuple[Path, str, str]:
    """The file, which suffix of TEXT or BINARY it has, and which of OPENERS; "" for none of these."""
    file = Path(str(path)).expanduser()
    suffixes = [suffix.lower() for suffix in file.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in OPENERS else ""
    kind = suffixes[-1] if suffixes else ""
    if kind not in TEXT and (kind not in BINARY or compression):
        rule = f"must end in {', '.join(BINARY)}, or in {', '.join(TEXT)} and perhaps {', '.join(OPENERS)}"
        raise UserError(key, rule, path, "convert or rename it")
    if not file.is_file():
        raise UserError(key, "must name a file that exists", path, "a relative path starts at the working directory")
    return file, kind, compression


def with_points(frame: pd.DataFrame, decimal: str) -> pd.DataFrame:
    """A frame of text with a point in numbers where `decimal` was."""
    return frame if decimal == "." else frame.replace(DECIMAL_COMMA, r"\1.\2", regex=True)


@contextlib.contextmanager
def readable(key: str, path: str) -> Iterator[None]:
    """UserError, naming `key`, for whatever goes wrong when the file is read."""
    try:
        yield
    except UnicodeDecodeError as error:
        given = f"the bytes {error.object[error.start : error.end].hex()}"
        raise UserError(
            key, "must be in UTF-8", given, "convert it, for example with iconv -f latin1 -t utf-8"
        ) from error
    except UNREADABLE as error:
        raise UserError(key, "must be a file that can be read", path, str(error)) from error


def _only_member(file: Path, mode: str) -> IO[bytes]:
    archive = zipfile.ZipFile(file)
    members = [m for m in archive.namelist() if not m.endswith("/") and not m.startswith("__MACOSX")]
    if len(members) != 1:
        raise ValueError(f"a zip file must hold one file, not {len(members)}")
    return archive.open(members[0])


OPENERS: dict[str, Callable[..., Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zip": _only_member,
    ".zst": lambda file, mode: pyarrow.input_stream(str(file) if isinstance(file, Path) else file, compression="zstd"),
}


def _read_text(opened: Callable[[], Any], key: str) -> pd.DataFrame:
    """Every column as text, so that what a value looks like does not depend on the rest of the file."""
    options = text_options(opened, key)
    with warnings.catch_warnings(), opened() as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the line of names
        return pd.read_csv(text, **options)


def text_options(opened: Callable[[], Any], key: str) -> dict[str, Any]:
    """How pandas.read_csv is to read the file, `names` among it."""
    with opened() as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
        sample = text.read(SAMPLE_CHARACTERS)
    if not sample.strip():
        raise UserError(key, "must have a line of column names and rows", "an empty file", "give another file")
    dialect = _dialect(sample)
    names = [name.strip() for name in next(dialect.rows(sample))]
    if twice := sorted({name for name in names if names.count(name) > 1 and name}):
        raise UserError(key, "must have columns of different names", twice, "rename one of each")
    return {
        "header": 0,
        "names": [name or f"unnamed {i}" for i, name in enumerate(names)],
        "index_col": False,
        "dtype": str,
        "keep_default_na": False,
        "skip_blank_lines": len(names) > 1,  # else they are rows with an empty cell
        "sep": dialect.delimiter,
        "quotechar": dialect.quotechar,
        "skipinitialspace": dialect.skipinitialspace,
    }


class Dialect(NamedTuple):
    delimiter: str
    quotechar: str
    skipinitialspace: bool

    def rows(self, text: str) -> Iterator[list[str]]:
        """The fields of the lines that have any."""
        return (row for row in csv.reader(io.StringIO(text), **self._asdict()) if row)


def _dialect(sample: str) -> Dialect:
    """csv.Sniffer's delimiter, or whichever gives all lines as many fields, more than one, as there are names."""
    lines = sample.splitlines(keepends=True)
    whole_lines = "".join(lines[:-1] if len(lines) > 1 and len(sample) == SAMPLE_CHARACTERS else lines)
    first = next(line for line in lines if line.strip())
    try:
        sniffed = csv.Sniffer().sniff(whole_lines, DELIMITERS).delimiter
    except csv.Error:  # it cannot tell
        sniffed = max(DELIMITERS, key=first.count)
    quotes = ("'", '"') if first.startswith("'") else ('"', "'")
    tried = [
        Dialect(delimiter, quote, first.count(delimiter) == first.count(f"{delimiter} "))
        for quote in quotes
        for delimiter in (sniffed, *DELIMITERS)
    ]
    for dialect in tried:
        widths = {len(row) for row in dialect.rows(whole_lines)}
        if len(widths) == 1 and widths != {1}:
            return dialect
    return tried[0]


def _is_number(name: object) -> bool:
    try:
        float(str(name))
    except ValueError:
        return False
    return True
