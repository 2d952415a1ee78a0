"""Run by the tests, in a process of its own or several: a search of digits, told as a JSON object.

python -m tests.tpu.search FOLDER OVERRIDE…; leaves FOLDER/rank<rank>.pt, each core's weights, and of one core the
checkpoints FOLDER/last.ckpt and FOLDER/half.ckpt, of the first block that ends in the second half. Goes on from
last.ckpt where it is there.
"""

import json
import shutil
import sys
from pathlib import Path

import hydra
import torch
from pytorch_lightning import Callback

import tabnas.cli  # noqa: F401  (registers the resolvers that config.yaml uses)
from tabnas import accelerator
from tabnas.build import build
from tabnas.search import TabNAS
from tabnas.trainer import PeriodicCheckpoint, fit, make_trainer
from tests.conftest import ROOT


class Leave(Callback):
    """What each core ends with, and after every block how often XLA has compiled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: list[dict[str, int]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if pl_module.device.type == "xla":
            from torch_xla.debug import metrics

            names = ("CompileTime", "ExecuteTime", "TransferFromDeviceTime")
            counts = {name: (metrics.metric_data(name) or [0])[0] for name in names}
            counts["scalars_read"] = metrics.counter_value("aten::_local_scalar_dense") or 0
            counts["on_host"] = sum(
                metrics.counter_value(name)
                for name in metrics.counter_names()
                if name.startswith("aten::") and name != "aten::_local_scalar_dense"
            )
            self.seen.append({"step": pl_module.step, **counts, **pl_module.counts})
        last, half = self.folder / "last.ckpt", self.folder / "half.ckpt"
        if pl_module.step >= pl_module.total_steps / 2 and last.exists() and not half.exists():
            shutil.copy(last, half)
        if pl_module.step == pl_module.total_steps:
            weights = {name: value.cpu() for name, value in pl_module.state_dict().items()}
            torch.save(
                {"weights": weights, "history": pl_module.history}, self.folder / f"rank{pl_module.global_rank}.pt"
            )


def searched(folder: Path, overrides: list[str], *callbacks: Callback) -> TabNAS:
    """Ends a search on however many devices of whatever kind."""
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = hydra.compose("config", overrides=["experiment=quick", "trainer.max_epochs=3", *overrides])
    on_tpu = cfg.accelerator.name == "tpu"
    if on_tpu and cfg.trainer.devices > 1:
        from tests.tpu import cpu_collectives

        cpu_collectives.install()
    setup = build(cfg, folder)
    arguments = accelerator.trainer_arguments(setup.devices) if on_tpu else {}
    if setup.devices == 1:
        callbacks = (PeriodicCheckpoint(folder / "last.ckpt", 0), *callbacks)
    trainer = make_trainer(setup.accelerator, setup.max_epochs, callbacks, devices=setup.devices, **arguments)
    fit(trainer, setup.search, setup.data.train_dataloader(), folder / "last.ckpt")
    return setup.search


def main(folder: Path, overrides: list[str]) -> None:
    leave = Leave(folder)
    search = searched(folder, overrides, leave)
    selected = [found.widths for found in search.selection.selected]
    print(json.dumps({"seen": leave.seen, "counts": search.counts, "selected": selected}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
