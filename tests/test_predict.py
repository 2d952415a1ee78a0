"""From a run and a table to predictions: the numbers the run measured, in order, or a line that says why not."""

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from omegaconf import OmegaConf
from sklearn.datasets import load_digits

from tabnas import build, predict, result
from tabnas.data import connect4
from tabnas.data.frame.values import days
from tabnas.data.table import random_split
from tabnas.errors import UserError
from tabnas.predict import Predictor
from tests.conftest import ROOT

SMALL = (
    "space.choices=[[4,8],[4,8]]", "limits.0.limit=100000", "trainer.max_epochs=2", "retrain.seeds=2",
    "retrain.max_epochs=2", "dataset.batch_size=32", "hydra.run.dir=run",
)  # fmt: skip
ADULT = ROOT.parent / "shared" / "data" / "adult.parquet"


def mixed(n: int = 500) -> pd.DataFrame:
    """Numbers, a category, dates, truth values and a rare category, with missing cells; text where CSV is."""
    rng = np.random.default_rng(0)
    size, kind = rng.normal(50, 10, n).round(3), rng.choice(["red", "green", "blue"], n).astype(object)
    score = (size - 50) / 10 + (kind == "red") + rng.normal(0, 0.3, n)
    kind[:3] = ["mauve", "teal", "ochre"]
    frame = pd.DataFrame(
        {
            "row_id": [f"r{i}" for i in range(n)],
            "size": np.where(rng.random(n) < 0.1, np.nan, size),
            "kind": np.where(rng.random(n) < 0.1, None, kind),
            "day": pd.date_range("2024-01-01", periods=n).astype(str),
            "on sale": rng.choice(["yes", "no", "?"], n, p=[0.45, 0.45, 0.1]),
            "grade": rng.integers(1, 4, n),
            "price": (1000 + 200 * score).round(2),
            "sold": np.where(score > 0.5, "yes", np.where(score < -0.8, "never", "no")),
        }
    )
    frame["split"] = np.where(rng.random(n) < 0.3, "valid", "train")
    frame.loc[frame.index[frame["split"] == "valid"][:2], "kind"] = "unseen in training"
    return frame


@pytest.fixture
def trained(train_py, tmp_path):
    """Trains on mixed.csv, in `tmp_path`; returns the predictor and result.json."""

    def train(target: str, *arguments: str) -> tuple[Predictor, dict]:
        mixed().to_csv(tmp_path / "mixed.csv", index=False)
        outcome = train_py(
            "dataset=table", "dataset.path=mixed.csv", f"dataset.target={target}", "dataset.split_column=split",
            f"dataset.drop=[{'sold' if target == 'price' else 'price'}]", "+dataset.kinds={grade: categorical}",
            *SMALL, *arguments,
        )  # fmt: skip
        assert outcome.code == 0, outcome.err
        return Predictor(tmp_path / "run"), result.read(tmp_path / "run")

    return train


def measured(found: dict) -> dict[str, float]:
    """Of the saved network: that of the best architecture's trainings with the smallest loss."""
    told = found["architectures"][found["best"]]["stand_alone"]
    chosen = told["loss"]["runs"].index(min(told["loss"]["runs"]))
    return {name: told[name]["runs"][chosen] for name in ("loss", *found["dataset"]["metrics"])}


def log_loss(answers: pd.DataFrame, truth: pd.Series) -> float:
    chances = [answers[f"probability_{name}"].iloc[i] for i, name in enumerate(truth)]
    return float(-np.log(chances).mean())


def balanced_error(answers: pd.DataFrame, truth: pd.Series) -> float:
    right = answers["prediction"].to_numpy() == truth.to_numpy()
    return 1 - float(pd.Series(right).groupby(truth.to_numpy()).mean().mean())


def run_command(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tabnas.predict", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, input=stdin, capture_output=True, check=False, env=environment)


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("dataset.numerical_embedding={kind: piecewise_linear, dim: 3, n_bins: 4}", "dataset.min_count=5"),
        ("dataset.numerical=quantile", "+dataset.missing_tokens=['', '?']"),
    ],
)
def test_classes_are_predicted_as_the_run_measured(trained, tmp_path, settings):
    _, found = trained("sold", *settings)
    assert predict.main(["run", "mixed.csv", "--out", "out.parquet", "--keep", "split", "--keep", "sold"]) == 0
    answers = pd.read_parquet(tmp_path / "out.parquet")
    assert len(answers) == 500
    valid = answers[answers["split"] == "valid"]
    assert np.allclose(valid.filter(like="probability_").sum(axis=1), 1)
    assert list(answers)[2:] == ["prediction", "probability_never", "probability_no", "probability_yes"]
    assert log_loss(valid, valid["sold"]) == pytest.approx(measured(found)["loss"], abs=1e-6)
    assert balanced_error(valid, valid["sold"]) == pytest.approx(measured(found)["balanced_error"], abs=1e-6)


