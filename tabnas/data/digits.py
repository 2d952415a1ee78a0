"""scikit-learn's handwritten digits: 1,797 rows, 64 numerical columns, 10 classes. Small, for trying things out."""

from sklearn.datasets import load_digits

from tabnas.data.table import Table


def load(*, val_fraction: float = 0.2, split_seed: int = 0) -> Table:
    """64 numerical columns (pixel intensities 0 to 16, standardised), 10 classes, 1,797 rows."""
    numerical, target = load_digits(return_X_y=True)
    return Table.from_arrays(
        "digits",
        numerical,
        None,
        target,
        tuple(map(str, range(10))),
        val_fraction=val_fraction,
        split_seed=split_seed,
        standardize=True,
    )
