"""The found network as one file for other runtimes: `python -m tabnas.export --help`.

May import card, data, errors, latency, model, predict, task and trainer. What needs the extra `onnx` is imported on
demand.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tabnas import model
from tabnas.data.frame import Encoding
from tabnas.errors import UserError
from tabnas.export.program import packed, program
from tabnas.predict import Predictor
from tabnas.trainer import write_whole

EXTRA = ("onnx", "onnxruntime", "onnxscript", "spox")


def export(folder: Path | str, *, onnx: Path | None = None, pt2: Path | None = None) -> dict[str, Any]:
    """Write the network of a run as the files asked for, and into its model card what they are like, which it returns.

    folder: a run's, or the model folder in it.
    onnx: file for an ONNX graph from the cells of each column to answers; of encoded rows, where the source of the
        table tells no encoding. It appears only if onnxruntime answers as the model folder does.
    pt2: file for torch.export.load, of encoded rows.
    """
    for option, path, suffix in (("--onnx", onnx, ".onnx"), ("--torch", pt2, ".pt2")):
        if path is not None and path.suffix != suffix:
            raise UserError(option, f"must end in {suffix}", str(path), "rename it")
    if onnx is not None and (absent := [name for name in EXTRA if find_spec(name) is None]):
        rule = "needs the packages of the extra onnx"
        raise UserError("--onnx", rule, f"no {', '.join(absent)}", 'run pip install -e ".[onnx]" where tabnas is')
    network, about = model.load(folder)
    made = program(network, model.task_of(about))
    told = {}
    if onnx is not None:
        from tabnas.export import graph, measure

        predictor = Predictor(folder) if about["signature"] else None
        encoding = None if predictor is None else _expressible(predictor)
        content = graph.graph(made, encoding, about).SerializeToString()
        measured = measure.measured(content, network, about, predictor)
        told["onnx"] = {
            **_written("--onnx", onnx, content),
            "folder_bytes": sum(file.stat().st_size for file in model.folder_of(folder).rglob("*") if file.is_file()),
            "opset": graph.OPSET,
            "takes": "encoded rows" if encoding is None else "cells",
            **measured,
        }
    if pt2 is not None:
        told["torch"] = _written("--torch", pt2, packed(made))
    model.add(folder, export={**about.get("export", {}), **told})
    return told


def _expressible(predictor: Predictor) -> Encoding:
    """The encoding; UserError where no graph can hold it."""
    encoding, remedy = predictor.encoding, "--torch exports the network for encoded rows"
    if not isinstance(encoding, Encoding):
        rule = "must not be Criteo's for an ONNX graph, which does not take its vocabularies of hexadecimal numbers"
        raise UserError("dataset", rule, predictor.about["dataset"], remedy)
    if hashed := [made.name for made in encoding.categorical if made.hash_buckets]:
        rule = "must not be hash for an ONNX graph, whose operators cannot compute a checksum of text"
        raise UserError("dataset.high_cardinality", rule, f"columns {', '.join(hashed)}", remedy)
    if taken := {"label", "probabilities", "prediction"}.intersection(encoding.names):
        rule = "must not be called like an output of the graph"
        raise UserError("column", rule, min(taken), "rename it in the table and train again")
    return encoding


def _written(option: str, path: Path, content: bytes) -> dict[str, Any]:
    try:
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder")
        write_whole(path, lambda file: file.write(content))
    except OSError as error:
        raise UserError(option, "must be a file that can be written", str(path), f"name another ({error})") from error
    return {"file": path.name, "bytes": len(content)}
