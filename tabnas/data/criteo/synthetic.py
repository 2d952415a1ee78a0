"""`python -m tabnas.data.criteo.synthetic ROWS FILE` writes made-up rows in the form of Criteo's train.txt.

With `--seed SEED` others than those of seed 0. Imports only made_up of this package.
"""

import argparse
from pathlib import Path

from tabnas.data.criteo.made_up import blocks


def main(arguments: list[str] | None = None) -> None:
    """Write them."""
    parser = argparse.ArgumentParser(prog="python -m tabnas.data.criteo.synthetic", description=__doc__)
    parser.add_argument("n_rows", type=int, metavar="ROWS")
    parser.add_argument("path", type=Path, metavar="FILE")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.n_rows < 0 or options.seed < 0:
        parser.error("ROWS and SEED must not be negative")
    with options.path.open("wb") as file:
        for text in blocks(options.n_rows, options.seed):
            file.write(text)


if __name__ == "__main__":
    main()
