"""Whether one-shot losses rank architectures as stand-alone training does, and what that takes (Figure 7)."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from omegaconf import MISSING, DictConfig, OmegaConf
from rich.table import Table

from tabnas.build import SERVING, Setup
from tabnas.errors import UserError, require_integer, unknown
from tabnas.space import Widths
from tabnas.statistics import pearson, rank_correlation
from tabnas.study import pool
from tabnas.study.figures import COLOURS, save
from tabnas.study.jobs import Job, Outcomes, Search, Training, carry_out
from tabnas.study.outcomes import failed_trainings, succeeded
from tabnas.study.words import bracketed, left_out, table

Found = dict[str, Any]
FEWEST = 5  # architectures


class Calibration:
    """SuperNets trained with each combination of some settings, beside stand-alone trainings of the same architectures.

    grid: keys of the config and values for each: [{key: search.weight_draws, values: [p, valid]}, …]. The table, the
        stand-alone trainings and the processes are the study's; of `dataset` SERVING alone can be varied.
    pool: feasible architectures, drawn uniformly, each trained with `seeds` seeds, whose mean loss counts. With two
        or more, the correlation between one half of the seeds and the other tells how well a stand-alone training
        agrees with another, which bounds what a SuperNet can reach.
    processes: jobs at a time; None: as many as there are cores.
    """

    name = "calibration"
    known_losses = False

    def __init__(
        self,
        grid: Sequence[Mapping[str, Any]],
        pool: int = 40,
        seeds: int = 2,
        processes: int | None = None,
    ) -> None:
        remedy = "such as [{key: search.weight_draws, values: [p, valid]}]"
        if isinstance(grid, str) or not isinstance(grid, Sequence):
            raise UserError("study.grid", "must be a list", grid, remedy)
        for entry in grid:
            values = entry.get("values") if isinstance(entry, Mapping) and set(entry) == {"key", "values"} else None
            named = values is not None and isinstance(entry["key"], str)
            if not named or isinstance(values, str) or not isinstance(values, Sequence) or not values:
                raise UserError("study.grid", "must have a key and a list of values in each entry", entry, remedy)
        require_integer("study.pool", pool, low=FEWEST, remedy="40 will do")
        require_integer("study.seeds", seeds, low=1, remedy="2 is the default")
        if processes is not None:
            require_integer("study.processes", processes, low=1, remedy="null is one on each core")
        self.grid = {entry["key"]: list(entry["values"]) for entry in grid}
        self.pool, self.seeds, self.processes = pool, seeds, processes

    def run(self, setup: Setup, progress: Callable[[int, int], None]) -> Found:
        """All searches and trainings; the content of study.json."""
        self._check_keys(OmegaConf.create(setup.config))
        drawn = pool.drawn_or_refused(setup.space, setup.limits, self.pool, seed=setup.seed, fewest=FEWEST)
        searches, trainings = self.searches(drawn), self.trainings(setup, drawn)
        jobs: list[Job] = [*searches, *trainings]
        outcomes = carry_out(setup, lambda done: jobs, self.processes, progress)
        return self.analysis(searches, trainings, outcomes)

    def _check_keys(self, cfg: DictConfig) -> None:
        """UserError for a key of the grid that no SuperNet depends on."""
        for key in self.grid:
            parent, _, last = key.rpartition(".")
            node = OmegaConf.select(cfg, parent) if parent else cfg
            if isinstance(node, DictConfig) and last not in node:
                raise unknown(key, last, [name for name in node if not str(name).startswith("_")])
            if OmegaConf.select(cfg, key, default=MISSING) == MISSING:
                raise UserError("study.grid", "must have keys of the config", key, "see python train.py --help")
            group, _, rest = key.partition(".")
            of_table = group == "dataset" and rest.partition(".")[0] not in SERVING
            if of_table or group in ("resume", "retrain", "study") or key in ("trainer.devices", "trainer.num_nodes"):
                rule = "must vary a SuperNet, as table, stand-alone trainings and processes are the study's"
                raise UserError("study.grid", rule, key, f"of dataset it can vary {', '.join(SERVING)}")

    def searches(self, drawn: Sequence[Widths]) -> list[Search]:
        """One for each combination."""
        found = []
        for values in itertools.product(*self.grid.values()):
            settings = dict(zip(self.grid, values, strict=True))
            name = ",".join(f"{key.rpartition('.')[2]}={value}" for key, value in settings.items())
            found.append(Search(name or "search", settings, one_shot=drawn))
        return found

    def trainings(self, setup: Setup, drawn: Sequence[Widths]) -> list[Training]:
        """One for each architecture."""
        return [Training(widths, range(setup.seed, setup.seed + self.seeds)) for widths in drawn]

    def analysis(self, searches: Sequence[Search], trainings: Sequence[Training], outcomes: Outcomes) -> Found:
        """study.json's content, from the jobs' outcomes alone."""
        trained = succeeded(trainings, outcomes)
        known = [job in trained for job in trainings]
        losses = np.array([[run["loss"] for run in outcomes[job.name]["runs"]] for job in trained])
        stand_alone = losses.mean(axis=1)
        half = losses.shape[1] // 2
        halves = (losses[:, :half].mean(axis=1), losses[:, half:].mean(axis=1)) if half else None
        settings = []
        for job in searches:
            outcome = outcomes[job.name]
            row: Found = {"settings": dict(job.settings), "name": job.name}
            if "error" in outcome:
                settings.append({**row, "error": outcome["error"]})
                continue
            one_shot = list(itertools.compress(outcome["one_shot"], known))
            settings.append(
                {
                    **row,
                    "one_shot": one_shot,
                    "pearson": pearson(one_shot, stand_alone),
                    "kendall": rank_correlation(one_shot, stand_alone),
                    "loss_of_best": float(stand_alone[np.argmin(one_shot)]),
                    "seconds": outcome["search"]["seconds"],
                }
            )
        return {
            "architectures": [
                {"widths": outcomes[job.name]["widths"], "losses": row, "costs": outcomes[job.name]["costs"]}
                for job, row in zip(trained, losses.tolist(), strict=True)
            ],
            "settings": settings,
            "best_loss": float(stand_alone.min()),
            "median_loss": float(np.median(stand_alone)),
            "between_seeds": halves and {"pearson": pearson(*halves), "kendall": rank_correlation(*halves)},
            "failed_trainings": failed_trainings(outcomes),
        }

    def tables(self, found: Found) -> list[Table]:
        """For the terminal, best ranking first."""
        keys = list(found["settings"][0]["settings"])
        rows = []
        for row in sorted(found["settings"], key=_by_kendall):
            told = [str(value) for value in row["settings"].values()]
            if "error" in row:
                rows.append([*told, "failed", "", "", ""])
            else:
                rows.append([
                    *told, bracketed(row["pearson"]), bracketed(row["kendall"]), f"{row['loss_of_best']:.4f}",
                    f"{row['seconds']:.0f}",
                ])  # fmt: skip
        columns = (
            *(key.rpartition(".")[2] for key in keys),
            "Pearson",
            "Kendall",
            "stand-alone loss of\nthe one-shot best",
            "seconds",
        )
        n = len(found["architectures"])
        caption = (
            f"{n} random feasible architectures; 95 % intervals; stand-alone loss: best {found['best_loss']:.4f}, "
            f"median {found['median_loss']:.4f}"
        )
        if found["between_seeds"]:
            halves = found["between_seeds"]
            caption += (
                f"\nbetween stand-alone trainings of other seeds: Pearson {bracketed(halves['pearson'])}, "
                f"Kendall {bracketed(halves['kendall'])}"
            )
        caption += left_out(found.get("failed_trainings", ()), "trainings")
        return [table(self.name, columns, rows, caption, left=len(keys))]

    def write(self, found: Found, setup: Setup) -> None:
        """calibration.png and .svg: the best and the worst setting."""
        known = sorted((row for row in found["settings"] if "error" not in row), key=_by_kendall)
        if not known:
            return
        shown = [known[0], known[-1]] if len(known) > 1 else known
        figure = Figure(figsize=(4.6 * len(shown), 4.4), layout="constrained")
        losses = np.array([row["losses"] for row in found["architectures"]])
        mean, spread = losses.mean(axis=1), losses.std(axis=1)
        for axis, row in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            axis.errorbar(mean, row["one_shot"], xerr=spread, fmt="o", color=COLOURS[0], ecolor="0.6", markersize=4)
            correlations = f"Pearson {bracketed(row['pearson'])}, Kendall {bracketed(row['kendall'])}"
            axis.set_title(f"{row['name'].replace(',', ', ')}\n{correlations}", fontsize=9)
            axis.set(xlabel=f"stand-alone loss, {losses.shape[1]} seeds", ylabel="one-shot loss")
            axis.grid(alpha=0.3)
        save(figure, setup.folder / "calibration.png")


def _by_kendall(row: Found) -> float:
    """Descending; failed and undefined last."""
    value = row.get("kendall", {}).get("value")
    return 2.0 if value is None else -float(value)
