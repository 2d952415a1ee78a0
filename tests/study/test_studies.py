"""Each study from the command to its files; the numbers in them again from what the jobs left."""

import json

import numpy as np
import pytest

from tabnas.statistics import pearson, rank_correlation
from tests.study.conftest import is_figure, outcomes_in

FEW = ("study.seeds=2", "study.pool=5", "~study.methods.mnasnet", "~study.methods.tunas_abs")


def found_in(folder):
    return json.loads((folder / "study.json").read_text())


def test_the_seconds_of_a_study_taken_up_are_those_of_all_sessions(study, train_py, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tabnas.study.tradeoff.Tradeoff.write", stop)
        folder, outcome = study("tradeoff", "study.pool=2", "study.bands=1", "study.retrainings=1")
    assert outcome.code == 130
    so_far = folder / "seconds.txt"
    assert 0 < float(so_far.read_text()) < 500
    so_far.write_text("1000")
    assert train_py(f"resume={folder}").code == 0
    assert 1000 < found_in(folder)["seconds"]["total"] < 1500
    assert not so_far.exists()


@pytest.mark.slow
def test_compare(study, train_py):
    folder, outcome = study("compare", *FEW)
    assert (outcome.code, outcome.err) == (0, "")
    assert is_figure(folder / "compare.png")
    found, jobs = found_in(folder), outcomes_in(folder)
    assert [method["method"] for method in found["methods"]] == ["tabnas", "tabnas_exact"]
    drawn = [jobs["-".join(map(str, row["widths"])) + "-seed0"] for row in found["pool"]]
    assert len({tuple(job["widths"]) for job in drawn}) == 5
    unit = np.mean([job["runs"][0]["seconds"] for job in drawn])
    assert found["unit_seconds"] == pytest.approx(unit)
    for method in found["methods"]:
        for seed, run in enumerate(method["runs"]):
            searched = jobs[f"{method['method']}-seed{seed}"]
            chosen = [c["widths"] for c in searched["candidates"] if "search" in c["chosen_by"]]
            trained = [jobs["-".join(map(str, w)) + f"-seed{seed}"]["runs"][0] for w in chosen]
            best = min(trained, key=lambda run: run["loss"])
            assert run["widths"] in chosen
            assert run["valid_loss"] == best["loss"]
            assert run["loss"] == (best["test"] if found["split"] == "test" else best)["loss"]
            seconds = searched["search"]["seconds"] + sum(run["seconds"] for run in trained)
            assert run["cost"] == pytest.approx(seconds / unit)
        assert method["loss"]["value"] == pytest.approx(np.mean([run["loss"] for run in method["runs"]]))
    assert found["methods"][1]["less_first"]["value"] == pytest.approx(
        found["methods"][1]["loss"]["value"] - found["methods"][0]["loss"]["value"]
    )
    for text in (outcome.out, (folder / "study.md").read_text()):
        for method in found["methods"]:
            assert method["method"] in text
            assert f"{method['loss']['value']:.4f}" in text
    names = [mark["name"] for mark in found["marks"]]
    assert names == ["uniform width", "skyline"]
    curve = found["curves"]["random"]
    assert curve[0]["loss"]["mean"] == pytest.approx(np.mean([row["loss"] for row in found["pool"]]))

    # Resumed, it does what is missing and nothing else.
    kept = {p: p.stat().st_mtime_ns for p in folder.glob("jobs/*/outcome.json")}
    missing = folder / "jobs" / "tabnas-seed1" / "outcome.json"
    missing.unlink()
    (folder / "study.json").unlink()
    assert train_py(f"resume={folder}").code == 0
    assert {p for p, at in kept.items() if p.stat().st_mtime_ns != at} == {missing}
    again = found_in(folder)
    assert again["methods"] == found["methods"]
    finished = train_py(f"resume={folder}")
    assert (finished.code, "had finished" in finished.err) == (0, True)
    assert finished.out.splitlines()[:-1] == outcome.out.splitlines()[:-1]


def test_tradeoff(study):
    folder, outcome = study("tradeoff", "study.pool=6", "study.bands=2", "study.retrainings=2")
    assert (outcome.code, outcome.err) == (0, "")
    assert is_figure(folder / "tradeoff.png")
    found, jobs = found_in(folder), outcomes_in(folder)
    assert {600 < row["cost"] <= 6000 for row in found["architectures"]} == {True}
    for row in found["architectures"]:
        better = [o for o in found["architectures"] if o["cost"] <= row["cost"] and o["loss"] < row["loss"]]
        assert row["front"] == (not better)
        name = "-".join(map(str, row["widths"]))
        assert row["loss"] == jobs[f"{name}-seed0"]["runs"][0]["loss"]
        assert ("again" in row) == row["front"]
        assert (name in outcome.out) == row["front"]


def test_calibration(study):
    grid = "study.grid=[{key: search.weight_draws, values: [p, valid]}, {key: trainer.max_epochs, values: [1]}]"
    folder, outcome = study("calibration", "study.pool=5", "study.seeds=2", grid)
    assert (outcome.code, outcome.err) == (0, "")
    assert is_figure(folder / "calibration.png")
    found, jobs = found_in(folder), outcomes_in(folder)
    assert len(found["settings"]) == 2
    losses = np.array([row["losses"] for row in found["architectures"]])
    for row in found["settings"]:
        one_shot = jobs[row["name"]]["one_shot"]
        assert row["kendall"] == rank_correlation(one_shot, losses.mean(axis=1))
        assert row["pearson"] == pearson(one_shot, losses.mean(axis=1))
        assert row["loss_of_best"] == losses.mean(axis=1)[np.argmin(one_shot)]
    assert found["between_seeds"]["kendall"] == rank_correlation(losses[:, 0], losses[:, 1])


def test_calibration_varies_what_rows_are_served_by_and_what_is_null(study):
    grid = "study.grid=[{key: dataset.batch_size, values: [64, 128]}, {key: search.max_rows, values: [100]}]"
    folder, outcome = study("calibration", "study.pool=5", "study.seeds=1", "search.max_rows=null", grid)
    assert (outcome.code, outcome.err) == (0, "")
    searches = [job["search"] for job in outcomes_in(folder).values() if "search" in job]
    assert len({search["weight_updates"] for search in searches}) == 2


def test_calibration_needs_a_supernet(study):
    grid = "study.grid=[{key: trainer.max_epochs, values: [1]}]"
    folder, outcome = study("calibration", "study.pool=5", "search=random", "search.num_architectures=5", grid)
    assert outcome.code == 2
    assert "search: must train a SuperNet, whose one-shot losses are wanted, got 'random'" in outcome.err
    assert not list(folder.glob("jobs/*"))


def test_probabilities(study):
    folder, outcome = study("probabilities", "~study.methods.tabnas_N256", "~study.methods.tunas_abs")
    assert (outcome.code, outcome.err) == (0, "")
    assert is_figure(folder / "probabilities.png")
    found = found_in(folder)
    assert [method["method"] for method in found["methods"]] == ["tabnas", "tabnas_N2048", "tabnas_exact"]
    estimated = [[point["prob_valid_estimate"] for point in m["history"]][-1] for m in found["methods"]]
    assert [value is not None for value in estimated] == [False, True, False]


@pytest.mark.slow
def test_table4(study):
    less = [f"~study.methods.{name}" for name in ("bayesian_L1", "evolution_60_steps")]
    folder, outcome = study("table4", "study.seeds=1", "study.pool=5", *less)
    assert (outcome.code, outcome.err) == (0, "")
    passes = {m["method"]: m["runs"][0]["forward_passes"] for m in found_in(folder)["methods"]}
    assert set(passes) == {"tabnas", "bayesian_L10", "evolution_10_steps", "one_shot_uniform"}
    each = 3  # minibatches of an evaluation: 359 rows in 128s, or fewer with a test split
    assert all(n <= max(passes["tabnas"], 2 * each) for n in passes.values())


@pytest.mark.slow
def test_ablations(study):
    kept = ("tabnas", "omitted_over_all", "most_probable", "alone")
    others = ("estimated", "skips_infeasible", "omitted", "omitted_skips", "no_warmup")
    less = [f"~study.methods.{name}" for name in (*others, "over_all")] + [
        f"~study.predictions.{name}" for name in others
    ]
    more = ("+search@study.methods.alone=one_shot_uniform", "+study.predictions.alone.prob_valid=rises")
    folder, outcome = study("ablations", "study.seeds=2", "study.pool=5", *less, *more)
    assert (outcome.code, outcome.err) == (0, "")
    assert is_figure(folder / "prob_valid.png")
    found, jobs = found_in(folder), outcomes_in(folder)
    assert tuple(method["method"] for method in found["methods"]) == kept
    assert found["methods"][-1]["prob_valid"] is None
    assert "P(V) rises: no controller" in outcome.out
    for method in found["methods"][:-1]:
        ends = [jobs[f"{method['method']}-seed{seed}"]["search"]["prob_valid"] for seed in (0, 1)]
        assert method["prob_valid"]["value"] == pytest.approx(np.mean(ends))
    assert "P(V) falls: " in outcome.out
    assert "loss worse: " in outcome.out


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("compare", "study.pool=3", "study.pool: must be an integer of at least 5, got 3"),
        ("compare", "study.near=2", "study.near: must be a number in [0, 1], got 2"),
        ("compare", "study.methods.tabnas.eta=-1", "search.eta: must be a number above 0, got -1"),
        ("compare", "limits.0.limit=700", "limits: must leave at least 5 architectures to compare with, got 1"),
        ("tradeoff", "study.cost_range=[2,1]", "study.cost_range.1: must be"),
        ("tradeoff", "study.cost_range=[0,0.01]", "study.cost_range: must be that of some architectures"),
        ("calibration", "study.grid=[{key: search.nonsense, values: [1]}]", "search.nonsense: must be one of"),
        ("calibration", "study.grid=[{key: trainer.max_epoch, values: [1]}]", "trainer.max_epoch: must be one of"),
        ("calibration", "study.grid=[{key: trainer.max_epochs.x, values: [1]}]", "study.grid: must have keys of the"),
        ("calibration", "study.grid=[{key: nonsense.x, values: [1]}]", "study.grid: must have keys of the config"),
        ("calibration", "study.grid=[{key: dataset.val_fraction, values: [0.1]}]", "study.grid: must vary a SuperNet"),
        ("calibration", "study.grid=[{key: retrain.max_epochs, values: [1]}]", "study.grid: must vary a SuperNet"),
        ("calibration", "study.grid=[{key: trainer.devices, values: [2]}]", "study.grid: must vary a SuperNet"),
        ("calibration", "study.grid=[{key: 3, values: [1]}]", "study.grid: must have a key and a list of values"),
        ("calibration", "study.grid=[{key: search.weight_draws}]", "study.grid: must have a key and a list of values"),
        ("ablations", "study.predictions.omitted.loss=none", "study.predictions.omitted.loss: must be one of"),
        ("probabilities", "+search@study.methods.x=one_shot_uniform", "study.methods.x: must have a controller"),
        ("probabilities", "study.processes=0", "study.processes: must be an integer of at least 1, got 0"),
        ("toy", None, "study: must go with a table of rows, got 'dataset=toy'"),
    ],
)
def test_a_mistake_is_told_before_training(study, train_py, tmp_path, name, setting, message):
    if name == "toy":
        outcome = train_py("experiment=study/compare", "dataset=toy")
    else:
        folder, outcome = study(name, setting)
        assert not list(folder.glob("jobs/*"))
    assert outcome.code == 2
    assert outcome.err.startswith(f"tabnas: error: {message}")
