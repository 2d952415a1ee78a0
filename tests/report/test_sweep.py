"""The page of several runs."""

from concurrent.futures import ThreadPoolExecutor
from time import sleep

import pytest
from filelock import FileLock

from tabnas.report import write
from tabnas.report.page import LOCK
from tabnas.report.settings import flat, short, varied
from tests.report.page import Page
from tests.report.results import HOSTILE, config, leave, result, spread


def job(loss, *, n_seeds=2, **changes):
    """A run whose search's best has a mean loss of `loss`."""
    made = result(config=config(**changes))
    made["architectures"][1]["stand_alone"]["loss"] = spread(*[loss - 0.001, loss + 0.001][:n_seeds])
    made["architectures"][0]["stand_alone"]["loss"] = made["architectures"][2]["stand_alone"]["loss"] = spread(9.0, 9.1)
    return made


@pytest.fixture
def page_of(tmp_path):
    def page(*results) -> Page:
        for i, content in enumerate(results):
            leave(tmp_path / "sweep" / str(i), content)
        return Page(write(tmp_path / "sweep").read_text())

    return page


GRID = [
    job(0.1 * x + y, **{"search.eta": eta, "search.num_samples": n})
    for x, eta in enumerate((0.1, 0.01))
    for y, n in enumerate((None, 256, 16), start=1)
]


def cells(page):
    return [about.get("style") for about in page.all("td") if "style" in about]


def test_two_settings_make_a_grid_in_their_order(page_of):
    page = page_of(*GRID)
    assert "6 runs, 6 of them finished, with different search.eta and search.num_samples" in page.text
    assert "eta ↓ num_samples → 16 256 exact 0.01 3.1000 2.1000 1.1000 0.1 3.0000 2.0000 1.0000 ★" in page.text
    shares = [int(cell.removeprefix("--share: ").removesuffix("%")) for cell in cells(page)]
    assert shares == [5, 26, 48, 7, 29, 50]  # of 3.1, 2.1, … 1: linear in the loss


def test_one_setting_makes_a_line(page_of):
    page = page_of(*(job(loss, **{"search.eta": loss}) for loss in (0.3, 0.1, 0.2)))
    assert "eta → 0.1 0.2 0.3 0.1000 ★ 0.2000 0.3000" in page.text


def test_seeds_are_averaged(page_of):
    page = page_of(*(job(loss, **{"search.eta": eta, "seed": seed})
                     for seed, (eta, loss) in enumerate([(1, 0.1), (1, 0.3), (2, 0.5), (2, 0.7)])))  # fmt: skip
    assert "eta → 1 2 0.2000 ★ ± 0.1414, 2 runs 0.6000 ± 0.1414, 2 runs" in page.text
    assert "Means over runs with different seed" in page.text


def test_only_seeds_make_no_grid(page_of):
    page = page_of(job(0.1, seed=1), job(0.2, seed=2))
    assert cells(page) == []
    assert "with different seed" in page.text


def test_a_pair_that_was_not_run_is_a_gap(page_of):
    page = page_of(*GRID[:5])
    assert len(cells(page)) == 5
    assert "–" in page.texts


def test_jobs_are_in_order_of_their_loss_and_the_best_told_first(page_of):
    page = page_of(*GRID)
    table = page.text.split("All finished runs")[1]
    places = [table.index(f"{1 + y + 0.1 * x:.4f} ± 0.0014") for y in range(3) for x in range(2)]
    assert places == sorted(places)
    best = page.text.split("The best of them")[1].split("All finished")[0]
    assert "run 0 eta 0.1 num_samples exact log loss 1.0000 ± 0.0014" in best
    assert "better than all 5 others by more than the noise" in best


def test_a_job_stands_for_what_its_search_selected(page_of):
    content = job(0.5)
    content["architectures"][2]["stand_alone"]["loss"] = spread(0.1, 0.1)  # random feasible
    assert "0.5000 ± 0.0014" in page_of(content, job(0.6)).text.split("All finished runs")[1]


