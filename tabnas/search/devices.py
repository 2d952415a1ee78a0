"""What the processes of a search exchange. Imports nothing of tabnas. On TPU cores: accelerator."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def summed(tensor: Tensor) -> Tensor:
    """Over all processes, in place. Lightning's `reduce` has them wait for each other first, by a message more."""
    dist.all_reduce(tensor)
    return tensor


def sum_gradients(leaves: Sequence[Tensor]) -> None:
    """Of each leaf over all processes, as one message; 0 where a process has none."""
    flat = summed(
        torch.cat([torch.zeros_like(leaf).view(-1) if leaf.grad is None else leaf.grad.reshape(-1) for leaf in leaves])
    )
    for leaf, gradient in zip(leaves, flat.split([leaf.numel() for leaf in leaves]), strict=True):
        leaf.grad = gradient.view_as(leaf)


def gathered(tensor: Tensor) -> Tensor:
    """The tensors of all processes, of one shape, one after another along the first dimension."""
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)
