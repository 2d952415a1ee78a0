"""What can be chosen of how Criteo's data becomes a table. Imports tabnas.errors, table and numbers of this package."""

from dataclasses import dataclass

from tabnas.data.criteo.numbers import METHODS
from tabnas.data.table import check_fractions
from tabnas.errors import require_integer, require_number, require_one_of


@dataclass(frozen=True)
class Options:
    """UserError for a value that makes no sense. A cache is made for each combination."""

    val_fraction: float = 0.1
    """Share of the rows for validation, in (0, 0.9]: each row is drawn on its own, by its number in the source."""
    test_fraction: float = 0.0
    """Share of the rows for testing, drawn from those that do not validate."""
    split_seed: int = 0
    """Of that draw."""
    numerical: str = "log"
    """A key of numbers.METHODS."""
    min_count: int = 10
    """Of a category in the training split; rarer ones share the id RARE."""
    hash_buckets: int | None = None
    """Hash categories to that many ids instead of giving each its own. Then min_count is not used, and RARE and UNSEEN
    do not occur, as every value has a bucket."""
    on_bad_line: str = "error"
    """error, or skip: leave the line out and count it."""
    max_bad_share: float = 0.001
    """Of the lines; more are an error even when they are skipped."""

    def __post_init__(self) -> None:
        check_fractions(self.val_fraction, self.test_fraction)
        require_integer("dataset.split_seed", self.split_seed, low=0, remedy="any fixed integer will do")
        require_one_of("dataset.numerical", self.numerical, METHODS)
        require_integer("dataset.min_count", self.min_count, low=1, remedy="1 gives every category an id, 10 is usual")
        if self.hash_buckets is not None:
            remedy = "null gives each category an id of its own"
            require_integer("dataset.hash_buckets", self.hash_buckets, low=1, high=2**31 - 4, remedy=remedy)
        require_one_of("dataset.on_bad_line", self.on_bad_line, ("error", "skip"))
        require_number("dataset.max_bad_share", self.max_bad_share, low=0, high=1, remedy="0.001 is one in a thousand")
