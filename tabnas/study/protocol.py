"""What a study is to a run. Imports nothing of tabnas."""

from collections.abc import Callable
from typing import Any, Protocol

from rich.table import Table


class Study(Protocol):
    """Many searches instead of one."""

    name: str
    known_losses: bool
    """Whether it is one on a table of losses (setup is a ToySetup) or on networks (setup is a Setup)."""

    def run(self, setup: Any, progress: Callable[[int, int], None]) -> dict[str, Any]:
        """All that is to be trained; what came of it, for study.json. progress: called with what is done, of how much.

        What a run that was stopped has done is found in the run's folder.
        """

    def write(self, found: dict[str, Any], setup: Any) -> None:
        """Figures, into the run's folder."""

    def tables(self, found: dict[str, Any]) -> list[Table]:
        """What to show on the terminal, and in study.md."""
