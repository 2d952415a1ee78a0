"""Table columns → input representation of the network. Imports nothing of tabnas.

Shapes: B rows, d numerical and c categorical columns, n_inputs = d + c · embedding_dim.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Encoder(nn.Module):
    """Numerical columns as they come, then one learned embedding per categorical column (the paper's Table 1).

    n_numerical: d.
    cardinalities: number of values of each of the c categorical columns.
    embedding_dim: size of each embedding (39 for Criteo, 2 for Connect-4).
    """

    def __init__(self, n_numerical: int, cardinalities: Sequence[int], embedding_dim: int) -> None:
        super().__init__()
        self.n_columns = (n_numerical, len(cardinalities))
        self.n_inputs = n_numerical + len(cardinalities) * embedding_dim
        starts = torch.tensor([0, *cardinalities], dtype=torch.int64).cumsum(0)
        self.register_buffer("offsets", starts[:-1], persistent=False)
        self.offsets: Tensor
        self.embedding = nn.Embedding(int(starts[-1]), embedding_dim) if cardinalities else None

    def forward(self, numerical: Tensor, categorical: Tensor) -> Tensor:
        """numerical (B, d) float, categorical (B, c) integer ids from 0 within each column → (B, n_inputs)."""
        if self.embedding is None:
            return numerical
        # The same as self.embedding(ids), whose backward takes several times as long on a CPU.
        ids = categorical + self.offsets
        embedded = self.embedding.weight.index_select(0, ids.flatten()).view(len(ids), -1)
        return torch.cat([numerical, embedded], dim=1) if numerical.shape[1] else embedded
