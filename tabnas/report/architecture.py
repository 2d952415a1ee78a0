"""An architecture as a picture: its layers from top to bottom, as wide as they are, and the parameters between them."""

import itertools
import math
from collections.abc import Sequence

from markupsafe import Markup

from tabnas.report.svg import WIDTH, drawing, line, rectangle, text
from tabnas.report.words import hyphenated

BAR, GAP = 20, 24
MIDDLE, WIDEST = 178, 180
"""Of the bars; lengths go by the square root of the number of units, so that 8 can be seen beside 1,027."""
UNITS, PARAMETERS = 316, WIDTH


def picture(n_inputs: int, widths: Sequence[int], n_outputs: int, total: int) -> Markup:
    """The network of `widths` and its parameters; what `total` has beyond the layers' are the embedding tables'."""
    sizes = [n_inputs, *widths, n_outputs]
    names = ["input", *(f"layer {i}" for i in range(1, len(widths) + 1)), "output"]
    longest = math.sqrt(max(sizes))
    lengths = [max(3.0, WIDEST * math.sqrt(size) / longest) for size in sizes]
    counts = [before * after + after for before, after in itertools.pairwise(sizes)]
    parts = [text(UNITS, 12, "units", "tick", "end"), text(PARAMETERS, 12, "parameters", "tick", "end")]
    y = 20
    for i, (name, size, length) in enumerate(zip(names, sizes, lengths, strict=True)):
        kind = "layer" if 0 < i <= len(widths) else "end"
        parts += [
            text(0, y + 15, name, "tick"),
            rectangle(MIDDLE - length / 2, y, length, BAR, kind),
            text(UNITS, y + 15, f"{size:,}", "strong", "end"),
        ]
        y += BAR
        if i < len(counts):
            parts += [_weights(y, length, lengths[i + 1]), text(PARAMETERS, y + 16, f"{counts[i]:,}", "", "end")]
            y += GAP
    y += 8
    if total > sum(counts):
        parts += [text(UNITS, y + 14, "embedding tables", "tick", "end")]
        parts += [text(PARAMETERS, y + 14, f"{total - sum(counts):,}", "", "end")]
        y += 20
    parts += [line(UNITS + 16, y, PARAMETERS, y, "axis"), text(PARAMETERS, y + 17, f"{total:,}", "strong", "end")]
    spoken = f"{hyphenated(widths)}: {n_inputs:,} inputs, hidden layers of {', '.join(map(str, widths))} units"
    return drawing(y + 24, f"{spoken}, {n_outputs:,} outputs, {total:,} parameters", *parts)


def _weights(y: float, above: float, below: float) -> Markup:
    corners = (MIDDLE - above / 2, y, MIDDLE + above / 2, y, MIDDLE + below / 2, y + GAP, MIDDLE - below / 2, y + GAP)
    return Markup('<path d="M{:.1f} {:g}L{:.1f} {:g}L{:.1f} {:g}L{:.1f} {:g}Z" class="weights"/>').format(*corners)
