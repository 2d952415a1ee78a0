"""`experiment=toy/figure1` and `toy/figure13` at a tiny number of runs, and the bench."""

import csv
import json
import math

import pytest
import torch

from tabnas.bench import toy as bench
from tabnas.build import build
from tabnas.method import RewardShaping
from tabnas.toy.figure13 import label
from tabnas.toy.outcome import interval, one_thread, rows_of, wilson
from tests.test_conf import compose
from tests.test_run import without_seconds

FIGURE_1 = ("experiment=toy/figure1", "study.num_runs=20", "trainer.max_epochs=40", "study.shown=[0,10]")
FIGURE_13 = (
    "experiment=toy/figure13", "study.num_runs=20", "trainer.max_epochs=40", "study.betas=[0,-1,-2]",
    "study.num_samples=[1,5]", "study.num_children=[1,2]", "study.etas=[0.05,0.2]",
)  # fmt: skip


def is_png(path):
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and path.stat().st_size > 10_000


def table_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("count", "runs"), [(0, 10), (3, 10), (10, 10), (1990, 2000)])
def test_wilson_holds_the_shares_that_the_count_does_not_contradict(count, runs):
    """Its ends are the p at which count/runs is 1.96 standard errors away."""
    found = wilson(count, runs)
    assert 0 <= found["low"] <= found["share"] == count / runs <= found["high"] <= 1
    for end in ("low", "high"):
        p = found[end]
        if 0 < p < 1:
            assert abs(count / runs - p) == pytest.approx(1.96 * math.sqrt(p * (1 - p) / runs), rel=1e-6)


def test_intervals_are_shown_in_full():
    assert interval(wilson(1990, 2000)) == "0.995 [0.991, 0.997]"


def test_threads_are_as_before():
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_figure1_leaves_its_files(train_py, tmp_path):
    outcome = train_py(*FIGURE_1, "hydra.run.dir=run")
    assert (outcome.code, outcome.err) == (0, "")
    folder = tmp_path / "run"
    assert is_png(folder / "figure1.png")
    assert is_png(folder / "prob_valid.png")
    found = json.loads((folder / "study.json").read_text())
    names = [m["method"] for m in found["methods"]]
    assert names == [
        "Abs Reward, β = -1", "Abs Reward, β = -2", "rejection, N = 2", "rejection, N = 5", "rejection, N = 30",
        "draws from P(y | V), K = 2",
    ]  # fmt: skip
    for m in found["methods"]:
        assert m["evaluations_max"] <= 40
        assert [frame["evaluations"] for frame in m["frames"]] == [0, 10, 40]
        shaped = m["method"].startswith("Abs")
        for frame in m["frames"]:
            assert sum(frame["probabilities"].values()) == pytest.approx(1, abs=1e-5)
            assert list(frame["probabilities"]) == ["2-2", "2-3", "2-4", "3-2", "3-3", "3-4", "4-2", "4-3", "4-4"]
            assert frame["of"] == ("P(y)" if shaped else "P(y | V)")
        start = m["frames"][0]["probabilities"]
        assert start["4-2"] == pytest.approx(1 / 9 if shaped else 1 / 6)
        assert start["4-4"] == (pytest.approx(1 / 9) if shaped else 0)
        assert m["prob_valid"]["exact"]["mean"][0] == pytest.approx(6 / 9)
        assert m["prob_valid"]["exact"]["mean"] != m["prob_valid"]["exact"]["first"]
        assert (m["prob_valid"]["estimate"] is not None) == m["method"].startswith("rejection")
    rows = table_of(folder / "study.csv")
    assert len(rows) == 6 * 3 * 9
    assert all(name in outcome.out for name in names)


def test_figure13_leaves_its_files(train_py, tmp_path):
    outcome = train_py(*FIGURE_13, "hydra.run.dir=run")
    assert (outcome.code, outcome.err) == (0, "")
    folder = tmp_path / "run"
    assert is_png(folder / "figure13.png")
    assert is_png(folder / "eta.png")
    found = json.loads((folder / "study.json").read_text())
    assert found["best"] == {"widths": [4, 2], "loss": 0.6, "costs": {"params": 25}}
    assert found["limits"] == [{"cost": "params", "limit": 25}]
    rows = found["rows"]
    settings = [label(row) for row in rows if row["eta"] == 0.05]
    assert settings == [label(row) for row in rows if row["eta"] == 0.2]
    assert settings == [
        "Abs Reward, β = 0", "Abs Reward, β = -1", "Abs Reward, β = -2",
        "rejection, N = 1", "rejection, N = 5", "rejection, exact P(V)",
        "draws from P(y | V), K = 1", "draws from P(y | V), K = 2",
        "rejection, N = 5, warm baseline", "rejection, exact P(V), warm baseline",
        "draws from P(y | V), K = 1, warm baseline",
        "rejection, N = 5, zero steps", "rejection, exact P(V), zero steps",
        "rejection, N = 5, warm baseline, zero steps", "rejection, exact P(V), warm baseline, zero steps",
    ]  # fmt: skip
    for row in rows:
        assert row["runs"] == 20
        assert row["steps"] * row.get("num_children", 1) == 40
        assert row["evaluations_mean"] <= row["evaluations_max"] <= 40
        assert (row["evaluations_mean"] == 40) == (row["method"] != "tabnas")
    in_csv = table_of(folder / "study.csv")
    assert [float(row["finds_best_share"]) for row in in_csv] == [row["finds_best"]["share"] for row in rows]
    for name in settings:
        assert (name in outcome.out) == (name != "Abs Reward, β = 0")


