"""The latency cost: its tables by brute force, its timing by a clock of ours, its files damaged; no absolute speed."""

import itertools
import random
import time

import pytest
import torch

from tabnas import latency
from tabnas.cost import Limits
from tabnas.feasibility.chain import ChainProgram
from tabnas.latency import MOST_UNITS, Latency, Timing, measure_network, shapes
from tabnas.network import Network
from tabnas.space import SearchSpace
from tests.conftest import PAPER_WIDTHS

N_INPUTS, N_OUTPUTS = 5, 2
SPACE = SearchSpace([[2, 4, 8], [8, 4], [3, 8]])
LAYERS = shapes(SPACE, N_INPUTS, N_OUTPUTS)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def timings():
    """Any times, falling where they should rise."""
    rng = random.Random(0)
    return {shape: Timing(rng.randrange(1, 100_000), rng.randrange(1_000)) for shape in LAYERS}


@pytest.fixture
def clock(monkeypatch):
    """Nanoseconds, as a list of one; looking at it takes 50."""
    now = [0]

    def look():
        now[0] += 50
        return now[0]

    monkeypatch.setattr(time, "perf_counter_ns", look)
    return now


def test_every_layer_of_every_architecture_is_in_shapes_and_nothing_else():
    needed = set()
    for widths in SPACE:
        *hidden, output = itertools.pairwise((N_INPUTS, *widths, N_OUTPUTS))
        needed |= {(*pair, False) for pair in hidden} | {(*output, True)}
    assert set(LAYERS) == needed
    assert len(LAYERS) == len(needed)


def test_the_papers_space_has_440():
    assert len(shapes(SearchSpace([PAPER_WIDTHS] * 3), 1027, 1)) == 440


