"""What networks are trained on and judged by. Imports nothing of tabnas."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import recall_score
from torch import Tensor

EVALUATION_ROWS = 8192  # rows of a forward pass in evaluation, which bounds memory


def log_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean logistic loss in nats: logits (B, 1) for two classes or (B, K) for K, target (B,) class index → scalar."""
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], target.to(logits.dtype))
    return F.cross_entropy(logits, target)


def balanced_error(logits: Tensor, target: Tensor) -> float:
    """1 − the mean over the classes in `target` of their recall (the paper's "weighted average of errors")."""
    predicted = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)
    true = target.cpu().numpy()
    return 1.0 - float(recall_score(true, predicted.cpu().numpy(), labels=np.unique(true), average="macro"))


@torch.no_grad()
def evaluate(
    predict: Callable[[Tensor, Tensor], Tensor], numerical: Tensor, categorical: Tensor, target: Tensor
) -> dict[str, float]:
    """`loss` and `balanced_error` of predict(numerical, categorical) → logits over all n rows."""
    pieces = zip(numerical.split(EVALUATION_ROWS), categorical.split(EVALUATION_ROWS), strict=True)
    logits = torch.cat([predict(*piece) for piece in pieces])
    return {"loss": float(log_loss(logits, target)), "balanced_error": balanced_error(logits, target)}
