"""scikit-learn's handwritten digits: 1,797 rows, 64 numerical columns, 10 classes. Small, for trying things out."""

from dataclasses import replace
from typing import Any, cast

from sklearn.datasets import load_digits

from tabnas.data.frame.encode import Encoding, Numerical
from tabnas.data.frame.values import MISSING_TOKENS
from tabnas.data.table import Table


def load(*, val_fraction: float = 0.2, test_fraction: float = 0.0, split_seed: int = 0) -> Table:
    """64 numerical columns (pixel intensities 0 to 16, standardised), 10 classes, 1,797 rows."""
    digits = load_digits()
    table = Table.from_arrays(
        "digits",
        digits.data,
        None,
        digits.target,
        tuple(map(str, range(10))),
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        split_seed=split_seed,
        standardize=True,
    )
    fitted = cast(dict[str, Any], table.encoding)
    columns = zip(digits.feature_names, fitted["mean"], fitted["scale"], strict=True)
    numbers = tuple(Numerical(name, "numerical", "none", mean, scale, 0.0) for name, mean, scale in columns)
    return replace(table, encoding=Encoding(numbers, (), MISSING_TOKENS, "digit").to_json())
