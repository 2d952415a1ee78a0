"""Mistakes the user can mend: one line on stderr and exit code 2. Imports nothing of tabnas."""

import difflib
import math
import re
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in what the user gave, told as `NAME: what the rule is, what was given, what to do`.

    name: the config key (or file) at fault, as the user would write it.
    rule: what must hold ("must be a positive number").
    given: what was found instead; shown by repr, so pass the value itself.
    remedy: what to do about it.
    """

    def __init__(self, name: str, rule: str, given: object, remedy: str) -> None:
        super().__init__(name, rule, given, remedy)  # by which it is pickled on its way from a job to the sweep
        self.name = name

    def __str__(self) -> str:
        name, rule, given, remedy = self.args
        return " ".join(f"{name}: {rule}, got {given!r}; {remedy}".split())  # one line, whatever the parts hold


class ProcessLost(Exception):
    """One of the processes of a run has ended before its time, or cannot be reached.

    cause: what another of them met; told where it is more than a connection that has ended.
    """

    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)

    def __str__(self) -> str:
        cause = str(self.args[0]).partition("\n")[0]
        told = "" if re.search(_ENDED, cause, flags=re.IGNORECASE) else f", or cannot be reached: {cause}"
        return f"a process of this run has ended before its time{told}"


_ENDED = "connection (was )?(closed|reset)|broken pipe|remote process"
"""How gloo and NCCL put it."""


def unknown(name: str, given: object, known: Iterable[object]) -> UserError:
    """The error for a value that is none of `known`, suggesting the nearest."""
    options = sorted(map(str, known))
    close = difflib.get_close_matches(str(given), options, n=1) or [o for o in options if str(given) in o]
    remedy = f"did you mean {close[0]!r}?" if close else "choose one of these"
    return UserError(name, f"must be one of {', '.join(options)}", given, remedy)


def require_one_of(name: str, given: object, known: Iterable[object]) -> None:
    """Check that `given` is one of the values in `known`."""
    options = list(known)
    if given not in options:
        raise unknown(name, given, options)


def require_number(
    name: str, given: object, *, low: float, high: float = float("inf"), open_low: bool = False, remedy: str
) -> None:
    """Check that `given` is a number with low ≤ given ≤ high (low < given when `open_low`); booleans are no numbers."""
    number = isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)
    if not number or not low <= given <= high or (open_low and given == low):  # type: ignore[operator]
        raise UserError(name, f"must be a number {_range(low, high, open_low)}", given, remedy)


def require_integer(name: str, given: object, *, low: int, high: float = float("inf"), remedy: str) -> None:
    """Check that `given` is an integer with low ≤ given ≤ high; booleans are no integers."""
    if not isinstance(given, int) or isinstance(given, bool) or not low <= given <= high:
        raise UserError(name, f"must be an integer {_range(low, high, False)}", given, remedy)


def _range(low: float, high: float, open_low: bool) -> str:
    if high != float("inf"):
        return f"in {'(' if open_low else '['}{low:g}, {high:g}]"
    return f"{'above' if open_low else 'of at least'} {low:g}"
