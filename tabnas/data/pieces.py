"""A file of the user's, or what comes through a pipe, some rows at a time: for predictions in bounded memory.

Cells are read as files.read reads them, whatever the rest of the file holds.
"""

import contextlib
import io
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import pandas as pd
import pyarrow
import pyarrow.parquet

from tabnas.data.files import OPENERS, TEXT, located, readable, text_options, with_points

STDIN = "-"
PARQUET_MAGIC = b"PAR1"


class Piece(NamedTuple):
    """n consecutive rows."""

    frame: pd.DataFrame
    """(n, columns asked for); its index counts the rows of the whole file from 0."""
    kept: pd.DataFrame
    """(n, columns to carry over), as in the file: their types do not depend on which rows are in the piece."""
    done: int
    total: int
    """How much of the file is read after this piece: bytes, or rows of a Parquet or Feather file."""


class Pieces(NamedTuple):
    names: list[str]
    """Of the file's columns."""
    read: Callable[[Collection[str], list[str]], Iterator[Piece]]
    """Of columns to use and columns to carry over, its pieces; those without rows are left out."""


@contextlib.contextmanager
def opened(source: str, key: str, *, rows: int, decimal: str = ".") -> Iterator[Pieces]:
    """The file `source` in pieces of at most `rows` rows; `-` is CSV or Parquet from stdin, kept on disk meanwhile.

    key: what an error is to name. decimal: the mark in the numbers of a CSV file.
    """
    with _on_disk(source) as path, contextlib.ExitStack() as stack:
        file, kind, compression = located(path, key)
        told = "stdin" if source == STDIN else source
        with readable(key, told):  # not around the yield: what goes wrong there is not this file's fault
            if kind in TEXT:
                pieces = _of_text(file, compression, key, told, rows, decimal)
            elif kind in (".parquet", ".pq"):
                parquet = stack.enter_context(pyarrow.parquet.ParquetFile(file))
                batches = partial(parquet.iter_batches, rows)
                pieces = _of_batches(
                    parquet.schema_arrow.names, lambda c: batches(columns=c), parquet.metadata.num_rows, key, told
                )
            else:
                mapped = stack.enter_context(pyarrow.memory_map(str(file)))
                feather = stack.enter_context(pyarrow.ipc.open_file(mapped))
                n_rows = sum(feather.get_batch(i).num_rows for i in range(feather.num_record_batches))
                pieces = _of_batches(feather.schema.names, lambda columns: _sliced(feather, rows), n_rows, key, told)
        yield pieces


@contextlib.contextmanager
def _on_disk(source: str) -> Iterator[str]:
    """Parquet is read from its end, and the dialect of CSV is told from its first lines: a pipe has to be kept."""
    if source != STDIN:
        yield source
        return
    first = sys.stdin.buffer.read(len(PARQUET_MAGIC))
    with tempfile.NamedTemporaryFile(suffix=".parquet" if first == PARQUET_MAGIC else ".csv") as file:
        file.write(first)
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        yield file.name


def _of_text(file: Path, compression: str, key: str, told: str, rows: int, decimal: str) -> Pieces:
    def unpacked(raw: IO[bytes]) -> Any:
        return OPENERS[compression](raw, "rb") if compression else raw

    options = text_options(lambda: OPENERS.get(compression, open)(file, "rb"), key)

    def read(used: Collection[str], carried: list[str]) -> Iterator[Piece]:
        total = max(file.stat().st_size, 1)
        with (
            readable(key, told), file.open("rb") as raw, unpacked(raw) as bytes_,
            io.TextIOWrapper(bytes_, encoding="utf-8-sig", newline="") as text,
        ):  # fmt: skip
            wanted = [name for name in options["names"] if name in {*used, *carried}]
            reader = _strict(lambda: pd.read_csv(text, **options, chunksize=rows))
            while True:
                try:
                    frame = _strict(reader.get_chunk)
                except StopIteration:
                    return
                frame = frame[wanted]
                done = min(raw.tell(), total) if not raw.closed else total
                numbers = with_points(frame[[name for name in wanted if name in used]], decimal)
                if len(frame):
                    yield Piece(numbers, frame[carried].astype("string"), done, total)

    return Pieces(options["names"], read)


def _strict(read: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the line of names
        return read()


def _of_batches(
    names: list[str],
    batches: Callable[[list[str]], Iterator[pyarrow.RecordBatch]],
    n_rows: int,
    key: str,
    told: str,
) -> Pieces:
    def read(used: Collection[str], carried: list[str]) -> Iterator[Piece]:
        done = 0
        with readable(key, told):
            for batch in batches(list(dict.fromkeys([*used, *carried]))):
                if not batch.num_rows:
                    continue
                frame = batch.select(list(used)).to_pandas(ignore_metadata=True)
                frame.index = pd.RangeIndex(done, done + len(frame))
                kept = batch.select(carried).to_pandas(ignore_metadata=True, types_mapper=pd.ArrowDtype)
                kept.index = frame.index
                done += len(frame)
                yield Piece(frame, kept, done, n_rows)

    return Pieces(names, read)


def _sliced(feather: Any, rows: int) -> Iterator[pyarrow.RecordBatch]:
    for number in range(feather.num_record_batches):
        batch = feather.get_batch(number)
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)
