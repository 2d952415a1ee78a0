"""What seeds trained at once cost over one of them: whole stand-alone steps under Lightning, serving of rows included.

Both sides are timed in turn, so that other work on the machine falls on both.
"""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tabnas.bench.line import Line
from tabnas.bench.setting import ROUNDS, BlockTimer, Case, random_table, rows_for, volkert_noise
from tabnas.data import connect4
from tabnas.space import Widths


@dataclass
class Seeds:
    """A shape, an architecture on it and how many seeds; at_most: what their steps may cost over one seed's."""

    case: Case
    widths: Widths
    n_seeds: int
    at_most: float | None = None


CASES = (
    Seeds(Case("volkert, batch 32", volkert_noise, 32, 4, 0), (48, 160, 32, 144), 8, 2.5),
    Seeds(Case("connect4, batch 256", connect4.load, 256, 3, 0), (80, 16, 32), 3),
    Seeds(Case("criteo, batch 512", lambda: random_table(rows_for(512), 1027, 2), 512, 3, 0), (32, 144, 24), 3),
)


def retrain(folder: Path) -> Iterator[Line]:
    """The time of a step of several seeds at once over that of a single seed; and whether a run trains them at once."""
    for chosen in CASES:
        setting = chosen.case.setting(folder)
        seeds = range(chosen.n_seeds)
        together = len(setting.retraining().groups(chosen.widths, seeds)) == 1
        ratios = []
        for number in range(ROUNDS + 1):
            several, single = (_step(setting.fit_alone, chosen.widths, s) for s in (seeds, seeds[:1]))
            if number:
                ratios.append(several / single)
        how = "at once" if together else "at once, which a run does not do"
        case = f"{chosen.case.name}: {chosen.n_seeds} seeds {how}"
        ratio, unit = statistics.median(ratios), "x one seed"
        if chosen.at_most is None:
            yield Line("retrain", case, round(ratio, 3), unit)
        else:
            yield Line.at_most("retrain", case, ratio, unit, chosen.at_most)


def _step(fit: Callable[..., None], widths: Widths, seeds: range) -> float:
    timer = BlockTimer()
    fit(widths, timer, seeds=seeds)
    return timer.per_step()
