"""The model card: what model.json says, for people. Imports nothing of tabnas."""

from collections.abc import Mapping
from typing import Any

MOST_COLUMNS = 200
"""In the card; model.json has all."""


def text(about: Mapping[str, Any]) -> str:
    """Markdown. about: the content of model.json."""
    widths = "-".join(map(str, about["widths"]))
    costs = ", ".join(f"{amount:,} {name}" for name, amount in about["costs"].items())
    parts = [
        f"# {about['task'].capitalize()} on {_safe(about['dataset'])}",
        f"A feed-forward network with hidden layers of {widths} units ({costs}), found and trained by TabNAS "
        f"{about['versions']['tabnas']}.",
        "## Use it",
        "```bash\npython -m tabnas.predict FOLDER table.csv --out predictions.parquet\n```",
        "FOLDER is this one. `tabnas.predict.Predictor(FOLDER)` does the same for a pandas DataFrame.",
        _of_signature(about["signature"]),
        "## How good it is",
        *_of_metrics(about["metrics"], about.get("test_metrics")),
        *_of_export(about.get("export", {})),
        "## Files",
        "`weights.safetensors`: the weights. `model.json`: everything else, the fitted encoding of every column among "
        "it, which holds values of the training rows: categories and extremes. Nothing here can execute code.",
    ]
    return "\n\n".join(parts) + "\n"


def _of_signature(signature: Mapping[str, Any] | None) -> str:
    if signature is None:
        return "It takes encoded columns alone: the source of its table gave no encoding."
    target = signature["target"]
    classes = target.get("classes")
    given = f"one of {len(classes):,} classes: {_some(classes)}" if classes else f"a number, in {target['units']}"
    rows = [f"| {_safe(column['name'])} | {column['kind']} |" for column in signature["columns"][:MOST_COLUMNS]]
    more = len(signature["columns"]) - len(rows)
    rows += [f"| … {more:,} more | |"] * (more > 0)
    table = "\n".join(["| column | kind |", "|---|---|", *rows])
    return f"## What goes in\n\n{table}\n\n## What comes out\n\n`{_safe(target['name'])}`, {given}."


def _of_metrics(valid: Mapping[str, Any], test: Mapping[str, Any] | None) -> list[str]:
    splits = {"validation": valid} if test is None else {"test": test, "validation": valid}
    rows = [
        "|".join(["", " metric ", *(f" {split} rows | 95 % interval " for split in splits), ""]),
        "|---" * (1 + 2 * len(splits)) + "|",
    ]
    rows += [
        "|".join(["", f" {name} ", *(_with_interval(split.get(name)) for split in splits.values()), ""])
        for name in valid
    ]
    if test is None:
        expected = "This network was chosen by these rows: expect it to be a little worse on new rows"
    else:
        expected = (
            "This network was chosen by the validation rows, which makes its figures there a little too good. Nothing "
            "was fitted or chosen by the test rows: expect their figures on new rows"
        )
    about = f"{expected}, and nothing on rows of another kind. Intervals tell of the number of rows alone."
    return ["\n".join(rows), about]


def _with_interval(told: Mapping[str, Any] | None) -> str:
    """Two cells."""
    if told is None:
        return " | "
    if told["interval"] is None:
        return f" {told['value']:.4g} | "
    low, high = told["interval"]
    return f" {told['value']:.4g} | {low:.4g} to {high:.4g} "


def _of_export(export: Mapping[str, Any]) -> list[str]:
    parts = ["## Exported"] if export else []
    if "torch" in export:
        made = export["torch"]
        parts.append(f"`{_safe(made['file'])}`, {_size(made['bytes'])}, for `torch.export.load`: of encoded rows.")
    if "onnx" in export:
        made = export["onnx"]
        parts.append(
            f"`{_safe(made['file'])}`, {_size(made['bytes'])}, ONNX of opset {made['opset']}: from {made['takes']} to "
            f"answers. On {made['rows_compared']:,} made-up rows, missing and unseen cells among them, they differ by "
            f"at most {made['largest_difference']:.1g} from those of this folder."
        )
        ways = {"graph": "the graph in onnxruntime", "predict": "this folder", "network": "the network alone, in torch"}
        sizes = {"graph": _size(made["bytes"]), "predict": _size(made["folder_bytes"]), "network": ""}
        rows = ["| | on disk | one row | 10,000 rows |", "|---|---|---|---|"]
        for way, name in ways.items():
            told = made["latency_us"][way]
            rows.append(f"| {name} | {sizes[way]} | {duration(told['1'])} | {duration(told['10000'])} |")
        parts.append("\n".join(rows))
        under = [f"{made['threads']} thread{'s' * (made['threads'] > 1)}"]
        under += [*(f"{name} {version}" for name, version in made["versions"].items()), _safe(made["device"])]
        parts.append(f"Median latency of a batch, {', '.join(under)}.")
    return parts


def duration(us: float) -> str:
    """Of so many microseconds, in a unit that suits."""
    return f"{us:.3g} µs" if us < 1000 else f"{us / 1000:,.3g} ms" if us < 1e6 else f"{us / 1e6:,.3g} s"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1000:,.1f} kB"


def _some(classes: list[str]) -> str:
    return ", ".join(map(_safe, classes[:20])) + (", …" if len(classes) > 20 else "")


def _safe(text: object) -> str:
    """In one line and a table's cell."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("`", "'")
