"""Configs by dotted keys, as the command line has them."""

import json
from collections.abc import Sequence
from typing import Any

from tabnas.report.source import Result

SEED = "seed"


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """A config by dotted keys, lists of groups by their numbers; a list of values is one value, as JSON."""
    if isinstance(config, dict):
        parts = config.items()
    elif isinstance(config, list) and config and all(isinstance(part, dict) for part in config):
        parts = dict(enumerate(config)).items()
    else:
        return {prefix: json.dumps(config) if isinstance(config, list) else config}
    found: dict[str, Any] = {}
    for key, value in parts:
        found |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def varied(results: Sequence[Result]) -> list[str]:
    """The settings in which runs differ, the seed last.

    Of a group of which several options were chosen, such as search=…, `name` stands for all that follows from it.
    """
    configs = [flat(result["config"]) for result in results]
    keys = list(dict.fromkeys(key for config in configs for key in config))
    differ = [key for key in keys if len({repr(config.get(key)) for config in configs}) > 1]
    found = []
    for key in differ:
        name = f"{key.partition('.')[0]}.name"
        if key.rpartition(".")[2].startswith("_"):  # Hydra's own, such as _target_
            continue
        if key != name and name in differ:
            pairs = {(config.get(name), repr(config.get(key))) for config in configs}
            if len(pairs) == len({option for option, _ in pairs}):
                continue
        found.append(key)
    return sorted(found, key=lambda key: key == SEED)


def short(key: str, keys: Sequence[str]) -> str:
    """The last part of a key, or of a group's name the group; the whole key where that is not one key's alone."""

    def last(key: str) -> str:
        return key.removesuffix(".name").rpartition(".")[2]

    return last(key) if [last(other) for other in keys].count(last(key)) == 1 else key
