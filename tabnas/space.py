"""What can be searched: one list of widths per hidden layer. Knows no algorithm and imports nothing but errors.

Shapes: L hidden layers, C the largest number of choices of any layer.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from tabnas.errors import UserError

Widths = tuple[int, ...]
"""The widths of the L hidden layers, input side first: the paper's 32-144-24 is (32, 144, 24)."""


def hyphenated(widths: Sequence[int]) -> str:
    """The paper's notation.

    >>> hyphenated((32, 144, 24))
    '32-144-24'
    """
    return "-".join(map(str, widths))


class SearchSpace:
    """The factorized space of the paper's section 2: layer i takes one of its own C_i widths.

    choices: per hidden layer, its widths, positive and without repetition; layers may differ in length.

    Raises UserError (key `space.choices`) for anything else.

    >>> space = SearchSpace([[2, 3, 4], [2, 4]])
    >>> space.size, space.n_layers, space.widths([2, 0]), space.largest
    (6, 2, (4, 2), (4, 4))
    """

    def __init__(self, choices: Sequence[Sequence[int]]) -> None:
        self.choices: tuple[Widths, ...] = _checked(choices)
        self.n_layers = len(self.choices)
        self.n_choices = tuple(len(layer) for layer in self.choices)  # C_i
        self.size = math.prod(self.n_choices)
        self.largest: Widths = tuple(max(layer) for layer in self.choices)
        self.smallest: Widths = tuple(min(layer) for layer in self.choices)
        self.mask = torch.zeros(self.n_layers, max(self.n_choices), dtype=torch.bool)
        """(L, C) bool: which entries of the padded logits are choices."""
        self.table = torch.zeros(self.n_layers, max(self.n_choices), dtype=torch.int64)
        """(L, C) int64: widths by layer and choice index, 0 where padded."""
        for i, layer in enumerate(self.choices):
            self.mask[i, : len(layer)] = True
            self.table[i, : len(layer)] = torch.tensor(layer)

    def widths(self, indices: Sequence[int]) -> Widths:
        """The widths chosen by L choice indices."""
        return tuple(layer[j] for layer, j in zip(self.choices, indices, strict=True))

    def indices(self, widths: Sequence[int]) -> tuple[int, ...]:
        """The L choice indices of an architecture; ValueError if it is not in the space."""
        return tuple(layer.index(w) for layer, w in zip(self.choices, widths, strict=True))

    def gather_widths(self, indices: Tensor) -> Tensor:
        """Widths of many architectures: indices (n, L) int64 → widths (n, L) int64."""
        return self.table.to(indices.device).gather(1, indices.T).T

    def __iter__(self) -> Iterator[Widths]:
        """Every architecture, the last layer's choice running fastest."""
        return itertools.product(*self.choices)

    def __repr__(self) -> str:
        return f"SearchSpace({[list(layer) for layer in self.choices]})"


def _checked(choices: Sequence[Sequence[int]]) -> tuple[Widths, ...]:
    key, remedy = "space.choices", "give one list of widths per hidden layer, such as [[8,16,32],[8,16,32]]"
    if isinstance(choices, str) or not isinstance(choices, Sequence) or not choices:
        raise UserError(key, "must be a non-empty list with one list of widths per hidden layer", choices, remedy)
    for i, layer in enumerate(choices):
        if isinstance(layer, str) or not isinstance(layer, Sequence) or not layer:
            raise UserError(f"{key}[{i}]", "must be a non-empty list of widths", layer, remedy)
        for width in layer:
            if not isinstance(width, int) or isinstance(width, bool) or width < 1:
                raise UserError(f"{key}[{i}]", "must hold positive integers", width, "give a width above 0")
        if len(set(layer)) < len(layer):
            twice = next(w for w in layer if list(layer).count(w) > 1)
            raise UserError(f"{key}[{i}]", "must not repeat a width", twice, "list each width once")
    return tuple(tuple(layer) for layer in choices)
