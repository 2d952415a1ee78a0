"""TPU cores through torch-xla and Lightning: the only file that imports torch_xla. May import errors and trainer.

torch-xla 2.9 is its last release; torch-tpu is its announced successor. Once Lightning knows that, this is the file to
change.

With PJRT_DEVICE=CPU in the environment the same graphs run on torch-xla's CPU client, with CPU_NUM_DEVICES cores. That
has to be asked for: without a TPU, and without that, there is an error.
"""

import importlib.util
import os
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric.plugins import XLACheckpointIO
from pytorch_lightning.accelerators import XLAAccelerator
from pytorch_lightning.strategies.single_xla import SingleDeviceXLAStrategy
from pytorch_lightning.strategies.xla import XLAStrategy
from torch import Tensor

from tabnas.errors import UserError
from tabnas.trainer import write_whole

# Else importing torch_xla, as any Trainer does, would set PJRT_DEVICE=CPU where there is no TPU.
os.environ.setdefault("PJRT_SELECT_DEFAULT_DEVICE", "0")


def cpu_client() -> bool:
    """Whether torch-xla's CPU client was asked for in place of a TPU."""
    return os.environ.get("PJRT_DEVICE") == "CPU"


def check(n_cores: int) -> None:
    """UserError unless so many cores can be used."""
    if importlib.util.find_spec("torch_xla") is None:
        remedy = 'pip install -e ".[tpu]" in a virtual environment of its own'
        raise UserError("accelerator", "must go with torch-xla installed", "tpu", remedy)
    if cpu_client():  # Lightning and torch-xla would ask a metadata server what TPU this is
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
        os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v4-8")
    if not TPU.is_available():
        remedy = "run on a TPU, or set PJRT_DEVICE=CPU to run the same graphs on torch-xla's CPU client"
        raise UserError("accelerator", "must find a TPU", "none", remedy)
    os.environ.setdefault("PJRT_DEVICE", "TPU")
    available = TPU.auto_device_count()
    if n_cores not in (1, available):
        raise UserError("trainer.devices", f"must be 1 or all the {available} cores", n_cores, f"give {available}")


def trainer_arguments(n_cores: int) -> dict[str, Any]:
    """What a Lightning Trainer on so many cores is given."""
    check(n_cores)
    strategy = SingleDeviceXLAStrategy(device=0) if n_cores == 1 else Cores()
    return {"accelerator": TPU(), "strategy": strategy, "plugins": [HostCheckpointIO()]}


class TPU(XLAAccelerator):
    """Lightning's, which also takes the CPU client where that was asked for."""

    @staticmethod
    def auto_device_count() -> int:  # type: ignore[override]
        return int(os.environ.get("CPU_NUM_DEVICES", "1")) if cpu_client() else XLAAccelerator.auto_device_count()

    @staticmethod
    def is_available() -> bool:  # type: ignore[override]
        if cpu_client():
            return True
        from torch_xla._internal import tpu

        # Lightning asks a metadata server what TPU this is, even where no chip is.
        return tpu.num_available_chips() > 0 and bool(XLAAccelerator.is_available())

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        return int(devices) if cpu_client() else XLAAccelerator.parse_devices(devices)

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        return [torch.device("xla", i) for i in (range(devices) if isinstance(devices, int) else devices)]


class Cores(XLAStrategy):
    """Lightning's strategy for several cores, without its loader: a search sends its minibatches itself."""

    def process_dataloader(self, dataloader: object) -> Any:
        return dataloader


class HostCheckpointIO(XLACheckpointIO):
    """Checkpoints hold CPU tensors, whatever they were trained on, and are written whole or not at all."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        import torch_xla.core.xla_model as xm

        content = on_host(checkpoint)
        if xm.is_master_ordinal():  # Lightning calls this on every core
            write_whole(Path(path), lambda file: torch.save(content, file))


def run_graph() -> None:
    """Send what was computed since the last call to the device, as one graph, without waiting for it."""
    import torch_xla

    torch_xla.sync()


def on_host(values: Any) -> Any:
    """Lists, tuples and dicts of tensors with those of the device copied to the host, in one transfer."""
    import torch_xla.core.xla_model as xm

    return xm._maybe_convert_to_cpu(values, convert=True)


def summed(tensor: Tensor) -> Tensor:
    """Over all cores."""
    import torch_xla.core.xla_model as xm

    return cast(Tensor, xm.all_reduce("sum", tensor))


def gathered(tensor: Tensor) -> Tensor:
    """Those of all cores one after another along the first dimension."""
    import torch_xla.core.xla_model as xm

    return cast(Tensor, xm.all_gather(tensor, dim=0))
