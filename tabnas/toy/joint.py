"""P(y), P(y | V) and P(V) of many controllers at once in a space small enough to list, in nanoseconds a run.

May import space, cost and feasibility. Tensors have the runs last in memory, whatever their shape: torch works ten
times as fast along a long last dimension as along one of a few choices.
"""

import torch
from torch import Tensor

from tabnas.cost import Limits
from tabnas.feasibility import MonteCarlo
from tabnas.space import SearchSpace

BLOCK = 128  # Monte-Carlo draws of each run at once, which bounds memory


def runs_last(logits: Tensor, num_runs: int) -> Tensor:
    """Copies of logits (L, C) for R runs: (R, L, C), with the runs last in memory."""
    return logits[..., None].repeat(1, 1, num_runs).permute(2, 0, 1)


def position(children: Tensor, space: SearchSpace) -> Tensor:
    """Where architectures stand in the order of the space: (..., L) choice indices → (...) int64."""
    index = children[..., 0]
    for i, n in enumerate(space.n_choices[1:], start=1):
        index = index * n + children[..., i]
    return index


class Joint:
    """What Enumeration and `controller.sample` give, over all S architectures, of which the |V| feasible come first.

    Logits (R, L, C) float32, best made by `runs_last`; what follows from them is kept until other logits come, so they
    must not be changed in place. generator: of the draws, one uniform number each.
    """

    def __init__(self, space: SearchSpace, limits: Limits, generator: torch.Generator) -> None:
        self.space, self.generator = space, generator
        listed = torch.stack(torch.unravel_index(torch.arange(space.size), space.n_choices), dim=1)
        self.allowed = limits.allow_many(space.gather_widths(listed))
        """(S,) bool, in the order of the space."""
        self.order = torch.cat([self.allowed.nonzero()[:, 0], (~self.allowed).nonzero()[:, 0]])
        """(S,): where each of `architectures` stands in the order of the space."""
        self.n_feasible = int(self.allowed.sum())
        self.architectures = listed[self.order]
        """(S, L) choice indices."""
        self._columns = self.architectures.T.contiguous()
        onehots = torch.nn.functional.one_hot(self.architectures, space.mask.shape[1]).flatten(1).float()  # (S, L C)
        self._choices = space.mask.flatten().nonzero()[:, 0]  # those not padded
        self._onehots = onehots[:, self._choices]
        self.feasible_onehots = onehots[: self.n_feasible].T.contiguous()
        """(L C, |V|)."""
        self._logits: Tensor | None = None
        self._cumulative: Tensor | None = None
        self._feasible_weights: Tensor | None = None

    def is_feasible(self, children: Tensor) -> Tensor:
        """children (..., L) choice indices → (...) bool."""
        return self.allowed.take(position(children, self.space))

    def draw(self, logits: Tensor, n: int) -> Tensor:
        """n independent draws from P(y): (R, n, L) choice indices."""
        return self._pick(self.cumulative(logits), n)

    def sample(self, logits: Tensor, n: int) -> Tensor:
        """n independent draws from P(y | V): (R, n, L) choice indices."""
        self._feasible(logits)
        return self._pick(self._feasible_cumulative, n)

    def log_prob_and_marginals(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """log P(V), (R,), and P(y_i = j | V), (R, L, C)."""
        total = self.cumulative(logits)[-1]
        weights = self._feasible(logits)
        within = self._feasible_cumulative[-1]
        log_prob_valid = (within / total).log() + (self._feasible_largest - self._largest)
        marginals = self.feasible_onehots @ (weights / within)
        return log_prob_valid.clamp(max=0.0), as_logits(marginals, logits)

    def probabilities(self, logits: Tensor) -> Tensor:
        """P(y), (R, S), in the order of `architectures`."""
        return self._scores(logits).softmax(dim=0).T

    def cumulative(self, logits: Tensor) -> Tensor:
        """Σ_{k ≤ s} of weights in proportion to P(y_k): (S, R)."""
        scores = self._scores(logits)
        if self._cumulative is None:
            self._largest = scores.amax(dim=0)
            self._cumulative = (scores - self._largest).exp_().cumsum(dim=0)
        return self._cumulative

    def _feasible(self, logits: Tensor) -> Tensor:
        """Weights in proportion to P(y | V), (|V|, R): those of `cumulative` may be too small for float32."""
        scores = self._scores(logits)[: self.n_feasible]
        if self._feasible_weights is None:
            self._feasible_largest = scores.amax(dim=0)
            self._feasible_weights = (scores - self._feasible_largest).exp_()
            self._feasible_cumulative = self._feasible_weights.cumsum(dim=0)
        return self._feasible_weights

    def _scores(self, logits: Tensor) -> Tensor:
        """The sum of each architecture's logits, (S, R): log P(y) but for a constant of each run."""
        if logits is not self._logits:
            flat = logits.movedim(0, -1).reshape(-1, len(logits))
            if len(self._choices) < len(flat):
                flat = flat[self._choices]
            self._logits, self._present = logits, self._onehots @ flat
            self._cumulative = self._feasible_weights = None
        return self._present

    def _pick(self, cumulative: Tensor, n: int) -> Tensor:
        """n architectures of each run by their cumulative weights (k, R): (R, n, L) choice indices."""
        uniform = torch.rand(n, cumulative.shape[1], generator=self.generator).mul_(cumulative[-1])
        below = torch.empty(len(cumulative) - 1, *uniform.shape)  # a comparison into floats is twice as fast to sum
        picked = torch.le(cumulative[:-1, None], uniform, out=below).sum(dim=0).long()
        columns = self._columns.gather(1, picked.flatten().expand(len(self._columns), -1))
        return columns.view(-1, *picked.shape).permute(2, 1, 0)


class JointMonteCarlo(MonteCarlo):
    """MonteCarlo with draws from p, for many runs in a listed space: the same estimate from the same distribution.

    Each of the N draws is one of V or a miss, so that one uniform number makes it.
    """

    def __init__(self, joint: Joint, like: MonteCarlo) -> None:
        if like.proposal != "p":
            raise ValueError(f'draws are from "p", not from {like.proposal!r}')
        costs, at_most = like.limits.costs, like.limits.at_most
        super().__init__(like.space, costs, at_most, num_samples=like.num_samples, generator=joint.generator)
        self.joint = joint
        n = joint.n_feasible
        differences = torch.eye(n) - torch.diag(torch.ones(n - 1), -1)  # from the counts up to each to those of each
        self._from_counts = joint.feasible_onehots @ differences

    def log_prob_and_marginals(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """log P̂(V), (R,), and P̂(y_i = j | V), (R, L, C); -inf and 0 where no draw is feasible."""
        cumulative = self.joint.cumulative(logits)
        up_to = cumulative[: self.joint.n_feasible, None]
        counts = torch.zeros(len(up_to), len(logits))  # of draws up to each of V
        for start in range(0, self.num_samples, BLOCK):
            some = min(BLOCK, self.num_samples - start)
            uniform = torch.rand(some, len(logits), generator=self.generator).mul_(cumulative[-1])
            counts += torch.lt(uniform, up_to, out=torch.empty(len(up_to), *uniform.shape)).sum(dim=1)
        hits = counts[-1]
        marginals = self._from_counts @ (counts / hits.clamp(min=1.0))
        return (hits / self.num_samples).log(), as_logits(marginals, logits)


def as_logits(flat: Tensor, logits: Tensor) -> Tensor:
    """(L C, R) → (R, L, C), the runs still last in memory."""
    return flat.view(*logits.shape[1:], -1).permute(2, 0, 1)
