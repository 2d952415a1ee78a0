"""Final selection: from the controller's distribution to a few architectures (section 3.3 and Algorithm 3)."""

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from tabnas.controller import log_prob, sample
from tabnas.errors import require_integer, require_number, require_one_of
from tabnas.space import Widths

if TYPE_CHECKING:
    from tabnas.search.module import TabNAS


@dataclass(frozen=True)
class Selected:
    """An architecture the search returns."""

    widths: Widths
    probability: float | None
    """P(y | V) under the final logits; None where no estimate of P(V) was to be had."""
    how: str
    """The rule that chose it, in words."""


class FinalSelection(Callback):
    """At the end of the search, fills `selected` with 1 to `num_selected` feasible architectures.

    rule: "largest" is Algorithm 3: of `num_draws` (the paper's m) draws from P(y), the `num_selected` (n) distinct
        feasible ones of the largest cost. "most_probable" takes the most probable feasible ones.
    deterministic: where every layer's most probable width has at least this probability, "largest" returns that
        architecture alone, if it is feasible. The paper says "if the distributions are deterministic" without a number.

    Departures from Algorithm 3: when no draw is feasible, the most probable feasible architecture is returned instead,
    and `how` says so; a deterministic choice that is not feasible is not returned, but draws are made.
    """

    def __init__(
        self,
        rule: Literal["largest", "most_probable"] = "largest",
        num_draws: int = 500,
        num_selected: int = 3,
        deterministic: float = 0.99,
    ) -> None:
        require_one_of("search.selection.rule", rule, ("largest", "most_probable"))
        require_integer("search.selection.num_draws", num_draws, low=1, remedy="the paper has m = 500")
        require_integer("search.selection.num_selected", num_selected, low=1, remedy="the paper has n up to 3")
        require_number("search.selection.deterministic", deterministic, low=0, high=1, remedy="0.99 will do")
        self.rule, self.num_draws, self.num_selected, self.deterministic = rule, num_draws, num_selected, deterministic
        self.selected: list[Selected] = []

    def state_dict(self) -> dict[str, Any]:
        return {"selected": [dataclasses.asdict(s) for s in self.selected]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.selected = [Selected(tuple(s["widths"]), s["probability"], s["how"]) for s in state_dict["selected"]]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.selected = self.select(pl_module)  # type: ignore[arg-type]

    @torch.no_grad()
    def select(self, search: "TabNAS") -> list[Selected]:
        """The architectures chosen from the present logits, in the order of the rule."""
        logits = search.controller.logits.detach().cpu()
        chosen, how = self._indices(search, logits)
        log_prob_valid = search.log_prob_valid_now()
        selected = []
        for indices in chosen:
            widths = search.space.widths(indices)
            if _recount(search, widths) > search.limit:
                raise RuntimeError(f"{widths} as built costs more than the limit {search.limit}")
            log_p = log_prob(logits, torch.tensor([indices])).item()
            known = log_prob_valid > -math.inf
            selected.append(Selected(widths, math.exp(min(0.0, log_p - log_prob_valid)) if known else None, how))
        return selected

    def _indices(self, search: "TabNAS", logits: torch.Tensor) -> tuple[list[list[int]], str]:
        if self.rule == "most_probable":
            found = (search.exact or search.feasibility).most_probable(logits, self.num_selected)
            return found.tolist(), "most probable feasible"
        peak, argmax = logits.softmax(dim=1).max(dim=1)
        deterministic = bool((peak >= self.deterministic).all())
        if deterministic and search.cost(search.space.widths(argmax.tolist())) <= search.limit:
            return [argmax.tolist()], f"every layer's choice has probability {self.deterministic:g} or more"
        draws = sample(logits, self.num_draws, search.generator).unique(dim=0)
        costs = search.cost.many(search.space.gather_widths(draws))
        draws, costs = draws[costs <= search.limit], costs[costs <= search.limit]
        if len(draws):
            largest = costs.argsort(descending=True, stable=True)[: self.num_selected]
            return draws[largest].tolist(), f"largest feasible of {self.num_draws} draws"
        found = (search.exact or search.feasibility).most_probable(logits, 1)
        return found.tolist(), f"none of {self.num_draws} draws was feasible: the most probable feasible instead"


def _recount(search: "TabNAS", widths: Widths) -> int:
    """The cost of the network as built, by counting its parameters."""
    return sum(p.numel() for p in search.supernet.child(widths).parameters())
