"""The estimators' arguments as train.py's config has them, and mistakes told the other way round. May import errors.

conf/ is no part of an installed package; a test holds what is the same in both.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tabnas.errors import UserError, require_one_of

WIDTHS = (8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 384, 512)
"""The paper's; by default each of three hidden layers has one of them."""
METHODS: dict[str, dict[str, Any]] = {
    "tabnas": {"_target_": "tabnas.method.Rejection"},
    "tabnas_exact": {
        "_target_": "tabnas.method.ConditionalDraws",
        "eta": 0.005,
        "selection": {"rule": "one_shot", "draws": "valid"},
    },
    "tunas_abs": {"_target_": "tabnas.method.RewardShaping", "reward": "tunas_abs", "beta": -1.0},
    "mnasnet": {"_target_": "tabnas.method.RewardShaping", "reward": "mnasnet", "beta": -0.07},
    "mnasnet_clipped": {"_target_": "tabnas.method.RewardShaping", "reward": "mnasnet_clipped", "beta": -0.07},
    "resource_oblivious": {"_target_": "tabnas.method.RewardShaping", "reward": "quality"},
    "one_shot_uniform": {"_target_": "tabnas.search.without_controller.OneShotUniform"},
    "bayesian": {"_target_": "tabnas.search.without_controller.Bayesian"},
    "evolution": {"_target_": "tabnas.search.without_controller.Evolution"},
    "random": {"_target_": "tabnas.search.without_controller.RandomSearch"},
    "exhaustive": {"_target_": "tabnas.search.without_controller.Exhaustive"},
}
"""As in conf/search; what is not said here is the class's default."""
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": {"_target_": "tabnas.optim.Adam", "lr": 0.005, "schedule": "cosine"},
    "sgd": {"_target_": "tabnas.optim.SGD", "lr": 0.01, "momentum": 0.9},
}
"""As in conf/optimizer."""
ARGUMENTS = {
    "give dataset.task=regression": "use TabNASRegressor",
    "list it in dataset.missing_tokens to leave such rows out": "leave such rows out",
    "dataset.path": "X",
    "dataset.target": "y",
    "dataset.weight": "sample_weight",
    "dataset.valid_path": "validation_data",
    "dataset.": "",
    "space.": "",
    "search.": "method_options.",
    "search=": "method=",
    "optimizer.": "",
    "trainer.": "",
    "accelerator.name": "accelerator",
    "retrain.seeds": "n_seeds",
    "retrain.max_epochs": "retrain_epochs",
    "retrain.": "",
}
"""By a config key, or the beginning of one, what an estimator calls it; a remedy by one that it does not have."""
NEVER = 1e9  # seconds: a fit is not resumed, so it needs no checkpoints


def config_from(arguments: Mapping[str, Any], *, n_train: int, n_valid: int, seed: int) -> DictConfig:
    """The config of a fit to n_train and n_valid rows of a table in memory. arguments: of an estimator, by name."""
    require_one_of("method", arguments["method"], METHODS)
    require_one_of("optimizer", arguments["optimizer"], OPTIMIZERS)
    options, limits, batch_size = (arguments[name] for name in ("method_options", "limits", "batch_size"))
    if not isinstance(options, Mapping | None):
        raise UserError("method_options", "must be a dictionary", options, 'give {"eta": 0.01}')
    if batch_size == "auto":
        batch_size = min(max(16, min(256, n_train // 64)), n_train, n_valid)
    rate = {} if arguments["lr"] is None else {"lr": arguments["lr"]}
    config = {
        "dataset": {
            "name": "frame",
            "batch_size": batch_size,
            "embedding_dim": arguments["embedding_dim"],
            "sparse_embeddings": False,
            "numerical_embedding": arguments["numerical_embedding"],
            "shuffle_rows": max(2**20, n_train),  # they are in memory
        },
        "space": {"choices": [WIDTHS] * 3 if arguments["choices"] is None else arguments["choices"]},
        "limits": limits if isinstance(limits, list | tuple) else [{"cost": "params", "limit": limits}],
        "optimizer": {**OPTIMIZERS[arguments["optimizer"]], **rate},
        "search": {"name": arguments["method"], "_partial_": True, **METHODS[arguments["method"]]},
        "trainer": {"max_epochs": arguments["max_epochs"], "log_every_n_steps": 100, "checkpoint_every_seconds": NEVER},
        "accelerator": {"name": arguments["accelerator"]},
        "retrain": {
            "seeds": arguments["n_seeds"],
            "max_epochs": arguments["retrain_epochs"],
            "min_architectures": arguments["min_architectures"],
            "patience": arguments["patience"],
            "keep": arguments["keep"],
        },
        "seed": seed,
        "resume": None,
    }
    try:
        made: DictConfig = OmegaConf.create(_plain(config))
        made.search.merge_with(_plain(options or {}))
    except OmegaConfBaseException as error:
        raise ValueError(f"arguments must be numbers, text, lists and dictionaries: {error}") from error
    return made


def _plain(value: Any) -> Any:
    """As a config holds it: without NumPy's numbers, and tuples as lists."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(part) for part in value]
    return value.item() if isinstance(value, np.generic) else value


def in_arguments(text: str) -> str:
    """A line to the user with the arguments' names in place of config keys."""
    keys = "|".join(map(re.escape, ARGUMENTS))
    text = re.sub(rf"\b({keys})", lambda key: ARGUMENTS[key.group()], text)
    return re.sub(r"\b(?:list|add) (.+) (?:in|to) missing_tokens", r"replace \1 by None", text)


@contextlib.contextmanager
def errors_in_arguments() -> Iterator[None]:
    """A mistake as scikit-learn has it: a ValueError, in which arguments have the estimators' names."""
    try:
        yield
    except (UserError, InstantiationException) as error:
        mistake = error.__cause__ if isinstance(error, InstantiationException) else error
        if not isinstance(mistake, UserError):
            raise
        raise ValueError(in_arguments(str(mistake))) from None
