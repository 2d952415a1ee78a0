"""Fetching a large file by HTTP: taken up where it broke off, checked, and put in place whole.

Imports tabnas.errors and lock of this package.
"""

import hashlib
import http.client
import json
import logging
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tabnas.data.criteo.lock import locked
from tabnas.errors import UserError

log = logging.getLogger(__name__)

ATTEMPTS = 5  # in a row that bring nothing
PAUSE_SECONDS = 1.0  # before the second, doubled each time
_PIECE = 1 << 20


class _Rejected(Exception):
    """The server's answer that no further attempt will change."""


def fetch(url: str, path: Path, sha256: str | None, progress: Callable[[str, int, int], None] | None) -> None:
    """Fetch `url` to `path`, over a hidden `.part` file beside it, with which a later call goes on.

    sha256: hexadecimal, of the whole file; None leaves it unchecked.
    progress: called with "downloading", the bytes there and their number, 0 if it is unknown.

    Raises UserError if it cannot be had or is not what `sha256` says.
    """
    if not re.match(r"https?://", url):
        raise UserError("dataset.url", "must begin with http:// or https://", url, "give the address of a file")
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", str(sha256)):
        raise UserError("dataset.sha256", "must be 64 hexadecimal digits", sha256, "see `sha256sum FILE`, or set null")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        rule = f"must be where a file can be made ({error.strerror})"
        raise UserError("dataset.path", rule, str(path), "choose another place") from None
    part = path.with_name(f".{path.name}.part")  # hidden, so that it is no part of a folder of parts
    with locked(path.with_name(f".{path.name}.lock"), path):
        if path.exists():  # by another job in the meantime
            return
        _receive_all(url, part, progress)
        if sha256 is not None:
            with part.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != sha256.lower():
                part.unlink()
                _validator(part).unlink(missing_ok=True)
                rule = f"must be the checksum of what is at {url}, {found}"
                raise UserError("dataset.sha256", rule, sha256, "download again, or correct it")
        part.rename(path)
        _validator(part).unlink(missing_ok=True)


def _validator(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _receive_all(url: str, part: Path, progress: Callable[[str, int, int], None] | None) -> None:
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _receive(url, part, before, progress):
                return
            reason = "the connection broke off"
        except _Rejected as error:
            raise _unavailable(url, str(error)) from None
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error) or type(error).__name__)
        failures = 0 if part.exists() and part.stat().st_size > before else failures + 1
        if failures == ATTEMPTS:
            raise _unavailable(url, reason)
        log.warning("%s: %s; trying again", url, reason)
        time.sleep(PAUSE_SECONDS * 2 ** max(failures - 1, 0))


def _receive(url: str, part: Path, have: int, progress: Callable[[str, int, int], None] | None) -> bool:
    """One request, for what is missing; whether all of it is there now."""
    validator = json.loads(_validator(part).read_text()) if have and _validator(part).exists() else None
    headers = {"Range": f"bytes={have}-", "If-Range": validator} if validator else {}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:  # nothing is missing, or the file became shorter
                if error.headers.get("Content-Range") == f"bytes */{have}":
                    return True
                part.unlink(missing_ok=True)
                return False
            answered = f"the server answered {error.code} {error.reason}"
            raise (_Rejected if error.code < 500 else OSError)(answered) from None
    with answer:
        resumed = answer.status == 206 and str(answer.headers.get("Content-Range")).startswith(f"bytes {have}-")
        done = have if resumed else 0
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length is not None else 0
        etag = answer.headers.get("ETag")
        strong = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")
        _validator(part).write_text(json.dumps(strong))
        with part.open("ab" if resumed else "wb") as file:
            while piece := answer.read(_PIECE):
                file.write(piece)
                done += len(piece)
                if progress:
                    progress("downloading", done, total)
    return length is None or done == total


def _unavailable(url: str, reason: str) -> UserError:
    remedy = "correct it, or download the file another way and set dataset.path; what has arrived is kept"
    return UserError("dataset.url", f"must be the address of Criteo's data ({reason})", url, remedy)
