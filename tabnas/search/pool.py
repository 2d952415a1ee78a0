"""P(V) and draws from P(y | V) on a device, in tensors of fixed shapes. May import method, feasibility and space.

Shapes: M architectures, L layers, C choices.
"""

import math

import torch
from torch import Tensor

from tabnas.cost import Limits
from tabnas.errors import UserError
from tabnas.feasibility import ChainProgram, Enumeration
from tabnas.feasibility.stepwise import LISTABLE
from tabnas.space import SearchSpace

MOST_LISTED = 65_536  # architectures of V up to which all are sent to the device
POOL_SIZE = 2048


class Pool:
    """V itself where it is small enough, and exact; else draws of it, renewed by the exact program on the host.

    In the second case `refresh` runs the program at given logits r and draws the pool from P_r(y | V). At logits near
    r, E[onehot | V] is the exact one at r plus the mean over the pool of (w / w̄ − 1)·onehot with
    w(y) = p(y) / p_r(y), as in feasibility.stepwise.Refreshed; `error` is estimated as there. Draws are to be had in
    the first case alone.
    """

    def __init__(
        self, program: Enumeration | ChainProgram, generator: torch.Generator, most_listed: int = MOST_LISTED
    ) -> None:
        self.program, self.space, self.generator = program, program.space, generator
        self.listed = program.space.size <= LISTABLE and program.count() <= most_listed
        self._onehot_mask = self.space.mask
        if self.listed:
            listing = program if isinstance(program, Enumeration) else _listing(program.space, program.limits)
            self._architectures = listing.feasible
        self._device: torch.device | None = None

    def refresh(self, logits: Tensor, device: torch.device) -> None:
        """Send what is needed at logits (L, C) of the host, and near them, to the device."""
        if self.listed and self._device == device:
            return
        self._device = device
        if not self.listed:
            solution = self.program.solve(logits)
            self._architectures = solution.sample(POOL_SIZE, generator=self.generator)
            self._log_prob_valid = solution.log_prob
            marginals = solution.marginals().to(logits)
            squares = marginals.square()
            chosen = marginals[torch.arange(self.space.n_layers), self._architectures]
            distances = (1.0 - 2.0 * chosen).sum(dim=1) + squares.sum()  # ‖onehot(y) − E[onehot | V]‖²
            self._distances = (distances / (marginals - squares).sum().clamp(min=1e-30)).to(device)
            self._marginals = marginals.to(device)
            self._anchor = self._log_p(logits).to(device)
        offsets = torch.arange(self.space.n_layers) * self.space.mask.shape[1]
        self._flat = (self._architectures + offsets).to(device)
        self._choices = self._architectures.to(device)

    def log_prob_and_marginals(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """log P(V), (1,), and P(y_i = j | V), (1, L, C), at logits (1, L, C)."""
        log_p = self._log_p(logits[0])
        if self.listed:
            of_each = self._of_each(log_p)
            return of_each.logsumexp(dim=0)[None], self._onehot_sum(of_each.softmax(dim=0))[None]
        change = log_p - self._anchor
        log_weights = self._of_each(change)
        weights = log_weights.exp()
        excess = weights / weights.mean() - 1.0
        self.error = ((excess.square() * self._distances).sum().sqrt() / POOL_SIZE)[None]
        marginals = (self._marginals + self._onehot_sum(excess / POOL_SIZE)).clamp(min=0.0)
        first_order = (self._marginals * change).sum()
        rest = (weights - 1.0 - log_weights).mean()
        return (self._log_prob_valid + torch.log1p(first_order + rest))[None].clamp(max=0.0), marginals[None]

    def at(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """Draws from P(y | V) at logits (L, C) by the inverse of its distribution function at uniform (n,): (n, L)."""
        cumulative = self._of_each(self._log_p(logits)).softmax(dim=0).cumsum(dim=0)
        index = (cumulative[None, :] <= (uniform * cumulative[-1])[:, None]).sum(dim=1)
        return self._choices.index_select(0, index.clamp(max=len(self._choices) - 1))

    def _log_p(self, logits: Tensor) -> Tensor:
        """(L, C); 0 where padded, so that differences are 0 there."""
        return logits.log_softmax(dim=1).where(self.space.mask.to(logits.device), 0.0)

    def _of_each(self, table: Tensor) -> Tensor:
        """Σ_i of the table's (L, C) entry that each architecture chooses: (M,)."""
        return table.flatten().index_select(0, self._flat.flatten()).view(self._flat.shape).sum(dim=1)

    def _onehot_sum(self, weights: Tensor) -> Tensor:
        """Σ_k weights_k · onehot(y_k): weights (M,) → (L, C)."""
        total = weights.new_zeros(self.space.mask.numel())
        spread = weights[:, None].expand(self._flat.shape).flatten()
        return total.scatter_add(0, self._flat.flatten(), spread).view(self.space.mask.shape)


def _listing(space: SearchSpace, limits: Limits) -> Enumeration:
    return Enumeration(space, limits.costs, limits.at_most)


def pool_for(
    program: Enumeration | ChainProgram | None, limits: Limits, generator: torch.Generator, *, draws: bool
) -> Pool:
    """UserError where a search on a TPU has no exact P(V) to go by, or no draws from P(y | V) if it needs them."""
    if program is None:
        rule = "must leave exact P(V) possible in so large a space on a TPU"
        raise UserError(
            "limits",
            rule,
            [cost.name for cost in limits.costs],
            "give one limit, and widths that are multiples of 8, or accelerator=cpu",
        )
    pool = Pool(program, generator)
    if draws and not pool.listed:
        rule = f"must leave at most {MOST_LISTED:,} feasible architectures to draw from on a TPU"
        count = program.count()
        given = count if count < math.inf else "more"
        raise UserError("limits", rule, given, "lower the limit, or give search=tabnas with search.weight_draws=p")
    return pool
