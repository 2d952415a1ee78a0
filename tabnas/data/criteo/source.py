"""Where the text comes from: a file, a compressed one, a folder of parts, or a generator of rows.

Every source hands out whole lines, some megabytes at a time. Imports tabnas.errors and, of this package, made_up.
"""

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol, cast

from tabnas.data.criteo import made_up
from tabnas.errors import UserError

BLOCK_BYTES = 1 << 23  # a few times this is in memory for each core

_REMEDY = (
    "put train.txt or dac.tar.gz of Criteo's Display Advertising Challenge there, to be had for accepting its terms at"
    " https://ailab.criteo.com, or set dataset.path=FILE, or dataset.url=URL to download it;"
    " dataset=criteo_synthetic makes rows of the same form up"
)


class Block(NamedTuple):
    """Some whole lines."""

    text: bytes
    part: str
    """The file they are from."""
    done: int
    """How much of the source has been read by now, in the unit of Source.size, bytes of the file or rows."""


class Source(Protocol):
    """Text in Criteo's form."""

    @property
    def identity(self) -> list[Any]:
        """What JSON can hold, and changes when the text does."""

    @property
    def size(self) -> int:
        """In a unit of its own."""

    def blocks(self) -> Iterator[Block]:
        """All of the text in order."""


@dataclass(frozen=True)
class Files:
    """One file, or the parts of a folder in the order of their names; .gz and .tar.gz are unpacked on the way."""

    parts: tuple[Path, ...]

    @staticmethod
    def at(path: Path) -> "Files":
        """The file or folder; UserError where there is none."""
        path = path.expanduser().absolute()
        if path.is_dir():
            parts = sorted(part for part in path.iterdir() if part.is_file() and part.name[0] not in "._")
        else:
            parts = [path] if path.is_file() else []
        if not parts:
            rule = "must be Criteo's train.txt, a .gz or .tar.gz of it, or a folder of its parts"
            raise UserError("dataset.path", rule, str(path), _REMEDY)
        return Files(tuple(parts))

    @property
    def identity(self) -> list[Any]:
        return [[str(part), part.stat().st_size, part.stat().st_mtime_ns] for part in self.parts]

    @property
    def size(self) -> int:
        return sum(part.stat().st_size for part in self.parts)

    def blocks(self) -> Iterator[Block]:
        before = 0
        for part in self.parts:
            with part.open("rb") as file:
                try:
                    for text in _whole_lines(part, _unpacked(file)):
                        yield Block(text, str(part), before + file.tell())
                except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError, PermissionError) as error:
                    rule = "must hold intact files that may be read"
                    raise UserError("dataset.path", rule, f"{part}: {error}", "fetch that file again") from None
                before += file.tell()


def _unpacked(file: IO[bytes]) -> IO[bytes]:
    """The text in a file, by what it begins with: gzip, or a tar archive with train.txt such as dac.tar.gz."""
    magic = file.read(2)
    file.seek(0)
    text = cast(IO[bytes], gzip.GzipFile(fileobj=file)) if magic == b"\x1f\x8b" else file
    is_tar = text.read(262)[257:] == b"ustar"
    text.seek(0)
    if not is_tar:
        return text
    with tarfile.open(fileobj=text, mode="r|") as archive:
        for member in archive:
            if Path(member.name).name == "train.txt" and (found := archive.extractfile(member)):
                return found
    raise tarfile.ReadError("an archive without train.txt")


def _whole_lines(part: Path, file: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while more := file.read(BLOCK_BYTES):
        end = more.rfind(b"\n") + 1
        if end:
            yield rest + more[:end]
            rest = more[end:]
        else:
            rest += more
        if len(rest) > max(BLOCK_BYTES, 1 << 20):
            rule = "must be text of one row a line"
            raise UserError("dataset.path", rule, f"{part}: a line of {len(rest):,} bytes", "give Criteo's train.txt")
    if rest:
        yield rest


@dataclass(frozen=True)
class Synthetic:
    """Made-up rows."""

    n_rows: int
    seed: int

    @property
    def identity(self) -> list[Any]:
        return ["synthetic", made_up.VERSION, self.n_rows, self.seed]

    @property
    def size(self) -> int:
        return self.n_rows

    def blocks(self) -> Iterator[Block]:
        for index, text in enumerate(made_up.blocks(self.n_rows, self.seed), 1):
            yield Block(text, "synthetic rows", min(self.n_rows, index * made_up.BLOCK_ROWS))
