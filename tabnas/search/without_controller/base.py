"""What the searchers without a controller have in common."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from tabnas.cost import Limits
from tabnas.errors import require_integer
from tabnas.method import Method
from tabnas.space import SearchSpace, Widths

Losses = Callable[[Tensor], Tensor]
"""One-shot losses (n,), float64, of n architectures by their choice indices (n, L)."""


class WithoutController(Method):
    """The SuperNet is trained as in a search whose RL steps never come: p stays uniform. Then V is explored.

    num_selected: architectures chosen, those of the smallest one-shot loss among all that were explored.
    max_rows: validation rows, evenly spread, that a one-shot loss is of at most; None: all.
    The others are Method's.
    """

    has_controller = False

    def __init__(
        self,
        *,
        space: SearchSpace,
        limits: Limits,
        generator: torch.Generator,
        name: str,
        warmup_fraction: float = 0.25,
        weight_draws: Literal["p", "valid"] = "p",
        skip_infeasible_weight_updates: bool = False,
        replicas_per_device: int = 1,
        num_selected: int = 3,
        max_rows: int | None = 200_000,
    ) -> None:
        require_integer("search.num_selected", num_selected, low=1, remedy="3 is the default")
        if max_rows is not None:
            require_integer("search.max_rows", max_rows, low=1, remedy="null ranks by the whole split")
        super().__init__(
            space=space,
            limits=limits,
            generator=generator,
            name=name,
            warmup_fraction=warmup_fraction,
            weight_draws=weight_draws,
            skip_infeasible_weight_updates=skip_infeasible_weight_updates,
            replicas_per_device=replicas_per_device,
            selection={"max_rows": max_rows},
        )
        self.rl_from = 1.0  # after all steps
        self.num_selected = num_selected
        self.uniform = torch.zeros(space.mask.shape).masked_fill(~space.mask, -torch.inf)

    def choose(self, one_shot_losses: Callable[[Sequence[Widths]], Sequence[float]]) -> tuple[Tensor, str]:
        """The choice indices (n, L) of what is chosen, and how it was, in words.

        one_shot_losses: asked for once of each architecture that is explored.
        """
        found: dict[tuple[int, ...], float] = {}

        def losses(indices: Tensor) -> Tensor:
            asked = [tuple(y) for y in indices.tolist()]
            new = [y for y in dict.fromkeys(asked) if y not in found]
            found.update(zip(new, one_shot_losses([self.space.widths(y) for y in new]), strict=True))
            return torch.tensor([found[y] for y in asked], dtype=torch.float64)

        self.explore(losses)
        best = sorted(found, key=found.__getitem__)[: self.num_selected]
        return torch.tensor(best), f"smallest one-shot loss of {len(found)} {self.explored}"

    explored: str
    """In words, what the architectures are that were explored."""

    def explore(self, losses: Losses) -> None:
        """Ask for the losses of architectures of V, of the same one again for nothing."""
        raise NotImplementedError

    def draws(self, n: int) -> Tensor:
        """The distinct ones of n uniform draws from V: at most n choice indices, (·, L)."""
        distinct: Tensor = self.feasible.sample(self.uniform, n).unique(dim=0)
        return distinct

    def listed(self, most: int) -> Tensor | None:
        """All of V, (|V|, L) choice indices; None where it has more than `most`, or cannot be counted."""
        if self.program is None or self.program.count() > most:
            return None
        return self.program.most_probable(self.uniform, self.program.count())
