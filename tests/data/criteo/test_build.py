"""Criteo's text becomes the table that a plain pandas programme makes of it, however it is cut up."""

import gzip
import json
import tarfile

import numpy as np
import pytest
import torch

from tabnas.data.criteo import load, load_synthetic, scratch, source, vocabulary
from tabnas.data.criteo.made_up import blocks
from tabnas.data.criteo.numbers import METHODS
from tabnas.data.criteo.text import CATEGORIES, INTEGERS
from tabnas.data.criteo.vocabulary import hashed
from tests.data.criteo.form import expected, text


@pytest.fixture(scope="module")
def content():
    return text()


def assert_is(table, wanted, rtol=0.0):
    splits, cardinalities = wanted
    assert table.cardinalities == cardinalities
    assert (table.test is None) == (len(splits[2][2]) == 0)
    for rows, (numerical, categorical, target) in zip((table.train, table.valid, table.test), splits, strict=True):
        if rows is None:
            continue
        np.testing.assert_allclose(rows.numerical.numpy(), numerical, rtol=rtol, atol=rtol)
        np.testing.assert_array_equal(rows.categorical.numpy(), categorical)
        np.testing.assert_array_equal(rows.target.numpy(), target)


def assert_equal(one, other):
    assert one.cardinalities == other.cardinalities
    assert one.columns == other.columns
    for split in ("train", "valid"):
        for a, b in zip(getattr(one, split)[:3], getattr(other, split)[:3], strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("numerical", METHODS)
def test_is_what_pandas_makes_of_it(content, numerical, tmp_path):
    (tmp_path / "train.txt").write_bytes(content)
    options = {"numerical": numerical, "min_count": 4, "val_fraction": 0.2, "test_fraction": 0.1, "split_seed": 7}
    table = load(path=tmp_path / "train.txt", cache=tmp_path / "cache", **options)
    assert_is(table, expected(content, **options), rtol=1e-6)
    for ids in (table.train.categorical, table.valid.categorical):
        assert (ids == 0).any()
        assert (ids == 1).any()
    assert not (table.train.categorical == 2).any()
    assert (table.valid.categorical == 2).any()
    assert table.has_reserved_ids
    assert (table.train.numerical.dtype, table.train.categorical.dtype) == (torch.float32, torch.int32)
    assert table.train.target.dtype == torch.uint8


def test_the_first_real_rows_are_what_pandas_makes_of_them(optional_file, tmp_path):
    path = optional_file("criteo_dac_8000.txt.gz")
    table = load(path=path, cache=tmp_path)
    assert_is(table, expected(gzip.decompress(path.read_bytes())), rtol=1e-6)
    n_missing = sum(column.missing for column in table.columns) * (table.train.n_rows + table.valid.n_rows)
    assert round(n_missing) == 45_592


def test_hashing_needs_no_vocabulary(content, tmp_path):
    (tmp_path / "train.txt").write_bytes(content)
    table = load(path=tmp_path / "train.txt", cache=tmp_path / "cache", hash_buckets=50)
    own = load(path=tmp_path / "train.txt", cache=tmp_path / "cache", min_count=1)
    assert table.cardinalities == (53,) * 26
    ids, own_ids = table.train.categorical, own.train.categorical
    assert torch.equal(ids == 0, own_ids == 0)
    assert set(ids.unique().tolist()) == {0, *range(3, 53)}
    assert not ((table.valid.categorical == 1) | (table.valid.categorical == 2)).any()
    for column, own_column in zip(ids.T, own_ids.T, strict=True):  # equal values, equal ids
        pairs = torch.stack([own_column, column], dim=1).unique(dim=0)
        assert len(pairs) == len(own_column.unique())
    counts = torch.bincount(torch.from_numpy(hashed(np.arange(100_000, dtype=np.uint32), 100))) / 1000
    assert counts[3:].sub(1).abs().max() < 6 / 1000**0.5


def test_however_it_is_cut_up(content, tmp_path, monkeypatch):
    (tmp_path / "train.txt").write_bytes(content)
    options = {"path": tmp_path / "train.txt", "numerical": "quantile"}
    whole = load(cache=tmp_path / "one", **options)
    monkeypatch.setattr(source, "BLOCK_BYTES", 10_007)
    monkeypatch.setattr(scratch, "COLUMN_ROWS", 1013)
    monkeypatch.setattr(scratch, "TABLE_ROWS", 499)
    monkeypatch.setattr(vocabulary, "MOST_VALUES", 100)
    assert_equal(load(cache=tmp_path / "other", **options), whole)


def test_a_file_a_compressed_file_an_archive_and_a_folder_of_parts_are_the_same(content, tmp_path):
    (tmp_path / "train.txt").write_bytes(content)
    (tmp_path / "train.gz").write_bytes(gzip.compress(content))
    (tmp_path / "parts").mkdir()
    lines = content.splitlines()
    (tmp_path / "parts" / "b.gz").write_bytes(gzip.compress(b"\r\n".join(lines[2000:]) + b"\r\n\r\n"))
    (tmp_path / "parts" / "a").write_bytes(b"\n".join(lines[:2000]))  # no newline at the end
    (tmp_path / "parts" / ".hidden").write_text("not a part")
    with tarfile.open(tmp_path / "dac.tar.gz", "w:gz") as archive:
        for name, file in {"readme.txt": "parts/.hidden", "dac/train.txt": "train.txt"}.items():
            archive.add(tmp_path / file, name)
    whole = load(path=tmp_path / "train.txt", cache=tmp_path / "cache")
    for path in ("train.gz", "parts", "dac.tar.gz"):
        assert_equal(load(path=tmp_path / path, cache=tmp_path / "cache"), whole)


def test_made_up_rows_go_the_same_way(tmp_path):
    table = load_synthetic(n_rows=5000, data_seed=3, cache=tmp_path / "cache")
    assert_is(table, expected(b"".join(blocks(5000, 3))), rtol=1e-6)


def test_tells_how_far_it_is(content, tmp_path):
    (tmp_path / "train.txt").write_bytes(content)
    told = []
    options = {"path": tmp_path / "train.txt", "cache": tmp_path / "cache"}
    load(progress=lambda *what: told.append(what), **options)
    for phase in ("reading", "categories", "numbers", "writing"):
        done = [what[1] for what in told if what[0] == phase]
        assert done == sorted(done)
        assert all(what[1] <= what[2] for what in told)
        assert next(what for what in reversed(told) if what[0] == phase) == (phase, 5000, 5000)
    load(progress=lambda *what: pytest.fail("built again"), **options)


def test_tells_what_became_of_each_column(content, tmp_path):
    (tmp_path / "train.txt").write_bytes(content)
    options = {"path": tmp_path / "train.txt", "cache": tmp_path / "cache"}
    table = load(numerical="standard", **options)
    json.dumps(table.encoding)
    assert [column.name for column in table.columns] == ["label", *INTEGERS, *CATEGORIES]
    assert table.columns[0].kind == "target"
    assert table.columns[1].missing == pytest.approx(0.45, abs=0.05)
    assert table.encoding["numerical"]["columns"]["I3"].keys() == {"mean", "std"}
    entries = np.load(f"{table.encoding['folder']}/vocabulary/C1.npy")
    assert len(entries) == table.columns[14].n_values
    assert entries["id"].max() + 1 == table.cardinalities[0]
    quantiles = load(numerical="quantile", **options)
    assert np.load(f"{quantiles.encoding['folder']}/quantiles/I3.npy").shape[1] == 2
