"""Stand-alone training of chosen architectures from scratch, several seeds each.

May import data, encoder, network, optim, task, space and trainer; nothing of the search.
"""

import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from pytorch_lightning import Callback, LightningModule
from torch import Tensor, nn

from tabnas.data.datamodule import TableDataModule
from tabnas.data.table import Block, Rows
from tabnas.encoder import Encoder
from tabnas.errors import UserError
from tabnas.network import Network
from tabnas.optim import SGD, Adam, ChildOptimizer, schedule_factor
from tabnas.space import Widths, hyphenated
from tabnas.task import Task, evaluate
from tabnas.trainer import PeriodicCheckpoint, fit, make_trainer, write_whole


class StandAlone(LightningModule):
    """An encoder and a network, trained as in the search: a Lightning batch is a block, `step` drives the schedule."""

    def __init__(
        self,
        encoder: Encoder,
        network: nn.Module,
        task: Task,
        optimizer: Adam | SGD,
        batch_size: int,
        total_steps: int,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.encoder, self.network, self.task = encoder, network, task
        self.optimizer_settings, self.batch_size, self.total_steps = optimizer, batch_size, total_steps
        self.step = 0
        self.seconds = 0.0

    def forward(self, numerical: Tensor, categorical: Tensor) -> Tensor:
        """numerical (B, d), categorical (B, c) → logits (B, n_outputs)."""
        logits: Tensor = self.network(self.encoder(numerical, categorical))
        return logits

    def configure_optimizers(self) -> torch.optim.Optimizer:
        parameters = list(self.parameters())
        return (self.optimizer_settings.child if self.encoder.sparse else self.optimizer_settings.dense)(parameters)

    def training_step(self, block: Block, batch_idx: int) -> dict[str, float]:
        """One update per minibatch of the block; `train_loss` is their mean loss."""
        started = time.perf_counter()
        optimizer = cast(torch.optim.Optimizer, self.optimizers(use_pl_optimizer=False))
        losses = []
        for rows in block.train.split(self.batch_size):
            progress = self.step / self.total_steps
            settings = self.optimizer_settings
            optimizer.param_groups[0]["lr"] = settings.lr * schedule_factor(settings.schedule, progress)
            losses.append(self.update(rows, optimizer))
            self.step += 1
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            where = f"steps {self.step - len(losses) + 1} to {self.step} of retraining"
            raise UserError("loss", f"must stay finite, in {where}", mean, "lower optimizer.lr")
        self.seconds += time.perf_counter() - started
        return {"train_loss": mean}

    def update(self, rows: Rows, optimizer: torch.optim.Optimizer) -> Tensor:
        """One step on a minibatch; its loss."""
        lookup = self.encoder.lookup(rows.categorical)
        if lookup is None:
            loss = self.task.loss(self(rows.numerical, rows.categorical), rows.target, rows.weight)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss.detach()
        child_optimizer = cast(ChildOptimizer, optimizer)
        regions = self.encoder.regions(lookup)
        child = child_optimizer.gather([*regions, *[None] * (len(child_optimizer.parameters) - len(regions))])
        x = self.encoder(rows.numerical, rows.categorical, (child.leaves[0], lookup.positions))
        loss = self.task.loss(self.network(x), rows.target, rows.weight)
        loss.backward()
        child_optimizer.update(child)
        return loss.detach()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["tabnas"] = {"step": self.step, "seconds": self.seconds}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.step, self.seconds = checkpoint["tabnas"]["step"], checkpoint["tabnas"]["seconds"]


@dataclass(frozen=True)
class Retraining:
    """What all stand-alone trainings of a run have in common.

    folder: where each training leaves its outcome, `<widths>-seed<seed>.json` and `.pt`; a training whose outcome is
    there is not repeated, one whose checkpoint is there is continued.
    """

    data: TableDataModule
    new_encoder: Callable[[], Encoder]
    task: Task
    optimizer: Adam | SGD
    max_epochs: int
    accelerator: str
    checkpoint_every_seconds: float
    folder: Path

    def module(self, widths: Widths, seed: int) -> StandAlone:
        """A freshly initialised network; `seed` fixes its weights."""
        torch.manual_seed(seed)
        encoder = self.new_encoder()
        network = Network(encoder.n_inputs, widths, self.task.n_outputs)
        total_steps = self.max_epochs * self.data.steps_per_epoch
        return StandAlone(encoder, network, self.task, self.optimizer, self.data.batch_size, total_steps)

    def outcome(self, widths: Widths, seed: int, callbacks: Sequence[Callback] = ()) -> dict[str, float]:
        """Train and evaluate on the validation split: `loss`, the task's metrics, `seconds`."""
        stem = self.folder / f"{hyphenated(widths)}-seed{seed}"
        done, weights, unfinished = (stem.with_name(stem.name + suffix) for suffix in (".json", ".pt", ".ckpt"))
        if done.exists():
            return cast(dict[str, float], json.loads(done.read_text()))
        module = self.module(widths, seed)
        checkpoint = PeriodicCheckpoint(unfinished, self.checkpoint_every_seconds)
        trainer = make_trainer(self.accelerator, self.max_epochs, [checkpoint, *callbacks])
        fit(trainer, module, self.data.blocks(seed=seed, with_validation=False), unfinished)
        metrics = evaluate(self.task, module, *self.data.valid)
        outcome = {**metrics, "seconds": module.seconds}
        if not all(map(math.isfinite, outcome.values())):  # the last update's loss was still finite
            name = f"{hyphenated(widths)} seed {seed}"
            raise UserError("loss", f"must be finite after retraining {name}", metrics["loss"], "lower optimizer.lr")
        write_whole(weights, lambda file: torch.save(module.state_dict(), file))
        write_whole(done, lambda file: file.write(json.dumps(outcome).encode()))
        unfinished.unlink(missing_ok=True)
        return outcome

    def weights(self, widths: Widths, seed: int) -> Path:
        """Where `outcome` left the trained weights."""
        return self.folder / f"{hyphenated(widths)}-seed{seed}.pt"


def summary(outcomes: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Several seeds' outcomes as result.json has them; the deviation is the sample's, None for a single run."""
    table: dict[str, Any] = {"seconds": sum(outcome["seconds"] for outcome in outcomes)}
    for metric in outcomes[0]:
        if metric != "seconds":
            runs = [outcome[metric] for outcome in outcomes]
            std = statistics.stdev(runs) if len(runs) > 1 else None
            table[metric] = {"mean": statistics.fmean(runs), "std": std, "runs": runs}
    return table
