"""The search in shapes that never change, for XLA, which compiles a graph for each set of shapes and of constants.

The same steps as TabNAS takes, from the same draws, in mask mode: which child it is, whether it is feasible, and every
rate are data. What is drawn at random is drawn on the host and sent; nothing comes back before a block is over.
"""

import copy
import time
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from tabnas import accelerator
from tabnas.controller import gumbel
from tabnas.data.table import Block, Rows
from tabnas.encoder import Encoder
from tabnas.errors import UserError
from tabnas.feasibility import MonteCarlo
from tabnas.method import ConditionalDraws, Rejection
from tabnas.optim import ChildOptimizer, schedule_factor
from tabnas.reward import quality
from tabnas.search.module import TabNAS, _refuse_divergence
from tabnas.search.pool import Pool, pool_for
from tabnas.supernet import SuperNet


class StaticTabNAS(TabNAS):
    """TabNAS for accelerator=tpu. Its checkpoints are those of TabNAS."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        method = self.method
        if isinstance(method, Rejection) and isinstance(method.estimator, MonteCarlo):
            remedy = "leave it out, for exact P(V)"
            raise UserError("search.num_samples", "must be null on a TPU", method.estimator.num_samples, remedy)
        self._draws_valid = isinstance(method, ConditionalDraws)
        draws = self._draws_valid or method.weight_draws == "valid"
        self._pool: Pool | None = None
        if draws or (isinstance(method, Rejection) and method.prob_valid != "omitted"):
            self._pool = pool_for(method.program, self.limits, self.generator, draws=draws)
        self._largest = torch.tensor(self.space.largest)
        self._largest_error = 0.0
        self._on_host: tuple[int, Encoder, SuperNet] | None = None
        self.final_checkpoint: Path | None = None
        """Where a search on several cores, each of which has a process of its own, leaves what it found."""

    def on_train_end(self) -> None:
        if self.n_devices > 1 and self.final_checkpoint is not None:
            self.trainer.save_checkpoint(self.final_checkpoint)

    @property
    def gradient_error(self) -> float | None:
        """As Method has it, of the pool."""
        return self._largest_error or None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["tabnas"]["largest_error"] = self._largest_error

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self._largest_error = checkpoint["tabnas"].get("largest_error", 0.0)

    def take_over(self) -> None:
        """What the cores' processes have found, in the process that started them."""
        assert self.final_checkpoint is not None
        content = torch.load(self.final_checkpoint, weights_only=True)
        self.load_state_dict(content["state_dict"])
        self.on_load_checkpoint(content)
        self.selection.load_state_dict(content["callbacks"]["FinalSelection"])

    def transfer_batch_to_device(self, batch: Block, device: torch.device, dataloader_idx: int) -> Block:
        """Stays on the host: every slice of a block on the device would be a graph of its own."""
        return batch

    def training_step(self, block: Block, batch_idx: int) -> dict[str, float | None]:
        """As TabNAS.training_step."""
        started = time.perf_counter()
        weight_optimizer, rl_optimizer = cast(list[ChildOptimizer], self.optimizers(use_pl_optimizer=False))
        assert block.valid is not None
        method, baseline = self.method, self.method.baseline
        followed = {name: method.__dict__[name] for name in ("feasible", "estimator") if name in method.__dict__}
        if self._pool is not None:
            self._pool.refresh(self._logits(), self.device)
            method.feasible = self._pool  # type: ignore[assignment]
            if isinstance(method, Rejection):
                method.estimator = self._pool  # type: ignore[assignment]
        baseline.total, baseline.weight = (self._sent([value]) for value in (baseline.total, baseline.weight))
        self._own = torch.tensor(list(self.own)).to(self.device)
        rows_per_step = self.batch_size * method.replicas_per_device
        minibatches = zip(block.train.split(rows_per_step), block.valid.split(rows_per_step), strict=True)
        told: list[tuple[int, Tensor, Tensor | None]] = []
        for whole, (train, valid) in zip(self.warmup_probabilities, minibatches, strict=True):
            progress = self.step / self.total_steps
            children = self._children_for_weights(whole)
            rl_is_due = whole == 0 and progress >= self.rl_from and self.step % method.rl_every == 0
            of_rl = self._draw(self.n_replicas * method.num_children, self._draws_valid) if rl_is_due else None
            loss = self._masked_weight_update(train, *children, progress, weight_optimizer)
            rl = None if of_rl is None else self._masked_rl_update(valid, of_rl, progress, rl_optimizer)
            told.append((self.step, loss, rl))
            if self.device.type == "xla":
                accelerator.run_graph()
            self.step += 1
        if self.device.type == "xla":
            told, baseline.total, baseline.weight = accelerator.on_host((told, baseline.total, baseline.weight))
        baseline.total, baseline.weight = float(baseline.total), float(baseline.weight)
        method.__dict__.pop("feasible", None)
        for name, value in followed.items():
            setattr(method, name, value)
        metrics = self._told(told)
        self.seconds += time.perf_counter() - started
        self._snapshot(metrics, self.n_steps(block))
        return metrics

    def _sent(self, values: Any) -> Tensor:
        """Floats to the device, as data."""
        return torch.tensor(values, dtype=self.controller.logits.dtype).to(self.device)

    def _draw(self, n: int, valid: bool, drawn: Tensor | None = None) -> Tensor:
        """n children from P(y | V) or P(y) at the present logits: (n, L) choice indices, by noise of the host.

        drawn: (n,) bool, which of them are; the others take no noise from the generator, and are any.
        """
        drawn = torch.ones(n, dtype=torch.bool) if drawn is None else drawn
        n_drawn, logits = int(drawn.sum()), self.controller.logits.detach()
        if valid:
            assert self._pool is not None
            uniform = torch.zeros(n, dtype=torch.float64)
            uniform[drawn] = torch.rand(n_drawn, generator=self.generator, dtype=torch.float64)
            return self._pool.at(logits, uniform.float().to(self.device))
        noise = torch.zeros(n, *self.space.mask.shape)
        if n_drawn:
            noise[drawn] = gumbel((n_drawn, *self.space.mask.shape), self.generator)
        return (logits + noise.to(self.device)).argmax(dim=-1)

    def _children_for_weights(self, whole: float) -> tuple[Tensor, Tensor]:
        """The widths (R, L) of every replica's child, or of the whole SuperNet, and which train (R,) bool."""
        n = self.n_replicas
        of_child = torch.ones(n, dtype=torch.bool) if whole == 0 else torch.rand(n, generator=self.generator) >= whole
        indices = self._draw(n, self.method.weight_draws == "valid", of_child)
        is_child = of_child.to(self.device)
        widths = torch.where(is_child[:, None], self.space.gather_widths(indices), self._largest.to(self.device))
        if not self.method.skip_infeasible_weight_updates:
            return widths, torch.ones_like(is_child)
        return widths, self.limits.allow_many(widths) | ~is_child

    def _masked_weight_update(
        self, rows: Rows, widths: Tensor, trains: Tensor, progress: float, optimizer: ChildOptimizer
    ) -> Tensor:
        """TabNAS._weight_update; (2,): the mean loss of the replicas that take part, and whether any did."""
        settings = self.optimizer_settings
        shares = trains.to(self.controller.logits) / trains.sum().clamp(min=1)
        rows = rows.map(lambda column: column.to(self.device))
        losses = self._losses(self.encoder(rows.numerical, rows.categorical), rows, widths.index_select(0, self._own))
        total = (losses * shares.index_select(0, self._own)).sum()
        total.backward()
        if self.n_devices > 1:
            total = accelerator.summed(total.detach())
            for p in optimizer.parameters:
                assert p.grad is not None
                p.grad = accelerator.summed(p.grad)
        hull = torch.where(trains[:, None], widths, 0).amax(dim=0)
        masks = [mask & trains.any() for mask in (*self._encoder_masks(rows.categorical), *self._masks(hull))]
        rate = settings.lr * schedule_factor(settings.schedule, progress)
        optimizer.update_where(masks, self._sent(rate))
        return torch.stack([total.detach(), trains.any().to(total)])

    def _encoder_masks(self, categorical: Tensor) -> list[Tensor]:
        """Of each of its parameters, what a step on these ids (B, c) updates."""
        everywhere = torch.ones((), dtype=torch.bool, device=self.device)
        masks = [everywhere for _ in self.encoder.parameters()]
        if self.encoder.sparse:
            if self.n_devices > 1:
                categorical = accelerator.gathered(categorical)
            cells = (categorical + self.encoder.offsets).flatten()
            n_ids = next(self.encoder.parameters()).shape[0]
            masks[0] = torch.zeros(n_ids, dtype=torch.bool, device=self.device).index_fill(0, cells, True)[:, None]
        return masks

    def _masks(self, widths: Tensor) -> list[Tensor]:
        """Of each parameter of the SuperNet, where a child of widths (L,) has it."""
        masks = []
        before = torch.ones(self.supernet.n_inputs, dtype=torch.bool, device=self.device)
        for i, layer in enumerate(self.supernet.layers):
            n = cast(torch.nn.Linear, layer).out_features
            units = torch.arange(n, device=self.device)
            active = units < widths[i] if i < len(widths) else units >= 0
            masks += [active[:, None] & before, active]
            before = active
        return masks

    def _masked_rl_update(self, rows: Rows, children: Tensor, progress: float, optimizer: ChildOptimizer) -> Tensor:
        """TabNAS._rl_update of children (R · K, L) choice indices, to be told from by `_told`: (6,)."""
        each, method = self.method.num_children, self.method
        evaluated = method.evaluated(children[None])[0]
        widths = self.space.gather_widths(children).view(self.n_replicas, each, self.space.n_layers)
        rows = rows.map(lambda column: column.to(self.device))
        with torch.no_grad():
            x = self.encoder(rows.numerical, rows.categorical)
            losses = [self._losses(x, rows, of_all) for of_all in widths.index_select(0, self._own).unbind(1)]
        q = quality(torch.stack(losses, dim=1).flatten())
        if self.n_devices > 1:
            q = accelerator.gathered(q)
        logits = self.controller.logits
        step = method.step(logits.detach()[None], children[None], q[None], evaluated[None])
        logits.grad = -step.ascent[0]
        rl_progress = max(0.0, (progress - self.rl_from) / (1.0 - self.rl_from))
        rate = method.eta * schedule_factor(cast(Any, method.rl_schedule), rl_progress)
        optimizer.update_where([step.applies.view(1, 1)], self._sent(rate))
        n = evaluated.sum()
        reward = (step.reward[0] * evaluated).sum() / n.clamp(min=1)
        advantage = step.advantage.abs().mean()  # those of children that are not evaluated are 0, the others' larger
        error = torch.zeros((), device=self.device)
        if self._pool is not None and not self._pool.listed and step.log_prob_valid is not None:
            error = self._pool.error[0]
        worst = torch.where(evaluated, q, 0.0).sum()  # not finite if one of them is not
        return torch.stack([step.applies[0].to(q), n.to(q), reward, advantage, error, worst])

    def _losses(self, x: Tensor, rows: Rows, widths: Tensor) -> Tensor:
        """Of a child of each of the r replicas of this core, in one go: x (r · B, n_inputs), widths (r, L) → (r,)."""
        of_rows = widths[:, None].expand(-1, self.batch_size, -1).flatten(0, 1)
        outputs = self.supernet(x, of_rows, mode="mask").split(self.batch_size)
        minibatches = zip(outputs, rows.split(self.batch_size), strict=True)
        return torch.stack([self.task.loss(output, part.target, part.weight) for output, part in minibatches])

    @torch.no_grad()
    def _told(self, told: list[tuple[int, Tensor, Tensor | None]]) -> dict[str, float | None]:
        """The counts and metrics of a block, now over; UserError where something is not finite."""
        losses: list[tuple[int, float]] = []
        rewards: list[tuple[float, float]] = []
        observed: list[tuple[int, float]] = []
        for step, loss, rl in told:
            value, trained = loss.tolist()
            self.counts["weight_updates" if trained else "skipped_weight_updates"] += 1
            if trained:
                losses.append((step, value))
            if rl is not None:
                applies, n, reward, advantage, error, worst = rl.tolist()
                self.counts["children_evaluated"] += int(n)
                self.counts["forward_passes"] += int(n)  # of those that are looked at
                self.counts["rl_updates" if applies else "skipped_infeasible"] += 1
                observed.append((step, worst))
                self._largest_error = max(self._largest_error, error)
                if applies:
                    rewards.append((reward, advantage))
        _refuse_divergence([*losses, *observed])
        if int(self._logits().isfinite().sum()) != sum(self.space.n_choices):  # all but the padding
            remedy = "lower search.eta; the last good checkpoint is kept"
            raise UserError("logits", f"must stay finite, by step {self.step} of the search", "nan or inf", remedy)
        metrics = self._metrics([value for _, value in losses], [])
        if rewards:
            means = [sum(values) / len(rewards) for values in zip(*rewards, strict=True)]
            metrics |= {"reward": means[0], "advantage": means[1]}
        return metrics

    def judged_by(self) -> tuple[Encoder, SuperNet]:
        """A copy on the host, where children may have shapes of their own."""
        if self._on_host is None or self._on_host[0] != self.step:
            self._on_host = (self.step, copy.deepcopy(self.encoder).cpu(), copy.deepcopy(self.supernet).cpu())
        return self._on_host[1:]
