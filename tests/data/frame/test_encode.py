"""The encoding: fitted to the training rows, applied to any, kept as JSON."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import OrdinalEncoder, QuantileTransformer, StandardScaler

from tabnas.data.frame import Encoding, from_frame
from tabnas.data.frame.encode import SCALINGS, Categorical, Numerical
from tabnas.data.frame.values import tidied
from tabnas.data.table import MISSING, N_RESERVED, RARE, UNSEEN
from tabnas.errors import UserError


def column(values, name="x"):
    return tidied(pd.Series(values, name=name), ())


def some_rows(seed=0, n=80):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "number": np.where(rng.random(n) < 0.1, np.nan, rng.lognormal(size=n)),
            "text": rng.choice(["a", "b", "c", "?"], n),
            "when": pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(1000, size=n), unit="D"),
            "flag": rng.random(n) < 0.4,
            "split": np.where(np.arange(n) < 60, "train", "valid"),
            "label": rng.choice(["x", "y"], n),
        }
    )


def test_standardised_as_scikit_learn_does():
    values = np.random.default_rng(0).lognormal(size=50)
    mine = Numerical.fit(column(values), "numerical", "standard").encode(column(values))
    assert mine == pytest.approx(StandardScaler().fit_transform(values[:, None])[:, 0], abs=1e-6)


@pytest.mark.parametrize("distinct", [5, 2000])
def test_quantiles_as_scikit_learn_does(distinct):
    rng = np.random.default_rng(0)
    train, new = rng.integers(distinct, size=1500) / 7, rng.integers(-5, distinct + 5, size=400) / 7
    theirs = QuantileTransformer(n_quantiles=1000, output_distribution="normal", subsample=None).fit(train[:, None])
    mine = Numerical.fit(column(train), "numerical", "quantile").encode(column(new))
    inside = (new > np.quantile(train, 0.01)) & (new < np.quantile(train, 0.99))
    assert mine[inside] == pytest.approx(theirs.transform(new[inside, None])[:, 0], abs=1e-3)
    assert np.isfinite(mine).all()


def test_the_ends_of_quantiles_are_no_exception():
    made = Numerical.fit(column([0.0] * 60 + list(range(1, 41))), "numerical", "quantile")
    assert made.encode(column([-5.0, 0.0, 1e9])) == pytest.approx([-0.53, -0.53, 2.58], abs=0.02)


def test_vocabulary_as_scikit_learns():
    values = np.random.default_rng(0).choice(["b", "a", "c"], 50)
    theirs = OrdinalEncoder().fit_transform(values[:, None])[:, 0]
    mine = Categorical.fit(column(values), 1, None).encode(column(values))
    assert np.array_equal(mine, theirs + N_RESERVED)


def test_log():
    values = np.array([-9.0, 0, 99, 9999])
    mine = Numerical.fit(column(values), "numerical", "log").encode(column(values))
    bent = np.sign(values) * np.log1p(abs(values))
    assert mine == pytest.approx((bent - bent.mean()) / bent.std(), abs=1e-6)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_a_missing_number_becomes_the_mean(scaling):
    made = Numerical.fit(column([1.0, 2.0, 6.0, None]), "numerical", scaling)
    encoded = made.encode(column([1.0, 2.0, 6.0, None]))
    assert encoded[3] == pytest.approx(encoded[:3].mean(), abs=1e-6)


def test_booleans_stay_and_dates_are_standardised_whatever_the_scaling():
    for scaling in SCALINGS:
        flags = Numerical.fit(column([True, False, True, True]), "boolean", scaling)
        assert flags.encode(column([True, False])).tolist() == [1, 0]
        dates = Numerical.fit(column(["2020-01-01", "2020-01-03"]), "date", scaling)
        assert dates.encode(column(["2020-01-01", "2020-01-02", "2020-01-03"])).tolist() == [-1, 0, 1]


def test_reserved_ids():
    made = Categorical.fit(column(["b", "a", "a", "b", "c", None]), 2, None)
    encoded = made.encode(column(["a", "b", "c", None, "d"]))
    assert encoded.tolist() == [N_RESERVED, N_RESERVED + 1, RARE, MISSING, UNSEEN]
    assert made.cardinality == N_RESERVED + 2


def test_hashed_ids():
    made = Categorical.fit(column(["a", "b"]), 2, 7)
    values = [f"value {i}" for i in range(500)]
    encoded = made.encode(column([*values, None]))
    assert encoded[-1] == MISSING
    assert set(encoded[:-1]) == set(range(N_RESERVED, N_RESERVED + 7))
    assert made.encode(column(["value 3"])).item() == 1 + N_RESERVED  # pinned: it must not change between versions


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e31])
def test_infinite_and_huge_numbers_are_refused(value):
    made = Numerical.fit(column([1.0, 2.0]), "numerical", "original")
    for encode in (lambda c: Numerical.fit(c, "numerical", "standard"), made.encode):
        with pytest.raises(UserError, match=r"dataset\.kinds\.x.*in 1 rows.*missing_tokens"):
            encode(column([1.0, value, 3.0]))


def test_a_new_value_that_is_no_number_is_refused():
    made = Numerical.fit(column(["1", "2"]), "numerical", "standard")
    with pytest.raises(UserError, match=r"dataset\.kinds\.x.*many.*missing_tokens"):
        made.encode(column(["1", "many"]))


@pytest.mark.parametrize("numerical", SCALINGS)
@pytest.mark.parametrize("high_cardinality", ["error", "hash"])
def test_new_rows_are_encoded_alike_from_json(numerical, high_cardinality):
    frame = some_rows()
    table = from_frame(
        frame, target="label", split_column="split", numerical=numerical, high_cardinality=high_cardinality,
        max_categories=2 if high_cardinality == "hash" else 10, hash_buckets=5,
    )  # fmt: skip
    encoding = Encoding.from_json(json.loads(json.dumps(table.encoding, allow_nan=False)))
    assert encoding.to_json() == table.encoding
    numbers, ids = encoding.encode(frame[60:].drop(columns=["label", "split"]))
    assert np.array_equal(numbers, table.valid.numerical.numpy())
    assert np.array_equal(ids, table.valid.categorical.numpy())
    assert (numbers.dtype, ids.dtype) == (np.float32, np.int32)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(SCALINGS))
def test_validation_rows_change_no_encoding(seed, numerical):
    frame, other = some_rows(), some_rows(seed)
    changed = pd.concat([frame[:60], other[60:].assign(number=other.number * 1000, text="new")])
    first, second = (from_frame(f, target="label", split_column="split", numerical=numerical) for f in (frame, changed))
    assert first.encoding == second.encoding
    assert np.array_equal(first.train.numerical, second.train.numerical)
    assert (second.valid.categorical == UNSEEN).all()


def test_a_missing_column_is_told():
    table = from_frame(some_rows(), target="label", split_column="split")
    with pytest.raises(UserError, match="none called flag"):
        Encoding.from_json(table.encoding).encode(some_rows().drop(columns="flag"))


def test_no_rows_can_be_encoded():
    table = from_frame(some_rows(), target="label", split_column="split")
    numbers, ids = Encoding.from_json(table.encoding).encode(some_rows()[:0])
    assert (numbers.shape, ids.shape) == ((0, 3), (0, 1))


def test_text_numbers_and_numbers_are_encoded_alike():
    """A CSV file has text where a Parquet file has numbers."""
    frame = some_rows().assign(code=np.arange(80) % 5)
    table = from_frame(frame, target="label", split_column="split", kinds={"code": "categorical"})
    encoding = Encoding.from_json(table.encoding)
    written = frame.assign(number=frame.number.map(repr).replace("nan", ""), code=frame.code.map(str))
    for one, other in zip(
        encoding.encode(frame), encoding.encode(written.astype({"when": str, "flag": str})), strict=True
    ):
        assert np.array_equal(one, other)
