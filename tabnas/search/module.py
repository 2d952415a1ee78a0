"""Algorithm 1 of the paper as a LightningModule: the SuperNet and the controller's logits, updated in turn."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule
from torch import Tensor

from tabnas.controller import Controller
from tabnas.data.table import Block, Rows
from tabnas.encoder import Encoder
from tabnas.errors import UserError
from tabnas.feasibility import MonteCarlo
from tabnas.method import Method, Rejection, Step
from tabnas.optim import SGD, Adam, Child, ChildOptimizer, schedule_factor
from tabnas.reward import quality
from tabnas.search.devices import gathered, sum_gradients, summed
from tabnas.search.ranking import losses_of
from tabnas.search.selection import FinalSelection
from tabnas.search.warmup import LayerWarmup
from tabnas.space import Widths
from tabnas.supernet import SuperNet, feedforward
from tabnas.task import Task, evaluate

HISTORY_POINTS = 100  # snapshots of the search kept for charts and the result


class TabNAS(LightningModule):
    """Weight updates on the training split and, by one of the methods, RL updates on the validation split.

    One Lightning batch is a Block of many steps, so that Lightning's own work and the logging are paid once a block.
    Within a block it calls torch's backward and the bare optimizers: Lightning's wrappers would run every callback's
    hooks at each of them, a tenth of a small network's step. `step` counts the search's steps and drives every
    schedule, as Lightning's global_step does not see them.

    method: what the controller learns, and how; knows the space, the limits and the generator of all draws.
    encoder: columns → input representation. Its weights are part of every child.
    task: what is predicted, and how outputs are judged.
    optimizer: of the weights.
    batch_size: rows of a minibatch; total_steps: of the whole search.
    valid: the validation split, for selection by one-shot loss.
    n_devices: processes or cores that search together, each standing for method.replicas_per_device replicas.

    With several replicas (appendix B.2.2) every one of them draws its children and takes minibatches of its own, and a
    step is the mean over those that take part; see `_weight_update` and `_rl_update`. All draws are made on every
    device, from generators in the same state, so that logits and generators are the same on all of them and what a
    search finds depends on the number of replicas, not on how they are spread over devices.
    """

    def __init__(
        self,
        *,
        method: Method,
        encoder: Encoder,
        task: Task,
        optimizer: Adam | SGD,
        batch_size: int,
        total_steps: int,
        valid: Rows,
        n_devices: int = 1,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.method, self.generator = method, method.generator
        self.space, self.limits = method.space, method.limits
        self.encoder, self.task = encoder, task
        self.supernet = SuperNet(self.space, encoder.n_inputs, task.n_outputs)
        self.controller = Controller(self.space)
        self.optimizer_settings = optimizer
        self.batch_size, self.total_steps = batch_size, total_steps
        self.valid = valid
        self.n_devices, self.n_replicas = n_devices, n_devices * method.replicas_per_device
        self.step = 0
        self.seconds = 0.0
        self.counts = {
            "weight_updates": 0,
            "rl_updates": 0,
            "children_evaluated": 0,
            "forward_passes": 0,
            "skipped_infeasible": 0,
            "skipped_no_sample": 0,
            "skipped_weight_updates": 0,
        }
        self.history: list[dict[str, Any]] = []
        """About HISTORY_POINTS snapshots: step, the metrics of `training_step`, and where there is a controller its
        `probabilities` layer by layer."""
        self.warmup_probabilities: list[float] = []
        """Of the steps of the block at hand; set by LayerWarmup."""
        self.on_ranked: Callable[[float], None] | None = None
        """Told, while architectures are ranked by one-shot loss, how many more have been; for display."""
        self._callbacks: list[Callback] = [
            LayerWarmup(self.method.warmup_fraction),
            FinalSelection(**self.method.selection),
        ]

        self.rl_from = max(self.warmup.fraction, self.method.rl_from or 0.0)

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
        rl = Adam(lr=self.method.eta) if self.method.rl_optimizer == "adam" else SGD(lr=self.method.eta)
        weights = [*self.encoder.parameters(), *self.supernet.parameters()]
        return [self.optimizer_settings.child(weights), rl.child([self.controller.logits])], []

    def on_train_start(self) -> None:
        loader: Any = self.trainer.train_dataloader
        loader.device, loader.n_devices = self.global_rank, self.n_devices

    @property
    def gradient_error(self) -> float | None:
        """As Method has it."""
        return self.method.gradient_error

    @property
    def own(self) -> range:
        """The replicas this device stands for."""
        n = self.method.replicas_per_device
        return range(self.global_rank * n, (self.global_rank + 1) * n)

    def n_steps(self, block: Block) -> int:
        """Steps in a block."""
        return block.train.n_rows // (self.batch_size * self.method.replicas_per_device)

    def training_step(self, block: Block, batch_idx: int) -> dict[str, float | None]:
        """One pass of Algorithm 1's loop per minibatch of the block. Returns the block's metrics.

        Departure: one replica unless told otherwise, where the paper has the 8 cores of a TPU (appendix B.2.2).
        `train_loss` is the mean loss of the weight updates, `reward` and `advantage` are means over the RL updates, of
        the advantage's size; each is None where there were none.
        """
        started = time.perf_counter()
        weight_optimizer, rl_optimizer = cast(list[Any], self.optimizers(use_pl_optimizer=False))
        assert block.valid is not None
        losses: list[Tensor] = []
        steps: list[Step] = []
        updated: list[int] = []
        rows_per_step = self.batch_size * self.method.replicas_per_device
        minibatches = zip(block.train.split(rows_per_step), block.valid.split(rows_per_step), strict=True)
        for whole, (train, valid) in zip(self.warmup_probabilities, minibatches, strict=True):
            progress = self.step / self.total_steps
            widths = self._draw_for_weights(whole)
            rl_is_due = whole == 0 and progress >= self.rl_from and self.step % self.method.rl_every == 0
            children = self.method.draw(self._logits(), self.n_replicas) if rl_is_due else None
            loss = self._weight_update(train, widths, progress, weight_optimizer)
            if loss is not None:
                losses.append(loss)
                updated.append(self.step)
            if children is not None:
                rl = self._rl_update(valid, children, progress, rl_optimizer)
                if rl is not None:
                    steps.append(rl)
            self.step += 1
        means = self._summed(losses)
        _refuse_divergence(zip(updated, means, strict=True))
        metrics = self._metrics(means, steps)
        self.seconds += time.perf_counter() - started
        self._snapshot(metrics, self.n_steps(block))
        return metrics

    def _logits(self) -> Tensor:
        """The logits on the host, where the method works."""
        return self.controller.logits.detach().cpu()

    def _draw_for_weights(self, whole: float) -> list[Widths | None]:
        """The child of every replica's weight step; None, with probability `whole`, for the whole SuperNet."""
        n = self.n_replicas
        of_child = [True] * n if whole == 0 else (torch.rand(n, generator=self.generator) >= whole).tolist()
        if not any(of_child):
            return [None] * n
        drawn = iter(self.method.draw_for_weights(self._logits(), sum(of_child)).tolist())
        return [self.space.widths(next(drawn)) if is_child else None for is_child in of_child]

    def _minibatches(self, rows: Rows) -> list[Rows]:
        """Of the rows of a step those of each replica of this device."""
        return [rows] if self.method.replicas_per_device == 1 else rows.split(self.batch_size)

    def _weight_update(
        self, rows: Rows, widths: Sequence[Widths | None], progress: float, optimizer: ChildOptimizer
    ) -> Tensor | None:
        """One step on the mean loss of the replicas' children; this device's part of it, or None where it was skipped.

        widths: of every replica's child, on all devices; None for the whole SuperNet.

        Each child's gradient is 0 outside the child. Departure: the optimizer updates the smallest child that holds
        them all, of the largest of their widths in each layer; with a single replica the child itself.
        """
        taking_part = [self._trains(w) for w in widths]
        if not any(taking_part):
            self.counts["skipped_weight_updates"] += 1
            return None
        chosen = [w for w, takes_part in zip(widths, taking_part, strict=True) if takes_part]
        settings = self.optimizer_settings
        optimizer.param_groups[0]["lr"] = settings.lr * schedule_factor(settings.schedule, progress)
        n_shared = 2 * len(self.supernet.layers)  # a weight and a bias each, after the encoder's parameters
        hull = None if None in chosen else tuple(map(max, zip(*cast(list[Widths], chosen), strict=True)))
        exchanged = self.n_devices > 1 and self.encoder.sparse
        lookup = self.encoder.lookup(gathered(rows.categorical) if exchanged else rows.categorical)
        regions = [None] * n_shared if hull is None else self.supernet.regions(hull)
        child = optimizer.gather([*self.encoder.regions(lookup), *regions])
        losses: list[Tensor] = []
        for own, minibatch in zip(self.own, self._minibatches(rows), strict=True):
            if not taking_part[own]:
                continue
            used = None if lookup is None else (child.leaves[0], lookup.positions.view(self.n_replicas, -1)[own])
            x = self.encoder(minibatch.numerical, minibatch.categorical, used)
            leaves = child.leaves[-n_shared:]
            if (w := widths[own]) != hull:
                parts = self.supernet.regions(w or self.space.largest)
                leaves = [leaf[part] for leaf, part in zip(leaves, parts, strict=True)]
            loss = self.task.loss(feedforward(x, leaves), minibatch.target, minibatch.weight)
            if len(chosen) > 1:
                loss = loss / len(chosen)
            loss.backward()
            losses.append(loss.detach())
        if self.n_devices > 1:
            sum_gradients(child.leaves)
        optimizer.update(child)
        self.counts["weight_updates"] += 1
        return (
            losses[0] if self.n_replicas == 1 else torch.stack(losses or [self.controller.logits.new_zeros(())]).sum()
        )

    def _trains(self, widths: Widths | None) -> bool:
        """Whether a child is trained. Departure: infeasible ones too unless told otherwise, see appendix B.2.2."""
        skips = self.method.skip_infeasible_weight_updates
        return not skips or widths is None or self.limits.allow(widths)

    def _rl_update(self, rows: Rows, children: Tensor, progress: float, optimizer: ChildOptimizer) -> Step | None:
        """The controller's step from the children's quality on their replicas' minibatches, or None where skipped.

        children: (R · K, L) choice indices, K of each of the R replicas.
        """
        evaluated = self.method.evaluated(children)
        wanted = evaluated.tolist()
        if not any(wanted):
            self.counts["skipped_infeasible"] += 1
            return None
        quality = self._quality_of_all(rows, children.tolist(), wanted)
        if not all(wanted):
            children = children[evaluated]
        _refuse_divergence([(self.step, float(q)) for q in quality])
        self.counts["children_evaluated"] += sum(wanted)
        self.counts["forward_passes"] += sum(wanted)
        step = self.method.step(self._logits(), children, quality, torch.ones(len(children), dtype=torch.bool))
        if not step.applies:
            self.counts[f"skipped_{step.why_skipped}"] += 1
            return None
        logits = self.controller.logits
        rl_progress = (progress - self.rl_from) / (1.0 - self.rl_from)
        rate = self.method.eta * schedule_factor(cast(Any, self.method.rl_schedule), max(0.0, rl_progress))
        optimizer.param_groups[0]["lr"] = rate
        logits.grad = -step.ascent.to(logits).contiguous()
        optimizer.update(Child([None], [logits]))
        self.counts["rl_updates"] += 1
        if int(np.isfinite(self._logits().numpy()).sum()) != sum(self.space.n_choices):  # all but the padding
            remedy = "lower search.eta; the last good checkpoint is kept"
            raise UserError("logits", f"must stay finite, by step {self.step + 1} of the search", "nan or inf", remedy)
        return step

    def _quality_of_all(self, rows: Rows, children: Sequence[Sequence[int]], wanted: Sequence[bool]) -> Tensor:
        """Q of those wanted of the children (R · K) of all replicas, each on its replica's minibatch, on the host."""
        each = len(children) // self.n_replicas
        found: list[Tensor] = []
        for own, minibatch in zip(self.own, self._minibatches(rows), strict=True):
            asked = [children[k] for k in range(own * each, (own + 1) * each) if wanted[k]]
            if asked:
                found.append(self._quality(minibatch, [self.space.widths(y) for y in asked]))
        if self.n_devices == 1:
            return (found[0] if len(found) == 1 else torch.cat(found)).cpu()
        quality = torch.zeros(sum(wanted), device=self.device)
        first = sum(wanted[: self.own.start * each])  # of this device's
        if found:
            quality[first : first + sum(map(len, found))] = torch.cat(found)
        return summed(quality).cpu()

    def _summed(self, losses: list[Tensor]) -> list[float]:
        """Over devices."""
        if self.n_devices > 1 and losses:
            losses = list(summed(torch.stack(losses)))
        return [float(loss) for loss in losses]

    @torch.no_grad()
    def _quality(self, rows: Rows, children: Sequence[Widths]) -> Tensor:
        """Q(y) of each of the children on a minibatch: (n,)."""
        outputs = self.supernet.several(self.encoder(rows.numerical, rows.categorical), children)
        return quality(torch.stack([self.task.loss(found, rows.target, rows.weight) for found in outputs]))

    @torch.no_grad()
    def _metrics(self, losses: list[float], steps: list[Step]) -> dict[str, float | None]:
        log_probs = [float(s.log_prob_valid) for s in steps if s.log_prob_valid is not None]
        method = self.method
        exact = method.has_controller and method.program is not None
        estimated = isinstance(method, Rejection) and isinstance(method.estimator, MonteCarlo) and log_probs
        return {
            "train_loss": _mean(losses),
            "reward": _mean([float(s.reward.mean()) for s in steps]),
            "advantage": _mean([float(s.advantage.abs().mean()) for s in steps]),
            "prob_valid": math.exp(method.log_prob_valid(self._logits())) if exact else None,
            "prob_valid_estimate": _mean([math.exp(log_p) for log_p in log_probs]) if estimated else None,
            "gradient_error": self.gradient_error,
            "warmup_probability": self.warmup_probabilities[0],
        }

    def _snapshot(self, metrics: dict[str, float | None], n_steps: int) -> None:
        """Keep this block's metrics if another hundredth of the search is over."""
        before = (self.step - n_steps) * HISTORY_POINTS // self.total_steps
        if self.step * HISTORY_POINTS // self.total_steps > before:
            controller = {"probabilities": self.layer_probabilities()} if self.method.has_controller else {}
            self.history.append({"step": self.step, **metrics, **controller})

    def layer_probabilities(self) -> list[list[float]]:
        """p_ij per layer, without the padding."""
        table = self.controller.probabilities().tolist()
        return [row[:n] for row, n in zip(table, self.space.n_choices, strict=True)]

    def leading(self) -> Widths:
        """Each layer's most probable width."""
        return self.space.widths(self.controller.logits.argmax(dim=1).tolist())

    def one_shot(self, widths: Widths, rows: Rows) -> dict[str, float]:
        """`loss` and the task's metrics of a child on `rows`, with the SuperNet's weights."""
        return evaluate(self.task, self._child(widths), *rows)

    def one_shot_losses(self, children: Sequence[Widths]) -> list[float]:
        """Loss of each child on the validation split, at most `selection.max_rows` of it, with the SuperNet's weights.

        Counted in forward passes of a minibatch.
        """
        step = -(-self.valid.n_rows // (self.selection.max_rows or self.valid.n_rows))
        rows = self.valid if step == 1 else self.valid.take(torch.arange(0, self.valid.n_rows, step))
        self.counts["forward_passes"] += len(children) * -(-rows.n_rows // self.batch_size)
        encoder, supernet = self.judged_by()
        device = next(supernet.parameters()).device
        return losses_of(children, rows, encoder, supernet, self.task, device=device, on_ranked=self.on_ranked)

    def _child(self, widths: Widths) -> Callable[[Tensor, Tensor], Tensor]:
        encoder, supernet = self.judged_by()
        return lambda numerical, categorical: supernet(encoder(numerical, categorical), widths)

    def judged_by(self) -> tuple[Encoder, SuperNet]:
        """With whose weights children are compared."""
        return self.encoder, self.supernet

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        weights = (*self.encoder.parameters(), *self.supernet.parameters())
        if not torch.stack([p.isfinite().all() for p in weights]).all():  # the last update's loss was still finite
            remedy = "lower optimizer.lr; the last good checkpoint is kept"
            raise UserError("weights", f"must stay finite, at step {self.step} of the search", "nan or inf", remedy)
        checkpoint["tabnas"] = {
            "step": self.step,
            "seconds": self.seconds,
            "counts": dict(self.counts),
            "method": self.method.state_dict(),
            "generator": self.generator.get_state(),
            "history": list(self.history),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["tabnas"]
        self.step, self.seconds = state["step"], state["seconds"]
        self.counts, self.history = self.counts | state["counts"], list(state["history"])
        self.method.load_state_dict(state["method"])
        self.generator.set_state(state["generator"].cpu())


def _refuse_divergence(observed: Iterable[tuple[int, float | Tensor]]) -> None:
    """Stop before a checkpoint can be saved if a loss or reward, given with its step from 0, is not finite."""
    for step, value in observed:
        if not math.isfinite(value):
            remedy = "lower optimizer.lr; the last good checkpoint is kept"
            raise UserError("loss", f"must stay finite, at step {step + 1} of the search", float(value), remedy)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
