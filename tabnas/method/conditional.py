"""search=tabnas_exact: ours, draws from P(y | V)."""

from typing import Any

import torch
from torch import Tensor

from tabnas.errors import UserError, require_integer
from tabnas.method.base import Method, Step, policy_gradient
from tabnas.reward import leave_one_out


class ConditionalDraws(Method):
    """Draws its children from P(y | V) and ascends advantage · log P(y | V).

    Departures from the paper, which draws one y from P(y) and rejects it where it is infeasible:
    - no draw is rejected, so every RL step counts. An accepted draw has the same distribution;
    - num_children (K) children a step, all on the same minibatch; with several replicas, K on the minibatch of each,
      and all of them count as K below. For K ≥ 2 the baseline of each is the mean reward of
      the others (leave-one-out), which is free of the minibatch's own difficulty and of the past. The advantages then
      add up to 0, and E[onehot | V], all that P(V) is needed for, drops out of the gradient. For K = 1 the baseline is
      the paper's moving average.
    """

    def __init__(self, *, num_children: int = 2, **common: Any) -> None:
        require_integer("search.num_children", num_children, low=1, high=1000, remedy="2 is the default")
        super().__init__(**common)
        if self.program is None:
            names = [cost.name for cost in self.limits.costs]
            rule = "must leave exact draws possible in so large a space"
            raise UserError(
                "limits", rule, names, "give one limit, and widths that are multiples of 8, or search=tabnas"
            )
        self.num_children = num_children

    def draw(self, logits: Tensor, n_replicas: int = 1) -> Tensor:
        return self.feasible.sample(logits, n_replicas * self.num_children)

    def step(self, logits: Tensor, children: Tensor, quality: Tensor, evaluated: Tensor) -> Step:
        log_prob_valid, centre = None, torch.zeros_like(logits)
        applies = torch.ones(logits.shape[:-2], dtype=torch.bool, device=logits.device)
        if children.shape[-2] > 1:
            advantage = leave_one_out(quality)
        else:
            advantage = self._advantage(quality, applies)
            log_prob_valid, centre = self.feasible.log_prob_and_marginals(logits)
        return Step(policy_gradient(children, advantage, centre), applies, quality, advantage, log_prob_valid)
