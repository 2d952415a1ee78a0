"""scikit-learn's bundled tables."""

import inspect

import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

from tabnas.data import files, openml, sklearn_tables
from tabnas.data.table import random_split
from tabnas.errors import UserError


@pytest.mark.parametrize(
    ("name", "n_rows", "n_numerical", "n_classes"),
    [("iris", 150, 4, 3), ("wine", 178, 13, 3), ("breast_cancer", 569, 30, 2), ("digits", 1797, 61, 10)],
)
def test_classification(name, n_rows, n_numerical, n_classes):
    table = sklearn_tables.load(name=name)
    assert table.train.n_rows + table.valid.n_rows == n_rows
    assert (table.n_numerical, len(table.task.classes)) == (n_numerical, n_classes)


def test_class_names():
    assert sklearn_tables.load(name="iris").task.classes == ("setosa", "versicolor", "virginica")


def test_regression_on_diabetes_by_two_routes():
    """Least squares predicts the same from the encoded rows as from scikit-learn's own."""
    table = sklearn_tables.load(name="diabetes", split_seed=3)
    train, valid, _ = random_split(442, 0.2, 3)
    x, y = load_diabetes(return_X_y=True)
    theirs = LinearRegression().fit(x[train], y[train]).predict(x[valid])
    mine = LinearRegression().fit(table.train.numerical, table.train.target).predict(table.valid.numerical)
    assert mine * table.task.std + table.task.mean == pytest.approx(theirs, rel=1e-4)
    assert table.valid.target.numpy() * table.task.std + table.task.mean == pytest.approx(y[valid], rel=1e-5)


def test_another_target():
    table = sklearn_tables.load(name="iris", target="sepal length (cm)")
    assert table.task.name == "regression"
    assert table.cardinalities == (6,)


@pytest.mark.parametrize("name", ["linnerud", "boston", "Iris"])
def test_others_are_refused(name):
    with pytest.raises(UserError, match=r"dataset\.name"):
        sklearn_tables.load(name=name)


@pytest.mark.parametrize("load", [files.load, openml.load, sklearn_tables.load])
def test_the_signature_tells_every_option(load):
    parameters = inspect.signature(load).parameters
    assert {"kinds", "drop", "numerical", "val_fraction", "split_seed", "target"} <= set(parameters)
    assert not {"frame", "valid_frame", "test_frame", "options"} & set(parameters)
    required = {name for name, p in parameters.items() if p.default is p.empty}
    assert required == ({"name"} if load is sklearn_tables.load else set())
