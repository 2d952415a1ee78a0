"""Optimizers and learning-rate schedules, and how a child alone is updated. May import supernet.

"Only the weights in the child network are updated" (section 3.1). A child's weights are leading slices of the
SuperNet's, and its optimizer state the same slices of the SuperNet's state. `gather` hands out those slices as leaf
tensors, copied where they are not contiguous; `update` runs torch's own fused step on them and writes the copies back.
Outside the child neither weights nor moments change: no decay, no drift on stale momentum.

Of an embedding table a step takes the rows its minibatch uses, in the same way: the others' moments stand still, as
with torch.optim.SparseAdam, so that a step's time does not grow with the vocabulary. A dense Adam would go on moving a
vector for some steps after its value was last seen.

Departure: Adam's bias correction counts the optimizer's steps, not the steps of each weight, as torch.optim.SparseAdam
does. A weight that has seen n of t steps therefore takes steps up to sqrt((1 - β2^t) / (1 - β2^n)) times too long. The
whole SuperNet is trained at t = 1 and in about half of warmup's steps, so that this is at most 1.35 in a search of
6,330 steps (a weight not seen since warmup); it is more in shorter searches and with a shorter warmup.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from tabnas.errors import UserError, require_number, require_one_of
from tabnas.supernet import Region

Schedule = Literal["constant", "cosine"]


def schedule_factor(schedule: Schedule, progress: float) -> float:
    """Share of the base learning rate at `progress` in [0, 1] of the training; cosine falls from 1 to 0.

    >>> schedule_factor("cosine", 0.5)
    0.5
    """
    return 1.0 if schedule == "constant" else (1.0 + math.cos(math.pi * progress)) / 2.0


Part = Region | Tensor | None
"""Of a parameter: a leading slice in each dimension, rows by their numbers, or the whole."""


@dataclass
class Child:
    """What one weight step trains: per parameter of the optimizer, the leaf tensor that gets the gradient."""

    regions: Sequence[Part]
    leaves: list[Tensor]


class ChildOptimizer(torch.optim.Optimizer):
    """Updates slices of its parameters. With whole parameters it is torch's optimizer of the same name."""

    state_names: tuple[str, ...]

    def __init__(self, parameters: Sequence[Tensor], defaults: dict[str, Any]) -> None:
        super().__init__(parameters, {**defaults, "fused": fused_on(parameters[0])})
        self.parameters: list[Tensor] = self.param_groups[0]["params"]
        for p in self.parameters:
            self.state[p] = {name: torch.zeros_like(p) for name in self.state_names}
            self.state[p]["step"] = torch.zeros((), dtype=torch.float32, device=p.device)

    def gather(self, regions: Sequence[Part]) -> Child:
        """The leaves of a child. regions: per parameter, in order, its part in the child."""
        leaves = [
            p if region is None else _part(p.detach(), region).contiguous().requires_grad_()
            for p, region in zip(self.parameters, regions, strict=True)
        ]
        return Child(regions, leaves)

    @torch.no_grad()
    def update(self, child: Child) -> None:
        """One step on the child's slices from the gradients of its leaves, which are then cleared.

        Not called `step`, around which torch puts hooks that take as long as the rest.
        """
        slices: dict[str, list[Tensor]] = {name: [] for name in self.state_names}
        copies: list[Tensor] = []
        originals: list[Tensor] = []
        rows: list[tuple[Tensor, Tensor, Tensor]] = []
        values, gradients, steps = [], [], []
        # The state's values are in the order of the parameters, and no tensor is hashed to look them up.
        for p, state, region, leaf in zip(
            self.parameters, self.state.values(), child.regions, child.leaves, strict=True
        ):
            if leaf.grad is None:
                raise RuntimeError("update needs a gradient for every leaf of the child; run backward first")
            values.append(leaf)
            gradients.append(leaf.grad)
            leaf.grad = None
            steps.append(state["step"])
            own = [state[name] if region is None else _part(state[name], region) for name in self.state_names]
            if isinstance(region, Tensor):
                rows.append((p, region, leaf))
                rows += [(state[name], region, part) for name, part in zip(self.state_names, own, strict=True)]
            elif leaf.data_ptr() != p.data_ptr():  # the leaf is a copy, as its region is not contiguous
                parts = [part.contiguous() for part in own]
                originals += [_part(p, region), *own]
                copies += [leaf, *parts]
                own = parts
            for name, part in zip(self.state_names, own, strict=True):
                slices[name].append(part)
        self._update(values, gradients, slices, steps)
        if copies:
            torch._foreach_copy_(originals, copies)
        for whole, numbers, part in rows:
            whole.index_copy_(0, numbers, part.detach())

    def _update(
        self, values: list[Tensor], gradients: list[Tensor], state: dict[str, list[Tensor]], steps: list[Tensor]
    ) -> None:
        raise NotImplementedError

    @torch.no_grad()
    def update_where(self, masks: Sequence[Tensor], rate: Tensor) -> None:
        """The same step in tensors of fixed shapes, for XLA: from the parameters' own gradients, which are cleared.

        masks: per parameter a bool tensor that broadcasts to it, where it is updated; nothing counts as a step where
            none holds. rate: scalar, in place of the group's, so that it is no constant of a compiled graph.
        """
        for p, state, mask in zip(self.parameters, self.state.values(), masks, strict=True):
            assert p.grad is not None
            state["step"] += mask.any().to(state["step"])
            value, *moments = self._stepped(p, p.grad, state, rate)
            p.copy_(torch.where(mask, value, p))
            for name, moment in zip(self.state_names, moments, strict=True):
                state[name].copy_(torch.where(mask, moment, state[name]))
            p.grad = None

    def _stepped(self, p: Tensor, gradient: Tensor, state: dict[str, Tensor], rate: Tensor) -> tuple[Tensor, ...]:
        """The parameter and its state, in the order of state_names, after a step everywhere."""
        raise NotImplementedError


