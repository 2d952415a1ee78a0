"""The data sets' shapes that are timed, and searches and stand-alone trainings on them, as a run does them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger

from tabnas.cost import Limits, ParameterCount
from tabnas.data import connect4
from tabnas.data.datamodule import TableDataModule
from tabnas.data.table import Table
from tabnas.encoder import Encoder
from tabnas.feasibility import Enumeration
from tabnas.method import Method, Rejection
from tabnas.optim import Adam
from tabnas.retrain import Retraining
from tabnas.search import TabNAS
from tabnas.search.dashboard import Dashboard
from tabnas.space import SearchSpace, Widths
from tabnas.trainer import PeriodicCheckpoint, fit, make_trainer

PAPER_WIDTHS = (8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 384, 512)
STEPS_PER_BLOCK = 100  # conf/trainer/default.yaml's log_every_n_steps
ROUNDS = 9  # times each side of a ratio is timed
BLOCKS = 4  # of a round, the first of which is not timed
WHOLE_SEARCH_EPOCHS = 30  # conf/trainer/default.yaml's max_epochs


@dataclass
class Case:
    """A data set's shape, and what is searched for on it."""

    name: str
    table: Callable[[], Table]
    batch_size: int
    n_layers: int
    limit: int
    target: float = float("inf")
    """Of search_ratio for the paper's search."""
    widths: Sequence[int] = PAPER_WIDTHS

    def setting(self, folder: Path, n_replicas: int = 1) -> "Setting":
        return Setting(self, folder, n_replicas)


class Setting:
    """A case made ready: builds searches of so many replicas and stand-alone trainings on its data."""

    def __init__(self, case: Case, folder: Path, n_replicas: int = 1) -> None:
        self.case, self.folder, self.n_replicas = case, folder, n_replicas
        self.table = case.table()
        self.space = SearchSpace([case.widths] * case.n_layers)
        self.data = TableDataModule(
            self.table,
            batch_size=case.batch_size,
            seed=0,
            steps_per_block=STEPS_PER_BLOCK,
            n_replicas=n_replicas,
        )
        self.optimizer = Adam(lr=0.002, schedule="cosine")
        self.limits = Limits(ParameterCount(self.encoder().n_inputs, self.table.task.n_outputs), case.limit)
        self.total_steps = WHOLE_SEARCH_EPOCHS * self.data.search_steps_per_epoch

    def encoder(self) -> Encoder:
        return Encoder(self.table.n_numerical, self.table.cardinalities, 2)

    def method(self, kind: type[Method], **settings: Any) -> Method:
        generator = torch.Generator().manual_seed(0)
        return kind(space=self.space, limits=self.limits, generator=generator, name=kind.__name__, **settings)

    def search(
        self, kind: type[Method] = Rejection, *, module: type[TabNAS] = TabNAS, n_devices: int = 1, **settings: Any
    ) -> TabNAS:
        torch.manual_seed(0)
        return module(
            method=self.method(kind, replicas_per_device=self.n_replicas // n_devices, **settings),
            encoder=self.encoder(),
            task=self.table.task,
            optimizer=self.optimizer,
            batch_size=self.case.batch_size,
            total_steps=self.total_steps,
            valid=self.data.valid,
            n_devices=n_devices,
        )

    def median_feasible(self) -> Widths:
        """Of the feasible architectures in order of cost, the middle one."""
        listed = Enumeration(self.space, self.limits.costs, self.limits.at_most)
        feasible = self.space.gather_widths(listed.feasible)
        middle = self.limits.costs[0].many(feasible).argsort(stable=True)[len(feasible) // 2]
        return tuple(feasible[middle].tolist())

    def retraining(self) -> Retraining:
        return Retraining(
            data=self.data,
            new_encoder=self.encoder,
            task=self.table.task,
            optimizer=self.optimizer,
            max_epochs=WHOLE_SEARCH_EPOCHS,
            accelerator="cpu",
            checkpoint_every_seconds=20,
            folder=self.folder / "retrain",
        )

    def fit_search(self, search: TabNAS, *callbacks: Callback, epochs: int = 1, **trainer: Any) -> None:
        """As a run does it: with TensorBoard, checkpoints and Lightning around it. trainer: of make_trainer."""
        logger = TensorBoardLogger(self.folder, name="", version="tensorboard", default_hp_metric=False)
        around = [PeriodicCheckpoint(self.folder / "search.ckpt", 20), Dashboard(logger), *callbacks]
        made = make_trainer("cpu", epochs, around, logger, **trainer)
        fit(made, search, self.data.train_dataloader(), self.folder / "none.ckpt")

    def fit_alone(self, widths: Widths, *callbacks: Callback, seeds: Sequence[int] = (0,)) -> None:
        """Stand-alone training as a run does it, of several seeds at once."""
        module, loader = self.retraining().started(widths, seeds)
        around = [PeriodicCheckpoint(self.folder / "alone.ckpt", 20), *callbacks]
        fit(make_trainer("cpu", 1, around), module, loader, self.folder / "none.ckpt")


class BlockTimer(Callback):
    """Ends a fit after some blocks and tells the seconds a step took in all but the first."""

    def __init__(self, blocks: int = BLOCKS, after_first: Callable[[], None] = lambda: None) -> None:
        self.blocks, self.after_first = blocks, after_first
        self.seen = self.steps = 0
        self.started = self.seconds = 0.0
        self.first = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seen += 1
        module: Any = pl_module
        if self.seen > 1:
            self.seconds, self.steps = time.perf_counter() - self.started, module.step - self.first
        if self.seen == 1:
            self.after_first()
            self.first = module.step
            self.started = time.perf_counter()
        if self.seen == self.blocks:
            trainer.should_stop = True

    def per_step(self) -> float:
        return self.seconds / self.steps


def random_table(n_rows: int, n_numerical: int, n_classes: int) -> Table:
    """Noise of a given shape: speed does not depend on the values."""
    rng = np.random.default_rng(0)
    numerical = rng.standard_normal((n_rows, n_numerical), dtype=np.float32)
    target = rng.integers(n_classes, size=n_rows)
    return Table.from_arrays("random", numerical, None, target, tuple(map(str, range(n_classes))))


def volkert_noise() -> Table:
    """Noise of Volkert's shape, for minibatches of 32."""
    return random_table(rows_for(32), 180, 10)


def rows_for(batch_size: int) -> int:
    """Rows whose training split holds the blocks of a round."""
    return round(batch_size * STEPS_PER_BLOCK * BLOCKS / 0.8) + batch_size


CASES = (
    Case("criteo 3 layers, batch 512", lambda: random_table(rows_for(512), 1027, 2), 512, 3, 41_153, 3.2),
    Case("volkert 4 layers, batch 32", volkert_noise, 32, 4, 27_882, 2.2),
    Case("connect4 3 layers, batch 256", connect4.load, 256, 3, 10_000, 2.3),
    Case("connect4 3 layers, batch 32", connect4.load, 32, 3, 10_000, 2.0),
)
