"""P(y), P(y | V) and P(V) of many controllers at once in a space small enough to list, in nanoseconds a run.

May import space, cost and feasibility. Tensors have the runs last in memory, whatever their shape: torch works ten times
as fast along a long last dimension as along one of a few choices.
"""

import torch
from torch import Tensor

from tabnas.cost import Limits
from tabnas.feasibility import MonteCarlo
from tabnas.space import SearchSpace


def runs_last(logits: Tensor, num_runs: int) -> Tensor:
    """Copies of logits (L, C) for R runs: (R, L, C), with the runs last in memory."""
    return logits[..., None].repeat(1, 1, num_runs).permute(2, 0, 1)


class Joint:
    """What Enumeration and `controller.sample` give, over all S architectures, of which the |V| feasible come first.

    Logits (R, L, C) float32, best made by `runs_last`; what follows from them is kept until other logits come, so they
    must not be changed in place. generator: of the draws, one uniform number each.
    """

    def __init__(self, space: SearchSpace, limits: Limits, generator: torch.Generator) -> None:
        self.generator = generator
        listed = torch.stack(torch.unravel_index(torch.arange(space.size), space.n_choices), dim=1)
        allowed = limits.allow_many(space.gather_widths(listed))
        self.order = torch.cat([allowed.nonzero()[:, 0], (~allowed).nonzero()[:, 0]])
        """(S,): where each of these architectures stands in the order of the space."""
        self.n_feasible = int(allowed.sum())
        self.architectures = listed[self.order]
        """(S, L) choice indices."""
        self._columns = self.architectures.T.contiguous()
        onehots = torch.nn.functional.one_hot(self.architectures, space.mask.shape[1]).flatten(1).float()  # (S, L C)
        self._choices = space.mask.flatten().nonzero()[:, 0]  # those not padded
        self._onehots = onehots[:, self._choices]
        self.feasible_onehots = onehots[: self.n_feasible].T.contiguous()
        """(L C, |V|)."""
        self._logits: Tensor | None = None

    def draw(self, logits: Tensor, n: int) -> Tensor:
        """n independent draws from P(y): (R, n, L) choice indices."""
        return self._pick(self.cumulative(logits), n)

    def sample(self, logits: Tensor, n: int) -> Tensor:
        """n independent draws from P(y | V): (R, n, L) choice indices."""
        self._weigh_feasible(logits)
        return self._pick(self._feasible_cumulative, n)

    def log_prob_and_marginals(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """log P(V), (R,), and P(y_i = j | V), (R, L, C)."""
        total = self.cumulative(logits)[-1]
        self._weigh_feasible(logits)
        within = self._feasible_cumulative[-1]
        log_prob_valid = (within / total).log() + (self._feasible_largest - self._largest)
        marginals = self.feasible_onehots @ (self._feasible_weights / within)
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

    def _weigh_feasible(self, logits: Tensor) -> None:
        """The same for V alone, from weights of its own: those above may be too small for float32."""
        scores = self._scores(logits)[: self.n_feasible]
        if self._feasible_weights is None:
            self._feasible_largest = scores.amax(dim=0)
            self._feasible_weights = (scores - self._feasible_largest).exp_()
            self._feasible_cumulative = self._feasible_weights.cumsum(dim=0)

    def _scores(self, logits: Tensor) -> Tensor:
        """The sum of each architecture's logits, (S, R): log P(y) but for a constant of each run."""
        if logits is not self._logits:
            flat = logits.movedim(0, -1).reshape(-1, len(logits))
            if len(self._choices) < len(flat):
                flat = flat[self._choices]
            self._logits, self._present = logits, self._onehots @ flat
            self._cumulative: Tensor | None = None
            self._feasible_weights: Tensor | None = None
        return self._present

    def _pick(self, cumulative: Tensor, n: int) -> Tensor:
        """n architectures of each run by their cumulative weights (k, R): (R, n, L) choice indices."""
        uniform = torch.rand(n, cumulative.shape[1], generator=self.generator).mul_(cumulative[-1])
        picked = (cumulative[:-1, None] <= uniform).sum(dim=0)
        return self._columns.index_select(1, picked.flatten()).view(-1, *picked.shape).permute(2, 1, 0)


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
        differences = torch.eye(n) - torch.eye(n).roll(-1, dims=1).tril(-1)  # of counts up to each, counts of each
        self._from_counts = joint.feasible_onehots @ differences

    def log_prob_and_marginals(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """log P̂(V), (R,), and P̂(y_i = j | V), (R, L, C); -inf and 0 where no draw is feasible."""
        cumulative = self.joint.cumulative(logits)
        uniform = torch.rand(self.num_samples, len(logits), generator=self.generator).mul_(cumulative[-1])
        counts = torch.stack([(uniform < up_to).sum(dim=0) for up_to in cumulative[: self.joint.n_feasible]]).to(logits)
        hits = counts[-1]
        marginals = self._from_counts @ (counts / hits.clamp(min=1.0))
        return (hits / self.num_samples).log(), as_logits(marginals, logits)


def as_logits(flat: Tensor, logits: Tensor) -> Tensor:
    """(L C, R) → (R, L, C), the runs still last in memory."""
    return flat.view(*logits.shape[1:], -1).permute(2, 0, 1)
