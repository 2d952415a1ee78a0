"""From a run and a table to predictions: the numbers the run measured, in order, or a line that says why not."""

import io
import os
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
from omegaconf import OmegaConf
from sklearn.datasets import load_digits

from tabnas import build, predict, result
from tabnas.data import connect4
from tabnas.data.criteo.hashing import uniform
from tabnas.data.criteo.source import Synthetic
from tabnas.data.criteo.text import NAMES
from tabnas.data.frame.values import days
from tabnas.data.table import random_split
from tabnas.errors import UserError
from tabnas.predict import Predictor
from tests.conftest import ROOT

SMALL = (
    "space.choices=[[4,8],[4,8]]", "limits.0.limit=100000", "trainer.max_epochs=2", "retrain.seeds=2",
    "retrain.max_epochs=2", "dataset.batch_size=32", "hydra.run.dir=run",
)  # fmt: skip


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


def test_rows_that_chance_chose_to_validate(train_py, tmp_path):
    mixed(2000).drop(columns=["split", "price"]).to_parquet("mixed.parquet")
    chance = ("dataset.split_seed=3", "dataset.stratify=false")
    outcome = train_py("dataset=table", "dataset.path=mixed.parquet", "dataset.target=sold", *chance, *SMALL)
    assert outcome.code == 0, outcome.err
    found = result.read(tmp_path / "run")
    assert predict.main(["run", "mixed.parquet", "--out", "out.csv", "--keep", "sold"]) == 0
    answers = pd.read_csv(tmp_path / "out.csv")
    valid = answers.iloc[random_split(len(answers), 0.2, 3)[1]]
    assert log_loss(valid, valid["sold"]) == pytest.approx(measured(found)["loss"], abs=1e-6)
    assert balanced_error(valid, valid["sold"]) == pytest.approx(measured(found)["balanced_error"], abs=1e-6)


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


def test_a_decimal_comma_is_read_as_in_training(trained, tmp_path):
    mixed().to_csv("comma.csv", sep=";", decimal=",", index=False)
    predictor, _ = trained("price", "dataset.path=comma.csv", "dataset.decimal=','")
    assert predict.main(["run", "comma.csv", "--out", "out.csv", "--keep", "size", "--rows", "200"]) == 0
    answers = pd.read_csv("out.csv", dtype={"size": str})
    assert np.allclose(answers["prediction"], predictor(mixed())["prediction"], rtol=1e-6, atol=0)
    assert answers["size"].str.contains(",").sum() > 400  # carried over as it is


def test_truth_values_are_read_however_they_are_written(trained):
    predictor, _ = trained("price")
    flags = pd.DataFrame({"on sale": ["yes", "TRUE", "1", "1.0", "t", "no", "0", "0.0"]})
    encoded, _ = predictor.encoding.encode(pd.concat([mixed()[:8].drop(columns="on sale"), flags], axis=1))
    column = [c.name for c in predictor.encoding.numerical].index("on sale")
    assert encoded[:, column].tolist() == [1, 1, 1, 1, 1, 0, 0, 0]


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


@pytest.mark.parametrize(
    "settings", [("dataset.min_count=3",), ("dataset.numerical=quantile", "dataset.hash_buckets=64")]
)
def test_criteo(train_py, tmp_path, settings):
    outcome = train_py(
        "dataset=criteo_synthetic", "dataset.n_rows=4000", "dataset.embedding_dim=2", "dataset.cache=cache",
        "dataset.shuffle_rows=4096", *settings, *SMALL,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    found = result.read(tmp_path / "run")
    shutil.move("cache", "elsewhere")  # the model folder needs nothing beside
    text = b"\n".join(block.text.strip(b"\n") for block in Synthetic(4000, 0).blocks())
    frame = pd.read_csv(io.BytesIO(text), sep="\t", names=NAMES, dtype=str, keep_default_na=False)
    valid = frame[uniform(0, 0, 4000) < found["config"]["dataset"]["val_fraction"]]
    assert len(valid) == found["dataset"]["n_val"]
    predictor = Predictor(tmp_path / "run")
    assert log_loss(predictor(valid), valid["label"]) == pytest.approx(measured(found)["loss"], abs=1e-6)
    assert (predictor.encoding.encode(frame[:1].assign(C3=""))[1][0, 2]) == 0
    for wrong, told in (
        ({"C3": "xyz"}, "column C3: must be at most 8 hex"),
        ({"I3": "1.5"}, "column I3: must be an int"),
    ):
        with pytest.raises(UserError, match=told):
            predictor(valid.assign(**wrong).set_index(valid["C1"]))
    assert str(tmp_path) not in (tmp_path / "run" / "model" / "model.json").read_text()
    shutil.rmtree("run/model/encoding")
    with pytest.raises(UserError, match="must have an encoding as a run left it"):
        Predictor(tmp_path / "run")
