"""What a search step costs in steps of stand-alone training, part by part."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from tabnas.bench.line import Line
from tabnas.bench.setting import CASES, ROUNDS, WHOLE_SEARCH_EPOCHS, BlockTimer, Case, Setting
from tabnas.method import ConditionalDraws, Method, Rejection
from tabnas.search import TabNAS
from tabnas.space import Widths, hyphenated

METHODS: dict[str, tuple[type[Method], dict[str, Any]]] = {
    "tabnas": (Rejection, {}),
    "tabnas_exact": (ConditionalDraws, {"num_children": 2, "weight_draws": "valid"}),
    "tabnas_exact, rl_every 8": (ConditionalDraws, {"num_children": 4, "weight_draws": "valid", "rl_every": 8}),
}
EXACT_TARGET = 1.6


def search_ratio(folder: Path) -> Iterator[Line]:
    """Seconds of a search step after warmup over those of a stand-alone step of the median feasible architecture."""
    for case in CASES:
        setting = case.setting(folder)
        widths = setting.median_feasible()
        ratios: dict[str, list[float]] = {name: [] for name in METHODS}
        parts: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in METHODS}
        alone_seconds = []
        for _ in range(ROUNDS):
            alone = BlockTimer()
            setting.fit_alone(widths, alone)
            alone_seconds.append(alone.per_step())
            for name, (kind, settings) in METHODS.items():
                uniform = {**settings, "warmup_fraction": 0.0, "eta": 1e-9}  # the logits stay where they start
                timer = BlockTimer()
                setting.fit_search(setting.search(kind, **uniform), timer, epochs=WHOLE_SEARCH_EPOCHS)
                ratios[name].append(timer.per_step() / alone.per_step())
                search = setting.search(kind, **uniform)
                spent = parts_timed(search)
                timed = BlockTimer(after_first=spent.clear)
                setting.fit_search(search, timed, epochs=WHOLE_SEARCH_EPOCHS)
                for part, seconds in exclusive(spent, timed.seconds).items():
                    parts[name][part].append(seconds / timed.steps / alone.per_step())
        unit = f"x stand-alone {hyphenated(widths)}"
        for name in METHODS:
            target = case.target if name == "tabnas" else EXACT_TARGET
            what = f"{case.name}: {name}, uniform logits"
            yield Line.at_most("search_ratio", what, statistics.median(ratios[name]), unit, target)
            for part, shares in parts[name].items():
                yield Line("search_ratio", f"{what}: {part}", round(statistics.median(shares), 3), unit)
        milliseconds = round(statistics.median(alone_seconds) * 1e3, 3)
        yield Line("search_ratio", f"{case.name}: stand-alone step", milliseconds, "ms")
    yield from whole_search_ratio(CASES[2], folder)


def whole_search_ratio(case: Case, folder: Path) -> Iterator[Line]:
    """The ratio over all of a default search after warmup, stand-alone blocks timed in between."""
    setting = case.setting(folder)
    widths = setting.median_feasible()
    for name, (kind, settings) in METHODS.items():
        between = AloneBetween(setting, widths)
        setting.fit_search(setting.search(kind, **settings), between, epochs=WHOLE_SEARCH_EPOCHS)
        value = between.search_seconds / between.search_steps / statistics.median(between.alone)
        unit = f"x stand-alone {hyphenated(widths)}"
        yield Line("search_ratio", f"{case.name}: {name}, whole search", round(value, 3), unit)


class AloneBetween(Callback):
    """Times the blocks of a search after warmup, and now and then pauses it for a stand-alone training."""

    PAUSES = 12

    def __init__(self, setting: Setting, widths: Widths) -> None:
        self.setting, self.widths = setting, widths
        self.search_seconds, self.search_steps = 0.0, 0
        self.alone: list[float] = []
        self.resumed_at: float | None = None
        self.step = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        search: Any = pl_module
        if outputs["warmup_probability"] > 0:
            self.step = search.step
            return
        now = time.perf_counter()
        if self.resumed_at is not None:
            self.search_seconds += now - self.resumed_at
            self.search_steps += search.step - self.step
        self.step = search.step
        due = self.PAUSES * (search.step / search.total_steps - 0.25) / 0.75
        if len(self.alone) < due:
            timer = BlockTimer(blocks=3)
            self.setting.fit_alone(self.widths, timer)
            self.alone.append(timer.per_step())
        self.resumed_at = time.perf_counter()


def parts_timed(search: TabNAS) -> dict[str, float]:
    """The seconds the parts of a search take, each with the parts within it, by timing the methods that do them."""
    inclusive: dict[str, float] = defaultdict(float)

    def timed(label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            before = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                inclusive[label] += time.perf_counter() - before

        return call

    def configure_optimizers() -> Any:
        (weights, logits), schedulers = type(search).configure_optimizers(search)
        for name in ("gather", "update"):
            setattr(weights, name, timed("optimizer", getattr(weights, name)))
        return [weights, logits], schedulers

    search.configure_optimizers = configure_optimizers  # type: ignore[method-assign]
    for label, name in {"weight": "_weight_update", "rl": "_rl_update", "quality": "_quality"}.items():
        setattr(search, name, timed(label, getattr(search, name)))
    for name in ("draw", "draw_for_weights"):
        setattr(search.method, name, timed("draw", getattr(search.method, name)))
    return inclusive


def exclusive(inclusive: dict[str, float], total: float) -> dict[str, float]:
    """`parts_timed`'s seconds as parts that add up to `total`."""
    parts = {
        "child forward and backward": inclusive["weight"] - inclusive["optimizer"],
        "optimizer": inclusive["optimizer"],
        "RL forward": inclusive["quality"],
        "controller": inclusive["draw"] + inclusive["rl"] - inclusive["quality"],
    }
    return {**parts, "data, logging, Lightning": total - sum(parts.values())}
