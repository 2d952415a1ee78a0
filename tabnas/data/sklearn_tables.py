"""The tables that come with scikit-learn: small, and there without a network."""

from typing import Any

from sklearn import datasets

from tabnas.data.frame import from_frame, takes_frame_options
from tabnas.data.table import Table
from tabnas.errors import UserError, require_one_of

LOADERS = {
    "breast_cancer": datasets.load_breast_cancer,
    "diabetes": datasets.load_diabetes,
    "digits": datasets.load_digits,
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
}


@takes_frame_options
def load(*, name: str, target: str = "target", **options: Any) -> Table:
    """Of LOADERS, which are classification, but for diabetes: regression. The rest: see frame.from_frame."""
    if name == "linnerud":
        remedy = f"choose one of {', '.join(LOADERS)}"
        raise UserError("dataset.name", "must be a table with one target", "linnerud, which has three", remedy)
    require_one_of("dataset.name", name, LOADERS)
    loaded = LOADERS[name](as_frame=True)
    frame = loaded.frame
    if "target_names" in loaded:  # the classes, by their index
        frame = frame.assign(target=loaded.target_names[loaded.target].astype(str))
    return from_frame(frame, target=target, **options)
