"""From a setup to the files of a run on a table of losses, and what the terminal shows of them."""

import os
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from tabnas.space import hyphenated
from tabnas.toy.search import ToySetup, result_of


def run(setup: ToySetup, started: float) -> dict[str, Any]:
    """The one search. started: time.perf_counter() at the start. Returns what is to be result.json's."""
    setup.search.run()
    return result_of(setup, started)


def show(result: dict[str, Any], folder: Path) -> None:
    """Print a search's result on stdout: the architectures, best first, P(V), and the layers' probabilities."""
    search, architectures = result["search"], result["architectures"]
    limits = " and ".join(f"{limit['limit']:,} {limit['cost']}" for limit in result["limits"])
    table = Table(box=box.SIMPLE_HEAD, title_justify="left")
    table.title = f"{result['dataset']['name']}, at most {limits}"
    for heading in ("architecture", "chosen by"):
        table.add_column(heading)
    costs = list(architectures[0]["costs"])
    for heading in (*costs, "P(y | V)", "loss"):
        table.add_column(heading, justify="right")
    for found in sorted(architectures, key=lambda a: a["stand_alone"]["loss"]["mean"]):
        table.add_row(
            hyphenated(found["widths"]),
            found["chosen_by"],
            *(f"{found['costs'][name]:,}" for name in costs),
            "" if found["probability"] is None else f"{found['probability']:.4f}",
            f"{found['stand_alone']['loss']['mean']:.4f}",
            style="bold" if found is architectures[result["best"]] else None,
        )
    console = _console(110)
    console.print(table)
    lines = [f"selected by the search: {search['selection']}"]
    probabilities = []
    if search["leading"] is not None:  # there is a controller
        lines.append(f"P(V) {search['prob_valid']:.4f}")
        probabilities = search["history"][-1]["probabilities"]
    for i, (widths, row) in enumerate(zip(result["space"]["choices"], probabilities, strict=False), start=1):
        lines.append(f"layer {i}  " + "  ".join(f"{w}: {p:.3f}" for w, p in zip(widths, row, strict=True)))
    lines.append(
        f"{search['epochs']} steps, {search['forward_passes']} evaluations, {search['seconds']:.2f} s;"
        f" files in {os.path.relpath(folder)}"
    )
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


def _console(width: int) -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=width)
