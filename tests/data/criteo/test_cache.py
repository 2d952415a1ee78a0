"""A table in the cache is keyed by what it is made of, whole, checked, and made by one process at a time."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tabnas.data.criteo import load, load_synthetic
from tabnas.data.criteo.cache import cached, default_folder
from tabnas.data.table import Rows
from tabnas.errors import UserError
from tests.data.criteo.form import text
from tests.data.criteo.test_build import assert_equal

# Loads 5,000 made-up rows; at the first sign of progress it says so, and waits until it is told to go on.
JOB = """
import logging, pathlib, sys, time
from tabnas.data.criteo import load_synthetic
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
cache, signals = map(pathlib.Path, sys.argv[1:])
def progress(*_):
    (signals / "started").touch()
    while not (signals / "go").exists():
        time.sleep(0.01)
print(load_synthetic(n_rows=5000, cache=cache, progress=progress).train.n_rows, flush=True)
"""


def job(cache: Path, signals: Path) -> subprocess.Popen:
    signals.mkdir(exist_ok=True)
    return subprocess.Popen([sys.executable, "-c", JOB, cache, signals], stdout=subprocess.PIPE, text=True)


def wait_for(path: Path) -> None:
    for _ in range(6000):
        if path.exists():
            return
        time.sleep(0.01)
    pytest.fail(f"{path} did not come")


@pytest.fixture
def source(tmp_path):
    (tmp_path / "train.txt").write_bytes(text(1000))
    return {"path": tmp_path / "train.txt", "cache": tmp_path / "cache"}


def builds(caplog):
    return sum("built from" in message for message in caplog.messages)


def test_each_option_and_state_of_the_source_has_a_table_of_its_own(source, caplog):
    caplog.set_level(logging.INFO)
    changes = [
        {}, {"val_fraction": 0.3}, {"split_seed": 1}, {"numerical": "original"}, {"min_count": 3}, {"hash_buckets": 7},
        {"on_bad_line": "skip"}, {"max_bad_share": 0.5},
    ]  # fmt: skip
    for change in changes:
        load(**source, **change)
    assert builds(caplog) == len(changes)
    for change in changes:
        load(**source, **change)
    assert builds(caplog) == len(changes)
    os.utime(source["path"], ns=(0, 0))
    load(**source)
    assert builds(caplog) == len(changes) + 1
    shutil.copy2(source["path"], source["path"].with_name("copy.txt"))
    load(**source | {"path": source["path"].with_name("copy.txt")})
    assert builds(caplog) == len(changes) + 2


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        *((name, "flip") for name in ("train_numerical.bin", "valid_target.bin", "vocabulary/C3.npy", "meta.json")),
        ("valid_categorical.bin", "cut"),
        ("train_target.bin", "remove"),
    ],
)
def test_damage_is_noticed_and_mended(source, caplog, name, harm):
    table = load(**source, min_count=2)
    kept = replace(table, **{split: Rows(*map(torch.clone, getattr(table, split)[:3])) for split in ("train", "valid")})
    path = Path(table.encoding["folder"]) / name
    content = bytearray(path.read_bytes())
    before = path.stat()
    time.sleep(0.02)  # more than a tick of the file system's clock
    if harm == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif harm == "cut":
        path.write_bytes(content[:-1])
    else:
        path.unlink()
    again = load(**source, min_count=2)
    assert "is damaged" in caplog.text
    assert_equal(again, kept)
    caplog.clear()
    load(**source, min_count=2)
    assert not caplog.messages


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"files": {}, "checksum": 0}'])
def test_a_damaged_list_of_files_is_noticed(source, caplog, content):
    folder = Path(load(**source).encoding["folder"])
    time.sleep(0.02)
    (folder / "files.json").write_text(content)
    load(**source)
    assert "is damaged" in caplog.text


def test_an_untouched_file_is_checked_once(source, monkeypatch):
    load(**source)
    monkeypatch.setattr("tabnas.data.criteo.cache._checksum", lambda path: pytest.fail("read again"))
    load(**source)


def test_a_table_in_use_survives_being_built_again(source):
    table = load(**source)
    folder = Path(table.encoding["folder"])
    sums = table.train.numerical.sum(), table.train.categorical.sum()
    (folder / "meta.json").write_text("")
    load(**source)
    assert (table.train.numerical.sum(), table.train.categorical.sum()) == sums


def test_one_job_builds_and_the_others_wait_and_say_so(tmp_path):
    first = job(tmp_path / "cache", tmp_path / "first")
    wait_for(tmp_path / "first" / "started")
    others = [job(tmp_path / "cache", tmp_path / f"other{i}") for i in range(2)]
    for other in others:
        assert "another job is making" in other.stdout.readline()
    (tmp_path / "first" / "go").touch()
    outputs = [process.communicate(timeout=60)[0] for process in (first, *others)]
    assert [process.returncode for process in (first, *others)] == [0, 0, 0]
    assert [output.count("built from") for output in outputs] == [1, 0, 0]
    assert len({output.splitlines()[-1] for output in outputs}) == 1
    assert not any((tmp_path / f"other{i}" / "started").exists() for i in range(2))


@pytest.mark.slow
def test_a_killed_build_leaves_nothing_that_is_mistaken_for_a_table(tmp_path, caplog):
    killed = job(tmp_path / "cache", tmp_path / "killed")
    wait_for(tmp_path / "killed" / "started")
    waiting = job(tmp_path / "cache", tmp_path / "waiting")
    assert "another job is making" in waiting.stdout.readline()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    wait_for(tmp_path / "waiting" / "started")  # it takes over
    waiting.send_signal(signal.SIGKILL)
    waiting.communicate()
    assert [path.suffix for path in (tmp_path / "cache").glob("*/")] == [".partial"]
    load_synthetic(n_rows=4000, cache=tmp_path / "cache")  # another table: whoever builds next cleans up
    folders = list((tmp_path / "cache").glob("*/"))
    assert [path.suffix for path in folders] == [""]
    assert not list((tmp_path / "cache").rglob("scratch"))


def test_a_build_that_fails_leaves_nothing(tmp_path):
    def build(folder):
        (folder / "file").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path, "key", build)
    assert not list(tmp_path.glob("*/"))


@pytest.mark.parametrize("error", [28, 13, 30])
def test_a_cache_that_cannot_be_written_to_is_told(tmp_path, error):
    def build(folder):
        raise OSError(error, os.strerror(error))

    with pytest.raises(UserError, match=r"^dataset\.cache: "):
        cached(tmp_path, "key", build)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^dataset\.cache: "):
        cached(tmp_path / "file" / "cache", "key", lambda folder: None)


def test_the_default_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "tabnas" / "criteo"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder() == Path.home() / ".cache" / "tabnas" / "criteo"
