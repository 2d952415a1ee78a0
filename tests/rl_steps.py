"""Run by the tests, in a process of its own or several: what each RL step of a search of digits was made of.

python -m tests.rl_steps FOLDER OVERRIDE…; leaves FOLDER/steps<rank>.pt, of each device a list with an item a step.
"""

import copy
import sys
from collections import defaultdict
from pathlib import Path

import torch
from pytorch_lightning import Callback

from tabnas.controller import sample
from tests.tpu.search import searched

ETA = 0.3
SETTINGS = (
    "search.warmup_fraction=0", "search.rl_optimizer=sgd", f"search.eta={ETA}", "trainer.log_every_n_steps=1",
    "trainer.max_epochs=8", "limits.0.limit=2500",
)  # fmt: skip


class RLSteps(Callback):
    """One step a block, so that all it starts from and ends with can be seen.

    Drawn again from the state of the generator: the weight step's children, then the controller's. Evaluated again, by
    stand-alone copies on the host: those of the device's own replicas, on the rows that they were given.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.begun: dict[int, dict] = {}
        self.steps: dict[int, list[dict]] = defaultdict(list)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        baseline = pl_module.method.baseline
        self.begun[pl_module.global_rank] = {
            "logits": pl_module.controller.logits.detach().cpu().clone(),
            "baseline": (float(baseline.total), float(baseline.weight)),
            "generator": pl_module.generator.get_state(),
        }

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        begun = self.begun[pl_module.global_rank]
        generator = torch.Generator()
        generator.set_state(begun.pop("generator"))
        sample(begun["logits"], pl_module.n_replicas, generator)
        children = sample(begun["logits"], pl_module.n_replicas, generator)
        encoder, supernet = copy.deepcopy(pl_module.encoder).cpu(), copy.deepcopy(pl_module.supernet).cpu()
        q = {}
        for replica, rows in zip(pl_module.own, batch.valid.split(pl_module.batch_size), strict=True):
            network = supernet.child(pl_module.space.widths(children[replica].tolist()))
            with torch.no_grad():
                x = encoder(rows.numerical, rows.categorical)
                q[replica] = 1.0 - torch.nn.functional.cross_entropy(network(x), rows.target.long()).item()
        baseline = pl_module.method.baseline
        after = {"logits": pl_module.controller.logits.detach().cpu().clone(), "baseline": float(baseline.value)}
        self.steps[pl_module.global_rank].append({**begun, "children": children, "q": q, "after": after})
        if pl_module.step == pl_module.total_steps:
            torch.save(self.steps[pl_module.global_rank], self.folder / f"steps{pl_module.global_rank}.pt")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    searched(folder, [*SETTINGS, *sys.argv[2:]], RLSteps(folder))