def test_noise_between_jobs(page_of):
    assert "Of the other 2, 1 is within the noise of training of it" in page_of(job(0.5), job(0.5), job(0.9)).text
    assert "All 2 others are within the noise of training of it" in page_of(job(0.5), job(0.5), job(0.5)).text


def test_single_trainings(page_of):
    assert "trained once" in page_of(job(0.5, n_seeds=1), job(0.6, n_seeds=1)).text


def test_jobs_without_a_result_are_listed(page_of, tmp_path):
    for name, file in (("10", "run.yaml"), ("9", ".hydra/config.yaml"), ("8", "result.json"), ("notes", "notes.txt")):
        path = tmp_path / "sweep" / name / file
        path.parent.mkdir(parents=True)
        path.write_text("{")
    text = page_of(job(0.5), job(0.6)).text.split("Without a result")[1]
    assert "notes" not in text
    places = [text.index(part) for part in ("8 ", "must be a result as a run writes it", "9 ended before it began",
                                            "10 running, or stopped")]  # fmt: skip
    assert places == sorted(places)


def test_jobs_alone_that_have_not_finished(tmp_path):
    (tmp_path / "sweep" / "0").mkdir(parents=True)
    (tmp_path / "sweep" / "0" / "run.yaml").touch()
    assert "1 run, 0 of them finished" in Page(write(tmp_path / "sweep").read_text()).text


def test_a_study_among_runs_is_told_of_as_one(tmp_path):
    (tmp_path / "sweep" / "0").mkdir(parents=True)
    for name in ("run.yaml", "study.json"):
        (tmp_path / "sweep" / "0" / name).touch()
    assert "0 a study, which is told of in its study.md" in Page(write(tmp_path / "sweep").read_text()).text


def test_different_data_sets_are_not_ranked(page_of):
    other = job(0.1)
    other["dataset"]["name"] = other["config"]["dataset"]["name"] = "others"
    text = page_of(job(0.5), other).text
    assert "whose losses do not compare" in text
    assert "The best of them" not in text
    assert "0.1000 ± 0.0014" in text


def test_pages_of_the_jobs_are_linked_where_there_are_any(page_of, tmp_path):
    write(leave(tmp_path / "sweep" / "0", job(0.5)))
    links = {about["href"] for about in page_of(job(0.5), job(0.6)).all("a")}
    assert links == {"0/report.html"}


def test_names_cannot_be_code(page_of):
    page = page_of(job(0.5, **{"search.note": HOSTILE}), job(0.6, **{"search.note": "b"}))
    assert len(page.all("script")) == 1
    assert "<script>alert(1)" in page.text


def test_a_group_of_options_stands_for_what_follows_from_it():
    a = config(**{"search.name": "a", "search.eta": 1})
    b = config(**{"search.name": "b", "search.eta": 2})
    assert varied([{"config": a}, {"config": b}]) == ["search.name"]
    c = config(**{"search.name": "b", "search.eta": 3})
    assert varied([{"config": a}, {"config": b}, {"config": c}]) == ["search.name", "search.eta"]


def test_flat():
    assert flat({"a": {"b": [1, 2]}, "c": [{"d": None}, {"d": True}], "e": []}) == {
        "a.b": "[1, 2]", "c.0.d": None, "c.1.d": True, "e": "[]",
    }  # fmt: skip


def test_short_keys_are_whole_where_they_would_be_alike():
    keys = ["search.eta", "search.name", "trainer.max_epochs", "retrain.max_epochs"]
    assert [short(key, keys) for key in keys] == ["eta", "search", "trainer.max_epochs", "retrain.max_epochs"]


def test_a_page_that_waited_for_another_shows_what_ended_meanwhile(tmp_path):
    sweep = tmp_path / "sweep"
    leave(sweep / "0", job(0.3))
    with ThreadPoolExecutor() as other:
        with FileLock(sweep / LOCK):
            writing = other.submit(write, sweep)
            sleep(0.3)
            assert not (sweep / "report.html").exists()
            leave(sweep / "1", job(0.2, **{"search.eta": 0.1}))
        page = Page(writing.result(timeout=20).read_text())
    assert "2 runs, 2 of them finished" in page.text
