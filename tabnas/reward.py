"""Rewards of the REINFORCE controller: the paper's sections 3.2 and 3.3. Plain functions; imports nothing of tabnas.

All work on floats and on tensors of any shape. ratio is T(y)/T0, the cost of an architecture over its limit.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

Number = TypeVar("Number", float, Tensor)


def quality(loss: Number) -> Number:
    """Q(y) = 1 − loss(y), the validation loss of the sampled child (Algorithm 1, line 14)."""
    return 1.0 - loss


def mnasnet(quality: Tensor, ratio: Tensor, beta: float | Tensor) -> Tensor:
    """Q·(T/T0)^β, β < 0 (MnasNet). A negative Q, a loss above 1, turns the penalty on costs into a bonus."""
    return quality * ratio**beta


def mnasnet_clipped(quality: Tensor, ratio: Tensor, beta: float | Tensor) -> Tensor:
    """Q·max(1, (T/T0)^β), β < 0, as the paper prints it: a bonus for staying below T0, no penalty above."""
    return quality * (ratio**beta).clamp(min=1.0)


def tunas_abs(quality: Tensor, ratio: Tensor, beta: float | Tensor) -> Tensor:
    """Q + β·|T/T0 − 1|, β < 0: TuNAS's Abs Reward."""
    return quality + beta * (ratio - 1.0).abs()


def leave_one_out(rewards: Tensor) -> Tensor:
    """Each reward less the mean of the others: rewards (..., K), K ≥ 2 → advantages (..., K), whose sum is 0.

    >>> leave_one_out(torch.tensor([1.0, 0.0, 0.5]))
    tensor([ 0.7500, -0.7500,  0.0000])
    """
    n = rewards.shape[-1]
    return (rewards - rewards.mean(dim=-1, keepdim=True)) * (n / (n - 1))


@dataclass
class MovingAverage:
    """Bias-corrected exponential moving average Q̄ of past rewards (Algorithm 1, line 18); 0 before the first.

    total, weight: floats, or tensors for independent averages side by side.

    >>> average = MovingAverage(0.9)
    >>> average.update(0.5); round(average.value, 12)
    0.5
    """

    decay: float
    total: Any = 0.0
    weight: Any = 1e-30  # 1 − decay^n after n rewards; before the first, not 0, so that 0 / weight is 0

    @property
    def value(self) -> Any:
        return self.total / self.weight

    def update(self, reward: Any, applies: Any = 1.0) -> None:
        """Take up a reward; not where `applies` is 0 instead of 1."""
        share = applies * (1.0 - self.decay)
        self.total = self.total + share * (reward - self.total)
        self.weight = self.weight + share * (1.0 - self.weight)
