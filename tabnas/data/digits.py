"""scikit-learn's handwritten digits: 1,797 rows, 64 numerical columns, 10 classes. Small, for trying things out."""

from sklearn.datasets import load_digits

from tabnas.data.table import Table


def load() -> Table:
    """64 numerical columns (pixel intensities 0 to 16), 10 classes, 1,797 rows."""
    numerical, target = load_digits(return_X_y=True)
    return Table.from_arrays("digits", numerical, None, target, tuple(map(str, range(10))))
