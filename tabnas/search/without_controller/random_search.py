"""search=random: architectures drawn uniformly from V, each trained from scratch (the paper's baseline, Figure 2)."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tabnas.cost import Limits
from tabnas.errors import UserError, require_integer, require_number
from tabnas.feasibility import MonteCarlo, exact
from tabnas.search.without_controller.base import WithoutController
from tabnas.space import SearchSpace, Widths

MOST_LISTED = (
    100_000  # architectures, up to which draws without repetition are made from a list of all, within a second
)
DRAWS_AT_ONCE, MOST_DRAWS = 200, 200_000  # where there are more


class RandomSearch(WithoutController):
    """No SuperNet is trained and no loss is asked for: all that were drawn are chosen; training them finds the best.

    num_architectures: the k of "best of k", drawn without repetition.
    cost_range: [low, high], the shares of the first limit between which they cost; None: whatever is within the limits.

    Raises UserError where there are fewer than num_architectures, or chance does not find as many.
    """

    trains_supernet = False

    def __init__(
        self,
        *,
        space: SearchSpace,
        limits: Limits,
        generator: torch.Generator,
        name: str,
        num_architectures: int = 10,
        cost_range: Sequence[float] | None = None,
    ) -> None:
        require_integer("search.num_architectures", num_architectures, low=1, remedy="10 is the default")
        low, high = _checked(cost_range)
        super().__init__(space=space, limits=limits, generator=generator, name=name, warmup_fraction=0.0)
        self.num_architectures = num_architectures
        self.within = Limits(limits.costs, [math.floor(high * limits.at_most[0]), *limits.at_most[1:]])
        self.at_least = math.ceil(low * limits.at_most[0])
        drawn = self._drawn() if self.within.allow(space.smallest) else []
        if not drawn:
            rule = "must hold the cost of a feasible architecture"
            raise UserError("search.cost_range", rule, list(cost_range or ()), "widen it")
        if len(drawn) < num_architectures:
            rule = f"must be at most {len(drawn)}, as many as were found feasible"
            if cost_range is not None:
                rule += f" at {low:g} to {high:g} of the limit"
            remedy = "draw fewer, or raise the limits"
            raise UserError("search.num_architectures", rule, num_architectures, remedy)
        self.drawn = torch.tensor(drawn[:num_architectures])

    def choose(self, one_shot_losses: Callable[[Sequence[Widths]], Sequence[float]]) -> tuple[Tensor, str]:
        return self.drawn, f"{len(self.drawn)} drawn at random"

    def _drawn(self) -> list[list[int]]:
        """Distinct architectures in random order, at least num_architectures of them unless there are fewer."""
        costs, at_most = self.within.costs, self.within.at_most
        program = exact(self.space, costs, at_most)
        if program is not None and program.count() <= MOST_LISTED:
            everything = self._dear_enough(program.most_probable(self.uniform, program.count()))
            order = torch.randperm(len(everything), generator=self.generator)
            return everything[order].tolist()
        chance = MonteCarlo(self.space, costs, at_most, num_samples=1, generator=self.generator)
        found: dict[tuple[int, ...], None] = {}
        for _ in range(MOST_DRAWS // DRAWS_AT_ONCE):
            if program is None:
                drawn = chance.sample(self.uniform, DRAWS_AT_ONCE)
            else:
                drawn = program.sample(self.uniform, DRAWS_AT_ONCE, generator=self.generator)
            found.update(dict.fromkeys(map(tuple, self._dear_enough(drawn).tolist())))
            if len(found) >= self.num_architectures:
                break
        return [list(y) for y in found]

    def _dear_enough(self, indices: Tensor) -> Tensor:
        """Those that cost no less than the range allows."""
        return indices[self.limits.costs[0].many(self.space.gather_widths(indices)) >= self.at_least]


def _checked(cost_range: Sequence[float] | None) -> tuple[float, float]:
    if cost_range is None:
        return 0.0, 1.0
    name, remedy = "search.cost_range", "[0.7, 1.0] is near the limit"
    if not isinstance(cost_range, Sequence) or isinstance(cost_range, str) or len(cost_range) != 2:
        raise UserError(name, "must be [low, high]", cost_range, remedy)
    for share in cost_range:
        require_number(name, share, low=0, high=1, remedy=remedy)
    if cost_range[0] > cost_range[1]:
        raise UserError(name, "must be [low, high] with low ≤ high", cost_range, remedy)
    return cost_range[0], cost_range[1]
