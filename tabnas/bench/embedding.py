"""How a training step's time grows with the vocabulary: Criteo's shape, embedding vectors of 39 numbers.

Steps are stand-alone training's own, on ids drawn from a Zipf law as Criteo's roughly are, and on ids drawn uniformly,
the worst case for the machine's caches.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from tabnas.bench.line import Line
from tabnas.data.table import Rows
from tabnas.encoder import Encoder
from tabnas.network import Network
from tabnas.optim import Adam
from tabnas.stand_alone import StandAlone
from tabnas.task import Classification

BATCH_SIZE, N_NUMERICAL, N_CATEGORICAL, DIM = 512, 13, 26, 39
WIDTHS = (32, 144, 24)  # the paper's reference architecture for Criteo
VOCABULARIES = (100_000, 1_000_000, 5_000_000)  # ids in all columns together
N_BATCHES = 20  # different ones, taken in turn
ROUNDS, STEPS = 7, 60


def embedding(folder: Path) -> Iterator[Line]:
    """The step at 5 million ids over that at 100,000; torch's optimizers over ours at a million."""
    for law in ("zipf", "uniform"):
        steps = {f"ours {n}": _ours(n, law) for n in VOCABULARIES}
        steps["dense"] = _torchs(VOCABULARIES[1], law, sparse=False)
        steps["SparseAdam"] = _torchs(VOCABULARIES[1], law, sparse=True)
        seconds = _seconds(steps)
        yield Line(
            "embedding",
            f"{law}: milliseconds of a step at 100,000 ids",
            round(1e3 * seconds[f"ours {VOCABULARIES[0]}"], 3),
            "ms",
        )
        for n in VOCABULARIES[1:]:
            ratio = seconds[f"ours {n}"] / seconds[f"ours {VOCABULARIES[0]}"]
            case = f"{law}: step at {n:,} ids over that at 100,000"
            if law == "zipf" and n == VOCABULARIES[-1]:
                yield Line.at_most("embedding", case, ratio, "ratio", 1.3)
            else:
                yield Line("embedding", case, round(ratio, 3), "ratio")
        ratio = seconds["dense"] / seconds[f"ours {VOCABULARIES[1]}"]
        yield Line.at_least("embedding", f"{law}: dense Adam over ours at 1,000,000 ids", ratio, "ratio", 10)
        ratio = seconds["SparseAdam"] / seconds[f"ours {VOCABULARIES[1]}"]
        yield Line("embedding", f"{law}: torch's SparseAdam over ours at 1,000,000 ids", round(ratio, 3), "ratio")


def _batches(n_ids: int, law: str) -> list[Rows]:
    rng = np.random.default_rng(0)
    per_column = n_ids // N_CATEGORICAL
    shape = (N_BATCHES * BATCH_SIZE, N_CATEGORICAL)
    ids = rng.integers(per_column, size=shape) if law == "uniform" else (rng.zipf(1.2, shape) - 1) % per_column
    # A hash as a real vocabulary has it: frequent values are not neighbours in memory.
    ids = rng.permutation(per_column)[ids].astype(np.int32)
    target = torch.from_numpy(rng.integers(2, size=len(ids)))
    return Rows(torch.randn(len(ids), N_NUMERICAL), torch.from_numpy(ids), target).split(BATCH_SIZE)


def _module(n_ids: int, sparse: bool) -> StandAlone:
    torch.manual_seed(0)
    encoder = Encoder(N_NUMERICAL, [n_ids // N_CATEGORICAL] * N_CATEGORICAL, DIM, sparse=sparse)
    network = Network(encoder.n_inputs, WIDTHS, 1)
    return StandAlone(encoder, network, Classification(("0", "1")), Adam(lr=0.002), BATCH_SIZE, 1)


def _ours(n_ids: int, law: str) -> Callable[[], object]:
    module, batches = _module(n_ids, sparse=True), itertools.cycle(_batches(n_ids, law))
    optimizer = module.configure_optimizers()
    return lambda: module.update(next(batches), optimizer)


def _torchs(n_ids: int, law: str, *, sparse: bool) -> Callable[[], object]:
    """torch's dense Adam on everything, or its SparseAdam on the embedding table and Adam on the network."""
    module, batches = _module(n_ids, sparse=False), itertools.cycle(_batches(n_ids, law))
    if not sparse:
        optimizer = module.configure_optimizers()
        return lambda: module.update(next(batches), optimizer)
    encoder, network = module.encoder, module.network
    table = encoder.embedding
    assert table is not None
    table.sparse = True
    optimizers = (torch.optim.SparseAdam([table.weight], lr=0.002), Adam(lr=0.002).dense(list(network.parameters())))

    def step() -> None:
        rows = next(batches)
        embedded = table(rows.categorical + encoder.offsets).view(BATCH_SIZE, -1)
        outputs = network(torch.cat([rows.numerical, embedded], dim=1))
        module.task.loss(outputs, rows.target).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    return step


def _seconds(steps: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Of one step each, the median over interleaved rounds."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(ROUNDS + 1):
        for name, step in steps.items():
            n = 3 if name == "dense" else STEPS
            started = time.perf_counter()
            for _ in range(n):
                step()
            if number:
                found[name].append((time.perf_counter() - started) / n)
    return {name: statistics.median(values) for name, values in found.items()}
