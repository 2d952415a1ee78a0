"""What several test files need."""

import contextlib
import logging
import os
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from tabnas.cost import Flops, Limits, ParameterCount
from tabnas.data.datamodule import TableDataModule
from tabnas.data.table import Table
from tabnas.encoder import Encoder
from tabnas.method import Method, Rejection
from tabnas.optim import SGD, Adam
from tabnas.search import TabNAS
from tabnas.space import SearchSpace

ROOT = Path(__file__).parent.parent
PAPER_WIDTHS = (8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 384, 512)


def pytest_configure() -> None:
    """Tests run side by side (pytest-xdist), and their networks are too small for a second thread."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


@pytest.fixture
def optional_file() -> Callable[[str], Path]:
    """A file that may not be shipped, of the folder that TABNAS_TEST_DATA names; without it the test is skipped."""

    def path(name: str) -> Path:
        found = Path(os.environ.get("TABNAS_TEST_DATA", ""), name).absolute()
        if not found.is_file():
            pytest.skip(f"needs {name} in TABNAS_TEST_DATA")
        return found

    return path


class Toy(NamedTuple):
    """The paper's toy example (Figure 1)."""

    space: SearchSpace
    cost: ParameterCount
    limit: int


@pytest.fixture
def toy() -> Toy:
    return Toy(SearchSpace([[2, 3, 4], [2, 3, 4]]), ParameterCount(2, 1), 25)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def small_table() -> Table:
    """240 rows, 3 numerical and 2 categorical columns, 3 classes that depend on both kinds."""
    rng = np.random.default_rng(0)
    numerical = rng.standard_normal((240, 3))
    categorical = rng.integers(4, size=(240, 2))
    target = ((numerical[:, 0] > 0).astype(int) + (categorical[:, 0] > 1)).astype(int)
    return Table.from_arrays(
        "small", numerical, categorical, target, ("a", "b", "c"), val_fraction=0.25, standardize=True
    )


class Small(NamedTuple):
    """A search on the small table, and its data."""

    search: TabNAS
    data: TableDataModule


@pytest.fixture
def new_search(small_table: Table) -> Callable[..., Small]:
    """Builds a search of `epochs` epochs on the small table; keywords are the method's.

    limit: on parameters. flops: a second limit.
    """

    def build(
        *, epochs: int = 3, seed: int = 0, choices: tuple[tuple[int, ...], ...] = ((2, 4, 8), (2, 4, 8)),
        limit: int = 90, flops: int | None = None, steps_per_block: int = 5, lr: float = 0.01,
        kind: type[Method] = Rejection, sparse: bool = False, optimizer: Adam | SGD | None = None,
        replicas_per_device: int = 1, module: type[TabNAS] = TabNAS, **method: object,
    ) -> Small:  # fmt: skip
        data = TableDataModule(
            small_table, batch_size=16, seed=seed, steps_per_block=steps_per_block, n_replicas=replicas_per_device
        )
        torch.manual_seed(seed)
        encoder = Encoder(small_table.n_numerical, small_table.cardinalities, 2, sparse=sparse)
        costs = [ParameterCount(encoder.n_inputs, 3), Flops(encoder.n_inputs, 3)]
        limits = Limits(costs[0], limit) if flops is None else Limits(costs, [limit, flops])
        made = kind(
            space=SearchSpace(choices), limits=limits, generator=torch.Generator().manual_seed(seed),
            name=kind.__name__, replicas_per_device=replicas_per_device, **method,
        )  # fmt: skip
        search = module(
            method=made, encoder=encoder, task=small_table.task, optimizer=optimizer or Adam(lr=lr, schedule="cosine"),
            batch_size=16, total_steps=epochs * data.search_steps_per_epoch, valid=data.valid,
        )  # fmt: skip
        return Small(search, data)

    return build


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def train_py(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Runs `python train.py ARGUMENTS` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py"), *arguments])
        capsys.readouterr()
        code = 0
        with _root_logging_restored():
            GlobalHydra.instance().clear()
            try:
                runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else 1
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@contextlib.contextmanager
def _root_logging_restored() -> Iterator[None]:
    """Hydra configures logging for the whole process; close the file it opened."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        yield
    finally:
        for handler in set(root.handlers) - set(before):
            handler.close()
        root.handlers[:] = before
        root.setLevel(level)
