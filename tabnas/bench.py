"""The figures this project promises: `python -m tabnas.bench NAME… [--json]`.

Speeds are ratios of two things timed in turn within one run, so that a machine whose speed drifts does not matter.
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from rich.console import Console
from rich.table import Table as RichTable

from tabnas.controller import gumbel
from tabnas.cost import ParameterCount
from tabnas.data import connect4
from tabnas.data.datamodule import TableDataModule
from tabnas.data.table import Table
from tabnas.encoder import Encoder
from tabnas.metrics import log_loss
from tabnas.optim import Adam
from tabnas.retrain import Retraining
from tabnas.search import TabNAS
from tabnas.search.dashboard import Dashboard
from tabnas.space import SearchSpace, Widths, hyphenated
from tabnas.supernet import feedforward
from tabnas.trainer import PeriodicCheckpoint, fit, make_trainer

PAPER_WIDTHS = (8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 384, 512)
STEPS_PER_BLOCK = 100  # conf/trainer/default.yaml's log_every_n_steps
ROUNDS = 9  # times each side of a ratio is timed
BLOCKS = 4  # of a round, the first of which is not timed
WHOLE_SEARCH_EPOCHS = 30  # conf/trainer/default.yaml's max_epochs


@dataclass
class Line:
    """One figure. target: what it should be at most, if anything is promised; ok: whether it is."""

    bench: str
    case: str
    value: float
    unit: str
    target: float | None = None
    ok: bool | None = None

    @staticmethod
    def at_most(bench: str, case: str, value: float, unit: str, target: float) -> "Line":
        return Line(bench, case, round(value, 3), unit, target, value <= target)


@dataclass
class Case:
    """A data set's shape, and what is searched for on it."""

    name: str
    table: Callable[[], Table]
    batch_size: int
    n_layers: int
    limit: int
    target: float

    def setting(self, folder: Path) -> "Setting":
        return Setting(self, folder)


