"""From a DataFrame to a Table, and every mistake."""

import logging

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tabnas.data.frame import from_frame
from tabnas.errors import UserError
from tabnas.task import Classification, Regression


def rows(n=60, **columns):
    rng = np.random.default_rng(0)
    made = {"number": rng.standard_normal(n), "text": rng.choice(["a", "b"], n), "label": rng.choice(["x", "y"], n)}
    return pd.DataFrame({**made, **columns})


def became(table):
    return {column.name: column.became for column in table.columns}


def test_shapes_types_and_the_report():
    table = from_frame(rows(), target="label")
    assert (table.train.numerical.shape, table.valid.numerical.shape) == ((48, 1), (12, 1))
    assert (table.train.numerical.dtype, table.train.categorical.dtype) == (torch.float32, torch.uint8)
    assert (table.train.target.dtype, table.train.weight) == (torch.int64, None)
    assert (table.cardinalities, table.has_reserved_ids) == ((5,), True)
    assert table.task == Classification(("x", "y"))
    assert became(table) == {"number": "standardised", "text": "embedding of 2 values", "label": "2 classes"}
    assert [column.kind for column in table.columns] == ["numerical", "categorical", "target"]


def test_many_categories_need_wider_ids():
    frame = rows(4000, code=np.arange(4000) % 300)
    table = from_frame(frame, target="label", kinds={"code": "categorical"})
    assert table.train.categorical.dtype == torch.int32
    assert sorted(table.cardinalities) == [5, 303]


def test_regression_is_standardised_by_the_training_rows():
    frame = rows(label=np.random.default_rng(1).lognormal(size=60), split=["train"] * 40 + ["valid"] * 20)
    table = from_frame(frame, target="label", split_column="split")
    mean, std = frame.label[:40].mean(), frame.label[:40].std(ddof=0)
    assert table.task == Regression(pytest.approx(mean), pytest.approx(std))
    assert table.train.target.dtype == torch.float32
    assert table.valid.target.numpy() == pytest.approx(((frame.label[40:] - mean) / std).to_numpy(), abs=1e-5)


@pytest.mark.parametrize(
    ("labels", "task", "classes"),
    [
        (["b", "a"], "auto", ("a", "b")),
        ([10, 9], "auto", ("9", "10")),
        (["10", "9"], "auto", ("9", "10")),
        ([1.0, 0.0], "auto", ("0", "1")),
        ([0.5, 1.5], "classification", ("0.5", "1.5")),
        ([True, False], "auto", ("False", "True")),
        (pd.Categorical([1.5, 2.5]), "auto", ("1.5", "2.5")),
        ([0.5, 1.5], "auto", None),
        ([0, 1], "regression", None),
        (list(range(21)), "auto", None),
        (list(range(20)), "auto", tuple(map(str, range(20)))),
    ],
)
def test_tasks(labels, task, classes):
    frame = rows(n=420, label=pd.Series(labels).take(np.arange(420) % len(labels)).to_numpy())
    if isinstance(labels, pd.Categorical):
        frame["label"] = frame["label"].astype("category")
    made = from_frame(frame, target="label", task=task).task
    assert made == Classification(classes) if classes else isinstance(made, Regression)


def test_rows_without_a_target_are_left_out(caplog):
    frame = rows()
    frame.loc[[1, 2, 3], "label"] = None
    table = from_frame(frame, target="label")
    assert table.train.n_rows + table.valid.n_rows == 57
    assert "dataset.target: 3 rows without a value in label are left out" in caplog.text


def test_weights_of_a_column_and_of_the_classes(caplog):
    labels = ["x"] * 45 + ["y"] * 15
    frame = rows(label=labels, w=[0.0, 2.0] * 30)
    table = from_frame(frame, target="label", weight="w")
    assert table.train.n_rows + table.valid.n_rows == 30
    assert set(table.train.weight.tolist()) == {2}
    assert "30 rows of weight 0" in caplog.text
    table = from_frame(frame.drop(columns="w"), target="label", class_weight="balanced")
    by_class = [table.train.weight[table.train.target == i].sum().item() for i in (0, 1)]
    assert by_class[0] == pytest.approx(by_class[1])
    assert table.train.weight.mean().item() == pytest.approx(1)
    assert set(table.valid.weight.tolist()) == set(table.train.weight.tolist())
    both = from_frame(frame, target="label", weight="w", class_weight="balanced")
    assert both.train.weight.mean().item() == pytest.approx(2)


