"""What several replicas cost: in one process, in slices or in masks, and in processes of their own.

Both sides of a ratio are timed in turn.
"""

import json
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tabnas.bench.line import Line
from tabnas.bench.setting import CASES, BlockTimer, Case
from tabnas.search import TabNAS
from tabnas.search.static import StaticTabNAS

N_REPLICAS = 8  # the paper's
ROUNDS = 3
PROCESS_ROUNDS = 5
ARRANGEMENTS = {"one replica": (1, 1), "two replicas, one process": (1, 2), "two processes": (2, 2)}
"""Processes, and replicas in all."""


def replicas(folder: Path) -> Iterator[Line]:
    """The time of a minibatch of one of eight replicas over that of a single replica, and processes over one."""
    for case in CASES[1:]:
        yield from _in_one_process(case, folder)
    for case in CASES[2:]:
        yield from _in_processes(case, folder)


def _in_one_process(case: Case, folder: Path) -> Iterator[Line]:
    found: dict[str, list[float]] = defaultdict(list)
    for number in range(ROUNDS + 1):
        alone = step_seconds(case, folder)
        ratios = {
            "in slices, one after another": step_seconds(case, folder, N_REPLICAS) / N_REPLICAS / alone,
            "in masks, at once": step_seconds(case, folder, N_REPLICAS, StaticTabNAS) / N_REPLICAS / alone,
        }
        if number:
            for how, ratio in ratios.items():
                found[how].append(ratio)
    for how, of_rounds in found.items():
        ratio = round(statistics.median(of_rounds), 3)
        yield Line("replicas", f"{case.name}: {N_REPLICAS} replicas {how}", ratio, "x minibatch of one replica")


def step_seconds(case: Case, folder: Path, n_replicas: int = 1, module: type[TabNAS] = TabNAS) -> float:
    """Of a search on the CPU without warmup."""
    setting, timer = case.setting(folder, n_replicas), BlockTimer()
    setting.fit_search(setting.search(module=module, warmup_fraction=0.0), timer, epochs=timer.blocks)
    return timer.per_step()


def _in_processes(case: Case, folder: Path) -> Iterator[Line]:
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(PROCESS_ROUNDS):
        for name, (n_processes, n_replicas) in ARRANGEMENTS.items():
            seconds[name].append(_process_seconds(case, folder, n_processes, n_replicas))
    for other in ("one replica", "two replicas, one process"):
        ratio = statistics.median(a / b for a, b in zip(seconds[other], seconds["two processes"], strict=True))
        what = f"{case.name}: steps/s of two processes, a replica each"
        yield Line("replicas", what, round(ratio, 3), f"x {other}")


def _process_seconds(case: Case, folder: Path, n_processes: int, n_replicas: int) -> float:
    """Of a step, as the first process has it."""
    launcher = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n_processes}")
    this = ("-m", "tabnas.bench.replicas", str(CASES.index(case)), str(n_processes), str(n_replicas), str(folder))
    told = subprocess.run([sys.executable, *launcher, *this], capture_output=True, text=True, check=False)
    if told.returncode:
        raise RuntimeError(told.stderr)
    return float(json.loads(told.stdout.splitlines()[-1]))


def _process(case: Case, n_processes: int, n_replicas: int, folder: Path) -> None:
    """One of the processes that torchrun starts; the first prints the seconds of a step."""
    setting, timer = case.setting(folder, n_replicas), BlockTimer()
    search = setting.search(n_devices=n_processes, warmup_fraction=0.0)
    setting.fit_search(search, timer, epochs=timer.blocks, devices=n_processes)
    if search.global_rank == 0:
        print(json.dumps(timer.per_step()))


if __name__ == "__main__":
    number, n_processes, n_replicas, folder = sys.argv[1:]
    _process(CASES[int(number)], int(n_processes), int(n_replicas), Path(folder))
