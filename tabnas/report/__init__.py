"""One HTML page for a run, or for a folder of runs, that needs nothing beside it: `python -m tabnas.report --help`.

Reads result files only. May import errors.
"""

from tabnas.report.page import write

__all__ = ["write"]
