"""Searches and stand-alone trainings of a study, one after another in several processes.

A job's files are in FOLDER/jobs/<name>/; a job whose outcome.json is there is not repeated, one that was stopped goes
on from its checkpoint. Nothing of a job depends on the others, or on the number of processes.
"""

import contextlib
import json
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from joblib import Parallel, cpu_count, delayed, parallel_config
from omegaconf import DictConfig, OmegaConf

from tabnas.build import LATENCIES, Setup, build, table_from
from tabnas.cli import RUN_CONFIG
from tabnas.data.table import Table
from tabnas.errors import UserError
from tabnas.hyperparameters import tensorboard_logger
from tabnas.pipeline import searched
from tabnas.progress import Display
from tabnas.space import Widths, hyphenated
from tabnas.trainer import write_whole

OUTCOME = "outcome.json"

Outcome = dict[str, Any]


@dataclass(frozen=True)
class Search:
    """A search.

    settings: changes to the study's config, by key; a key may be a group, such as `search`.
    one_shot: architectures whose one-shot losses are wanted.
    controller: whether its probabilities are wanted.
    """

    name: str
    settings: Mapping[str, Any]
    one_shot: Sequence[Widths] = field(default=(), compare=False)
    controller: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Training:
    """Stand-alone trainings of an architecture, side by side."""

    widths: Widths
    seeds: Sequence[int]

    @property
    def name(self) -> str:
        several = f"s{self.seeds[0]}to{self.seeds[-1]}" if len(self.seeds) > 1 else str(self.seeds[0])
        return f"{hyphenated(self.widths)}-seed{several}"


Job = Search | Training
Outcomes = Mapping[str, Outcome]
"""By the job's name. Of a search what pipeline.searched finds, and `one_shot`, a loss for each architecture asked for;
or `error`, why it failed. Of a training `widths`, `costs` and `runs`, a dict for each seed as Retraining has it; or
`widths` and `error`."""


def carry_out(
    setup: Setup, plan: Callable[[Outcomes], Sequence[Job]], processes: int | None, progress: Callable[[int, int], None]
) -> Outcomes:
    """Do all jobs of a plan.

    plan: all jobs that are known, given the outcomes so far; asked again until none is left to do.
    processes: None for one on each core, on a GPU one. progress: called with jobs done, and jobs there are.
    """
    if processes is None:
        processes = cpu_count() if setup.accelerator == "cpu" else 1
    outcomes: dict[str, Outcome] = {}
    while True:
        jobs = {job.name: job for job in plan(outcomes)}
        todo = [job for name, job in jobs.items() if name not in outcomes]
        if not todo:
            return outcomes
        _check([job for job in todo if isinstance(job, Search)], setup)
        done = {job.name: _outcome(setup.folder, job) for job in todo}
        outcomes |= {name: outcome for name, outcome in done.items() if outcome is not None}
        todo = [job for job in todo if job.name not in outcomes]
        progress(len(outcomes), len(jobs))
        for name in _in_processes(setup.folder, todo, processes):
            outcomes[name] = cast(Outcome, _outcome(setup.folder, jobs[name]))
            progress(len(outcomes), len(jobs))


def _in_processes(folder: Path, jobs: Sequence[Job], processes: int) -> Iterator[str]:
    """Do the jobs, each on its share of the cores, even one that is left alone; their names, as they are done."""
    before = torch.get_num_threads()
    threads = before if "OMP_NUM_THREADS" in os.environ else max(1, cpu_count() // processes)
    torch.set_num_threads(threads)  # a single process is this one
    try:
        with parallel_config("loky", n_jobs=min(processes, len(jobs) or 1), inner_max_num_threads=threads):
            parallel = Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="all")
            yield from parallel(delayed(do)(folder, job, os.getpid()) for job in jobs)
    finally:
        torch.set_num_threads(before)


