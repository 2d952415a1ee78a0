"""The found network as a file: what it takes to use it without the run that made it. May import encoder and network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tabnas.encoder import Encoder
from tabnas.network import Network
from tabnas.trainer import write_whole

FORMAT = 1


class Model(nn.Module):
    """A trained encoder and network. `forward` takes columns as the data module serves them."""

    def __init__(self, encoder: Encoder, network: Network) -> None:
        super().__init__()
        self.encoder, self.network = encoder, network

    def forward(self, numerical: Tensor, categorical: Tensor) -> Tensor:
        """numerical (B, d), categorical (B, c) → logits (B, n_outputs); ValueError for other numbers of columns."""
        given = (numerical.shape[1], categorical.shape[1])
        if given != self.encoder.n_columns:
            raise ValueError(f"expected {self.encoder.n_columns} numerical and categorical columns, got {given}")
        logits: Tensor = self.network(self.encoder(numerical, categorical))
        return logits


def save(
    path: Path,
    state_dict: dict[str, Tensor],
    *,
    n_numerical: int,
    cardinalities: Sequence[int],
    embedding_dim: int,
    widths: Sequence[int],
    dataset: str,
    classes: Sequence[str],
    scaling: dict[str, list[float]] | None,
) -> None:
    """Write a model as plain containers and tensors, loadable with weights_only=True.

    scaling: `mean` and `scale` of each numerical column, which the model expects to be applied already.
    """
    content = {
        "format": FORMAT,
        "n_numerical": n_numerical,
        "cardinalities": list(cardinalities),
        "embedding_dim": embedding_dim,
        "widths": list(widths),
        "dataset": dataset,
        "classes": list(classes),
        "scaling": scaling,
        "state_dict": dict(state_dict),
    }
    write_whole(path, lambda file: torch.save(content, file))


def load(path: Path | str) -> tuple[Model, dict[str, Any]]:
    """The model in evaluation mode, and everything else the file says (widths, classes, scaling, …)."""
    content = torch.load(path, weights_only=True)
    encoder = Encoder(content["n_numerical"], content["cardinalities"], content["embedding_dim"])
    n_classes = len(content["classes"])
    network = Network(encoder.n_inputs, content["widths"], 1 if n_classes == 2 else n_classes)
    model = Model(encoder, network)
    model.load_state_dict(content.pop("state_dict"))
    return model.eval(), content
