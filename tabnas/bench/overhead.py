"""What Lightning, logging and checkpoints add to the updates themselves."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import torch

from tabnas.bench.line import Line
from tabnas.bench.setting import CASES, ROUNDS, STEPS_PER_BLOCK, WHOLE_SEARCH_EPOCHS, BlockTimer
from tabnas.controller import sample
from tabnas.data.datamodule import TableDataModule
from tabnas.method import Rejection
from tabnas.method.base import policy_gradient
from tabnas.optim import Child, ChildOptimizer
from tabnas.search import TabNAS
from tabnas.supernet import feedforward


def plain_loop(search: TabNAS, data: TableDataModule, n_steps: int) -> float:
    """Algorithms 1 and 2 after warmup without Lightning, logging or checkpoints; seconds of the n_steps.

    The same updates as TabNAS.training_step, in the same order, from the same draws.
    """
    optimizers, _ = search.configure_optimizers()
    weight_optimizer, logits_optimizer = cast(list[ChildOptimizer], optimizers)
    controller, space, method = search.controller, search.space, search.method
    assert isinstance(method, Rejection)
    n_encoder = len(list(search.encoder.parameters()))
    loader = data.train_dataloader()
    loader.n_epochs = n_steps  # as many as can be needed
    step, started = 0, time.perf_counter()
    while True:
        for block in loader:
            assert block.valid is not None
            pairs = zip(block.train.split(data.batch_size), block.valid.split(data.batch_size), strict=True)
            for train, valid in pairs:
                if step == n_steps:
                    return time.perf_counter() - started
                logits = controller.logits.detach()
                x = space.widths(sample(logits, 1, search.generator)[0].tolist())
                y = sample(logits, 1, search.generator)
                optimizer = search.optimizer_settings
                rate = optimizer.lr * (1 + np.cos(np.pi * search.step / search.total_steps)) / 2
                weight_optimizer.param_groups[0]["lr"] = float(rate)
                regions = search.supernet.regions(x)
                child = weight_optimizer.gather([*[None] * n_encoder, *regions])
                inputs = search.encoder(train.numerical, train.categorical)
                search.task.loss(feedforward(inputs, child.leaves[n_encoder:]), train.target).backward()
                weight_optimizer.update(child)
                widths = space.widths(y[0].tolist())
                if search.limits.allow(widths):
                    with torch.no_grad():
                        inputs = search.encoder(valid.numerical, valid.categorical)
                        reward = 1.0 - search.task.loss(search.supernet(inputs, widths), valid.target)
                    _, marginals = method.estimator.log_prob_and_marginals(logits)
                    advantage = reward - method.baseline.value
                    controller.logits.grad = -policy_gradient(y, advantage[None], marginals)
                    logits_optimizer.update(Child([None], [controller.logits]))
                    method.baseline.update(reward.item())
                step += 1
                search.step = step


def overhead(folder: Path) -> Iterator[Line]:
    """Seconds of a step of the real search over those of a plain PyTorch loop of the same updates."""
    for case in CASES:
        if not case.name.startswith("connect4"):
            continue
        setting = case.setting(folder)
        ratios = []
        for _ in range(ROUNDS):
            timer = BlockTimer()
            setting.fit_search(setting.search(warmup_fraction=0.0), timer, epochs=WHOLE_SEARCH_EPOCHS)
            plain = setting.search(warmup_fraction=0.0)
            plain_loop(plain, setting.data, STEPS_PER_BLOCK)
            ratios.append(timer.per_step() / (plain_loop(plain, setting.data, timer.steps) / timer.steps))
        yield Line.at_most("overhead", case.name, statistics.median(ratios), "x a plain loop", 1.15)