def test_a_validation_frame():
    frame, valid = rows(), rows(20)[["label", "text", "number"]].assign(other=1)
    table = from_frame(frame, valid_frame=valid, target="label")
    assert (table.train.n_rows, table.valid.n_rows) == (60, 20)
    alone = from_frame(
        pd.concat([frame.assign(s="train"), rows(20).assign(s="valid")]), target="label", split_column="s"
    )
    assert torch.equal(table.valid.numerical, alone.valid.numerical)
    assert torch.equal(table.valid.categorical, alone.valid.categorical)


def test_a_validation_frame_of_other_types():
    frame = rows(code=pd.Categorical(["1", "2"] * 30))
    valid = rows(20).assign(code=[1, 3] * 10)
    table = from_frame(frame, valid_frame=valid, target="label")
    assert {c.name: c.kind for c in table.columns}["code"] == "categorical"
    assert set(table.valid.categorical[:, 1].tolist()) == {3, 2}


def test_by_time():
    frame = rows(when=pd.date_range("2020-01-01", periods=60)[::-1])
    table = from_frame(frame, target="label", time_column="when", numerical="original")
    assert torch.equal(table.valid.numerical[:, 0], torch.tensor(frame.number[:12].to_numpy(np.float32)))
    assert became(table)["when"] == "the split, not learnt from"


def test_what_is_dropped_is_told(caplog):
    frame = rows(key=range(60), same=1, nothing=None, name=[f"n{i}" for i in range(60)], unwanted=0.5)
    table = from_frame(frame, target="label", drop=["unwanted"])
    assert became(table) == {
        "number": "standardised",
        "text": "embedding of 2 values",
        "label": "2 classes",
        "key": "dropped: an id",
        "same": "dropped: constant",
        "nothing": "dropped: empty",
        "name": "dropped: different in every row",
        "unwanted": "dropped: as asked",
    }
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
        "dataset: column key is dropped: an id",
        "dataset: column same is dropped: constant",
        "dataset: column nothing is dropped: empty",
        "dataset: column name is dropped: different in every row",
    ]


def test_many_dropped_columns_are_told_in_one_line(caplog):
    from_frame(rows(**{f"c{i}": 1 for i in range(8)}), target="label")
    assert caplog.messages == ["dataset: 8 columns are dropped (constant): c0, c1, c2, c3, c4, …"]


def test_nothing_is_dropped_where_all_is_to_be_kept():
    table = from_frame(rows(key=range(60), same=1), target="label", drop_uninformative=False)
    assert table.n_numerical == 3
    assert not table.train.numerical.isnan().any()


def test_free_text_is_hashed_only_if_asked():
    frame = rows(name=[f"n{i % 50}" for i in range(60)])
    with pytest.raises(UserError, match=r"dataset\.kinds\.name: .*values that repeat.*high_cardinality=hash"):
        from_frame(frame, target="label")
    table = from_frame(frame, target="label", high_cardinality="hash", hash_buckets=16)
    assert table.cardinalities == (5, 19)
    assert became(table)["name"] == "embedding of 16 hash buckets"
    assert from_frame(frame, target="label", kinds={"name": "categorical"}).cardinalities[0] == 5


def test_almost_numbers_are_told():
    frame = rows(x=[str(i / 7) for i in range(59)] + ["unknown"], s=["valid"] * 10 + ["train"] * 50)
    with pytest.raises(
        UserError, match=r"dataset\.kinds\.x.*if it is numerical, add 'unknown' to dataset.missing_tokens; else"
    ):
        from_frame(frame, target="label", split_column="s")
    assert from_frame(frame, target="label", split_column="s", missing_tokens=["unknown"]).n_numerical == 2


def test_columns_named_like_numbers():
    """A config reads `dataset.target=2` as a number."""
    frame = rows().set_axis(["0", "1", "2"], axis=1)
    table = from_frame(frame, target=2, kinds={1: "categorical"}, drop=[0])
    assert became(table) == {"0": "dropped: as asked", "1": "embedding of 2 values", "2": "2 classes"}


def test_a_class_of_one_row_trains():
    table = from_frame(rows(label=["x"] * 40 + ["y"] * 19 + ["z"]), target="label")
    assert (table.train.target == 2).sum() == 1


