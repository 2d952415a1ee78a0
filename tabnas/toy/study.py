"""What a study is to a run."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from rich.table import Table

if TYPE_CHECKING:
    from tabnas.toy.search import ToySetup


class Study(Protocol):
    """Many searches on a table of losses instead of one."""

    name: str

    def run(self, setup: "ToySetup", progress: Callable[[int, int], None]) -> dict[str, Any]:
        """All searches; what they found, for study.json. progress: called with what is done, and of how much."""

    def write(self, found: dict[str, Any], setup: "ToySetup") -> None:
        """Figures and tables, into the run's folder."""

    def tables(self, found: dict[str, Any]) -> list[Table]:
        """What to show on the terminal."""
