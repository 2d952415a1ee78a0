"""Charts show the numbers they are given."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabnas.cost import ParameterCount
from tabnas.report.architecture import picture
from tabnas.report.charts import LEVELS, Point, curve, probabilities, scatter
from tabnas.report.svg import LEFT, RIGHT, WIDTH, around, ticks

VALUES = st.floats(-1e7, 1e7).map(lambda value: round(value, 6))


@given(st.lists(VALUES, min_size=1, max_size=5))
def test_ticks_are_within_the_range_and_tell_their_own_values(values):
    low, high = around(values)
    found = ticks(low, high)
    assert len(found) <= 6
    for value, words in found:
        assert low <= value <= high
        unit = 1e6 if words.endswith("M") else 1
        assert float(words.rstrip("M").replace(",", "")) * unit == pytest.approx(value, rel=1e-6, abs=1e-9)
    assert len({words for _, words in found}) == len(found)


@pytest.mark.parametrize("widths", [(8,), (80, 8, 160), (64, 64, 160, 48, 16, 144, 16, 8, 48)])
def test_the_parameters_between_layers_add_up(widths):
    total = ParameterCount(180, 10)(widths)
    drawn = re.findall(r">([\d,]+)</text>", picture(180, widths, 10, total))
    numbers = [int(number.replace(",", "")) for number in drawn]
    sizes = [180, *widths, 10]
    assert numbers[0::2][: len(sizes)] == sizes
    assert sum(numbers[1::2][: len(sizes) - 1]) == numbers[-1] == total


def test_bars_are_in_proportion_to_the_square_root():
    bars = [float(w) for w in re.findall(r'<rect [^>]*width="([\d.]+)"', picture(100, (25, 400), 4, 0))]
    assert [bar / bars[0] for bar in bars] == pytest.approx([1, 0.5, 2, 0.2], abs=0.01)


def test_shades_of_a_heat_map_are_those_of_the_probabilities():
    steps, widths = [10, 20, 30, 50], [2, 4, 8]
    table = [[0.2, 0.3, 0.5], [0.2, 0.7, 0.1], [0.0, 1.0, 0.0], [0.0, 0.9, 0.1]]
    drawn = probabilities(steps, table, widths, label="layer", title="t", chosen=4)
    x_per_step = (WIDTH - RIGHT - LEFT) / 50
    found = {}
    for path, opacity in re.findall(r'<path d="([^"]*)" class="shade" fill-opacity="([\d.]+)"', drawn):
        for x0, y, x1 in re.findall(r"M([\d.]+) ([\d.]+)H([\d.]+)v", path):
            start, stop = ((float(x) - LEFT) / x_per_step for x in (x0, x1))
            for i, step in enumerate(steps):
                if start < step - 0.5 < stop:
                    row = 2 - round((float(y) - 24) / 18)
                    found[i, row] = round(float(opacity) * LEVELS)
    expected = {(i, j): round(LEVELS * math.sqrt(p)) for i, row in enumerate(table) for j, p in enumerate(row) if p}
    assert found == expected


def marks(drawn):
    return [tuple(map(float, place)) for place in re.findall(r'translate\(([\d.]+) ([\d.]+)\)" class="mark', drawn)]


def point(x, y, error=0.0, best=False):
    return Point(x, y, y - error, y + error, "1", "circle", "about", best)


def test_points_are_in_proportion_and_larger_is_right_and_up():
    drawn = scatter([point(1, 1), point(2, 3), point(3, 2)], x_label="x", y_label="y", title="t")
    (x1, y1), (x2, y2), (x3, y3) = marks(drawn)
    assert x3 - x2 == pytest.approx(x2 - x1, abs=0.2)
    assert y1 - y2 == pytest.approx(2 * (y1 - y3), abs=0.3)
    assert y2 < y3 < y1


def test_an_outlier_is_at_the_edge_with_an_arrow_and_leaves_room_for_the_others():
    losses = [0.395, 0.396, 0.397, 0.400, 0.900]
    drawn = scatter([point(i, y, 0.001) for i, y in enumerate(losses)], x_label="x", y_label="y", title="t")
    assert drawn.count("↑") == 1
    heights = [y for _, y in marks(drawn)]
    assert heights == sorted(heights, reverse=True)
    assert heights[0] - heights[3] > 80


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12), st.booleans())
def test_everything_is_within_the_picture(places, has_limit):
    points = [point(x, y, 0.1) for x, y in places]
    drawn = scatter(points, x_label="x", y_label="y", title="t", limit=1.0 if has_limit else None)
    assert "nan" not in drawn
    assert len(marks(drawn)) == len(points)
    for x, y in [*marks(drawn), *(tuple(map(float, p)) for p in re.findall(r'<text x="([\d.]+)" y="([\d.]+)"', drawn))]:
        assert 0 <= x <= WIDTH
        assert 0 <= y <= 250


def test_a_curve_passes_over_what_is_not_known():
    drawn = curve([10, 20, 30, 40], [None, 1.0, None, 3.0], label="y", title="t", warmup=20)
    (path,) = re.findall(r'd="M([^"]*)" class="curve"', drawn)
    (x1, y1), (x2, y2) = (map(float, pair.split()) for pair in path.split("L"))
    assert x1 < x2
    assert y1 > y2
    assert "warmup" in drawn
    assert "warmup" not in curve([1, 2], [1.0, 1.0], label="y", title="t")
