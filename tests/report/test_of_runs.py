"""Reports of real runs, made at their end."""

from tabnas import report
from tests.report.page import Page

SHORT = ("experiment=quick", "trainer.max_epochs=2", "retrain.max_epochs=1", "hydra.run.dir=run")


def test_a_run_ends_with_its_report(train_py, tmp_path):
    outcome = train_py(*SHORT)
    assert outcome.code == 0, outcome.err
    text = Page((tmp_path / "run" / "report.html").read_text()).text
    assert "digits, at most 4,000 parameters" in text
    assert f"python train.py {' '.join(SHORT[:-1])}" in text
    assert "The search's ranking:" in text
    assert "Layer probabilities" in text
    assert "report and files in run" in outcome.out


def test_a_finished_run_taken_up_again_gets_the_report_it_lacks(train_py, tmp_path):
    train_py(*SHORT)
    (tmp_path / "run" / "report.html").unlink()
    assert train_py("resume=run").code == 0
    assert (tmp_path / "run" / "report.html").exists()


def test_a_report_that_fails_costs_no_result(train_py, tmp_path, monkeypatch):
    def failing(folder):
        raise KeyError("x")

    monkeypatch.setattr(report, "write", failing)
    outcome = train_py(*SHORT)
    assert outcome.code == 0
    assert (tmp_path / "run" / "result.json").exists()
    assert "report: not made" in outcome.err
    assert "python -m tabnas.report run tries again" in outcome.err


def test_a_regression(train_py, tmp_path):
    short = ("trainer.max_epochs=2", "retrain.max_epochs=1", "hydra.run.dir=run")
    outcome = train_py("dataset=sklearn", "dataset.name=diabetes", "limits.0.limit=2000", "retrain.seeds=1", *short)
    assert outcome.code == 0, outcome.err
    text = Page((tmp_path / "run" / "report.html").read_text()).text
    assert "RMSE" in text
    assert "bmi numerical 163 standardised" in text
