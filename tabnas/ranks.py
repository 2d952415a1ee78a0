"""Which of a run's processes this is. Imports nothing of tabnas, nor torch.

Several processes search together where trainer.devices or trainer.num_nodes is above 1. Lightning starts those of one
machine by the first's own command; torchrun, on each of several machines, starts all.
"""

import os


def rank() -> int:
    """0 for the process that leads: it alone tells, and writes what a run leaves."""
    return int(os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or 0)


def local_rank() -> int:
    """The number of the process on its machine."""
    return int(os.environ.get("LOCAL_RANK") or 0)


def started_by_torchrun() -> bool:
    """Whether all processes were started at once, by torchrun, and not by the first of them."""
    return "TORCHELASTIC_RUN_ID" in os.environ
