"""The charts of a page."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup

from tabnas.report.svg import LEFT, RIGHT, WIDTH, Frame, Scale, around, drawing, line, mark, polyline, rectangle, text
from tabnas.report.svg import ticks as ticks_of

LEVELS = 24
"""Shades of a heat map."""


@dataclass(frozen=True)
class Point:
    """Of a scatter plot. low, high: ends of its error bar, the value itself where there is none."""

    x: float
    y: float
    low: float
    high: float
    label: str
    shape: str
    title: str
    is_best: bool = False


def scatter(
    points: Sequence[Point],
    *,
    x_label: str,
    y_label: str,
    title: str,
    limit: float | None = None,
    cut_outliers: bool = True,
) -> Markup:
    """Points with error bars and labels.

    limit: a line across the horizontal axis. cut_outliers: draw them at the edge, with an arrow.
    """
    reach = _reach if cut_outliers else max
    x_reach, y_reach = reach([point.x for point in points]), reach([point.y for point in points])
    x_values = [min(point.x, x_reach) for point in points] + ([] if limit is None else [limit])
    y_values = [value for point in points if point.y <= y_reach for value in (point.low, point.high)]
    frame = Frame.of(around(x_values), around(y_values, 0.1))
    x, y = frame.x, frame.y
    places = [
        (x(point.x) if point.x <= x_reach else x.stop - 20, y(point.y) if point.y <= y_reach else y.stop + 8)
        for point in points
    ]
    parts = [frame.axes(x_label, y_label)]
    if limit is not None:
        parts += [
            line(x(limit), y.start, x(limit), y.stop, "limit"),
            text(x(limit) - 5, y.start - 6, "limit", "tick", "end"),
        ]
    for point, (at, _) in zip(points, places, strict=True):
        if point.low < point.high and point.y <= y_reach:
            parts.append(line(at, y(point.low), at, y(point.high), "error"))
    for point, (at, height) in zip(points, places, strict=True):
        kind = "mark best" if point.is_best else "mark"
        parts.append(mark(at, height, point.shape, kind, point.title))
    labels = [point.label + ("→" if point.x > x_reach else "") + ("↑" if point.y > y_reach else "") for point in points]
    for point, (at, height), label, place in zip(points, places, labels, _label_places(places, labels), strict=True):
        parts.append(text(at + place.dx, height + place.dy, label, "strong" if point.is_best else "", place.anchor))
    return drawing(frame.height, title, *parts)


def _reach(values: Sequence[float]) -> float:
    """The largest value that an axis shows: outliers, which would push all others together, are drawn at its end."""
    low, middle = min(values), statistics.median(values)
    cut = middle + 8 * (middle - low)
    return max(value for value in values if value <= cut) if cut > low else max(values)


_Box = tuple[float, float, float, float]


class _Place(NamedTuple):
    """Of a label beside its point."""

    dx: float
    dy: float
    anchor: str


PLACES = (
    _Place(9, 4.5, "start"), _Place(-9, 4.5, "end"), _Place(7, -6, "start"), _Place(-7, -6, "end"),
    _Place(7, 16, "start"), _Place(-7, 16, "end"),
)  # fmt: skip


def _label_places(points: Sequence[tuple[float, float]], labels: Sequence[str]) -> list[_Place]:
    """For each label the first of PLACES that is free of marks and earlier labels, else where the least is covered."""
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in points]
    found = []
    for (x, y), label in zip(points, labels, strict=True):
        boxes = {place: _box(x, y, place, label) for place in PLACES}
        best = min(PLACES, key=lambda place: _covered(boxes[place], taken))
        taken.append(boxes[best])
        found.append(best)
    return found


def _box(x: float, y: float, place: _Place, label: str) -> _Box:
    """Left, top, right and bottom of a label, about."""
    width = 7.5 * len(label)
    left = x + place.dx - (width if place.anchor == "end" else 0)
    return left, y + place.dy - 10, left + width, y + place.dy


def _covered(box: _Box, taken: Sequence[_Box]) -> float:
    """Area that a label shares with what is there; to leave the chart is worse than anything."""
    left, top, right, bottom = box
    outside = max(0.0, right - WIDTH) + max(0.0, LEFT - left)
    shared = (max(0.0, min(right, r) - max(left, x)) * max(0.0, min(bottom, b) - max(top, y)) for x, y, r, b in taken)
    return 1000 * outside + sum(shared)


def curve(
    steps: Sequence[int], values: Sequence[float | None], *, label: str, title: str,
    low: float | None = None, warmup: int = 0,
) -> Markup:  # fmt: skip
    """A value over the steps of the search; steps without one are passed over.

    low: where the vertical axis begins. warmup: its last step, shaded.
    """
    known = [(step, value) for step, value in zip(steps, values, strict=True) if value is not None]
    bottom, top = around(value for _, value in known)
    frame = Frame.of((0, max(steps)), (bottom if low is None else low, top), 200)
    points = [(frame.x(step), frame.y(value)) for step, value in known]
    shade = [_warmup(frame.x, warmup, frame.y.stop, frame.y.start)] if warmup else []
    return drawing(frame.height, title, *shade, frame.axes("step", label), polyline(points, "curve"))


def _warmup(x: Scale, last: int, top: float, bottom: float) -> Markup:
    return rectangle(x.start, top, x(last) - x.start, bottom - top, "warmup") + text(x.start, top - 4, "warmup", "tick")


def probabilities(
    steps: Sequence[int], table: Sequence[Sequence[float]], widths: Sequence[int], *, label: str, title: str,
    chosen: int | None = None,
) -> Markup:  # fmt: skip
    """A layer's probabilities over the steps: table (steps, widths). chosen: the width of the best network, marked.

    Shades go by the square root of the probability: that of a uniform layer can be told from zero.
    """
    row = max(8.0, min(18.0, 180 / len(widths)))
    top, height = 24, row * len(widths)
    x = Scale(0, max(steps), LEFT, WIDTH - RIGHT)
    every = math.ceil(14 / row)
    parts = [text(0, 14, label, "label"), text(x.stop, top + height + 36, "step", "label", "end")]
    parts += [_shade(level, steps, table, x, top, row) for level in range(1, LEVELS + 1)]
    for i, width in enumerate(reversed(widths)):
        middle = top + (i + 0.5) * row
        if (len(widths) - 1 - i) % every == 0 or width == chosen:
            near = chosen is not None and width != chosen and abs(widths.index(chosen) - (len(widths) - 1 - i)) < every
            if not near:
                parts.append(text(LEFT - 6, middle + 4, f"{width:,}", "strong" if width == chosen else "tick", "end"))
        if width == chosen:
            parts.append(Markup('<path d="M{:g} {:g}l9-5v10z" class="chosen"/>').format(x.stop + 2, middle))
    for value, words in ticks_of(0, max(steps)):
        parts.append(text(x(value), top + height + 16, words, "tick", "middle"))
    parts.append(Markup('<rect x="{:g}" y="{:g}" width="{:g}" height="{:g}" class="box"/>').format(
        x.start, top, x.stop - x.start, height))  # fmt: skip
    return drawing(top + height + 42, title, *parts)


def _shade(
    level: int, steps: Sequence[int], table: Sequence[Sequence[float]], x: Scale, top: float, row: float
) -> Markup:
    """All cells of one shade as one path; neighbours in a row are one rectangle."""
    path = ""
    for j in range(len(table[0])):
        y = top + (len(table[0]) - 1 - j) * row
        start = None
        for i in range(len(steps) + 1):
            inside = i < len(steps) and round(LEVELS * math.sqrt(table[i][j])) == level
            if inside and start is None:
                start = steps[i - 1] if i else 0
            elif not inside and start is not None:
                path += f"M{x(start):g} {y:g}H{x(steps[i - 1]):g}v{row:g}H{x(start):g}z"
                start = None
    return (
        Markup('<path d="{}" class="shade" fill-opacity="{:.2f}"/>').format(path, level / LEVELS) if path else Markup()
    )


def shades() -> Markup:
    """The legend of `probabilities`."""
    parts = []
    for i, value in enumerate((0.01, 0.05, 0.2, 0.5, 1.0)):
        opacity = round(LEVELS * math.sqrt(value)) / LEVELS
        parts += [
            Markup('<rect x="{}" y="2" width="26" height="14" class="shade" fill-opacity="{:.2f}"/>').format(
                i * 78, opacity
            ),
            text(i * 78 + 31, 14, f"{value:g}", "tick"),
        ]
    return drawing(18, "shades of the probabilities 0.01, 0.05, 0.2, 0.5 and 1", *parts)
