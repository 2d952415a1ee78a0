"""Bench: how fast Criteo's text becomes a table on disk, and in how much memory."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tabnas.bench.line import Line
from tabnas.bench.loader import loader
from tabnas.data.criteo.made_up import blocks

SIZES = (500_000, 1_000_000, 2_000_000, 5_000_000)
ROUNDS = 3
MOST_BYTES = 2e9
MOST_GROWTH = 1.2  # of peak memory over all sizes, and of the time for a row
LEAST_SPEEDUP = 3.0

# Each in a process of its own, whose peak memory is then its own.
_BUILD = """
import json, sys, time
from tabnas.data.criteo import load
text, cache = sys.argv[1:]
start = time.perf_counter()
load(path=text, cache=cache)
seconds = time.perf_counter() - start
"""
_PANDAS = """
import json, sys, time
import pandas as pd
names = ["label", *(f"I{i}" for i in range(1, 14)), *(f"C{i}" for i in range(1, 27))]
types = {name: {"l": "uint8", "I": "float32", "C": "category"}[name[0]] for name in names}
start = time.perf_counter()
pd.read_csv(sys.argv[1], sep="\\t", header=None, names=names, dtype=types)
seconds = time.perf_counter() - start
"""
# The process's own peak: getrusage begins with that of the process that started it.
_PEAK = """
lines = open("/proc/self/status").read().splitlines()
print(json.dumps([seconds, 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))]))
"""


def data(folder: Path) -> Iterator[Line]:
    """Rows a second and peak memory of the build from text to the cache, at several sizes; pandas on the smallest.

    Promised: the time for a row and the peak memory do not grow with the rows, and three times the rows a second of
    a `pandas.read_csv` into the same columns, which neither splits nor scales nor writes. The best of ROUNDS counts.

    folder: to write 1.2 GB of text and twice that of tables and scratch into.
    """
    speeds, peaks = [], []
    for n_rows in SIZES:
        text = folder / "train.txt"
        with text.open("wb") as file:
            for block in blocks(n_rows):
                file.write(block)
        case = f"build of {n_rows / 1e6:g}M rows"
        seconds, peak = _best(_BUILD, text, folder)
        speeds.append(n_rows / seconds)
        peaks.append(peak)
        yield Line("data", case, round(speeds[-1]), "rows/s")
        yield Line.at_most("data", f"{case}, peak memory", peak / 1e9, "GB", MOST_BYTES / 1e9)
        if n_rows == SIZES[0]:
            case = f"pandas.read_csv of {n_rows / 1e6:g}M rows"
            pandas_seconds, pandas_peak = _best(_PANDAS, text, folder)
            yield Line("data", case, round(n_rows / pandas_seconds), "rows/s")
            yield Line("data", f"{case}, peak memory", round(pandas_peak / 1e9, 3), "GB")
            yield Line.at_least("data", "build / pandas.read_csv", pandas_seconds / seconds, "x", LEAST_SPEEDUP)
        text.unlink()
    yield Line.at_most("data", "time for a row, 5M / 0.5M rows", speeds[0] / speeds[-1], "x", MOST_GROWTH)
    yield Line.at_most("data", "peak memory, largest / smallest", max(peaks) / min(peaks), "x", MOST_GROWTH)
    yield from loader(folder)


def _best(program: str, text: Path, folder: Path) -> tuple[float, float]:
    """Least seconds and largest peak bytes of ROUNDS runs."""
    seconds, peaks = [], []
    for _ in range(ROUNDS):
        cache = folder / "cache"
        command = [sys.executable, "-c", program + _PEAK, str(text), str(cache)]
        finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        shutil.rmtree(cache, ignore_errors=True)
        second, peak = json.loads(finished.stdout.splitlines()[-1])
        seconds.append(second)
        peaks.append(peak)
    return min(seconds), max(peaks)
