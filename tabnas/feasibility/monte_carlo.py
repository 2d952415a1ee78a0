"""P(V) estimated by Monte-Carlo: the paper's Algorithm 2, lines 7 to 10."""

import heapq
import math
from typing import Literal

import torch
from torch import Tensor

from tabnas.controller import log_prob
from tabnas.cost import Cost
from tabnas.feasibility.enumeration import no_feasible
from tabnas.space import SearchSpace

SEARCH_BUDGET = 200_000  # architectures `most_probable` looks at before it gives up on an all but infeasible space


class MonteCarlo:
    """P̂(V) = 1/N Σ_k p(z_k)/q(z_k)·1(z_k ∈ V) with N draws z_k from a proposal q, anew at every call.

    num_samples: the paper's N.
    proposal: "p" for stop_grad of the current distribution (the paper's choice), "uniform" for equal probabilities.
    generator: the draws' own source of randomness.

    Raises UserError (key `limits`) if V is empty.
    """

    def __init__(
        self,
        space: SearchSpace,
        cost: Cost,
        limit: int,
        *,
        num_samples: int,
        proposal: Literal["p", "uniform"] = "p",
        generator: torch.Generator,
    ) -> None:
        self.space, self.cost, self.limit = space, cost, limit
        self.num_samples, self.proposal, self.generator = num_samples, proposal, generator
        if cost(space.smallest) > limit:
            raise no_feasible(space, cost, limit)
        self._uniform = torch.zeros(space.mask.shape).masked_fill(~space.mask, -torch.inf)

    def log_prob(self, logits: Tensor) -> Tensor:
        """log P̂(V): scalar, differentiable through p; -inf, without a gradient, when no draw is feasible."""
        proposal = logits.detach() if self.proposal == "p" else self._uniform.to(logits)
        draws = self._feasible_draws(proposal, self.num_samples, self.generator)
        if not len(draws):
            return logits.new_tensor(-torch.inf)
        log_weights = log_prob(logits, draws) - log_prob(proposal, draws)
        return log_weights.logsumexp(dim=0) - math.log(self.num_samples)

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
            if self.cost(self.space.widths(indices)) <= self.limit:
                found.append(indices)
            for i in range(len(ranks)):
                after = (*ranks[:i], ranks[i] + 1, *ranks[i + 1 :])
                if after[i] < self.space.n_choices[i] and after not in seen:
                    seen.add(after)
                    heapq.heappush(queue, (score(after), after))
        return torch.tensor(found or [list(self.space.indices(self.space.smallest))])

    def _feasible_draws(self, logits: Tensor, n: int, generator: torch.Generator) -> Tensor:
        """The feasible ones among n draws from the softmaxes of `logits`: (≤ n, L) choice indices."""
        cumulative = logits.detach().cpu().double().softmax(dim=1).cumsum(dim=1)
        cumulative = cumulative / cumulative[:, -1:]  # rounding must not leave a gap below 1
        uniform = torch.rand(self.space.n_layers, n, generator=generator, dtype=torch.float64)
        indices = torch.searchsorted(cumulative, uniform, right=True).T
        return indices[self.cost.many(self.space.gather_widths(indices)) <= self.limit].to(logits.device)
