"""The estimators: the same search as train.py's, and at home in scikit-learn."""

import inspect
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tabnas import TabNASClassifier, TabNASRegressor, result
from tabnas.arguments import METHODS, OPTIMIZERS, config_from
from tabnas.build import _parameters, _target
from tabnas.predict import Predictor
from tabnas.search.selection import FinalSelection
from tests.conftest import ROOT
from tests.test_conf import CONF, compose
from tests.test_predict import mixed

SMALL = {
    "choices": [[8, 16]], "limits": 5000, "max_epochs": 2, "retrain_epochs": 3, "n_seeds": 1, "lr": 0.02,
    "random_state": 0,
}  # fmt: skip
OPTIONS = (
    "space.choices=[[8,16]]", "limits.0.limit=5000", "trainer.max_epochs=2", "retrain.max_epochs=3", "retrain.seeds=1",
    "optimizer.lr=0.02", "dataset.batch_size=16", "dataset.drop_uninformative=false",
    "dataset.test_fraction=0", "hydra.run.dir=run",
)  # fmt: skip


def features(n: int = 200) -> pd.DataFrame:
    """Numbers, categories, dates and truth values, with missing cells."""
    frame = mixed(n).drop(columns=["row_id", "split", "price", "sold"])
    frame["kind"] = frame["kind"].where(frame["kind"].isin(["red", "green", "blue"])).astype("category")
    return frame


def outcome(n: int = 200) -> np.ndarray:
    return mixed(n)["sold"].to_numpy()


@pytest.fixture(scope="module")
def fitted() -> TabNASClassifier:
    return TabNASClassifier(**SMALL).fit(features(), outcome())


def full(settings: dict) -> dict:
    """With the class's defaults for what is not said."""
    known = _parameters(_target("settings", OmegaConf.create(settings)))
    made = {name: p.default for name, p in known.items() if p.default is not p.empty} | settings
    if "selection" in known:
        chosen = {name: p.default for name, p in inspect.signature(FinalSelection).parameters.items()}
        made["selection"] = chosen | (made["selection"] or {})
    return {name: list(value) if isinstance(value, tuple) else value for name, value in made.items()}


@pytest.mark.parametrize(("group", "settings"), [("search", METHODS), ("optimizer", OPTIMIZERS)])
def test_methods_and_optimizers_are_those_of_conf(group, settings):
    assert set(settings) == {path.stem for path in (CONF / group).glob("*.yaml")}
    for name, ours in settings.items():
        conf = OmegaConf.to_container(compose(f"{group}={name}")[group])
        added = {"name": name, "_partial_": True} if group == "search" else {}
        assert full({**ours, **added}) == full(conf), name


def test_defaults_are_those_of_conf():
    ours = OmegaConf.to_container(config_from(TabNASClassifier().get_params(), n_train=100, n_valid=100, seed=0))
    conf = OmegaConf.to_container(compose("dataset=table"))
    for key in ("limits", "space", "retrain", "accelerator", "seed"):
        assert ours[key] == conf[key], key
    assert ours["trainer"]["max_epochs"] == conf["trainer"]["max_epochs"]
    assert (ours["search"]["name"], ours["optimizer"]["_target_"]) == ("tabnas", conf["optimizer"]["_target_"])
    assert ours["search"]["name"] == conf["search"]["name"]
    arguments = TabNASClassifier().get_params() | ours["dataset"]
    same = ("embedding_dim", "sparse_embeddings", "numerical_embedding", "numerical", "kinds", "high_cardinality")
    for key in (*same, "val_fraction"):
        assert arguments[key] == conf["dataset"][key], key


