"""What many searches came to: shares of runs, with intervals."""

import contextlib
import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tabnas.errors import UserError
from tabnas.method import Method, Step
from tabnas.toy.runs import Runs
from tabnas.trainer import write_whole

if TYPE_CHECKING:
    from tabnas.toy.search import ToySetup

Row = dict[str, Any]


def wilson(count: int, runs: int, z: float = 1.96) -> dict[str, float]:
    """A share of runs with its 95 % interval (Wilson's score), which stays within 0 and 1.

    >>> {name: round(value, 3) for name, value in wilson(1990, 2000).items()}
    {'share': 0.995, 'low': 0.991, 'high': 0.997}
    """
    share = count / runs
    middle = (share + z * z / (2 * runs)) / (1 + z * z / runs)
    half = z / (1 + z * z / runs) * math.sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs))
    return {"share": share, "low": max(0.0, middle - half), "high": min(1.0, middle + half)}


def method(setup: "ToySetup", kind: type[Method], generator: torch.Generator, **settings: Any) -> Method:
    """A method on the setup's space and limits; η, its schedule, the optimizer and γ are `search`'s unless given."""
    given = setup.search.method
    common = {name: getattr(given, name) for name in ("eta", "rl_optimizer", "rl_schedule")}
    common |= {"space": setup.space, "limits": setup.limits, "generator": generator, "name": kind.__name__}
    return kind(**{**common, "baseline_decay": given.baseline.decay, **settings})


def rows_of(runs: Runs, setup: "ToySetup", groups: Sequence[Row]) -> list[Row]:
    """One row for each of the groups, of the same size, that the runs are made of in order; with its settings."""
    if not bool(runs.logits[:, setup.space.mask].isfinite().all()):
        raise UserError("logits", "must stay finite", "nan or inf", "lower search.eta and study.etas")
    best = torch.tensor(setup.space.indices(setup.best_feasible()))
    found = (runs.joint.architectures[runs.most_probable_feasible()] == best).all(dim=1).view(len(groups), -1)
    feasible = runs.argmax_is_feasible().view(len(groups), -1)
    evaluations = runs.evaluations.view(len(groups), -1)
    n = found.shape[1]
    return [
        {
            **group,
            "runs": n,
            "steps": runs.total_steps,
            "evaluations_mean": float(evaluations[i].double().mean()),
            "evaluations_max": int(evaluations[i].max()),
            "finds_best": wilson(int(found[i].sum()), n),
            "argmax_feasible": wilson(int(feasible[i].sum()), n),
        }
        for i, group in enumerate(groups)
    ]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread: handing tensors of this size to several takes longer than to work on them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Meter:
    """Tells `progress` of the run-steps done, at every 50th step of a batch."""

    def __init__(self, progress: Callable[[int, int], None], total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self, runs: Runs, step: Step) -> None:
        self.done += len(runs.logits)
        if runs.n_steps % 50 == 0 or self.done == self.total:
            self.progress(self.done, self.total)


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Rows as CSV; nested values as name_key columns."""
    flat = [_flat(row) for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in flat for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    write_whole(path, lambda file: file.write(text.getvalue().encode()))


def _flat(row: Row) -> Row:
    nested = ({f"{k}_{inner}": v for inner, v in value.items()} if isinstance(value, dict) else {k: value}
              for k, value in row.items())  # fmt: skip
    return {key: value for part in nested for key, value in part.items()}


def interval(share: dict[str, float]) -> str:
    """For a table."""
    return f"{share['share']:.3f} [{share['low']:.3f}, {share['high']:.3f}]"


def quantiles(values: Tensor) -> dict[str, float]:
    """The mean over runs (R,), the values that a tenth of them are below and above, and that of the first run."""
    low, high = values.quantile(torch.tensor([0.1, 0.9])).tolist()
    return {"mean": float(values.mean()), "low": low, "high": high, "first": float(values[0])}
