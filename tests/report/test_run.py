"""The page of one run, from whole results and from those that lack what may be absent."""

import re

import pytest

from tabnas.report import write
from tests.report.page import Page
from tests.report.results import HOSTILE, architecture, config, full, leave, result, spread


@pytest.fixture
def page_of(tmp_path):
    def page(content) -> Page:
        return Page(write(leave(tmp_path / "run", content)).read_text())

    return page


def without(content, *path):
    """The same without the value at a path of keys."""
    part = content
    for key in path[:-1]:
        part = part[key]
    del part[path[-1]]
    return content


def test_what_was_asked_comes_first_and_then_the_answer(page_of):
    page = page_of(full())
    text = page.text
    assert "Of the 9 networks of 2 hidden layers with 3 widths each, 2 to 8 units" in text
    assert "that has at most 100 parameters" in text
    assert "then 3 networks trained from scratch, 3 times each" in text
    parts = ("Of the 9 networks", "The answer", "4-8", "How it compares", "The data", "How the search went",
             "How to reproduce it")  # fmt: skip
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_the_answer_has_its_costs_metrics_and_intervals(page_of):
    text = page_of(full()).text
    assert "91 parameters of at most 100 (91 %)" in text.replace("\xa0", " ")
    assert "0.4100 ± 0.0100" in text
    assert "0.4001 [0.3501, 0.4501]" in text
    assert "0.4444 [0.4000, 0.5000]" in text
    assert "0.6100 ± 0.0100" in text
    assert "no test split" not in text


def test_trust_is_told_with_its_remedy(page_of):
    text = page_of(full()).text
    assert "not trusted. The ranking says little. What to change: train longer" in text
    assert "over 6 networks, trained 3 times each: Kendall's τ 0.73 [0.20, 0.95]; Pearson's r 0.90 (" in text


def test_architectures_are_in_order_and_those_within_noise_marked(page_of):
    page = page_of(full())
    rows = re.findall(r"([123]) ([\d-]+)( ≈)? (?:search|random feasible)", page.text)
    assert rows == [("1", "4-8", ""), ("2", "8-2", " ≈"), ("3", "2-8", "")]
    assert "Of the other 2, 8-2 is within the noise of training" in page.text


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        (((0.4, 0.41), (0.4, 0.41), (0.4, 0.41)), "All 2 others are within the noise"),
        (((0.9, 0.91), (0.4, 0.41), (0.8, 0.81)), "better than the other 2 by more than the noise"),
        (((0.5,), (0.4,), (0.6,)), "trained once, so how much training varies is unknown"),
        (((0.5, 0.5), (0.4, 0.4), (0.4, 0.4)), "Of the other 2, 8-2 is within the noise"),
    ],
)
def test_noise_is_told_in_words(page_of, losses, expected):
    content = result()
    for found, runs in zip(content["architectures"], losses, strict=True):
        found["stand_alone"]["loss"] = spread(*runs)
    assert expected in page_of(content).text


def test_one_architecture_alone_has_nothing_to_compare_with(page_of):
    text = page_of(result(architectures=[architecture((4, 8), 91, (0.4, 0.41), 0.5, "search")], best=0)).text
    assert "No other network was trained" in text


def test_an_answer_that_the_search_did_not_select_is_told_so(page_of):
    content = result(best=2)
    content["architectures"][1]["stand_alone"]["loss"] = spread(0.45, 0.46)
    text = page_of(content).text
    assert "The search did not select it (chosen by: random feasible); the best that it selected is 4-8" in text
    assert "did not select" not in page_of(result()).text


def test_counts_curves_and_probabilities_of_the_search(page_of):
    page = page_of(full())
    text = page.text
    for part in (
        "weight updates 100",
        "forward passes of the SuperNet 4,321",
        "duration 3.2 s",
        "P(V) at the end 0.5000",
    ):
        assert part in text
    labels = [svg.get("aria-label") or "" for svg in page.all("svg")]
    assert [label for label in labels if "over the steps" in label] == [
        "P(V) over the steps", "training log loss over the steps", "reward over the steps",
        "probabilities of the widths over the steps; layer 1 ends at 2 units with probability 0.33",
        "probabilities of the widths over the steps; layer 2 ends at 4 units with probability 1.00",
    ]  # fmt: skip


def test_a_single_row_without_an_interval(page_of):
    content = full()
    content["network"]["test"]["loss"]["interval"] = None
    text = page_of(content).text
    assert "0.4444" in text
    assert "None" not in text


def test_how_to_reproduce_it(page_of):
    text = page_of(full()).text
    assert "python train.py 'dataset.path=a b.csv'" in text
    for part in (
        "seed 7",
        "torch 2.10.0",
        "device cpu",
        "finished 2026-11-24 16:00:00",
        "retraining 3 min",
        "in all 2 h 13 min",
    ):
        assert part in text
    assert "search.num_samples=null limits.0.cost=params limits.0.limit=100" in text


OPTIONAL = [
    ("trust",), ("network",), ("reproduce",), ("seconds",), ("dataset", "n_test"), ("dataset", "columns"),
    ("search", "history"), ("search", "prob_valid"), ("search", "selection"), ("search", "seconds"),
    ("search", "forward_passes"), ("search", "epochs"), ("search", "rl_updates"), ("network", "test"),
    ("reproduce", "command"), ("reproduce", "versions"), ("reproduce", "finished"), ("trust", "remedy"),
    ("architectures", 0, "test"), ("architectures", 1, "one_shot"), ("architectures", 1, "probability"),
]  # fmt: skip


@pytest.mark.parametrize("path", OPTIONAL, ids=lambda path: ".".join(map(str, path)))
def test_what_may_be_absent_may_be_absent(page_of, path):
    text = page_of(without(full(), *path)).text
    assert "4-8" in text
    assert "None" not in text
    assert "Undefined" not in text


