"""When a stand-alone training stops, and which epoch's weights it ends with.

May import data, errors, stand_alone and task.

The choice is made by the validation split. The loss there of a training that chose its epoch is therefore too small, by
as much as the smallest of several noisy losses is below their mean; that of the test split is not.
"""

import math
import time
from typing import Any, cast

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from tabnas.data.table import Rows
from tabnas.errors import require_integer, require_one_of
from tabnas.stand_alone import StandAlone
from tabnas.task import loss_of


def check(patience: int | None, keep: str) -> None:
    """UserError for settings that cannot be meant."""
    if patience is not None:
        require_integer("retrain.patience", patience, low=1, remedy="null trains for all epochs")
    require_one_of("retrain.keep", keep, ("last", "best"))


class EpochChoice(Callback):
    """Evaluates every seed after each epoch, keeps what is to be kept, and ends the fit when all have stopped.

    patience: epochs without a smaller validation loss after which a seed stops; None: never. A seed that has stopped
        keeps its weights while others of its batch go on.
    keep: "last", the weights of the epoch at which a seed stopped, or "best", those of its smallest validation loss.

    Its state is in Lightning's checkpoints, so that a training taken up goes on as it would have.
    """

    def __init__(self, valid: Rows, steps_per_epoch: int, patience: int | None, keep: str) -> None:
        self.valid, self.steps_per_epoch, self.patience, self.keep = valid, steps_per_epoch, patience, keep
        self.losses: list[list[float]] = []
        """Per epoch and seed, the validation loss."""
        self.stopped: dict[int, int] = {}
        """By seed, the epoch after which it stopped."""
        self.kept: dict[int, dict[str, Tensor]] = {}
        """By seed, the weights it ends with so far."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self._all_stopped(cast(StandAlone, pl_module))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        module = cast(StandAlone, pl_module)
        epoch, rest = divmod(module.step, self.steps_per_epoch)
        if rest:
            return
        started = time.perf_counter()
        valid = self.valid.map(lambda column: column.to(module.device))
        self.losses.append([])
        for number in range(module.n_seeds):
            alone = module.alone(number)
            self.losses[-1].append(loss_of(alone.task, alone, *valid))
            if number not in self.stopped:
                self._judge(number, epoch, alone)
        module.seconds += time.perf_counter() - started
        trainer.should_stop = trainer.should_stop or self._all_stopped(module)

    def _judge(self, number: int, epoch: int, alone: StandAlone) -> None:
        own = [losses[number] if math.isfinite(losses[number]) else math.inf for losses in self.losses]
        best = own.index(min(own)) + 1
        stops = self.patience is not None and epoch - best >= self.patience
        if stops:
            self.stopped[number] = epoch
        if best == epoch if self.keep == "best" else stops:
            self.kept[number] = {name: values.detach().clone() for name, values in alone.state_dict().items()}

    def _all_stopped(self, module: StandAlone) -> bool:
        return len(self.stopped) == module.n_seeds

    def restore(self, module: StandAlone, number: int) -> StandAlone:
        """The network of a seed with the weights it ends with."""
        alone = module.alone(number)
        if number in self.kept:
            alone.load_state_dict(self.kept[number])
        return alone

    def state_dict(self) -> dict[str, Any]:
        return {"losses": self.losses, "stopped": self.stopped, "kept": self.kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.losses, self.stopped, self.kept = (state_dict[name] for name in ("losses", "stopped", "kept"))
