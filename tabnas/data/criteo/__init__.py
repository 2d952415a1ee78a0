"""Criteo's display advertising data, or made-up rows of the same form, as a Table mapped from a cache on disk."""

from dataclasses import asdict
from functools import partial
from pathlib import Path

from tabnas.data.criteo.build import VERSION, build, read
from tabnas.data.criteo.cache import cached, default_folder
from tabnas.data.criteo.download import fetch
from tabnas.data.criteo.options import Options
from tabnas.data.criteo.rows import Progress
from tabnas.data.criteo.source import Files, Source, Synthetic
from tabnas.data.table import Table
from tabnas.errors import UserError, require_integer

__all__ = ["load", "load_synthetic"]


def load(
    *,
    path: str | Path,
    url: str | None = None,
    sha256: str | None = None,
    cache: str | Path | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.0,
    split_seed: int = 0,
    numerical: str = "log",
    min_count: int = 10,
    hash_buckets: int | None = None,
    on_bad_line: str = "error",
    max_bad_share: float = 0.001,
    progress: Progress | None = None,
) -> Table:
    """Criteo's data at `path`, built in the cache if it is not there yet.

    path: train.txt, a .gz or .tar.gz of it, or a folder of its parts.
    url: where to download it from if there is nothing at `path`.
    sha256: of what is downloaded.
    cache: folder, None for cache.default_folder().
    progress: called with the phase (downloading, reading, categories, numbers, writing), what is done and the total,
        in bytes while downloading, else in rows.
    The others are those of Options.

    Raises UserError for options and files that cannot be used, and where the download fails.
    """
    options = Options(
        val_fraction, test_fraction, split_seed, numerical, min_count, hash_buckets, on_bad_line, max_bad_share
    )
    if not isinstance(path, str | Path) or not str(path):
        raise UserError("dataset.path", "must be a file or folder", path, "set dataset.path=data/criteo/train.txt")
    target = Path(path).expanduser()
    if url is not None and not target.exists():
        fetch(url, target, sha256, progress)
    return _table(Files.at(target), cache, options, progress)


def load_synthetic(
    *,
    n_rows: int,
    data_seed: int = 0,
    cache: str | Path | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.0,
    split_seed: int = 0,
    numerical: str = "log",
    min_count: int = 10,
    hash_buckets: int | None = None,
    progress: Progress | None = None,
) -> Table:
    """The first `n_rows` rows of made_up.blocks, by the way that the real ones go; arguments are those of `load`."""
    require_integer("dataset.n_rows", n_rows, low=2, remedy="100000 takes a second")
    require_integer("dataset.data_seed", data_seed, low=0, remedy="any integer will do")
    options = Options(val_fraction, test_fraction, split_seed, numerical, min_count, hash_buckets)
    return _table(Synthetic(n_rows, data_seed), cache, options, progress)


def _table(source: Source, cache: str | Path | None, options: Options, progress: Progress | None) -> Table:
    folder = default_folder() if cache is None else Path(cache).expanduser().absolute()
    key = [VERSION, source.identity, asdict(options)]
    return read(cached(folder, key, partial(build, source, options, progress)), options)
