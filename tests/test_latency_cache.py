"""The file of measured latencies: kept, shared, damaged, interrupted."""

import json

import pytest
import torch

from tabnas import latency
from tabnas.latency import Latency, Timing, default_folder, shapes
from tabnas.space import SearchSpace
from tests.test_latency import LAYERS, N_INPUTS, N_OUTPUTS, SPACE, _one_thread  # noqa: F401  (a fixture for all)


@pytest.fixture
def measured(monkeypatch):
    """Batch sizes that were measured; every measurement is of other times."""
    batch_sizes = []

    def measure(cls, space, n_inputs, n_outputs, *, batch_size, device, progress):
        batch_sizes.append(batch_size)
        layers = shapes(space, n_inputs, n_outputs)
        return cls(space, n_inputs, n_outputs, {s: Timing(len(batch_sizes) + s[0] * s[1], 1) for s in layers})

    monkeypatch.setattr(Latency, "measure", classmethod(measure))
    return batch_sizes


def cached(folder, batch_size=1, space=SPACE):
    return Latency.cached(space, N_INPUTS, N_OUTPUTS, batch_size=batch_size, folder=folder)


def test_is_measured_once(tmp_path, measured, caplog):
    first = cached(tmp_path / "new")
    second = cached(tmp_path / "new")
    assert measured == [1]
    assert second.timings == first.timings
    assert [second(w) for w in SPACE] == [first(w) for w in SPACE]
    assert not caplog.records


def test_a_person_can_read_what_was_measured(tmp_path, measured):
    cached(tmp_path, batch_size=16)
    (path,) = tmp_path.iterdir()
    content = json.loads(path.read_text())
    assert content["device"]
    assert (content["torch"], content["threads"], content["batch_size"]) == (torch.__version__, 1, 16)
    assert content["layers"][0] == {"before": 2, "width": 4, "output": False, "median_ns": 9, "iqr_ns": 1}
    assert len(content["layers"]) == len(LAYERS)


def test_other_conditions_are_other_files(tmp_path, measured, monkeypatch):
    cached(tmp_path)
    cached(tmp_path, batch_size=2)
    cached(tmp_path, space=SearchSpace([[2, 4, 8], [8, 4], [3]]))
    torch.set_num_threads(2)
    cached(tmp_path)
    monkeypatch.setattr(torch, "__version__", "2.9.7")
    cached(tmp_path)
    monkeypatch.setattr(latency, "description", lambda device: "another")
    cached(tmp_path)
    assert measured == [1, 2, 1, 1, 1, 1]
    assert len(list(tmp_path.iterdir())) == 6


def _set(key, value):
    return lambda text: json.dumps(json.loads(text) | {key: value})


def _set_in_layers(key, value):
    def damage(text):
        content = json.loads(text)
        content["layers"][3][key] = value
        return json.dumps(content)

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "null",
        lambda text: "[]",
        lambda text: "{}",
        _set("batch_size", 2),
        _set("version", 0),
        _set("layers", None),
        _set("layers", [1]),
        _set("layers", []),
        _set("more", 1),
        _set_in_layers("median_ns", 0),
        _set_in_layers("median_ns", "5"),
        _set_in_layers("iqr_ns", None),
        _set_in_layers("before", 6),
    ],
)
def test_a_damaged_file_is_measured_again(tmp_path, measured, caplog, damage):
    cached(tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_text()
    path.write_text(damage(whole))
    assert path.read_text() != whole
    again = cached(tmp_path)
    assert measured == [1, 1]
    assert "is measured again" in caplog.text
    assert cached(tmp_path).timings == again.timings
    assert measured == [1, 1]
    assert list(tmp_path.iterdir()) == [path]


def test_bytes_that_are_no_text_are_measured_again(tmp_path, measured):
    cached(tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"\xff\xfe")
    cached(tmp_path)
    assert measured == [1, 1]


def test_an_interrupted_write_leaves_nothing(tmp_path, measured, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(latency.os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            cached(tmp_path)
    assert list(tmp_path.iterdir()) == []
    cached(tmp_path)
    assert measured == [1, 1]


def test_a_partial_file_of_a_killed_run_is_not_taken(tmp_path, measured):
    cached(tmp_path)
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / "tmpx.partial")
    cached(tmp_path)
    assert measured == [1, 1]


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, measured, caplog):
    (tmp_path / "file").write_text("")
    assert cached(tmp_path / "file" / "folder")(SPACE.smallest) > 0
    assert "not kept" in caplog.text


def test_times_of_a_busy_machine_are_told_of_in_every_run(tmp_path, monkeypatch, caplog):
    timings = dict.fromkeys(LAYERS, Timing(100, 0)) | {(4, 4, False): Timing(151, 0)}
    busy = Latency(SPACE, N_INPUTS, N_OUTPUTS, timings)
    monkeypatch.setattr(Latency, "measure", lambda *args, **kwargs: busy)
    cached(tmp_path)
    cached(tmp_path)
    assert caplog.text.count("raised 1.5-fold") == 2


def test_the_cache_measures_for_itself(tmp_path):
    calls = []
    cost = Latency.cached(
        SPACE, N_INPUTS, N_OUTPUTS, batch_size=1, folder=tmp_path, progress=lambda *done: calls.append(done)
    )
    assert calls[-1][0] == calls[-1][1] == len(calls)
    assert cached(tmp_path).timings == cost.timings


def test_the_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "tabnas" / "latency"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "tabnas" / "latency"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (
            "processor\t: 0\nmodel\t\t: 2\nmodel name\t: Chip 1\nflags\t: x\n\nprocessor\t: 1\nmodel\t\t: 2\n",
            "model 2, model name Chip 1",
        ),
        ("processor\t: 0\nCPU part\t: 0xd0c\n", "CPU part 0xd0c"),
        ("", "from platform"),
    ],
)
def test_the_processor_is_described(monkeypatch, cpuinfo, expected):
    monkeypatch.setattr(latency.Path, "read_text", lambda path: cpuinfo)
    monkeypatch.setattr(latency.platform, "processor", lambda: "from platform")
    assert latency.description(torch.device("cpu")) == expected
