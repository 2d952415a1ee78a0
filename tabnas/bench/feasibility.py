"""What a controller step costs, exact P(V) included, and how exact it is, in the paper's five spaces."""

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from tabnas.bench.line import Line
from tabnas.bench.setting import PAPER_WIDTHS, ROUNDS, Case, Setting, random_table, rows_for, volkert_noise
from tabnas.data.table import Table
from tabnas.feasibility import Refreshed
from tabnas.method import ConditionalDraws, Method, Rejection
from tabnas.optim import Adam, Child

STEPS = 200  # of the controller in a round
WEIGHT_STEPS = 50  # in a round
MONTE_CARLO_SECONDS = 2.0  # of Monte-Carlo steps timed at least, or one step
ETA = {"tabnas": 0.02, "tabnas_exact": 0.005}  # conf/search/*.yaml's


def feasibility(folder: Path) -> Iterator[Line]:
    """Controller steps over the SuperNet's weight step, and the paper's Monte-Carlo step over them."""
    for case, num_samples in SPACES:
        setting = case.setting(folder)
        kinds: dict[str, type[Method]] = {"tabnas": Rejection, "tabnas_exact": ConditionalDraws}
        walks = {name: Walk(setting.method(kind, eta=ETA[name])) for name, kind in kinds.items()}
        weight_step = _weight_steps(setting)
        seconds: dict[str, list[float]] = {name: [] for name in kinds}
        ratios: dict[str, list[float]] = {name: [] for name in kinds}
        for _ in range(ROUNDS):
            weight_seconds = weight_step()
            for name, walk in walks.items():
                seconds[name].append(walk.seconds_per_step(STEPS))
                ratios[name].append(seconds[name][-1] / weight_seconds)
        for name in kinds:
            ratio = statistics.median(ratios[name])
            yield Line.at_most("feasibility", f"{case.name}: {name}", ratio, "x weight step", 0.25)
            microseconds = round(statistics.median(seconds[name]) * 1e6, 1)
            yield Line("feasibility", f"{case.name}: {name}", microseconds, "microseconds")
        yield from _errors(case, walks["tabnas"])
        estimated = Walk(setting.method(Rejection, num_samples=num_samples, eta=ETA["tabnas"]))
        slower = estimated.seconds_per_step(1, MONTE_CARLO_SECONDS) / statistics.median(seconds["tabnas"])
        name = f"{case.name}: Monte-Carlo, N = {num_samples:,}"
        if num_samples == 5_000_000:
            yield Line.at_least("feasibility", name, slower, "x exact step", 100)
        else:
            yield Line("feasibility", name, round(slower, 2), "x exact step")


class Walk:
    """A controller that learns from made-up qualities, one preference for each choice and noise, as a search would."""

    def __init__(self, method: Method) -> None:
        self.method = method
        shape = method.space.mask.shape
        self.logits = torch.zeros(shape).masked_fill(~method.space.mask, -torch.inf).requires_grad_()
        self.preferences = 0.02 * torch.randn(shape, generator=torch.Generator().manual_seed(1))
        self.noise = torch.Generator().manual_seed(2)
        self.optimizer = Adam(lr=method.eta).child([self.logits])

    def seconds_per_step(self, steps: int, at_least: float = 0.0) -> float:
        """Mean over `steps` steps with a feasible draw, or more until `at_least` seconds are over."""
        spent, done = 0.0, 0
        while done < steps or spent < at_least:
            started = time.perf_counter()
            logits = self.logits.detach()
            children = self.method.draw(logits)
            evaluated = self.method.evaluated(children)
            if not bool(evaluated.any()):  # rejected, a cheaper step
                continue
            before = time.perf_counter()
            quality = self._quality(children)
            after = time.perf_counter()
            step = self.method.step(logits, children, quality, evaluated)
            if step.applies:
                self.logits.grad = -step.ascent
                self.optimizer.update(Child([None], [self.logits]))
            spent += time.perf_counter() - after + before - started
            done += 1
        return spent / done

    def _quality(self, children: Tensor) -> Tensor:
        liked = self.preferences.gather(1, children.T).sum(dim=0)
        return liked + 0.02 * torch.randn(len(children), generator=self.noise)


def _weight_steps(setting: Setting) -> Callable[[], float]:
    """Seconds of a weight step of children from P(y | V) at uniform logits, in the mean over WEIGHT_STEPS."""
    search = setting.search(ConditionalDraws, weight_draws="valid")
    (optimizer, _), _ = search.configure_optimizers()
    minibatches = [rows for block in setting.data.train_dataloader() for rows in block.train.split(search.batch_size)]
    logits = search.controller.logits.detach()
    children = [search.space.widths(y) for y in search.method.feasible.sample(logits, WEIGHT_STEPS).tolist()]

    def run() -> float:
        started = time.perf_counter()
        for rows, widths in zip(minibatches, children, strict=False):
            search._weight_update(rows, [widths], 0.5, optimizer)  # type: ignore[arg-type]
        return (time.perf_counter() - started) / min(len(minibatches), WEIGHT_STEPS)

    run()
    return run


def _errors(case: Case, walk: Walk) -> Iterator[Line]:
    """The gradient's estimated and true error where it is carried over from a pool; see Refreshed."""
    feasible, program = walk.method.feasible, walk.method.program
    if not isinstance(feasible, Refreshed) or program is None:
        return
    errors = []
    for _ in range(20):
        walk.seconds_per_step(25)
        logits = walk.logits.detach()
        _, marginals = feasible.log_prob_and_marginals(logits)
        exact = program.solve(logits).marginals()
        noise = (exact * (1 - exact)).sum().sqrt()
        errors.append(float((marginals - exact).norm() / noise))
    name = f"{case.name}: error of the gradient"
    yield Line("feasibility", f"{name}, largest estimated", round(feasible.largest_error, 3), "of its noise")
    rms = statistics.fmean(e * e for e in errors) ** 0.5
    yield Line.at_most("feasibility", f"{name}, true, rms of {len(errors)}", rms, "of its noise", 0.01)
    share = feasible.refreshes / feasible.steps
    yield Line("feasibility", f"{case.name}: program runs", round(share, 4), "per step")


def _criteo() -> Table:
    return random_table(rows_for(512), 1027, 2)


SPACES = (
    (Case("criteo 3 layers", _criteo, 512, 3, 41_153), 3_072),
    (Case("criteo 4 layers", _criteo, 512, 4, 59_697), 32_768),
    (Case("criteo 5 layers", _criteo, 512, 5, 75_353), 32_768),
    (Case("volkert 4 layers", volkert_noise, 32, 4, 27_882), 10_000),
    (Case("volkert 9 layers", volkert_noise, 32, 9, 78_114, widths=PAPER_WIDTHS[:12]), 5_000_000),
)
"""With the paper's N."""
