"""A run's folder: kept to one process, forgotten where a run never began, taken up again. May import cli, errors."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from tabnas.cli import RUN_CONFIG
from tabnas.errors import UserError

LOCK = ".lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run's folder; the system lifts the lock when this one ends, however it ends."""
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            remedy = "wait a second, or for that run to end"
            raise UserError("hydra.run.dir", "must not be in use by another run", str(folder), remedy) from error
        yield


def forget(folder: Path) -> None:
    """Remove what was made for a run that never began, if its folder was named by the date."""
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN or any(o.startswith("hydra.run.dir=") for o in hydra.overrides.hydra):
        return
    (folder / LOCK).unlink()
    for name in ("config.yaml", "hydra.yaml", "overrides.yaml"):
        (folder / ".hydra" / name).unlink(missing_ok=True)
    (folder / f"{hydra.job.name}.log").unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # a folder that holds anything else stays
        for empty in (folder / ".hydra", folder, folder.parent):
            empty.rmdir()


def config_to_resume(folder: Path) -> DictConfig:
    """The config of the run in `folder`, which is taken up as it was."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        raise UserError("resume", "takes up one run and cannot be swept", str(folder), "leave out -m")
    given = HydraConfig.get().overrides
    others = [o for o in (*given.task, *given.hydra) if not o.startswith(("resume=", "hydra.mode="))]
    if others:
        raise UserError("resume", "takes up a run with its own config", " ".join(others), "give resume alone")
    return cast(DictConfig, OmegaConf.load(folder / RUN_CONFIG))


def overrides(folder: Path) -> list[str]:
    """What the command line of the run in `folder` set, one KEY=VALUE each."""
    return [str(given) for given in OmegaConf.load(folder / ".hydra" / "overrides.yaml")]
