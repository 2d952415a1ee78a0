"""What an exported graph is like: whether it answers as the model folder does, and how long that takes.

Needs the extra `onnx`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from tabnas import latency
from tabnas.data.frame import Encoding
from tabnas.errors import UserError
from tabnas.export import rows
from tabnas.export.program import INPUTS, Answering
from tabnas.model import Model, task_of
from tabnas.predict import Predictor
from tabnas.task import Regression

ROWS_COMPARED = 2000
MOST_DIFFERENT = 1e-5
"""Between probabilities, or between numbers in standard deviations of the target."""
REPEATS = {1: 51, 10_000: 9}
"""Timings of a batch of so many rows."""
SEED = 0

Answers = NDArray[np.float64]


class Routes(NamedTuple):
    """From the same n made-up rows to answers; each may be called again and again."""

    graph: Callable[[], Answers]
    """The graph in onnxruntime."""
    predict: Callable[[], Answers]
    """The model folder: by tabnas.predict's Predictor, or of encoded rows where there is no encoding."""
    network: Callable[[], Any]
    """The network alone, of encoded rows, in torch."""


def measured(content: bytes, model: Model, about: Mapping[str, Any], predictor: Predictor | None) -> dict[str, Any]:
    """Of a serialised graph: largest_difference to the model folder, and median latency_us of each of the Routes at the
    batch sizes in REPEATS, on this machine's CPU; UserError where the difference is too large.

    about: the content of model.json. predictor: None for a graph of encoded rows.
    """
    task = task_of(about)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    compared = _routes(session, model, about, predictor, ROWS_COMPARED)
    difference = float(np.abs(compared.graph().ravel() - compared.predict().ravel()).max())
    if isinstance(task, Regression):
        difference /= task.std
    if not difference <= MOST_DIFFERENT:
        rule = f"must answer as the model folder does, to {MOST_DIFFERENT:g}"
        remedy = "no file was written; a log-scaled column of almost no spread can do this"
        raise UserError("--onnx", rule, difference, remedy)
    timed = {n: _routes(session, model, about, predictor, n) for n in REPEATS}
    return {
        "largest_difference": difference,
        "rows_compared": ROWS_COMPARED,
        "latency_us": {
            name: {
                str(n): latency.measure_network(getattr(timed[n], name), repeats=repeats) / 1000
                for n, repeats in REPEATS.items()
            }
            for name in Routes._fields
        },
        "threads": torch.get_num_threads(),
        "device": latency.description(torch.device("cpu")),
        "versions": {"onnxruntime": onnxruntime.__version__, "torch": str(torch.__version__)},
    }


def _routes(
    session: onnxruntime.InferenceSession, model: Model, about: Mapping[str, Any], predictor: Predictor | None, n: int
) -> Routes:
    if predictor is None:
        generator, sizes = torch.Generator().manual_seed(SEED), about["encoder"]["cardinalities"]
        numbers = torch.randn(n, model.encoder.n_columns[0], generator=generator)
        ids = torch.empty(n, len(sizes), dtype=torch.int32)
        for i, size in enumerate(sizes):
            ids[:, i] = torch.randint(size, (n,), generator=generator)
        answering = Answering(model, task_of(about))
        cells: dict[str, Any] = dict(zip(INPUTS, (numbers.numpy(), ids.numpy()), strict=True))
        predict: Callable[[], Answers] = lambda: answering(numbers, ids).detach().numpy()  # noqa: E731
    else:
        assert isinstance(predictor.encoding, Encoding)
        frame = rows.made_up(predictor.encoding, n, SEED)
        numbers, ids = map(torch.from_numpy, predictor.encoding.encode(frame))
        cells = rows.cells(frame, predictor.encoding)
        names = predictor.answers[1:] or predictor.answers
        predict = lambda: predictor(frame)[names].to_numpy()  # noqa: E731
    feeds = {given.name: cells[given.name] for given in session.get_inputs()}
    return Routes(lambda: session.run(None, feeds)[-1], predict, lambda: model(numbers, ids))
