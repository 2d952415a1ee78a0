"""The search: the LightningModule, the callbacks it cannot do without, and the choices it is compared with."""

from tabnas.search.module import TabNAS

__all__ = ["TabNAS"]