MISTAKES = [
    ({"target": None}, "dataset.target: must name one of the columns number, text, label"),
    ({"target": "labell"}, "dataset.target: .*did you mean 'label'"),
    ({"weight": "w"}, "dataset.weight: must be one of"),
    ({"split_column": "s"}, "dataset.split_column: must be one of"),
    ({"time_column": "s"}, "dataset.time_column: must be one of"),
    ({"drop": ["s"]}, "dataset.drop: must be one of"),
    ({"drop": ["label"]}, "dataset.drop: must not be the column of dataset.target"),
    (
        {"weight": "number", "kinds": {"number": "numerical"}},
        "dataset.kinds.number: must not be the column of dataset.weight",
    ),
    ({"drop": ["number", "text"]}, "dataset.drop: must leave a column"),
    ({"kinds": {"s": "numerical"}}, "dataset.kinds.s: must be one of"),
    ({"kinds": {"text": "ordinal"}}, "dataset.kinds.text: must be one of boolean, categorical, date, numerical"),
    ({"kinds": {"text": "numerical"}}, "dataset.kinds.text: .*numerical and the value"),
    ({"kinds": {"text": "date"}}, "dataset.kinds.text: .*date"),
    ({"kinds": {"label": "numerical"}}, "dataset.kinds.label: must not be the column of dataset.target.*dataset.task"),
    ({"weight": "label"}, "dataset.weight: must not be the column of dataset.target"),
    ({"split_column": "text", "time_column": "number"}, "dataset.split_column: must not come with dataset.time_column"),
    ({"weight": "text"}, "dataset.weight: must name a column of finite numbers"),
    ({"weight": "number"}, "dataset.weight: must name a column of finite numbers ≥ 0"),
    ({"task": "ranking"}, "dataset.task: must be one of"),
    ({"task": "regression"}, "dataset.target: must be a number in every row.*task=classification"),
    ({"target": "number", "task": "classification"}, "dataset.target: must have at most 30 classes.*task=regression"),
    ({"target": "number", "class_weight": "balanced"}, "dataset.class_weight: must go with classes"),
    ({"class_weight": "even"}, "dataset.class_weight: must be one of"),
    ({"numerical": "minmax"}, "dataset.numerical: must be one of"),
    ({"min_count": 0}, "dataset.min_count: must be an integer"),
    ({"max_categories": 0}, "dataset.max_categories: must be an integer"),
    ({"hash_buckets": 1.5}, "dataset.hash_buckets: must be an integer"),
    ({"high_cardinality": "embed"}, "dataset.high_cardinality: must be one of"),
    ({"max_categories": 1}, "dataset.kinds.text: .*dataset.max_categories = 1"),
    ({"drop": "text"}, r"dataset.drop: must be a list of columns, got 'text'; write \[text\]"),
    ({"kinds": ["text"]}, "dataset.kinds: must say a kind by column"),
    ({"stratify": "no"}, "dataset.stratify: must be one of"),
    ({"drop_uninformative": "no"}, "dataset.drop_uninformative: must be one of"),
    ({"missing_tokens": "?"}, "dataset.missing_tokens: must be a list"),
    ({"val_fraction": 0}, "dataset.val_fraction: must be a number in"),
    ({"val_fraction": 0.95}, "dataset.val_fraction: must be a number in"),
    ({"val_fraction": 0.001}, "dataset.val_fraction: must leave a row"),
    ({"split_seed": -1}, "dataset.split_seed: must be an integer"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES, ids=[str(o) for o, _ in MISTAKES])
def test_mistakes_in_the_options(options, message):
    with pytest.raises(UserError, match=message.replace("≥", ".")) as error:
        from_frame(rows(), **{"target": "label", **options})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (rows()[:0], {}, "dataset.path: must have rows"),
        (rows(label="x"), {}, "dataset.target: must have at least two classes"),
        (rows(4, label=["x", "x", "y", "z"]), {}, "dataset.val_fraction: must leave rows"),
        (rows(label=["x"] * 45 + [None] * 15), {}, "dataset.target: must have a value in at least 80%"),
        (rows(label=[np.inf] + [0.5] * 59), {}, "dataset.target: must be below"),
        (rows(number=[np.inf] * 2 + [0.5] * 58), {}, "dataset.kinds.number: .*inf"),
        (rows(w=0.0), {"weight": "w"}, "dataset.weight: must be above 0"),
        (rows(s=["train"] * 60), {"split_column": "s"}, "dataset.split_column: must mark rows for validation"),
        (
            rows(s=["train"] * 50 + ["valid"] * 10, label=["x"] * 25 + ["y"] * 25 + ["z"] * 10),
            {"split_column": "s"},
            "dataset.target: must have a training row of every class, got 'none of z'",
        ),
        (
            rows(s=["train"] * 50 + ["valid"] * 10, label=[0.5] * 50 + [1.5] * 10),
            {"split_column": "s"},
            "dataset.target: must have more than one value in the training split",
        ),
        (rows().set_axis(["a", "a", "label"], axis=1), {}, "dataset.path: must have columns of different names"),
    ],
)
def test_mistakes_in_the_rows(frame, options, message):
    with pytest.raises(UserError, match=message):
        from_frame(frame, target="label", **options)


