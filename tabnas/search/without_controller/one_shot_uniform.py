"""search=one_shot_uniform: the SuperNet alone, the paper's check that the controller is to blame (section 4.1)."""

from typing import Any

from tabnas.errors import require_integer
from tabnas.search.without_controller.base import Losses, WithoutController


class OneShotUniform(WithoutController):
    """Goes by the one-shot losses of `num_draws` uniform draws from V."""

    explored = "architectures drawn from V"

    def __init__(self, *, num_draws: int = 500, **common: Any) -> None:
        require_integer("search.num_draws", num_draws, low=1, remedy="500 is the default")
        super().__init__(**common)
        self.num_draws = num_draws

    def explore(self, losses: Losses) -> None:
        losses(self.draws(self.num_draws))
