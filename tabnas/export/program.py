"""The found network by torch.export: from encoded rows to answers, without the Python code that it was made by."""

import io

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from tabnas.model import Model
from tabnas.task import Task

INPUTS = ("numerical", "categorical")


class Answering(nn.Module):
    """A model and what its outputs mean."""

    def __init__(self, model: Model, task: Task) -> None:
        super().__init__()
        self.model, self.task = model, task

    def forward(self, numerical: Tensor, categorical: Tensor) -> Tensor:
        """numerical (B, d) float32, categorical ids (B, c) int32 → the task's answers for them, float64."""
        return self.task.answers(self.model(numerical, categorical))


def program(model: Model, task: Task) -> ExportedProgram:
    """Answering for any number of rows."""
    d, c = model.encoder.n_columns
    rows = Dim("rows")
    return torch.export.export(
        Answering(model, task).eval(),
        (torch.zeros(2, d), torch.zeros(2, c, dtype=torch.int32)),
        dynamic_shapes={name: {0: rows} for name in INPUTS},
    )


def packed(made: ExportedProgram) -> bytes:
    """As a .pt2 file, for torch.export.load."""
    file = io.BytesIO()
    torch.export.save(made, file)
    return file.getvalue()
