"""P(V) estimated by Monte-Carlo: the paper's Algorithm 2, lines 7 to 10."""

import heapq
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from tabnas.controller import log_prob, onehot_mean
from tabnas.cost import Cost, Limits
from tabnas.errors import UserError
from tabnas.feasibility.enumeration import no_feasible
from tabnas.space import SearchSpace

SEARCH_BUDGET = 200_000  # architectures `most_probable` looks at before it gives up on an all but infeasible space
DRAW_BUDGET = 10_000_000  # draws from P(y) that `sample` makes before it gives up on hitting V by chance


class MonteCarlo:
    """P̂(V) = 1/N Σ_k p(z_k)/q(z_k)·1(z_k ∈ V) with N draws z_k from a proposal q, anew at every call.

    cost, limit: one or several, all of which must hold.
    num_samples: the paper's N.
    proposal: "p" for stop_grad of the current distribution (the paper's choice), "uniform" for equal probabilities.
    generator: the draws' own source of randomness.

    Logits (..., L, C) may have leading dimensions, of independent controllers, each with draws of its own.

    Raises UserError (key `limits`) if V is empty.
    """

    def __init__(
        self,
        space: SearchSpace,
        cost: Cost | Sequence[Cost],
        limit: int | Sequence[int],
        *,
        num_samples: int,
        proposal: Literal["p", "uniform"] = "p",
        generator: torch.Generator,
    ) -> None:
        self.space, self.limits = space, Limits(cost, limit)
        self.num_samples, self.proposal, self.generator = num_samples, proposal, generator
        if not self.limits.allow(space.smallest):
            raise no_feasible(space, self.limits)
        self._uniform = torch.zeros(space.mask.shape).masked_fill(~space.mask, -torch.inf)

    def log_prob(self, logits: Tensor) -> Tensor:
        """log P̂(V): logits (..., L, C) → (...), differentiable through p; -inf where no draw is feasible."""
        _, feasible, log_weights = self._weighted(logits)
        if not bool(feasible.any()):  # no gradient either, rather than one of nan
            return logits.new_full(logits.shape[:-2], -torch.inf)
        return log_weights.masked_fill(~feasible, -torch.inf).logsumexp(dim=-1) - math.log(self.num_samples)

    @torch.no_grad()
    def log_prob_and_marginals(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """log P̂(V), (...), and by the same draws P̂(y_i = j | V), (..., L, C), the gradient of the former plus p.

        Where no draw is feasible, -inf and nan.
        """
        draws, feasible, log_weights = self._weighted(logits)
        log_total = log_weights.masked_fill(~feasible, -torch.inf).logsumexp(dim=-1)
        shares = (log_weights - log_total[..., None]).exp().where(feasible, 0.0)
        marginals = onehot_mean(draws, shares, logits)
        nothing = log_total == -torch.inf
        return log_total - math.log(self.num_samples), marginals.masked_fill(nothing[..., None, None], torch.nan)

    @torch.no_grad()
    def sample(self, logits: Tensor, n: int) -> Tensor:
        """n independent draws from P(y | V), by drawing from P(y) until they are feasible: (n, L) choice indices.

        Exact, whatever num_samples. Raises UserError (key `limits`) after DRAW_BUDGET draws.
        """
        found: list[Tensor] = []
        left = DRAW_BUDGET
        while left > 0:
            draws = self._draws(logits, min(left, max(64, 8 * n)))
            left -= len(draws)
            found.extend(draws[self._feasible(draws)])
            if len(found) >= n:
                return torch.stack(found[:n])
        rule = f"must be met by some of {DRAW_BUDGET:,} draws of the controller"
        raise UserError("limits", rule, f"{len(found)} of the {n} needed", "raise the limits")

    @torch.no_grad()
    def most_probable(self, logits: Tensor, k: int) -> Tensor:
        """The k most probable architectures of V, most probable first: (k, L) choice indices.

        Walks the space in order of probability and stops at k feasible ones, at the end of the space, or after
        SEARCH_BUDGET architectures; what it returns may then be fewer than k, but holds at least the smallest
        architecture, which is always feasible.
        """
        log_p = logits.cpu().double().log_softmax(dim=1).sort(dim=1, descending=True, stable=True)
        values, order = log_p.values.tolist(), log_p.indices.tolist()

        def score(ranks: tuple[int, ...]) -> float:
            return -math.fsum(values[i][r] for i, r in enumerate(ranks))

        start = (0,) * self.space.n_layers
        queue, seen = [(score(start), start)], {start}
        found: list[list[int]] = []
        for _ in range(SEARCH_BUDGET):
            if not queue or len(found) == k:
                break
            _, ranks = heapq.heappop(queue)
            indices = [order[i][r] for i, r in enumerate(ranks)]
            if self.limits.allow(self.space.widths(indices)):
                found.append(indices)
            for i in range(len(ranks)):
                after = (*ranks[:i], ranks[i] + 1, *ranks[i + 1 :])
                if after[i] < self.space.n_choices[i] and after not in seen:
                    seen.add(after)
                    heapq.heappush(queue, (score(after), after))
        return torch.tensor(found or [list(self.space.indices(self.space.smallest))])

    def _weighted(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """N draws from q, (..., N, L), which of them are feasible, (..., N), and log p/q of each, (..., N)."""
        proposal = logits.detach() if self.proposal == "p" else self._uniform.to(logits).expand_as(logits)
        draws = self._draws(proposal, self.num_samples)
        return draws, self._feasible(draws), log_prob(logits, draws) - log_prob(proposal, draws)

    def _draws(self, logits: Tensor, n: int) -> Tensor:
        """n draws from the softmaxes of `logits`: (..., n, L) choice indices."""
        cumulative = logits.detach().cpu().double().softmax(dim=-1).cumsum(dim=-1)
        cumulative = cumulative / cumulative[..., -1:]  # rounding must not leave a gap below 1
        uniform = torch.rand(*logits.shape[:-1], n, generator=self.generator, dtype=torch.float64)
        return torch.searchsorted(cumulative, uniform, right=True).transpose(-1, -2).to(logits.device)

    def _feasible(self, draws: Tensor) -> Tensor:
        """draws (..., n, L) → (..., n) bool."""
        flat = self.space.gather_widths(draws.reshape(-1, self.space.n_layers))
        return self.limits.allow_many(flat).view(draws.shape[:-1])
