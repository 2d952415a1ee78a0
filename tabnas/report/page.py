"""From a folder to its report.html."""

import os
from functools import cache
from pathlib import Path

from filelock import FileLock
from jinja2 import Environment, PackageLoader, StrictUndefined, TemplateError

from tabnas.errors import UserError
from tabnas.report import run, source, sweep, words
from tabnas.report.source import PAGE

LOCK = ".report.lock"
"""In a folder of runs: its jobs may end at the same time, on several machines, and the last page must show them all."""


def write(folder: Path) -> Path:
    """Make the page of a run, or of a folder of runs, in it; its path. UserError where the folder has no results."""
    if source.is_run(folder):
        return _write(folder)
    if not source.holds_runs(folder):
        rule = f"must be the folder of a run (with {source.FILE} in it), or one that holds runs' folders"
        raise UserError("DIR", rule, str(folder), "see outputs/")
    try:
        with FileLock(folder / LOCK):
            return _write(folder)
    except OSError as error:
        raise UserError("DIR", "must be a folder that can be written", str(folder), str(error)) from error


def _write(folder: Path) -> Path:
    if source.is_run(folder):
        template, tell = "run.html", lambda: run.tell(source.read(folder), folder.resolve().name)
    else:
        template, tell = "sweep.html", lambda: sweep.tell(source.jobs(folder), folder.resolve().name)
    try:
        text = _environment().get_template(template).render(tell())
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, TemplateError) as error:
        told = f"{type(error).__name__}: {error}"
        remedy = "run it again with this version of tabnas"
        raise UserError(str(folder), "must have results as a run writes them", told, remedy) from error
    path = folder / PAGE
    partial = path.with_name(f"{PAGE}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise UserError("DIR", "must be a folder that can be written", str(folder), str(error)) from error
    return path


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("tabnas.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.globals["words"] = words
    return made
