"""One architecture, stand-alone: the reference the SuperNet is tested against. Imports nothing of tabnas."""

from collections.abc import Sequence

from torch import Tensor, nn


class Network(nn.Sequential):
    """Feed-forward network: per hidden layer linear → layer normalisation → ReLU, then a linear output layer.

    Departure: layer normalisation, which the paper does not place, is before the ReLU, and has no learned scale or
    shift, as the paper's parameter counts leave no room for them.

    >>> sum(p.numel() for p in Network(1027, (32, 144, 24), 1).parameters())
    41153
    """

    def __init__(self, n_inputs: int, widths: Sequence[int], n_outputs: int) -> None:
        sizes = (n_inputs, *widths)
        hidden = [
            module
            for before, width in zip(sizes, widths, strict=False)
            for module in (nn.Linear(before, width), nn.LayerNorm(width, elementwise_affine=False), nn.ReLU())
        ]
        super().__init__(*hidden, nn.Linear(sizes[-1], n_outputs))

    @property
    def linears(self) -> list[nn.Linear]:
        """The L + 1 linear layers, input side first."""
        return [module for module in self if isinstance(module, nn.Linear)]

    def forward(self, x: Tensor) -> Tensor:
        """x (B, n_inputs) → logits (B, n_outputs)."""
        return super().forward(x)  # type: ignore[no-any-return]
