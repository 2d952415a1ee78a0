"""TabNAS: resource-constrained neural architecture search for tabular data by rejection sampling.

The method is that of Yang et al., "TabNAS: Rejection Sampling for Neural Architecture Search on Tabular Datasets",
NeurIPS 2022, called "the paper" throughout.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tabnas.estimators import TabNASClassifier, TabNASRegressor

__all__ = ["TabNASClassifier", "TabNASRegressor"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # torch takes seconds to import: not for `python train.py --help`
        from tabnas import estimators

        return globals().setdefault(name, getattr(estimators, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
