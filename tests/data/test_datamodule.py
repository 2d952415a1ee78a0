import pytest
import torch

from tabnas.data.datamodule import Stream, TableDataModule
from tabnas.data.table import Rows
from tabnas.errors import UserError


def module(table, **changes):
    defaults = {
        "batch_size": 16, "seed": 0, "steps_per_block": 4,
    }  # fmt: skip
    return TableDataModule(table, **{**defaults, **changes})


def as_set(rows):
    return {tuple(row) for row in rows.numerical.tolist()}


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


def test_mapped_files_are_shuffled_by_chunks(monkeypatch):
    """10,000 rows in chunks of 8, 64 rows at a time, the last chunk short: each once a pass, another order in each."""
    monkeypatch.setattr("tabnas.data.datamodule.CHUNK_ROWS", 8)
    n = 1003
    rows = Rows(torch.arange(n)[:, None].float(), torch.empty(n, 0), torch.zeros(n), torch.arange(n).float())
    stream = Stream(rows, 17, (0, 0), shuffle_rows=70)
    assert stream.group_rows == 64
    passes = [stream.take(number * stream.steps_per_pass, stream.steps_per_pass) for number in range(2)]
    for taken in passes:
        assert len(set(taken.numerical[:, 0].tolist())) == taken.n_rows == 59 * 17
        assert torch.equal(taken.numerical[:, 0], taken.weight)
        chunks = (taken.weight[:64] // 8).unique()
        assert len(chunks) == 8
        assert not torch.equal(taken.weight[:64].sort().values, taken.weight[:64])
    assert not torch.equal(passes[0].weight, passes[1].weight)
    pieces = [stream.take(step, 1) for step in range(70)]
    assert torch.equal(stream.take(0, 70).weight, torch.cat([piece.weight for piece in pieces]))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"batch_size": 0}, "dataset.batch_size"),
        ({"batch_size": 61}, "dataset.batch_size"),
        ({"batch_size": 181}, "dataset.batch_size"),
        ({"batch_size": "all"}, "dataset.batch_size"),
        ({"shuffle_rows": 15}, "dataset.shuffle_rows"),
        ({"shuffle_rows": None}, "dataset.shuffle_rows"),
    ],
)
def test_refuses(small_table, changes, name):
    with pytest.raises(UserError) as caught:
        module(small_table, **changes)
    assert caught.value.name == name


@pytest.mark.parametrize("shuffle_rows", [2**20, 4096])
def test_devices_share_out_the_rows_of_each_step(shuffle_rows):
    rows = 3 * 4096 + 100
    column = torch.arange(rows, dtype=torch.float32)
    stream = Stream(Rows(column[:, None], torch.empty(rows, 0), column), 30, (0, 0), shuffle_rows)
    first = stream.steps_per_pass - 2  # over the end of a pass
    parts = [stream.take(first, 5, device, 3).target.view(5, 10) for device in range(3)]
    assert torch.equal(torch.cat(parts, dim=1), stream.take(first, 5).target.view(5, 30))
    for step in torch.cat(parts, dim=1):
        assert len(step.unique()) == 30