class Setting:
    """A case made ready: builds searches and stand-alone trainings on its data."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.folder = case, folder
        self.table = case.table()
        self.space = SearchSpace([PAPER_WIDTHS] * case.n_layers)
        self.data = TableDataModule(
            self.table,
            batch_size=case.batch_size,
            val_fraction=0.2,
            split_seed=0,
            numerical="original",
            seed=0,
            steps_per_block=STEPS_PER_BLOCK,
        )
        self.optimizer = Adam(lr=0.002, schedule="cosine")
        self.cost = ParameterCount(self.encoder().n_inputs, self.table.n_outputs)
        self.total_steps = WHOLE_SEARCH_EPOCHS * self.data.steps_per_epoch

    def encoder(self) -> Encoder:
        return Encoder(self.table.n_numerical, self.table.cardinalities, 2)

    def search(self, **method: Any) -> TabNAS:
        torch.manual_seed(0)
        return TabNAS(
            encoder=self.encoder(),
            space=self.space,
            n_outputs=self.table.n_outputs,
            cost=self.cost,
            limit=self.case.limit,
            optimizer=self.optimizer,
            batch_size=self.case.batch_size,
            total_steps=self.total_steps,
            seed=0,
            **method,
        )

    def median_feasible(self) -> Widths:
        """Of the feasible architectures in order of cost, the middle one."""
        search = self.search()
        assert search.exact is not None
        feasible = self.space.gather_widths(search.exact.feasible)
        middle = self.cost.many(feasible).argsort(stable=True)[len(feasible) // 2]
        return tuple(feasible[middle].tolist())

    def retraining(self) -> Retraining:
        return Retraining(
            data=self.data,
            new_encoder=self.encoder,
            n_outputs=self.table.n_outputs,
            optimizer=self.optimizer,
            max_epochs=WHOLE_SEARCH_EPOCHS,
            accelerator="cpu",
            checkpoint_every_seconds=20,
            folder=self.folder / "retrain",
        )

    def fit_search(self, search: TabNAS, *callbacks: Callback, epochs: int = 1) -> None:
        """As a run does it: with TensorBoard, checkpoints and Lightning around it."""
        logger = TensorBoardLogger(self.folder, name="", version="tensorboard", default_hp_metric=False)
        around = [PeriodicCheckpoint(self.folder / "search.ckpt", 20), Dashboard(logger), *callbacks]
        trainer = make_trainer("cpu", epochs, around, logger)
        fit(trainer, search, self.data.train_dataloader(), self.folder / "none.ckpt")

    def fit_alone(self, widths: Widths, *callbacks: Callback) -> None:
        """Stand-alone training as a run does it."""
        module = self.retraining().module(widths, seed=0)
        around = [PeriodicCheckpoint(self.folder / "alone.ckpt", 20), *callbacks]
        loader = self.data.blocks(seed=0, with_validation=False)
        fit(make_trainer("cpu", 1, around), module, loader, self.folder / "none.ckpt")


class BlockTimer(Callback):
    """Ends a fit after some blocks and tells the seconds a step took in all but the first."""

    def __init__(self, blocks: int = BLOCKS) -> None:
        self.blocks = blocks
        self.seen = self.steps = 0
        self.started = self.seconds = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seen += 1
        module: Any = pl_module
        if self.seen > 1:
            self.seconds, self.steps = time.perf_counter() - self.started, module.step - self.first
        if self.seen == 1:
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


def rows_for(batch_size: int) -> int:
    """Rows whose training split holds the blocks of a round."""
    return round(batch_size * STEPS_PER_BLOCK * BLOCKS / 0.8) + batch_size


CASES = (
    Case("criteo 3 layers, batch 512", lambda: random_table(rows_for(512), 1027, 2), 512, 3, 41_153, 3.2),
    Case("volkert 4 layers, batch 32", lambda: random_table(rows_for(32), 180, 10), 32, 4, 27_882, 2.2),
    Case("connect4 3 layers, batch 256", connect4.load, 256, 3, 10_000, 2.3),
    Case("connect4 3 layers, batch 32", connect4.load, 32, 3, 10_000, 2.0),
)


# overhead ------------------------------------------------------------------------------------------------------------


def plain_loop(search: TabNAS, data: TableDataModule, n_steps: int) -> float:
    """Algorithms 1 and 2 after warmup without Lightning, logging or checkpoints; seconds of the n_steps.

    The same updates as TabNAS.training_step, in the same order, from the same draws.
    """
    (weights, logits_optimizer), _ = search.configure_optimizers()
    weight_optimizer: Any = weights
    controller, space = search.controller, search.space
    n_encoder = len(list(search.encoder.parameters()))
    loader = data.train_dataloader()
    step, started = 0, time.perf_counter()
    while True:
        for block in loader:
            assert block.valid is not None
            pairs = zip(block.train.split(data.batch_size), block.valid.split(data.batch_size), strict=True)
            for train, valid in pairs:
                if step == n_steps:
                    return time.perf_counter() - started
                noise = gumbel((2, *controller.logits.shape), search.generator)
                x, y = (controller.logits.detach() + noise).argmax(dim=-1).tolist()
                optimizer = search.optimizer_settings
                rate = optimizer.lr * (1 + np.cos(np.pi * search.step / search.total_steps)) / 2
                weight_optimizer.param_groups[0]["lr"] = float(rate)
                regions = search.supernet.regions(space.widths(x))
                child = weight_optimizer.gather([*[None] * n_encoder, *regions])
                inputs = search.encoder(train.numerical, train.categorical)
                log_loss(feedforward(inputs, child.leaves[n_encoder:]), train.target).backward()
                weight_optimizer.step(child=child)
                widths = space.widths(y)
                if search.cost(widths) <= search.limit:
                    log_prob_valid = search.feasibility.log_prob(controller.logits)
                    with torch.no_grad():
                        inputs = search.encoder(valid.numerical, valid.categorical)
                        reward = 1.0 - log_loss(search.supernet(inputs, widths), valid.target).item()
                    advantage = reward - search.baseline.value
                    (-(advantage * (controller.log_prob(y) - log_prob_valid))).backward()
                    logits_optimizer.step()
                    logits_optimizer.zero_grad()
                    search.baseline.update(reward)
                step += 1
                search.step = step


def overhead(folder: Path) -> Iterator[Line]:
    """Seconds of a step of the real search over those of a plain PyTorch loop of the same updates."""
    for case in CASES:
        if not case.name.startswith("connect4"):
            continue
        setting = case.setting(folder)
        ratios = []
        for _ in range(ROUNDS):
            timer = BlockTimer()
            setting.fit_search(setting.search(warmup_fraction=0.0), timer, epochs=WHOLE_SEARCH_EPOCHS)
            plain = setting.search(warmup_fraction=0.0)
            plain_loop(plain, setting.data, STEPS_PER_BLOCK)
            ratios.append(timer.per_step() / (plain_loop(plain, setting.data, timer.steps) / timer.steps))
        yield Line.at_most("overhead", case.name, statistics.median(ratios), "x a plain loop", 1.15)


# search_ratio --------------------------------------------------------------------------------------------------------


def search_ratio(folder: Path) -> Iterator[Line]:
    """Seconds of a search step after warmup over those of a stand-alone step of the median feasible architecture."""
    for case in CASES:
        setting = case.setting(folder)
        widths = setting.median_feasible()
        ratios, alone_seconds = [], []
        parts: dict[str, list[float]] = defaultdict(list)
        for _ in range(ROUNDS):
            uniform = {"warmup_fraction": 0.0, "eta": 1e-9}  # the logits stay where they start
            timer, alone, timed = BlockTimer(), BlockTimer(), BlockTimer()
            setting.fit_search(setting.search(**uniform), timer, epochs=WHOLE_SEARCH_EPOCHS)
            setting.fit_alone(widths, alone)
            ratios.append(timer.per_step() / alone.per_step())
            alone_seconds.append(alone.per_step())
            search = setting.search(**uniform)
            with parts_timed(search) as spent:
                setting.fit_search(search, timed, epochs=WHOLE_SEARCH_EPOCHS)
            spent["data, logging, Lightning"] = timed.per_step() * search.step - sum(spent.values())
            for part, seconds in spent.items():
                parts[part].append(seconds / search.step / alone.per_step())
        name = f"{case.name}, uniform logits"
        unit = f"x stand-alone {hyphenated(widths)}"
        yield Line.at_most("search_ratio", name, statistics.median(ratios), unit, case.target)
        for part, shares in parts.items():
            yield Line("search_ratio", f"{name}: {part}", round(statistics.median(shares), 3), unit)
        yield Line("search_ratio", f"{name}: stand-alone step", round(statistics.median(alone_seconds) * 1e3, 3), "ms")
    yield from whole_search_ratio(CASES[2], folder)


def whole_search_ratio(case: Case, folder: Path) -> Iterator[Line]:
    """The ratio over all of a default search after warmup, stand-alone blocks timed in between."""
    setting = case.setting(folder)
    widths = setting.median_feasible()
    between = AloneBetween(setting, widths)
    setting.fit_search(setting.search(), between, epochs=WHOLE_SEARCH_EPOCHS)
    value = between.search_seconds / between.search_steps / statistics.median(between.alone)
    yield Line.at_most(
        "search_ratio", f"{case.name}, whole search", value, f"x stand-alone {hyphenated(widths)}", case.target
    )


class AloneBetween(Callback):
    """Times the blocks of a search after warmup, and now and then pauses it for a stand-alone training."""

    PAUSES = 12

    def __init__(self, setting: Setting, widths: Widths) -> None:
        self.setting, self.widths = setting, widths
        self.search_seconds, self.search_steps = 0.0, 0
        self.alone: list[float] = []
        self.resumed_at: float | None = None
        self.step = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        search: Any = pl_module
        if outputs["warmup_probability"] > 0:
            self.step = search.step
            return
        now = time.perf_counter()
        if self.resumed_at is not None:
            self.search_seconds += now - self.resumed_at
            self.search_steps += search.step - self.step
        self.step = search.step
        due = self.PAUSES * (search.step / search.total_steps - 0.25) / 0.75
        if len(self.alone) < due:
            timer = BlockTimer(blocks=3)
            self.setting.fit_alone(self.widths, timer)
            self.alone.append(timer.per_step())
        self.resumed_at = time.perf_counter()


@contextlib.contextmanager
def parts_timed(search: TabNAS) -> Iterator[dict[str, float]]:
    """The seconds each part of a search takes, by timing the methods that do it; filled at the end of the block."""
    inclusive: dict[str, float] = defaultdict(float)

    def timed(label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            before = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                inclusive[label] += time.perf_counter() - before

        return call

    def configure_optimizers() -> Any:
        (weights, logits), schedulers = type(search).configure_optimizers(search)
        for name in ("gather", "step"):
            setattr(weights, name, timed("optimizer", getattr(weights, name)))
        return [weights, logits], schedulers

    search.configure_optimizers = configure_optimizers  # type: ignore[method-assign]
    for label, name in {"draw": "_draw", "weight": "_weight_update", "rl": "_rl_update", "reward": "_reward"}.items():
        setattr(search, name, timed(label, getattr(search, name)))
    spent: dict[str, float] = {}
    yield spent
    spent["child forward and backward"] = inclusive["weight"] - inclusive["optimizer"]
    spent["optimizer"] = inclusive["optimizer"]
    spent["RL forward"] = inclusive["reward"]
    spent["controller"] = inclusive["draw"] + inclusive["rl"] - inclusive["reward"]


# command line --------------------------------------------------------------------------------------------------------

BENCHES: dict[str, Callable[[Path], Iterator[Line]]] = {"overhead": overhead, "search_ratio": search_ratio}


def main(arguments: list[str] | None = None) -> int:
    """Run the named benches; exit code 1 if a promised figure was not reached."""
    parser = argparse.ArgumentParser(prog="python -m tabnas.bench", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=sorted(BENCHES), metavar="NAME", help=", ".join(sorted(BENCHES)))
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of a table")
    options = parser.parse_args(arguments)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.names:
            for line in BENCHES[name](Path(folder)):
                lines.append(line)
                if options.json:
                    print(json.dumps(asdict(line)), flush=True)
    if not options.json:
        _show(lines)
    return int(any(line.ok is False for line in lines))


def _show(lines: list[Line]) -> None:
    table = RichTable()
    for heading in ("bench", "case", "value", "unit", "at most", ""):
        table.add_column(heading, justify="right" if heading in ("value", "at most") else "left")
    for line in lines:
        verdict = {True: "ok", False: "missed", None: ""}[line.ok]
        target = "" if line.target is None else f"{line.target:g}"
        table.add_row(line.bench, line.case, f"{line.value:g}", line.unit, target, verdict)
    console = Console()
    (console if console.is_terminal else Console(width=140)).print(table)


if __name__ == "__main__":
    sys.exit(main())
