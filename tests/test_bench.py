"""The benches run and print what they say. Whether the figures are reached is theirs to tell, not a test's."""

import json

import pytest

from tabnas.bench import overhead, search_ratio, setting
from tabnas.bench.__main__ import BENCHES, main
from tabnas.bench.line import Line
from tabnas.bench.setting import Case, Setting, random_table


def test_a_line_is_ok_at_or_below_its_target():
    assert Line.at_most("b", "c", 1.0, "x", 1.0).ok
    assert not Line.at_most("b", "c", 1.01, "x", 1.0).ok


@pytest.fixture
def tiny(monkeypatch):
    case = Case("connect4 tiny", lambda: random_table(2000, 6, 3), 32, 3, 50_000, 100.0)
    for module in (overhead, search_ratio):
        monkeypatch.setattr(module, "CASES", (case, case, case))
        monkeypatch.setattr(module, "ROUNDS", 1)
        monkeypatch.setattr(module, "WHOLE_SEARCH_EPOCHS", 20)
    monkeypatch.setattr(setting, "STEPS_PER_BLOCK", 10)
    monkeypatch.setattr(overhead, "STEPS_PER_BLOCK", 10)
    return case


def test_benches_print_one_json_object_a_line(tiny, capsys):
    code = main([*sorted(BENCHES), "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["bench"] for line in lines} == set(BENCHES)
    assert all(set(line) == {"bench", "case", "value", "unit", "target", "ok"} for line in lines)
    assert all(line["value"] > 0 for line in lines if line["target"] is not None)
    assert code == int(any(line["ok"] is False for line in lines))


def test_every_part_of_a_step_is_seen(tiny, tmp_path):
    lines = list(search_ratio.search_ratio(tmp_path))
    parts = [line.value for line in lines[1:6]]
    assert [line.case.rpartition(": ")[2] for line in lines[1:6]] == [
        "child forward and backward", "optimizer", "RL forward", "controller", "data, logging, Lightning",
    ]  # fmt: skip
    assert all(part > 0 for part in parts)


def test_parts_exclude_each_other():
    inclusive = {"weight": 5.0, "optimizer": 2.0, "rl": 4.0, "reward": 1.0, "draw": 0.5}
    parts = search_ratio.exclusive(inclusive, 12.0)
    assert parts == {
        "child forward and backward": 3.0, "optimizer": 2.0, "RL forward": 1.0, "controller": 3.5,
        "data, logging, Lightning": 2.5,
    }  # fmt: skip
    assert sum(parts.values()) == 12.0


def test_the_median_feasible_architecture(tmp_path):
    case = Case("tiny", lambda: random_table(200, 6, 3), 32, 3, 2000, 1.0)
    ready = Setting(case, tmp_path)
    feasible = sorted(cost for cost in map(ready.cost, ready.space) if cost <= 2000)
    assert ready.cost(ready.median_feasible()) == feasible[len(feasible) // 2]
