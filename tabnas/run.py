"""From a config to a result.

Phases, each of which leaves a file that a resumed run finds: search (search.json), stand-alone trainings (retrain/),
result (result.json, model/).
"""

import contextlib
import dataclasses
import fcntl
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import TensorBoardLogger
from rich.console import Console

from tabnas import model, result
from tabnas.build import LATENCIES, Setup, build, torch_device
from tabnas.cli import RUN_CONFIG
from tabnas.data import report
from tabnas.errors import UserError
from tabnas.latency import Latency, measure_network
from tabnas.progress import Display, RetrainProgress, SearchProgress
from tabnas.result import Result
from tabnas.retrain import Retraining, summary
from tabnas.search.dashboard import Dashboard
from tabnas.search.plain import random_feasible, uniform_width
from tabnas.space import Widths, hyphenated
from tabnas.task import outputs_of, with_intervals
from tabnas.toy import run as toy
from tabnas.toy.search import TASK, ToySetup
from tabnas.trainer import PeriodicCheckpoint, fit, make_trainer, write_whole

log = logging.getLogger(__name__)

LOCK = ".lock"


def run(cfg: DictConfig) -> Result:
    """Search, select, retrain, report. `cfg` is the config as Hydra composed it; files go to Hydra's output folder."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    with _locked(folder):
        return _run(cfg, folder)


def _run(cfg: DictConfig, folder: Path) -> Result:
    if cfg.resume is None:
        if (folder / RUN_CONFIG).exists():
            remedy = f"name another, or go on with that run by resume={os.path.relpath(folder)}"
            raise UserError("hydra.run.dir", "must not be the folder of another run", str(folder), remedy)
    else:
        cfg = _config_to_resume(folder)
        if (folder / result.FILE).exists():
            log.warning("resume: this run had finished; nothing was done")
            finished = result.read(folder)
            _show(finished, folder)
            shutil.rmtree(folder / "retrain", ignore_errors=True)  # killed before the run could
            return finished
    started = time.perf_counter()
    try:
        setup = build(cfg, folder)
    except Exception:
        if not (folder / RUN_CONFIG).exists():
            _forget(folder)
        raise
    write_whole(folder / RUN_CONFIG, lambda file: file.write(OmegaConf.to_yaml(cfg).encode()))
    for cost in setup.limits.costs:
        if isinstance(cost, Latency):
            cost.write(folder / LATENCIES)
            spread = 100 * cost.relative_spread
            log.info("latency: a layer's interquartile range was %.1f %% of its median, in the median", spread)
    if isinstance(setup, ToySetup):
        return _run_toy(setup, started)
    _tell_of_data(setup)
    with Display() as display:
        logger = _logger(setup)
        searched = _searched(setup, logger, display)
        architectures, retrain_seconds = _retrained(setup, searched["candidates"], display)
    losses = [found["stand_alone"]["loss"]["mean"] for found in architectures]
    best = losses.index(min(losses))
    finished = {
        "version": result.VERSION,
        "seconds": {
            "search": searched["search"]["seconds"],
            "retrain": retrain_seconds,
            "total": time.perf_counter() - started,
        },
        "config": setup.config,
        "dataset": {
            "name": cfg.dataset.name,
            "task": setup.table.task.name,
            "metrics": list(setup.table.task.reported),
            "n_train": setup.data.train.n_rows,
            "n_val": setup.data.valid.n_rows,
            "n_inputs": setup.search.encoder.n_inputs,
            "n_outputs": setup.table.task.n_outputs,
            "columns": [dataclasses.asdict(column) for column in setup.table.columns],
        },
        "space": {"choices": [list(layer) for layer in setup.space.choices], "size": setup.space.size},
        "limits": setup.config["limits"],
        "search": searched["search"],
        "architectures": architectures,
        "best": best,
    }
    _save_network(setup, architectures[best])
    _log_final(setup, logger, finished)
    result.write(folder, finished)
    shutil.rmtree(folder / "retrain")
    result.show(finished, folder)
    return finished


def _tell_of_data(setup: Setup) -> None:
    """The data report, to the log and to a terminal."""
    name = setup.config["dataset"]["name"]
    for line in report.lines(setup.table, name):
        log.info("data: %s", line)
    console = Console(stderr=True)
    if console.is_terminal:
        report.show(setup.table, name, console)


def _run_toy(setup: ToySetup, started: float) -> Result:
    if setup.study is not None:
        return toy.run_study(setup, started)
    finished = toy.run(setup, started)
    result.write(setup.folder, finished)
    _show(finished, setup.folder)
    return finished


def _show(finished: Result, folder: Path) -> None:
    (toy.show if finished["dataset"]["task"] == TASK else result.show)(finished, folder)


def _searched(setup: Setup, logger: TensorBoardLogger, display: Display) -> dict[str, Any]:
    """What the search found, from search.json where a run that is resumed has left it."""
    path, checkpoint = setup.folder / "search.json", setup.folder / "checkpoints" / "last.ckpt"
    if path.exists():
        return cast(dict[str, Any], json.loads(path.read_text()))
    search = setup.search
    log.info("search: %d steps among %d architectures", search.total_steps, setup.space.size)
    if checkpoint.exists():
        log.info("search: goes on from %s", checkpoint)
    callbacks = [
        PeriodicCheckpoint(checkpoint, setup.checkpoint_every_seconds),
        Dashboard(logger),
        SearchProgress(display),
    ]
    trainer = make_trainer(setup.accelerator, setup.max_epochs, callbacks, logger)
    fit(trainer, search, setup.data.train_dataloader(), checkpoint)
    trainer.save_checkpoint(checkpoint)
    logits = search.controller.logits.tolist()
    found: dict[str, Any] = {
        "search": {
            "method": search.method.name,
            "epochs": setup.max_epochs,
            **search.counts,
            "seconds": search.seconds,
            "prob_valid": math.exp(search.method.log_prob_valid(search.controller.logits)),
            "gradient_error": search.method.gradient_error,
            "leading": _leading(setup),
            "logits": [row[:n] for row, n in zip(logits, setup.space.n_choices, strict=True)],
            "selection": search.selection.selected[0].how,
            "history": search.history,
        },
        "candidates": _candidates(setup),
    }
    write_whole(path, lambda file: file.write(json.dumps(found, allow_nan=False).encode()))
    for candidate in found["candidates"]:
        log.info("to retrain: %s, chosen by %s", hyphenated(candidate["widths"]), candidate["chosen_by"])
    return found


def _leading(setup: Setup) -> dict[str, Any]:
    """Each layer's most probable width, which the limits do not bind: what a method with a shaped reward goes for."""
    widths = setup.search.leading()
    return {"widths": list(widths), "costs": setup.costs(widths), "feasible": setup.limits.allow(widths)}


