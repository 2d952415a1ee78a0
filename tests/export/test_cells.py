"""Cells become the same numbers and ids in the graph as in the encoding; what one refuses the other does."""

from datetime import date, datetime

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import spox
from hypothesis import given, settings
from hypothesis import strategies as st

from tabnas.data.frame.encode import SCALINGS, Categorical, Encoding, Numerical
from tabnas.data.frame.values import LARGEST, MISSING_TOKENS, TRUTHS
from tabnas.errors import UserError
from tabnas.export import cells, rows

N = 400


def graph_of(encoding):
    given = cells.inputs(encoding)
    built = spox.build(given, cells.encoded(given, encoding))
    onnx.checker.check_model(built, full_check=True)
    built.ir_version = 9
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # it would print what it raises
    session = onnxruntime.InferenceSession(built.SerializeToString(), options)
    names = [output.name for output in session.get_outputs()]

    def run(frame):
        return dict(zip(names, session.run(None, rows.cells(frame, encoding)), strict=True))

    return run


def encoding_of(*columns, tokens=MISSING_TOKENS):
    numerical = tuple(made for made in columns if isinstance(made, Numerical))
    return Encoding(numerical, tuple(made for made in columns if isinstance(made, Categorical)), tokens, "target")


def require_equal(encoding, frame):
    numbers, ids = encoding.encode(frame)
    found = graph_of(encoding)(frame)
    if encoding.numerical:
        assert found["numerical"].dtype == np.float32
        np.testing.assert_allclose(found["numerical"], numbers, atol=1e-6, rtol=1e-6)
    if encoding.categorical:
        np.testing.assert_array_equal(found["categorical"], ids)


def samples(scaling: str) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    made = {
        "normal": generator.normal(50, 10, N),
        "heavy": np.exp(generator.normal(0, 5, N)) * generator.choice([-1, 1], N),
        "large": 1.7e9 + generator.random(N),
        "mostly zero": np.where(generator.random(N) < 0.8, 0.0, generator.normal(0, 1, N)),
        "whole": generator.integers(0, 4, N).astype(float),
        "constant": np.full(N, 7.0),
    }
    # Logarithms of these differ in their last digits alone, which standardising then blows up.
    return {name: made[name] for name in made if scaling != "log" or name not in ("large", "constant")}


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("tokens", [MISSING_TOKENS, (-1.0, "inf", "", "?")])
def test_numbers(scaling, tokens):
    columns = [pd.Series(values, name=name) for name, values in samples(scaling).items()]
    encoding = encoding_of(*(Numerical.fit(column, "numerical", scaling) for column in columns), tokens=tokens)
    beyond = np.array([-1e6, 1e6, np.nan, 0.0, -0.0, 1e-12, -1.0])
    frame = pd.DataFrame({column.name: np.concatenate([column, column + 0.3, beyond]) for column in columns})
    if "inf" in tokens:
        frame.iloc[0] = np.inf
    require_equal(encoding, frame)


def test_the_same_of_any_number_by_quantiles():
    column = pd.Series(samples("quantile")["mostly zero"], name="x")
    encoding = encoding_of(Numerical.fit(column, "numerical", "quantile"))
    run = graph_of(encoding)

    @settings(max_examples=40)
    @given(st.lists(st.one_of(st.sampled_from(column.tolist()), st.floats(-5, 5)), min_size=1, max_size=20))
    def holds(values):
        frame = pd.DataFrame({"x": values})
        np.testing.assert_allclose(run(frame)["numerical"], encoding.encode(frame)[0], atol=2e-6)

    holds()


def test_truth_values():
    words = [way(word) for word in TRUTHS for way in (str.lower, str.title, str.upper)]
    frame = pd.DataFrame({"flag": [*words, "0", "1", "0.0", "1.0", None, "", "?", "NaN", True, False]}, dtype=object)
    encoding = encoding_of(Numerical("flag", "boolean", "none", 0.0, 1.0, 0.25))
    written = frame.astype("string")
    require_equal(encoding, written)
    assert len(np.unique(graph_of(encoding)(written)["numerical"])) == 3


