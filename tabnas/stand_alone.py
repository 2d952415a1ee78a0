"""One network, trained from scratch as in the search. May import data, encoder, network, optim and task."""

import math
import time
from typing import Any, cast

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from tabnas.data.table import Block, Rows
from tabnas.encoder import Encoder
from tabnas.errors import UserError
from tabnas.optim import SGD, Adam, ChildOptimizer, schedule_factor
from tabnas.task import Task


class StandAlone(LightningModule):
    """An encoder and a network, trained as in the search: a Lightning batch is a block, `step` drives the schedule."""

    n_seeds = 1
    """Trainings in one."""

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
        for rows in self.minibatches(block):
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

    def minibatches(self, block: Block) -> list[Rows]:
        """What each step of a block takes."""
        return block.train.split(self.batch_size)

    def alone(self, number: int) -> "StandAlone":
        """The network of the training with this number, from 0; see Seeds."""
        return self

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
