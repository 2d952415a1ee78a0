"""What the search in fixed shapes costs on torch-xla, and P(V) in it: what the device does, and what the host.

Needs the virtual environment of the extra `tpu`; PJRT_DEVICE=CPU for torch-xla's CPU client. Both sides of a ratio are
timed in turn.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tabnas import accelerator
from tabnas.bench.line import Line
from tabnas.bench.replicas import N_REPLICAS, step_seconds
from tabnas.bench.setting import CASES, PAPER_WIDTHS, STEPS_PER_BLOCK, BlockTimer, Case, volkert_noise
from tabnas.search.static import StaticTabNAS

ROUNDS = 3
LARGE = Case("volkert 9 layers, batch 32", volkert_noise, 32, 9, 78_114, widths=PAPER_WIDTHS[:12])


def tpu(folder: Path) -> Iterator[Line]:
    """Steps on the device with P(V) over those without, the host's part, and eight replicas over one."""
    for case in (CASES[2], LARGE):
        found: dict[tuple[str, str], list[float]] = defaultdict(list)
        for _ in range(ROUNDS):
            exact, omitted = (_step_seconds(case, folder, prob_valid=p) for p in ("differentiated", "omitted"))
            eight, on_cpu = _step_seconds(case, folder, N_REPLICAS), step_seconds(case, folder)
            on_host = _refresh_seconds(case, folder) / STEPS_PER_BLOCK
            found["a step with P(V)", "x step without"].append(exact / omitted)
            found["P(V) on the host, once a block", "of the block's time"].append(on_host / exact)
            found[f"{N_REPLICAS} replicas at once", "x minibatch of one replica"].append(eight / N_REPLICAS / exact)
            found["a step in masks", "x step in slices, accelerator=cpu"].append(exact / on_cpu)
        for (what, unit), ratios in found.items():
            yield Line("tpu", f"{case.name}: {what}", float(f"{statistics.median(ratios):.3g}"), unit)


def _step_seconds(case: Case, folder: Path, n_replicas: int = 1, **method: Any) -> float:
    setting, timer = case.setting(folder, n_replicas), BlockTimer()
    search = setting.search(module=StaticTabNAS, warmup_fraction=0.0, **method)
    setting.fit_search(search, timer, epochs=timer.blocks, **accelerator.trainer_arguments(1))
    return timer.per_step()


def _refresh_seconds(case: Case, folder: Path) -> float:
    """Of what is sent to the device at the start of every block but the first."""
    search = case.setting(folder).search(module=StaticTabNAS)
    assert isinstance(search, StaticTabNAS)
    assert search._pool is not None
    logits, device = search._logits(), torch.device("xla")
    search._pool.refresh(logits, device)
    started = time.perf_counter()
    search._pool.refresh(logits, device)
    accelerator.run_graph()
    return time.perf_counter() - started