def do(folder: Path, job: Job, study: int) -> str:
    """Do one job of the study in `folder`, whose process is `study`; its name."""
    if os.getpid() != study:
        _ends_with(study)
    own = folder / "jobs" / job.name
    own.mkdir(parents=True, exist_ok=True)
    if (folder / LATENCIES).exists():
        shutil.copy(folder / LATENCIES, own)
    with _told_to(own / "job.log"):
        outcome = _search(folder, own, job) if isinstance(job, Search) else _training(folder, own, job)
    write_whole(own / OUTCOME, lambda file: file.write(json.dumps(outcome, allow_nan=False).encode()))
    return job.name


@cache
def _ends_with(study: int) -> None:
    """End this process when the study's ends, even by kill -9. It alone is told of Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == study:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _outcome(folder: Path, job: Job) -> Outcome | None:
    path = folder / "jobs" / job.name / OUTCOME
    return cast(Outcome, json.loads(path.read_text())) if path.exists() else None


def _search(folder: Path, own: Path, job: Search) -> Outcome:
    setup = cast(Setup, build(_config(folder, {**job.settings, "retrain.min_architectures": 0}), own, _table(folder)))
    try:
        with Display() as display:
            found = searched(setup, tensorboard_logger(setup), display)
    except UserError as error:
        return {"error": str(error)}
    if job.one_shot:
        state = torch.load(own / "checkpoints" / "last.ckpt", weights_only=True, map_location="cpu")["state_dict"]
        setup.search.load_state_dict(state)
        found["one_shot"] = [setup.search.one_shot(widths, setup.data.valid)["loss"] for widths in job.one_shot]
    return found


def _training(folder: Path, own: Path, job: Training) -> Outcome:
    setup = _study_setup(folder)
    retraining = replace(setup.retraining, folder=own)
    try:
        runs = [
            outcome
            for seeds in retraining.groups(job.widths, job.seeds)
            for outcome in retraining.outcomes(job.widths, seeds)
        ]
    except UserError as error:
        return {"widths": list(job.widths), "error": str(error)}
    for seed in job.seeds:
        retraining.weights(job.widths, seed).unlink(missing_ok=True)
    return {"widths": list(job.widths), "costs": setup.costs(job.widths), "runs": runs}


def _check(searches: Sequence[Search], setup: Setup) -> None:
    """Raise UserError for a search whose settings cannot work, or that has nothing of what is wanted of it."""
    for job in {str(job.settings): job for job in searches}.values():
        built = cast(Setup, build(_config(setup.folder, job.settings), setup.folder, setup.table))
        method = built.search.method
        if job.controller and not method.has_controller:
            rule = "must have a controller, whose probabilities are wanted"
            raise UserError(f"study.methods.{job.name}", rule, method.name, "leave it out")
        if job.one_shot and not method.trains_supernet:
            rule = "must train a SuperNet, whose one-shot losses are wanted"
            raise UserError("search", rule, method.name, "one_shot_uniform is the SuperNet alone")


def _config(folder: Path, settings: Mapping[str, Any]) -> DictConfig:
    """The study's config, as the run's folder has it, with the changes of a job."""
    cfg = cast(DictConfig, OmegaConf.load(folder / RUN_CONFIG))
    del cfg["study"]
    for key, value in settings.items():
        OmegaConf.update(cfg, key, value, merge=not isinstance(value, Mapping))
    return cfg


@lru_cache(maxsize=1)
def _table(folder: Path) -> Table:
    """The study's table, read once by each process."""
    return table_from(_config(folder, {}).dataset)


@lru_cache(maxsize=1)
def _study_setup(folder: Path) -> Setup:
    return cast(Setup, build(_config(folder, {}), folder, _table(folder)))


@contextlib.contextmanager
def _told_to(path: Path) -> Iterator[None]:
    """Everything logged or shown goes to a file instead of the terminal."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    try:
        with contextlib.redirect_stderr(handler.stream):
            yield
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        handler.close()
