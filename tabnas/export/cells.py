"""The cells of a table, as they come, to what the network takes, in operators of ONNX: Encoding.encode inside a graph.

Every column is an input (N, 1): double for numbers, text for everything else. Where Encoding.encode refuses a cell the
graph fails, for ONNX has no better way to say no: an index is out of bounds then, and the runtime tells.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import spox.opset.ai.onnx.ml.v3 as ml
import spox.opset.ai.onnx.v20 as op
from spox import Tensor, Var, argument

from tabnas.data.frame.encode import Categorical, Encoding, Numerical
from tabnas.data.frame.values import LARGEST, TRUTHS
from tabnas.data.table import MISSING, N_RESERVED, RARE, UNSEEN

T = TypeVar("T")
OUT_OF_BOUNDS = 2**31 - 1
ISO_DATE = (
    r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
    r"(?:[T ](?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?Z?)?"
)


def inputs(encoding: Encoding) -> dict[str, Var]:
    """By column, in the encoding's order; missing is NaN or ''."""
    numbers = {made.name: made.kind == "numerical" for made in encoding.numerical}
    return {name: argument(Tensor(np.float64 if numbers.get(name) else np.str_, ("N", 1))) for name in encoding.names}


def encoded(cells: Mapping[str, Var], encoding: Encoding) -> dict[str, Var]:
    """`numerical` (N, d) float32 and `categorical` ids (N, c) int32; left out where there are no such columns."""
    found = {}
    if encoding.numerical:
        found["numerical"] = _numbers(cells, encoding)
    if encoding.categorical:
        ids = [_id(cells[made.name], made, encoding.missing_tokens) for made in encoding.categorical]
        found["categorical"] = op.cast(op.concat(ids, axis=1), to=np.int32)
    return found


def _numbers(cells: Mapping[str, Var], encoding: Encoding) -> Var:
    columns, tokens = encoding.numerical, encoding.missing_tokens
    values = op.concat([_read(cells[made.name], made.kind, tokens) for made in columns], axis=1)
    values = _refused_above(values, LARGEST)
    bends = np.array([[made.bend for made in columns]])
    if (bends == "log").any():
        logarithm = op.mul(op.sign(values), op.log(op.add(op.const(1.0), op.abs(values))))
        values = op.where(op.const(bends == "log"), logarithm, values)
    if (bends == "quantile").any():
        parts = [op.slice(values, op.const([i]), op.const([i + 1]), op.const([1])) for i in range(len(columns))]
        values = op.concat([_normal(part, made) for part, made in zip(parts, columns, strict=True)], axis=1)
    shift, scale, missing = (
        op.const(np.array([[getattr(made, name) for made in columns]])) for name in ("shift", "scale", "missing")
    )
    scaled = op.div(op.sub(values, shift), scale)
    return op.cast(op.where(op.isnan(values), missing, scaled), to=np.float32)