@pytest.mark.parametrize("target", ["sold", "price"])
def test_it_is_the_search_of_train_py(target, train_py, tmp_path):
    """Both train on the same table, and find the same to the last digit."""
    frame = features().assign(**{target: mixed(200)[target]})
    frame.to_parquet(tmp_path / "mixed.parquet")
    ran = train_py("dataset=table", "dataset.path=mixed.parquet", f"dataset.target={target}", *OPTIONS)
    assert ran.code == 0, ran.err
    theirs = result.read(tmp_path / "run")
    kind = TabNASClassifier if target == "sold" else TabNASRegressor
    found = kind(**SMALL, batch_size=16).fit(frame.drop(columns=target), frame[target])
    assert [strip(a) for a in found.result_["architectures"]] == [strip(a) for a in theirs["architectures"]]
    assert found.result_["search"]["logits"] == theirs["search"]["logits"]
    predicted = Predictor(tmp_path / "run", torch.float64)(frame)
    np.testing.assert_array_equal(found.predict(frame.drop(columns=target)), predicted["prediction"])


def strip(architecture: dict) -> dict:
    """Without seconds."""
    stand_alone = {k: v for k, v in architecture["stand_alone"].items() if k != "seconds"}
    return {**architecture, "stand_alone": stand_alone}


@pytest.mark.parametrize("method", ["random", "exhaustive", "evolution"])
def test_a_search_without_a_controller(method):
    X, y = load_wine(return_X_y=True)
    options = {"num_architectures": 2} if method == "random" else {}
    found = TabNASClassifier(**SMALL, method=method, method_options=options).fit(X, y)
    assert found.result_["search"]["method"] == method
    assert set(found.architectures_["architecture"]) == {"8", "16"}
    assert found.architectures_["one_shot_loss"].isna().all() == (method == "random")


def test_what_is_fitted(fitted):
    best = fitted.result_["architectures"][fitted.result_["best"]]
    assert fitted.architecture_ == tuple(best["widths"])
    assert fitted.costs_ == best["costs"]
    assert fitted.costs_["params"] <= 5000
    assert fitted.history_ == fitted.result_["search"]["history"] != []
    assert list(fitted.classes_) == ["never", "no", "yes"]
    assert list(fitted.feature_names_in_) == list(features())
    assert fitted.architectures_.loc[0, "loss"] == best["stand_alone"]["loss"]["mean"]
    assert fitted.architectures_["loss"].is_monotonic_increasing
    assert sum(p.numel() for p in fitted.predictor_.model.network.parameters()) == fitted.costs_["params"]


def test_it_learns():
    X, y = load_wine(return_X_y=True, as_frame=True)
    assert cross_val_score(TabNASClassifier(**SMALL | {"retrain_epochs": 10}), X, y, cv=2).min() > 0.9
    X, y = load_diabetes(return_X_y=True)
    assert TabNASRegressor(**SMALL | {"retrain_epochs": 10}).fit(X[:300], y[:300]).score(X[300:], y[300:]) > 0.35


def test_predictions_in_any_form(fitted):
    """Not seen in training: other categories, missing cells everywhere, another index, a single row."""
    frame = features().set_index(pd.Index([f"row {i}" for i in range(200)]))
    probabilities = fitted.predict_proba(frame)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(fitted.classes_[probabilities.argmax(axis=1)], fitted.predict(frame))
    np.testing.assert_allclose(fitted.predict_proba(frame.iloc[7:8]), probabilities[7:8], rtol=1e-12)
    odd = frame.assign(kind="violet", size=np.nan).iloc[:5]
    assert np.isfinite(fitted.predict_proba(odd)).all()
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.predict(frame[frame.columns[::-1]])
    with pytest.raises(ValueError, match="column size: must be numerical, as in training"):
        fitted.predict(frame.assign(size="large"))


def test_an_array_of_numbers_and_text():
    frame = features().drop(columns="day")
    array = frame.astype(object).to_numpy()
    by_array = TabNASClassifier(**SMALL).fit(array, outcome())
    assert not hasattr(by_array, "feature_names_in_")
    assert by_array.predictor_.columns == ["x0", "x2", "x3", "x1"]
    by_frame = TabNASClassifier(**SMALL).fit(frame, outcome())
    np.testing.assert_array_equal(by_array.predict_proba(array), by_frame.predict_proba(frame))


