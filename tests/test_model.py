"""The model folder: whole, read without executing anything, and the same network as before."""

import json
import pickle

import pytest
import torch

from tabnas import model
from tabnas.encoder import Encoder
from tabnas.errors import UserError
from tabnas.network import Network
from tabnas.numerical import fitted
from tabnas.task import Classification, Regression, judged, with_intervals


def saved(folder, task=None, embedded=None):
    """A model of 2 numerical and 2 categorical columns in `folder`, and its network."""
    task = task or Classification(("no", "yes"))
    spec = fitted(embedded, torch.randn(50, 2))
    encoder = Encoder(2, (3, 4), 5, numerical=spec)
    made = model.Model(encoder, Network(encoder.n_inputs, (6, 3), task.n_outputs))
    model.save(
        folder, made.state_dict(), n_numerical=2, cardinalities=(3, 4), embedding_dim=5, numerical_embedding=spec,
        widths=(6, 3), costs={"params": 99}, dataset="small", task=task, decimal=".",
        encoding={"mean": [0.0, 1.0], "scale": [1.0, 2.0]}, metrics={"loss": {"value": 0.5, "interval": [0.4, 0.6]}},
    )  # fmt: skip
    return made


@pytest.mark.parametrize("embedded", [None, {"kind": "piecewise_linear", "n_bins": 3}, {"kind": "periodic"}])
@pytest.mark.parametrize("task", [Classification(("no", "yes")), Classification(("a", "b", "c")), Regression(2.0, 3.0)])
def test_a_saved_model_answers_as_before(tmp_path, task, embedded):
    made = saved(tmp_path / "model", task, embedded)
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"README.md", "model.json", "weights.safetensors"}
    numerical, categorical = torch.randn(7, 2), torch.randint(0, 3, (7, 2))
    for folder in (tmp_path, tmp_path / "model"):
        loaded, about = model.load(folder)
        assert torch.equal(loaded(numerical, categorical), made(numerical, categorical))
    assert about["task"] == task.name
    assert about.get("classes") == (list(task.classes) if isinstance(task, Classification) else None)
    assert model.task_of(about) == task
    assert about["widths"] == [6, 3]
    assert {"python", "torch", "tabnas"} <= set(about["versions"])
    assert not loaded.training
    with pytest.raises(ValueError, match=r"expected \(2, 2\) numerical and categorical columns, got \(3, 2\)"):
        loaded(torch.randn(7, 3), categorical)


def test_the_card_says_what_to_expect(tmp_path):
    saved(tmp_path / "model")
    path = tmp_path / "model" / "README.md"
    assert "| loss | 0.5 | 0.4 to 0.6 |" in path.read_text()
    assert "expect it to be a little worse on new rows" in path.read_text()  # a smaller loss would be better
    model.add(tmp_path / "model", metrics={"loss": {"value": 0.5, "interval": None}})
    assert "| loss | 0.5 | |" in path.read_text()


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    saved(tmp_path / "model")

    def refuse(*_, **__):
        raise AssertionError("unpickled")

    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")):
        monkeypatch.setattr(module, name, refuse)
    model.load(tmp_path)


def test_it_replaces_an_earlier_one_and_what_a_kill_left(tmp_path):
    saved(tmp_path / "model")
    (tmp_path / "model.partial").mkdir()
    (tmp_path / "model.partial" / "junk").touch()
    (tmp_path / "model" / "old").touch()
    made = saved(tmp_path / "model")
    assert {path.name for path in tmp_path.iterdir()} == {"model"}
    assert not (tmp_path / "model" / "old").exists()
    assert torch.equal(model.load(tmp_path)[0].network.linears[0].weight, made.network.linears[0].weight)


def test_no_folder_of_a_failed_write_remains_under_the_name(tmp_path, monkeypatch):
    monkeypatch.setattr(model.card, "text", lambda about: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        saved(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def flip_a_byte(folder):
    path = folder / model.WEIGHTS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def change(**keys):
    def damage(folder):
        about = json.loads((folder / model.ABOUT).read_text())
        (folder / model.ABOUT).write_text(json.dumps({**about, **keys}))

    return damage


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / model.ABOUT).unlink(), "must be the folder of a finished run"),
        (lambda folder: (folder / model.WEIGHTS).unlink(), "copy it again"),
        (lambda folder: (folder / model.WEIGHTS).write_bytes(b"x"), "another SHA-256"),
        (flip_a_byte, "another SHA-256"),
        (lambda folder: (folder / model.ABOUT).write_text('{"format": 3, '), "copy it again"),
        (lambda folder: (folder / model.ABOUT).write_text("[]"), "copy it again"),
        (change(widths=[6, 4]), "size mismatch"),
        (change(encoder={}), "KeyError"),
        (change(format=2), "must have format 3"),
    ],
)
def test_a_damaged_folder_is_told_in_one_line(tmp_path, damage, told):
    saved(tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(UserError, match=told) as raised:
        model.load(tmp_path)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("model: ")


def test_the_interval_holds_the_truth_as_often_as_it_says():
    task, generator = Regression(0.0, 1.0), torch.Generator().manual_seed(0)
    held = 0
    for _ in range(400):
        target = torch.randn(200, generator=generator)
        low, high = with_intervals(task, torch.zeros(200, 1), target)["rmse"]["interval"]
        held += low <= 1 <= high
    assert abs(held / 400 - 0.95) < 4 * (0.95 * 0.05 / 400) ** 0.5


def test_the_interval_surrounds_the_metric():
    task, outputs, target = Classification(("a", "b", "c")), torch.randn(90, 3), torch.arange(90) % 3
    weight = torch.rand(90) + 0.1
    told = with_intervals(task, outputs, target, weight)
    assert {name: metric["value"] for name, metric in told.items()} == judged(task, outputs, target, weight)
    assert all(m["interval"][0] < m["value"] < m["interval"][1] for m in told.values())
