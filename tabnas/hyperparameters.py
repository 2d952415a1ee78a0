"""A run's hyperparameters and final metrics on TensorBoard, by which a sweep's runs are compared."""

import torch
from pytorch_lightning.loggers import TensorBoardLogger

from tabnas.build import Setup
from tabnas.result import Result


def tensorboard_logger(setup: Setup) -> TensorBoardLogger:
    """TensorBoard events in the run folder, hyperparameters included; what a killed run logged too late is purged."""
    checkpoint = setup.folder / "checkpoints" / "last.ckpt"
    purge = 0 if (setup.folder / "tensorboard").exists() else None
    if checkpoint.exists():
        purge = torch.load(checkpoint, weights_only=True, map_location="cpu")["tabnas"]["step"] + 1
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
        **({"eta": search.method.eta} if search.method.has_controller else {}),
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


def log_final(setup: Setup, logger: TensorBoardLogger, finished: Result) -> None:
    """The best of what the search itself selected: a plain choice is the same whatever the search's settings."""
    searched = [found for found in finished["architectures"] if "search" in found["chosen_by"]]
    best = min(searched, key=lambda found: found["stand_alone"]["loss"]["mean"])
    values = {"final/params": best["costs"]["params"], "final/prob_valid": finished["search"]["prob_valid"]}
    for kind, split in (("final", "stand_alone"), ("test", "test")):
        if told := best[split]:
            names = ("loss", *setup.table.task.measured)
            values |= {f"{kind}/{name}": told[name]["mean"] for name in names if name in told}
    logger.log_metrics(values, setup.search.total_steps)
    logger.finalize("success")


def _final_metrics(setup: Setup) -> tuple[str, ...]:
    names = ("loss", *setup.table.task.measured)
    kinds = ("final",) if setup.data.test is None else ("final", "test")
    return ("final/params", "final/prob_valid", *(f"{kind}/{name}" for kind in kinds for name in names))
