"""Predictions that cannot be made end with one line that says why; one run serves all of them."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tabnas import predict
from tabnas.errors import UserError
from tabnas.predict import Predictor
from tests.conftest import ROOT
from tests.test_predict import SMALL, mixed


@pytest.fixture(scope="module")
def one_run(tmp_path_factory):
    """A run folder on mixed.csv, trained once for all mistakes."""
    folder = tmp_path_factory.mktemp("mistakes")
    mixed().to_csv(folder / "mixed.csv", index=False)
    command = [
        sys.executable, str(ROOT / "train.py"), "dataset=table", "dataset.path=mixed.csv", "dataset.target=sold",
        "dataset.drop=[price,split]", *SMALL,
    ]  # fmt: skip
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return folder


@pytest.fixture
def trained_once(one_run, tmp_path, monkeypatch):
    """A copy of that run and its table in the working directory."""
    shutil.copytree(one_run, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")


def rewritten(change):
    return lambda frame: change(frame).to_csv("mixed.csv", index=False)


def test_a_closed_pipe_is_no_error(trained_once):
    command = f"{sys.executable} -m tabnas.predict run mixed.csv --rows 1 | head -n 1"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.startswith("prediction,")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("damage", "arguments", "told"),
    [
        (rewritten(lambda f: f.drop(columns=["size", "day"])), (), "table: must have the 5 columns"),
        (rewritten(lambda f: f.assign(size="big")), (), "column size: must be numerical, as in training"),
        (rewritten(lambda f: f.assign(day=np.where(f.index == 300, "soon", f["day"]))), (), "'soon in row 301'"),
        (rewritten(lambda f: f.assign(**{"on sale": "perhaps"})), (), "column on sale: must be boolean"),
        (rewritten(lambda f: f.assign(size=1e40)), (), "column size: must be numerical"),
        (rewritten(lambda f: f[:0]), (), "table: must have rows, got 'an empty file'"),
        (lambda f: Path("mixed.csv").write_text(""), (), "got 'an empty file'"),
        (lambda f: Path("mixed.csv").write_bytes(b"size,kind\n1,\xff\n"), (), "must be in UTF-8"),
        (lambda f: Path("mixed.csv").unlink(), (), "table: must name a file that exists"),
        (lambda f: Path("mixed.csv").rename("mixed.xls"), ("mixed.xls",), "table: must end in"),
        (lambda f: Path("mixed.parquet").write_bytes(b"PAR1"), ("mixed.parquet",), "must be a file that can be read"),
        (lambda f: None, ("--keep", "row_di"), "--keep: must be one of"),
        (rewritten(lambda f: f.assign(prediction=1)), ("--keep", "prediction"), "--keep: must not be called"),
        (lambda f: None, ("--rows", "0"), "--rows: must be an integer"),
        (lambda f: None, ("--out", "out.xls"), "--out: must end in"),
        (lambda f: Path("o.csv").symlink_to("mixed.csv"), ("--out", "o.csv"), "--out: must be another file"),
        (lambda f: Path("folder.csv").mkdir(), ("--out", "folder.csv"), "--out: must be a file that can be written"),
        (lambda f: None, ("--out", "no/such/out.csv"), "--out: must be a file that can be written"),
        (lambda f: Path("run/model/model.json").unlink(), (), "model: must be the folder of a finished run"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_line(trained_once, capsys, damage, arguments, told):
    damage(mixed())
    source = [] if arguments[:1] and not arguments[0].startswith("--") else ["mixed.csv"]
    out = [] if "--out" in arguments else ["--out", "out.csv"]
    assert predict.main(["run", *source, *arguments, *out, *([] if "--rows" in arguments else ["--rows", "100"])]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("tabnas: error: ")
    assert captured.err.count("\n") == 1
    assert told in captured.err
    assert not Path("out.csv").exists()
    assert not list(Path().glob("*.partial"))


def test_the_table_is_not_replaced_by_its_predictions(trained_once, capsys):
    before = Path("mixed.csv").read_bytes()
    assert predict.main(["run", "mixed.csv", "--out", "../copy/mixed.csv", "--keep", "size"]) == 2
    assert "--out: must be another file than the table" in capsys.readouterr().err
    assert Path("mixed.csv").read_bytes() == before


@pytest.mark.parametrize(
    "index",
    [list("ab"), pd.to_datetime(["2024-01-01"] * 2), pd.MultiIndex.from_tuples([(0, "a"), (0, "b")]), [0.5, 1.5]],
)
def test_a_bad_cell_is_told_of_whatever_the_index(trained_once, index):
    predictor, frame = Predictor("run"), mixed()[:2].assign(size=["1.5", "big"])
    with pytest.raises(UserError, match=r"column size: must be numerical.* 'big in row 2'"):
        predictor(frame.set_index(pd.Index(index) if isinstance(index, list) else index))
    with pytest.raises(UserError, match=r"'big in row 1,001'"):
        predictor(frame.set_index(pd.Index([7, 1000])))


def test_an_earlier_file_is_kept_where_a_prediction_fails(trained_once, capsys):
    Path("out.csv").write_text("earlier")
    rewritten(lambda f: f.assign(day=np.where(f.index == 300, "soon", f["day"])))(mixed())
    assert predict.main(["run", "mixed.csv", "--out", "out.csv", "--rows", "100"]) == 2
    assert Path("out.csv").read_text() == "earlier"


def test_predicting_unpickles_nothing(trained_once, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("unpickled")

    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")):
        monkeypatch.setattr(module, name, refuse)
    assert predict.main(["run", "mixed.csv", "--out", "out.csv"]) == 0


def test_the_card_and_the_signature_name_the_columns(trained_once):
    about = json.loads(Path("run/model/model.json").read_text())
    assert about["signature"]["target"] == {"name": "sold", "task": "classification", "classes": ["never", "no", "yes"]}
    kinds = {column["name"]: column["kind"] for column in about["signature"]["columns"]}
    assert kinds == {
        "size": "numerical", "day": "date", "on sale": "boolean", "kind": "categorical", "grade": "numerical",
    }  # fmt: skip
    card = Path("run/model/README.md").read_text()
    assert "| on sale | boolean |" in card
    low, high = about["metrics"]["loss"]["interval"]
    assert low < about["metrics"]["loss"]["value"] < high


def test_a_source_without_an_encoding_is_refused(trained_once, capsys):
    about = json.loads(Path("run/model/model.json").read_text())
    Path("run/model/model.json").write_text(json.dumps({**about, "signature": None}))
    assert predict.main(["run", "mixed.csv"]) == 2
    assert "model: must have been trained on a table whose source tells" in capsys.readouterr().err
