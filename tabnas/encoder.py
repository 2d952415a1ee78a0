"""Table columns → input representation of the network. Imports nothing of tabnas but numerical.

Shapes: B rows, d numerical and c categorical columns, V ids in all of them together.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from tabnas.numerical import embedding


class Lookup(NamedTuple):
    """The embedding vectors that a minibatch uses."""

    rows: Tensor
    """(u,) int64: their rows in the embedding table, each once."""
    positions: Tensor
    """(B · c,) int32: for each cell of the minibatch, where in `rows` its vector is."""


class Encoder(nn.Module):
    """Numerical columns, as they come or embedded, then one learned embedding per categorical column (Table 1).

    n_numerical: d.
    cardinalities: number of ids of each of the c categorical columns.
    embedding_dim: size of each categorical column's embedding (39 for Criteo, 2 for Connect-4).
    sparse: whether a training step is to touch only the embedding vectors its minibatch uses; see `lookup`. Departure:
        so it does on Criteo, where the paper's Adam is dense.
    unseen: an id that training rows do not have, in every categorical column. Its vector is 0, so that it says
        nothing; it is never trained.
    numerical: what tabnas.numerical.fitted made; None leaves numerical columns as they are.
    """

    def __init__(
        self,
        n_numerical: int,
        cardinalities: Sequence[int],
        embedding_dim: int,
        *,
        sparse: bool = False,
        unseen: int | None = None,
        numerical: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.n_columns = (n_numerical, len(cardinalities))
        starts = torch.tensor([0, *cardinalities], dtype=torch.int64).cumsum(0)
        self.register_buffer("offsets", starts[:-1].clone(), persistent=False)
        self.offsets: Tensor
        self.embedding = nn.Embedding(int(starts[-1]), embedding_dim) if cardinalities else None
        if self.embedding is not None and unseen is not None:
            self.embedding.weight.data[self.offsets + unseen] = 0.0
        self.numerical: nn.Module | None = (
            None if numerical is None or not n_numerical else embedding(numerical, n_numerical)
        )
        per_numerical = 1 if self.numerical is None else int(cast(Any, self.numerical).get_output_shape()[1])
        self.n_inputs = n_numerical * per_numerical + len(cardinalities) * embedding_dim
        self._n_parameters = len(list(self.parameters()))  # the embedding table is the first
        self.sparse = sparse and self.embedding is not None
        if self.sparse:
            self.register_buffer("_last_cell", torch.zeros(int(starts[-1]), dtype=torch.int32), persistent=False)
            self._last_cell: Tensor

    def forward(self, numerical: Tensor, categorical: Tensor, used: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """numerical (B, d) float, categorical (B, c) integer ids from 0 within each column → (B, n_inputs).

        used: the vectors (u, embedding_dim) of a Lookup's rows and its positions, in place of the embedding table.
        """
        if self.numerical is not None:
            numerical = self.numerical(numerical).flatten(1)
        if self.embedding is None:
            return numerical
        if used is None:
            used = self.embedding.weight, (categorical + self.offsets).flatten()
        # The same as self.embedding(ids), whose backward takes several times as long on a CPU.
        embedded = used[0].index_select(0, used[1]).view(categorical.shape[0], categorical.shape[1] * used[0].shape[1])
        return torch.cat([numerical, embedded], dim=1) if numerical.shape[1] else embedded

    @torch.no_grad()
    def lookup(self, categorical: Tensor) -> Lookup | None:
        """What ids (B, c) use of the embedding table; None unless `sparse`. Time grows with B · c, not with V."""
        if not self.sparse:
            return None
        cells = (categorical + self.offsets).flatten()
        numbers = torch.arange(len(cells), dtype=torch.int32, device=cells.device)
        # Every row keeps the number of one of its cells, which then stands for all of them: no sorting.
        self._last_cell.index_copy_(0, cells, numbers)
        chosen = self._last_cell.index_select(0, cells)
        stands = chosen == numbers
        positions = (stands.cumsum(0, dtype=torch.int32) - 1).index_select(0, chosen)
        return Lookup(cells[stands], positions)

    def regions(self, lookup: Lookup | None) -> list[Tensor | None]:
        """Of each parameter, in order, the rows that a step is to update; None for all of it."""
        rest: list[Tensor | None] = [None] * (self._n_parameters - 1)
        return [None if lookup is None else lookup.rows, *rest] if self._n_parameters else []
