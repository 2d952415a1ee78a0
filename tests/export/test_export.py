"""From a run to one file that answers as the model folder does, or a line that says why not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_diabetes

from tabnas import export, model, result
from tabnas.data import connect4
from tabnas.export import measure, rows
from tabnas.export.__main__ import main
from tabnas.predict import Predictor
from tabnas.task import Classification, Regression
from tests.conftest import ROOT
from tests.test_model import saved
from tests.test_predict import SMALL, log_loss, measured, mixed

CLOSE = 1e-5


@pytest.fixture(autouse=True)
def few_timings(monkeypatch):
    monkeypatch.setattr(measure, "REPEATS", dict.fromkeys(measure.REPEATS, 1))


def answers(path: str, frame: pd.DataFrame, predictor: Predictor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path)
    assert [given.name for given in session.get_inputs()] == predictor.columns
    return session.run(None, rows.cells(frame, predictor.encoding))


def require_as_predicted(path: str, frame: pd.DataFrame, predictor: Predictor) -> pd.DataFrame:
    """In one batch and, some of them, row by row; returns the predictions."""
    expected = predictor(frame)
    label, probabilities = answers(path, frame, predictor)
    assert probabilities.shape == (len(frame), len(predictor.answers) - 1)
    np.testing.assert_allclose(probabilities, expected[predictor.answers[1:]], atol=CLOSE, rtol=0)
    assert list(label) == list(expected["prediction"])
    for i in range(0, len(frame), len(frame) // 5):
        assert np.allclose(answers(path, frame[i : i + 1], predictor)[1], probabilities[i], atol=1e-6)
    return expected


@pytest.mark.slow
def test_connect4(train_py, tmp_path):
    outcome = train_py("dataset=connect4", *SMALL[:2], "dataset.batch_size=2048", "trainer.max_epochs=1",
                       "retrain.seeds=1", "retrain.max_epochs=1", "hydra.run.dir=run")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert main(["run", "--onnx", "c4.onnx"]) == 0
    valid = connect4.load(test_fraction=0.1).valid
    squares = np.array(connect4.SQUARES, object)[valid.categorical.numpy()]
    frame = pd.DataFrame(squares, columns=connect4.COLUMNS)
    expected = require_as_predicted("c4.onnx", frame, Predictor("run"))
    truth = pd.Series(np.array(connect4.CLASSES)[valid.target.numpy()])
    assert log_loss(expected, truth) == pytest.approx(measured(result.read(tmp_path / "run"))["loss"], abs=1e-6)
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument, match="out of data bounds"):
        answers("c4.onnx", frame[:1].assign(a1="z"), Predictor("run"))


@pytest.mark.parametrize(
    ("target", "settings"),
    [
        ("sold", ("dataset.numerical_embedding={kind: piecewise_linear, dim: 3, n_bins: 4}", "dataset.min_count=5")),
        ("price", ("dataset.numerical=quantile", "+dataset.missing_tokens=['', '?']")),
    ],
)
def test_a_mixed_table(train_py, target, settings, capsys):
    frame = mixed()
    frame.to_csv("mixed.csv", index=False)
    outcome = train_py(
        "dataset=table", "dataset.path=mixed.csv", f"dataset.target={target}", "dataset.split_column=split",
        f"dataset.drop=[{'sold' if target == 'price' else 'price'}]", "+dataset.kinds={grade: categorical}",
        *SMALL, *settings,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert main(["run", "--onnx", "mixed.onnx", "--torch", "mixed.pt2"]) == 0
    predictor, written = Predictor("run"), frame.assign(grade=frame["grade"].astype(str))
    assert "unseen in training" in set(frame["kind"])
    assert frame["kind"].isna().any()
    if target == "price":
        (prediction,) = answers("mixed.onnx", written, predictor)
        expected = predictor(frame)["prediction"]
        np.testing.assert_allclose(prediction, expected, atol=CLOSE * predictor.about["std"], rtol=0)
    else:
        expected = require_as_predicted("mixed.onnx", written, predictor)[predictor.answers[1:]]
    numbers, ids = map(torch.from_numpy, predictor.encoding.encode(frame))
    loaded = torch.export.load("mixed.pt2").module()
    np.testing.assert_allclose(loaded(numbers, ids).detach(), expected, rtol=1e-5, atol=1e-6)

    told = json.loads(Path("run/model/model.json").read_text())["export"]
    assert told["onnx"]["bytes"] == Path("mixed.onnx").stat().st_size
    assert told["torch"]["bytes"] == Path("mixed.pt2").stat().st_size
    assert all(us > 0 for way in told["onnx"]["latency_us"].values() for us in way.values())
    card = Path("run/model/README.md").read_text()
    assert "| the graph in onnxruntime |" in card
    assert "mixed.pt2" in card
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("tabnas: mixed.onnx,")
    assert len(out) == 5
    props = {entry.key: entry.value for entry in onnx.load("mixed.onnx").metadata_props}
    assert json.loads(props["tabnas.widths"]) == predictor.about["widths"]
    assert json.loads(props["tabnas.metrics"]) == predictor.about["metrics"]
    assert json.loads(props["tabnas.versions"])["torch"] == torch.__version__
    assert props["tabnas.dataset"] == "table"


@pytest.mark.slow
def test_diabetes(train_py):
    outcome = train_py(
        "dataset=sklearn", "dataset.name=diabetes", "dataset.numerical_embedding={kind: periodic}", *SMALL
    )
    assert outcome.code == 0, outcome.err
    assert main(["run/model", "--onnx", "diabetes.onnx"]) == 0
    predictor, frame = Predictor("run"), load_diabetes(as_frame=True).data
    frame.iloc[::7, 2] = np.nan
    (prediction,) = answers("diabetes.onnx", frame, predictor)
    np.testing.assert_allclose(prediction, predictor(frame)["prediction"], atol=CLOSE * predictor.about["std"], rtol=0)


@pytest.mark.parametrize("task", [Classification(("no", "yes")), Regression(20.0, 3.0)])
def test_without_an_encoding_it_takes_encoded_rows(tmp_path, task):
    made = saved(tmp_path / "model", task)
    told = export.export(tmp_path, onnx=tmp_path / "rows.onnx")
    assert told["onnx"]["takes"] == "encoded rows"
    numbers, ids = torch.randn(7, 2), torch.randint(0, 3, (7, 2), dtype=torch.int32)
    session = onnxruntime.InferenceSession(tmp_path / "rows.onnx")
    found = session.run(None, {"numerical": numbers.numpy(), "categorical": ids.numpy()})
    outputs = made(numbers, ids).detach().double()[:, 0]
    if isinstance(task, Regression):
        np.testing.assert_allclose(found[0], 20 + 3 * outputs, rtol=1e-6)
    else:
        np.testing.assert_allclose(found[1][:, 1], outputs.sigmoid(), atol=1e-6)
        assert list(found[0]) == ["yes" if logit > 0 else "no" for logit in outputs]


def with_encoding(**changes):
    column = {"name": "a", "vocabulary": [], "rare": [], "hash_buckets": None, "closed": False}

    def change(folder):
        about = json.loads((folder / model.ABOUT).read_text())
        columns = [{**column, "vocabulary": ["x"]}, {**column, **changes}]
        number = {"kind": "numerical", "bend": "none", "shift": 0.0, "scale": 1.0, "missing": 0.0, "quantiles": []}
        numbers = [{"name": "c", **number}, {"name": "d", **number}]
        columns[0]["name"] = "b"
        made = {"numerical": numbers, "categorical": columns, "missing_tokens": [""], "target": "y"}
        signature = {"columns": [], "target": {"name": "y", "task": "classification", "classes": ["no", "yes"]}}
        told = json.dumps({**about, "encoding": made, "signature": signature})
        (folder / model.ABOUT).write_text(told)

    return change


@pytest.mark.parametrize(
    ("arguments", "change", "told"),
    [
        ((), None, "give --onnx FILE.onnx, --torch FILE.pt2 or both; see python -m tabnas.export --help"),
        (("--onnx", "model.pt"), None, "--onnx: must end in .onnx, got 'model.pt'"),
        (("--torch", "model.pt"), None, "--torch: must end in .pt2, got 'model.pt'"),
        (("--onnx", "folder.onnx"), None, "--onnx: must be a file that can be written, got 'folder.onnx'"),
        (("--onnx", "a.onnx"), with_encoding(hash_buckets=8), "dataset.high_cardinality: must not be hash"),
        (("--onnx", "a.onnx"), with_encoding(name="label"), "column: must not be called like an output"),
        (("--onnx", "a.onnx"), lambda folder: (folder / model.WEIGHTS).unlink(), "model: must be whole"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path, monkeypatch, capsys, arguments, change, told):
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "model")
    (tmp_path / "folder.onnx").mkdir()
    if change is not None:
        change(tmp_path / "model")
    try:
        code = main([".", *arguments])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"tabnas: error: {told}")
    assert captured.err.count("\n") == 1
    assert not [path for path in tmp_path.iterdir() if path.name not in ("model", "folder.onnx")]


def test_what_answers_otherwise_is_not_written(tmp_path, monkeypatch, capsys):
    saved(tmp_path / "model")
    monkeypatch.setattr(measure, "MOST_DIFFERENT", -1.0)
    assert main([str(tmp_path), "--onnx", str(tmp_path / "a.onnx")]) == 2
    assert "must answer as the model folder does" in capsys.readouterr().err
    assert not (tmp_path / "a.onnx").exists()


def test_without_the_extra(tmp_path):
    saved(tmp_path / "model")
    code = """if True:
        import sys
        sys.modules.update(dict.fromkeys(("onnx", "onnxruntime", "onnxscript", "spox")))
        from tabnas.export.__main__ import main
        print(main([".", "--onnx", "a.onnx"]))
        main(["--help"])
        """
    command = [sys.executable, "-W", "error", "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.startswith("tabnas: error: --onnx: needs the packages of the extra onnx, got 'no onnx,")
    assert done.stderr.count("\n") == 1
    assert done.stdout.startswith("2\nusage: python -m tabnas.export")
