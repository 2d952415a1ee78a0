"""Layer warmup (section 3.1): first the whole SuperNet is trained, then more and more its children."""

from typing import TYPE_CHECKING

from pytorch_lightning import Callback, LightningModule, Trainer

from tabnas.data.table import Block
from tabnas.errors import require_number

if TYPE_CHECKING:
    from tabnas.search.module import TabNAS


class LayerWarmup(Callback):
    """Tells the search, before each block, with which probability each of its steps trains the whole SuperNet.

    Over the first `fraction` of the steps the probability falls linearly from 1 to 0. While it is above 0 the
    controller is not updated.
    """

    def __init__(self, fraction: float) -> None:
        remedy = "the paper has 0.25"
        require_number("search.warmup_fraction", fraction, low=0, high=0.99, remedy=remedy)
        self.fraction = fraction

    def probability(self, progress: float) -> float:
        """Probability of a whole-SuperNet step at `progress` in [0, 1) of the search.

        >>> LayerWarmup(0.25).probability(0.125)
        0.5
        """
        return max(0.0, 1.0 - progress / self.fraction) if self.fraction else 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Block, batch_idx: int) -> None:
        search: TabNAS = pl_module  # type: ignore[assignment]
        steps = range(search.step, search.step + search.n_steps(batch))
        search.warmup_probabilities = [self.probability(step / search.total_steps) for step in steps]