def test_any_day_and_time():
    encoding = encoding_of(Numerical("day", "date", "none", 0.0, 1.0, -1.0))
    run = graph_of(encoding)

    def days(texts):
        return run(pd.DataFrame({"day": texts}))["numerical"][:, 0]

    @settings(max_examples=40)
    @given(st.dates(date(1, 1, 1), date(9999, 12, 30)))
    def of_dates(day):
        assert days([day.isoformat()])[0] == day.toordinal() - date(1970, 1, 1).toordinal()

    @settings(max_examples=40)
    @given(st.lists(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)), min_size=1, max_size=9), st.data())
    def of_times(moments, data):
        forms = [
            data.draw(st.sampled_from([m.isoformat(), m.isoformat(" "), m.isoformat() + "Z", m.date().isoformat()]))
            for m in moments
        ]
        forms += ["2024-02-29", "2000-02-29T23:59", "1970-01-01 00:00:01", None, "", "NaT"]
        frame = pd.DataFrame({"day": pd.Series(forms, dtype="string")})
        np.testing.assert_allclose(run(frame)["numerical"], encoding.encode(frame)[0], rtol=1e-6, atol=1e-6)

    of_dates()
    of_times()


def test_categories():
    column = pd.Series(
        ["red", "green", "red", "green", "mauve", "Ünï cødé", "Ünï cødé", "3", "3", None], dtype="string"
    )
    encoding = encoding_of(
        Categorical.fit(column.rename("kind"), 2, None), Categorical("square", ("b", "x"), (), None, True)
    )
    frame = pd.DataFrame({"kind": [*column, "unseen", "RED", "?", ""]})
    frame["square"] = np.resize(["x", "b"], len(frame))
    require_equal(encoding, frame)


def test_an_empty_text_may_be_a_category():
    encoding = encoding_of(Categorical("kind", ("", "red"), ()), tokens=("?",))
    require_equal(encoding, pd.DataFrame({"kind": ["", "red", "?", "blue"]}))


@pytest.mark.parametrize(
    ("made", "wrong"),
    [
        (Numerical("a", "numerical", "none", 0.0, 1.0, 0.0), LARGEST * 10),
        (Numerical("a", "numerical", "none", 0.0, 1.0, 0.0), -np.inf),
        (Numerical("a", "boolean", "none", 0.0, 1.0, 0.0), "perhaps"),
        (Numerical("a", "boolean", "none", 0.0, 1.0, 0.0), "2"),
        (Numerical("a", "date", "none", 0.0, 1.0, 0.0), "soon"),
        (Numerical("a", "date", "none", 0.0, 1.0, 0.0), "2023-02-29"),
        (Numerical("a", "date", "none", 0.0, 1.0, 0.0), "2023-13-01"),
        (Numerical("a", "date", "none", 0.0, 1.0, 0.0), "2023-01-01T25:00"),
        (Numerical("a", "date", "none", 0.0, 1.0, 0.0), "01/02/2023"),
    ],
)
def test_what_the_encoding_refuses_stops_the_graph(made, wrong):
    right = {"numerical": 1.0, "boolean": "yes", "date": "2023-01-01"}[made.kind]
    encoding, frame = encoding_of(made), pd.DataFrame({"a": [right, wrong]})
    run = graph_of(encoding)
    assert np.isfinite(run(frame[:1])["numerical"]).all()
    with pytest.raises(UserError):
        encoding.encode(frame)
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument, match="out of data bounds"):
        run(frame)


def test_made_up_rows_have_all_kinds_of_cells():
    columns = [Numerical.fit(pd.Series(v, name=n), "numerical", "log") for n, v in samples("log").items()]
    columns += [Numerical("flag", "boolean", "none", 0.0, 1.0, 0.5), Numerical("day", "date", "none", 2e4, 90.0, 0.0)]
    columns.append(Categorical("kind", ("a", "b"), ("c",)))
    encoding = encoding_of(*columns)
    frame = rows.made_up(encoding, 1000, 0)
    numbers, ids = encoding.encode(frame)
    assert set(ids[:, 0]) == {0, 1, 2, 3, 4}
    assert (frame.isna().mean() > 0.01).all()
    assert np.isfinite(numbers).all()
    pd.testing.assert_frame_equal(frame, rows.made_up(encoding, 1000, 0))
    require_equal(encoding, frame)
