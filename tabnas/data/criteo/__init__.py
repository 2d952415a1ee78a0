"""Criteo's display advertising data, or made-up rows of the same form, as a Table mapped from a cache on disk."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from tabnas.data.criteo import cache as _cache
from tabnas.data.criteo.build import VERSION, build, read
from tabnas.data.criteo.download import fetch
from tabnas.data.criteo.options import Options
from tabnas.data.criteo.rows import Progress
from tabnas.data.criteo.source import Files, Source, Synthetic
from tabnas.data.table import Table
from tabnas.errors import require_integer

__all__ = ["load", "load_synthetic"]


def load(
    *,
    path: str | Path,
    url: str | None = None,
    sha256: str | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Table:
    """Criteo's data at `path`, built in the cache if it is not there yet.

    path: train.txt, a .gz of it, or a folder of its parts.
    url: where to download it from if there is nothing at `path`.
    sha256: of what is downloaded.
    cache: folder, None for cache.default_folder().
    progress: called with the phase (downloading, reading, categories, numbers, writing), what is done and the total,
        in bytes while downloading and reading, else in rows.
    options: see options.Options.

    Raises UserError for options and files that cannot be used, and where the download fails.
    """
    chosen = Options(**options)
    target = Path(path).expanduser()
    if url is not None and not target.exists():
        fetch(url, target, sha256, progress)
    return _table(Files.at(target), cache, chosen, progress)


def load_synthetic(
    *,
    n_rows: int,
    data_seed: int = 0,
    cache: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Table:
    """`n_rows` rows of made_up.blocks, by the way that the real ones go; progress of the reading is in rows."""
    require_integer("dataset.n_rows", n_rows, low=2, remedy="100000 takes a second")
    require_integer("dataset.data_seed", data_seed, low=0, remedy="any integer will do")
    return _table(Synthetic(n_rows, data_seed), cache, Options(**options), progress)


def _table(source: Source, cache: str | Path | None, options: Options, progress: Progress | None) -> Table:
    folder = _cache.default_folder() if cache is None else Path(cache).expanduser().absolute()
    key = [VERSION, source.identity, asdict(options)]
    return read(_cache.cached(folder, key, partial(build, source, options, progress)), options)