def _candidates(setup: Setup) -> list[dict[str, Any]]:
    """What the search selected and two plain choices at the same limit, each once, with their one-shot metrics."""
    search = setup.search
    chosen: dict[Widths, dict[str, Any]] = {}
    for selected in search.selection.selected:
        chosen[selected.widths] = {"chosen_by": "search", "probability": selected.probability}
    draws = torch.Generator().manual_seed(setup.seed)
    plain = {
        "uniform width": uniform_width(setup.space, setup.limits),
        "random feasible": random_feasible(setup.space, setup.limits, search.method.program, draws),
    }
    for name, widths in plain.items():
        if widths is None:
            log.warning("%s: no such architecture was found within the limit", name)
        elif widths in chosen:
            chosen[widths]["chosen_by"] += f", {name}"
        else:
            chosen[widths] = {"chosen_by": name, "probability": None}
    return [
        {
            "widths": list(widths),
            "costs": setup.costs(widths),
            **_measured(setup, widths),
            **about,
            "one_shot": search.one_shot(widths, setup.data.valid),
        }
        for widths, about in chosen.items()
    ]


def _measured(setup: Setup, widths: Widths) -> dict[str, Any]:
    """Where latency is limited by the sum of its layers' times, that of the whole network, its encoder included."""
    batch_sizes = [e.get("batch_size", 1) for e in setup.config["limits"] if e["cost"] == Latency.name]
    if not batch_sizes:
        return {}
    device = torch_device(setup.accelerator)
    network = _retraining(setup).module(widths, setup.seed).to(device).eval()
    rows = setup.data.valid.take(torch.arange(batch_sizes[0]) % setup.data.valid.n_rows)
    numerical, categorical = rows.numerical.to(device), rows.categorical.to(device)
    nanoseconds = measure_network(lambda: network(numerical, categorical), device=device)
    return {"measured": {Latency.name: nanoseconds / Latency.scale}}


def _retrained(setup: Setup, candidates: list[dict[str, Any]], display: Display) -> tuple[list[dict[str, Any]], float]:
    """The candidates with their stand-alone metrics, and the seconds their training took."""
    retraining = _retraining(setup)
    seeds = range(setup.seed, setup.seed + setup.retrain_seeds)
    steps = setup.retrain_epochs * setup.data.steps_per_epoch
    progress = RetrainProgress(display, len(candidates) * len(seeds), steps)
    architectures, seconds = [], 0.0
    for candidate in candidates:
        widths = tuple(candidate["widths"])
        outcomes: list[dict[str, float]] = []
        for group in retraining.groups(widths, seeds):
            progress.start(hyphenated(widths), group)
            found = retraining.outcomes(widths, group, [progress])
            outcomes += found
            for seed, outcome in zip(group, found, strict=True):
                log.info("%s seed %d: %s", hyphenated(widths), seed, outcome)
        stand_alone = summary(outcomes)
        seconds += stand_alone["seconds"]
        architectures.append({**candidate, "stand_alone": stand_alone})
    progress.finish()
    return architectures, seconds