def _part(tensor: Tensor, region: Part) -> Tensor:
    """A view of a slice, or a copy of rows."""
    return tensor.index_select(0, region) if isinstance(region, Tensor) else tensor[region]


class ChildAdam(ChildOptimizer):
    """torch.optim.Adam on a child's slices."""

    state_names = ("exp_avg", "exp_avg_sq")

    def __init__(self, parameters: Sequence[Tensor], lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps})

    def _update(
        self, values: list[Tensor], gradients: list[Tensor], state: dict[str, list[Tensor]], steps: list[Tensor]
    ) -> None:
        group = self.param_groups[0]
        adam(
            values,
            gradients,
            state["exp_avg"],
            state["exp_avg_sq"],
            [],
            steps,
            fused=group["fused"],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )

    def _stepped(self, p: Tensor, gradient: Tensor, state: dict[str, Tensor], rate: Tensor) -> tuple[Tensor, ...]:
        (beta1, beta2), eps = self.param_groups[0]["betas"], self.param_groups[0]["eps"]
        mean = torch.lerp(gradient, state["exp_avg"], beta1)
        square = beta2 * state["exp_avg_sq"] + (1 - beta2) * gradient.square()
        log_betas = [math.log(beta) if beta else -math.inf for beta in (beta1, beta2)]
        corrections = [-torch.expm1(state["step"].to(p) * log_beta) for log_beta in log_betas]  # 1 − β^t
        step = rate / corrections[0] * mean / ((square / corrections[1]).sqrt() + eps)
        return p - step, mean, square


class ChildSGD(ChildOptimizer):
    """torch.optim.SGD with momentum on a child's slices."""

    state_names = ("momentum_buffer",)

    def __init__(self, parameters: Sequence[Tensor], lr: float, momentum: float) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    def _update(
        self, values: list[Tensor], gradients: list[Tensor], state: dict[str, list[Tensor]], steps: list[Tensor]
    ) -> None:
        group = self.param_groups[0]
        sgd(
            values,
            gradients,
            list(state["momentum_buffer"]) if group["momentum"] else [None] * len(values),
            fused=group["fused"],
            weight_decay=0.0,
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )

    def _stepped(self, p: Tensor, gradient: Tensor, state: dict[str, Tensor], rate: Tensor) -> tuple[Tensor, ...]:
        momentum = self.param_groups[0]["momentum"]
        if not momentum:
            return p - rate * gradient, state["momentum_buffer"]
        average = momentum * state["momentum_buffer"] + gradient
        return p - rate * average, average


def fused_on(tensor: Tensor) -> bool:
    """Whether torch has fused optimizer kernels for the device of `tensor`."""
    return tensor.device.type in ("cpu", "cuda", "mps")


@dataclass(frozen=True)
class Adam:
    """Settings of Adam; the defaults beside the rate are the paper's (Table 2)."""

    lr: float
    betas: Sequence[float] = (0.9, 0.999)
    eps: float = 1e-3
    schedule: Schedule = "constant"

    def __post_init__(self) -> None:
        _check_rate(self.lr, self.schedule)
        pair = isinstance(self.betas, Sequence) and len(self.betas) == 2
        if not pair or not all(isinstance(b, int | float) and 0 <= b < 1 for b in self.betas):
            remedy = "the paper has [0.9,0.999]"
            raise UserError("optimizer.betas", "must be two numbers in [0, 1)", self.betas, remedy)
        require_number("optimizer.eps", self.eps, low=0, open_low=True, remedy="the paper has 0.001")

    def dense(self, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
        """For a network all of which is trained at every step."""
        betas = (self.betas[0], self.betas[1])
        return torch.optim.Adam(parameters, lr=self.lr, betas=betas, eps=self.eps, fused=fused_on(parameters[0]))

    def child(self, parameters: Sequence[Tensor]) -> ChildOptimizer:
        """For a SuperNet of which one child is trained at every step."""
        return ChildAdam(parameters, lr=self.lr, betas=(self.betas[0], self.betas[1]), eps=self.eps)


@dataclass(frozen=True)
class SGD:
    """Settings of stochastic gradient descent, with momentum or without (0)."""

    lr: float
    momentum: float = 0.0
    schedule: Schedule = "constant"

    def __post_init__(self) -> None:
        _check_rate(self.lr, self.schedule)
        require_number("optimizer.momentum", self.momentum, low=0, high=0.9999, remedy="the paper has 0.9 for Volkert")

    def dense(self, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
        """For a network all of which is trained at every step."""
        return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum, fused=fused_on(parameters[0]))

    def child(self, parameters: Sequence[Tensor]) -> ChildOptimizer:
        """For a SuperNet of which one child is trained at every step."""
        return ChildSGD(parameters, lr=self.lr, momentum=self.momentum)


def _check_rate(lr: float, schedule: str) -> None:
    require_number("optimizer.lr", lr, low=0, open_low=True, remedy="the paper's rates are 0.0005 to 0.05")
    require_one_of("optimizer.schedule", schedule, ("constant", "cosine"))
