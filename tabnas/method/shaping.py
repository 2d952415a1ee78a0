"""search=mnasnet, mnasnet_clipped, tunas_abs: costs enter the reward. search=resource_oblivious: they don't."""

from typing import Any, Literal

import torch
from torch import Tensor

from tabnas import reward as rewards
from tabnas.errors import UserError, require_number, require_one_of
from tabnas.method.base import Method, Step, policy_gradient


class RewardShaping(Method):
    """Algorithm 1 with a reward of quality and cost: every y drawn from P(y) is evaluated, and none is rejected.

    reward: "mnasnet", "mnasnet_clipped" or "tunas_abs" (section 3.3), or "quality", Q alone.
    beta: of the reward, below 0; T0 is the limit.

    Departure: the baseline averages the rewards r(y) that it is taken from, where Algorithm 1, line 18, has Q(y), which
    would leave the mean penalty in every advantage.
    """

    def __init__(
        self,
        *,
        reward: Literal["mnasnet", "mnasnet_clipped", "tunas_abs", "quality"],
        beta: float = 0.0,
        **common: Any,
    ) -> None:
        require_one_of("search.reward", reward, ("mnasnet", "mnasnet_clipped", "tunas_abs", "quality"))
        require_number("search.beta", beta, low=-1e6, high=0, remedy="the paper has -0.0005 to -3")
        super().__init__(**common)
        if reward != "quality" and len(self.limits.costs) > 1:
            remedy = "give one limit, or search=tabnas"
            raise UserError("limits", "must be one with a reward that has one T0", len(self.limits.costs), remedy)
        self.reward = reward
        self.beta: float | Tensor = beta

    def step(self, logits: Tensor, children: Tensor, quality: Tensor, evaluated: Tensor) -> Step:
        reward = quality
        if self.reward != "quality":
            reward = getattr(rewards, self.reward)(quality, self._cost_ratio(children), self.beta)
        applies = torch.ones(logits.shape[:-2], dtype=torch.bool, device=logits.device)
        advantage = self._advantage(reward, applies)
        # For many runs along the first dimension, which is ten times as fast as along a last one of a few choices.
        p = logits.softmax(dim=-1) if logits.dim() == 2 else logits.transpose(0, -1).softmax(dim=0).transpose(0, -1)
        ascent = policy_gradient(children, advantage, p)
        return Step(ascent, applies, reward, advantage, None)

    def _cost_ratio(self, children: Tensor) -> Tensor:
        """T(y)/T0: (..., K, L) → (..., K)."""
        flat = self.space.gather_widths(children.reshape(-1, self.space.n_layers))
        return (self.limits.costs[0].many(flat) / self.limits.at_most[0]).view(children.shape[:-1])
