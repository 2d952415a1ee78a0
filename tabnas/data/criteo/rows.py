"""First pass of a build: text → columns on disk, split into training, validation and test rows.

Imports tabnas.errors and, of this package, hashing, options, scratch, source, text and threads.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tabnas.data.criteo.hashing import uniform
from tabnas.data.criteo.options import Options
from tabnas.data.criteo.scratch import Scratch, ScratchWriter
from tabnas.data.criteo.source import Source
from tabnas.data.criteo.text import BadLine, parse
from tabnas.data.criteo.threads import in_order
from tabnas.errors import UserError

log = logging.getLogger(__name__)

N_SHOWN = 3  # bad lines in a message

Progress = Callable[[str, int, int], None]
"""Called with the phase, what is done and the total, in rows; while reading, the total is an estimate."""


def read_rows(
    source: Source, scratch: Scratch, targets: dict[str, Path], options: Options, progress: Progress | None
) -> int:
    """Fill `scratch`, and the files `targets` of each split with its labels; the number of lines left out."""
    started = time.monotonic()
    bad: list[str] = []
    part, n_rows, n_lines, n_lines_before, n_bad = "", 0, 0, 0, 0
    with ScratchWriter(scratch, targets) as writer:
        for block, rows in in_order(lambda block: parse(block.text), source.blocks()):
            if block.part != part:
                part, n_lines_before = block.part, 0
            if rows.bad and options.on_bad_line == "error":
                given = _told(part, n_lines_before, rows.bad[0])
                remedy = "mend it, or leave bad lines out by dataset.on_bad_line=skip"
                raise UserError("dataset.path", "must hold only lines in Criteo's form", given, remedy)
            bad += [_told(part, n_lines_before, line) for line in rows.bad[: N_SHOWN - len(bad)]]
            n_bad += len(rows.bad)
            n_lines_before += rows.n_lines
            n_lines += rows.n_lines
            writer.write(rows, _split_of(n_rows, len(rows.label), options))
            n_rows += len(rows.label)
            if progress:
                progress("reading", n_rows, max(n_rows, round(n_rows * source.size / block.done)))
            if n_bad > 2 * options.max_bad_share * n_lines * source.size / block.done:
                break  # too many even if all that follow are good; 2, as the number of lines is an estimate
    if progress:
        progress("reading", n_rows, n_rows)
    if n_bad:
        if n_bad > options.max_bad_share * n_lines:
            rule = f"must be at least the share of bad lines, {n_bad:,} of {n_lines:,} ({'; '.join(bad)})"
            remedy = "look at these lines, then raise it if they may be left out"
            raise UserError("dataset.max_bad_share", rule, options.max_bad_share, remedy)
        log.warning("%s of %s lines are left out as bad: %s", f"{n_bad:,}", f"{n_lines:,}", "; ".join(bad))
    _check(scratch, n_rows)
    seconds = time.monotonic() - started
    log.info("read %s rows in %.0f s, %s rows/s", f"{n_rows:,}", seconds, f"{n_rows / seconds:,.0f}")
    return n_bad


def _split_of(first_row: int, n_rows: int, options: Options) -> NDArray[np.intp]:
    """(n_rows,) indices in SPLITS. What validates does not depend on test_fraction."""
    draws = uniform(options.split_seed, first_row, n_rows)
    tests = draws < options.val_fraction + options.test_fraction
    return np.where(draws < options.val_fraction, 1, np.where(tests, 2, 0))


def _told(part: str, n_lines_before: int, line: BadLine) -> str:
    return f"{part}, line {n_lines_before + line.number:,}: {line.reason}"


def _check(scratch: Scratch, n_rows: int) -> None:
    if not n_rows:
        raise UserError("dataset.path", "must hold at least two rows", "none", "give Criteo's train.txt")
    for split, name in (("train", "training"), ("valid", "validation")):
        if not scratch.n_rows[split]:
            rule = f"must leave rows for {name}, but {n_rows:,} rows leave none"
            raise UserError("dataset.val_fraction", rule, "0 rows", "give more rows, or another share or split_seed")
    n_ones = scratch.n_ones["train"]
    if n_ones in (0, scratch.n_rows["train"]):
        rule = "must hold both labels, 0 and 1, among the training rows"
        raise UserError("dataset.path", rule, f"{int(n_ones > 0)} alone", "give a larger part of the data")
