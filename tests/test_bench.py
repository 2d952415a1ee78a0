"""The benches run and print what they say. Whether the figures are reached is theirs to tell, not a test's."""

import json
from dataclasses import replace
from importlib.util import find_spec

import pytest

from tabnas.bench import data, embedding, feasibility, loader, overhead, replicas, retrain, search_ratio, setting, toy
from tabnas.bench.__main__ import BENCHES, main
from tabnas.bench.line import Line
from tabnas.bench.setting import Case, Setting, random_table


def test_a_line_is_ok_on_the_right_side_of_its_target():
    assert Line.at_most("b", "c", 1.0, "x", 1.0).ok
    assert not Line.at_most("b", "c", 1.01, "x", 1.0).ok
    assert Line.at_least("b", "c", 1.0, "x", 1.0).ok
    assert not Line.at_least("b", "c", 0.99, "x", 1.0).ok


@pytest.fixture
def tiny(monkeypatch):
    case = Case("connect4 tiny", lambda: random_table(2000, 6, 3), 32, 3, 50_000, 100.0)
    for module in (overhead, search_ratio):
        monkeypatch.setattr(module, "CASES", (case, case, case))
    for module in (setting, overhead, search_ratio):
        monkeypatch.setattr(module, "WHOLE_SEARCH_EPOCHS", 4)
    for module in (overhead, search_ratio, feasibility):
        monkeypatch.setattr(module, "ROUNDS", 1)
    monkeypatch.setattr(retrain, "CASES", (retrain.Seeds(case, (8, 16, 8), 3, 2.5),))
    monkeypatch.setattr(retrain, "ROUNDS", 1)
    monkeypatch.setattr(replicas, "CASES", (case, case, replace(case, name="connect4")))
    monkeypatch.setattr(replicas, "ROUNDS", 1)
    monkeypatch.setattr(replicas, "PROCESS_ROUNDS", 1)
    monkeypatch.setattr(setting, "STEPS_PER_BLOCK", 10)
    monkeypatch.setattr(overhead, "STEPS_PER_BLOCK", 10)
    refreshed = Case("volkert tiny", lambda: random_table(2000, 180, 10), 32, 4, 27_882)  # whose V is not listed
    monkeypatch.setattr(feasibility, "SPACES", ((case, 64), (refreshed, 64)))
    monkeypatch.setattr(feasibility, "STEPS", 5)
    monkeypatch.setattr(feasibility, "WEIGHT_STEPS", 5)
    monkeypatch.setattr(feasibility, "MONTE_CARLO_SECONDS", 0.0)
    for name, few in {"NUM_RUNS": 10, "PLAIN_RUNS": 1, "ROUNDS": 1, "EVALUATIONS": 20}.items():
        monkeypatch.setattr(toy, name, few)
    monkeypatch.setattr(data, "SIZES", (2000, 4000))
    monkeypatch.setattr(data, "ROUNDS", 1)
    monkeypatch.setattr(loader, "N_ROWS", 60_000)
    monkeypatch.setattr(loader, "BLOCKS", 2)
    monkeypatch.setattr(loader, "STEPS_PER_BLOCK", 10)
    monkeypatch.setattr(embedding, "VOCABULARIES", (100_000, 200_000, 300_000))
    monkeypatch.setattr(embedding, "ROUNDS", 1)
    monkeypatch.setattr(embedding, "STEPS", 2)
    return case


@pytest.mark.slow
def test_benches_print_one_json_object_a_line(tiny, capsys):
    names = sorted(set(BENCHES) - {"tpu"})  # for which see tests/tpu
    code = main([*names, "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["bench"] for line in lines} == set(names)
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
    inclusive = {"weight": 5.0, "optimizer": 2.0, "rl": 4.0, "quality": 1.0, "draw": 0.5}
    parts = search_ratio.exclusive(inclusive, 12.0)
    assert parts == {
        "child forward and backward": 3.0, "optimizer": 2.0, "RL forward": 1.0, "controller": 3.5,
        "data, logging, Lightning": 2.5,
    }  # fmt: skip
    assert sum(parts.values()) == 12.0


def test_the_median_feasible_architecture(tmp_path):
    case = Case("tiny", lambda: random_table(200, 6, 3), 32, 3, 2000, 1.0)
    ready = Setting(case, tmp_path)
    (params,) = ready.limits.costs
    feasible = sorted(cost for cost in map(params, ready.space) if cost <= 2000)
    assert params(ready.median_feasible()) == feasible[len(feasible) // 2]


@pytest.mark.skipif(find_spec("torch_xla") is not None, reason="torch-xla is installed")
def test_what_cannot_be_run_is_told_before_anything_is(capsys):
    assert main(["retrain", "tpu"]) == 2
    assert capsys.readouterr().err.startswith("tabnas: error: accelerator: must go with torch-xla installed")
