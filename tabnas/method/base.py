"""What the methods have in common."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from tabnas.controller import sample
from tabnas.cost import Limits
from tabnas.errors import UserError, require_integer, require_number, require_one_of
from tabnas.feasibility import ChainProgram, Enumeration, Listed, MonteCarlo, Refreshed, Stepwise, exact, stepwise
from tabnas.feasibility.enumeration import no_feasible
from tabnas.reward import MovingAverage
from tabnas.space import SearchSpace

LARGE_SPACE_SAMPLES = 32_768  # N where exact P(V) is not to be had: the paper's for 160,000 and 3,200,000 architectures


class Step(NamedTuple):
    """What an RL step does to the logits."""

    ascent: Tensor
    """(..., L, C): the estimated gradient of the expected reward."""
    applies: Tensor
    """(...) bool: False where the step is to be skipped."""
    reward: Tensor
    """(..., K)."""
    advantage: Tensor
    """(..., K)."""
    log_prob_valid: Tensor | None
    """(...): log P(V) as it entered the step; None where it did not."""

    @property
    def why_skipped(self) -> str:
        """Of a single run's step that does not apply: no sample of N is feasible, or no child."""
        return "no_sample" if self.log_prob_valid is not None and self.log_prob_valid == -torch.inf else "infeasible"


