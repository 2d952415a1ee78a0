"""The controller: one softmax per hidden layer, factorized (the paper's section 2). May import space.

Shapes: L hidden layers, C the largest number of choices; logits of layers with fewer are padded with -inf.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tabnas.space import SearchSpace


class Controller(nn.Module):
    """Holds the (L, C) logits, zero at the start, so that every architecture is as likely as any other."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(space.mask.shape).masked_fill(~space.mask, -torch.inf))

    def log_prob(self, indices: Sequence[int] | Tensor) -> Tensor:
        """log P(y) of one architecture by its L choice indices: scalar, differentiable."""
        one = torch.as_tensor(indices, device=self.logits.device).unsqueeze(0)
        return log_prob(self.logits, one)[0]

    @torch.no_grad()
    def probabilities(self) -> Tensor:
        """p_ij, (L, C); 0 where padded."""
        return self.logits.softmax(dim=1)

    @torch.no_grad()
    def entropy(self) -> Tensor:
        """Entropy of each layer's distribution in nats, (L,), from ln C_i at the start to 0."""
        terms: Tensor = torch.special.entr(self.probabilities())
        return terms.sum(dim=1)


def log_prob(logits: Tensor, indices: Tensor) -> Tensor:
    """log P(y) under independent softmaxes: logits (..., L, C), indices (..., n, L) int64 → (..., n), differentiable.

    Leading dimensions are independent controllers; indices without them are shared by all.

    >>> log_prob(torch.zeros(2, 4), torch.tensor([[0, 3]])).exp()
    tensor([0.0625])
    """
    index = indices.transpose(-1, -2).expand(*logits.shape[:-1], -1)
    chosen: Tensor = logits.log_softmax(dim=-1).gather(-1, index)
    return chosen.sum(dim=-2)


def onehot_mean(indices: Tensor, weights: Tensor, like: Tensor) -> Tensor:
    """Σ_k weights_k · onehot(indices_k): indices (..., n, L), weights (..., n) → (..., L, C), as `like`."""
    table = torch.zeros_like(like)
    index = indices.transpose(-1, -2).expand(*like.shape[:-1], -1)
    return table.scatter_add_(-1, index, weights.unsqueeze(-2).expand_as(index).to(like))


def gumbel(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Gumbel noise on the host: argmax over choices of logits + noise is a draw from their softmax."""
    return -torch.empty(*shape).exponential_(generator=generator).log()


def sample(logits: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n independent architectures from P(y): logits (..., L, C) → choice indices (..., n, L) int64."""
    noise = gumbel((*logits.shape[:-2], n, *logits.shape[-2:]), generator)
    return (logits.detach().unsqueeze(-3) + noise.to(logits)).argmax(dim=-1)
