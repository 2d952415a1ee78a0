"""One process at a time. Imports nothing of tabnas."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)


@contextmanager
def locked(lock: Path, made: Path) -> Iterator[None]:
    """Hold the lock on making `made`, which is freed when its process ends, however that happens; waits for it.

    lock: a file, which stays.
    """
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        log.warning("another job is making %s: waiting for it", made)
        held.acquire()
    try:
        yield
    finally:
        held.release()
