"""Latency in microseconds as a chain cost: a measured time for every layer there can be, added up.

May import space, cost and network. Tables of measured layers are kept per device in a folder of JSON files.
"""

import hashlib
import itertools
import json
import logging
import os
import platform
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tabnas.cost import ChainCost, IntOrTensor
from tabnas.network import Network
from tabnas.space import SearchSpace

log = logging.getLogger(__name__)

MOST_UNITS = 20_000  # of the largest architecture: ChainProgram has a state for each, times layers and choices
TIMING_NS = 300_000  # of calls in a row between two looks at the clock, so that neither these nor cold caches count
BUSY_RAISE = 1.5  # on an idle machine of two cores it was 1.2 at most
VERSION = 1  # of the file and of the way it was measured

Shape = tuple[int, int, bool]
"""A layer: inputs, width, whether it is the output layer."""


class Timing(NamedTuple):
    """Median and interquartile range of one layer's time over the passes, in nanoseconds a call."""

    median_ns: int
    iqr_ns: int


class Latency(ChainCost):
    """Time of one batch through the layers, from tables of measured ones: integer nanoseconds, limits in microseconds.

    The sum leaves out the encoder (embedding look-ups, standardisation), what lies between two layers, and caches:
    each layer is timed right after itself, on float32 weights and inputs that are at hand. A network's own latency is
    therefore measured as a whole at the end of a run (`measure_network`) and reported beside the sum. On CUDA, calls
    are queued and waited for together, as the layers of a network are.

    A measured table is raised to its running maximum over inputs and width, separately for hidden and output layers,
    so that a wider layer is never cheaper, and then rounded up to multiples of `unit_ns`: the smallest unit of which
    the largest architecture costs at most MOST_UNITS, rounding aside (L + 1 more). Both err on the dear side.

    timings: of every layer in `shapes(space, n_inputs, n_outputs)`.

    Raises ValueError for a layer that is missing or a time that is no positive integer.
    """

    name = "latency_us"
    scale = 1000

    def __init__(self, space: SearchSpace, n_inputs: int, n_outputs: int, timings: Mapping[Shape, Timing]) -> None:
        super().__init__(n_inputs, n_outputs)
        self.timings: dict[Shape, Timing] = {}
        for shape in shapes(space, n_inputs, n_outputs):
            if shape not in timings:
                raise _not_measured(*shape)
            timing = self.timings[shape] = timings[shape]
            if not all(isinstance(ns, int) for ns in timing) or timing.median_ns < 1 or timing.iqr_ns < 0:
                raise ValueError(f"the latency of {_described(*shape)} must be positive nanoseconds, got {timing}")
        before, width, output = torch.tensor(list(self.timings)).T
        self._befores, row = before.unique(return_inverse=True)
        self._widths, column = width.unique(return_inverse=True)
        at = output, row, column
        self._grid = torch.zeros(2, len(self._befores), len(self._widths), dtype=torch.int64)
        self._grid[at] = torch.tensor([timing.median_ns for timing in self.timings.values()])
        raised = self._grid.cummax(dim=1).values.cummax(dim=2).values[at]
        self._costs: dict[Shape, int] = dict(zip(self.timings, raised.tolist(), strict=True))
        self.unit_ns = -(-self(space.largest) // MOST_UNITS)
        rounded = -(-raised // self.unit_ns) * self.unit_ns
        self.largest_raise = max(self._costs[shape] / timing.median_ns for shape, timing in self.timings.items())
        """How far the running maximum went: the largest ratio of a raised time to the measured one."""
        self._costs = dict(zip(self.timings, rounded.tolist(), strict=True))
        self._grid.fill_(-1)[at] = rounded

    @property
    def relative_spread(self) -> float:
        """How noisy the measurement was: the median over layers of interquartile range / median."""
        return statistics.median(timing.iqr_ns / timing.median_ns for timing in self.timings.values())

    def layer(self, before: IntOrTensor, width: IntOrTensor, output: bool) -> IntOrTensor:
        """Nanoseconds, by look-up; ValueError for a layer that was not measured."""
        if isinstance(before, Tensor) and isinstance(width, Tensor):
            return self._looked_up(before, width, output)
        shape = (before, width, output)
        if shape not in self._costs:
            raise _not_measured(*shape)
        return self._costs[shape]

    def _looked_up(self, before: Tensor, width: Tensor, output: bool) -> Tensor:
        befores, widths, grid = (t.to(before.device) for t in (self._befores, self._widths, self._grid))
        row = torch.searchsorted(befores, before.contiguous()).clamp(max=len(befores) - 1)
        column = torch.searchsorted(widths, width.contiguous()).clamp(max=len(widths) - 1)
        costs = grid[int(output), row, column]
        unknown = (befores[row] != before) | (widths[column] != width) | (costs < 0)
        if unknown.any():
            before, width = before.expand_as(costs)[unknown], width.expand_as(costs)[unknown]
            raise _not_measured(int(before[0]), int(width[0]), output)
        return costs

    @classmethod
    def measure(
        cls,
        space: SearchSpace,
        n_inputs: int,
        n_outputs: int,
        *,
        batch_size: int,
        device: torch.device | str = "cpu",
        repeats: int = 15,
        progress: Callable[[int, int], None] | None = None,
    ) -> "Latency":
        """Time every layer there can be, on a machine that had better do nothing else.

        Each of `repeats` passes times all layers in turn, so that a slow moment does not hit one layer alone, with the
        threads torch has now. A layer's time is its median over the passes. The random state is left as it was.

        batch_size: rows at a time.
        device: CPU or CUDA.
        progress: called with the passes done and their number.

        Raises ValueError for another device, and for a batch size or number of repeats below 1.
        """
        device = _timeable(device)
        if batch_size < 1 or repeats < 1:
            raise ValueError(f"batch_size and repeats must be at least 1, got {batch_size} and {repeats}")
        layers = shapes(space, n_inputs, n_outputs)
        most_before = max(before for before, _, _ in layers)
        n_values = max(max(before * width for before, width, _ in layers), batch_size * most_before)
        # One block of numbers serves as every layer's weights, bias and input.
        values = torch.rand(n_values, generator=torch.Generator().manual_seed(0)).sub(0.5).to(device)
        forwards = [
            partial(_layer(*shape, values).forward, values[: batch_size * shape[0]].view(batch_size, shape[0]))
            for shape in layers
        ]
        passes = []
        with torch.inference_mode():
            calls = [_calls(forward, device) for forward in forwards]
            for done in range(1, repeats + 1):
                passes.append([_time(*timed, device) for timed in zip(forwards, calls, strict=True)])
                if progress:
                    progress(done, repeats)
        quarters = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
        low, median, high = torch.tensor(passes, dtype=torch.float64).quantile(quarters, dim=0)
        columns = zip(median.round().long().tolist(), (high - low).round().long().tolist(), strict=True)
        return cls(space, n_inputs, n_outputs, dict(zip(layers, itertools.starmap(Timing, columns), strict=True)))

    @classmethod
    def cached(
        cls,
        space: SearchSpace,
        n_inputs: int,
        n_outputs: int,
        *,
        batch_size: int,
        device: torch.device | str = "cpu",
        folder: Path,
        progress: Callable[[int, int], None] | None = None,
    ) -> "Latency":
        """What was measured before with this device, torch, threads, batch size and layers, or else now.

        Equal numbers in every run; delete the file to measure again. A file that is damaged or of something else is
        measured again. A warning is logged where `folder` cannot be written to, and for times from a busy machine,
        where one disturbed layer raises all larger ones (see `largest_raise`).

        folder: such as `default_folder()`.

        Raises as `measure`.
        """
        conditions = {
            "version": VERSION,
            "device": description(_timeable(device)),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "batch_size": batch_size,
        }
        layers = shapes(space, n_inputs, n_outputs)
        key = hashlib.sha256(json.dumps([conditions, layers]).encode()).hexdigest()[:16]
        path = folder / f"{key}.json"
        try:
            latency = cls(space, n_inputs, n_outputs, _read(path, conditions))
        except (OSError, LookupError, TypeError, ValueError) as error:
            if path.exists():
                log.warning("%s is measured again: %s", path, error)
            latency = cls.measure(space, n_inputs, n_outputs, batch_size=batch_size, device=device, progress=progress)
            _write(path, conditions, latency.timings)
        if latency.largest_raise > BUSY_RAISE:
            busy = "%s: a time was raised %.1f-fold for layers not to fall; delete the file, measure on an idle machine"
            log.warning(busy, path, latency.largest_raise)
        return latency

    def write(self, path: Path) -> None:
        """Keep the table, whole or not at all, for a run that is resumed, on another machine perhaps."""
        _write(path, {}, self.timings)

    @classmethod
    def read(cls, path: Path, space: SearchSpace, n_inputs: int, n_outputs: int) -> "Latency":
        """What `write` kept; OSError, LookupError, TypeError or ValueError if it is not there or damaged."""
        return cls(space, n_inputs, n_outputs, _read(path, {}))


def shapes(space: SearchSpace, n_inputs: int, n_outputs: int) -> list[Shape]:
    """Every layer that an architecture of the space can have.

    >>> shapes(SearchSpace([[4, 8], [2]]), 3, 1)
    [(2, 1, True), (3, 4, False), (3, 8, False), (4, 2, False), (8, 2, False)]
    """
    sizes = ((n_inputs,), *space.choices, (n_outputs,))
    return sorted(
        {
            (before, width, i == space.n_layers)
            for i, pair in enumerate(itertools.pairwise(sizes))
            for before, width in itertools.product(*pair)
        }
    )


def measure_network(forward: Callable[[], Any], *, device: torch.device | str = "cpu", repeats: int = 100) -> int:
    """Median nanoseconds of calling `forward`, in inference mode, warmed up, over `repeats` timings.

    A timing takes several calls in a row if they are short. ValueError for a device other than CPU and CUDA.
    """
    device = _timeable(device)
    with torch.inference_mode():
        calls = _calls(forward, device)
        return round(statistics.median(_time(forward, calls, device) for _ in range(repeats)))


def default_folder() -> Path:
    """Where measured tables are kept: tabnas/latency in $XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tabnas" / "latency"


def _layer(before: int, width: int, output: bool, values: Tensor) -> nn.Sequential:
    """Network's modules for one layer, with its weights (width, before) and bias (width,) taken from `values`."""
    with torch.device("meta"):
        modules = list(Network(before, (), width) if output else Network(before, (width,), 1))[: 1 if output else -1]
    layer = nn.Sequential(*modules)
    parts = {"0.weight": values[: width * before].view(width, before), "0.bias": values[:width]}
    layer.load_state_dict(parts, assign=True)
    return layer


def _time(forward: Callable[[], Any], calls: int, device: torch.device) -> float:
    """Nanoseconds a call, of `calls` in a row after one that does not count."""
    forward()
    _synchronize(device)
    start = time.perf_counter_ns()
    for _ in range(calls):
        forward()
    _synchronize(device)
    return (time.perf_counter_ns() - start) / calls


def _calls(forward: Callable[[], Any], device: torch.device) -> int:
    """How many calls last TIMING_NS, at least 1; warms up on the way."""
    return max(1, round(TIMING_NS / min(_time(forward, 1, device) for _ in range(3))))


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _timeable(device: torch.device | str) -> torch.device:
    device = torch.device(device)
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"latency is measured on cpu and cuda, got {device}")
    return device


def description(device: torch.device) -> str:
    """Of the hardware behind a device of type cpu or cuda, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    names = r"model name|cpu family|model|stepping|CPU implementer|CPU part"
    first = cpuinfo.read_text().split("\n\n")[0] if cpuinfo.exists() else ""
    found = re.findall(rf"^({names})\s*: (.+)$", first, re.MULTILINE)
    return ", ".join(f"{name} {value}" for name, value in found) or platform.processor() or platform.machine()


def _described(before: int, width: int, output: bool) -> str:
    return f"{'an output' if output else 'a hidden'} layer of {width} units on {before} inputs"


def _not_measured(before: int, width: int, output: bool) -> ValueError:
    return ValueError(f"the latency of {_described(before, width, output)} was not measured")


def _read(path: Path, conditions: dict[str, Any]) -> dict[Shape, Timing]:
    """OSError, LookupError, TypeError or ValueError if the file is not there, damaged or of other conditions."""
    content = json.loads(path.read_text())
    if content != conditions | {"layers": content["layers"]}:
        raise ValueError("it is of other conditions")
    return {
        (row["before"], row["width"], row["output"]): Timing(row["median_ns"], row["iqr_ns"])
        for row in content["layers"]
    }


def _write(path: Path, conditions: dict[str, Any], timings: Mapping[Shape, Timing]) -> None:
    """Whole or not at all: a temporary file of a name of its own (a sweep's runs share the folder), flush, rename."""
    rows = [
        {"before": before, "width": width, "output": output} | timing._asdict()
        for (before, width, output), timing in timings.items()
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".partial", delete=False) as file:
            try:
                json.dump(conditions | {"layers": rows}, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        log.warning("measured latencies are not kept for the next run: %s", error)
