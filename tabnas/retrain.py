"""Stand-alone training of chosen architectures from scratch, several seeds each.

May import data, encoder, network, optim, seeds, stand_alone, stopping, task, space and trainer; nothing of the search.
"""

import json
import logging
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from pytorch_lightning import Callback

from tabnas.data.datamodule import BlockLoader, TableDataModule
from tabnas.encoder import Encoder
from tabnas.errors import UserError
from tabnas.network import Network
from tabnas.optim import SGD, Adam
from tabnas.seeds import Seeds
from tabnas.space import Widths, hyphenated
from tabnas.stand_alone import StandAlone
from tabnas.stopping import EpochChoice
from tabnas.task import Task, evaluate
from tabnas.trainer import PeriodicCheckpoint, fit, make_trainer, write_whole

log = logging.getLogger(__name__)

MOST_SEEDS = 8  # trained at once
MOST_MACS = 8_000_000  # multiply-accumulates of a minibatch's forward pass, up to which seeds are trained at once
COSTS = ("seconds", "weight_updates")
"""Of an outcome: what it took, which is added up over seeds."""


@dataclass(frozen=True)
class Retraining:
    """What all stand-alone trainings of a run have in common.

    patience, keep: see stopping.EpochChoice.
    folder: where trainings leave their outcomes, `<widths>-seed<seed>.json` and `.pt`; a training whose outcome is
        there is not repeated, one whose checkpoint is there is continued. Seeds trained at once are one such training,
        named by the first and the last of them.
    """

    data: TableDataModule
    new_encoder: Callable[[], Encoder]
    task: Task
    optimizer: Adam | SGD
    max_epochs: int
    accelerator: str
    checkpoint_every_seconds: float
    folder: Path
    patience: int | None = None
    keep: str = "last"

    def module(self, widths: Widths, seed: int) -> StandAlone:
        """A freshly initialised network; `seed` fixes its weights."""
        torch.manual_seed(seed)
        encoder = self.new_encoder()
        network = Network(encoder.n_inputs, widths, self.task.n_outputs)
        total_steps = self.max_epochs * self.data.steps_per_epoch
        return StandAlone(encoder, network, self.task, self.optimizer, self.data.batch_size, total_steps)

    def groups(self, widths: Widths, seeds: Sequence[int]) -> list[Sequence[int]]:
        """The seeds of an architecture, those together that are trained at once: MOST_SEEDS, or one after another.

        One after another where a minibatch is so much work that there is nothing to gain, where embeddings are sparse,
        as the vectors of a step then differ from seed to seed, and where rows are read from disk, which each seed
        would have to do.
        """
        encoder = self.new_encoder()
        network = Network(encoder.n_inputs, widths, self.task.n_outputs)
        macs = self.data.batch_size * sum(linear.weight.numel() for linear in network.linears)
        in_memory = self.data.shuffle_rows >= self.data.train.n_rows
        size = MOST_SEEDS if macs <= MOST_MACS and in_memory and not encoder.sparse else 1
        return [seeds[start : start + size] for start in range(0, len(seeds), size)]

    def started(self, widths: Widths, seeds: Sequence[int]) -> tuple[StandAlone, BlockLoader]:
        """A module that trains all these seeds at once, and its rows."""
        alone = [self.module(widths, seed) for seed in seeds]
        if len(alone) == 1:
            return alone[0], self.data.blocks(seed=seeds[0], with_validation=False)
        return Seeds(alone), self.data.blocks(seed=seeds, with_validation=False)

    def outcomes(
        self, widths: Widths, seeds: Sequence[int], callbacks: Sequence[Callback] = ()
    ) -> list[dict[str, Any]]:
        """Train and evaluate on the validation split, for each seed: `loss`, the task's metrics, `seconds` and
        `weight_updates`; and `test`, the same metrics on the test split, or None.

        Several seeds train at once, and share their seconds evenly; see `groups`.
        """
        stem = self._stem(widths, seeds)
        done, unfinished = (stem.with_name(stem.name + suffix) for suffix in (".json", ".ckpt"))
        if done.exists():
            return cast(list[dict[str, Any]], json.loads(done.read_text()))
        module, loader = self.started(widths, seeds)
        choice = EpochChoice(self.data.valid, self.data.steps_per_epoch, self.patience, self.keep)
        chosen = [choice] if self.patience is not None or self.keep == "best" else []
        checkpoint = PeriodicCheckpoint(unfinished, self.checkpoint_every_seconds)
        trainer = make_trainer(self.accelerator, self.max_epochs, [*chosen, checkpoint, *callbacks])
        fit(trainer, module, loader, unfinished)
        outcomes = []
        for number, seed in enumerate(seeds):
            network = choice.restore(module, number)
            metrics = evaluate(self.task, network, *self.data.valid)
            name = f"{hyphenated(widths)} seed {seed}"
            took = {"seconds": module.seconds / len(seeds), "weight_updates": module.step}
            outcomes.append({**metrics, **took, "test": self._test(network, name)})
            if not all(map(math.isfinite, metrics.values())):  # the last update's loss was still finite
                raise UserError(
                    "loss", f"must be finite after retraining {name}", metrics["loss"], "lower optimizer.lr"
                )
            write_whole(self.weights(widths, seed), partial(torch.save, network.state_dict()))
        write_whole(done, lambda file: file.write(json.dumps(outcomes).encode()))
        unfinished.unlink(missing_ok=True)
        return outcomes

    def _test(self, network: StandAlone, name: str) -> dict[str, float] | None:
        """Metrics on the test split; None where there is none, or where it has a row that is beyond all measure."""
        if self.data.test is None:
            return None
        metrics = evaluate(self.task, network, *self.data.test)
        if all(map(math.isfinite, metrics.values())):
            return metrics
        log.warning("%s: its loss on the test split is %s, so that no test is reported", name, metrics["loss"])
        return None

    def weights(self, widths: Widths, seed: int) -> Path:
        """Where `outcomes` left a seed's trained weights."""
        return self._stem(widths, [seed]).with_suffix(".pt")

    def _stem(self, widths: Widths, seeds: Sequence[int]) -> Path:
        several = f"to{seeds[-1]}" if len(seeds) > 1 else ""
        return self.folder / f"{hyphenated(widths)}-seed{seeds[0]}{several}"


def summary(outcomes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Several seeds' outcomes on the validation split as result.json has them; see spread."""
    metrics = [{name: value for name, value in one.items() if name not in (*COSTS, "test")} for one in outcomes]
    return {**{name: sum(outcome[name] for outcome in outcomes) for name in COSTS}, **spread(metrics)}


def summary_on_test(outcomes: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Several seeds' outcomes on the test split as result.json has them; None where one has none."""
    tested = [outcome.get("test") for outcome in outcomes]  # left out by versions without test splits
    return None if None in tested else spread(cast(list[dict[str, float]], tested))


def spread(runs: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Of each metric the mean, the sample's standard deviation (None for a single run), and the runs."""
    table = {}
    for metric in runs[0]:
        values = [run[metric] for run in runs]
        std = statistics.stdev(values) if len(values) > 1 else None
        table[metric] = {"mean": statistics.fmean(values), "std": std, "runs": values}
    return table