@pytest.mark.parametrize("classes", [[False, True], [-1, 1], [0.0, 1.0], ["?", "NA"], [" a", "a"]])
def test_classes_are_given_back_as_they_were(classes):
    X = np.linspace(-1, 1, 60)[:, None]
    y = np.array(classes)[(X[:, 0] > 0).astype(int)]
    fitted = TabNASClassifier(**SMALL | {"retrain_epochs": 20}).fit(X, y)
    assert fitted.classes_.tolist() == classes
    assert fitted.predict(X).dtype == y.dtype
    assert (fitted.predict(X) == y).mean() > 0.9


def test_a_row_of_weight_0_is_as_one_left_out():
    X, y = load_wine(return_X_y=True)
    weight = np.tile([1.0, 0.0, 2.0], 60)[: len(y)]
    kept = weight > 0
    weighted = TabNASClassifier(**SMALL).fit(X, y, weight)
    left_out = TabNASClassifier(**SMALL).fit(X[kept], y[kept], weight[kept])
    np.testing.assert_array_equal(weighted.predict_proba(X), left_out.predict_proba(X))
    plain = TabNASClassifier(**SMALL).fit(X[kept], y[kept])
    assert np.abs(weighted.predict_proba(X) - plain.predict_proba(X)).max() > 1e-3


def test_validation_rows_of_ones_own():
    X, y = load_wine(return_X_y=True, as_frame=True)
    fitted = TabNASClassifier(**SMALL).fit(X[::2], y[::2], validation_data=(X[1::2], y[1::2]))
    assert (fitted.result_["dataset"]["n_train"], fitted.result_["dataset"]["n_val"]) == (89, 89)
    told = fitted.predictor_.about["metrics"]["loss"]["value"]
    probabilities = fitted.predict_proba(X[1::2])[np.arange(89), y[1::2]]
    assert -np.log(probabilities).mean() == pytest.approx(told, rel=1e-5)
    weights = np.where(y[1::2] == 0, 3.0, 1.0)
    weighted = TabNASClassifier(**SMALL).fit(X[::2], y[::2], validation_data=(X[1::2], y[1::2], weights))
    told = weighted.predictor_.about["metrics"]["loss"]["value"]
    probabilities = weighted.predict_proba(X[1::2])[np.arange(89), y[1::2]]
    assert np.average(-np.log(probabilities), weights=weights) == pytest.approx(told, rel=1e-5)


def test_scikit_learn_can_work_with_it(fitted):
    X, y = features(), outcome()
    again = clone(fitted).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    kept = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(kept.predict_proba(X), fitted.predict_proba(X))
    grid = GridSearchCV(TabNASClassifier(**SMALL), {"limits": np.array([300, 5000])}, cv=2).fit(X, y)
    assert grid.best_estimator_.costs_["params"] <= grid.best_params_["limits"]
    encode = make_column_transformer((OneHotEncoder(), ["kind"]), (StandardScaler(), ["size"]), ("drop", ["day"]))
    piped = make_pipeline(encode, TabNASClassifier(**SMALL)).fit(X, y)
    assert piped[-1].n_features_in_ == 5  # three kinds, missing, and the size
    assert piped.predict_proba(X).shape == (200, 3)


def test_random_state():
    X, y = load_wine(return_X_y=True)
    before = torch.get_rng_state()
    drawn = [TabNASClassifier(**SMALL | {"random_state": np.random.RandomState(s)}).fit(X, y) for s in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    first, same, other = (estimator.predict_proba(X) for estimator in drawn)
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - other).max() > 1e-3


def test_a_saved_model_predicts_at_the_prompt(fitted, tmp_path):
    fitted.save_model(tmp_path / "model")
    assert {path.name for path in tmp_path.iterdir()} == {"model"}
    frame = features().astype({"kind": object})
    saved = Predictor(tmp_path / "model", torch.float64)(frame).filter(like="probability_")
    np.testing.assert_array_equal(saved, fitted.predict_proba(features()))
    in_floats = Predictor(tmp_path / "model")(frame).filter(like="probability_")
    np.testing.assert_allclose(in_floats, saved, atol=1e-6)
    about = json.loads((tmp_path / "model" / "model.json").read_text())
    assert about["signature"]["target"] == {
        "name": "target", "task": "classification", "classes": ["never", "no", "yes"],
    }  # fmt: skip


