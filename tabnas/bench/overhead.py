"""What Lightning, logging and checkpoints add to the updates themselves."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tabnas.bench.line import Line
from tabnas.bench.setting import CASES, ROUNDS, STEPS_PER_BLOCK, WHOLE_SEARCH_EPOCHS, BlockTimer
from tabnas.controller import gumbel
from tabnas.data.datamodule import TableDataModule
from tabnas.metrics import log_loss
from tabnas.search import TabNAS
from tabnas.supernet import feedforward


def plain_loop(search: TabNAS, data: TableDataModule, n_steps: int) -> float:
    """Algorithms 1 and 2 after warmup without Lightning, logging or checkpoints; seconds of the n_steps.

    The same updates as TabNAS.training_step, in the same order, from the same draws.
    """
    (weights, logits_optimizer), _ = search.configure_optimizers()
    weight_optimizer: Any = weights
    controller, space = search.controller, search.space
    n_encoder = len(list(search.encoder.parameters()))
    loader = data.train_dataloader()
    step, started = 0, time.perf_counter()
    while True:
        for block in loader:
            assert block.valid is not None
            pairs = zip(block.train.split(data.batch_size), block.valid.split(data.batch_size), strict=True)
            for train, valid in pairs:
                if step == n_steps:
                    return time.perf_counter() - started
                noise = gumbel((2, *controller.logits.shape), search.generator)
                x, y = (controller.logits.detach() + noise).argmax(dim=-1).tolist()
                optimizer = search.optimizer_settings
                rate = optimizer.lr * (1 + np.cos(np.pi * search.step / search.total_steps)) / 2
                weight_optimizer.param_groups[0]["lr"] = float(rate)
                regions = search.supernet.regions(space.widths(x))
                child = weight_optimizer.gather([*[None] * n_encoder, *regions])
                inputs = search.encoder(train.numerical, train.categorical)
                log_loss(feedforward(inputs, child.leaves[n_encoder:]), train.target).backward()
                weight_optimizer.step(child=child)
                widths = space.widths(y)
                if search.cost(widths) <= search.limit:
                    log_prob_valid = search.feasibility.log_prob(controller.logits)
                    with torch.no_grad():
                        inputs = search.encoder(valid.numerical, valid.categorical)
                        reward = 1.0 - log_loss(search.supernet(inputs, widths), valid.target).item()
                    advantage = reward - search.baseline.value
                    (-(advantage * (controller.log_prob(y) - log_prob_valid))).backward()
                    logits_optimizer.step()
                    logits_optimizer.zero_grad()
                    search.baseline.update(reward)
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
