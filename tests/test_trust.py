import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from tabnas.trust import ENOUGH, assess

LAST = {"patience": None, "keep": "last"}


def architectures(one_shot, stand_alone):
    return [
        {"one_shot": {"loss": x}, "stand_alone": {"loss": {"mean": y, "runs": [y, y]}}}
        for x, y in zip(one_shot, stand_alone, strict=True)
    ]


def test_a_ranking_that_holds_is_trusted():
    found = assess(architectures([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [1, 2, 3, 4, 6, 5]), LAST)
    assert found["verdict"] == "trusted"
    assert found["kendall"]["value"] == pytest.approx(13 / 15)
    assert (found["n"], found["n_seeds"], found["remedy"]) == (6, 2, None)
    assert "0.87" in found["words"]


def test_a_ranking_turned_round_is_not_and_says_what_to_try():
    found = assess(architectures(range(6), [6, 5, 3, 4, 2, 1]), LAST)
    assert found["verdict"] == "not trusted"
    assert "retrain.patience=3" in found["remedy"]
    stops = assess(architectures(range(6), [6, 5, 3, 4, 2, 1]), {"patience": 3, "keep": "best"})
    assert "retrain.patience=3" not in stops["remedy"]
    assert "optimizer.lr" in stops["remedy"]


@pytest.mark.parametrize("losses", [[1, 2], [1, 1, 1, 1], [3, 1, 2, 6, 4, 5]])
def test_too_little_to_tell_is_said(losses):
    found = assess(architectures(range(len(losses)), losses), LAST)
    assert found["verdict"] == "unclear"
    assert "min_architectures" in found["remedy"]


def test_without_a_supernet_there_is_no_ranking():
    without = [{**found, "one_shot": None} for found in architectures([1, 2, 3], [1, 2, 3])]
    assert assess(without, LAST) is None
    assert assess([*without, *architectures([1], [1])], LAST)["n"] == 1


@settings(deadline=None)  # the first interval of a size takes a second
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=12))
def test_the_verdict_follows_from_the_figures(pairs):
    found = assess(architectures(*zip(*pairs, strict=True)), LAST)
    if found["kendall"]["value"] is None:
        assert found["verdict"] == "unclear"
        return
    tau, (low, high) = found["kendall"]["value"], found["kendall"]["interval"]
    assert tau == pytest.approx(kendalltau(*zip(*pairs, strict=True)).statistic)
    assert (found["verdict"] == "trusted") == (tau >= ENOUGH and low > 0)
    assert (found["verdict"] == "not trusted") == (tau <= 0 or high < ENOUGH)
    assert re.search(r"\d architectures", found["words"])
