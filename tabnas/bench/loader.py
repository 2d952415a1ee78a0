"""What serving a minibatch costs beside training on it: rows of Criteo's form, mapped from disk, batch 512."""

import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from tabnas.bench.embedding import BATCH_SIZE, DIM, N_CATEGORICAL, N_NUMERICAL, WIDTHS
from tabnas.bench.line import Line
from tabnas.bench.setting import STEPS_PER_BLOCK
from tabnas.data.datamodule import TableDataModule
from tabnas.data.table import Rows, Table
from tabnas.encoder import Encoder
from tabnas.network import Network
from tabnas.optim import Adam
from tabnas.stand_alone import StandAlone
from tabnas.task import Classification

N_ROWS, N_IDS = 5_000_000, 1_000_000
BLOCKS = 30  # of STEPS_PER_BLOCK steps: more rows than are shuffled at once


def loader(folder: Path) -> Iterator[Line]:
    """The loader's share of a stand-alone step, without validation rows and, as a search takes them, with."""
    table = _mapped(folder)
    data = TableDataModule(table, batch_size=BATCH_SIZE, seed=0, steps_per_block=STEPS_PER_BLOCK)
    torch.manual_seed(0)
    encoder = Encoder(N_NUMERICAL, table.cardinalities, DIM, sparse=True)
    network = Network(encoder.n_inputs, WIDTHS, 1)
    module = StandAlone(encoder, network, table.task, Adam(lr=0.002), BATCH_SIZE, 10**6)
    optimizer = module.configure_optimizers()
    for case, with_validation in (("training rows", False), ("training and validation rows", True)):
        seconds: dict[str, list[float]] = {"loader": [], "step": []}
        blocks = iter(data.blocks(seed=0, with_validation=with_validation))
        for _ in range(BLOCKS):
            started = time.perf_counter()
            block = next(blocks)
            loaded = time.perf_counter()
            for rows in block.train.split(BATCH_SIZE):
                module.update(rows, optimizer)
            seconds["loader"].append(loaded - started)
            seconds["step"].append(time.perf_counter() - loaded)
        # A mean for the loader, as reading a group of chunks falls on one block in twenty.
        load = statistics.fmean(seconds["loader"]) / STEPS_PER_BLOCK
        step = statistics.median(seconds["step"]) / STEPS_PER_BLOCK
        yield Line("data", f"loader, {case}: rows a second", round(BATCH_SIZE / load), "rows/s")
        yield Line.at_most("data", f"loader, {case}: over a stand-alone step", load / step, "ratio", 0.1)


def _mapped(folder: Path) -> Table:
    """Random rows of Criteo's form in files, and mapped."""
    rng, n_valid = np.random.default_rng(0), N_ROWS // 10
    cardinality = N_IDS // N_CATEGORICAL
    columns = {
        "numerical": rng.standard_normal((N_ROWS, N_NUMERICAL), dtype=np.float32),
        "categorical": rng.integers(cardinality, size=(N_ROWS, N_CATEGORICAL), dtype=np.int32),
        "target": rng.integers(2, size=N_ROWS, dtype=np.uint8),
    }
    mapped = []
    for name, values in columns.items():
        np.save(folder / f"{name}.npy", np.asarray(values))
        mapped.append(torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c")))
    os.sync()
    rows = Rows(*mapped)
    valid, train = rows.slice(0, n_valid), rows.slice(n_valid, N_ROWS)
    return Table(train, valid, (cardinality,) * N_CATEGORICAL, Classification(("0", "1")), has_reserved_ids=True)
