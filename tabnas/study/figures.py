"""How figures look, and how they are left: as PNG and as SVG. May import trainer."""

from pathlib import Path

from matplotlib.figure import Figure

from tabnas.trainer import write_whole

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito's
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def save(figure: Figure, path: Path) -> None:
    """As PNG, and beside it as SVG, each whole or not at all. path: of the PNG."""
    for kind, options in {"png": {"dpi": 150}, "svg": {"metadata": {"Date": None}}}.items():
        write_whole(
            path.with_suffix(f".{kind}"),
            lambda file, kind=kind, options=options: figure.savefig(file, format=kind, **options),  # type: ignore[misc]
        )
