"""The phases of a run: search (leaves search.json), stand-alone trainings (retrain/), network (model/).

A run that is resumed finds there what it has done.
"""

import json
import logging
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from pytorch_lightning.loggers import TensorBoardLogger

from tabnas import model
from tabnas.build import Setup
from tabnas.candidates import candidates
from tabnas.data.table import Rows
from tabnas.progress import Display, RetrainProgress, SearchProgress
from tabnas.result import VERSION, Result
from tabnas.retrain import summary, tested
from tabnas.search.dashboard import Dashboard
from tabnas.space import hyphenated
from tabnas.stand_alone import StandAlone
from tabnas.task import Task, outputs_of, with_intervals
from tabnas.trainer import PeriodicCheckpoint, fit, make_trainer, write_whole
from tabnas.trust import assess

log = logging.getLogger(__name__)


def searched(setup: Setup, logger: TensorBoardLogger | None, display: Display) -> dict[str, Any]:
    """What the search found, from search.json where a run that is resumed has left it."""
    path, checkpoint = setup.folder / "search.json", setup.folder / "checkpoints" / "last.ckpt"
    if path.exists():
        return cast(dict[str, Any], json.loads(path.read_text()))
    search = setup.search
    trains = search.method.trains_supernet
    if trains:
        log.info("search: %d steps among %d architectures", search.total_steps, setup.space.size)
        if checkpoint.exists():
            log.info("search: goes on from %s", checkpoint)
        callbacks = [
            PeriodicCheckpoint(checkpoint, setup.checkpoint_every_seconds),
            *([] if logger is None else [Dashboard(logger)]),
            SearchProgress(display),
        ]
        trainer = make_trainer(setup.accelerator, setup.max_epochs, callbacks, logger)
        fit(trainer, search, setup.data.train_dataloader(), checkpoint)
        trainer.save_checkpoint(checkpoint)
    else:
        search.selection.selected = search.selection.select(search)
    logits = search.controller.logits.tolist()
    found: dict[str, Any] = {
        "search": {
            "method": search.method.name,
            "epochs": setup.max_epochs if trains else 0,
            **search.counts,
            "seconds": search.seconds,
            "prob_valid": math.exp(search.method.log_prob_valid(search.controller.logits)),
            "gradient_error": search.method.gradient_error,
            "leading": _leading(setup) if search.method.has_controller else None,
            "logits": [row[:n] for row, n in zip(logits, setup.space.n_choices, strict=True)],
            "selection": search.selection.selected[0].how,
            "history": search.history,
        },
        "candidates": candidates(setup),
    }
    write_whole(path, lambda file: file.write(json.dumps(found, allow_nan=False).encode()))
    for candidate in found["candidates"]:
        log.info("to retrain: %s, chosen by %s", hyphenated(candidate["widths"]), candidate["chosen_by"])
    return found


def _leading(setup: Setup) -> dict[str, Any]:
    """Each layer's most probable width, which the limits do not bind: what a method with a shaped reward goes for."""
    widths = setup.search.leading()
    return {"widths": list(widths), "costs": setup.costs(widths), "feasible": setup.limits.allow(widths)}


def retrained(setup: Setup, chosen: list[dict[str, Any]], display: Display) -> tuple[list[dict[str, Any]], float]:
    """The candidates with their metrics after training from scratch, and the seconds this took."""
    retraining = setup.retraining
    seeds = range(setup.seed, setup.seed + setup.retrain_seeds)
    steps = setup.retrain_epochs * setup.data.steps_per_epoch
    progress = RetrainProgress(display, len(chosen) * len(seeds), steps)
    architectures, seconds = [], 0.0
    for candidate in chosen:
        widths = tuple(candidate["widths"])
        outcomes: list[dict[str, Any]] = []
        for group in retraining.groups(widths, seeds):
            progress.start(hyphenated(widths), group)
            found = retraining.outcomes(widths, group, [progress])
            outcomes += found
            for seed, outcome in zip(group, found, strict=True):
                log.info("%s seed %d: %s", hyphenated(widths), seed, outcome)
        stand_alone = summary(outcomes)
        seconds += stand_alone["seconds"]
        architectures.append({**candidate, "stand_alone": stand_alone, "test": tested(outcomes)})
    progress.finish()
    return architectures, seconds


def best_of(architectures: list[dict[str, Any]]) -> int:
    """Index of the one with the smallest mean loss on the validation split."""
    losses = [found["stand_alone"]["loss"]["mean"] for found in architectures]
    return losses.index(min(losses))


def save_network(setup: Setup, best: dict[str, Any]) -> dict[str, Any]:
    """model/: of the best architecture's trainings the one with the smallest loss; its seed and metrics."""
    losses = best["stand_alone"]["loss"]["runs"]
    chosen = losses.index(min(losses))
    retraining, seed = setup.retraining, setup.seed + chosen
    state = torch.load(retraining.weights(tuple(best["widths"]), seed), weights_only=True)
    network = retraining.module(tuple(best["widths"]), seed)
    network.load_state_dict(state)
    valid = _measured(setup.table.task, network, setup.data.valid)
    test = None if best["test"] is None else _measured(setup.table.task, network, cast(Rows, setup.data.test))
    encoding = None if setup.table.encoding is None else dict(setup.table.encoding)
    beside = encoding.pop("folder", None) if encoding else None  # Criteo's files in the cache
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
        metrics={name: {**told, **best["stand_alone"][name]} for name, told in valid.items()},
        test_metrics=test,
    )
    return {"seed": seed, "valid": valid, "test": test}


def _measured(task: Task, network: StandAlone, rows: Rows) -> dict[str, dict[str, Any]]:
    """The network's metrics on these rows."""
    outputs = outputs_of(network.eval(), rows.numerical, rows.categorical)
    return with_intervals(task, outputs, rows.target, rows.weight)


def as_result(
    setup: Setup, search: dict[str, Any], architectures: list[dict[str, Any]], network: dict[str, Any]
) -> Result:
    """What was asked and found, as result.json has it.

    search: the part of that name of `searched`. architectures: of `retrained`. network: of `save_network`.
    """
    table, data = setup.table, setup.data
    return {
        "version": VERSION,
        "config": setup.config,
        "dataset": {
            "name": setup.config["dataset"]["name"],
            "task": table.task.name,
            "metrics": list(table.task.reported),
            "n_train": data.train.n_rows,
            "n_val": data.valid.n_rows,
            "n_test": 0 if data.test is None else data.test.n_rows,
            "n_inputs": setup.search.encoder.n_inputs,
            "n_outputs": table.task.n_outputs,
            "columns": [asdict(column) for column in table.columns],
        },
        "space": {"choices": [list(layer) for layer in setup.space.choices], "size": setup.space.size},
        "limits": setup.config["limits"],
        "search": search,
        "architectures": architectures,
        "best": best_of(architectures),
        "network": network,
        "trust": assess(architectures, setup.config["retrain"]),
    }
