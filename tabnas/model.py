"""The found network as a folder: what it takes to use it on another machine, without the run that made it.

model.json says everything but the weights, which are in weights.safetensors; README.md is for people. Nothing of it can
execute code. May import card, encoder, errors, network, task and trainer.
"""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tabnas import card
from tabnas.encoder import Encoder
from tabnas.errors import UserError
from tabnas.network import Network
from tabnas.task import Classification, Regression, Task
from tabnas.trainer import write_whole

FOLDER = "model"
"""In a run's folder."""
ABOUT, WEIGHTS, CARD = "model.json", "weights.safetensors", "README.md"
ENCODING = "encoding"
"""Files of an encoding that is too large for model.json; Criteo's."""
FORMAT = 3
VERSIONS_OF = ("tabnas", "torch", "numpy", "pandas", "scikit-learn", "safetensors", "rtdl_num_embeddings")


class Model(nn.Module):
    """A trained encoder and network. `forward` takes columns as the data module serves them."""

    def __init__(self, encoder: Encoder, network: Network) -> None:
        super().__init__()
        self.encoder, self.network = encoder, network

    def forward(self, numerical: Tensor, categorical: Tensor) -> Tensor:
        """numerical (B, d), categorical (B, c) → logits (B, n_outputs); ValueError for other numbers of columns."""
        given = (numerical.shape[1], categorical.shape[1])
        if given != self.encoder.n_columns:
            raise ValueError(f"expected {self.encoder.n_columns} numerical and categorical columns, got {given}")
        logits: Tensor = self.network(self.encoder(numerical, categorical))
        return logits


def save(
    folder: Path,
    state_dict: Mapping[str, Tensor],
    *,
    n_numerical: int,
    cardinalities: Sequence[int],
    embedding_dim: int,
    numerical_embedding: dict[str, Any] | None,
    widths: Sequence[int],
    costs: Mapping[str, float],
    dataset: str,
    task: Task,
    encoding: dict[str, Any] | None,
    encoding_files: Sequence[Path] = (),
    decimal: str,
    metrics: Mapping[str, Any],
    test_metrics: Mapping[str, Any] | None = None,
) -> None:
    """Write the model folder; see `write`.

    numerical_embedding: what tabnas.numerical.fitted made.
    costs: by name, of the network, as limits count them.
    encoding: of the columns, which the model expects to be applied already.
    encoding_files: folders that the encoding needs beside; they are copied.
    decimal: the mark in the numbers of the CSV files that the encoding is for.
    metrics: on the validation rows, by name: `value` of these weights, what else there is to tell.
    test_metrics: the same on the test rows; None where there are none.
    """
    about = {
        "format": FORMAT,
        "dataset": dataset,
        "task": task.name,
        **asdict(task),
        "widths": list(widths),
        "costs": dict(costs),
        "encoder": {
            "n_numerical": n_numerical,
            "cardinalities": list(cardinalities),
            "embedding_dim": embedding_dim,
            "numerical_embedding": numerical_embedding,
        },
        "metrics": dict(metrics),
        "test_metrics": None if test_metrics is None else dict(test_metrics),
        "signature": _signature(encoding, task),
        "decimal": decimal,
        "versions": versions(),
        "encoding": encoding,
    }
    write(folder, state_dict, about, encoding_files)


def write(
    folder: Path, state_dict: Mapping[str, Tensor], about: Mapping[str, Any], encoding_files: Sequence[Path] = ()
) -> None:
    """Write the model folder whole or not at all, in place of one that is there.

    about: what model.json says, but for the weights' SHA-256.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}
    save_file(tensors, partial / WEIGHTS)
    for files in encoding_files:
        shutil.copytree(files, partial / ENCODING / files.name)
    _write_about(partial, {**about, "weights_sha256": _sha256(partial / WEIGHTS)})
    shutil.copymode(partial / ABOUT, partial / WEIGHTS)  # safetensors lets only the owner read it
    with (partial / WEIGHTS).open("rb") as file:
        os.fsync(file.fileno())
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


def add(folder: Path | str, **told: Any) -> None:
    """Say more in model.json and the card of a model folder that is there, or of the run whose folder it is."""
    folder = folder_of(folder)
    about = json.loads((folder / ABOUT).read_bytes())
    try:
        _write_about(folder, {**about, **told})
    except OSError as error:
        raise UserError("model", "must be a folder that can be written", str(folder), f"copy it ({error})") from error


def load(folder: Path | str) -> tuple[Model, dict[str, Any]]:
    """The model in evaluation mode, and what model.json says (widths, task, classes, encoding, …).

    folder: a run's, or the model folder in it. UserError where there is none or it is damaged.
    """
    folder = folder_of(folder)
    if not (folder / ABOUT).is_file():
        rule = f"must be the folder of a finished run, or its {FOLDER} folder with {ABOUT} in it"
        raise UserError("model", rule, str(folder), "see outputs/")
    try:
        about: dict[str, Any] = json.loads((folder / ABOUT).read_bytes())
        if about["format"] != FORMAT:
            rule = f"must have format {FORMAT}"
            raise UserError("model", rule, about["format"], "use the tabnas that wrote it, or train again")
        if about["weights_sha256"] != _sha256(folder / WEIGHTS):
            raise ValueError(f"{WEIGHTS} has another SHA-256 than {ABOUT} says")
        model = _built(about)
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        why = f"{type(error).__name__}: {error}"
        raise UserError("model", "must be whole, as a run left it", str(folder), f"copy it again ({why})") from error
    return model.eval(), about


def versions() -> dict[str, str]:
    """Of Python and of the packages that a network depends on."""
    return {"python": platform.python_version(), **{name: version(name) for name in VERSIONS_OF}}


def folder_of(folder: Path | str) -> Path:
    """The model folder, given itself or its run's."""
    folder = Path(folder).expanduser()
    return folder / FOLDER if (folder / FOLDER).is_dir() else folder


def task_of(about: Mapping[str, Any]) -> Task:
    """The task that model.json tells of."""
    if about["task"] == Classification.name:
        return Classification(tuple(about["classes"]))
    return Regression(about["mean"], about["std"])


def _built(about: Mapping[str, Any]) -> Model:
    made = about["encoder"]
    columns = (made["n_numerical"], made["cardinalities"], made["embedding_dim"])
    encoder = Encoder(*columns, numerical=made["numerical_embedding"])
    return Model(encoder, Network(encoder.n_inputs, about["widths"], task_of(about).n_outputs))


def _write_about(folder: Path, about: Mapping[str, Any]) -> None:
    text = json.dumps(about, indent=1, allow_nan=False)
    write_whole(folder / ABOUT, lambda file: file.write(text.encode()))
    write_whole(folder / CARD, lambda file: file.write(card.text(json.loads(text)).encode()))


def _signature(encoding: dict[str, Any] | None, task: Task) -> dict[str, Any] | None:
    """The columns that go in and what comes out; None where the encoding does not name columns."""
    if encoding is None or "target" not in encoding:
        return None
    if "columns" in encoding:
        columns = encoding["columns"]
    else:
        columns = [{"name": column["name"], "kind": column["kind"]} for column in encoding["numerical"]]
        columns += [{"name": column["name"], "kind": "categorical"} for column in encoding["categorical"]]
    target: dict[str, Any] = {"name": encoding["target"], "task": task.name}
    if isinstance(task, Classification):
        target["classes"] = list(task.classes)
    else:
        target["units"] = "the column's own units"
    return {"columns": columns, "target": target}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
