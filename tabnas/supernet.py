"""The SuperNet: one network as wide as the widest choices, whose leading units are every candidate (section 3.1).

May import space and network. Shapes: B rows, L hidden layers.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tabnas.network import Network
from tabnas.space import SearchSpace

Region = tuple[slice, ...]
"""The part of a parameter that a child uses: a leading slice in each dimension."""

LAYER_NORM_EPS = 1e-5  # torch.nn.LayerNorm's default, which Network uses


class SuperNet(nn.Module):
    """Weights shared by all architectures of a space: a child of widths w uses the first w_i units of layer i.

    The architecture is an argument of `forward`; nothing is remembered between calls.
    """

    def __init__(self, space: SearchSpace, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.n_inputs, self.n_outputs = n_inputs, n_outputs
        sizes = (n_inputs, *space.largest, n_outputs)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, x: Tensor, widths: Sequence[int] | Tensor, mode: Literal["slice", "mask"] = "slice") -> Tensor:
        """The logits of one child: x (B, n_inputs), L widths → (B, n_outputs).

        mode: "slice" computes with the child's weights only, fastest on CPU and GPU. "mask" computes at full width
        and zeroes what the child lacks, so that shapes never change (XLA compiles once); widths may then be an
        integer tensor, (L,), or (B, L) for a child of each row. Both give the same outputs and the same gradients, zero
        outside the child.
        """
        if mode == "mask":
            return self._masked(x, widths)
        return feedforward(x, self._sliced([int(w) for w in widths]))

    def several(self, x: Tensor, children: Sequence[Sequence[int]]) -> Iterator[Tensor]:
        """The logits of each of several children on the same rows, in turn: x (B, n_inputs) → (B, n_outputs) a child.

        What consecutive children have in common is computed once: their first layers of equal widths, and the next
        layer's products for the widest of them. Sorted children have the most.
        """
        return _descend(
            x, [(layer.weight, layer.bias) for layer in cast(Iterable[nn.Linear], self.layers)], children, 0
        )

    def _sliced(self, widths: Sequence[int]) -> list[Tensor]:
        """The child's weights and biases, as views."""
        layers = cast(Iterable[nn.Linear], self.layers)
        parameters = (p for layer in layers for p in (layer.weight, layer.bias))  # parameters() is three times slower
        return [p[region] for p, region in zip(parameters, self.regions(widths), strict=True)]

    def regions(self, widths: Sequence[int]) -> list[Region]:
        """The child's part of each parameter, in the order of `parameters()`: weight, bias, weight, bias, …"""
        sizes = (self.n_inputs, *widths, self.n_outputs)
        regions: list[Region] = []
        for before, width in itertools.pairwise(sizes):
            regions += [(slice(0, width), slice(0, before)), (slice(0, width),)]
        return regions

    @torch.no_grad()
    def child(self, widths: Sequence[int]) -> Network:
        """A stand-alone copy of the child of these widths, with the same outputs."""
        network = Network(self.n_inputs, widths, self.n_outputs).to(next(self.parameters()))
        for own, shared, region in zip(network.parameters(), self.parameters(), self.regions(widths), strict=True):
            own.copy_(shared[region])
        return network

    def _masked(self, x: Tensor, widths: Sequence[int] | Tensor) -> Tensor:
        widths = torch.as_tensor(widths, device=x.device)
        *hidden, output = self.layers
        for layer, width in zip(hidden, widths[..., None].unbind(-2), strict=True):
            x = layer(x)
            mask = (torch.arange(x.shape[1], device=x.device) < width).to(x)
            mean = (x * mask).sum(dim=1, keepdim=True) / width
            centred = (x - mean) * mask
            variance = centred.square().sum(dim=1, keepdim=True) / width
            x = F.relu(centred * torch.rsqrt(variance + LAYER_NORM_EPS))
        logits: Tensor = output(x)
        return logits


def feedforward(x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Network's computation on given tensors, weight and bias of each layer in turn: x (B, n_inputs) → logits."""
    pairs = list(zip(parameters[::2], parameters[1::2], strict=True))
    for weight, bias in pairs[:-1]:
        x = activated(F.linear(x, weight, bias))
    return F.linear(x, *pairs[-1])


def _descend(
    x: Tensor, layers: Sequence[tuple[Tensor, Tensor]], children: Sequence[Sequence[int]], depth: int
) -> Iterator[Tensor]:
    """The logits of children that are alike in their first `depth` layers, whose activations, or the input, are x."""
    weight, bias = layers[depth]
    if depth == len(layers) - 1:
        outputs = F.linear(x, weight[:, : x.shape[1]], bias)
        yield from (outputs for _ in children)
        return
    widest = max(widths[depth] for widths in children)
    products = F.linear(x, weight[:widest, : x.shape[1]], bias[:widest])
    for width, alike in itertools.groupby(children, key=lambda widths: widths[depth]):
        yield from _descend(activated(products[:, :width]), layers, list(alike), depth + 1)


def activated(x: Tensor) -> Tensor:
    """Layer normalisation over a hidden layer's units, then ReLU: x (B, width)."""
    return torch.relu_(torch.layer_norm(x, x.shape[1:], eps=LAYER_NORM_EPS))