def test_saving_a_model_deletes_nothing_else(fitted, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for taken in (tmp_path / "mine", tmp_path / "mine" / "notes.txt"):
        with pytest.raises(ValueError, match=r"^folder: must be new, empty or a model's, got .*; name another"):
            fitted.save_model(taken)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    fitted.save_model("~/m")
    monkeypatch.chdir(tmp_path / "m")
    (tmp_path / "m" / "notes.txt").write_text("mine")
    fitted.save_model(".")
    assert {path.name for path in Path().iterdir()} == {"model.json", "weights.safetensors", "README.md", "notes.txt"}
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "m"}
    np.testing.assert_array_equal(Predictor(".", torch.float64)(features())["prediction"], fitted.predict(features()))


def test_what_a_mistake_in_a_column_is_remedied_by():
    X, y = features().assign(zip=[f"z{i}" for i in range(200)]), outcome()
    new = TabNASClassifier(**SMALL, drop=["zip"])
    with pytest.raises(ValueError, match=r"^kinds.zip: .*; give high_cardinality=hash, or drop=\[zip\]"):
        clone(new).set_params(drop=None).fit(X, y)
    odd = X["size"].astype(object).where(X.index % 9 > 0, "oops")
    with pytest.raises(ValueError, match=r"^kinds.size: .*; if it is numerical, replace 'oops' by None; else give"):
        clone(new).fit(X.assign(size=odd), y)
    with pytest.raises(ValueError, match=r"^kinds.size: .*; replace it by None, or give kinds="):
        clone(new).set_params(kinds={"size": "numerical"}).fit(X.assign(size=odd), y)
    fitted = new.fit(X.assign(size=odd.where(odd != "oops", None)), y)
    assert set(fitted.predictor_.columns) == {"size", "day", "on sale", "grade", "kind"}
    np.testing.assert_array_equal(fitted.predict_proba(X), fitted.predict_proba(X.assign(zip="new")))
    told = pytest.raises(ValueError, match=r"^y: must have at most .* classes .*; use TabNASRegressor")
    with pytest.warns(UserWarning, match="could represent a regression problem"), told:
        new.fit(X, np.arange(200))


