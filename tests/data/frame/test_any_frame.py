"""Whatever the columns hold, a frame becomes a table of finite numbers or a UserError of one line."""

import datetime
import decimal
import json

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from tabnas.data import report
from tabnas.data.frame import Encoding, from_frame
from tabnas.data.frame.encode import SCALINGS
from tabnas.data.frame.kinds import KINDS
from tabnas.errors import UserError

COLUMNS = {
    "normal": lambda rng, n: rng.standard_normal(n) * 10.0 ** rng.integers(-30, 30),
    "whole": lambda rng, n: rng.integers(-5, 5, n),
    "large": lambda rng, n: rng.integers(0, 2**63 - 1, n),
    "infinite": lambda rng, n: rng.choice([np.inf, 1.0, np.nan], n),
    "complex": lambda rng, n: rng.standard_normal(n) + 1j,
    "nullable": lambda rng, n: pd.array(rng.integers(0, 3, n), dtype="Int64"),
    "decimals": lambda rng, n: [decimal.Decimal(int(x)) / 7 for x in rng.integers(9, size=n)],
    "truths": lambda rng, n: rng.random(n) < 0.5,
    "words": lambda rng, n: rng.choice(["a", "b", "ü", "c "], n),
    "yes": lambda rng, n: rng.choice(["yes", "no", "YES"], n),
    "numbers": lambda rng, n: rng.choice(["1", "2.5", "?", "inf", "-1e400"], n),
    "almost": lambda rng, n: rng.choice(["1", "2.5", "x"], n),
    "keys": lambda _rng, n: [f"key {i}" for i in range(n)],
    "dates": lambda _rng, n: pd.date_range("1700-01-01", periods=n, freq="37D"),
    "written": lambda rng, n: rng.choice(["2020-01-01", "2020-05-05T10:00", "0001-01-01", "9999-12-31"], n),
    "days": lambda rng, n: [datetime.date(2020, 1, 1 + int(x)) for x in rng.integers(9, size=n)],
    "lapses": lambda rng, n: pd.to_timedelta(rng.integers(9, size=n), unit="h"),
    "months": lambda _rng, n: pd.period_range("2020-01", periods=n, freq="M"),
    "categories": lambda rng, n: pd.Categorical(rng.integers(3, size=n)),
    "objects": lambda rng, n: [([1, 2], {"a": 1}, b"x", None, True, 2.5)[i] for i in rng.integers(6, size=n)],
    "nothing": lambda _rng, n: [None] * n,
}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=4, unique=True),
    st.sampled_from(["whole", "truths", "words", "normal", "numbers", "categories", "dates"]),
    st.sampled_from([1, 2, 30]),
    st.integers(0, 2**32),
    st.fixed_dictionaries(
        {
            "numerical": st.sampled_from(SCALINGS),
            "high_cardinality": st.sampled_from(["error", "hash"]),
            "drop_uninformative": st.booleans(),
            "stratify": st.booleans(),
            "task": st.sampled_from(["auto", "classification", "regression"]),
        }
    ),
    st.one_of(st.none(), st.sampled_from(KINDS)),
)
def test_any_frame(features, target, n, seed, options, kind):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({name: pd.Series(COLUMNS[name](rng, n)) for name in features})
    frame = frame.mask(rng.random(frame.shape) < rng.choice([0, 0.2])) if "large" not in features else frame
    frame["answer"] = pd.Series(COLUMNS[target](rng, n))
    kinds = {} if kind is None else {features[0]: kind}
    mistake = None
    try:
        table = from_frame(frame, target="answer", kinds=kinds, val_fraction=0.5, **options)
    except UserError as error:
        mistake = str(error)
    if mistake is not None:
        assert mistake.startswith("dataset.")
        assert "\n" not in mistake
        return
    for part in (table.train, table.valid):
        assert part.n_rows
        assert part.numerical.isfinite().all()
        assert part.target.isfinite().all()
        for ids, cardinality in zip(part.categorical.T, table.cardinalities, strict=True):
            assert 0 <= ids.min() <= ids.max() < cardinality
    encoding = Encoding.from_json(json.loads(json.dumps(table.encoding, allow_nan=False)))
    assert np.isfinite(encoding.encode(frame)[0]).all()
    assert len(report.lines(table, "any")) == 3 + len(frame.columns)