@pytest.mark.parametrize(
    ("valid", "message"),
    [
        (rows(20).drop(columns="text"), "dataset.valid_path: must have the columns.*text"),
        (rows(20)[:0], "dataset.valid_path: must have rows"),
        (rows(3, label=["x", None, None])[1:], "dataset.valid_path: must leave rows with a label"),
        (rows(20).drop(columns="label"), "dataset.valid_path: must have the columns.*label"),
    ],
)
def test_mistakes_in_the_validation_rows(valid, message):
    with pytest.raises(UserError, match=message):
        from_frame(rows(), valid_frame=valid, target="label")


def test_a_test_frame():
    frame, test = rows(), rows(20, number=np.arange(20) + 100.0)
    table = from_frame(frame, test_frame=test, target="label", test_fraction=0.3, numerical="original")
    assert (table.train.n_rows, table.valid.n_rows, table.test.n_rows) == (48, 12, 20)
    assert table.test.numerical.min() >= 100 > table.valid.numerical.max()
    alone = from_frame(frame, target="label", numerical="original")
    assert torch.equal(table.valid.numerical, alone.valid.numerical)
    assert table.encoding == alone.encoding


def test_validation_and_test_frames_leave_chance_nothing_to_choose():
    options = {"target": "label", "test_fraction": 0.3}
    table = from_frame(rows(), valid_frame=rows(20), test_frame=rows(30), **options)
    assert (table.train.n_rows, table.valid.n_rows, table.test.n_rows) == (60, 20, 30)
    assert from_frame(rows(), valid_frame=rows(20), **options).test is None


@pytest.mark.parametrize("stratify", [True, False])
def test_what_validates_does_not_depend_on_what_tests(stratify):
    options = {"target": "label", "stratify": stratify, "numerical": "original"}
    with_test, without = (from_frame(rows(), test_fraction=share, **options) for share in (0.2, 0.0))
    assert torch.equal(with_test.valid.numerical, without.valid.numerical)
    assert (with_test.train.n_rows, with_test.test.n_rows) == (36, 12)
    assert without.test is None


def test_a_column_that_marks_no_validation_rows():
    """They are chosen among those that train; the rows marked for testing test."""
    frame = rows(s=["train"] * 40 + ["test"] * 20)
    table = from_frame(frame, target="label", split_column="s", test_fraction=0.3)
    assert (table.train.n_rows, table.valid.n_rows, table.test.n_rows) == (32, 8, 20)
    alone = from_frame(frame[:40].drop(columns="s"), target="label")
    assert torch.equal(table.valid.categorical, alone.valid.categorical)


def test_the_latest_rows_test():
    frame = rows(number=np.arange(60) / 7, when=pd.date_range("2024-01-01", periods=60))
    table = from_frame(frame, target="label", time_column="when", numerical="original", test_fraction=0.1)
    numbers = [part.numerical[:, 0] for part in (table.train, table.valid, table.test)]
    assert [len(part) for part in numbers] == [42, 12, 6]
    assert numbers[0].max() < numbers[1].min() <= numbers[1].max() < numbers[2].min()


@given(st.data())
@settings(max_examples=20)
def test_nothing_is_fitted_to_the_test_rows(data):
    numerical = data.draw(st.sampled_from(["standard", "quantile", "log"]))
    changed = data.draw(st.lists(st.floats(-1e6, 1e6), min_size=20, max_size=20))
    first, second = (
        from_frame(rows(), test_frame=rows(20, number=number), target="label", numerical=numerical)
        for number in (np.arange(20.0), changed)
    )
    assert first.encoding == second.encoding
    assert first.task == second.task
    for split in ("train", "valid"):
        for one, other in zip(getattr(first, split)[:3], getattr(second, split)[:3], strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (rows(20).drop(columns="text"), "dataset.test_path: must have the columns.*text"),
        (rows(20)[:0], "dataset.test_path: must have rows"),
        (rows(3, label=["x", None, None])[1:], "dataset.test_path: must leave rows with a label"),
    ],
)
def test_mistakes_in_the_test_rows(test, message):
    with pytest.raises(UserError, match=message):
        from_frame(rows(), test_frame=test, target="label")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_fraction": -0.1}, r"dataset\.test_fraction: must be"),
        ({"val_fraction": 0.7, "test_fraction": 0.3}, r"dataset\.test_fraction: must leave rows for training"),
        (
            {"split_column": "text", "test_frame": rows(20)},
            r"dataset\.split_column: must not come with dataset\.test_path",
        ),
    ],
)
def test_a_test_split_that_cannot_be(options, message):
    with pytest.raises(UserError, match=message):
        from_frame(rows(), target="label", **options)


def test_a_validation_frame_is_the_only_split():
    with pytest.raises(UserError, match=r"dataset\.split_column: must not come with dataset\.valid_path"):
        from_frame(rows(), valid_frame=rows(20), target="label", split_column="text")