def test_a_cost_is_the_dearest_layer_that_is_no_larger_rounded_up_to_units(timings):
    cost = Latency(SPACE, N_INPUTS, N_OUTPUTS, timings)
    for before, width, output in LAYERS:
        no_larger = [t.median_ns for (b, w, o), t in timings.items() if b <= before and w <= width and o == output]
        units = -(-max(no_larger) // cost.unit_ns)
        assert cost.layer(before, width, output) == units * cost.unit_ns


def test_wider_is_never_cheaper(timings):
    cost = Latency(SPACE, N_INPUTS, N_OUTPUTS, timings)
    for a, b in itertools.product(SPACE, SPACE):
        if all(x <= y for x, y in zip(a, b, strict=True)):
            assert cost(a) <= cost(b)


@pytest.mark.parametrize(("factor", "unit_ns"), [(1, 1), (108, 1), (109, 2), (10**7, 92_000)])
def test_the_largest_architecture_costs_few_units(factor, unit_ns):
    cost = Latency(SPACE, N_INPUTS, N_OUTPUTS, {s: Timing(factor * s[0] * s[1], 0) for s in LAYERS})
    exact = factor * (5 * 8 + 8 * 8 + 8 * 8 + 8 * 2)
    assert cost.unit_ns == unit_ns
    assert exact <= cost(SPACE.largest) <= (MOST_UNITS + SPACE.n_layers + 1) * unit_ns
    assert all(layer.remainder(unit_ns).eq(0).all() for layer in cost.terms(SPACE))


def test_the_routes_to_a_cost_agree(timings):
    cost = Latency(SPACE, N_INPUTS, N_OUTPUTS, timings)
    terms = cost.terms(SPACE)
    assert [t.shape for t in terms] == [(1, 3), (3, 2), (2, 2), (2, 1)]
    everything = torch.tensor(list(SPACE))
    for widths, many in zip(SPACE, cost.many(everything).tolist(), strict=True):
        *hidden, output = itertools.pairwise((N_INPUTS, *widths, N_OUTPUTS))
        by_hand = sum(cost.layer(*pair, False) for pair in hidden) + cost.layer(*output, True)
        choices = (0, *SPACE.indices(widths), 0)
        assert by_hand == cost(widths) == many
        assert by_hand == sum(int(t[pair]) for t, pair in zip(terms, itertools.pairwise(choices), strict=True))


def test_the_dynamic_program_takes_it(timings):
    cost = Latency(SPACE, N_INPUTS, N_OUTPUTS, timings)
    limit = (cost(SPACE.smallest) + cost(SPACE.largest)) // 2
    by_hand = sum(cost(widths) <= limit for widths in SPACE)
    assert 0 < by_hand < SPACE.size
    assert ChainProgram(SPACE, cost, limit).count() == by_hand


def test_is_reported_in_microseconds():
    cost = Latency(SPACE, N_INPUTS, N_OUTPUTS, dict.fromkeys(LAYERS, Timing(1500, 0)))
    assert Limits(cost, 6000).amounts(SPACE.smallest) == {"latency_us": 6.0}


@pytest.mark.parametrize(
    ("before", "width", "output", "named"),
    [
        (5, 3, False, "a hidden layer of 3 units on 5 inputs"),
        (6, 4, False, "a hidden layer of 4 units on 6 inputs"),
        (8, 9, False, "a hidden layer of 9 units on 8 inputs"),
        (9, 8, False, "a hidden layer of 8 units on 9 inputs"),
        (4, 2, True, "an output layer of 2 units on 4 inputs"),
    ],
)
def test_a_layer_that_was_not_measured_is_refused(timings, before, width, output, named):
    cost = Latency(SPACE, N_INPUTS, N_OUTPUTS, timings)
    with pytest.raises(ValueError, match=named):
        cost.layer(before, width, output)
    with pytest.raises(ValueError, match=named):
        cost.layer(torch.tensor([8, before]), torch.tensor([2 if output else 8, width]), output)


def test_tables_must_be_whole_and_positive(timings):
    del timings[4, 8, False]
    with pytest.raises(ValueError, match="a hidden layer of 8 units on 4 inputs was not measured"):
        Latency(SPACE, N_INPUTS, N_OUTPUTS, timings)
    for bad in (Timing(0, 0), Timing(5, -1), Timing("5", 0), Timing(float("nan"), 0)):
        with pytest.raises(ValueError, match=r"4 inputs must be positive nanoseconds, got Timing"):
            Latency(SPACE, N_INPUTS, N_OUTPUTS, timings | {(4, 8, False): bad})


def test_largest_raise_is_the_largest():
    timings = {shape: Timing(shape[0] * shape[1], 0) for shape in LAYERS}
    assert Latency(SPACE, N_INPUTS, N_OUTPUTS, timings).largest_raise == 1
    timings |= {(4, 4, False): Timing(80, 0)}  # 5 · 4 is raised fourfold
    assert Latency(SPACE, N_INPUTS, N_OUTPUTS, timings).largest_raise == 4


def test_relative_spread_is_the_middle_one():
    timings = {shape: Timing(100, 10 + i) for i, shape in enumerate(LAYERS)}
    middle = (10 + (len(LAYERS) - 1) / 2) / 100
    assert Latency(SPACE, N_INPUTS, N_OUTPUTS, timings).relative_spread == pytest.approx(middle)


def test_the_timed_layers_in_a_row_are_the_network():
    values = torch.rand(64).sub(0.5)
    x = torch.rand(7, N_INPUTS)
    network = Network(N_INPUTS, (8, 4), N_OUTPUTS)
    layers = [latency._layer(*shape, values) for shape in ((N_INPUTS, 8, False), (8, 4, False), (4, N_OUTPUTS, True))]
    for linear, layer in zip(network.linears, layers, strict=True):
        linear.load_state_dict(layer[0].state_dict())
    torch.testing.assert_close(torch.nn.Sequential(*layers)(x), network(x), rtol=0, atol=0)


def test_measures_every_layer_and_leaves_the_random_state():
    before, calls = torch.get_rng_state(), []
    cost = Latency.measure(
        SPACE, N_INPUTS, N_OUTPUTS, batch_size=3, repeats=2, progress=lambda *done: calls.append(done)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert list(cost.timings) == LAYERS
    assert calls == [(1, 2), (2, 2)]
    assert cost.relative_spread >= 0
    assert not torch.is_inference_mode_enabled()


def test_a_large_layer_takes_longer_than_a_small_one():
    timings = Latency.measure(SearchSpace([[8, 512], [8, 512]]), 8, 1, batch_size=512, repeats=3).timings
    assert timings[512, 512, False].median_ns > timings[8, 8, False].median_ns


def test_a_slow_moment_does_not_hit_one_layer_alone(monkeypatch):
    """All of the first of five passes is slow."""
    count = itertools.count()
    monkeypatch.setattr(latency, "_calls", lambda forward, device: 1)
    monkeypatch.setattr(latency, "_time", lambda *timed: 9e6 if next(count) < len(LAYERS) else 100.0)
    cost = Latency.measure(SPACE, N_INPUTS, N_OUTPUTS, batch_size=1, repeats=5)
    assert next(count) == 5 * len(LAYERS)
    assert set(cost.timings.values()) == {Timing(100, 0)}


def test_timings_are_medians_with_interquartile_range(monkeypatch):
    layers = shapes(SearchSpace([[4]]), 3, 1)
    times = iter([10, 100, 30, 300, 20, 200, 50, 900, 40, 400])
    monkeypatch.setattr(latency, "_calls", lambda forward, device: 1)
    monkeypatch.setattr(latency, "_time", lambda *timed: next(times))
    cost = Latency.measure(SearchSpace([[4]]), 3, 1, batch_size=1, repeats=5)
    assert cost.timings == dict(zip(layers, [Timing(30, 20), Timing(300, 200)], strict=True))


@pytest.mark.parametrize("forward_ns", [3, 7_000, 10**9])
def test_the_clock_does_not_count(clock, forward_ns):
    def forward():
        clock[0] += forward_ns
        assert torch.is_inference_mode_enabled()

    assert measure_network(forward, repeats=3) == pytest.approx(forward_ns, rel=1e-3, abs=0.5)


def test_the_first_calls_and_one_slow_moment_do_not_count(clock):
    count = itertools.count()

    def forward():
        i = next(count)
        clock[0] += 10**9 if i < 4 or i == 20_000 else 7

    assert measure_network(forward, repeats=9) == 7
    assert next(count) > 20_000


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"batch_size": 1, "repeats": 0}])
def test_nothing_to_time_is_refused(wrong):
    with pytest.raises(ValueError, match="must be at least 1"):
        Latency.measure(SPACE, N_INPUTS, N_OUTPUTS, **wrong)


def test_a_device_that_cannot_be_waited_for_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cpu and cuda, got meta"):
        Latency.cached(SPACE, N_INPUTS, N_OUTPUTS, batch_size=1, device="meta", folder=tmp_path)
    with pytest.raises(ValueError, match="cpu and cuda, got meta"):
        measure_network(lambda: None, device="meta")