class Method:
    """A search method: the settings that all have, and the exact program for P(V).

    space, limits: what is searched, within what.
    generator: of all draws.

    The settings, in conf/search/*.yaml, say what each is.
    rl_from: the share of the steps after which RL steps begin; at the end of warmup (the paper's choice) where that is
        later, or rl_from is None.
    weight_draws: what the weight step's child is drawn from, "p", the controller's distribution (the paper's choice),
        or "valid", P(y | V).
    replicas_per_device: how many of the paper's TPU cores (appendix B.2.2) one device stands for. Every replica draws
        children of its own, in each step one for the weights and K for the controller.
    """

    num_children = 1
    """K, of a replica's RL step."""
    has_controller = True
    """Whether RL steps move the logits from where they begin, at a uniform distribution."""
    trains_supernet = True
    """Whether there is anything to train before a choice is made."""

    def __init__(
        self,
        *,
        space: SearchSpace,
        limits: Limits,
        generator: torch.Generator,
        name: str,
        eta: float = 0.02,
        rl_optimizer: Literal["adam", "sgd"] = "adam",
        rl_schedule: Literal["constant", "cosine"] = "constant",
        rl_from: float | None = None,
        rl_every: int = 1,
        baseline_decay: float = 0.9,
        warmup_fraction: float = 0.25,
        weight_draws: Literal["p", "valid"] = "p",
        skip_infeasible_weight_updates: bool = False,
        replicas_per_device: int = 1,
        selection: Mapping[str, Any] | None = None,
    ) -> None:
        require_number(
            "search.eta", eta, low=0, open_low=True, remedy="0.02 is the default, the paper has 0.001 to 0.01"
        )
        require_one_of("search.rl_optimizer", rl_optimizer, ("adam", "sgd"))
        require_one_of("search.rl_schedule", rl_schedule, ("constant", "cosine"))
        if rl_from is not None:
            remedy = "0.6: once 60 % of the steps are over; null: after warmup, as in the paper"
            require_number("search.rl_from", rl_from, low=0, high=0.99, remedy=remedy)
        require_integer("search.rl_every", rl_every, low=1, remedy="the paper has 1")
        require_number("search.baseline_decay", baseline_decay, low=0, high=0.9999, remedy="the paper has 0.9")
        require_one_of("search.weight_draws", weight_draws, ("p", "valid"))
        require_one_of("search.skip_infeasible_weight_updates", skip_infeasible_weight_updates, (True, False))
        require_integer("search.replicas_per_device", replicas_per_device, low=1, high=1024, remedy="the paper has 8")
        if not isinstance(selection, Mapping | None):
            raise UserError("search.selection", "must be a mapping", selection, "see conf/search/tabnas.yaml")
        if not limits.allow(space.smallest):
            raise no_feasible(space, limits)
        self.space, self.limits, self.generator, self.name = space, limits, generator, name
        self.eta, self.rl_optimizer, self.rl_schedule = eta, rl_optimizer, rl_schedule
        self.rl_from, self.rl_every = rl_from, rl_every
        self.warmup_fraction, self.weight_draws = warmup_fraction, weight_draws
        self.skip_infeasible_weight_updates = skip_infeasible_weight_updates
        self.replicas_per_device = replicas_per_device
        self.selection = dict(selection or {})
        self.baseline = MovingAverage(baseline_decay)
        self.program: Enumeration | ChainProgram | None = exact(space, limits.costs, limits.at_most)

    @cached_property
    def feasible(self) -> Stepwise:
        """P(V) and draws from P(y | V) at the logits of each step; by chance where no exact program is to be had.

        It follows one controller. For independent runs side by side, set an Enumeration or the like in its place.
        """
        if self.program is not None:
            return stepwise(self.program, self.generator)
        return self.monte_carlo(LARGE_SPACE_SAMPLES)

    def monte_carlo(self, num_samples: int, proposal: Literal["p", "uniform"] = "p") -> MonteCarlo:
        """The paper's estimate of P(V)."""
        costs, most = self.limits.costs, self.limits.at_most
        return MonteCarlo(self.space, costs, most, num_samples=num_samples, proposal=proposal, generator=self.generator)

    @torch.no_grad()
    def log_prob_valid(self, logits: Tensor) -> float:
        """log P(V) at logits (L, C): exact where that is to be had, else a fresh estimate, -inf at worst."""
        if isinstance(followed := self.__dict__.get("feasible"), Listed):  # in less time than the program takes
            return float(followed.log_prob_and_marginals(logits)[0])
        return (self.program or self.monte_carlo(LARGE_SPACE_SAMPLES)).log_prob(logits).item()

    def most_probable(self, logits: Tensor, k: int) -> Tensor:
        """The k most probable feasible architectures, or fewer: (k, L) choice indices."""
        return (self.program or self.monte_carlo(LARGE_SPACE_SAMPLES)).most_probable(logits, k)

    @property
    def gradient_error(self) -> float | None:
        """The largest estimated error of a gradient so far, as Refreshed has it; None where all were exact or drawn."""
        followed = self.__dict__.get("feasible")
        return followed.largest_error if isinstance(followed, Refreshed) and followed.largest_error else None

    def draw_for_weights(self, logits: Tensor, n: int = 1) -> Tensor:
        """The children of n replicas' weight step: (..., n, L) choice indices."""
        return self.feasible.sample(logits, n) if self.weight_draws == "valid" else sample(logits, n, self.generator)

    def draw(self, logits: Tensor, n_replicas: int = 1) -> Tensor:
        """The children of an RL step, independent of the weight step's: (..., n_replicas · K, L) choice indices."""
        return sample(logits, n_replicas * self.num_children, self.generator)

    def evaluated(self, children: Tensor) -> Tensor:
        """Which children's quality the step needs: (..., K, L) → (..., K) bool."""
        return torch.ones(children.shape[:-1], dtype=torch.bool, device=children.device)

    def step(self, logits: Tensor, children: Tensor, quality: Tensor, evaluated: Tensor) -> Step:
        """What the logits (..., L, C) learn from the quality Q (..., K) of the children, and the baseline with them.

        evaluated: as by the method of that name; the quality of others is not looked at. Of several replicas' children
            the step is the mean over those that were evaluated.
        """
        raise NotImplementedError

    def _advantage(self, reward: Tensor, applies: Tensor, weight: Tensor | None = None) -> Tensor:
        """Reward (..., K) less the moving average, which then takes up the mean reward where `applies` (...).

        weight: (..., K) of each child in that mean and in the advantage, 1 on average; None for 1.
        """
        if weight is not None:
            advantage = (reward - torch.as_tensor(self.baseline.value)[..., None]) * weight
            self.baseline.update((reward * weight).mean(dim=-1), applies)
        elif reward.dim() == 1:  # a single run: faster in floats
            advantage = reward - float(self.baseline.value)
            self.baseline.update(float(reward.mean()), float(applies))
        else:
            advantage = reward - torch.as_tensor(self.baseline.value)[..., None]
            self.baseline.update(reward.mean(dim=-1), applies)
        return advantage

    def state_dict(self) -> dict[str, Any]:
        """What a resumed search needs, in plain tensors and numbers; the generator is its owner's to save."""
        state: dict[str, Any] = {"baseline": [self.baseline.total, self.baseline.weight]}
        if isinstance(followed := self.__dict__.get("feasible"), Listed | Refreshed):
            state["feasible"] = followed.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.baseline.total, self.baseline.weight = state["baseline"]
        if "feasible" in state:
            assert isinstance(self.feasible, Listed | Refreshed)
            self.feasible.load_state_dict(state["feasible"])


def policy_gradient(children: Tensor, advantage: Tensor, centre: Tensor) -> Tensor:
    """The mean over children of advantage · (onehot(y) − centre), (..., L, C).

    children (..., K, L), advantage (..., K). With centre = p this is the gradient of stop_grad(advantage)·log P(y),
    with centre = E[onehot | V] that of stop_grad(advantage)·log P(y | V) (Algorithm 2, line 11).
    """
    share = advantage / advantage.shape[-1]
    index = children.transpose(-1, -2)  # (..., L, K)
    ascent = centre * -share.sum(dim=-1)[..., None, None]
    return ascent.scatter_add_(-1, index, share.unsqueeze(-2).expand_as(index))
