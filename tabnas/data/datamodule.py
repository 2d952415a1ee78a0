"""The one LightningDataModule: serves a table's splits in blocks of shuffled minibatches."""

import functools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor

from tabnas.data.table import Block, Rows, Table, generator
from tabnas.errors import UserError, require_integer

CHUNK_ROWS = 4096  # read from a mapped file in one go
READER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tabnas-reader")


class TableDataModule(LightningDataModule):
    """Loaders over a table's training and validation rows; its test rows, served by none, are at hand as `test`.

    batch_size: rows of a minibatch; at most either split's rows.
    seed: of the order of the rows.
    n_replicas: minibatches that a step of the search takes, one for each replica on any device.
    steps_per_block: minibatches handed over at once.
    shuffle_rows: rows that are shuffled among each other; see Stream. At least a minibatch.
    """

    def __init__(
        self,
        table: Table,
        *,
        batch_size: int,
        seed: int,
        steps_per_block: int,
        shuffle_rows: int = 2**20,
        n_replicas: int = 1,
    ) -> None:
        super().__init__()
        require_integer("dataset.batch_size", batch_size, low=1, remedy="the paper uses 32 to 512")
        for name, rows in (("training", table.train), ("validation", table.valid)):
            if batch_size * n_replicas > rows.n_rows:
                rule = f"must be at most the {rows.n_rows} rows of the {name} split"
                if n_replicas > 1:
                    rule += f" over the {n_replicas} replicas"
                remedy = f"give {rows.n_rows // n_replicas} or less"
                raise UserError("dataset.batch_size", rule, batch_size, remedy)
        remedy = "1048576 is a good choice"
        require_integer("dataset.shuffle_rows", shuffle_rows, low=batch_size * n_replicas, remedy=remedy)
        self.batch_size, self.seed, self.steps_per_block = batch_size, seed, steps_per_block
        self.shuffle_rows, self.n_replicas = shuffle_rows, n_replicas
        self.train, self.valid, self.test = table.train, table.valid, table.test

    @property
    def steps_per_epoch(self) -> int:
        """Whole minibatches of the training split. Departure: rows left over, others in every epoch, are left out."""
        return self.train.n_rows // self.batch_size

    @property
    def search_steps_per_epoch(self) -> int:
        """Steps of the search, in each of which every replica takes a minibatch."""
        return self.train.n_rows // (self.batch_size * self.n_replicas)

    def train_dataloader(self) -> "BlockLoader":
        """For the search: training and validation rows of every replica."""
        return self.blocks(seed=self.seed, with_validation=True, n_replicas=self.n_replicas)

    def blocks(self, *, seed: int | Sequence[int], with_validation: bool, n_replicas: int = 1) -> "BlockLoader":
        """A loader whose order depends on `seed` alone. Of S seeds, each has its own rows: (S, n, …) in every block."""
        if not isinstance(seed, int):
            streams = [Stream(self.train, self.batch_size, (one, 0), self.shuffle_rows) for one in seed]
            return BlockLoader(StackedStream(streams), None, self.steps_per_block)
        rows_per_step = self.batch_size * n_replicas
        train = Stream(self.train, rows_per_step, (seed, 0), self.shuffle_rows)
        valid = Stream(self.valid, rows_per_step, (seed, 1), self.shuffle_rows) if with_validation else None
        return BlockLoader(train, valid, self.steps_per_block)


