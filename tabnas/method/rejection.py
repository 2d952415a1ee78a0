"""search=tabnas: the paper's rejection-based reward (Algorithm 2)."""

from typing import Any, Literal

import torch
from torch import Tensor

from tabnas.errors import require_integer, require_one_of
from tabnas.feasibility import MonteCarlo, Stepwise
from tabnas.method.base import Method, Step, policy_gradient


class Rejection(Method):
    """Draws y from P(y), rejects it where it is over a limit, and ascends (Q − Q̄)·log [P(y) / P(V)].

    num_samples: the paper's N, of the Monte-Carlo estimate of P(V). Departure: None, the default, for exact P(V).
    proposal: what those samples are drawn from, "p" (the paper's choice) or "uniform".
    prob_valid: "differentiated", or an ablation (section 4.3): "constant", without a gradient through P(V), which takes
        the same steps as "omitted", without P(V).
    baseline_over: whose quality Q̄ averages, "feasible" y's, or "all", as Algorithm 1 has it.
    """

    def __init__(
        self,
        *,
        num_samples: int | None = None,
        proposal: Literal["p", "uniform"] = "p",
        prob_valid: Literal["differentiated", "constant", "omitted"] = "differentiated",
        baseline_over: Literal["feasible", "all"] = "feasible",
        **common: Any,
    ) -> None:
        if num_samples is not None:
            remedy = "the paper has 3072 to 5,000,000"
            require_integer("search.num_samples", num_samples, low=1, high=10_000_000, remedy=remedy)
        require_one_of("search.proposal", proposal, ("p", "uniform"))
        require_one_of("search.prob_valid", prob_valid, ("differentiated", "constant", "omitted"))
        require_one_of("search.baseline_over", baseline_over, ("feasible", "all"))
        super().__init__(**common)
        self.prob_valid, self.baseline_over = prob_valid, baseline_over
        self.estimator: Stepwise = self.monte_carlo(num_samples, proposal) if num_samples else self.feasible

    def evaluated(self, children: Tensor) -> Tensor:
        """The feasible ones. Departure: an infeasible y is not evaluated, as its objective is 0 whatever its loss; its
        quality is not in the baseline then, but with baseline_over = "all".
        """
        return super().evaluated(children) if self.baseline_over == "all" else self._allowed(children)

    def _allowed(self, children: Tensor) -> Tensor:
        """Which are feasible: (..., K, L) → (..., K) bool."""
        if children.dim() == 2:  # a single run: faster one by one
            return torch.tensor([self.limits.allow(self.space.widths(child)) for child in children.tolist()])
        flat = self.space.gather_widths(children.reshape(-1, self.space.n_layers))
        return self.limits.allow_many(flat).view(children.shape[:-1])

    def step(self, logits: Tensor, children: Tensor, quality: Tensor, evaluated: Tensor) -> Step:
        """Departure: skipped where all N samples are infeasible, as J would be infinite (appendix E.3).

        Of several replicas' children, infeasible ones have weight 0 and the others children / feasible children, so
        that the mean is over the feasible ones (appendix B.2.2).
        """
        quality = quality.where(evaluated, 0.0)
        feasible = self._allowed(children) if self.baseline_over == "all" else evaluated
        applies = feasible.any(dim=-1)
        log_prob_valid, marginals = None, None
        if self.prob_valid != "omitted":
            log_prob_valid, marginals = self.estimator.log_prob_and_marginals(logits)
            if isinstance(self.estimator, MonteCarlo):
                applies = applies & (log_prob_valid > -torch.inf)
        centre = marginals if marginals is not None and self.prob_valid == "differentiated" else logits.softmax(dim=-1)
        if self.baseline_over == "all":
            advantage = self._advantage(quality, torch.ones_like(applies)) * _shares(feasible, quality)
        else:
            weight = _shares(feasible, quality) if children.shape[-2] > 1 else None
            advantage = self._advantage(quality, applies, weight)
        return Step(policy_gradient(children, advantage, centre), applies, quality, advantage, log_prob_valid)


def _shares(feasible: Tensor, like: Tensor) -> Tensor:
    """Weights of children (..., K) that are equal for the feasible ones, 0 for the others, and 1 on average."""
    return feasible / feasible.to(like).mean(dim=-1, keepdim=True).clamp(min=1e-30)
