"""Final selection: from the controller's distribution to a few architectures (section 3.3 and Algorithm 3)."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from tabnas.controller import log_prob, sample
from tabnas.cost import Flops, ParameterCount
from tabnas.errors import require_integer, require_number, require_one_of
from tabnas.method import Method
from tabnas.search.without_controller import WithoutController
from tabnas.space import Widths

if TYPE_CHECKING:
    from tabnas.search.module import TabNAS


@dataclass(frozen=True)
class Selected:
    """An architecture the search returns."""

    widths: Widths
    probability: float | None
    """P(y | V) under the final logits; None without a controller, or where no estimate of P(V) was to be had."""
    how: str
    """The rule that chose it, in words."""


class FinalSelection(Callback):
    """At the end of the search, fills `selected` with 1 to `num_selected` feasible architectures.

    A method without a controller chooses them itself, and has no use for the settings but `max_rows`.

    rule: "largest" is Algorithm 3: of `num_draws` (the paper's m) draws, the `num_selected` (n) distinct feasible ones
        of the largest cost, the first limit's where there are several. "one_shot" takes those of the smallest one-shot
        loss on the validation split instead, on at most `max_rows` rows of it, evenly spread. "most_probable" takes
        the most probable feasible, without draws.
    draws: from "p", the controller's distribution (the paper's choice), or "valid", P(y | V).
    deterministic: where every layer's most probable width has at least this probability, "largest" returns that
        architecture alone, if it is feasible. Departure: the paper has "if the distributions are deterministic", no
        number.

    Departures from Algorithm 3: when no draw is feasible, the most probable feasible architecture is returned instead,
    and `how` says so; a deterministic choice that is not feasible is not returned, but draws are made.
    """

    def __init__(
        self,
        rule: Literal["largest", "one_shot", "most_probable"] = "largest",
        draws: Literal["p", "valid"] = "p",
        num_draws: int = 500,
        num_selected: int = 3,
        deterministic: float = 0.99,
        max_rows: int | None = 200_000,
    ) -> None:
        require_one_of("search.selection.rule", rule, ("largest", "one_shot", "most_probable"))
        require_one_of("search.selection.draws", draws, ("p", "valid"))
        require_integer("search.selection.num_draws", num_draws, low=1, remedy="the paper has m = 500")
        require_integer("search.selection.num_selected", num_selected, low=1, remedy="the paper has n up to 3")
        require_number("search.selection.deterministic", deterministic, low=0, high=1, remedy="0.99 will do")
        if max_rows is not None:
            require_integer("search.selection.max_rows", max_rows, low=1, remedy="null ranks by the whole split")
        self.max_rows = max_rows
        self.rule, self.draws, self.num_draws = rule, draws, num_draws
        self.num_selected, self.deterministic = num_selected, deterministic
        self.selected: list[Selected] = []

    def state_dict(self) -> dict[str, Any]:
        return {"selected": [dataclasses.asdict(s) for s in self.selected]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.selected = [Selected(tuple(s["widths"]), s["probability"], s["how"]) for s in state_dict["selected"]]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        search: TabNAS = pl_module  # type: ignore[assignment]
        started = time.perf_counter()
        if trainer.is_global_zero:
            self.selected = self.select(search)
        search.seconds += time.perf_counter() - started

    @torch.no_grad()
    def select(self, search: "TabNAS") -> list[Selected]:
        """The architectures chosen from the present logits, in the order of the rule."""
        method, logits = search.method, search.controller.logits.detach().cpu()
        if isinstance(method, WithoutController):
            chosen, how = method.choose(search.one_shot_losses)
        else:
            chosen, how = self.indices(method, logits, search.one_shot_losses)
        log_prob_valid = method.log_prob_valid(logits)
        known = method.has_controller and log_prob_valid > -math.inf
        selected = []
        for indices in chosen.tolist():
            widths = search.space.widths(indices)
            _recount(search, widths)
            log_p = log_prob(logits, torch.tensor([indices])).item()
            selected.append(Selected(widths, math.exp(min(0.0, log_p - log_prob_valid)) if known else None, how))
        return selected

    def indices(
        self, method: Method, logits: Tensor, one_shot_losses: Callable[[Sequence[Widths]], Sequence[float]]
    ) -> tuple[Tensor, str]:
        """The choice indices (n, L) of what is chosen at logits (L, C), and how it was, in words."""
        if self.rule == "most_probable":
            return method.most_probable(logits, self.num_selected), "most probable feasible"
        peak, argmax = logits.softmax(dim=1).max(dim=1)
        deterministic = self.rule == "largest" and bool((peak >= self.deterministic).all())
        if deterministic and method.limits.allow(method.space.widths(argmax.tolist())):
            return argmax[None], f"every layer's choice has probability {self.deterministic:g} or more"
        if self.draws == "valid":
            drawn = method.feasible.sample(logits, self.num_draws)
        else:
            drawn = sample(logits, self.num_draws, method.generator)
        drawn = drawn.unique(dim=0)
        widths = method.space.gather_widths(drawn)
        allowed = method.limits.allow_many(widths)
        drawn, widths = drawn[allowed], widths[allowed]
        if not len(drawn):
            how = f"none of {self.num_draws} draws was feasible: the most probable feasible instead"
            return method.most_probable(logits, 1), how
        if self.rule == "one_shot":
            losses = torch.tensor(one_shot_losses([tuple(w) for w in widths.tolist()]), dtype=torch.float64)
            best = losses.argsort(stable=True)[: self.num_selected]
            return drawn[best], f"smallest one-shot loss of {len(drawn)} distinct among {self.num_draws} draws"
        largest = method.limits.costs[0].many(widths).argsort(descending=True, stable=True)[: self.num_selected]
        return drawn[largest], f"largest feasible of {self.num_draws} draws"


def _recount(search: "TabNAS", widths: Widths) -> None:
    """RuntimeError unless the network as built costs what was counted, and is within the limits."""
    child = search.supernet.child(widths)
    for cost in search.limits.costs:
        built = None
        if isinstance(cost, ParameterCount):
            built = cost.fixed + sum(p.numel() for p in child.parameters())
        elif isinstance(cost, Flops):
            built = sum(p.numel() for p in child.parameters() if p.dim() == 2)
        if built not in (None, cost(widths)):
            raise RuntimeError(f"{widths} as built costs {built} {cost.name}, not {cost(widths)}")
    if not search.limits.allow(widths):
        raise RuntimeError(f"{widths} costs {dict(search.limits.amounts(widths))}, which is over a limit")
