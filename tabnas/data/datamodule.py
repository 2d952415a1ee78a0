"""The one LightningDataModule: splits a table, and serves it in blocks of minibatches."""

import functools
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from tabnas.data.table import Block, Rows, Table
from tabnas.errors import UserError, require_integer, require_number, require_one_of


class TableDataModule(LightningDataModule):
    """A random split into training and validation rows, and the loaders over them.

    batch_size: rows of a minibatch; at most either split's rows.
    val_fraction: share of the rows for validation, in (0, 1).
    split_seed: fixes the split, apart from the seed of a run, so that runs are compared on the same rows.
    numerical: "standard" subtracts the training mean and divides by the training deviation; "original" leaves the
        values as they are (the paper's Table 1).
    steps_per_block: minibatches handed over at once.
    """

    def __init__(
        self,
        table: Table,
        *,
        batch_size: int,
        val_fraction: float,
        split_seed: int,
        numerical: Literal["standard", "original"],
        seed: int,
        steps_per_block: int,
    ) -> None:
        super().__init__()
        require_integer("dataset.batch_size", batch_size, low=1, remedy="the paper uses 32 to 512")
        require_number("dataset.val_fraction", val_fraction, low=0, high=0.9, open_low=True, remedy="the paper has 0.2")
        require_integer("dataset.split_seed", split_seed, low=0, remedy="any fixed integer will do")
        require_one_of("dataset.numerical", numerical, ("standard", "original"))
        self.batch_size, self.seed, self.steps_per_block = batch_size, seed, steps_per_block
        order = torch.randperm(table.rows.n_rows, generator=_generator(split_seed))
        n_val = round(val_fraction * table.rows.n_rows)
        if not n_val:
            rule = f"must leave a row of the {table.rows.n_rows} for validation"
            raise UserError("dataset.val_fraction", rule, val_fraction, "the paper has 0.2")
        self.valid, self.train = table.rows.take(order[:n_val]), table.rows.take(order[n_val:])
        for name, rows in (("training", self.train), ("validation", self.valid)):
            if batch_size > rows.n_rows:
                rule = f"must be at most the {rows.n_rows} rows of the {name} split"
                remedy = f"give {rows.n_rows} or less"
                raise UserError("dataset.batch_size", rule, batch_size, remedy)
        self.scaling: dict[str, list[float]] | None = None
        """The fitted `mean` and `scale` of each numerical column; None where values are left as they are."""
        if numerical == "standard" and table.n_numerical:
            scaler = StandardScaler().fit(self.train.numerical.numpy())
            self.scaling = {"mean": scaler.mean_.tolist(), "scale": scaler.scale_.tolist()}
            self.train, self.valid = (
                rows._replace(numerical=torch.from_numpy(scaler.transform(rows.numerical.numpy())))
                for rows in (self.train, self.valid)
            )

    @property
    def steps_per_epoch(self) -> int:
        """Whole minibatches of the training split; the rows left over differ from epoch to epoch."""
        return self.train.n_rows // self.batch_size

    def train_dataloader(self) -> "BlockLoader":
        """For the search: training and validation rows."""
        return self.blocks(seed=self.seed, with_validation=True)

    def blocks(self, *, seed: int, with_validation: bool) -> "BlockLoader":
        """A loader whose order depends on `seed` alone."""
        train = Stream(self.train, self.batch_size, (seed, 0))
        valid = Stream(self.valid, self.batch_size, (seed, 1)) if with_validation else None
        return BlockLoader(train, valid, self.steps_per_block)


class Stream:
    """Minibatches of shuffled rows without end: pass after pass over the rows, each in an order of its own.

    What step i holds depends on (key, i) alone, so that a stream can be taken up anywhere.
    """

    def __init__(self, rows: Rows, batch_size: int, key: tuple[int, ...]) -> None:
        self.rows, self.batch_size, self.key = rows, batch_size, key
        self.steps_per_pass = rows.n_rows // batch_size
        self._order = functools.lru_cache(maxsize=2)(self._shuffled)

    def take(self, first_step: int, n_steps: int) -> Rows:
        """The rows of n_steps consecutive minibatches: n_steps · batch_size rows."""
        pieces, step = [], first_step
        while step < first_step + n_steps:
            number, position = divmod(step, self.steps_per_pass)
            n = min(self.steps_per_pass - position, first_step + n_steps - step)
            start = position * self.batch_size
            pieces.append(self._order(number)[start : start + n * self.batch_size])
            step += n
        return self.rows.take(torch.cat(pieces))

    def _shuffled(self, number: int) -> Tensor:
        return torch.randperm(self.rows.n_rows, generator=_generator(*self.key, number))


class BlockLoader:
    """`n_epochs` epochs of `train` in blocks, each with as many minibatches of `valid`; its state is the next step.

    No block reaches over the end of an epoch.

    Lightning checkpoints a loader that has `state_dict`, and so takes it up in the middle.
    """

    def __init__(self, train: Stream, valid: Stream | None, steps_per_block: int) -> None:
        self.train, self.valid, self.steps_per_block = train, valid, steps_per_block
        self.n_epochs = 1
        self.step = 0

    def __len__(self) -> int:
        """Blocks of all epochs."""
        return self.n_epochs * -(-self.train.steps_per_pass // self.steps_per_block)

    def __iter__(self) -> Iterator[Block]:
        per_epoch = self.train.steps_per_pass
        while self.step < self.n_epochs * per_epoch:
            first, n = self.step, min(self.steps_per_block, per_epoch - self.step % per_epoch)
            self.step += n
            yield Block(self.train.take(first, n), None if self.valid is None else self.valid.take(first, n))

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]


def _generator(*key: int) -> torch.Generator:
    state = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state >> 1)
