"""OpenML's tables, from files in its own format."""

import socket
from pathlib import Path
from urllib.error import HTTPError, URLError

import numpy as np
import pandas as pd
import pytest

from tabnas.data import openml
from tabnas.errors import UserError
from tests.data.openml_cache import made_up, seed_cache


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise URLError("no network in tests")

    monkeypatch.setattr("sklearn.datasets._openml.urlopen", refuse)
    monkeypatch.setattr("sklearn.datasets._openml.time.sleep", lambda _seconds: None)


@pytest.fixture
def cached(tmp_path, no_network):
    """Seeds the cache with a stand-in for the table and returns what `load` needs to find it."""

    def seed(data_id: int) -> dict:
        seed_cache(tmp_path, data_id, *made_up(data_id))
        return {"data_id": data_id, "data_home": str(tmp_path)}

    return seed


@pytest.mark.parametrize(
    ("data_id", "n_numerical", "n_categorical", "n_classes"),
    [(41166, 180, 0, 10), (42396, 128, 0, 50), (23512, 28, 0, 2), (40668, 0, 42, 3)],
)
def test_the_papers_tables_have_the_papers_inputs(cached, data_id, n_numerical, n_categorical, n_classes):
    table = openml.load(**cached(data_id), numerical="original", drop_uninformative=False, stratify=False)
    assert (table.n_numerical, len(table.cardinalities), len(table.task.classes)) == (
        n_numerical, n_categorical, n_classes,
    )  # fmt: skip
    assert (table.train.n_rows, table.valid.n_rows) == (320, 80)
    assert not table.train.numerical.isnan().any()


def test_original_values_are_those_of_the_file(cached):
    table = openml.load(**cached(41166), numerical="original", drop_uninformative=False)
    frame, _ = made_up(41166)
    both = np.concatenate([table.train.numerical.numpy(), table.valid.numerical.numpy()])
    expected = frame.drop(columns="class").to_numpy(np.float32)
    assert np.array_equal(both[np.lexsort(both.T)], expected[np.lexsort(expected.T)])


def test_numbers_that_openml_calls_nominal_are_categories(cached):
    table = openml.load(**cached(40668))
    assert set(table.cardinalities) == {6}
    assert {column.kind for column in table.columns} == {"categorical", "target"}


def test_columns_that_openml_ignores_and_another_target(tmp_path, no_network):
    frame = pd.DataFrame({"key": [1, 2] * 20, "a": range(40), "b": pd.Categorical(list("xyyx") * 10)})
    frame["a"] = frame["a"] % 30 * 0.5
    seed_cache(tmp_path, 7, frame, ("b",), ignored="key")
    home = {"data_id": 7, "data_home": str(tmp_path)}
    assert [c.name for c in openml.load(**home).columns] == ["a", "b"]
    assert openml.load(**home, target="a").task.name == "regression"
    with pytest.raises(UserError, match=r"dataset\.target.*'c'"):
        openml.load(**home, target="c")


def test_several_targets_are_refused(tmp_path, no_network):
    frame = pd.DataFrame({"a": range(40), "b": range(40), "c": [0.5, 1] * 20})
    seed_cache(tmp_path, 7, frame, ("a", "b"))
    with pytest.raises(UserError, match=r"dataset\.target: must name one column.*a, b"):
        openml.load(data_id=7, data_home=str(tmp_path))


@pytest.mark.parametrize("data_id", [None, 0, "volkert"])
def test_an_id_is_a_number(data_id):
    with pytest.raises(UserError, match=r"dataset\.data_id: must be an integer"):
        openml.load(data_id=data_id)


def test_offline_says_so(tmp_path, no_network):
    before = socket.getdefaulttimeout()
    with pytest.raises(UserError, match=r"dataset\.data_id: must be in scikit-learn's cache.*41166.*no network"):
        openml.load(data_id=41166, data_home=str(tmp_path))
    assert socket.getdefaulttimeout() == before


def test_an_unknown_id_says_so(tmp_path, monkeypatch):
    def not_there(*_args, **_kwargs):
        raise HTTPError("https://openml.org", 412, "Precondition Failed", {}, None)

    monkeypatch.setattr("sklearn.datasets._openml.urlopen", not_there)
    with pytest.raises(UserError, match=r"dataset\.data_id.*999999999.*not found"):
        openml.load(data_id=999_999_999, data_home=str(tmp_path))


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"dataset\.data_home"):
        openml.load(data_id=7, data_home=str(tmp_path / "file"))


def test_a_damaged_cache_says_so(cached, tmp_path):
    home = cached(23512)
    file = Path(tmp_path, "openml", "openml.org", "data", "v1", "download", "23512.gz")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"dataset\.data_id"):
        openml.load(**home)


def test_an_inactive_table_is_told(cached, tmp_path, caplog):
    import gzip
    import json

    home = cached(23512)
    file = Path(tmp_path, "openml", "openml.org", "api", "v1", "json", "data", "23512.gz")
    content = json.loads(gzip.decompress(file.read_bytes()))
    content["data_set_description"]["status"] = "deactivated"
    file.write_bytes(gzip.compress(json.dumps(content).encode()))
    openml.load(**home)
    assert "is inactive" in caplog.text