@pytest.mark.parametrize("path", [("trust",), ("network",), ("network", "test"), ("architectures", 0, "one_shot"),
                                  ("architectures", 0, "test"), ("search", "prob_valid")])  # fmt: skip
def test_what_may_be_null_may_be_null(page_of, path):
    content = full()
    part = content
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = None
    assert "4-8" in page_of(content).text


def test_a_search_without_a_supernet(page_of):
    content = result(search={"method": "random", "seconds": 1.0})
    for found in content["architectures"]:
        found["one_shot"] = None
    page = page_of(content)
    assert "one-shot" not in page.text
    assert "Layer probabilities" not in page.text
    assert len(page.all("svg")) == 4  # the architecture, loss over cost, two keys


def test_a_supernet_without_a_controller(page_of):
    content = result()
    content["search"]["rl_updates"] = 0
    for snapshot in content["search"]["history"]:
        snapshot |= {"prob_valid": 0.5, "reward": None, "probabilities": [[1 / 3] * 3] * 2}
    page = page_of(content)
    curves = [svg["aria-label"] for svg in page.all("svg") if "over the steps" in (svg.get("aria-label") or "")]
    assert curves == ["training log loss over the steps"]
    assert "P(V) at the end" not in page.text


def test_metrics_that_are_only_measured_are_told_of_the_answer_alone(page_of):
    content = result()
    for found in content["architectures"]:
        found["stand_alone"] |= {"weight_updates": 1234, "auroc": spread(0.91, 0.93)}
    text = page_of(content).text
    assert text.count("AUROC") == 1
    assert "AUROC 0.9200 ± 0.0141" in text


def test_without_a_test_split_the_optimism_is_told(page_of):
    assert "there is no test split" in page_of(result()).text


def test_a_regression(page_of):
    content = result()
    content["dataset"] |= {"task": "regression", "metrics": ["rmse", "r2"]}
    for found in content["architectures"]:
        found["stand_alone"] |= {"rmse": spread(55.0, 56.0), "r2": spread(0.5, 0.51)}
    text = page_of(content).text
    assert "squared error" in text
    assert "RMSE" in text
    assert "log loss" not in text


def test_several_limits_and_measured_latency(page_of):
    content = result(limits=[{"cost": "params", "limit": 100}, {"cost": "latency_us", "limit": 20.0}])
    for found in content["architectures"]:
        found["costs"]["latency_us"], found["measured"] = 12.5, {"latency_us": 13.0}
    text = page_of(content).text
    assert "at most 100 parameters and 20.0 µs of latency" in text
    assert "measured: 13.0 µs of latency" in text


def test_no_limit(page_of):
    assert "no limit" in page_of(result(limits=[])).text


def test_parameters_of_embedding_tables_are_a_line_of_their_own(page_of):
    content = result()
    content["architectures"][1]["costs"]["params"] = 191
    assert "embedding tables 100" in page_of(content).text


def test_names_cannot_be_code(page_of, tmp_path):
    content = full()
    content["dataset"]["name"] = content["dataset"]["columns"][0]["name"] = HOSTILE
    content["dataset"]["columns"][0]["became"] = content["trust"]["words"] = content["reproduce"]["command"] = HOSTILE
    content["architectures"][0]["chosen_by"] = content["config"]["dataset"]["name"] = HOSTILE
    page = page_of(content)
    assert len(page.all("script")) == 1
    assert page.text.count("alert(1)") >= 7
    raw = (tmp_path / "run" / "report.html").read_text()
    assert "<script>alert" not in raw


def test_many_columns_are_cut_with_a_count(page_of, tmp_path):
    content = result()
    content["dataset"]["columns"] *= 1000
    page = page_of(content)
    assert "and 1,700 more columns, in result.json" in page.text
    assert "open" not in page.all("details")[0]
    assert (tmp_path / "run" / "report.html").stat().st_size < 500_000


@pytest.mark.parametrize("content", [result(), full()], ids=["least", "most"])
def test_the_page_needs_nothing_beside_it_and_can_be_read_by_all(page_of, tmp_path, content):
    page = page_of(content)
    raw = (tmp_path / "run" / "report.html").read_text()
    assert not re.search(r"https?://|url\(|@import", raw)
    assert not [tag for tag, about in page.tags if {"src", "srcset"} & set(about) or tag in ("link", "img", "iframe")]
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("meta")[1]["content"] == "width=device-width, initial-scale=1"
    assert len(page.all("title")) > 0
    assert len(page.all("h1")) == 1
    assert len(page.all("h2")) == 5
    assert all(heading.get("scope") in ("col", "row") for heading in page.all("th"))
    assert all((svg.get("role") == "img" and svg["aria-label"]) or svg.get("aria-hidden") for svg in page.all("svg"))
    assert "prefers-color-scheme: dark" in raw
    assert "@media print" in raw
    assert not re.search(r"\bnan\b|\binf\b", raw)


def test_a_large_search_stays_small(page_of, tmp_path):
    choices = [list(range(8, 8 + 20 * 8, 8))] * 9
    content = result(space={"choices": choices, "size": 20**9}, config=config())
    content["search"]["history"] = [
        {"step": 10 * i, "prob_valid": 0.1, "probabilities": [[((i * 7 + j * 3) % 11) / 60 for j in range(20)]] * 9}
        for i in range(1, 101)
    ]
    content["architectures"] = [architecture((8, 16, 24) * 3, 9000, (0.4, 0.5), 0.4, "search")]
    content["best"] = 0
    page_of(content)
    assert (tmp_path / "run" / "report.html").stat().st_size < 500_000
