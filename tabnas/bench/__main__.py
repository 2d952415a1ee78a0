"""The command line of the benches."""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

import tabnas.bench
from tabnas import accelerator
from tabnas.bench.data import data
from tabnas.bench.embedding import embedding
from tabnas.bench.feasibility import feasibility
from tabnas.bench.line import Line
from tabnas.bench.overhead import overhead
from tabnas.bench.replicas import replicas
from tabnas.bench.retrain import retrain
from tabnas.bench.search_ratio import search_ratio
from tabnas.bench.toy import toy
from tabnas.bench.tpu import tpu
from tabnas.errors import UserError

BENCHES: dict[str, Callable[[Path], Iterator[Line]]] = {
    "data": data,
    "embedding": embedding,
    "feasibility": feasibility,
    "overhead": overhead,
    "replicas": replicas,
    "retrain": retrain,
    "search_ratio": search_ratio,
    "toy": toy,
    "tpu": tpu,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the named benches; exit code 1 if a promised figure was not reached, 2 if one cannot be run here."""
    parser = argparse.ArgumentParser(prog="python -m tabnas.bench", description=tabnas.bench.__doc__)
    parser.add_argument("names", nargs="+", choices=sorted(BENCHES), metavar="NAME", help=", ".join(sorted(BENCHES)))
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of a table")
    options = parser.parse_args(arguments)
    if "tpu" in options.names:
        try:
            accelerator.check(1)
        except UserError as error:
            print(f"tabnas: error: {error}", file=sys.stderr)
            return 2
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.names:
            for line in BENCHES[name](Path(folder)):
                lines.append(line)
                if options.json:
                    print(json.dumps(asdict(line)), flush=True)
    if not options.json:
        _show(lines)
    return int(any(line.ok is False for line in lines))


def _show(lines: list[Line]) -> None:
    table = Table()
    for heading in ("bench", "case", "value", "unit", "wanted", ""):
        table.add_column(heading, justify="right" if heading in ("value", "wanted") else "left")
    for line in lines:
        verdict = {True: "ok", False: "missed", None: ""}[line.ok]
        target = "" if line.target is None else f"{line.target:g}"
        table.add_row(line.bench, line.case, f"{line.value:g}", line.unit, target, verdict)
    console = Console()
    (console if console.is_terminal else Console(width=140)).print(table)


if __name__ == "__main__":
    sys.exit(main())
