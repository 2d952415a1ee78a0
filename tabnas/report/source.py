"""Result files, as old, cut short or wrong as they may be."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tabnas.errors import UserError

FILE = "result.json"
PAGE = "report.html"
STUDY = "study.json"
VERSION = 1
TOY = "known losses"
"""The task of toy runs, whose results are of another form."""
REQUIRED = {"config", "dataset", "space", "limits", "search", "architectures", "best"}

Result = dict[str, Any]
"""The content of result.json."""


@dataclass(frozen=True)
class Job:
    """One run of a folder of runs."""

    name: str
    folder: Path
    result: Result | None
    problem: str = ""
    """Why there is no result."""

    @property
    def page(self) -> str | None:
        """Of its own, where there is one: a link within the folder of runs."""
        return f"{quote(self.name)}/{PAGE}" if (self.folder / PAGE).is_file() else None


def read(folder: Path) -> Result:
    """The result of a run. UserError where there is none that a report can be made of."""
    path = folder / FILE
    remedy = "run it again with this version of tabnas"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(str(path), "must be a result as a run writes it", str(error), remedy) from error
    if not isinstance(found, dict) or found.get("version") != VERSION:
        version = found.get("version") if isinstance(found, dict) else type(found).__name__
        raise UserError(str(path), f"must be a result of version {VERSION}", version, remedy)
    if absent := sorted(REQUIRED - set(found)):
        raise UserError(str(path), "must be a whole result", f"none of {', '.join(absent)}", remedy)
    if isinstance(found["dataset"], dict) and found["dataset"].get("task") == TOY:
        rule = "must be the result of a search on a table"
        raise UserError(str(path), rule, "dataset=toy", "a toy run prints all it has; its studies leave figures")
    return found


def jobs(folder: Path) -> list[Job]:
    """The runs that a folder holds, finished or not, in natural order of their names."""
    return [_job(child) for child in sorted(filter(_was_run, folder.iterdir()), key=_natural)]


def holds_runs(folder: Path) -> bool:
    return folder.is_dir() and any(map(_was_run, folder.iterdir()))


def is_run(folder: Path) -> bool:
    return (folder / FILE).is_file()


def _was_run(folder: Path) -> bool:
    return is_run(folder) or (folder / "run.yaml").is_file() or (folder / ".hydra").is_dir()


def _job(folder: Path) -> Job:
    if is_run(folder):
        try:
            return Job(folder.name, folder, read(folder))
        except UserError as error:
            return Job(folder.name, folder, None, str(error))
    if (folder / STUDY).is_file():
        return Job(folder.name, folder, None, "a study, which is told of in its study.md")
    if (folder / "run.yaml").is_file():
        return Job(folder.name, folder, None, "running, or stopped before its end; resume goes on with it")
    return Job(folder.name, folder, None, "ended before it began; its log says why")


def _natural(path: Path) -> tuple[int, int, str]:
    """Numbers in their order, before other names."""
    return (0, int(path.name), "") if path.name.isdecimal() else (1, 0, path.name)
