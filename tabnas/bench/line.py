"""One figure of a bench."""

from dataclasses import dataclass


@dataclass
class Line:
    """One figure. target: what it should be at most or at least, if anything is promised; ok: whether it is."""

    bench: str
    case: str
    value: float
    unit: str
    target: float | None = None
    ok: bool | None = None

    @staticmethod
    def at_most(bench: str, case: str, value: float, unit: str, target: float) -> "Line":
        return Line(bench, case, round(value, 3), unit, target, value <= target)

    @staticmethod
    def at_least(bench: str, case: str, value: float, unit: str, target: float) -> "Line":
        return Line(bench, case, round(value, 3), unit, target, value >= target)
