"""The search on TensorBoard. Display only: nothing here changes a run."""

from typing import TYPE_CHECKING, Any, cast

import torch
from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger

if TYPE_CHECKING:
    from tabnas.search.module import TabNAS

FIGURE_EVERY_POINTS = 50  # history points between two heat maps, which take half a second to draw


class Dashboard(Callback):
    """Scalars after every block; at the history's points probabilities per layer, entropies and the heat map.

    Without a controller the loss of the SuperNet's training is all there is.
    """

    def __init__(self, logger: TensorBoardLogger) -> None:
        self.logger = logger
        self.points_shown = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        search = cast("TabNAS", pl_module)
        self.points_shown = len(search.history)
        if not search.method.has_controller:
            return
        layers = range(1, search.space.n_layers + 1)
        self.logger.experiment.add_custom_scalars(
            {
                "probabilities": {f"layer {i}": ["Multiline", [f"probability_layer_{i}/.*"]] for i in layers},
                "controller": {
                    "P(V), exact and estimated": ["Multiline", ["controller/prob_valid.*"]],
                    "entropy (nats)": ["Multiline", ["entropy/.*"]],
                    "skipped RL steps": ["Multiline", ["skipped/.*"]],
                },
            }
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        search = cast("TabNAS", pl_module)
        self.logger.log_metrics(
            {name: value for name, value in self._scalars(search, outputs).items() if value is not None}, search.step
        )
        if search.method.has_controller and len(search.history) > self.points_shown:
            self.points_shown = len(search.history)
            self._show_point(search, trainer)

    def _scalars(self, search: "TabNAS", outputs: dict[str, Any]) -> dict[str, Any]:
        return {
            "weights/loss": outputs["train_loss"],
            "weights/warmup_probability": outputs["warmup_probability"],
            "controller/reward": outputs["reward"],
            "controller/advantage": outputs["advantage"],
            "controller/prob_valid": outputs["prob_valid"],
            "controller/prob_valid_estimate": outputs["prob_valid_estimate"],
            "controller/gradient_error": outputs["gradient_error"],
            "skipped/infeasible": search.counts["skipped_infeasible"],
            "skipped/no_feasible_sample": search.counts["skipped_no_sample"],
            "skipped/weight_updates": search.counts["skipped_weight_updates"],
        }

    def _show_point(self, search: "TabNAS", trainer: Trainer) -> None:
        scalars: dict[str, float] = {}
        for i, row in enumerate(search.history[-1]["probabilities"]):
            for width, probability in zip(search.space.choices[i], row, strict=True):
                scalars[f"probability_layer_{i + 1}/{width:04d}"] = probability
        for i, nats in enumerate(search.controller.entropy().tolist()):
            scalars[f"entropy/layer_{i + 1}"] = nats
        self.logger.log_metrics(scalars, search.step)
        if self.points_shown % FIGURE_EVERY_POINTS == 0 or search.step == search.total_steps:
            self.logger.experiment.add_figure("probabilities over time", heat_map(search), search.step)


def heat_map(search: "TabNAS") -> Figure:
    """Per layer, the probability of each width (rows) over the steps so far (columns)."""
    n_layers = search.space.n_layers
    figure = Figure(figsize=(8, 2.4 * n_layers), layout="constrained")
    axes = figure.subplots(n_layers, 1, sharex=True, squeeze=False)[:, 0]
    for i, axis in enumerate(axes):
        table = torch.tensor([point["probabilities"][i] for point in search.history]).T.numpy()
        steps = (search.history[0]["step"], search.history[-1]["step"])
        extent = (steps[0], max(steps[1], steps[0] + 1), -0.5, len(table) - 0.5)
        image = axis.imshow(table, aspect="auto", origin="lower", vmin=0.0, cmap="viridis", extent=extent)
        axis.set_yticks(range(len(table)), [str(w) for w in search.space.choices[i]], fontsize=6)
        axis.set_ylabel(f"width of layer {i + 1}")
        figure.colorbar(image, ax=axis, label="probability")
    axes[-1].set_xlabel("step")
    return figure
