"""From text to the files of a Table, in constant memory, and back from these files to the Table.

Three passes. Text → a file for each column and split (rows). From the training rows: a vocabulary for each categorical
column, whose values are replaced by ids, and a scaling for each integer column. Columns → rows: for each split,
numerical float32 (n, 13), categorical int32 (n, 26), target uint8 (n,), without a header, in the machine's byte order.

Memory: some blocks of text or of rows for each thread, plus about 30 bytes for each distinct value of the categorical
columns at work at once (the largest of all Criteo's has 10 million), whatever the number of rows.
"""

import json
import logging
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tabnas.data.criteo.numbers import METHODS, Original, Quantile, Scaling, fit, scaled
from tabnas.data.criteo.options import Options
from tabnas.data.criteo.rows import Progress, read_rows
from tabnas.data.criteo.scratch import SPLITS, Scratch
from tabnas.data.criteo.source import Source
from tabnas.data.criteo.text import CATEGORIES, INTEGERS, LABEL
from tabnas.data.criteo.threads import in_order
from tabnas.data.criteo.vocabulary import Vocabulary, hashed
from tabnas.data.table import MISSING, N_RESERVED, Column, Rows, Table
from tabnas.task import Classification

log = logging.getLogger(__name__)

VERSION = 2  # of these files and of how they are made

_Told = dict[str, Any]
"""Of a Column."""


def build(source: Source, options: Options, progress: Progress | None, folder: Path) -> None:
    """Write the files of the table into `folder`, which is empty. Raises UserError for what is wrong in the source."""
    started = time.monotonic()
    scratch = Scratch(folder / "scratch")
    for created in (scratch.folder, folder / "vocabulary", folder / "quantiles"):
        created.mkdir()
    n_bad = read_rows(source, scratch, {split: folder / f"{split}_target.bin" for split in SPLITS}, options, progress)
    categories = _encode_all(scratch, options, folder / "vocabulary", progress)
    scalings = _fit_all(scratch, options.numerical, progress)
    _write_rows(scratch, scalings, folder, progress)
    shutil.rmtree(scratch.folder)
    n_rows = sum(scratch.n_rows.values())
    target: _Told = {"name": LABEL, "kind": "target", "n_values": 2, "became": "class index"}
    became = f"{METHODS[options.numerical]}; 0 where missing"
    numbers: list[_Told] = [
        {"name": name, "kind": "numerical", "n_values": None, "became": became} for name in INTEGERS
    ]
    meta = {
        "n_rows": scratch.n_rows,
        "n_bad_lines": n_bad,
        "cardinalities": [column.pop("cardinality") for column in categories],
        "columns": [
            {**column, "missing": scratch.n_missing.get(column["name"], 0) / n_rows}
            for column in (target, *numbers, *categories)
        ],
        "scaling": _kept(scalings, folder / "quantiles"),
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1))
    seconds = time.monotonic() - started
    log.info("built from %s rows in %.0f s, %s rows/s", f"{n_rows:,}", seconds, f"{n_rows / seconds:,.0f}")