def test_numbers_are_predicted_in_their_own_units(trained, tmp_path):
    predictor, found = trained("price")
    frame = mixed()
    valid = frame[frame["split"] == "valid"]
    error = predictor(valid)["prediction"] - valid["price"]
    assert list(predictor(valid).index) == list(valid.index)
    rmse = float(np.sqrt((error**2).mean()))
    assert rmse == pytest.approx(measured(found)["rmse"], rel=1e-6)
    assert (rmse / predictor.about["std"]) ** 2 == pytest.approx(measured(found)["loss"], abs=1e-6)
    assert 1 - (error**2).mean() / valid["price"].var(ddof=0) == pytest.approx(measured(found)["r2"], abs=1e-6)


def test_connect4(train_py, tmp_path):
    outcome = train_py("dataset=connect4", *SMALL[:-2], "dataset.batch_size=1024", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    found, predictor = result.read(tmp_path / "run"), Predictor(tmp_path / "run")
    frame = pd.read_csv(io.BytesIO(connect4._unpacked()), names=[*connect4.COLUMNS, connect4.TARGET])
    valid = frame.iloc[random_split(len(frame), 0.2, 0)[1]]
    answers = predictor(valid)
    assert log_loss(answers, valid["outcome"]) == pytest.approx(measured(found)["loss"], abs=1e-6)
    assert balanced_error(answers, valid["outcome"]) == pytest.approx(measured(found)["balanced_error"], abs=1e-6)
    for wrong in ("z", None):
        with pytest.raises(UserError, match=r"column a1: must be one of b, x, o in every row"):
            predictor(valid[:3].assign(a1=wrong))


def test_the_encoding_of_the_shipped_tables_is_that_of_their_rows(train_py, tmp_path):
    outcome = train_py("dataset=digits", *SMALL)
    assert outcome.code == 0, outcome.err
    predictor = Predictor(tmp_path / "run")
    data = load_digits(as_frame=True)
    valid = random_split(len(data.data), 0.2, 0)[1]
    encoded, _ = predictor.encoding.encode(data.data.iloc[valid])
    table = build.table_from(OmegaConf.create(result.read(tmp_path / "run")["config"]["dataset"]))
    assert np.allclose(encoded, table.valid.numerical.numpy(), atol=1e-6)
    answers = predictor(data.data.iloc[valid])
    truth = data.target.iloc[valid].astype(str)
    assert log_loss(answers, truth) == pytest.approx(measured(result.read(tmp_path / "run"))["loss"], abs=1e-6)


@pytest.mark.skipif(not ADULT.exists(), reason="a data set that does not come with the project")
def test_adult(train_py, tmp_path):
    outcome = train_py(
        "dataset=table", f"dataset.path={ADULT}", "dataset.target=income", *SMALL[:-2], "dataset.batch_size=1024",
        "dataset.split_seed=3", "dataset.stratify=false", "hydra.run.dir=run",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    found = result.read(tmp_path / "run")
    assert predict.main(["run", str(ADULT), "--out", "out.csv", "--keep", "income"]) == 0
    answers = pd.read_csv(tmp_path / "out.csv")
    valid = answers.iloc[random_split(len(answers), 0.2, 3)[1]]
    assert log_loss(valid, valid["income"]) == pytest.approx(measured(found)["loss"], abs=1e-6)
    assert balanced_error(valid, valid["income"]) == pytest.approx(measured(found)["balanced_error"], abs=1e-6)


def test_formats_chunks_and_pipes_give_the_same_rows(trained, tmp_path, monkeypatch, capsys):
    trained("sold")
    frame = mixed()
    frame.to_parquet("mixed.parquet", row_group_size=90)
    frame.to_feather("mixed.feather")
    frame.to_csv("semicolons.csv.gz", sep=";", index=False)
    frame.to_csv("mixed.csv.zip", index=False)
    with pyarrow.output_stream("mixed.csv.zst", compression="zstd") as stream:
        stream.write(frame.to_csv(index=False).encode())
    reference = None
    for source in (
        "mixed.csv",
        "mixed.parquet",
        "mixed.feather",
        "semicolons.csv.gz",
        "mixed.csv.zip",
        "mixed.csv.zst",
    ):
        for rows, out in ((1000, "out.parquet"), (77, "out.parquet"), (77, "out.csv")):
            arguments = ["run", source, "--out", out, "--rows", str(rows), "--keep", "row_id"]
            assert predict.main(arguments) == 0
            read = pd.read_parquet if out == "out.parquet" else pd.read_csv
            answers = read(out)
            reference = answers if reference is None else reference
            assert list(answers) == list(reference)
            assert list(answers["row_id"]) == [f"r{i}" for i in range(500)]
            assert list(answers["prediction"]) == list(reference["prediction"])
            assert np.allclose(answers.iloc[:, 2:], reference.iloc[:, 2:], atol=1e-6, rtol=0)
    for source in ("mixed.csv", "mixed.parquet"):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(Path(source).read_bytes())))
        capsys.readouterr()
        assert predict.main(["run", "-", "--keep", "row_id"]) == 0
        captured = capsys.readouterr()
        answers = pd.read_csv(io.StringIO(captured.out))
        assert list(answers["row_id"]) == list(reference["row_id"])
        assert np.allclose(answers.iloc[:, 2:], reference.iloc[:, 2:], atol=1e-6, rtol=0)
        assert captured.err.count("\n") == 1
        assert captured.err.startswith("tabnas: ignored: price, sold, split")
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".partial")]


