"""The reference of all modules, from their docstrings: `python -m tabnas.reference FOLDER`. Needs the extra `docs`.

Imports of tabnas what there is to describe.
"""

import argparse
import pkgutil
import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tabnas
from tabnas.errors import UserError

ARGUMENT = re.compile(r"^([a-z_]\w*(?:, \w+)*): ", re.MULTILINE)
"""Where a docstring begins to tell of one; further lines are indented. Markdown would make a paragraph of them all."""


def write(folder: Path) -> None:
    """Pages by pdoc, with index.html among them; UserError where pdoc is not installed."""
    if find_spec("pdoc") is None:
        raise UserError("pdoc", "must be installed", None, 'run pip install -e ".[docs]" where tabnas is')
    import jinja2
    import pdoc.render
    from pdoc.render_helpers import to_markdown_with_context

    @jinja2.pass_context
    def to_markdown(context: Any, docstring: str) -> str:
        return to_markdown_with_context(context, re.sub(ARGUMENT, r"- **\1**: ", docstring))

    pdoc.render.env.filters["to_markdown"] = to_markdown
    for name in tabnas.__all__:
        getattr(tabnas, name)  # imported on demand, which pdoc does not do
    parts = [f"tabnas.{part.name}" for part in pkgutil.iter_modules(tabnas.__path__)]  # with what is in them
    pdoc.pdoc("tabnas", *parts, output_directory=folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tabnas.reference", description="Write the reference as HTML.")
    parser.add_argument("folder", type=Path, help="for its pages")
    folder = parser.parse_args(arguments).folder
    try:
        write(folder)
    except UserError as error:
        print(f"tabnas: error: {error}", file=sys.stderr)
        return 2
    print(f"tabnas: reference in {folder / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