def test_a_study_is_repeated_by_its_seed(train_py, tmp_path):
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert train_py(*FIGURE_13, f"seed={seed}", f"hydra.run.dir={folder}").code == 0
    a, b, c = (json.loads((tmp_path / folder / "study.json").read_text()) for folder in "abc")
    assert without_seconds(a) == without_seconds(b)
    assert a["rows"] != c["rows"]


def test_a_finished_study_is_shown_again_and_an_unfinished_one_is_made(train_py, tmp_path):
    first = train_py(*FIGURE_13, "hydra.run.dir=run")
    path = tmp_path / "run" / "study.json"
    content = path.read_text()
    again = train_py("resume=run")
    assert (again.code, again.out) == (0, first.out)
    assert "this study had finished" in again.err
    path.unlink()
    assert train_py("resume=run").code == 0
    assert without_seconds(json.loads(path.read_text())) == without_seconds(json.loads(content))


def test_progress_ends_at_its_total(tmp_path):
    for experiment in (FIGURE_1, FIGURE_13):
        setup = build(compose(*experiment), tmp_path)
        seen = []
        setup.study.run(setup, lambda done, total, seen=seen: seen.append((done, total)))
        assert seen[-1][0] == seen[-1][1]
        assert len({total for _, total in seen}) == 1
        assert seen == sorted(seen)


def test_rows_are_of_their_own_runs(tmp_path, new_runs):
    """Runs that cannot learn, beside runs that do: only the latter move from uniform, where every argmax is a tie."""
    setup = build(compose("dataset=toy"), tmp_path)
    runs = new_runs(RewardShaping, 4, 1, reward="quality")
    runs.logits = torch.zeros(4, 2, 3)
    runs.logits[2:, 0, 2] = runs.logits[2:, 1, 0] = 1.0  # 4-2
    runs.logits[3, 1] = torch.tensor([0.0, 0.0, 1.0])  # 4-4, and of V 4-2 or 2-4
    first, second = rows_of(runs, setup, [{"beta": 0}, {"beta": -1}])
    assert (first["beta"], first["finds_best"]["share"], first["argmax_feasible"]["share"]) == (0, 0, 1)
    assert (second["beta"], second["argmax_feasible"]["share"]) == (-1, 0.5)
    assert second["finds_best"]["share"] >= 0.5


def test_what_diverges_is_told_of(train_py):
    outcome = train_py(*FIGURE_13, "study.etas=[1e39]", "search.rl_optimizer=sgd")
    assert outcome.code == 2
    assert "logits: must stay finite, got 'nan or inf'; lower search.eta and study.etas" in outcome.err


def test_figure1_wants_two_layers(train_py):
    own = ("~dataset.losses", "+dataset.losses={2-2-2: 1}")
    outcome = train_py(*FIGURE_1, "space.choices=[[2],[2],[2]]", "limits.0.limit=99", *own)
    assert outcome.code == 2
    assert "space.choices: must have two layers to be shown, got 3; see figure13" in outcome.err


@pytest.fixture
def tiny_bench(monkeypatch):
    for name, value in {"NUM_RUNS": 20, "PLAIN_RUNS": 1, "ROUNDS": 1, "EVALUATIONS": 20}.items():
        monkeypatch.setattr(bench, name, value)


def test_the_bench_times_both(tiny_bench, tmp_path):
    lines = list(bench.toy(tmp_path))
    assert len(lines) == 3 * len(bench.CASES)
    assert all(line.value > 0 for line in lines if line.unit == "us")
    promised = [line for line in lines if line.target is not None]
    assert [line.case for line in promised] == [case.name for case in bench.CASES]
    assert all(line.target == 1000 for line in promised)


@pytest.mark.parametrize("case", bench.CASES, ids=lambda case: case.name)
def test_what_the_bench_compares_is_the_same_search(case, monkeypatch):
    """The mean of the final logits over runs, plain and in a batch, within the error of the plain ones."""
    monkeypatch.setattr(bench, "NUM_RUNS", 4000)
    monkeypatch.setattr(bench, "EVALUATIONS", 60)
    plain = torch.stack([bench.plain(case, seed) for seed in range(80)])
    batched = bench.batch(case, seed=0).logits
    error = (plain.var(dim=0) / len(plain) + batched.var(dim=0) / len(batched)).sqrt()
    assert ((plain.mean(dim=0) - batched.mean(dim=0)).abs() < 4.5 * error).all()
    assert batched.mean(dim=0).abs().max() > 10 * error.max() / 4.5  # there was something to compare
