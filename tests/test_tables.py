"""Runs from files and generated rows to a result: what is asked of `dataset` reaches the network and the files."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from tabnas import build, model, result
from tabnas.task import evaluate

SMALL = (
    "space.choices=[[4,8,16],[4,8,16]]", "limits.0.limit=1500", "trainer.max_epochs=4", "trainer.log_every_n_steps=5",
    "retrain.seeds=2", "retrain.max_epochs=3", "dataset.batch_size=32", "hydra.run.dir=run",
)  # fmt: skip


@pytest.fixture
def mixed_csv(tmp_path):
    """600 rows: numbers, a category, a date, missing cells, weights, an id; the target follows the first two."""
    rng = np.random.default_rng(0)
    n = 600
    size, kind = rng.normal(50, 10, n), rng.choice(["red", "green", "blue"], n)
    score = (size - 50) / 10 + (kind == "red") + rng.normal(0, 0.3, n)
    frame = pd.DataFrame(
        {
            "row_id": np.arange(n),
            "size": np.where(rng.random(n) < 0.1, np.nan, size.round(3)),
            "kind": np.where(rng.random(n) < 0.1, None, kind),
            "day": pd.date_range("2024-01-01", periods=n).astype(str),
            "weight": rng.uniform(0.5, 2, n).round(2),
            "price": (1000 + 200 * score).round(2),
            "sold": np.where(score > 0.5, "yes", "no"),
        }
    )
    path = tmp_path / "mixed.csv"
    frame.to_csv(path, index=False, sep=";")
    return path


@pytest.mark.parametrize(
    ("target", "drop", "metrics"), [("sold", "price", ["balanced_error"]), ("price", "sold", ["rmse", "r2"])]
)
@pytest.mark.parametrize(
    "embedded", ["null", "{kind: piecewise_linear, dim: 3, n_bins: 4}", "{kind: periodic, dim: 3}"]
)
def test_a_csv_file(train_py, mixed_csv, tmp_path, target, drop, metrics, embedded):
    outcome = train_py(
        "dataset=table", f"dataset.path={mixed_csv}", f"dataset.target={target}", f"dataset.drop=[{drop}]",
        "dataset.weight=weight", f"dataset.numerical_embedding={embedded}", *SMALL,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    found = result.read(tmp_path / "run")
    assert found["dataset"]["metrics"] == metrics
    columns = {column["name"]: column for column in found["dataset"]["columns"]}
    assert columns["kind"]["kind"] == "categorical"
    assert "dropped" in columns["row_id"]["became"]
    assert columns[target]["kind"] == "target"
    n_numerical = 2 * (1 if embedded == "null" else 3)  # size and day
    assert found["dataset"]["n_inputs"] == n_numerical + 8
    table = build.table_from(OmegaConf.create(found["config"]["dataset"]))
    network, about = model.load(tmp_path / "run")
    assert json.dumps(about["encoding"]) == json.dumps(table.encoding)
    best = found["architectures"][found["best"]]
    measured = evaluate(table.task, network, *table.valid)
    assert measured["loss"] == pytest.approx(min(best["stand_alone"]["loss"]["runs"]), rel=1e-5)


def test_embeddings_can_be_counted(train_py, mixed_csv, tmp_path):
    outcome = train_py(
        "dataset=table", f"dataset.path={mixed_csv}", "dataset.target=sold", "dataset.drop=[price]", *SMALL,
        "dataset.numerical_embedding={kind: piecewise_linear, dim: 3, n_bins: 4}",
        "limits=[{cost: params, limit: 1500, count_embeddings: true}]",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    found = result.read(tmp_path / "run")
    network, about = model.load(tmp_path / "run")
    best = found["architectures"][found["best"]]
    assert sum(p.numel() for p in network.parameters()) <= 1500
    (counted,) = (
        value for name, value in best["costs"].items() if value == sum(p.numel() for p in network.parameters())
    )
    assert counted > sum(p.numel() for p in network.network.parameters())
    assert about["widths"] == best["widths"]


def test_a_sweep_over_sklearns_tables(train_py, tmp_path):
    outcome = train_py(
        "-m", "dataset=sklearn", "dataset.name=iris,diabetes", *SMALL[:-1], "dataset.batch_size=16",
        "hydra.sweep.dir=sweep",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert [result.read(tmp_path / "sweep" / job)["dataset"]["task"] for job in "01"] == [
        "classification",
        "regression",
    ]


CRITEO = (
    "dataset=criteo_synthetic", "dataset.n_rows=6000", "dataset.embedding_dim=4", "dataset.cache=cache",
    "dataset.min_count=2", "dataset.shuffle_rows=4096", *SMALL,
)  # fmt: skip


def test_criteos_form_end_to_end(train_py, tmp_path):
    outcome = train_py(*CRITEO, "limits.0.limit=3000")
    assert outcome.code == 0, outcome.err
    found = result.read(tmp_path / "run")
    assert found["dataset"]["n_inputs"] == 13 + 26 * 4
    assert len(found["dataset"]["columns"]) >= 40
    network, _ = model.load(tmp_path / "run")
    table = build.table_from(OmegaConf.create(found["config"]["dataset"]))
    best = found["architectures"][found["best"]]
    assert evaluate(table.task, network, *table.valid)["loss"] == pytest.approx(
        min(best["stand_alone"]["loss"]["runs"]), rel=1e-5
    )
    rows = network.encoder.embedding.weight[network.encoder.offsets + 2]
    assert torch.equal(rows, torch.zeros_like(rows))  # what training did not see


def test_no_criteo_file(train_py):
    outcome = train_py("dataset=criteo")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "criteo_synthetic" in outcome.err
