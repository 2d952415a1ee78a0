import pytest
import torch

from tabnas.data import digits
from tabnas.data.datamodule import TableDataModule
from tabnas.errors import UserError


def module(table, **changes):
    defaults = {
        "batch_size": 16, "val_fraction": 0.25, "split_seed": 0, "numerical": "original", "seed": 0,
        "steps_per_block": 4,
    }  # fmt: skip
    return TableDataModule(table, **{**defaults, **changes})


def as_set(rows):
    return {tuple(row) for row in rows.numerical.tolist()}


def test_splits_without_overlap(small_table):
    data = module(small_table)
    assert (data.train.n_rows, data.valid.n_rows) == (180, 60)
    assert not as_set(data.train) & as_set(data.valid)
    assert as_set(data.train) | as_set(data.valid) == as_set(small_table.rows)


def test_the_split_does_not_follow_the_seed(small_table):
    assert torch.equal(module(small_table, seed=1).train.target, module(small_table, seed=2).train.target)
    assert as_set(module(small_table, split_seed=1).valid) != as_set(module(small_table).valid)


def test_an_epoch_holds_every_row_at_most_once(small_table):
    data = module(small_table)
    blocks = list(data.train_dataloader())
    assert [b.train.n_rows for b in blocks] == [64, 64, 48]
    assert [b.valid.n_rows for b in blocks] == [64, 64, 48]
    rows = [tuple(row) for b in blocks for row in b.train.numerical.tolist()]
    assert len(set(rows)) == len(rows) == 176


def test_epochs_differ_and_are_reproducible(small_table):
    loaders = [module(small_table).train_dataloader() for _ in range(2)]
    epochs = []
    for loader in loaders:
        loader.n_epochs = 2
        rows = torch.cat([block.train.numerical for block in loader])
        epochs.append(rows.chunk(2))
    assert not torch.equal(epochs[0][0], epochs[0][1])
    assert torch.equal(epochs[0][0], epochs[1][0])
    assert torch.equal(epochs[0][1], epochs[1][1])


def test_validation_minibatches_run_through_the_split_before_repeating(small_table):
    stream = module(small_table).train_dataloader().valid
    assert stream.steps_per_pass == 3
    first = stream.take(0, 3)
    assert len(as_set(first)) == 48
    whole, pieces = stream.take(0, 8), [stream.take(step, 1) for step in range(8)]
    assert torch.equal(whole.numerical, torch.cat([p.numerical for p in pieces]))


def test_a_loader_is_taken_up_in_the_middle_of_an_epoch(small_table):
    data = module(small_table)
    uninterrupted = [b for loader in [data.train_dataloader()] for _ in range(2) for b in loader]
    first, second = data.train_dataloader(), data.train_dataloader()
    blocks = iter(first)
    seen = [next(blocks) for _ in range(2)]
    second.load_state_dict(first.state_dict())
    seen += [b for _ in range(2) for b in second]
    assert len(seen) == len(uninterrupted)
    for ours, theirs in zip(seen, uninterrupted, strict=True):
        assert torch.equal(ours.train.numerical, theirs.train.numerical)
        assert torch.equal(ours.valid.numerical, theirs.valid.numerical)


def test_standard_uses_the_training_split_alone():
    data = module(digits.load(), numerical="standard")
    varying = data.train.numerical.std(dim=0) > 0
    assert data.train.numerical.mean(dim=0).abs().max() < 1e-5
    assert torch.allclose(
        data.train.numerical.std(dim=0, correction=0)[varying], torch.ones(int(varying.sum())), atol=1e-4
    )
    assert data.valid.numerical.mean(dim=0).abs().max() > 1e-3
    assert set(data.scaling) == {"mean", "scale"}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"batch_size": 0}, "dataset.batch_size"),
        ({"batch_size": 61}, "dataset.batch_size"),
        ({"batch_size": 181}, "dataset.batch_size"),
        ({"batch_size": "all"}, "dataset.batch_size"),
        ({"val_fraction": 0}, "dataset.val_fraction"),
        ({"val_fraction": 1.5}, "dataset.val_fraction"),
        ({"split_seed": -1}, "dataset.split_seed"),
        ({"numerical": "log"}, "dataset.numerical"),
    ],
)
def test_refuses(small_table, changes, name):
    with pytest.raises(UserError) as caught:
        module(small_table, **changes)
    assert caught.value.name == name
