"""The command line of exports."""

import sys
from collections.abc import Sequence
from pathlib import Path

from tabnas.card import duration
from tabnas.errors import UserError
from tabnas.export import export
from tabnas.predict import OneLineParser


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files asked for; the exit code."""
    parser = OneLineParser(
        prog="python -m tabnas.export",
        description="Write the network that a run found as one file for another runtime, and its size and latency into "
        "the model card.",
    )
    parser.add_argument("run", help="folder of a finished run, or the model folder in it")
    of_onnx = "a graph from the columns' cells to answers; needs the extra onnx"
    of_torch = "for torch.export.load: from encoded rows to answers"
    parser.add_argument("--onnx", type=Path, metavar="FILE.onnx", help=of_onnx)
    parser.add_argument("--torch", type=Path, metavar="FILE.pt2", help=of_torch)
    given = parser.parse_args(arguments)
    if given.onnx is None and given.torch is None:
        parser.error("give --onnx FILE.onnx, --torch FILE.pt2 or both")
    try:
        told = export(given.run, onnx=given.onnx, pt2=given.torch)
    except UserError as error:
        print(f"tabnas: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tabnas: stopped", file=sys.stderr)
        return 130
    if made := told.get("onnx"):
        print(
            f"tabnas: {given.onnx}, {made['bytes']:,} bytes: from {made['takes']} to answers, within "
            f"{made['largest_difference']:.0e} of those of tabnas.predict on {made['rows_compared']:,} made-up rows"
        )
        for way, us in made["latency_us"].items():
            print(f"tabnas: latency of {way}: {duration(us['1'])} for one row, {duration(us['10000'])} for 10,000")
    if made := told.get("torch"):
        print(f"tabnas: {given.torch}, {made['bytes']:,} bytes: from encoded rows to answers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