def _read(cell: Var, kind: str, tokens: Sequence[str | float]) -> Var:
    """(N, 1) double: NaN where there is no value, infinite where the cell is of another kind."""
    if kind == "boolean":
        truths = {**TRUTHS, "0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0}
        spelt = {way(word): truth for word, truth in truths.items() for way in (str.lower, str.title, str.upper)}
        known = {**spelt, **_absent(tokens, np.nan)}
        truth = ml.label_encoder(cell, keys_strings=known, values_floats=known.values(), default_float=np.inf)
        return op.cast(truth, to=np.float64)
    if kind == "date":
        is_absent = op.equal(_lookup(cell, _absent(tokens, 1), 0), op.const(1))
        return op.where(is_absent, op.const(np.nan), _days(cell))
    for token in tokens:
        if (number := _number(token)) is not None:
            cell = op.where(op.equal(cell, op.const(number)), op.const(np.nan), cell)
    return cell


def _refused_above(values: Var, largest: float) -> Var:
    """The values (N, d) unchanged; where one is larger in size, the graph fails."""
    wrong = op.cast(op.greater(op.abs(values), op.const(largest)), to=np.int64)
    return op.mul(values, op.gather(op.const([1.0]), wrong))  # index 1 is out of bounds


def _id(cell: Var, made: Categorical, tokens: Sequence[str | float]) -> Var:
    """(N, 1) int64. made: without hash_buckets."""
    if made.closed:
        return _lookup(cell, {value: i for i, value in enumerate(made.vocabulary)}, OUT_OF_BOUNDS)
    ids = {value: N_RESERVED + i for i, value in enumerate(made.vocabulary)}
    return _lookup(cell, {**_absent(tokens, MISSING), **dict.fromkeys(made.rare, RARE), **ids}, UNSEEN)


def _lookup(cell: Var, ids: Mapping[str, int], default: int) -> Var:
    """(N, 1) int64."""
    return ml.label_encoder(cell, keys_strings=ids, values_int64s=ids.values(), default_int64=default)


def _absent(tokens: Sequence[str | float], value: T) -> dict[str, T]:
    return {"": value, **{str(token): value for token in tokens}}


def _number(token: str | float) -> float | None:
    """Of a missing token, which then holds in columns of numbers, too."""
    try:
        number = float(token)
    except ValueError:
        return None
    return None if np.isnan(number) else number


def _days(text: Var) -> Var:
    """(N, 1) days since 1970 of dates in ISO 8601, by themselves or with a time, which is UTC; infinite for others."""
    fits = op.regex_full_match(text, pattern=ISO_DATE)
    year, month, rest = _fields(op.where(fits, text, op.const("1970-01-01")), "-", 3)
    (rest,) = _fields(rest, "Z", 1)
    rest, minute, second = _fields(rest, ":", 3)
    rest, hour = _fields(rest, "T", 2)
    day, other_hour = _fields(rest, " ", 2)  # the hour is behind a T or a blank
    hour = op.string_concat(hour, other_hour)
    year, month, day, hour, minute, second = (
        op.cast(op.string_concat(op.const("0"), field), to=np.float64)
        for field in (year, month, day, hour, minute, second)
    )
    months = op.add(op.mul(year, op.const(12.0)), op.sub(month, op.const(1.0)))
    first = _first_of(months)
    exists = op.less_or_equal(op.add(first, day), _first_of(op.add(months, op.const(1.0))))
    seconds = op.add(op.mul(op.add(op.mul(hour, op.const(60.0)), minute), op.const(60.0)), second)
    days = op.add(op.add(first, op.sub(day, op.const(1.0))), op.div(seconds, op.const(86400.0)))
    return op.where(op.and_(fits, exists), days, op.const(np.inf))


def _fields(text: Var, delimiter: str, n: int) -> list[Var]:
    """The first n parts of texts (N, 1), each (N, 1); '' where there are fewer."""
    parts, _ = op.string_split(op.string_concat(text, op.const(delimiter * n)), delimiter=delimiter)
    return [op.gather(parts, op.const(i), axis=2) for i in range(n)]


def _first_of(months: Var) -> Var:
    """Days from 1970 to the first of a month, which is counted from January of year 0; double.

    Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil: years begin in March.
    """
    since_march = op.sub(months, op.const(2.0))
    year = op.floor(op.div(since_march, op.const(12.0)))
    month = op.sub(since_march, op.mul(year, op.const(12.0)))
    in_year = op.floor(op.div(op.add(op.mul(op.const(153.0), month), op.const(2.0)), op.const(5.0)))
    leaps = [op.floor(op.div(year, op.const(years))) for years in (4.0, 100.0, 400.0)]
    days = op.add(op.mul(op.const(365.0), year), op.sub(leaps[0], op.sub(leaps[1], leaps[2])))
    return op.sub(op.add(days, in_year), op.const(719468.0))


def _normal(values: Var, made: Numerical) -> Var:
    """(N, 1): the normal quantile of the share of training values below, as Numerical.encode has it; others unbent."""
    if made.bend != "quantile":
        return values
    points, n = np.asarray(made.quantiles), len(made.quantiles)
    shares = np.linspace(0, 1, n)
    distinct, first = np.unique(points, return_index=True)
    last = n - 1 - np.unique(points[::-1], return_index=True)[1]
    values = op.clip(values, op.const(distinct[0]), op.const(distinct[-1]))
    reached = op.cast(op.greater_or_equal(values, op.const(distinct[None])), to=np.float32)
    index = op.sub(op.cast(op.reduce_sum(reached, op.const([1])), to=np.int64), op.const(1))
    index = op.max([index, op.const(0)])  # NaN reaches none
    next_ = op.min([op.add(index, op.const(1)), op.const(len(distinct) - 1)])
    left, right = (op.gather(op.const(distinct), i) for i in (index, next_))
    from_, to = op.gather(op.const(shares[last]), index), op.gather(op.const(shares[first]), next_)
    gap = op.where(op.equal(left, right), op.const(1.0), op.sub(right, left))
    between = op.add(from_, op.mul(op.div(op.sub(values, left), gap), op.sub(to, from_)))
    share = op.where(op.equal(values, left), op.gather(op.const((shares[first] + shares[last]) / 2), index), between)
    return _ndtri(op.clip(share, op.const(0.5 / n), op.const(1 - 0.5 / n)))


# Wichura, "Algorithm AS 241" (1988), PPND7, coefficients by rising power: to 4e-7 for shares from 1e-10.
NEAR = (
    (3.3871327179, 50.434271938, 159.29113202, 59.109374720),
    (1.0, 17.895169469, 78.757757664, 67.187563600),
)
FAR = ((1.4234372777, 2.7568153900, 1.3067284816, 0.17023821103), (1.0, 0.73700164250, 0.12021132975))


def _ndtri(share: Var) -> Var:
    """The standard normal quantile of shares in (0, 1)."""
    centred = op.sub(share, op.const(0.5))
    near = op.mul(centred, _ratio(NEAR, op.sub(op.const(0.180625), op.mul(centred, centred))))
    tail = op.min([share, op.sub(op.const(1.0), share)])
    far = _ratio(FAR, op.sub(op.sqrt(op.neg(op.log(tail))), op.const(1.6)))
    is_near = op.less_or_equal(op.abs(centred), op.const(0.425))
    return op.where(is_near, near, op.mul(op.sign(centred), far))


def _ratio(polynomials: tuple[tuple[float, ...], tuple[float, ...]], x: Var) -> Var:
    return op.div(*(_polynomial(coefficients, x) for coefficients in polynomials))


def _polynomial(coefficients: tuple[float, ...], x: Var) -> Var:
    total = op.const(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = op.add(op.const(coefficient), op.mul(total, x))
    return total
