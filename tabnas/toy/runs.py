"""Many independent searches of one method as one tensor program. May import method, optim and what they import."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from tabnas.controller import Controller
from tabnas.feasibility import MonteCarlo
from tabnas.method import ConditionalDraws, Method, Rejection, Step
from tabnas.optim import Adam, schedule_factor
from tabnas.reward import quality
from tabnas.toy.joint import Joint, JointMonteCarlo, runs_last
from tabnas.toy.table import LossTable


class RunwiseAdam:
    """torch.optim.Adam for R runs at once, each with a step count of its own, as runs skip steps.

    settings: betas and eps; the rate comes with each step.
    like: the logits (R, L, C).
    """

    def __init__(self, settings: Adam, like: Tensor) -> None:
        self.betas, self.eps = settings.betas, settings.eps
        self.moments = [torch.zeros_like(like), torch.zeros_like(like)]
        # 1 − β^t of each, the moving average of ones; not 0 before the first step, so that 0 / weight is 0.
        self.weights = [torch.full_like(like[:, :1, :1], 1e-30) for _ in self.betas]
        self.one = torch.ones_like(self.weights[0])

    def step(self, logits: Tensor, ascent: Tensor, applies: Tensor, rate: float | Tensor) -> Tensor:
        """The logits after a step up `ascent` (R, L, C), finite everywhere, of the runs where `applies` (R,)."""
        applies = applies.to(logits)[:, None, None]
        powers = (ascent, ascent * ascent)
        shares = [applies * (1.0 - beta) for beta in self.betas]
        self.moments = [m.lerp(x, share) for m, x, share in zip(self.moments, powers, shares, strict=True)]
        self.weights = [w.lerp(self.one, share) for w, share in zip(self.weights, shares, strict=True)]
        (mean, square), (mean_weight, square_weight) = self.moments, self.weights
        root = (square / square_weight).sqrt_().add_(self.eps)
        return torch.addcdiv(logits, mean * (applies * rate / mean_weight), root)


class Runs:
    """R searches over a table of losses, each with logits, draws, baseline and optimizer of its own.

    method: fresh, and for these runs alone: its draws and P(V) come from a Joint over the space from now on. Its beta
        may have been set to a tensor (R, 1).
    total_steps: of each search.
    first_reward: "step", as Algorithm 1 has it: the baseline is 0 at the start, so that the first advantage is the
        whole reward; or "baseline": the first reward only starts the baseline, and no step is made of it.
    skipped: what a step that does not apply is to Adam: "nothing", as in the search, or "zero", a gradient of 0.

    >>> from tabnas.cost import Limits, ParameterCount
    >>> from tabnas.space import SearchSpace
    >>> space = SearchSpace([[2, 3, 4], [2, 3, 4]])
    >>> method = ConditionalDraws(
    ...     space=space, limits=Limits(ParameterCount(2, 1), 25), generator=torch.Generator().manual_seed(0),
    ...     name="tabnas_exact", eta=0.03,
    ... )
    >>> table = LossTable({"-".join(map(str, w)): 1 / sum(w) for w in space}, 2, 1, space)
    >>> runs = Runs(method, table, 1000, total_steps=250)
    >>> runs.run()
    >>> runs.logits.shape, runs.evaluations.max().item()
    (torch.Size([1000, 2, 3]), 500)
    """

    def __init__(
        self,
        method: Method,
        table: LossTable,
        num_runs: int,
        *,
        total_steps: int,
        first_reward: Literal["step", "baseline"] = "step",
        skipped: Literal["nothing", "zero"] = "nothing",
    ) -> None:
        if first_reward == "baseline" and method.num_children > 1:
            raise ValueError("with several children a step there is no baseline to start")
        self.method, self.table, self.total_steps = method, table, total_steps
        self.first_reward, self.skipped = first_reward, skipped
        self.joint = Joint(method.space, method.limits, method.generator)
        method.feasible = self.joint
        if isinstance(method, Rejection):
            estimator = method.estimator
            method.estimator = (
                JointMonteCarlo(self.joint, estimator) if isinstance(estimator, MonteCarlo) else self.joint
            )
            method.evaluated = self.joint.is_feasible  # type: ignore[method-assign]
        if not isinstance(method, ConditionalDraws):  # which draws from `feasible`
            method.draw = self._draw  # type: ignore[method-assign]
        self.logits = runs_last(Controller(method.space).logits.detach(), num_runs)
        self.adam = RunwiseAdam(Adam(lr=method.eta), self.logits)
        self.n_steps = 0
        self.evaluations = torch.zeros(num_runs, dtype=torch.int64)
        """(R,): children whose loss was looked up."""

    def run(self, observe: Callable[["Runs", Step], None] = lambda runs, step: None) -> None:
        """All steps; `observe` sees each before the logits move."""
        while self.n_steps < self.total_steps:
            self.step(observe)

    def step(self, observe: Callable[["Runs", Step], None] = lambda runs, step: None) -> None:
        """One step of each run."""
        method, logits = self.method, self.logits
        started = torch.as_tensor(method.baseline.weight) > 1e-20
        children = method.draw(logits)
        evaluated = method.evaluated(children)
        step = method.step(logits, children, quality(self.table.loss(children)), evaluated)
        observe(self, step)
        applies = step.applies & started if self.first_reward == "baseline" else step.applies
        ascent = step.ascent
        if self.skipped == "zero":
            ascent, applies = ascent * applies[:, None, None], torch.ones_like(applies)
        rate = method.eta * schedule_factor(method.rl_schedule, self.n_steps / self.total_steps)
        if method.rl_optimizer == "adam":
            self.logits = self.adam.step(logits, ascent, applies, rate)
        else:
            self.logits = logits + ascent * (applies.to(logits) * rate)[:, None, None]
        self.evaluations += evaluated.sum(dim=-1)
        self.n_steps += 1

    def _draw(self, logits: Tensor, n_replicas: int = 1) -> Tensor:
        return self.joint.draw(logits, n_replicas * self.method.num_children)

    def most_probable_feasible(self) -> Tensor:
        """The architecture of V that each run finds most probable: (R,), as the joint's `architectures` has them."""
        return self.joint.probabilities(self.logits)[:, : self.joint.n_feasible].argmax(dim=1)

    def argmax_is_feasible(self) -> Tensor:
        """(R,) bool: whether the layers' most probable choices make a feasible architecture; no method enforces it."""
        return self.joint.probabilities(self.logits).argmax(dim=1) < self.joint.n_feasible
