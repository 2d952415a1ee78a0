"""From the `limits` of a config to limits, and every mistake told by its key."""

import math

import pytest

from tabnas.cost import Flops, ParameterCount
from tabnas.errors import UserError
from tabnas.latency import Latency, Timing, shapes
from tabnas.limits import limits_from
from tabnas.space import SearchSpace
from tests.conftest import PAPER_WIDTHS

SPACE = SearchSpace([PAPER_WIDTHS] * 3)
CRITEO = {"n_inputs": 1027, "n_outputs": 1, "n_embedding_params": 5000, "device": "cpu"}


@pytest.fixture
def limits(tmp_path):
    return lambda config, **more: limits_from(config, SPACE, **CRITEO, folder=tmp_path, kept=tmp_path / "kept", **more)


@pytest.fixture
def measured(monkeypatch):
    """Latency.cached answers at once, 1,001 ns a layer of 8 inputs or units and so on; what it was asked is kept."""
    asked = []

    def cached(cls, space, n_inputs, n_outputs, **more):
        asked.append({"space": space, "n_inputs": n_inputs, "n_outputs": n_outputs, **more})
        layers = shapes(space, n_inputs, n_outputs)
        return cls(space, n_inputs, n_outputs, {s: Timing(1001 + s[0] // 8 + s[1] // 8, 0) for s in layers})

    monkeypatch.setattr(Latency, "cached", classmethod(cached))
    return asked


def test_parameters(limits):
    made, described = limits([{"cost": "params", "limit": 41153}])
    (cost,) = made.costs
    assert isinstance(cost, ParameterCount)
    assert (made.at_most, cost((32, 144, 24))) == ((41153,), 41153)
    assert described == [{"cost": "params", "limit": 41153}]


@pytest.mark.parametrize(("counted", "total"), [(True, 46153), (False, 41153)])
def test_embeddings_are_counted_on_demand(limits, counted, total):
    made, described = limits([{"cost": "params", "limit": 50000, "count_embeddings": counted}])
    assert made.costs[0]((32, 144, 24)) == total
    assert described == [{"cost": "params", "limit": 50000, "count_embeddings": counted}]


def test_flops(limits):
    made, described = limits([{"cost": "flops", "limit": 40952}])
    (cost,) = made.costs
    assert isinstance(cost, Flops)
    assert cost((32, 144, 24)) == 1027 * 32 + 32 * 144 + 144 * 24 + 24
    assert (made.at_most, described) == ((40952,), [{"cost": "flops", "limit": 40952}])


def test_latency_is_asked_for_and_its_limit_is_in_nanoseconds(limits, measured, tmp_path):
    def progress(done, of):
        pass

    made, described = limits([{"cost": "latency_us", "limit": 12.5, "batch_size": 32}], progress=progress)
    assert isinstance(made.costs[0], Latency)
    assert made.at_most == (12500,)
    assert described == [{"cost": "latency_us", "limit": 12.5, "batch_size": 32}]
    assert measured == [
        {"space": SPACE, "n_inputs": 1027, "n_outputs": 1, "batch_size": 32, "device": "cpu", "folder": tmp_path,
         "progress": progress},
    ]  # fmt: skip
    limits([{"cost": "latency_us", "limit": 12.5}])
    assert measured[1]["batch_size"] == 1


def test_a_resumed_run_goes_by_the_table_it_kept(limits, measured, tmp_path):
    (first,) = limits([{"cost": "latency_us", "limit": 12.5}])[0].costs
    slower = Latency(SPACE, 1027, 1, {shape: Timing(2 * t.median_ns, 0) for shape, t in first.timings.items()})
    slower.write(tmp_path / "kept")
    (second,) = limits([{"cost": "latency_us", "limit": 12.5}])[0].costs
    assert second((32, 144, 24)) == slower((32, 144, 24)) != first((32, 144, 24))
    assert len(measured) == 1


def test_several(limits, measured):
    made, described = limits(
        [{"cost": "flops", "limit": 9}, {"cost": "latency_us", "limit": 7}, {"cost": "params", "limit": 8}]
    )
    assert [cost.name for cost in made.costs] == ["flops", "latency_us", "params"]
    assert made.at_most == (9, 7000, 8)
    assert [entry["limit"] for entry in described] == [9, 7, 8]


@pytest.mark.parametrize("given", [1e4, 10000])
def test_a_whole_number_may_be_written_as_a_float(limits, given):
    made, described = limits([{"cost": "params", "limit": given}])
    assert made.at_most == (10000,)
    assert described == [{"cost": "params", "limit": 10000}]
    assert isinstance(described[0]["limit"], int)


@pytest.mark.parametrize("given", ["32-144-24", [32, 144, 24], (32, 144, 24), ["32", "144", "24"]])
def test_an_architecture_stands_for_what_it_costs(limits, measured, given):
    made, described = limits(
        [
            {"cost": "params", "limit": given},
            {"cost": "flops", "limit": given},
            {"cost": "latency_us", "limit": given},
        ]
    )
    assert made.at_most == tuple(cost((32, 144, 24)) for cost in made.costs)
    assert made.at_most[0] == 41153
    assert made.allow((32, 144, 24))
    assert described == [
        {"cost": "params", "limit": 41153, "reference": "32-144-24"},
        {"cost": "flops", "limit": 41153 - 32 - 144 - 24 - 1, "reference": "32-144-24"},
        {"cost": "latency_us", "limit": made.at_most[2] / 1000, "reference": "32-144-24"},
    ]


def test_an_architecture_counts_embeddings_where_they_are_counted(limits):
    made, _ = limits([{"cost": "params", "limit": "32-144-24", "count_embeddings": True}])
    assert made.at_most == (46153,)


def test_a_reported_latency_may_be_given_as_the_limit(limits, measured):
    """Costs are reported in microseconds: the limit 4.004 must leave what costs 4,004 ns feasible."""
    for nanoseconds in range(4000, 4100):
        made, _ = limits([{"cost": "latency_us", "limit": nanoseconds / 1000}])
        assert made.at_most == (nanoseconds,)


def params(**more):
    return [{"cost": "params", "limit": 10000} | more]


# What is given, the key at fault, and what the line says.
WRONG = [
    (None, "limits", "must be a list of limits, got None; give limits=[{cost: params, limit: 10000}]"),
    ([], "limits", "must be a list of limits, got []"),
    (10000, "limits", "must be a list of limits, got 10000"),
    ({"cost": "params", "limit": 1}, "limits", "must be a list of limits"),
    ("params", "limits", "must be a list of limits"),
    ([10000], "limits.0", "must have the keys cost and limit, got 10000"),
    ([{"cost": "params"}], "limits.0", "must have the keys cost and limit"),
    ([{"limit": 5}], "limits.0", "must have the keys cost and limit"),
    ([*params(), {}], "limits.1", "must have the keys cost and limit, got {}"),
    (params(cost="prams"), "limits.0.cost", "must be one of flops, latency_us, params, got 'prams'; did you mean 'par"),
    (params(cost="latency"), "limits.0.cost", "did you mean 'latency_us'?"),
    (params(cost=None), "limits.0.cost", "must be one of flops, latency_us, params, got None"),
    (params(cost=["params"]), "limits.0.cost", "must be one of flops, latency_us, params, got ['params']"),
    (params(count_embedding=True), "limits.0.count_embedding", "did you mean 'count_embeddings'?"),
    (params(batch_size=1), "limits.0.batch_size", "must be one of cost, count_embeddings, limit, got 'batch_size'"),
    (params(cost="flops", count_embeddings=True), "limits.0.count_embeddings", "must be one of cost, limit, got"),
    (params(count_embeddings="yes"), "limits.0.count_embeddings", "must be one of False, True, got 'yes'"),
    (params(cost="latency_us", batch_size=0), "limits.0.batch_size", "must be an integer of at least 1, got 0"),
    (params(cost="latency_us", batch_size=1.5), "limits.0.batch_size", "must be an integer of at least 1, got 1.5"),
    (params() * 2, "limits.1.cost", "must not be limited twice, got 'params'; give each cost once"),
    ([*params(), *params(count_embeddings=True)], "limits.1.cost", "must not be limited twice"),
    (params(limit=0), "limits.0.limit", "must be a number in (0, 9.0072e+15], got 0"),
    (params(limit=-5), "limits.0.limit", "must be a number in (0, 9.0072e+15], got -5"),
    (params(limit=10**20), "limits.0.limit", "must be a number in (0, 9.0072e+15]"),
    (params(limit=math.nan), "limits.0.limit", "must be a number in (0, 9.0072e+15], got nan"),
    (params(limit=math.inf), "limits.0.limit", "must be a number in (0, 9.0072e+15], got inf"),
    (params(limit=None), "limits.0.limit", "must be a number in (0, 9.0072e+15], got None; give a number, or an arch"),
    (params(limit=True), "limits.0.limit", "must be a number in (0, 9.0072e+15], got True"),
    (params(limit={}), "limits.0.limit", "must be a number in (0, 9.0072e+15], got {}"),
    (params(limit=2.5), "limits.0.limit", "must be a whole number of params, got 2.5"),
    (params(cost="flops", limit=0.5), "limits.0.limit", "must be a whole number of flops, got 0.5"),
    (params(limit=[]), "limits.0.limit", "an architecture with as many layers as the space, got []; give 3 widths"),
    (params(limit=""), "limits.0.limit", "an architecture with as many layers as the space, got ''"),
    (params(limit="ten"), "limits.0.limit", "an architecture with as many layers as the space, got 'ten'"),
    (params(limit="10000"), "limits.0.limit", "an architecture with as many layers as the space, got '10000'"),
    (params(limit="32-144"), "limits.0.limit", "give 3 widths such as 8-8-8, or a number"),
    (params(limit="32-144-24-8"), "limits.0.limit", "as many layers as the space, got '32-144-24-8'"),
    (params(limit="32--24"), "limits.0.limit", "as many layers as the space"),
    (params(limit="32-0-24"), "limits.0.limit", "as many layers as the space"),
    (params(limit="-32-144-24"), "limits.0.limit", "as many layers as the space"),
    (params(limit="8²-16-24"), "limits.0.limit", "as many layers as the space"),
    (params(limit=[32, 144]), "limits.0.limit", "as many layers as the space, got [32, 144]"),
    (params(limit=[32, -144, 24]), "limits.0.limit", "as many layers as the space"),
    (params(limit=[32.0, 144, 24]), "limits.0.limit", "as many layers as the space"),
    (params(limit=[[32], 144, 24]), "limits.0.limit", "as many layers as the space"),
    (params(limit="32-145-24"), "limits.0.limit", "must be an architecture of the space, got '32-145-24'; 145 is no"),
    (
        params(limit=[32, 144, 25]),
        "limits.0.limit",
        "must be an architecture of the space, got [32, 144, 25]; 25 is no",
    ),
]


@pytest.mark.parametrize(("config", "key", "says"), WRONG, ids=[f"{key} {i}" for i, (_, key, _) in enumerate(WRONG)])
def test_refuses(limits, measured, config, key, says):
    with pytest.raises(UserError) as caught:
        limits(config)
    assert caught.value.name == key
    assert says in str(caught.value)