def test_nothing_is_written_unless_asked(tmp_path, monkeypatch):
    for name in ("cwd", "tmp", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    X, y = load_wine(return_X_y=True)
    TabNASClassifier(**SMALL).fit(X, y).predict(X)
    assert [path for path in tmp_path.rglob("*") if path.parent != tmp_path] == []
    with pytest.raises(ValueError, match="below 1e"):
        TabNASClassifier(**SMALL).fit(X, y).predict(pd.DataFrame(X * 1e31).to_numpy())
    with pytest.raises(ValueError, match="lr: must be"):
        TabNASClassifier(**SMALL | {"lr": -1}).fit(X, y)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_runs_folder_is_kept_where_asked(tmp_path, capsys):
    X, y = load_wine(return_X_y=True)
    kept = TabNASClassifier(**SMALL, folder=tmp_path / "run", verbose=True).fit(X, y)
    assert {p.name for p in (tmp_path / "run").iterdir()} >= {"result.json", "model", "checkpoints", "tensorboard"}
    in_keys = result.read(tmp_path / "run")
    assert {**in_keys, "trust": None} == {**kept.result_, "trust": None}
    assert "retrain.min_architectures=20" in in_keys["trust"]["remedy"]
    assert "min_architectures=20" in (remedy := kept.result_["trust"]["remedy"])
    assert "retrain." not in remedy
    assert "in all" in capsys.readouterr().out
    with pytest.raises(ValueError, match="folder: must be new or empty"):
        TabNASClassifier(**SMALL, folder=tmp_path / "run").fit(X, y)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"limits": 0}, "^limits.0.limit: must be a number in .* got 0"),
        ({"limits": "8-8"}, "limits.0.limit: must be a number, or an architecture with as many layers"),
        ({"limits": [{"cost": "parms", "limit": 5}]}, "limits.0.cost: must be one of .* did you mean 'params'"),
        ({"choices": []}, "^choices: "),
        ({"method": "tabnass"}, "^method: must be one of .* did you mean 'tabnas'"),
        ({"method_options": {"etta": 1}}, "^method_options.etta: must be one of .* did you mean 'eta'"),
        ({"method_options": {"eta": -1}}, "^method_options.eta: must be a number above 0, got -1"),
        ({"method_options": 3}, "^method_options: must be a dictionary"),
        ({"max_epochs": 0}, "^max_epochs: must be an integer of at least 1, got 0"),
        ({"retrain_epochs": 0}, "^retrain_epochs: must be an integer"),
        ({"n_seeds": 0}, "^n_seeds: must be an integer"),
        ({"patience": 0}, "^patience: must be an integer"),
        ({"keep": "worst"}, "^keep: must be one of best, last"),
        ({"optimizer": "adan"}, "^optimizer: must be one of adam, sgd"),
        ({"lr": 0}, "^lr: must be a number above 0"),
        ({"batch_size": 1000}, "^batch_size: must be at most"),
        ({"embedding_dim": 0}, "^embedding_dim: must be an integer"),
        ({"numerical": "z"}, "^numerical: must be one of"),
        ({"kinds": {"alcohl": "numerical"}}, "^kinds.alcohl: must be one of .* did you mean 'alcohol'"),
        ({"val_fraction": 1}, "^val_fraction: must be a number in"),
        ({"accelerator": "tpv"}, "^accelerator: must be one of"),
        ({"random_state": -1}, "^random_state: must be an integer in"),
        ({"limits": object()}, "limits"),
    ],
)
def test_mistakes(arguments, told):
    X, y = load_wine(return_X_y=True, as_frame=True)
    with pytest.raises(ValueError, match=told):
        TabNASClassifier(**SMALL | arguments).fit(X, y)


def test_mistakes_in_the_data(fitted):
    X, y = load_wine(return_X_y=True, as_frame=True)
    new = TabNASClassifier(**SMALL)
    for given, told in (
        ((X, np.zeros(len(y))), "^y: must have at least two classes"),
        ((X, y, -np.ones(len(y))), "none below zero"),
        ((X, y, None, (X,)), "^validation_data: must be"),
        ((X, y, None, (X, y + 1)), r"no class that y has not, got \[3\]"),
        ((X.iloc[:0], y[:0]), "n_samples=2"),
        ((X.set_axis(["a"] * 13, axis=1), y), "unique|different"),
    ):
        with pytest.raises(ValueError, match=told):
            new.fit(*given)
    with pytest.raises(TypeError, match="must be a string or a number, not list"):
        new.fit(X.assign(alcohol=[[1]] * len(X)), y)
    with pytest.raises(NotFittedError):
        new.predict(X)
    with pytest.raises(NotFittedError):
        new.save_model("model")


def test_names_that_are_taken():
    X, y = load_wine(return_X_y=True, as_frame=True)
    X = X.rename(columns={"alcohol": "target", "ash": "sample_weight"})
    fitted = TabNASClassifier(**SMALL).fit(X, y, np.ones(len(y)))
    assert fitted.predictor_.encoding.target == "target_"
    assert len(fitted.predictor_.columns) == 13


def test_importing_the_package_is_cheap():
    code = "import sys, tabnas; assert 'torch' not in sys.modules; assert not hasattr(tabnas, 'nothing')"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.mark.slow
def test_no_output_unless_verbose():
    """In a process of its own, as pytest catches warnings and the log; here nothing is ruled out, which is logged."""
    code = """
from sklearn.datasets import load_wine
from tabnas import TabNASClassifier
TabNASClassifier(limits=10**7, max_epochs=2, retrain_epochs=2).fit(*load_wine(return_X_y=True))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("", "")