def _encode_all(scratch: Scratch, options: Options, folder: Path, progress: Progress | None) -> list[_Told]:
    """Replace the values of all categorical columns by ids; what there is to tell of each, with its cardinality."""

    def encode(name: str) -> _Told:
        if options.hash_buckets is not None:
            encoder: Callable[[NDArray[np.uint32]], NDArray[np.int32]]
            encoder, n_values = partial(hashed, n_buckets=options.hash_buckets), None
            cardinality = N_RESERVED + options.hash_buckets
            became = f"embedding of {options.hash_buckets:,} hash buckets"
        else:
            vocabulary = Vocabulary.fit(partial(scratch.present, name), options.min_count)
            vocabulary.save(folder / f"{name}.npy")
            encoder, n_values, cardinality = vocabulary.encoder(), len(vocabulary.values), vocabulary.cardinality
            n_own = cardinality - N_RESERVED
            became = f"embedding of {n_own:,} values; {n_values - n_own:,} rarer than {options.min_count} share an id"
        for split in SPLITS:
            scratch.replace(name, split, encoder, MISSING)
        return {"kind": "categorical", "n_values": n_values, "became": became, "cardinality": cardinality}

    n_rows, told = sum(scratch.n_rows.values()), []
    for name, column in in_order(encode, CATEGORIES):
        told.append({"name": name, **column})
        if progress:
            progress("categories", n_rows * len(told) // len(CATEGORIES), n_rows)
    return told


def _fit_all(scratch: Scratch, method: str, progress: Progress | None) -> list[Scaling]:
    n_rows, scalings = sum(scratch.n_rows.values()), []
    for _, scaling in in_order(lambda name: fit(method, name, partial(scratch.numbers, name, "train")), INTEGERS):
        scalings.append(scaling)
        if progress:
            progress("numbers", n_rows * len(scalings) // len(INTEGERS), n_rows)
    return scalings


def _write_rows(scratch: Scratch, scalings: list[Scaling], folder: Path, progress: Progress | None) -> None:
    def side_by_side(columns: tuple[list[NDArray[Any]], ...]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        numbers, ids = columns
        values = [scaled(*pair) for pair in zip(scalings, numbers, strict=True)]
        return np.stack(values, axis=1), np.stack(ids, axis=1)

    done = 0
    for split in SPLITS:
        columns = zip(scratch.rows(split, INTEGERS, np.float32), scratch.rows(split, CATEGORIES, np.int32), strict=True)
        numerical, categorical = (folder / f"{split}_{name}.bin" for name in ("numerical", "categorical"))
        with numerical.open("wb") as numerical_file, categorical.open("wb") as categorical_file:
            for _, (values, ids) in in_order(side_by_side, columns):
                numerical_file.write(values.data)
                categorical_file.write(ids.data)
                done += len(ids)
                if progress:
                    progress("writing", done, sum(scratch.n_rows.values()))


def _kept(scalings: list[Scaling], folder: Path) -> dict[str, Any]:
    """The scalings as JSON; quantiles go to files of (value, normal) pairs."""
    kept: dict[str, Any] = {}
    for name, scaling in zip(INTEGERS, scalings, strict=True):
        if isinstance(scaling, Quantile):
            np.save(folder / f"{name}.npy", np.stack(scaling, axis=1), allow_pickle=False)
        elif not isinstance(scaling, Original):
            kept[name] = scaling._asdict()  # type: ignore[attr-defined]
    return kept


def read(folder: Path, options: Options) -> Table:
    """The table whose files are in `folder`, mapped into memory: what is not looked at is not read."""
    meta = json.loads((folder / "meta.json").read_text())
    shapes = {"numerical": (np.float32, (13,)), "categorical": (np.int32, (26,)), "target": (np.uint8, ())}

    def mapped(split: str, name: str) -> torch.Tensor:
        dtype, shape = shapes[name]
        # Mode c: torch wants to be able to write; what it writes stays in memory.
        array = np.memmap(folder / f"{split}_{name}.bin", dtype, "c", shape=(meta["n_rows"][split], *shape))
        return torch.from_numpy(array)

    parts = {split: Rows(*(mapped(split, name) for name in shapes)) for split in SPLITS if meta["n_rows"][split]}
    hashing = options.hash_buckets is not None
    encoding = {
        "columns": [
            *({"name": name, "kind": "numerical"} for name in INTEGERS),
            *({"name": name, "kind": "categorical"} for name in CATEGORIES),
        ],
        "target": LABEL,
        "numerical": {"method": options.numerical, "missing": 0, "columns": meta["scaling"]},
        "categorical": {
            "method": "hash" if hashing else "vocabulary",
            "n_buckets": options.hash_buckets,
            "min_count": None if hashing else options.min_count,
        },
        "folder": str(folder),
    }
    return Table(
        parts["train"],
        parts["valid"],
        tuple(meta["cardinalities"]),
        Classification(("0", "1")),
        tuple(Column(**column) for column in meta["columns"]),
        encoding,
        has_reserved_ids=True,
        test=parts.get("test"),
    )
