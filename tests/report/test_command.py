"""`python -m tabnas.report`, and results that it cannot use."""

import json

import pytest

from tabnas import report
from tabnas import result as results
from tabnas.report import source
from tabnas.report.__main__ import main
from tabnas.study import run as study
from tabnas.toy.search import TASK
from tests.report.results import full, leave, result


def test_names_are_those_of_the_runs():
    assert source.FILE == results.FILE
    assert source.VERSION == results.VERSION
    assert source.TOY == TASK
    assert source.STUDY == study.FILE


def test_a_run(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    leave(tmp_path / "run", full())
    assert main(["run"]) == 0
    assert capsys.readouterr().out == "tabnas: report in run/report.html\n"
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"result.json", "report.html"}


def test_a_folder_of_runs_and_their_own_pages(tmp_path, capsys):
    for name in ("0", "1"):
        leave(tmp_path / name, full())
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("report in") == 1
    assert 'href="1/report.html"' in (tmp_path / "report.html").read_text()


def broken(**changes):
    return json.dumps({**result(), **changes})


BROKEN = {
    "cut short": ('{"version": 1, "sec', "must be a result as a run writes it"),
    "another file": ("[1]", "must be a result of version 1, got 'list'"),
    "another version": (broken(version=0), "must be a result of version 1, got 0"),
    "a section missing": ('{"version": 1}', "must be a whole result, got 'none of architectures, best"),
    "a key missing": (broken(dataset={}), "must have results as a run writes them, got \"KeyError:"),
    "another type": (broken(search=[1]), "must have results as a run writes them"),
    "no architecture": (broken(architectures=[]), "must have results as a run writes them"),
    "toy": (broken(dataset={"task": TASK}), "must be the result of a search on a table"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_result_is_told_in_one_line(tmp_path, capsys, name):
    content, expected = BROKEN[name]
    leave(tmp_path, content)
    assert main([str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("tabnas: error: ")
    assert captured.err.count("\n") == 1
    assert expected in captured.err
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.touch()])
def test_a_folder_without_runs(tmp_path, capsys, make):
    make(tmp_path / "x")
    assert main([str(tmp_path / "x")]) == 2
    assert "must be the folder of a run" in capsys.readouterr().err
    assert not [*tmp_path.glob("x/*")]


def test_others_are_made_though_one_fails(tmp_path, capsys):
    leave(tmp_path / "good", full())
    assert main([str(tmp_path / "none"), str(tmp_path / "good")]) == 2
    assert (tmp_path / "good" / "report.html").exists()
    assert capsys.readouterr().err.count("\n") == 1


def test_an_old_page_is_replaced_whole(tmp_path):
    leave(tmp_path, full())
    (tmp_path / "report.html").write_text("old")
    assert report.write(tmp_path) == tmp_path / "report.html"
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")
