"""Estimates in words and in tables. May import statistics."""

from collections.abc import Sequence, Sized

from rich import box
from rich.table import Table

from tabnas.statistics import Estimate


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str, *, left: int = 1) -> Table:
    """For the terminal; all but the first `left` columns are set to the right."""
    made = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=title,
        caption=caption,
        title_justify="left",
        caption_justify="left",
    )
    for i, heading in enumerate(columns):
        made.add_column(heading, justify="left" if i < left else "right")
    for row in rows:
        made.add_row(*row)
    return made


def plus_minus(found: Estimate, digits: int = 4, *, sign: bool = False) -> str:
    """0.3951 ± 0.0011, of an interval that is symmetric; the value alone where there is none."""
    value = f"{found['value']:{'+' if sign else ''}.{digits}f}"
    return value if found["interval"] is None else f"{value} ± {found['interval'][1] - found['value']:.{digits}f}"


def bracketed(found: Estimate, digits: int = 2) -> str:
    """0.81 [0.65, 0.90]."""
    low, high = found["interval"]
    value = "undefined" if found["value"] is None else f"{found['value']:.{digits}f}"
    return f"{value} [{low:.{digits}f}, {high:.{digits}f}]"


def left_out(failed: Sized, what: str) -> str:
    """A line for a caption, or nothing."""
    return f"\n{len(failed)} {what} failed and are left out" if failed else ""


def verdict(difference: Estimate, worse: str = "worse", better: str = "better") -> str:
    """What an interval of a difference in loss says: worse, better, or that no difference is shown."""
    if difference["interval"] is None:
        return "not known"
    low, high = difference["interval"]
    return worse if low > 0 else better if high < 0 else "no difference shown"
