"""Made-up rows for every config whose data is not in the package, so that all configs can be built and run."""

import functools
from pathlib import Path

import pandas as pd

from tabnas.data.criteo.made_up import blocks
from tests.data.openml_cache import made_up, seed_cache

OPENML = {"volkert": 41166, "aloi": 42396, "higgs": 23512}
N_ROWS = {"aloi": 8000}


def overrides(option: str, folder: Path) -> list[str]:
    """What to add to `dataset=…` or `experiment=…`, with the stand-in in the folder; nothing if none is needed."""
    name = option.split("=")[1].removeprefix("paper/").rstrip("3459")
    if name in OPENML:
        return [f"dataset.data_home={_openml(folder, OPENML[name], N_ROWS.get(name, 1200))}"]
    if option == "dataset=openml":
        return ["dataset.data_id=40668", f"dataset.data_home={_openml(folder, 40668, 1200)}"]
    if option == "dataset=table":
        return [f"dataset.path={_table(folder)}", "dataset.target=class"]
    if name == "criteo":
        return [f"dataset.path={_criteo(folder)}", f"dataset.cache={folder}"]
    if name == "criteo_synthetic":
        return ["dataset.n_rows=6000", f"dataset.cache={folder}"]
    return []


@functools.cache
def _openml(folder: Path, data_id: int, n_rows: int) -> Path:
    seed_cache(folder, data_id, *made_up(data_id, n_rows))
    return folder


@functools.cache
def _table(folder: Path) -> Path:
    frame = pd.concat([made_up(40668, 1200)[0].iloc[:, :3], made_up(23512, 1200)[0]], axis=1)
    path = folder / "table.csv"
    frame.to_csv(path, index=False)
    return path


@functools.cache
def _criteo(folder: Path) -> Path:
    path = folder / "train.txt"
    path.write_bytes(b"".join(blocks(6000, 0)))
    return path
