"""The phases of a run: search (leaves search.json), stand-alone trainings (retrain/), network (model/).

A run that is resumed finds there what it has done.
"""

import contextlib
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from pytorch_lightning import Callback
from pytorch_lightning.loggers import TensorBoardLogger

from tabnas import accelerator, model
from tabnas.build import Setup
from tabnas.candidates import candidates
from tabnas.data.table import Rows
from tabnas.errors import ProcessLost, UserError
from tabnas.progress import Display, RetrainProgress, SearchProgress
from tabnas.ranks import rank
from tabnas.result import VERSION, Result
from tabnas.retrain import summary, summary_on_test
from tabnas.search.dashboard import Dashboard
from tabnas.search.static import StaticTabNAS
from tabnas.space import Widths, hyphenated
from tabnas.stand_alone import StandAlone
from tabnas.task import Task, outputs_of, with_intervals
from tabnas.trainer import PeriodicCheckpoint, fit, make_trainer, processes, wait_for_all, write_whole
from tabnas.trust import assess

log = logging.getLogger(__name__)

SEARCH, CHECKPOINT = "search.json", "checkpoints/last.ckpt"


def searched(setup: Setup, logger: TensorBoardLogger | None, display: Display) -> dict[str, Any]:
    """What the search found, from search.json where a run that is resumed has left it."""
    path, checkpoint = setup.folder / SEARCH, setup.folder / CHECKPOINT
    if path.exists():
        return cast(dict[str, Any], json.loads(path.read_text()))
    search = setup.search
    trains = search.method.trains_supernet
    if trains:
        if search.n_replicas > 1:
            log.info("search: replicas: %d; devices: %d", search.n_replicas, search.n_devices)
        log.info("search: %d steps among %d architectures", search.total_steps, setup.space.size)
        if checkpoint.exists():
            log.info("search: goes on from %s", checkpoint)
        dashboard = [] if logger is None else [Dashboard(logger)]
        _fit_search(setup, checkpoint, [*dashboard, SearchProgress(display)], logger)
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
            "gradient_error": search.gradient_error,
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
    wait_for_all()
    return found


def seconds_before(setup: Setup) -> float:
    """What a run that is resumed has spent on the training that it goes on from, in all earlier sessions."""
    search, checkpoint = setup.folder / SEARCH, setup.folder / CHECKPOINT
    retrained = setup.retraining.folder
    unfinished = [path for path in retrained.glob("*.ckpt") if not path.with_suffix(".json").exists()]
    seconds = 0.0
    if search.exists():
        seconds += json.loads(search.read_text())["search"]["seconds"]
    elif checkpoint.exists():
        unfinished.append(checkpoint)
    for path in unfinished:
        seconds += torch.load(path, weights_only=True, map_location="cpu", mmap=True)["tabnas"]["seconds"]
    for path in retrained.glob("*.json"):
        seconds += sum(outcome["seconds"] for outcome in json.loads(path.read_text()))
    return seconds


def _fit_search(
    setup: Setup, checkpoint: Path, callbacks: Sequence[Callback], logger: TensorBoardLogger | None = None
) -> None:
    """The search from `checkpoint` on, where there is one, to its end."""
    periodic = PeriodicCheckpoint(checkpoint, setup.checkpoint_every_seconds)
    search, on_tpu = setup.search, setup.accelerator == "tpu"
    on_cores = search if isinstance(search, StaticTabNAS) and search.n_devices > 1 else None
    if on_cores is not None:  # in processes to which neither a terminal nor a logger can be sent
        callbacks, logger = [], None
        on_cores.final_checkpoint = checkpoint
    trainer = make_trainer(
        setup.accelerator,
        setup.max_epochs,
        [periodic, *callbacks],
        logger,
        devices=setup.devices,
        num_nodes=setup.num_nodes,
        **(accelerator.trainer_arguments(setup.devices) if on_tpu else {}),
    )
    fit(trainer, search, setup.data.train_dataloader(), checkpoint)
    if on_cores is not None:
        on_cores.take_over()
    else:
        trainer.save_checkpoint(checkpoint)


def assist(setup: Setup) -> None:
    """What the processes beside the first do: their replicas' part of the search, their share of the trainings."""
    path = setup.folder / SEARCH
    if path.exists() or not setup.search.method.trains_supernet:
        return  # there is nothing to search together, and the first process goes on alone
    _fit_search(setup, setup.folder / CHECKPOINT, [])
    wait_for_all()
    chosen = json.loads(path.read_text())["candidates"]
    for widths, group in _trainings(setup, chosen)[rank() :: processes()]:
        with contextlib.suppress(UserError):  # the first process will meet it too, and tell
            setup.retraining.outcomes(widths, group)
    wait_for_all()


def _leading(setup: Setup) -> dict[str, Any]:
    """Each layer's most probable width, which the limits do not bind: what a method with a shaped reward goes for."""
    widths = setup.search.leading()
    return {"widths": list(widths), "costs": setup.costs(widths), "feasible": setup.limits.allow(widths)}


def _trainings(setup: Setup, chosen: list[dict[str, Any]]) -> list[tuple[Widths, Sequence[int]]]:
    """Each training from scratch: an architecture, and the seeds that are trained at once."""
    seeds = range(setup.seed, setup.seed + setup.retrain_seeds)
    all_widths = [tuple(candidate["widths"]) for candidate in chosen]
    return [(widths, group) for widths in all_widths for group in setup.retraining.groups(widths, seeds)]


def retrained(setup: Setup, chosen: list[dict[str, Any]], display: Display) -> tuple[list[dict[str, Any]], float]:
    """The candidates with their metrics after training from scratch, and the seconds this took.

    Of several processes each trains its share, and leaves the outcomes in files; this one goes through all.
    """
    steps = setup.retrain_epochs * setup.data.steps_per_epoch
    progress = RetrainProgress(display, len(chosen) * setup.retrain_seeds, steps)
    trainings = _trainings(setup, chosen)
    own = trainings[:: processes()]
    outcomes: dict[Widths, dict[int, dict[str, Any]]] = {widths: {} for widths, _ in trainings}
    for number, (widths, group) in enumerate([*own, *(t for t in trainings if t not in own)]):
        if number == len(own):
            try:
                wait_for_all()
            except ProcessLost as lost:
                log.warning("a process has ended before its time; what it had left to train is trained by this one")
                log.info("%s", lost, exc_info=lost)
        progress.start(hyphenated(widths), group)
        found = setup.retraining.outcomes(widths, group, [progress])
        for seed, outcome in zip(group, found, strict=True):
            outcomes[widths][seed] = outcome
            log.info("%s seed %d: %s", hyphenated(widths), seed, outcome)
    architectures, seconds = [], 0.0
    for candidate in chosen:
        of_seeds = outcomes[tuple(candidate["widths"])]
        in_order = [of_seeds[seed] for seed in sorted(of_seeds)]
        stand_alone = summary(in_order)
        seconds += stand_alone["seconds"]
        architectures.append({**candidate, "stand_alone": stand_alone, "test": summary_on_test(in_order)})
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
    return {
        "version": VERSION,
        **about(setup),
        "search": search,
        "architectures": architectures,
        "best": best_of(architectures),
        "network": network,
        "trust": assess(architectures, setup.config["retrain"]),
    }


def about(setup: Setup) -> dict[str, Any]:
    """The part of the results that says what was asked."""
    table, data = setup.table, setup.data
    return {
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
    }
