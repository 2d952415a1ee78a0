"""Files of all kinds become the same table, and every mistake is told."""

import bz2
import csv
import gzip
import io
import lzma
import os
import zipfile

import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch

from tabnas.data import files
from tabnas.errors import UserError


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    n = 60
    return pd.DataFrame(
        {
            "number": rng.standard_normal(n).round(3),
            "text": rng.choice(["plain", "with, comma", 'with "quotes"', "with; semicolon", "zwölf\nlines"], n),
            "whole": rng.integers(9, size=n),
            "label": rng.choice(["x", "y"], n),
        }
    )


def same(one, other):
    return all(
        torch.equal(a, b)
        for part in ("train", "valid")
        for a, b in zip(getattr(one, part)[:3], getattr(other, part)[:3], strict=True)
    )


@pytest.fixture(scope="module")
def expected(frame, tmp_path_factory):
    path = tmp_path_factory.mktemp("expected") / "t.parquet"
    frame.to_parquet(path)
    return files.load(path=str(path), target="label")


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.txt", "T.CSV"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC])
def test_dialects(frame, expected, tmp_path, name, delimiter, quoting):
    frame.to_csv(tmp_path / name, sep=delimiter, quoting=quoting, index=False)
    assert same(files.load(path=str(tmp_path / name), target="label"), expected)


def test_more_dialects(frame, expected, tmp_path):
    path = tmp_path / "t.csv"
    text = frame.to_csv(index=False)
    for variant in (text.encode("utf-8-sig"), text.replace("\n", "\r\n").encode(), b"\n" + text.encode()):
        path.write_bytes(variant)
        table = files.load(path=str(path), target="label")
        assert [c.name for c in table.columns] == list(frame)
        assert torch.equal(table.train.numerical, expected.train.numerical)
    frame[["number", "label"]].to_csv(path, index=False, sep=",", quotechar="'", quoting=csv.QUOTE_ALL)
    assert [c.name for c in files.load(path=str(path), target="label").columns] == ["number", "label"]
    path.write_text("a, b, label\n" + "1, u, x\n2, v, y\n2, u, x\n" * 9)
    assert [c.n_values for c in files.load(path=str(path), target="label").columns] == [2, 2, 2]


def test_decimal_commas(frame, expected, tmp_path):
    frame.to_csv(tmp_path / "t.csv", sep=";", decimal=",", index=False)
    assert same(files.load(path=str(tmp_path / "t.csv"), target="label", decimal=","), expected)
    with pytest.raises(UserError, match=r"dataset\.decimal"):
        files.load(path=str(tmp_path / "t.csv"), target="label", decimal=";")


def zipped(content):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("inner.csv", content)
    return out.getvalue()


PACKERS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zip": zipped,
    ".zst": lambda content: pyarrow.compress(content, codec="zstd", asbytes=True),
}


@pytest.mark.parametrize("suffix", PACKERS)
def test_compressed(frame, expected, tmp_path, suffix):
    path = tmp_path / f"t.csv{suffix}"
    path.write_bytes(PACKERS[suffix](frame.to_csv(index=False).encode()))
    assert same(files.load(path=str(path), target="label"), expected)


def test_feather_and_relative_paths(frame, expected, tmp_path, monkeypatch):
    frame.to_feather(tmp_path / "t.feather")
    monkeypatch.chdir(tmp_path)
    assert same(files.load(path="t.feather", target="label"), expected)


def test_a_named_index_is_a_column(frame, tmp_path):
    frame.set_index("number").to_parquet(tmp_path / "t.parquet")
    assert "number" in files.read(str(tmp_path / "t.parquet"), "dataset.path")


def test_an_unnamed_index_column_is_an_id(frame, tmp_path, caplog):
    frame.to_csv(tmp_path / "t.csv")
    table = files.load(path=str(tmp_path / "t.csv"), target="label")
    assert table.columns[0].became == "dropped: an id"
    assert table.n_numerical == 2


def test_a_validation_file(frame, tmp_path):
    frame[:40].to_csv(tmp_path / "a.csv", index=False)
    frame[40:].to_parquet(tmp_path / "b.parquet")
    table = files.load(path=str(tmp_path / "a.csv"), valid_path=str(tmp_path / "b.parquet"), target="label")
    assert (table.train.n_rows, table.valid.n_rows) == (40, 20)
    assert table.n_numerical == 2


def test_a_test_file(frame, tmp_path):
    frame[:50].to_csv(tmp_path / "a.csv", index=False)
    frame[50:].to_parquet(tmp_path / "b.parquet")
    table = files.load(path=str(tmp_path / "a.csv"), test_path=str(tmp_path / "b.parquet"), target="label")
    assert (table.train.n_rows, table.valid.n_rows, table.test.n_rows) == (40, 10, 10)