def test_the_command_reads_a_pipe(trained, tmp_path):
    trained("price")
    content = (tmp_path / "mixed.csv").read_bytes()
    done = run_command("run", "-", stdin=content)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"\n") == 501
    done = run_command("run", "mixed.csv", "--rows", "none")
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"tabnas: error: argument --rows")


def test_a_closed_pipe_is_no_error(trained_once):
    command = f"{sys.executable} -m tabnas.predict run mixed.csv --rows 1 | head -n 1"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.startswith("prediction,")
    assert done.stderr == ""


def test_kept_columns_stay_what_they_are(trained, tmp_path):
    trained("price")
    numbers = pd.array([None if i % 7 == 0 else i + 2**60 for i in range(500)], "Int64")
    mixed().assign(big=numbers).to_parquet("big.parquet", row_group_size=100)
    for out, read in (("out.parquet", pyarrow.parquet.read_table), ("out.csv", pyarrow.csv.read_csv)):
        assert predict.main(["run", "big.parquet", "--keep", "big", "--out", out, "--rows", "50"]) == 0
        column = read(out).column("big")
        assert column.type == pyarrow.int64()
        assert column.to_pylist() == [None if i % 7 == 0 else i + 2**60 for i in range(500)]


def test_missing_and_unseen_cells_go_where_training_put_them(trained):
    predictor, _ = trained("sold")
    frame = mixed()[:4].drop(columns=["price", "sold", "split", "row_id"])
    frame.loc[:, "kind"] = ["never seen", "?", None, "  red "]
    frame["size"] = ["NA", "", "1e1", " 50 "]
    numbers, ids = predictor.encoding.encode(frame)
    kind = [c.name for c in predictor.encoding.categorical].index("kind")
    size = [c.name for c in predictor.encoding.numerical].index("size")
    red = predictor.encoding.categorical[kind].vocabulary.index("red") + 3
    assert list(ids[:, kind]) == [2, 0, 0, red]
    assert list(numbers[:2, size]) == [0.0, 0.0]
    assert predictor(frame).notna().all().all()
    assert len(predictor(frame[:0])) == 0
    assert days(pd.Series(["2024-01-01"]))[0] == 19723


def rewritten(change):
    return lambda frame: change(frame).to_csv("mixed.csv", index=False)


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


def test_a_source_without_an_encoding_is_refused(train_py, capsys):
    outcome = train_py(
        "dataset=criteo_synthetic", "dataset.n_rows=4000", "dataset.embedding_dim=2", "dataset.cache=cache",
        "dataset.shuffle_rows=4096", *SMALL,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert predict.main(["run", "table.csv"]) == 2
    assert "model: must have been trained on a table whose source tells" in capsys.readouterr().err
