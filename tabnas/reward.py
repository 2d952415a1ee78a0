"""Rewards of the REINFORCE controller: the paper's sections 3.2 and 3.3. Plain functions; imports nothing of tabnas."""

from dataclasses import dataclass

from torch import Tensor


def quality(loss: float) -> float:
    """Q(y) = 1 − loss(y), the validation loss of the sampled child (Algorithm 1, line 14)."""
    return 1.0 - loss


def rejection_objective(advantage: float, log_prob: Tensor, log_prob_valid: Tensor | None) -> Tensor:
    """J(y) = stop_grad(Q(y) − Q̄) · log[P(y) / P(V)] for a feasible y (Algorithm 2, line 11), to be maximised.

    log_prob: log P(y), scalar. log_prob_valid: log P(V), scalar; None leaves the correction out.
    """
    return advantage * (log_prob if log_prob_valid is None else log_prob - log_prob_valid)


@dataclass
class MovingAverage:
    """Bias-corrected exponential moving average Q̄ of past rewards (Algorithm 1, line 18); 0 before the first.

    >>> average = MovingAverage(0.9)
    >>> average.update(0.5); average.value
    0.5
    """

    decay: float
    total: float = 0.0
    count: int = 0

    @property
    def value(self) -> float:
        return self.total / (1.0 - self.decay**self.count) if self.count else 0.0

    def update(self, reward: float) -> None:
        self.total = self.decay * self.total + (1.0 - self.decay) * reward
        self.count += 1
