"""The found network as an ONNX graph from a table's cells to answers. Needs the extra `onnx`."""

import json
import logging
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import spox.opset.ai.onnx.v20 as op
import torch
from spox import Tensor, Var, argument, build, inline
from torch.export import ExportedProgram

from tabnas.data.frame.encode import Encoding
from tabnas.export import cells
from tabnas.export.program import INPUTS
from tabnas.model import task_of
from tabnas.task import Classification, Task

OPSET, IR = 20, 9
"""Of ONNX 1.15, the first with operators on text; onnxruntime reads them from 1.17 on."""


def graph(program: ExportedProgram, encoding: Encoding | None, about: Mapping[str, Any]) -> onnx.ModelProto:
    """From one input (N, 1) for each column, or, without an encoding, from `numerical` (N, d) and `categorical` (N, c).

    The outputs are label (N,) text and probabilities (N, K) double, or for regression prediction (N,) double.
    about: the content of model.json.
    """
    task = task_of(about)
    network = _network(program)
    for tensor in [tensor for tensor in network.graph.input if not _n_columns(tensor)]:
        network.graph.input.remove(tensor)  # the table has none of a kind, and the network does not look at them
    if encoding is None:
        kinds = dict(zip(INPUTS, (np.float32, np.int32), strict=True))
        given = rows = {
            tensor.name: argument(Tensor(kinds[tensor.name], ("N", _n_columns(tensor))))
            for tensor in network.graph.input
        }
    else:
        given = cells.inputs(encoding)
        rows = cells.encoded(given, encoding)
    (answers,) = inline(network)(**rows).values()
    made = build(given, _outputs(answers, task))
    made.ir_version = IR
    made.producer_name, made.producer_version = "tabnas", about["versions"]["tabnas"]
    onnx.helper.set_model_props(made, _metadata(about))
    onnx.checker.check_model(made, full_check=True)
    return made


def _network(program: ExportedProgram) -> onnx.ModelProto:
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns that torchvision is not there
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)  # torch's own use of what it deprecates
            made = torch.onnx.export(program, dynamo=True, opset_version=OPSET, verbose=False, input_names=INPUTS)
    finally:
        logger.setLevel(level)
    assert made is not None
    return made.model_proto


def _n_columns(tensor: onnx.ValueInfoProto) -> int:
    return int(tensor.type.tensor_type.shape.dim[1].dim_value)


def _outputs(answers: Var, task: Task) -> dict[str, Var]:
    if not isinstance(task, Classification):
        return {"prediction": answers}
    likeliest = op.arg_max(answers, axis=1, keepdims=False)
    return {"label": op.gather(op.const(np.array(task.classes, np.str_)), likeliest), "probabilities": answers}


def _metadata(about: Mapping[str, Any]) -> dict[str, str]:
    """metadata_props are texts: what is not is JSON."""
    kept = ("dataset", "task", "classes", "widths", "costs", "metrics", "test_metrics", "signature", "versions")
    return {
        f"tabnas.{name}": about[name] if isinstance(about[name], str) else json.dumps(about[name], ensure_ascii=False)
        for name in kept
        if about.get(name) is not None
    }
