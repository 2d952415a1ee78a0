"""search=exhaustive: every feasible architecture, the skyline of what can be found."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from torch import Tensor

from tabnas.errors import UserError, require_integer, require_one_of
from tabnas.search.without_controller.base import Losses, WithoutController
from tabnas.space import Widths


class Exhaustive(WithoutController):
    """by: "one_shot" goes by the one-shot losses of all of V. "stand_alone" chooses all of V, so that each is trained
        from scratch and the best of those is found; no SuperNet is trained.
    max_architectures: V may have at most so many.

    Raises UserError where V has more, or is that of several limits in a space too large to be counted.
    """

    explored = "architectures, all that are feasible"

    def __init__(
        self, *, by: Literal["one_shot", "stand_alone"] = "one_shot", max_architectures: int = 1000, **common: Any
    ) -> None:
        require_one_of("search.by", by, ("one_shot", "stand_alone"))
        require_integer("search.max_architectures", max_architectures, low=1, remedy="1000 is the default")
        super().__init__(**common)
        everything = self.listed(max_architectures)
        if everything is None:
            if self.program is None:
                names = [cost.name for cost in self.limits.costs]
                rule = "must leave all that is feasible to be listed in so large a space"
                raise UserError(
                    "limits", rule, names, "give one limit, and widths that are multiples of 8, or another search"
                )
            rule = f"must be at least {self.program.count():,}, as many as are feasible"
            remedy = "raise it, lower the limits, give fewer widths, or choose another search"
            raise UserError("search.max_architectures", rule, max_architectures, remedy)
        self.everything = everything
        self.trains_supernet = by == "one_shot"

    def choose(self, one_shot_losses: Callable[[Sequence[Widths]], Sequence[float]]) -> tuple[Tensor, str]:
        return super().choose(one_shot_losses) if self.trains_supernet else (self.everything, "all that are feasible")

    def explore(self, losses: Losses) -> None:
        losses(self.everything)
