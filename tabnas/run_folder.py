"""A run's folder: kept to one run, forgotten where that never began, taken up again. May import cli, errors, ranks."""

import contextlib
import errno
import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from tabnas.cli import RUN_CONFIG
from tabnas.errors import UserError
from tabnas.ranks import started_by_torchrun

log = logging.getLogger(__name__)

LOCK = ".lock"
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
"""What a file system without locks answers, as on some clusters."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run's folder; the system lifts the lock when this one ends, however it ends."""
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            remedy = "wait a second, or for that run to end"
            raise UserError("hydra.run.dir", "must not be in use by another run", str(folder), remedy) from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            log.warning("hydra.run.dir: this file system has no locks (%s); let no other run use the folder", error)
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
    for empty in (folder / ".hydra", folder, folder.parent):
        with contextlib.suppress(OSError):  # a folder that holds anything else stays
            empty.rmdir()


def check_for_processes(cfg: DictConfig) -> None:
    """UserError if the command cannot be that of several processes and is."""
    hydra = HydraConfig.get()
    given = _processes(cfg)
    if hydra.mode == RunMode.MULTIRUN and given != "1×1":
        remedy = "leave out -m, and start one such run after another"
        raise UserError("trainer.devices", "must be 1 in a sweep, whose jobs are one process each", given, remedy)
    _check_study(cfg)
    if started_by_torchrun() and not any(o.startswith(("hydra.run.dir=", "resume=")) for o in _given()):
        raise UserError("hydra.run.dir", "must be given under torchrun, one folder for all", None, "name a new folder")


def _processes(cfg: DictConfig) -> str:
    trainer = cfg.get("trainer") or {}
    return "×".join(str(trainer.get(key, 1)) for key in ("num_nodes", "devices"))


def _check_study(cfg: DictConfig) -> None:
    """UserError for a study of several processes."""
    given = "torchrun" if started_by_torchrun() else _processes(cfg)
    if "study" in cfg and given != "1×1":
        rule = "must be one process with trainer.devices=1, which starts one for each job"
        raise UserError("study", rule, given, "study.processes is how many jobs are done at a time")


def _given() -> list[str]:
    """The overrides of the command line."""
    overrides = HydraConfig.get().overrides
    return [*overrides.task, *overrides.hydra]


DEVICES = ("accelerator", "trainer.devices", "trainer.num_nodes")
"""What may be other than it was in a run that is resumed."""


def same_job(cfg: DictConfig, folder: Path) -> bool:
    """Whether the run in `folder` is this job of this sweep, given again, or put back in the queue of a cluster."""
    return HydraConfig.get().mode == RunMode.MULTIRUN and (folder / RUN_CONFIG).read_text() == OmegaConf.to_yaml(cfg)


def config_to_resume(cfg: DictConfig, folder: Path) -> DictConfig:
    """The config of the run in `folder`, taken up as it was: as many replicas, on the devices that `cfg` asks for."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        raise UserError("resume", "takes up one run and cannot be swept", str(folder), "leave out -m")
    given = _given()
    free = tuple(f"{key}=" for key in ("resume", "hydra.mode", *DEVICES))
    others = [o for o in given if not o.startswith(free)]
    if others:
        remedy = f"give resume alone, or with any of {', '.join(DEVICES)}"
        raise UserError("resume", "takes up a run with its own config", " ".join(others), remedy)
    was = cast(DictConfig, OmegaConf.load(folder / RUN_CONFIG))
    replicas = _n_devices(was) * OmegaConf.select(was, "search.replicas_per_device", default=1)
    for key in DEVICES:
        if any(o.startswith(f"{key}=") for o in given):
            OmegaConf.update(was, key, OmegaConf.select(cfg, key), merge=False)
    _check_study(was)
    if _n_devices(was) * OmegaConf.select(was, "search.replicas_per_device", default=1) != replicas:
        if replicas % _n_devices(was):
            rule = f"must, times trainer.num_nodes, divide the {replicas} replicas of the run"
            raise UserError("trainer.devices", rule, was.trainer.devices, "give a divisor")
        OmegaConf.update(was, "search.replicas_per_device", replicas // _n_devices(was))
    return was


def _n_devices(cfg: DictConfig) -> int:
    return int(
        OmegaConf.select(cfg, "trainer.devices", default=1) * OmegaConf.select(cfg, "trainer.num_nodes", default=1)
    )


def overrides(folder: Path) -> list[str]:
    """What the command line of the run in `folder` set, one KEY=VALUE each; none where that is not known."""
    path = folder / ".hydra" / "overrides.yaml"
    if path.exists():
        return [str(given) for given in OmegaConf.load(path)]
    given = list(HydraConfig.get().overrides.task)  # with hydra.output_subdir=null
    return [] if any(o.startswith("resume=") for o in given) else given