def _retraining(setup: Setup) -> Retraining:
    return Retraining(
        data=setup.data,
        new_encoder=setup.new_encoder,
        task=setup.table.task,
        optimizer=setup.optimizer,
        max_epochs=setup.retrain_epochs,
        accelerator=setup.accelerator,
        checkpoint_every_seconds=setup.checkpoint_every_seconds,
        folder=setup.folder / "retrain",
        patience=setup.retrain_patience,
        keep=setup.retrain_keep,
    )


def _save_network(setup: Setup, best: dict[str, Any]) -> None:
    """model/: of the best architecture's trainings the one with the smallest loss."""
    losses = best["stand_alone"]["loss"]["runs"]
    chosen = losses.index(min(losses))
    retraining, seed = _retraining(setup), setup.seed + chosen
    state = torch.load(retraining.weights(tuple(best["widths"]), seed), weights_only=True)
    network = retraining.module(tuple(best["widths"]), seed)
    network.load_state_dict(state)
    valid = setup.data.valid
    encoding = None if setup.table.encoding is None else dict(setup.table.encoding)
    beside = encoding.pop("folder", None) if encoding else None  # Criteo's files in the cache
    outputs = outputs_of(network.eval(), valid.numerical, valid.categorical)
    metrics = with_intervals(setup.table.task, outputs, valid.target, valid.weight)
    model.save(
        setup.folder / model.FOLDER,
        state,
        n_numerical=setup.table.n_numerical,
        cardinalities=setup.table.cardinalities,
        embedding_dim=setup.config["dataset"]["embedding_dim"],
        numerical_embedding=setup.numerical_embedding,
        widths=best["widths"],
        costs=best["costs"],
        dataset=setup.config["dataset"]["name"],
        task=setup.table.task,
        encoding=encoding,
        encoding_files=[Path(beside, name) for name in ("vocabulary", "quantiles")] if beside else (),
        decimal=setup.config["dataset"].get("decimal", "."),
        metrics={name: {**told, **best["stand_alone"][name]} for name, told in metrics.items()},
    )


def _logger(setup: Setup) -> TensorBoardLogger:
    """TensorBoard events in the run folder, hyperparameters included; what a killed run logged too late is purged."""
    checkpoint = setup.folder / "checkpoints" / "last.ckpt"
    purge = 0 if (setup.folder / "tensorboard").exists() else None
    if checkpoint.exists():
        purge = torch.load(checkpoint, weights_only=True)["tabnas"]["step"] + 1
    logger = TensorBoardLogger(setup.folder, name="", version="tensorboard", default_hp_metric=False, purge_step=purge)
    search, config = setup.search, setup.config
    settings = config["search"]
    method = {name: settings[name] for name in ("num_samples", "num_children", "beta") if name in settings}
    if method.get("num_samples", 0) is None:
        method["num_samples"] = "exact"
    one = len(config["limits"]) == 1
    limits = {"limit" if one else f"limit/{entry['cost']}": entry["limit"] for entry in config["limits"]}
    # The HParams tab shows the first five in alphabetical order unless told otherwise.
    parameters = {
        "dataset": config["dataset"]["name"],
        "eta": search.method.eta,
        **limits,
        **method,
        "search": search.method.name,
        "seed": setup.seed,
        "training/batch_size": setup.data.batch_size,
        "training/lr": setup.optimizer.lr,
        "training/max_epochs": setup.max_epochs,
    }
    if not purge:
        logger.log_hyperparams(parameters, metrics=dict.fromkeys(_final_metrics(setup), float("nan")), step=0)
    return logger


def _final_metrics(setup: Setup) -> tuple[str, ...]:
    return ("final/loss", f"final/{setup.table.task.reported[0]}", "final/params", "final/prob_valid")


def _log_final(setup: Setup, logger: TensorBoardLogger, finished: Result) -> None:
    """The best of what the search itself selected: a plain choice is the same whatever the search's settings."""
    searched = [found for found in finished["architectures"] if "search" in found["chosen_by"]]
    best = min(searched, key=lambda found: found["stand_alone"]["loss"]["mean"])
    values = (
        best["stand_alone"]["loss"]["mean"],
        best["stand_alone"][setup.table.task.reported[0]]["mean"],
        best["costs"]["params"],
        finished["search"]["prob_valid"],
    )
    logger.log_metrics(dict(zip(_final_metrics(setup), values, strict=True)), setup.search.total_steps)
    logger.finalize("success")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run's folder; the system lifts the lock when this one ends, however it ends."""
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            remedy = "wait a second, or for that run to end"
            raise UserError("hydra.run.dir", "must not be in use by another run", str(folder), remedy) from error
        yield


def _forget(folder: Path) -> None:
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


def _config_to_resume(folder: Path) -> DictConfig:
    """The config of the run in `folder`, which is taken up as it was."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        raise UserError("resume", "takes up one run and cannot be swept", str(folder), "leave out -m")
    given = HydraConfig.get().overrides
    others = [o for o in (*given.task, *given.hydra) if not o.startswith(("resume=", "hydra.mode="))]
    if others:
        raise UserError("resume", "takes up a run with its own config", " ".join(others), "give resume alone")
    return cast(DictConfig, OmegaConf.load(folder / RUN_CONFIG))
