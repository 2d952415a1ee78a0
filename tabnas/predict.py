"""Predictions with a found network: `python -m tabnas.predict --help`, or Predictor for a DataFrame.

May import data, errors, model, progress and task.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import torch

from tabnas import model
from tabnas.data.criteo.encode import CriteoEncoding
from tabnas.data.frame import Encoding
from tabnas.data.pieces import STDIN, opened
from tabnas.errors import UserError, require_integer, unknown
from tabnas.progress import Display
from tabnas.task import Classification, outputs_of

STDOUT = "-"
PREDICTION = "prediction"
SUFFIXES = (".csv", ".parquet")
ROWS = 65536
MOST_NAMED = 10
"""Columns in a line to the user."""


class Predictor:
    """Predicts from columns as the run's source had them. UserError where the folder's model cannot.

    folder: a run's, or the model folder in it.
    dtype: to compute in. In float64 a prediction does not depend on the rows beside it; in float32 its last digit may.
    """

    def __init__(self, folder: Path | str, dtype: torch.dtype = torch.float32) -> None:
        network, self.about = model.load(folder)
        self.model, self.dtype = network.to(dtype), dtype
        if self.about["signature"] is None:
            rule = "must have been trained on a table whose source tells how columns are encoded"
            remedy = "use dataset=table, openml, sklearn, connect4 or digits, or give model.load's network encoded rows"
            raise UserError("model", rule, f"dataset={self.about['dataset']}", remedy)
        self.task = model.task_of(self.about)
        self.encoding = self._encoding(model.folder_of(folder) / model.ENCODING)

    def _encoding(self, folder: Path) -> Encoding | CriteoEncoding:
        made = self.about["encoding"]
        try:
            return CriteoEncoding.from_json(made, folder) if "columns" in made else Encoding.from_json(made)
        except (OSError, ValueError, LookupError, TypeError) as error:
            remedy = f"copy it again ({type(error).__name__}: {error})"
            raise UserError("model", "must have an encoding as a run left it", str(folder), remedy) from error

    @property
    def columns(self) -> list[str]:
        """Names of the columns that it needs."""
        return self.encoding.names

    @property
    def answers(self) -> list[str]:
        """Names of the columns that it gives."""
        classes = self.task.classes if isinstance(self.task, Classification) else ()
        return [PREDICTION, *(f"probability_{name}" for name in classes)]

    def __call__(self, frame: pd.DataFrame) -> pd.DataFrame:
        """One row for each of the frame's, with its index: `prediction`, a class by name or a number in the target's
        own units, and for classes `probability_<class>`.

        UserError for a column that is missing or of another kind; further columns are not looked at.
        """
        require_columns("frame", self.columns, frame.columns)
        numbers, ids = self.encoding.encode(frame)
        with torch.inference_mode():
            outputs = outputs_of(self.model, torch.from_numpy(numbers).to(self.dtype), torch.from_numpy(ids))
            answers = self.task.answers(outputs)
        if not isinstance(self.task, Classification):
            return pd.DataFrame({PREDICTION: answers.numpy()}, frame.index)
        chosen = np.asarray(self.task.classes, object)[answers.argmax(dim=1).numpy()]
        told = pd.DataFrame(answers.numpy(), frame.index, self.answers[1:])
        told.insert(0, PREDICTION, chosen)
        return told


def require_columns(name: str, needed: Sequence[str], given: Sequence[object] | pd.Index) -> None:
    """UserError unless all columns needed are given."""
    if absent := [column for column in needed if column not in given]:
        rule = f"must have the {len(needed):,} columns of the training table"
        raise UserError(name, rule, f"none called {_few(absent)}", "add it; a cell without a value may be empty")


def predict_file(
    predictor: Predictor, source: str, out: str, *, keep: Sequence[str] = (), rows: int = ROWS
) -> tuple[int, list[str]]:
    """Predict every row of a file, in order; the number of rows and the columns that were of no use.

    source: CSV (compressed too), Parquet, Feather, or `-`: CSV or Parquet from stdin.
    out: .csv, .parquet, or `-`: CSV to stdout. A file appears whole, at the end, or not at all.
    keep: columns to carry over, to the left of the predictions.
    rows: read at once, which bounds memory.
    """
    require_integer("--rows", rows, low=1, remedy=f"{ROWS} is a good choice")
    if out != STDOUT and Path(out).suffix.lower() not in SUFFIXES:
        raise UserError("--out", f"must end in {' or '.join(SUFFIXES)}, or be - for stdout", out, "rename it")
    if out != STDOUT and source != STDIN and (file := _resolved(out)) == _resolved(source):
        raise UserError("--out", "must be another file than the table", str(file), "name another")
    if taken := [name for name in keep if name in predictor.answers]:
        raise UserError("--keep", "must not be called like a column of predictions", taken[0], "rename that column")
    key = "table"
    with opened(source, key, rows=rows, decimal=predictor.about["decimal"]) as pieces:
        require_columns(key, predictor.columns, pieces.names)
        for name in keep:
            if name not in pieces.names:
                raise unknown("--keep", name, pieces.names)
        n_rows = 0
        with _writer(out) as write, Display() as display:
            show = display.phase("predict")
            for piece in pieces.read(predictor.columns, list(dict.fromkeys(keep))):
                write(pd.concat([piece.kept, predictor(piece.frame)], axis=1))
                n_rows += len(piece.frame)
                show(piece.done, piece.total)
            if not n_rows:
                raise UserError(key, "must have rows", "an empty file", "give a table with rows")
        return n_rows, [name for name in pieces.names if name not in {*predictor.columns, *keep}]


@contextlib.contextmanager
def _writer(out: str) -> Iterator[Callable[[pd.DataFrame], None]]:
    """What appends rows to `out`; a file has a temporary name until all is written."""
    if out == STDOUT:
        yield _csv_writer(sys.stdout)
        return
    path = Path(out).expanduser()
    partial = path.with_name(path.name + ".partial")
    try:
        if path.is_dir():
            raise IsADirectoryError(f"{out} is a folder")
        if path.suffix.lower() == ".csv":
            with partial.open("w", encoding="utf-8", newline="") as file:
                yield _csv_writer(file)
        else:
            with partial.open("wb") as file, contextlib.ExitStack() as stack:
                yield _parquet_writer(file, stack)
        partial.replace(path)
    except OSError as error:
        raise UserError("--out", "must be a file that can be written", out, f"name another ({error})") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _csv_writer(file: Any) -> Callable[[pd.DataFrame], None]:
    is_first = True

    def write(frame: pd.DataFrame) -> None:
        nonlocal is_first
        frame.to_csv(file, index=False, header=is_first, lineterminator="\n")
        is_first = False

    return write


def _parquet_writer(file: Any, stack: contextlib.ExitStack) -> Callable[[pd.DataFrame], None]:
    writer: Any = None

    def write(frame: pd.DataFrame) -> None:
        nonlocal writer
        schema = None if writer is None else writer.schema
        table = pyarrow.Table.from_pandas(frame, schema=schema, preserve_index=False).replace_schema_metadata()
        if writer is None:
            writer = stack.enter_context(pyarrow.parquet.ParquetWriter(file, table.schema))
        writer.write_table(table)

    return write


def _resolved(path: str) -> Path:
    return Path(path).expanduser().resolve()


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (", …" if len(names) > MOST_NAMED else "")


class OneLineParser(argparse.ArgumentParser):
    """Tells of a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        print(f"tabnas: error: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = OneLineParser(
        prog="python -m tabnas.predict",
        description="Predict with the network that a run found. It prints or writes one row for each row of the table, "
        "in its order: the class and the probability of every class, or a number in the target's own units.",
    )
    parser.add_argument("run", help="folder of a finished run, or the model folder in it")
    parser.add_argument(
        "table", help=f"CSV (.gz, .bz2, .xz, .zip, .zst too), Parquet or Feather; {STDIN} is CSV or Parquet from stdin"
    )
    parser.add_argument("--out", default=STDOUT, help=".csv or .parquet; - (the default) is CSV to stdout")
    parser.add_argument("--keep", action="append", default=[], metavar="COLUMN", help="carry it over; may be repeated")
    parser.add_argument("--rows", type=int, default=ROWS, help="read at once, which bounds memory; %(default)s")
    given = parser.parse_args(arguments)
    try:
        n_rows, ignored = predict_file(Predictor(given.run), given.table, given.out, keep=given.keep, rows=given.rows)
        sys.stdout.flush()
    except UserError as error:
        print(f"tabnas: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tabnas: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever reads wants no more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    if ignored:
        print(f"tabnas: ignored: {_few(ignored)}, which the network does not use", file=sys.stderr)
    if given.out != STDOUT:
        print(f"tabnas: {n_rows:,} rows in {given.out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
