"""The toy study's batched searches against one search at a time in plain PyTorch."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tabnas.bench.line import Line
from tabnas.cost import Limits, ParameterCount
from tabnas.method import ConditionalDraws, Method, Rejection, RewardShaping
from tabnas.space import SearchSpace
from tabnas.toy.outcome import one_thread
from tabnas.toy.runs import Runs
from tabnas.toy.table import LossTable

NUM_RUNS = 16_000  # of a batch
PLAIN_RUNS = 3  # of plain searches, one after the other
ROUNDS = 5  # times the two are timed in turn
EVALUATIONS = 500
ETA, EPS, LIMIT, BETA = 0.1, 1e-3, 25, -1.0
WIDTHS = [2, 3, 4]
LOSSES = [[0.9, 0.9, 0.66], [0.9, 0.66, 0.3], [0.6, 0.3, 0.1]]


@dataclass
class Case:
    """A method by its class and settings. num_samples: N; num_children: K."""

    name: str
    kind: type[Method]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        return EVALUATIONS // int(self.settings.get("num_children", 1))


CASES = (
    Case("Abs Reward", RewardShaping, {"reward": "tunas_abs", "beta": BETA}),
    Case("rejection, N = 5", Rejection, {"num_samples": 5}),
    Case("rejection, exact P(V)", Rejection),
    Case("draws from P(y | V), K = 1", ConditionalDraws, {"num_children": 1}),
    Case("draws from P(y | V), K = 2", ConditionalDraws, {"num_children": 2}),
)


def toy(folder: Path) -> Iterator[Line]:
    """Seconds of a search on the toy example, alone and in a batch, on one core."""
    for case in CASES:
        plain(case, seed=0)  # torch imports more at the first step of an optimizer
        ratios, alone, batched = [], [], []
        with one_thread():
            for seed in range(ROUNDS):
                started = time.perf_counter()
                for i in range(PLAIN_RUNS):
                    plain(case, seed=PLAIN_RUNS * seed + i)
                between = time.perf_counter()
                batch(case, seed)
                batched.append((time.perf_counter() - between) / NUM_RUNS)
                alone.append((between - started) / PLAIN_RUNS)
                ratios.append(alone[-1] / batched[-1])
        yield Line.at_least("toy", case.name, statistics.median(ratios), "x as fast as alone", 1000.0)
        step = statistics.median(batched) / case.steps
        yield Line("toy", f"{case.name}: a step of a run in a batch", round(step * 1e6, 3), "us")
        yield Line("toy", f"{case.name}: a search alone", round(statistics.median(alone), 3), "s")


def batch(case: Case, seed: int) -> Runs:
    """NUM_RUNS searches as one tensor program."""
    space = SearchSpace([WIDTHS, WIDTHS])
    generator = torch.Generator().manual_seed(seed)
    limits = Limits(ParameterCount(2, 1), LIMIT)
    method = case.kind(space=space, limits=limits, generator=generator, name=case.name, eta=ETA, **case.settings)
    losses = {f"{a}-{b}": LOSSES[i][j] for i, a in enumerate(WIDTHS) for j, b in enumerate(WIDTHS)}
    runs = Runs(method, LossTable(losses, 2, 1, space), NUM_RUNS, total_steps=case.steps)
    runs.run()
    return runs


def plain(case: Case, seed: int) -> Tensor:
    """One search as one would write it: autograd, torch.optim.Adam, nothing of tabnas. Its logits."""
    generator = torch.Generator().manual_seed(seed)
    losses, widths = torch.tensor(LOSSES), torch.tensor(WIDTHS)
    costs = 3 * widths[:, None] + (widths[:, None] + 1) * widths + widths + 1
    feasible = costs <= LIMIT
    within = feasible.nonzero()
    num_samples, num_children = case.settings.get("num_samples"), case.settings.get("num_children")
    logits = torch.zeros(2, 3, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=ETA, eps=EPS)
    total = weight = 0.0
    for _ in range(case.steps):
        log_p = logits.log_softmax(dim=1)
        if num_children is not None:
            log_conditional = (log_p[0, :, None] + log_p[1])[feasible].log_softmax(dim=0)
            drawn = torch.multinomial(log_conditional.detach().exp(), num_children, True, generator=generator)
            rewards = 1.0 - losses[within[drawn, 0], within[drawn, 1]]
            log_prob, reward = log_conditional[drawn], rewards.mean().item()
        else:
            i, j = torch.multinomial(log_p.detach().exp(), 1, generator=generator)[:, 0].tolist()
            reward = 1.0 - losses[i, j].item()
            log_prob = log_p[0, i] + log_p[1, j]
            if case.kind is RewardShaping:
                reward += BETA * abs(costs[i, j].item() / LIMIT - 1.0)
            elif not feasible[i, j]:
                continue
            elif num_samples is None:
                log_prob = log_prob - (log_p[0, :, None] + log_p[1])[feasible].logsumexp(dim=0)
            else:
                z = torch.multinomial(log_p.detach().exp(), num_samples, True, generator=generator)
                allowed = feasible[z[0], z[1]]
                if not allowed.any():
                    continue
                log_pz = log_p[0, z[0]] + log_p[1, z[1]]
                log_prob = log_prob - ((log_pz - log_pz.detach()).exp() * allowed).mean().log()
        if num_children is not None and num_children > 1:
            advantage = (rewards - rewards.mean()) * num_children / (num_children - 1)
        else:
            advantage = torch.tensor(reward - (total / weight if weight else 0.0))
            total, weight = 0.9 * total + 0.1 * reward, 0.9 * weight + 0.1
        optimizer.zero_grad()
        (-advantage * log_prob).mean().backward()
        optimizer.step()
    return logits.detach()
