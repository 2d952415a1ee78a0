"""What is predicted, and how outputs are judged: classification or regression. May import metrics.

Shapes: B rows, n_outputs outputs of the network.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.special import stdtrit
from torch import Tensor

from tabnas.metrics import auroc, recalls

EVALUATION_ROWS = 8192  # rows of a forward pass in evaluation, which bounds memory


@dataclass(frozen=True)
class Classification:
    """Two or more classes, by their names; the loss is the log loss in nats.

    The network has one output for two classes, the logit of the second, else one logit per class. A target is an
    int64 class index.
    """

    classes: tuple[str, ...]
    name = "classification"
    reported = ("balanced_error",)
    """Metrics shown beside the loss, the first of them on the dashboard."""
    measured = ("balanced_error", "accuracy", "auroc")
    """All of them."""

    @property
    def n_outputs(self) -> int:
        return 1 if len(self.classes) == 2 else len(self.classes)

    def answers(self, outputs: Tensor) -> Tensor:
        """Probabilities (B, K) float64 of the K classes: outputs (B, n_outputs)."""
        outputs = outputs.double()
        if outputs.shape[1] == 1:
            outputs = torch.cat([torch.zeros_like(outputs), outputs], dim=1)
        return outputs.softmax(dim=1)

    def loss(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean log loss, weighted by `weight` (B,): outputs (B, n_outputs), target (B,) → scalar."""
        reduction = "mean" if weight is None else "none"
        if outputs.shape[1] == 1:
            losses = F.binary_cross_entropy_with_logits(outputs[:, 0], target.to(outputs.dtype), reduction=reduction)
        else:
            losses = F.cross_entropy(outputs, target, reduction=reduction)
        return losses if weight is None else (losses * weight).sum() / weight.sum()

    def metrics(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> dict[str, float]:
        """Those of quick_metrics and `auroc`: the area under the ROC curve, of several classes the mean of one against
        the rest over the classes in `target`; left out where there is but one.
        """
        area = float(self.auroc(outputs, target, weight)[0])
        return self.quick_metrics(outputs, target, weight) | ({} if math.isnan(area) else {"auroc": area})

    def quick_metrics(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> dict[str, float]:
        """`balanced_error`: 1 − the mean over the classes in `target` of their recall (the paper's Table 1).
        `accuracy`: the share of the rows predicted right.
        """
        predicted = (outputs[:, 0] > 0).long() if outputs.shape[1] == 1 else outputs.argmax(dim=1)
        right = (predicted == target).cpu().numpy()
        recall = recalls(right, target.cpu().numpy(), _numpy(weight))
        accuracy = np.average(right, weights=_numpy(weight))
        return {"balanced_error": 1.0 - float(recall.mean()), "accuracy": float(accuracy)}

    def auroc(
        self, outputs: Tensor, target: Tensor, weight: Tensor | None = None, group: Tensor | None = None
    ) -> NDArray[np.floating]:
        """See metrics.auroc; outputs (B, n_outputs), group (B,)."""
        # Not probabilities, which round to 1 where these still differ.
        scores = outputs if outputs.shape[1] == 1 else outputs.log_softmax(dim=1)
        return auroc(scores.cpu().numpy(), target.cpu().numpy(), _numpy(weight), _numpy(group))


@dataclass(frozen=True)
class Regression:
    """A number; the loss is the squared error of the standardised target, so that predicting the mean costs about 1.

    mean, std: of the target in the training split, in its own units. A target is (target − mean) / std, float32.
    """

    mean: float
    std: float
    name = "regression"
    reported = ("rmse", "r2")
    measured = reported
    n_outputs = 1

    def answers(self, outputs: Tensor) -> Tensor:
        """(B,) float64 in the target's own units: outputs (B, 1)."""
        return self.mean + self.std * outputs[:, 0].double()

    def loss(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean squared error, weighted by `weight` (B,): outputs (B, 1), standardised target (B,) → scalar."""
        if weight is None:
            return F.mse_loss(outputs[:, 0], target)
        return ((outputs[:, 0] - target).square() * weight).sum() / weight.sum()

    def metrics(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> dict[str, float]:
        """`rmse` in the target's own units and `r2`, the coefficient of determination on these rows; 0 where their
        targets are all the same.
        """
        weight = torch.ones_like(target) if weight is None else weight
        target, weight = target.double(), weight.double()
        error = ((outputs[:, 0].double() - target).square() * weight).sum() / weight.sum()
        mean = (target * weight).sum() / weight.sum()
        spread = ((target - mean).square() * weight).sum() / weight.sum()
        r2 = float(1.0 - error / spread) if spread > 0 else 0.0
        return {"rmse": float(error.sqrt()) * self.std, "r2": r2}

    quick_metrics = metrics


Task = Classification | Regression


def _numpy(column: Tensor | None) -> NDArray[Any] | None:
    return None if column is None else column.cpu().numpy()


N_GROUPS = 20
"""Of rows, left out one at a time for an interval."""
LEAST = {"r2": -math.inf}  # of the others: 0
MOST = {"loss": math.inf, "rmse": math.inf}  # of the others: 1


def evaluate(
    task: Task,
    predict: Callable[[Tensor, Tensor], Tensor],
    numerical: Tensor,
    categorical: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
) -> dict[str, float]:
    """`loss` and the task's metrics of predict(numerical, categorical) → outputs over all n rows."""
    return judged(task, outputs_of(predict, numerical, categorical), target, weight)


def loss_of(
    task: Task,
    predict: Callable[[Tensor, Tensor], Tensor],
    numerical: Tensor,
    categorical: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
) -> float:
    """The loss alone, which is all that a choice goes by; arguments are those of `evaluate`."""
    return float(task.loss(outputs_of(predict, numerical, categorical), target, weight))


@torch.no_grad()
def outputs_of(predict: Callable[[Tensor, Tensor], Tensor], numerical: Tensor, categorical: Tensor) -> Tensor:
    """(n, n_outputs) of numerical (n, d) and categorical (n, c), EVALUATION_ROWS at a time."""
    pieces = zip(numerical.split(EVALUATION_ROWS), categorical.split(EVALUATION_ROWS), strict=True)
    return torch.cat([predict(*piece) for piece in pieces])


def judged(task: Task, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> dict[str, float]:
    """`loss` and the task's metrics of outputs (n, n_outputs) for target (n,)."""
    return {"loss": float(task.loss(outputs, target, weight)), **task.metrics(outputs, target, weight)}


def with_intervals(
    task: Task, outputs: Tensor, target: Tensor, weight: Tensor | None = None
) -> dict[str, dict[str, Any]]:
    """By metric its `value` and `interval`, [low, high] at 95 %, by the delete-a-group jackknife (Kott 2001).

    The interval tells of the finite number of rows, not of the spread between trainings; None of a single row. Without
    a metric that leaving out a group would leave undefined.
    """
    values = judged(task, outputs, target, weight)
    if len(target) == 1:
        return {name: {"value": value, "interval": None} for name, value in values.items()}
    n_groups = min(N_GROUPS, len(target))
    group = torch.arange(len(target)) % n_groups
    without: dict[str, list[float]] = {name: [] for name in values}
    for left_out in range(n_groups):
        kept = group != left_out
        part = outputs[kept], target[kept], None if weight is None else weight[kept]
        for name, value in {"loss": float(task.loss(*part)), **task.quick_metrics(*part)}.items():
            without[name].append(value)
    if isinstance(task, Classification) and "auroc" in values:
        without["auroc"] = task.auroc(outputs, target, weight, group)[1:].tolist()
    told: dict[str, dict[str, Any]] = {}
    student_t = float(stdtrit(n_groups - 1, 0.975))
    for name, value in values.items():
        squares = sum((other - value) ** 2 for other in without[name])
        half = student_t * math.sqrt(squares * (n_groups - 1) / n_groups)
        if math.isfinite(half):
            interval = [max(value - half, LEAST.get(name, 0.0)), min(value + half, MOST.get(name, 1.0))]
            told[name] = {"value": value, "interval": interval}
    return told
