"""The Lightning Trainer that search and stand-alone training share, and files written whole or not at all.

May import errors and ranks.
"""

import datetime
import functools
import logging
import os
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy
from torch.distributed.rendezvous import rendezvous

from tabnas.errors import ProcessLost
from tabnas.ranks import local_rank

# Lightning tells at every fit what devices there are and what else one could install.
logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)


def write_whole(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file so that at any moment it holds its old content or its new: temporary file, flush, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".partial")
    with temporary.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


class WholeCheckpointIO(TorchCheckpointIO):
    """Lightning's own goes through a temporary folder, and copies where that is another file system."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        write_whole(Path(path), lambda file: torch.save(checkpoint, file))


class PeriodicCheckpoint(Callback):
    """Saves a checkpoint over the last one, between two blocks, when `every_seconds` have passed.

    Lightning's ModelCheckpoint goes by global_step, which says little in manual optimization, and leaves out its
    time interval there.
    """

    def __init__(self, path: Path, every_seconds: float) -> None:
        self.path, self.every_seconds = path, every_seconds
        self.saved_at = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.saved_at = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        due = time.monotonic() - self.saved_at >= self.every_seconds
        if trainer.strategy.broadcast(due):  # all processes save together
            trainer.save_checkpoint(self.path)
            self.saved_at = time.monotonic()


class Processes(DDPStrategy):
    """Lightning's processes, one a device, without DistributedDataParallel: a module sums its gradients itself.

    DistributedDataParallel works by hooks on whole parameters, where a step here has gradients of slices of them.
    """

    def __init__(self) -> None:
        # A process may wait for others to end a training of their own; one that dies is known at once, whatever this.
        super().__init__(timeout=datetime.timedelta(days=1))

    def configure_ddp(self) -> None:
        pass


def make_trainer(
    accelerator: str,
    /,
    max_epochs: int,
    callbacks: Sequence[Callback],
    logger: Logger | None = None,
    *,
    devices: int = 1,
    num_nodes: int = 1,
    **arguments: Any,
) -> Trainer:
    """A Trainer without Lightning's own displays and checkpoints.

    devices: processes of this machine, a device each; num_nodes: machines. One device is that of this process.
    arguments: of the Trainer, in place of what follows from these.
    """
    alone = devices * num_nodes == 1
    of_devices: dict[str, Any] = {
        "accelerator": accelerator,
        "devices": [local_rank()] if alone and accelerator == "gpu" else devices,
        "num_nodes": num_nodes,
        "strategy": "auto" if alone else Processes(),
        "plugins": [WholeCheckpointIO()],
    }
    return Trainer(
        **{**of_devices, **arguments},
        max_epochs=max_epochs,
        callbacks=list(callbacks),
        logger=logger or False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        use_distributed_sampler=False,
    )


def fit(trainer: Trainer, module: LightningModule, loader: Any, checkpoint: Path) -> None:
    """Train, from `checkpoint` where it exists. Ctrl-C raises KeyboardInterrupt, not Lightning's SystemExit.

    loader: iterates over `n_epochs` epochs, which is set to the trainer's max_epochs. Lightning is given them as one:
    taken up from a checkpoint made at the end of an epoch, it miscounts, and after the next stop repeats batches.
    """
    loader.n_epochs, trainer.fit_loop.max_epochs = trainer.max_epochs, 1
    with warnings.catch_warnings():
        # Lightning 2.6 under torch 2.13 trips over its own use of a deprecated class.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        try:
            trainer.fit(
                module,
                train_dataloaders=loader,
                ckpt_path=checkpoint if checkpoint.exists() else None,
                weights_only=True,
            )
        except SystemExit as stopped:
            raise KeyboardInterrupt from stopped
        except RuntimeError as error:
            if trainer.world_size > 1 and ("gloo" in str(error).lower() or "nccl" in str(error).lower()):
                raise ProcessLost(error) from error
            raise
        finally:
            # From here on a process that ends does not end the others: Lightning's observer goes by this list.
            getattr(trainer.strategy.launcher, "procs", []).clear()


def let_others_begin() -> None:
    """Of processes that torchrun started, the first has prepared the run folder."""
    _store().set("tabnas", "begin")


def wait_for_first() -> None:
    """Until it has let the others begin; should it fail, torchrun ends them."""
    _store().wait(["tabnas"], datetime.timedelta(days=1))


@functools.cache
def _store() -> Any:
    """By which processes find each other."""
    return next(rendezvous("env://"))[0]


def processes() -> int:
    """How many of them a run has that have searched together and may wait for each other."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if distributed else 1


def wait_for_all() -> None:
    """Until every process of a run has come here; ProcessLost if one cannot."""
    if processes() > 1:
        try:
            torch.distributed.barrier()
        except RuntimeError as error:
            raise ProcessLost(error) from error
