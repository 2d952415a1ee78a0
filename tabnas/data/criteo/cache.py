"""Folders that are made once: whole or not at all, by one process while others wait, and checked when used.

A folder lies in the cache under a name made of its key. It is made under another name, its files are listed with size
and checksum, and it is renamed: a killed process leaves a `.partial` folder, which is removed at the next occasion. A
checksum is computed again only if a file's size, times or inode are not those of the last check, so that gigabytes
are read once. Any program that writes to a file changes these; a disk that decays without notice is not found out.

Imports tabnas.errors and lock of this package.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tabnas.data.criteo.lock import locked
from tabnas.errors import UserError

log = logging.getLogger(__name__)

_LIST, _CHECKED = "files.json", "checked.json"
_PIECE = 1 << 22


def default_folder() -> Path:
    """Where the tables are kept: tabnas/criteo in $XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tabnas" / "criteo"


def cached(cache: Path, key: Any, build: Callable[[Path], None]) -> Path:
    """The folder of `key`, built if it is not there, is not whole, or was changed.

    key: what JSON can hold.
    build: fills the empty folder that it is given.

    Raises UserError where the cache cannot be written to.
    """
    folder = cache / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    if folder.exists() and _damage(folder) is None:
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_suffix(".lock"), folder):
            if folder.exists():
                damage = _damage(folder)
                if damage is None:
                    return folder
                log.warning("%s is damaged (%s) and is built again", folder, damage)
                shutil.rmtree(folder)
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            _remove_abandoned(cache)
            partial.mkdir()
            try:
                build(partial)
                _seal(partial)
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise
        rule = f"must be a folder to write to, with room for twice the unpacked text ({error.strerror})"
        raise UserError("dataset.cache", rule, str(cache), "set dataset.cache=FOLDER to another") from None
    return folder


def _remove_abandoned(cache: Path) -> None:
    """Remove what killed processes left."""
    for partial in cache.glob("*.partial"):
        try:
            with FileLock(partial.with_suffix(".lock"), timeout=0):
                log.info("%s was left by a job that did not finish and is removed", partial)
                shutil.rmtree(partial, ignore_errors=True)
        except Timeout:
            pass


def _seal(folder: Path) -> None:
    """List all files with size and checksum, and see to it that they are on disk."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    listed = {}
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
        listed[str(path.relative_to(folder))] = [path.stat().st_size, _checksum(path)]
    with (folder / _LIST).open("w") as file:
        json.dump({"files": listed, "checksum": _checksum_of_list(listed)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    _note_checked(folder, listed)


def _damage(folder: Path) -> str | None:
    """What is wrong with a sealed folder, None if nothing."""
    try:
        found = json.loads((folder / _LIST).read_text())
        listed = found["files"]
        if found["checksum"] != _checksum_of_list(listed):
            return f"{_LIST} has not its checksum"
        if _read_checked(folder) == _states(folder, listed):
            return None
        for name, (size, checksum) in listed.items():
            if (folder / name).stat().st_size != size:
                return f"{name} has not its size of {size:,} bytes"
            if _checksum(folder / name) != checksum:
                return f"{name} has not its checksum"
        _note_checked(folder, listed)
    except (OSError, LookupError, ValueError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            checksum = zlib.crc32(piece, checksum)
    return checksum


def _checksum_of_list(listed: Any) -> int:
    return zlib.crc32(json.dumps(listed, sort_keys=True).encode())


def _states(folder: Path, names: Any) -> dict[str, list[int]]:
    """What changes whenever a file does, without reading it."""
    states = {}
    for name in [_LIST, *names]:
        stat = (folder / name).stat()
        states[name] = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    return states


def _read_checked(folder: Path) -> Any:
    try:
        return json.loads((folder / _CHECKED).read_text())
    except (OSError, ValueError):
        return None


def _note_checked(folder: Path, names: Any) -> None:
    temporary = folder / f"{_CHECKED}.{os.getpid()}"
    try:
        temporary.write_text(json.dumps(_states(folder, names)))
        temporary.replace(folder / _CHECKED)
    except OSError:
        pass  # a cache that one may only read is checked each time
