"""From a study to its files, and what the terminal shows of them. May import protocol, progress and trainer."""

import json
import logging
import os
import time
from typing import Any

from rich.console import Console
from rich.table import Table

from tabnas.progress import Display
from tabnas.study.protocol import Study
from tabnas.trainer import write_whole

log = logging.getLogger(__name__)

FILE, TABLES = "study.json", "study.md"
"""What a study leaves in place of result.json, beside its figures."""
SECONDS = "seconds.txt"
"""What a study with jobs has taken so far, in all sessions, until it ends."""
PIPE_WIDTH = 160


def run_study(study: Study, setup: Any, about: dict[str, Any], started: float) -> dict[str, Any]:
    """The study: its files, and its tables on the terminal. Returns study.json's content.

    about: the part of it that says what was asked. started: time.perf_counter() at the start.
    """
    folder, path = setup.folder, setup.folder / FILE
    if path.exists():
        log.warning("resume: this study had finished; nothing was searched")
        found: dict[str, Any] = json.loads(path.read_text())
    else:
        so_far = folder / SECONDS
        started -= float(so_far.read_text()) if so_far.exists() else 0.0
        with Display() as display:
            display.speed_estimate_period = 3600  # jobs take seconds to minutes
            show = display.phase("study", "steps" if study.known_losses else "jobs")

            def progress(done: int, total: int) -> None:
                show(done, total)
                if not study.known_losses:  # which begins anew when resumed
                    text = f"{time.perf_counter() - started:.1f}"
                    write_whole(so_far, lambda file: file.write(text.encode()))

            outcome = study.run(setup, progress)
        seconds = {"total": time.perf_counter() - started}
        found = {"version": 1, "study": study.name, "seconds": seconds, **about, **outcome}
        study.write(found, setup)
        text = "\n\n".join(map(markdown, study.tables(found)))
        write_whole(folder / TABLES, lambda file: file.write(f"{text}\n".encode()))
        text = json.dumps(found, indent=1, allow_nan=False)
        write_whole(path, lambda file: file.write(text.encode()))
        so_far.unlink(missing_ok=True)
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH)
    for table in study.tables(found):
        console.print(table)
    where = os.path.relpath(folder)
    console.print(f"{found['seconds']['total']:.0f} s; figures and tables in {where}", soft_wrap=True, highlight=False)
    return found


def markdown(table: Table) -> str:
    """A table as GitHub's Markdown has it: title, header, rows, caption."""
    columns = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    rows = [
        "| " + " | ".join(" ".join(cell.replace("|", r"\|").split()) for cell in row) + " |"
        for row in zip(*columns, strict=True)
    ]
    line = "|" + "|".join("---:" if column.justify == "right" else "---" for column in table.columns) + "|"
    parts = [f"**{table.title}**" if table.title else "", "\n".join([rows[0], line, *rows[1:]])]
    parts.append(" ".join(str(table.caption).split()) if table.caption else "")
    return "\n\n".join(part for part in parts if part)
