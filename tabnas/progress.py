"""What a person sees while a run works: one line per phase, on a terminal only. May import space and ranks."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from tabnas.ranks import rank
from tabnas.space import hyphenated

log = logging.getLogger(__name__)


class Display(Progress):
    """Phases with bar, share, time left and a status; draws on stderr if that is a terminal, else not at all.

    quiet: not at all.
    """

    def __init__(self, quiet: bool = False) -> None:
        console = Console(stderr=True)
        hidden = quiet or rank() > 0 or not console.is_terminal
        columns = (
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            TextColumn("{task.fields[status]}"),
        )
        super().__init__(*columns, console=console, disable=hidden, refresh_per_second=4, speed_estimate_period=60)

    def phase(self, name: str, unit: str = "") -> Callable[[int, int], None]:
        """Called with what is done and the total, shows a phase, from the first call on.

        unit: of what is done, to show the numbers too.
        """
        tasks: list[TaskID] = []

        def show(done: int, total: int) -> None:
            if not tasks:
                tasks.append(self.add_task(name, total=total, status=""))
            status = f"{done:,}/{total:,} {unit}" if unit else ""
            self.update(tasks[0], completed=done, total=total, status=status)

        return show

    def phases(self) -> Callable[[str, int, int], None]:
        """Called with a phase, what is done of it and the total, shows one phase after another."""
        shown: dict[str, Callable[[int, int], None]] = {}

        def show(name: str, done: int, total: int) -> None:
            shown.setdefault(name, self.phase(name))(done, total)

        return show


class SearchProgress(Callback):
    """Phase, epoch, loss, P(V) and the leading architecture of the search; to the log at the end of every epoch."""

    def __init__(self, display: Display) -> None:
        self.display = display
        self.task = display.add_task("search", total=None, status="starting")
        self.logged = (0.0, 0)
        """Time and step of the last line of the log."""
        self.ranked = 0.0
        """Architectures, by their one-shot losses."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        search: Any = pl_module
        self.display.update(self.task, total=search.total_steps, completed=search.step)
        self.logged = (time.perf_counter(), search.step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        search: Any = pl_module
        shown = [_epoch(trainer, search)]
        if outputs["train_loss"] is not None:
            shown.append(f"loss {outputs['train_loss']:.3f}")
        valid = outputs["prob_valid"] if outputs["prob_valid"] is not None else outputs["prob_valid_estimate"]
        if valid is not None:
            shown.append(f"P(V) {valid:.3f}")
        if outputs["warmup_probability"] == 0 and search.method.has_controller:
            shown.append(f"leading {hyphenated(search.leading())}")
        phase = "warmup" if outputs["warmup_probability"] > 0 else "search"
        status = "  ".join(shown)
        self.display.update(
            self.task, total=search.total_steps, completed=search.step, description=phase, status=status
        )
        epoch, rest = divmod(search.step * cast(Any, trainer.train_dataloader).n_epochs, search.total_steps)
        if rest == 0:
            now, (before, first) = time.perf_counter(), self.logged
            speed = (search.step - first) * search.batch_size * search.n_replicas / (now - before)
            log.info("%s: epoch %d over, %s, %s rows/s", phase, epoch, ", ".join(shown[1:]), f"{speed:,.0f}")
            self.logged = (now, search.step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        search: Any = pl_module
        search.on_ranked = self._show_ranked  # the selection comes after the other callbacks

    def _show_ranked(self, n_more: float) -> None:
        self.ranked += n_more
        status = f"{self.ranked:.0f} architectures ranked"
        self.display.update(self.task, description="select", status=status)


class RetrainProgress(Callback):
    """All stand-alone trainings of a run as one bar, in steps, of which those trained at once take as many each."""

    def __init__(self, display: Display, n_trainings: int, steps_each: int) -> None:
        self.display, self.n_trainings, self.steps_each = display, n_trainings, steps_each
        self.task = display.add_task("retrain", total=n_trainings * steps_each, status="")
        self.done = self.current = 0
        """Trainings that are over, and those that go on."""
        self.label = ""

    def start(self, architecture: str, seeds: Sequence[int]) -> None:
        """The next trainings begin, those of an architecture with these seeds."""
        self.done, self.current = self.done + self.current, len(seeds)
        self.label = f"{architecture} seed {seeds[0]}" if len(seeds) == 1 else f"{architecture} {len(seeds)} seeds"
        self._show(0, "")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        module: Any = pl_module
        self._show(module.step, f"  {_epoch(trainer, module)}  loss {outputs['train_loss']:.3f}")

    def finish(self) -> None:
        """All trainings are over, those found done on resume included."""
        self._show(self.steps_each, "")

    def _show(self, steps: int, detail: str) -> None:
        completed = self.done * self.steps_each + self.current * steps
        status = f"{self.done + self.current}/{self.n_trainings}  {self.label}{detail}"
        self.display.update(self.task, completed=completed, status=status)


def _epoch(trainer: Trainer, module: Any) -> str:
    """The epoch of the module's own steps; see trainer.fit."""
    n_epochs = cast(Any, trainer.train_dataloader).n_epochs
    return f"epoch {min(module.step * n_epochs // module.total_steps + 1, n_epochs)}/{n_epochs}"
