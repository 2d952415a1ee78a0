"""P(V) exactly, by listing V. The paper's "computed exactly for small search spaces" (section 3.3)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tabnas.controller import log_prob, onehot_mean
from tabnas.cost import Cost, Limits
from tabnas.errors import UserError
from tabnas.space import SearchSpace, hyphenated

CHUNK = 1 << 20  # architectures costed at once while listing, which bounds memory


class Enumeration:
    """Lists every architecture whose cost is at most `limit`; cost and limit may be several, all of which must hold.

    Takes time and memory in the size of the space once, and in the size of V at every call. Logits (..., L, C) may have
    leading dimensions, of independent controllers, in `log_prob`, `log_prob_and_marginals` and `marginals`.

    Raises UserError (key `limits`) if V is empty.

    >>> from tabnas.cost import ParameterCount
    >>> toy = Enumeration(SearchSpace([[2, 3, 4], [2, 3, 4]]), ParameterCount(2, 1), limit=25)
    >>> toy.count(), round(toy.log_prob(torch.zeros(2, 3)).exp().item(), 4)
    (6, 0.6667)
    """

    def __init__(self, space: SearchSpace, cost: Cost | Sequence[Cost], limit: int | Sequence[int]) -> None:
        self.space, self.limits = space, Limits(cost, limit)
        found = []
        for start in range(0, space.size, CHUNK):
            indices = _unravel(torch.arange(start, min(start + CHUNK, space.size)), space.n_choices)
            found.append(indices[self.limits.allow_many(space.gather_widths(indices))])
        self.feasible: Tensor = torch.cat(found)
        """(|V|, L) choice indices, in the order of the space."""
        if not len(self.feasible):
            raise no_feasible(space, self.limits)

    def count(self) -> int:
        """|V|."""
        return len(self.feasible)

    def log_prob(self, logits: Tensor) -> Tensor:
        """log P(V): logits (..., L, C) → (...), differentiable."""
        return log_prob(logits, self._feasible_on(logits)).logsumexp(dim=-1)

    @torch.no_grad()
    def log_prob_and_marginals(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """log P(V), (...), and P(y_i = j | V), (..., L, C); 0 where padded."""
        feasible = self._feasible_on(logits)
        log_p = log_prob(logits, feasible)
        log_prob_valid = log_p.logsumexp(dim=-1)
        return log_prob_valid, onehot_mean(feasible, (log_p - log_prob_valid[..., None]).exp(), logits)

    def marginals(self, logits: Tensor) -> Tensor:
        """P(y_i = j | V), (..., L, C); 0 where padded."""
        return self.log_prob_and_marginals(logits)[1]

    @torch.no_grad()
    def entropy(self, logits: Tensor) -> Tensor:
        """Entropy of P(y | V) in nats, scalar."""
        entropy: Tensor = torch.special.entr(log_prob(logits, self._feasible_on(logits)).softmax(dim=0)).sum()
        return entropy

    def solve(self, logits: Tensor) -> "ListedSolution":
        """V with its probabilities at some logits (L, C)."""
        return ListedSolution(self, logits)

    def sample(self, logits: Tensor, n: int, *, generator: torch.Generator) -> Tensor:
        """n independent draws from P(y | V): (n, L) choice indices."""
        return self.solve(logits).sample(n, generator=generator)

    @torch.no_grad()
    def most_probable(self, logits: Tensor, k: int) -> Tensor:
        """The k most probable architectures of V (all, if V has fewer), most probable first: (k, L) choice indices."""
        feasible = self.feasible.cpu()
        return feasible[log_prob(logits.cpu(), feasible).argsort(descending=True, stable=True)[:k]]

    def _feasible_on(self, logits: Tensor) -> Tensor:
        if self.feasible.device != logits.device:
            self.feasible = self.feasible.to(logits.device)
        return self.feasible


class ListedSolution:
    """log P(V), and what follows from it, at given logits."""

    def __init__(self, program: Enumeration, logits: Tensor) -> None:
        self._feasible, self._like = program.feasible.cpu(), logits.detach().cpu().double()
        log_p = log_prob(self._like, self._feasible)
        self.log_prob = min(0.0, float(log_p.logsumexp(dim=0)))
        self._probabilities = log_p.softmax(dim=0)

    def marginals(self) -> Tensor:
        """P(y_i = j | V), (L, C) float64; 0 where padded."""
        return onehot_mean(self._feasible, self._probabilities, self._like)

    def sample(self, n: int, *, generator: torch.Generator) -> Tensor:
        """n independent draws from P(y | V): (n, L) choice indices."""
        cumulative = self._probabilities.cumsum(dim=0)
        uniform = torch.rand(n, generator=generator, dtype=torch.float64) * cumulative[-1]
        return self._feasible[torch.searchsorted(cumulative, uniform, right=True)]


def no_feasible(space: SearchSpace, limits: Limits) -> UserError:
    """The error of an empty V, naming the smallest cost there is."""
    for cost, most in zip(limits.costs, limits.at_most, strict=True):
        smallest = cost(space.smallest)
        if smallest > most:
            needed, given = smallest / cost.scale, most / cost.scale
            return UserError(
                "limits",
                f"the limit on {cost.name} must be at least {needed:g}, the cost of the smallest architecture",
                given if cost.scale > 1 else most,
                f"raise the limit to {needed:g} or more, or add smaller widths to space.choices",
            )
    remedy = "raise one of them, or add smaller widths to space.choices"
    return UserError("limits", f"must all hold for {hyphenated(space.smallest)} at least", limits.at_most, remedy)


def _unravel(flat: Tensor, n_choices: tuple[int, ...]) -> Tensor:
    columns = torch.unravel_index(flat, n_choices)
    return torch.stack(columns, dim=1)
