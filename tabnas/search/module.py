"""Algorithms 1 and 2 of the paper as a LightningModule: the SuperNet and the controller's logits, updated in turn."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import torch
from pytorch_lightning import Callback, LightningModule
from torch import Tensor

from tabnas.controller import Controller, gumbel
from tabnas.cost import Cost
from tabnas.data.table import Block, Rows
from tabnas.encoder import Encoder
from tabnas.errors import UserError, require_integer, require_number, require_one_of
from tabnas.feasibility import Enumeration, MonteCarlo
from tabnas.metrics import evaluate, log_loss
from tabnas.optim import SGD, Adam, ChildOptimizer, schedule_factor
from tabnas.reward import MovingAverage, quality, rejection_objective
from tabnas.search.selection import FinalSelection
from tabnas.search.warmup import LayerWarmup
from tabnas.space import SearchSpace, Widths
from tabnas.supernet import SuperNet, feedforward

HISTORY_POINTS = 100  # snapshots of the search kept for charts and the result
LARGE_SPACE_SAMPLES = 32_768  # N beyond enumeration unless given: the paper's for spaces of 160,000 and 3,200,000


class TabNAS(LightningModule):
    """The paper's search: weight updates on the training split, rejection-based RL updates on the validation split.

    One Lightning batch is a Block of many steps, so that Lightning's own work and the logging are paid once a block.
    Within a block it calls torch's backward and the bare optimizers: Lightning's wrappers would run every callback's
    hooks at each of them, a tenth of a small network's step. `step` counts the search's steps and drives every
    schedule, as Lightning's global_step does not see them.

    encoder: columns → input representation. Its weights are part of every child.
    n_outputs: logits of the task.
    cost, limit: what an architecture may cost; V is the set of those within the limit.
    optimizer: of the weights.
    batch_size: rows of a minibatch; total_steps: of the whole search.
    seed: of the controller's draws.

    The rest is the method (conf/search/tabnas.yaml says what each is, and what the paper has).
    """

    def __init__(
        self,
        *,
        encoder: Encoder,
        space: SearchSpace,
        n_outputs: int,
        cost: Cost,
        limit: int,
        optimizer: Adam | SGD,
        batch_size: int,
        total_steps: int,
        seed: int,
        name: str = "tabnas",
        eta: float = 0.005,
        num_samples: int | None = None,
        enumerate_up_to: int = 200_000,
        proposal: Literal["p", "uniform"] = "p",
        prob_valid: Literal["differentiated", "constant", "omitted"] = "differentiated",
        skip_infeasible_weight_updates: bool = False,
        warmup_fraction: float = 0.25,
        baseline_decay: float = 0.9,
        rl_optimizer: Literal["adam", "sgd"] = "adam",
        rl_schedule: Literal["constant", "cosine"] = "constant",
        selection: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        require_number(
            "search.eta", eta, low=0, open_low=True, remedy="0.02 is the default, the paper has 0.001 to 0.01"
        )
        if num_samples is not None:
            remedy = "the paper has 3072 to 5,000,000"
            require_integer("search.num_samples", num_samples, low=1, high=10_000_000, remedy=remedy)
        require_integer("search.enumerate_up_to", enumerate_up_to, low=0, remedy="0 never enumerates")
        require_one_of("search.proposal", proposal, ("p", "uniform"))
        require_one_of("search.prob_valid", prob_valid, ("differentiated", "constant", "omitted"))
        require_number("search.baseline_decay", baseline_decay, low=0, high=0.9999, remedy="the paper has 0.9")
        require_one_of("search.rl_optimizer", rl_optimizer, ("adam", "sgd"))
        require_one_of("search.rl_schedule", rl_schedule, ("constant", "cosine"))
        require_one_of("search.skip_infeasible_weight_updates", skip_infeasible_weight_updates, (True, False))
        if not isinstance(selection, Mapping | None):
            raise UserError("search.selection", "must be a mapping", selection, "see conf/search/tabnas.yaml")
        self.automatic_optimization = False
        self.name = name
        self.encoder = encoder
        self.supernet = SuperNet(space, encoder.n_inputs, n_outputs)
        self.controller = Controller(space)
        self.space, self.cost, self.limit = space, cost, limit
        self.optimizer_settings = optimizer
        self.batch_size, self.total_steps = batch_size, total_steps
        self.eta, self.rl_optimizer, self.rl_schedule = eta, rl_optimizer, rl_schedule
        self.prob_valid = prob_valid
        self.skip_infeasible_weight_updates = skip_infeasible_weight_updates

        self.generator = torch.Generator().manual_seed(seed)
        self.exact = Enumeration(space, cost, limit) if space.size <= enumerate_up_to else None
        self.feasibility: Enumeration | MonteCarlo
        if self.exact is not None and num_samples is None:
            self.feasibility = self.exact
        else:
            n = LARGE_SPACE_SAMPLES if num_samples is None else num_samples
            self.feasibility = MonteCarlo(
                space, cost, limit, num_samples=n, proposal=proposal, generator=self.generator
            )

        self.baseline = MovingAverage(baseline_decay)
        self.step = 0
        self.seconds = 0.0
        self.counts = {
            "weight_updates": 0,
            "rl_updates": 0,
            "skipped_infeasible": 0,
            "skipped_no_sample": 0,
            "skipped_weight_updates": 0,
        }
        self.history: list[dict[str, Any]] = []
        """About HISTORY_POINTS snapshots: step, the metrics of `training_step`, and `probabilities` layer by layer."""
        self.warmup_probabilities: list[float] = []
        """Of the steps of the block at hand; set by LayerWarmup."""
        self._callbacks: list[Callback] = [LayerWarmup(warmup_fraction), FinalSelection(**(selection or {}))]

    # What correctness needs is no matter of configuration (Lightning adds these to every Trainer).
    def configure_callbacks(self) -> Sequence[Callback]:
        return self._callbacks

    @property
    def warmup(self) -> LayerWarmup:
        return cast(LayerWarmup, self._callbacks[0])

    @property
    def selection(self) -> FinalSelection:
        return cast(FinalSelection, self._callbacks[1])

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[Any]]:
        logits = [self.controller.logits]
        rl = Adam(lr=self.eta) if self.rl_optimizer == "adam" else SGD(lr=self.eta)
        weights = [*self.encoder.parameters(), *self.supernet.parameters()]
        return [self.optimizer_settings.child(weights), rl.dense(logits)], []

    def n_steps(self, block: Block) -> int:
        """Steps in a block."""
        return block.train.n_rows // self.batch_size

    def training_step(self, block: Block, batch_idx: int) -> dict[str, float | None]:
        """One pass of Algorithm 1's loop per minibatch of the block. Returns the block's metrics.

        Departure: one child x and one y a step, where the paper averages over the 8 cores of a TPU (appendix B.2.2).
        `train_loss` is the mean loss of the weight updates, `reward` and `advantage` are means over the RL updates;
        each is None where there were none.
        """
        started = time.perf_counter()
        weight_optimizer, rl_optimizer = cast(list[Any], self.optimizers(use_pl_optimizer=False))
        assert block.valid is not None
        losses: list[Tensor] = []
        rl: list[tuple[float, float, float]] = []
        observed: list[tuple[int, float | Tensor]] = []
        minibatches = zip(block.train.split(self.batch_size), block.valid.split(self.batch_size), strict=True)
        for whole, (train, valid) in zip(self.warmup_probabilities, minibatches, strict=True):
            x, y = self._draw()
            progress = self.step / self.total_steps
            if whole > 0 and float(torch.rand((), generator=self.generator)) < whole:
                x = None
            loss = self._weight_update(train, x, progress, weight_optimizer)
            if loss is not None:
                losses.append(loss)
                observed.append((self.step, loss))
            if whole == 0:
                outcome = self._rl_update(valid, y, progress, rl_optimizer)
                if outcome is not None:
                    rl.append(outcome)
                    observed.append((self.step, outcome[0]))
            self.step += 1
        _refuse_divergence(observed)
        if not bool(self.controller.logits[self.space.mask].isfinite().all()):
            remedy = "lower search.eta; the last good checkpoint is kept"
            raise UserError("logits", f"must stay finite, by step {self.step} of the search", "nan or inf", remedy)
        metrics = self._metrics([float(loss) for loss in losses], rl)
        self.seconds += time.perf_counter() - started
        self._snapshot(metrics, self.n_steps(block))
        return metrics

    def _draw(self) -> tuple[Widths | None, list[int]]:
        """x for the weight update, as widths, and independently y for the RL update, as choice indices."""
        logits = self.controller.logits.detach()
        noise = gumbel((2, *logits.shape), self.generator).to(logits.device)
        x, y = (logits + noise).argmax(dim=-1).tolist()
        return self.space.widths(x), y

    def _weight_update(
        self, rows: Rows, widths: Widths | None, progress: float, optimizer: ChildOptimizer
    ) -> Tensor | None:
        """Train one child (None: the whole SuperNet) on a minibatch; its loss, or None where it was skipped."""
        if self.skip_infeasible_weight_updates and widths is not None and self.cost(widths) > self.limit:
            self.counts["skipped_weight_updates"] += 1
            return None
        settings = self.optimizer_settings
        optimizer.param_groups[0]["lr"] = settings.lr * schedule_factor(settings.schedule, progress)
        n_shared = 2 * len(self.supernet.layers)  # a weight and a bias each, after the encoder's parameters
        whole: list[None] = [None] * (len(optimizer.parameters) - n_shared)
        regions = [None] * n_shared if widths is None else self.supernet.regions(widths)
        child = optimizer.gather([*whole, *regions])
        leaves = child.leaves[-n_shared:]
        loss = log_loss(feedforward(self.encoder(rows.numerical, rows.categorical), leaves), rows.target)
        loss.backward()
        optimizer.step(child=child)
        self.counts["weight_updates"] += 1
        return loss.detach()

    def _rl_update(
        self, rows: Rows, indices: list[int], progress: float, optimizer: torch.optim.Optimizer
    ) -> tuple[float, float, float] | None:
        """Algorithm 2 on a minibatch: reward, advantage and log P(V) of the update, or None where it was skipped."""
        widths = self.space.widths(indices)
        if self.cost(widths) > self.limit:  # departure: not evaluated either, as J = 0 whatever its loss
            self.counts["skipped_infeasible"] += 1
            return None
        log_prob_valid = self._log_prob_valid()
        log_prob_valid_value = 0.0 if log_prob_valid is None else log_prob_valid.item()
        if log_prob_valid_value == -torch.inf:  # departure: J would be infinite (appendix E.3)
            self.counts["skipped_no_sample"] += 1
            return None
        reward = self._reward(rows, widths)
        advantage = reward - self.baseline.value
        objective = rejection_objective(advantage, self.controller.log_prob(indices), log_prob_valid)
        rl_progress = (progress - self.warmup.fraction) / (1.0 - self.warmup.fraction)
        optimizer.param_groups[0]["lr"] = self.eta * schedule_factor(self.rl_schedule, max(0.0, rl_progress))
        (-objective).backward()
        optimizer.step()
        optimizer.zero_grad()
        self.baseline.update(reward)
        self.counts["rl_updates"] += 1
        return reward, advantage, log_prob_valid_value

    @torch.no_grad()
    def _reward(self, rows: Rows, widths: Widths) -> float:
        """Q(y) of a child on a minibatch."""
        logits = self.supernet(self.encoder(rows.numerical, rows.categorical), widths)
        return quality(log_loss(logits, rows.target).item())

    def _log_prob_valid(self) -> Tensor | None:
        """log P(V) as the objective takes it."""
        if self.prob_valid == "omitted":
            return None
        log_prob_valid = self.feasibility.log_prob(self.controller.logits)
        return log_prob_valid.detach() if self.prob_valid == "constant" else log_prob_valid

    @torch.no_grad()
    def _metrics(self, losses: list[float], rl: list[tuple[float, float, float]]) -> dict[str, float | None]:
        estimated = isinstance(self.feasibility, MonteCarlo) and self.prob_valid != "omitted"
        return {
            "train_loss": _mean(losses),
            "reward": _mean([reward for reward, _, _ in rl]),
            "advantage": _mean([advantage for _, advantage, _ in rl]),
            "prob_valid": None if self.exact is None else self.exact.log_prob(self.controller.logits).exp().item(),
            "prob_valid_estimate": _mean([math.exp(log_p) for _, _, log_p in rl]) if estimated else None,
            "warmup_probability": self.warmup_probabilities[0],
        }

    def _snapshot(self, metrics: dict[str, float | None], n_steps: int) -> None:
        """Keep this block's metrics if another hundredth of the search is over."""
        before = (self.step - n_steps) * HISTORY_POINTS // self.total_steps
        if self.step * HISTORY_POINTS // self.total_steps > before:
            self.history.append({"step": self.step, **metrics, "probabilities": self.layer_probabilities()})

    def layer_probabilities(self) -> list[list[float]]:
        """p_ij per layer, without the padding."""
        table = self.controller.probabilities().tolist()
        return [row[:n] for row, n in zip(table, self.space.n_choices, strict=True)]

    def leading(self) -> Widths:
        """Each layer's most probable width."""
        return self.space.widths(self.controller.logits.argmax(dim=1).tolist())

    @torch.no_grad()
    def log_prob_valid_now(self) -> float:
        """log P(V) under the present logits: exact where V was enumerated, else a fresh estimate, -inf at worst."""
        return (self.exact or self.feasibility).log_prob(self.controller.logits).item()

    def one_shot(self, widths: Widths, rows: Rows) -> dict[str, float]:
        """`loss` and `balanced_error` of a child on `rows`, with the SuperNet's weights."""
        return evaluate(
            lambda numerical, categorical: self.supernet(self.encoder(numerical, categorical), widths),
            rows.numerical,
            rows.categorical,
            rows.target,
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        weights = (*self.encoder.parameters(), *self.supernet.parameters())
        if not all(bool(p.isfinite().all()) for p in weights):  # the last update's loss was still finite
            remedy = "lower optimizer.lr; the last good checkpoint is kept"
            raise UserError("weights", f"must stay finite, at step {self.step} of the search", "nan or inf", remedy)
        checkpoint["tabnas"] = {
            "step": self.step,
            "seconds": self.seconds,
            "counts": dict(self.counts),
            "baseline": [self.baseline.total, self.baseline.count],
            "generator": self.generator.get_state(),
            "history": list(self.history),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["tabnas"]
        self.step, self.seconds = state["step"], state["seconds"]
        self.counts, self.history = dict(state["counts"]), list(state["history"])
        self.baseline.total, self.baseline.count = state["baseline"]
        self.generator.set_state(state["generator"].cpu())


def _refuse_divergence(observed: Sequence[tuple[int, float | Tensor]]) -> None:
    """Stop before a checkpoint can be saved if a loss or reward, given with its step from 0, is not finite."""
    for step, value in observed:
        if not math.isfinite(value):
            remedy = "lower optimizer.lr; the last good checkpoint is kept"
            raise UserError("loss", f"must stay finite, at step {step + 1} of the search", float(value), remedy)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