def test_a_long_file_is_read_whole(tmp_path):
    n = 30_000
    pd.DataFrame({"a": np.arange(n) % 7 / 3, "label": np.arange(n) % 2}).to_csv(tmp_path / "t.csv", index=False)
    table = files.load(path=str(tmp_path / "t.csv"), target="label")
    assert table.train.n_rows + table.valid.n_rows == n


BAD = {
    "empty.csv": (b"", "dataset.path: must have a line of column names"),
    "blank.csv": (b"\n\n", "dataset.path: must have a line of column names"),
    "header.csv": (b"a,label\n", "dataset.path: must have rows"),
    "headerless.csv": (b"1,2,x\n3,4,y\n" * 9, "dataset.path: must begin with a line of column names"),
    "twice.csv": (b"a,a,label\n1,2,x\n", "dataset.path: must have columns of different names.*'a'"),
    "latin.csv": ("a,label\nä,x\n".encode("latin1") * 9, "dataset.path: must be in UTF-8.*e4.*iconv"),
    "latin_later.csv": (b"a,label\n" + b"b,x\n" * 40_000 + b"\xe4,x\n", "dataset.path: must be in UTF-8"),
    "long.csv": (b"a,label\n1,x\n1,y,z\n", "dataset.path: must be a file that can be read.*line 3"),
    "longer.csv": (b"a,label\n1,x,2\n1,y,z\n", "dataset.path: must be a file that can be read"),
    "quote.csv": (b'a,label\n1,"x\n1,y\n', "dataset.path: must be a file that can be read"),
    "null.csv": (b"\x00\x01\x02\x03" * 40, "dataset.(path|target)"),
    "t.csv.gz": (b"a,label\n1,x\n", "dataset.path: must be a file that can be read.*gzip"),
    "t.csv.xz": (b"a,label\n1,x\n", "dataset.path: must be a file that can be read"),
    "t.csv.zst": (b"a,label\n1,x\n", "dataset.path: must be a file that can be read"),
    "t.csv.zip": (b"a,label\n1,x\n", "dataset.path: must be a file that can be read"),
    "cut.csv.gz": (gzip.compress(os.urandom(999))[:-99], "dataset.path: must be"),
    "t.parquet": (b"a,label\n1,x\n", "dataset.path: must be a file that can be read"),
    "t.feather": (b"a,label\n1,x\n", "dataset.path: must be a file that can be read"),
    "t.xlsx": (b"", r"dataset.path: must end in .parquet"),
    "t.parquet.gz": (b"", r"dataset.path: must end in .parquet"),
    "t": (b"", r"dataset.path: must end in .parquet"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(tmp_path, name):
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        files.load(path=str(tmp_path / name), target="label")
    assert "\n" not in str(error.value)


def test_no_file(tmp_path):
    with pytest.raises(UserError, match=r"dataset\.path: must name a file, got None"):
        files.load(target="label")
    with pytest.raises(UserError, match=r"dataset\.path: must name a file that exists"):
        files.load(path=str(tmp_path / "t.csv"), target="label")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match=r"dataset\.path: must name a file that exists"):
        files.load(path=str(tmp_path / "folder.csv"), target="label")


def test_a_bad_validation_file_is_named(frame, tmp_path):
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(UserError, match=r"dataset\.valid_path: must name a file that exists"):
        files.load(path=str(tmp_path / "a.csv"), valid_path=str(tmp_path / "b.csv"), target="label")


def test_numbers_as_names_are_fine_where_the_target_is_one_of_the_names(tmp_path):
    pd.DataFrame({"0": [0.5, 1.5] * 9, "1": [2, 2.5] * 9, "label": ["x", "y"] * 9}).to_csv(
        tmp_path / "t.csv", index=False
    )
    assert files.load(path=str(tmp_path / "t.csv"), target="label").n_numerical == 2


def test_adult(optional_file, tmp_path):
    path = optional_file("adult.parquet")
    table = files.load(path=str(path), target="income", min_count=10)
    assert (table.n_numerical, len(table.cardinalities)) == (6, 8)
    assert table.task.classes == ("<=50K", ">50K")
    assert table.train.n_rows + table.valid.n_rows == 48_842
    missing = {c.name: c.missing for c in table.columns}
    assert missing["workclass"] == pytest.approx(2799 / 48_842)
    assert not any(c.became.startswith("dropped") for c in table.columns)
    pd.read_parquet(path).to_csv(tmp_path / "adult.csv.gz", index=False)
    assert same(files.load(path=str(tmp_path / "adult.csv.gz"), target="income", min_count=10), table)
