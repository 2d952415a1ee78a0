"""P(V) exactly, by listing V. The paper's "computed exactly for small search spaces" (section 3.3)."""

import torch
from torch import Tensor

from tabnas.controller import log_prob
from tabnas.cost import Cost
from tabnas.errors import UserError
from tabnas.space import SearchSpace

CHUNK = 1 << 20  # architectures costed at once while listing, which bounds memory


class Enumeration:
    """Lists every architecture whose cost is at most `limit`.

    Takes time and memory in the size of the space once, and in the size of V at every call.
    Raises UserError (key `limits`) if V is empty.

    >>> from tabnas.cost import ParameterCount
    >>> toy = Enumeration(SearchSpace([[2, 3, 4], [2, 3, 4]]), ParameterCount(2, 1), limit=25)
    >>> toy.count(), round(toy.log_prob(torch.zeros(2, 3)).exp().item(), 4)
    (6, 0.6667)
    """

    def __init__(self, space: SearchSpace, cost: Cost, limit: int) -> None:
        self.space = space
        found = []
        for start in range(0, space.size, CHUNK):
            indices = _unravel(torch.arange(start, min(start + CHUNK, space.size)), space.n_choices)
            found.append(indices[cost.many(space.gather_widths(indices)) <= limit])
        self.feasible: Tensor = torch.cat(found)
        """(|V|, L) choice indices, in the order of the space."""
        if not len(self.feasible):
            raise no_feasible(space, cost, limit)

    def count(self) -> int:
        """|V|."""
        return len(self.feasible)

    def log_prob(self, logits: Tensor) -> Tensor:
        """log P(V): scalar, differentiable."""
        if self.feasible.device != logits.device:
            self.feasible = self.feasible.to(logits.device)
        return log_prob(logits, self.feasible).logsumexp(dim=0)

    @torch.no_grad()
    def sample(self, logits: Tensor, n: int, *, generator: torch.Generator) -> Tensor:
        """n independent draws from P(y | V): (n, L) choice indices."""
        feasible = self.feasible.cpu()
        probabilities = log_prob(logits.cpu().double(), feasible).softmax(dim=0)
        return feasible[probabilities.multinomial(n, replacement=True, generator=generator)]

    @torch.no_grad()
    def most_probable(self, logits: Tensor, k: int) -> Tensor:
        """The k most probable architectures of V (all, if V has fewer), most probable first: (k, L) choice indices."""
        feasible = self.feasible.cpu()
        return feasible[log_prob(logits.cpu(), feasible).argsort(descending=True, stable=True)[:k]]


def no_feasible(space: SearchSpace, cost: Cost, limit: int) -> UserError:
    """The error of an empty V, naming the smallest cost there is."""
    smallest = cost(space.smallest)
    return UserError(
        "limits",
        f"the limit on {cost.name} must be at least {smallest}, the cost of the smallest architecture",
        limit,
        f"raise the limit to {smallest} or more, or add smaller widths to space.choices",
    )


def _unravel(flat: Tensor, n_choices: tuple[int, ...]) -> Tensor:
    columns = torch.unravel_index(flat, n_choices)
    return torch.stack(columns, dim=1)
