"""From a config to a result: `run(cfg)`. The phases are in pipeline."""

import contextlib
import logging
import os
import shlex
import shutil
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import NoReturn, cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from tabnas import model, report, result
from tabnas.build import LATENCIES, Setup, build, torch_device
from tabnas.cli import RUN_CONFIG, resuming
from tabnas.data import report as data_report
from tabnas.errors import UserError
from tabnas.hyperparameters import log_final, tensorboard_logger
from tabnas.latency import Latency
from tabnas.pipeline import about, as_result, assist, best_of, retrained, save_network, searched, seconds_before
from tabnas.progress import Display
from tabnas.ranks import rank, started_by_torchrun
from tabnas.result import Result
from tabnas.run_folder import check_for_processes, config_to_resume, forget, locked, overrides, same_job
from tabnas.study.run import run_study
from tabnas.toy import run as toy
from tabnas.toy.search import TASK, ToySetup
from tabnas.trainer import let_others_begin, wait_for_first, write_whole

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> Result:
    """Search, select, retrain, report. `cfg` is the config as Hydra composed it; files go to Hydra's output folder.

    Of several processes the first does all of this; the others take part in it, and end here.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    check_for_processes(cfg)
    if rank() > 0:
        _assist(folder)
    with locked(folder):
        return _run(cfg, folder)


def _assist(folder: Path) -> NoReturn:
    logging.disable()
    if started_by_torchrun():
        wait_for_first()
        if (folder / result.FILE).exists():  # the first shows it
            sys.exit()
    with contextlib.suppress(UserError):  # the first process meets it too, and tells
        assist(cast(Setup, build(cast(DictConfig, OmegaConf.load(folder / RUN_CONFIG)), folder)))
    sys.exit()


def _run(cfg: DictConfig, folder: Path) -> Result:
    if cfg.resume is not None:
        cfg = config_to_resume(cfg, folder)
    elif (folder / RUN_CONFIG).exists() and not same_job(cfg, folder):
        remedy = f"name another, or go on with that run by {resuming(folder)}"
        raise UserError("hydra.run.dir", "must not be the folder of another run", str(folder), remedy)
    if (folder / result.FILE).exists():
        if started_by_torchrun():
            let_others_begin()
        log.warning("resume: this run had finished; nothing was done")
        finished = result.read(folder)
        _show(finished, folder)
        shutil.rmtree(folder / "retrain", ignore_errors=True)  # killed before the run could
        if finished["dataset"]["task"] != TASK:
            _report(folder)
        return finished
    started = time.perf_counter()
    try:
        setup = build(cfg, folder)
    except BaseException:  # Ctrl-C too
        if not (folder / RUN_CONFIG).exists():
            forget(folder)
        raise
    write_whole(folder / RUN_CONFIG, lambda file: file.write(OmegaConf.to_yaml(cfg).encode()))
    for cost in setup.limits.costs:
        if isinstance(cost, Latency):
            cost.write(folder / LATENCIES)
            spread = 100 * cost.relative_spread
            log.info("latency: a layer's interquartile range was %.1f %% of its median, in the median", spread)
    if started_by_torchrun():
        let_others_begin()
    if isinstance(setup, ToySetup):
        return _run_toy(setup, started)
    if setup.study is not None:
        _tell_of_data(setup, quiet=False)
        return run_study(setup.study, setup, about(setup), started)
    given = overrides(folder)
    finished = completed(setup, started, shlex.join(["python", "train.py", *given]), given)
    _report(folder)
    result.show(finished, folder)
    return finished


def completed(
    setup: Setup, started: float, command: str, given: list[str], *, quiet: bool = False, tensorboard: bool = True
) -> Result:
    """All phases of a run, from the data report to result.json in setup.folder.

    started: by time.perf_counter. command, given: what a person ran, and the settings among it.
    quiet: nothing is shown. tensorboard: whether events are kept.
    """
    before = seconds_before(setup)
    _tell_of_data(setup, quiet)
    with Display(quiet) as display:
        logger = tensorboard_logger(setup) if tensorboard else None
        found = searched(setup, logger, display)
        architectures, retrain_seconds = retrained(setup, found["candidates"], display)
    network = save_network(setup, architectures[best_of(architectures)])
    finished = as_result(setup, found["search"], architectures, network)
    finished["seconds"] = {
        "search": found["search"]["seconds"],
        "retrain": retrain_seconds,
        "total": before + time.perf_counter() - started,
    }
    finished["reproduce"] = {
        "command": command,
        "overrides": given,
        "versions": model.versions(),
        "device": torch_device(setup.accelerator),
        "finished": datetime.now().isoformat(timespec="seconds"),
    }
    if logger is not None:
        log_final(setup, logger, finished)
    result.write(setup.folder, finished)
    shutil.rmtree(setup.folder / "retrain")
    return finished


def _report(folder: Path) -> None:
    """The pages of the run and of its sweep, as far as that has come. The result stands without them."""
    pages = [folder, folder.parent] if HydraConfig.get().mode == RunMode.MULTIRUN else [folder]
    for page in pages:
        try:
            report.write(page)
        except Exception as error:
            again = f"python -m tabnas.report {shlex.quote(os.path.relpath(page))}"
            log.warning("report: not made (%s: %s); %s tries again", type(error).__name__, error, again)


def _tell_of_data(setup: Setup, quiet: bool) -> None:
    """The data report, to the log and, unless quiet, to a terminal."""
    name = setup.config["dataset"]["name"]
    for line in data_report.lines(setup.table, name):
        log.info("data: %s", line)
    console = Console(stderr=True)
    if console.is_terminal and not quiet:
        data_report.show(setup.table, name, console)


def _run_toy(setup: ToySetup, started: float) -> Result:
    if setup.study is not None:
        best = setup.best_feasible()
        told = {"widths": list(best), "loss": setup.data.losses[best], "costs": setup.costs(best)}
        return run_study(setup.study, setup, {**setup.about(), "best": told}, started)
    finished = toy.run(setup, started)
    result.write(setup.folder, finished)
    _show(finished, setup.folder)
    return finished


def _show(finished: Result, folder: Path) -> None:
    (toy.show if finished["dataset"]["task"] == TASK else result.show)(finished, folder)
