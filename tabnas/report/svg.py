"""What charts are made of: a frame with axes, and marks. Colours and fonts are the style sheet's, by class.

Charts are 400 units wide, about the width of a phone, so that their text is legible there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

WIDTH = 400
TOP, RIGHT, BOTTOM, LEFT = 34, 14, 40, 52


@dataclass(frozen=True)
class Scale:
    """From values to places: `low` is at `start`, `high` at `stop`."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(self.start + share * (self.stop - self.start), 1)


def around(values: Iterable[float], margin: float = 0.06) -> tuple[float, float]:
    """The range of values, a little wider."""
    values = list(values)
    low, high = min(values), max(values)
    wider = margin * (high - low) or margin * abs(high) or 1.0
    return low - wider, high + wider


def ticks(low: float, high: float, n: int = 4) -> list[tuple[float, str]]:
    """Round values within a range, about n of them, with as many decimals as all of them need."""
    found = [t for t in MaxNLocator(n, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high) if low <= t <= high]
    unit, name = (1e6, "M") if max(map(abs, found), default=0) >= 1e6 else (1.0, "")
    decimals = max((len(f"{t / unit:.10f}".rstrip("0").partition(".")[2]) for t in found), default=0)
    return [(t, f"{t / unit:,.{decimals}f}{name}") for t in found]


def drawing(height: float, title: str, *parts: Markup) -> Markup:
    """An SVG picture with a title, which is read to those who do not see it."""
    head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, height, title)
    return head + Markup("").join(parts) + Markup("</svg>")


def text(x: float, y: float, words: object, kind: str = "", anchor: str = "start") -> Markup:
    return Markup('<text x="{:g}" y="{:g}" class="{}" text-anchor="{}">{}</text>').format(x, y, kind, anchor, words)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<path d="M{:g} {:g}L{:g} {:g}" class="{}"/>').format(x1, y1, x2, y2, kind)


def rectangle(x: float, y: float, width: float, height: float, kind: str) -> Markup:
    made = Markup('<rect x="{:g}" y="{:g}" width="{:g}" height="{:g}" class="{}"/>')
    return made.format(x, y, round(width, 1), round(height, 1), kind)


def polyline(points: Sequence[tuple[float, float]], kind: str) -> Markup:
    return Markup('<path d="M{}" class="{}"/>').format("L".join(f"{x:g} {y:g}" for x, y in points), kind)


MARKS = {
    "circle": "M-5 0A5 5 0 1 1 5 0A5 5 0 1 1-5 0Z",
    "square": "M-4.5-4.5H4.5V4.5H-4.5Z",
    "triangle": "M0-6L5.5 4H-5.5Z",
    "diamond": "M0-6L6 0L0 6L-6 0Z",
}


def mark(x: float, y: float, shape: str, kind: str, title: str = "") -> Markup:
    """A shape at a place; the title is shown under the pointer."""
    made = Markup('<path d="{}" transform="translate({:g} {:g})" class="{}"><title>{}</title></path>')
    return made.format(MARKS[shape], x, y, kind, title)


def key(shape: str) -> Markup:
    """A mark by itself, to be explained in a line of text."""
    made = Markup('<svg viewBox="-8 -8 16 16" class="key" aria-hidden="true"><path d="{}" class="mark"/></svg>')
    return made.format(MARKS[shape])


@dataclass(frozen=True)
class Frame:
    """The axes of a chart, and where values are in it."""

    x: Scale
    y: Scale
    height: float

    @staticmethod
    def of(x_range: tuple[float, float], y_range: tuple[float, float], height: float = 250) -> "Frame":
        return Frame(Scale(*x_range, LEFT, WIDTH - RIGHT), Scale(*y_range, height - BOTTOM, TOP), height)

    def axes(self, x_label: str, y_label: str) -> Markup:
        """Grid, ticks and labels; the vertical axis's label is above it, where it need not be turned."""
        x, y = self.x, self.y
        parts = [text(0, 12, y_label, "label"), text(x.stop, self.height - 4, x_label, "label", "end")]
        for value, words in ticks(y.low, y.high):
            parts += [
                line(x.start, y(value), x.stop, y(value), "grid"),
                text(x.start - 6, y(value) + 4, words, "tick", "end"),
            ]
        for value, words in ticks(x.low, x.high):
            parts += [
                line(x(value), y.start, x(value), y.start + 4, "axis"),
                text(x(value), y.start + 17, words, "tick", "middle"),
            ]
        return Markup("").join([*parts, line(x.start, y.start, x.stop, y.start, "axis")])
