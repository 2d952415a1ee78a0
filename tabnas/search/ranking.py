"""One-shot losses of many architectures, which share every layer whose input they have in common."""

from collections.abc import Callable, Sequence

import torch

from tabnas.data.table import Rows
from tabnas.encoder import Encoder
from tabnas.space import Widths
from tabnas.supernet import SuperNet
from tabnas.task import Task

ROWS_AT_ONCE = 1024  # of a forward pass, whose layers then stay in a processor's cache


@torch.no_grad()
def losses_of(
    children: Sequence[Widths],
    rows: Rows,
    encoder: Encoder,
    supernet: SuperNet,
    task: Task,
    *,
    device: torch.device,
    on_ranked: Callable[[float], None] | None = None,
) -> list[float]:
    """Mean loss of each child on `rows`, with the SuperNet's weights.

    device: where encoder and supernet are. on_ranked: told how many more children, in part, have been seen.
    """
    if not children:
        return []
    order = sorted(range(len(children)), key=lambda i: children[i])
    ordered = [children[i] for i in order]
    losses, total = [0.0] * len(children), 0.0
    parts = rows.split(ROWS_AT_ONCE)
    for part in parts:
        part = part.map(lambda column: column.to(device))
        share = part.n_rows if part.weight is None else float(part.weight.sum())
        x = encoder(part.numerical, part.categorical)
        for i, outputs in zip(order, supernet.several(x, ordered), strict=True):
            losses[i] += share * float(task.loss(outputs, part.target, part.weight))
        total += share
        if on_ranked is not None:
            on_ranked(len(children) / len(parts))
    return [loss / total for loss in losses]