class Stream:
    """Minibatches of shuffled rows without end: pass after pass over the rows, each in an order of its own.

    What step i holds depends on (key, i) alone, so that a stream can be taken up anywhere.

    Up to `shuffle_rows` rows are shuffled uniformly. More are read as the file has them, in chunks of CHUNK_ROWS: a
    pass takes the chunks in random order and shuffles the rows of so many chunks as make up shuffle_rows. A minibatch
    is then a uniform sample of m = shuffle_rows / CHUNK_ROWS chunks (256 by default) instead of all: the variance of
    its mean of any quantity is that of uniform shuffling plus the variance between chunk means over m.
    """

    def __init__(self, rows: Rows, batch_size: int, key: tuple[int, ...], shuffle_rows: int = 2**20) -> None:
        self.rows, self.batch_size, self.key, self.shuffle_rows = rows, batch_size, key, shuffle_rows
        self.steps_per_pass = rows.n_rows // batch_size
        self.group_rows = rows.n_rows
        if shuffle_rows < rows.n_rows:
            self.group_rows = max(1, shuffle_rows // CHUNK_ROWS) * CHUNK_ROWS
        self._order = functools.lru_cache(maxsize=2)(self._shuffled)
        self._reading = functools.lru_cache(maxsize=2)(lambda *group: READER.submit(self._read, *group))

    def __reduce__(self) -> tuple[Any, ...]:
        """Without what is kept of the last passes, which cannot be pickled."""
        return Stream, (self.rows, self.batch_size, self.key, self.shuffle_rows)

    def take(self, first_step: int, n_steps: int, device: int = 0, n_devices: int = 1) -> Rows:
        """The rows of n_steps consecutive minibatches: n_steps · batch_size rows; an equal part for each device."""
        pieces, step = [], first_step
        share = self.batch_size // n_devices
        while step < first_step + n_steps:
            number, position = divmod(step, self.steps_per_pass)
            n = min(self.steps_per_pass - position, first_step + n_steps - step) if n_devices == 1 else 1
            start = position * self.batch_size + device * share
            pieces += self._between(number, start, start + n * share)
            step += n
        return _joined(pieces)

    def _between(self, number: int, start: int, stop: int) -> list[Rows]:
        """Rows start … stop of a pass, in one piece for each group they reach into."""
        pieces = []
        while start < stop:
            group, offset = divmod(start, self.group_rows)
            n = min(self.group_rows - offset, stop - start)
            rows = self.rows if self.group_rows == self.rows.n_rows else self._read_ahead(number, group)
            pieces.append(rows.take(self._order(number, group)[offset : offset + n]))
            start += n
        return pieces

    def _shuffled(self, number: int, group: int) -> Tensor:
        """The order of the rows of a group of a pass."""
        n = min(self.group_rows, self.rows.n_rows - group * self.group_rows)
        key = (number,) if self.group_rows == self.rows.n_rows else (number, group + 1)
        return torch.randperm(n, generator=generator(*self.key, *key))

    def _read_ahead(self, number: int, group: int) -> Rows:
        """The rows of a group; the one after it is read meanwhile."""
        rows: Rows = self._reading(number, group).result()
        n_groups = -(-self.steps_per_pass * self.batch_size // self.group_rows)
        self._reading(*((number, group + 1) if group + 1 < n_groups else (number + 1, 0)))
        return rows

    def _read(self, number: int, group: int) -> Rows:
        """The rows of a group of a pass, in memory. All groups but the last hold group_rows rows."""
        n_chunks = -(-self.rows.n_rows // CHUNK_ROWS)
        order = torch.randperm(n_chunks, generator=generator(*self.key, number)).tolist()
        # The short chunk comes last, so that every other group is whole.
        order.remove(n_chunks - 1)
        order.append(n_chunks - 1)
        per_group = self.group_rows // CHUNK_ROWS
        chosen = sorted(order[group * per_group : (group + 1) * per_group])
        return _joined([self.rows.slice(c * CHUNK_ROWS, (c + 1) * CHUNK_ROWS) for c in chosen])


class StackedStream:
    """Several streams of the same rows side by side."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self.streams = streams
        self.steps_per_pass = streams[0].steps_per_pass

    def take(self, first_step: int, n_steps: int) -> Rows:
        """The rows of n_steps consecutive minibatches of each stream: (S, n_steps · batch_size, …)."""
        columns = zip(*(stream.take(first_step, n_steps) for stream in self.streams), strict=True)
        return Rows(*(None if column[0] is None else torch.stack(column) for column in columns))  # type: ignore[arg-type]


class BlockLoader:
    """`n_epochs` epochs of `train` in blocks, each with as many minibatches of `valid`; its state is the next step.

    No block reaches over the end of an epoch. Of several devices, each takes its own part of every step's rows.

    Lightning checkpoints a loader that has `state_dict`, and so takes it up in the middle.
    """

    def __init__(self, train: Stream | StackedStream, valid: Stream | None, steps_per_block: int) -> None:
        self.train, self.valid, self.steps_per_block = train, valid, steps_per_block
        self.n_epochs = 1
        self.step = 0
        self.device, self.n_devices = 0, 1

    def __len__(self) -> int:
        """Blocks of all epochs."""
        return self.n_epochs * -(-self.train.steps_per_pass // self.steps_per_block)

    def __iter__(self) -> Iterator[Block]:
        per_epoch = self.train.steps_per_pass
        while self.step < self.n_epochs * per_epoch:
            first, n = self.step, min(self.steps_per_block, per_epoch - self.step % per_epoch)
            self.step += n
            # Stand-alone training of several seeds at once is on one device.
            part = (self.device, self.n_devices) if self.n_devices > 1 else ()
            valid = None if self.valid is None else self.valid.take(first, n, *part)
            yield Block(self.train.take(first, n, *part), valid)

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]


def _joined(pieces: list[Rows]) -> Rows:
    """Rows one after another, without copying a single piece."""
    if len(pieces) == 1:
        return pieces[0]
    columns = zip(*pieces, strict=True)
    return Rows(*(None if column[0] is None else torch.cat(column) for column in columns))  # type: ignore[arg-type]
