"""Embeddings of numerical columns (Gorishniy et al., "On Embeddings for Numerical Features in Tabular Deep Learning",
NeurIPS 2022), by the authors' package rtdl_num_embeddings.

A fitted embedding is a plain dict, so that it can be kept in a file: its settings and, for a piecewise-linear one, the
bins of each column. Shapes: n rows, d numerical columns.
"""

import warnings
from collections.abc import Mapping
from typing import Any, cast

import torch
from rtdl_num_embeddings import PeriodicEmbeddings, PiecewiseLinearEmbeddings, compute_bins
from torch import Tensor, nn

from tabnas.errors import UserError, require_integer, require_number, require_one_of, unknown

KEY = "dataset.numerical_embedding"
DEFAULTS: dict[str, dict[str, Any]] = {
    "piecewise_linear": {"dim": 8, "n_bins": 16},
    "periodic": {"dim": 8, "n_frequencies": 16, "frequency_scale": 0.05},
}
FITTED_ROWS = 1_000_000  # rows whose quantiles give the bins


def fitted(settings: Mapping[str, Any] | None, values: Tensor) -> dict[str, Any] | None:
    """Check settings and fit them to the training split's values (n, d); None where there is nothing to embed.

    settings: `kind`, "piecewise_linear" (dim, n_bins: quantiles of the training split) or "periodic" (dim,
        n_frequencies, frequency_scale: deviation of the initial frequencies); dim is the size of a column's embedding.
    """
    if settings is None or not values.shape[1]:
        return None
    if not isinstance(settings, Mapping) or "kind" not in settings:
        raise UserError(KEY, f"must be null or have a kind, one of {', '.join(DEFAULTS)}", settings, "give {kind: …}")
    kind = settings["kind"]
    require_one_of(f"{KEY}.kind", kind, DEFAULTS)
    for name in settings:
        if name not in ("kind", *DEFAULTS[kind]):
            raise unknown(f"{KEY}.{name}", name, DEFAULTS[kind])
    spec: dict[str, Any] = {**DEFAULTS[kind], **settings}
    require_integer(f"{KEY}.dim", spec["dim"], low=1, high=1024, remedy="8 is a good choice")
    if kind == "periodic":
        require_integer(f"{KEY}.n_frequencies", spec["n_frequencies"], low=1, high=4096, remedy="try 16")
        require_number(f"{KEY}.frequency_scale", spec["frequency_scale"], low=0, open_low=True, remedy="try 0.05")
        return spec
    require_integer(f"{KEY}.n_bins", spec["n_bins"], low=2, high=min(4096, len(values) - 1), remedy="try 16")
    step = -(-len(values) // FITTED_ROWS)
    return {**spec, "bins": [_bins(column, spec["n_bins"]) for column in values[::step].T]}


def embedding(spec: Mapping[str, Any], n_numerical: int) -> nn.Module:
    """The module for what `fitted` returned, freshly initialised: (B, d) → (B, d, dim)."""
    if spec["kind"] == "periodic":
        module: nn.Module = PeriodicEmbeddings(
            n_numerical,
            spec["dim"],
            n_frequencies=spec["n_frequencies"],
            frequency_init_scale=spec["frequency_scale"],
            activation=True,
            lite=False,
        )
        return module
    bins = [torch.tensor(edges) for edges in spec["bins"]]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*two bin edges.*")  # a column of few values has few bins
        return cast(nn.Module, PiecewiseLinearEmbeddings(bins, spec["dim"], activation=False, version="B"))


def _bins(column: Tensor, n_bins: int) -> list[float]:
    """Edges of the bins of a column (n,): quantiles, each once."""
    low, high = float(column.min()), float(column.max())
    if low == high:
        return [low, low + 1.0]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*two bin edges.*")
        edges: list[float] = compute_bins(column[:, None].contiguous(), n_bins)[0].tolist()
    return edges
