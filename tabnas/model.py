"""The found network as a file: what it takes to use it without the run that made it.

May import encoder, network, task and trainer.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tabnas.encoder import Encoder
from tabnas.network import Network
from tabnas.task import Classification, Regression, Task
from tabnas.trainer import write_whole

FORMAT = 2


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
    numerical_embedding: dict[str, Any] | None,
    widths: Sequence[int],
    dataset: str,
    task: Task,
    encoding: dict[str, Any] | None,
) -> None:
    """Write a model as plain containers and tensors, loadable with weights_only=True.

    numerical_embedding: what tabnas.numerical.fitted made.
    encoding: of the columns, which the model expects to be applied already.
    """
    content = {
        "format": FORMAT,
        "n_numerical": n_numerical,
        "cardinalities": list(cardinalities),
        "embedding_dim": embedding_dim,
        "numerical_embedding": numerical_embedding,
        "widths": list(widths),
        "dataset": dataset,
        "task": task.name,
        **{name: list(value) if isinstance(value, tuple) else value for name, value in asdict(task).items()},
        "encoding": encoding,
        "state_dict": dict(state_dict),
    }
    write_whole(path, lambda file: torch.save(content, file))


def load(path: Path | str) -> tuple[Model, dict[str, Any]]:
    """The model in evaluation mode, and everything else the file says (widths, task, classes, encoding, …)."""
    content = torch.load(path, weights_only=True)
    columns = (content["n_numerical"], content["cardinalities"], content["embedding_dim"])
    encoder = Encoder(*columns, numerical=content["numerical_embedding"])
    task = (
        Classification(tuple(content["classes"]))
        if "classes" in content
        else Regression(content["mean"], content["std"])
    )
    network = Network(encoder.n_inputs, content["widths"], task.n_outputs)
    model = Model(encoder, network)
    model.load_state_dict(content.pop("state_dict"))
    return model.eval(), content
