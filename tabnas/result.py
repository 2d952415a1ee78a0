"""result.json: what a run found, in one file that reports need nothing beside. May import trainer."""

import json
import math
import os
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from tabnas.trainer import write_whole

VERSION = 1
FILE = "result.json"
MOST_SHOWN = 20  # architectures on a terminal
SHORT = {"balanced_error": "bal. error"}

Result = dict[str, Any]
"""The content of result.json; its form is in the README."""


def write(folder: Path, result: Result) -> None:
    """Write result.json whole; ValueError where a number is not finite."""
    text = json.dumps(result, indent=1, allow_nan=False)
    write_whole(folder / FILE, lambda file: file.write(text.encode()))


def read(folder: Path) -> Result:
    """The result in a run folder."""
    content: Result = json.loads((folder / FILE).read_text())
    return content


def show(result: Result, folder: Path | None) -> None:
    """Print the architectures as a table on stdout, the MOST_SHOWN best, and where files are, if any are kept."""
    console = Console()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left", caption_justify="left")
    costs = list(result["architectures"][0]["costs"])
    measured = list(result["architectures"][0].get("measured", {}))
    if not console.is_terminal:
        console = Console(width=110 + 18 * len(result["dataset"]["metrics"]) + 12 * len(costs + measured))
    limits = " and ".join(f"{limit['limit']:,} {limit['cost']}" for limit in result["limits"])
    table.title = f"{result['dataset']['name']}, at most {limits}"
    for heading in ("architecture", "chosen by"):
        table.add_column(heading)
    architectures = result["architectures"]
    best = architectures[result["best"]]
    metrics = ("loss", *result["dataset"]["metrics"])
    has_one_shot = architectures[0]["one_shot"] is not None
    tested = metrics[:2] if any(found.get("test") for found in architectures) else ()
    measures = [f"{kind}\n{SHORT.get(m, m)}" for kind, of in (("validation", metrics), ("test", tested)) for m in of]
    one_shot = ["one-shot\nloss"] if has_one_shot else []
    for heading in (*costs, *(f"{name}\nwhole" for name in measured), *one_shot, *measures):
        table.add_column(heading, justify="right")
    for found in sorted(architectures, key=lambda a: a["stand_alone"]["loss"]["mean"])[:MOST_SHOWN]:
        table.add_row(
            "-".join(map(str, found["widths"])),
            found["chosen_by"],
            *(f"{found['costs'][name]:,}" for name in costs),
            *(f"{found['measured'][name]:,}" for name in measured),
            *([_rounded(found["one_shot"]["loss"], found["one_shot"]["loss"])] if has_one_shot else []),
            *(_interval(found["stand_alone"][m]) for m in metrics),
            *(_interval(found["test"][m]) if found["test"] else "" for m in tested),
            style="bold" if found is best else None,
        )
    n_seeds = len(best["stand_alone"]["loss"]["runs"])
    table.caption = f"mean ± std over {n_seeds} seeds of training from scratch"
    if has_one_shot:
        table.caption += "; one-shot: on the validation split"
    if len(architectures) > MOST_SHOWN:
        table.caption = f"the best {MOST_SHOWN} of {len(architectures)}; {table.caption}"
    if tested:
        table.caption += "\nin order of the validation loss; nothing was chosen by the test split"
    if measured:
        table.caption += "\nlatency: the sum of the layers, which is limited, and that of the whole network"
    console.print(table)
    if trust := result.get("trust"):
        console.print(" ".join(filter(None, (trust["words"], trust["remedy"]))), highlight=False)
        console.print()
    seconds = result["seconds"]
    files = "" if folder is None else f"; report and files in {os.path.relpath(folder)}"
    console.print(
        f"search {seconds['search']:.0f} s, retraining {seconds['retrain']:.0f} s,"
        f" in all {seconds['total']:.0f} s{files}",
        soft_wrap=True,
        highlight=False,
    )


def _interval(metric: dict[str, Any]) -> str:
    spread = "" if metric["std"] is None else f" ± {_rounded(metric['std'], metric['mean'])}"
    return f"{_rounded(metric['mean'], metric['mean'])}{spread}"


def _rounded(value: float, like: float) -> str:
    """With four decimals, or fewer or more where `like` is of another size."""
    exponent = math.floor(math.log10(abs(like))) if like else 0
    return f"{value:.{4 if exponent in (-1, 0) else max(0, 3 - exponent)}f}"
