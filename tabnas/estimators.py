"""The search as scikit-learn estimators: a table in memory in place of a config, and the same phases as train.py's."""

import contextlib
import copy
import dataclasses
import logging
import numbers
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import (
    Tags,
    assert_all_finite,
    check_array,
    check_consistent_length,
    check_random_state,
    column_or_1d,
)
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from tabnas import model, result
from tabnas.arguments import config_from, errors_in_arguments, in_arguments
from tabnas.build import Setup, build
from tabnas.data.frame import from_frame
from tabnas.data.frame.values import texts
from tabnas.data.table import Table
from tabnas.errors import UserError, require_integer
from tabnas.predict import PREDICTION, Predictor
from tabnas.run import completed
from tabnas.space import hyphenated
from tabnas.task import Classification

logging.getLogger("tabnas").addHandler(logging.NullHandler())  # nothing on stderr unless the program asks for it


class _TabNAS(BaseEstimator):
    _task: str

    def __init__(
        self,
        *,
        limits: Any = 10_000,
        choices: Any = None,
        method: str = "tabnas",
        method_options: Mapping[str, Any] | None = None,
        max_epochs: int = 30,
        retrain_epochs: int = 15,
        n_seeds: int = 3,
        min_architectures: int = 6,
        patience: int | None = None,
        keep: str = "last",
        optimizer: str = "adam",
        lr: float | None = None,
        batch_size: int | str = "auto",
        embedding_dim: int = 8,
        numerical: str = "standard",
        numerical_embedding: Mapping[str, Any] | None = None,
        kinds: Mapping[str, str] | None = None,
        drop: Collection[str] | None = None,
        high_cardinality: str = "error",
        val_fraction: float = 0.2,
        accelerator: str = "cpu",
        folder: str | Path | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.limits = limits
        self.choices = choices
        self.method = method
        self.method_options = method_options
        self.max_epochs = max_epochs
        self.retrain_epochs = retrain_epochs
        self.n_seeds = n_seeds
        self.min_architectures = min_architectures
        self.patience = patience
        self.keep = keep
        self.optimizer = optimizer
        self.lr = lr
        self.batch_size = batch_size
        self.embedding_dim = embedding_dim
        self.numerical = numerical
        self.numerical_embedding = numerical_embedding
        self.kinds = kinds
        self.drop = drop
        self.high_cardinality = high_cardinality
        self.val_fraction = val_fraction
        self.accelerator = accelerator
        self.folder = folder
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None, validation_data: Any = None) -> Self:
        """Search, train from scratch what was selected, keep the best network.

        X (n, d): a DataFrame, of whose columns the kinds are inferred (numbers, categories, truth values, dates), or
            an array; missing values are allowed in both. y (n,).
        sample_weight (n,): ≥ 0, how much a row counts in every loss and metric; rows of weight 0 are left out.
        validation_data: (X, y) or (X, y, sample_weight), in place of val_fraction of the rows.
        """
        started = time.perf_counter()
        quiet = not self.verbose
        with errors_in_arguments(), torch.random.fork_rng(devices=[]):
            seed = self._seed()
            table = self._table(X, y, sample_weight, validation_data, seed)
            with self._run_folder() as folder:
                rows = {"n_train": table.train.n_rows, "n_valid": table.valid.n_rows}
                setup = build(config_from(self.get_params(), **rows, seed=seed), folder, table, quiet=quiet)
                assert isinstance(setup, Setup)
                command = f"{' '.join(repr(self).split())}.fit(X, y)"
                completed(setup, started, command, [], quiet=quiet, tensorboard=self.folder is not None)
                self.result_ = result.read(folder)
                self.predictor_ = Predictor(folder, torch.float64)
        trust = self.result_["trust"]
        if trust and trust["remedy"]:
            trust["remedy"] = in_arguments(trust["remedy"])
        best = self.result_["architectures"][self.result_["best"]]
        self.architecture_ = tuple(best["widths"])
        self.costs_ = best["costs"]
        self.history_ = self.result_["search"]["history"]
        self.architectures_ = _as_frame(self.result_["architectures"])
        if self.verbose:
            result.show(self.result_, None if self.folder is None else Path(self.folder))
        return self

    def save_model(self, folder: str | Path) -> None:
        """Write the model folder, which `python -m tabnas.predict` and tabnas.model.load take; it unpickles nothing.

        folder: new, empty, or a model's, which is replaced; further files in it are left alone.
        """
        check_is_fitted(self, "predictor_")
        path = Path(folder).expanduser().resolve()
        with errors_in_arguments():
            if path.exists() and not (path / model.ABOUT).is_file() and not (path.is_dir() and _is_empty(path)):
                raise UserError("folder", "must be new, empty or a model's", str(path), "name another")
        as_trained = copy.deepcopy(self.predictor_.model).float()
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=path) as beside:
            made = Path(beside, model.FOLDER)
            model.write(made, as_trained.state_dict(), self.predictor_.about)
            for name in (model.WEIGHTS, model.CARD, model.ABOUT):
                (made / name).replace(path / name)

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _learnt(self, y: NDArray[Any]) -> NDArray[Any]:
        """The training rows' target as numbers; fits what there is to fit."""
        raise NotImplementedError

    def _numbers(self, y: NDArray[Any]) -> NDArray[Any]:
        """Any rows' target as the numbers that `_learnt` makes."""
        raise NotImplementedError

    def _answers(self, X: Any) -> pd.DataFrame:
        """The predictor's, one row for each of X."""
        check_is_fitted(self, "predictor_")
        with errors_in_arguments():
            return self.predictor_(self._frame(X, reset=False))

    def _seed(self) -> int:
        if isinstance(self.random_state, numbers.Integral):
            require_integer("random_state", int(self.random_state), low=0, high=2**32 - 1, remedy="0 will do")
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _frame(self, X: Any, *, reset: bool) -> pd.DataFrame:
        """X checked, with columns named as in `fit`: as they were, or x0, x1, …"""
        least = 2 if reset else 1
        if isinstance(X, pd.DataFrame):
            validate_data(self, X, reset=reset, skip_check_array=True)
            if len(X) < least or not X.shape[1]:
                raise ValueError(f"X must have at least 1 column and n_samples={least}, got shape={X.shape}")
        else:
            options = {"dtype": None, "ensure_all_finite": "allow-nan", "ensure_min_samples": least}
            X = validate_data(self, X, reset=reset, **options)
        names = getattr(self, "feature_names_in_", [f"x{i}" for i in range(self.n_features_in_)])
        frame = pd.DataFrame(X).set_axis(names, axis=1).reset_index(drop=True)
        for name, column in frame.items():
            for cell in column if column.dtype == object else ():
                if isinstance(cell, dict | list | tuple | set | np.ndarray):
                    raise TypeError(f"column {name}: argument must be a string or a number, not {type(cell).__name__}")
        return frame

    def _rows(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[pd.DataFrame, NDArray[Any], NDArray[np.float64] | None]:
        """X, y (n,) and the weights (n,) of the rows that weigh something."""
        if y is None:
            name = type(self).__name__
            raise ValueError(f"This {name} estimator requires y to be passed, but the target y is None.")
        frame = self._frame(X, reset=reset)
        y = column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
        check_consistent_length(frame, y, sample_weight)
        if sample_weight is None:
            return frame, y, None
        weight = check_array(sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
        if weight.ndim != 1 or (weight < 0).any() or not weight.any():
            raise ValueError("sample_weight must have one number for each row, none below zero and not all zero")
        kept = weight > 0
        return frame[kept].reset_index(drop=True), y[kept], weight[kept]

    def _table(self, X: Any, y: Any, sample_weight: Any, validation_data: Any, seed: int) -> Table:
        parts = [self._rows(X, y, sample_weight, reset=True)]
        targets = [self._learnt(parts[0][1])]
        if validation_data is not None:
            if not isinstance(validation_data, tuple) or len(validation_data) not in (2, 3):
                given = type(validation_data).__name__
                raise UserError("validation_data", "must be (X, y) or (X, y, sample_weight)", given, "give a tuple")
            X_valid, y_valid, weight_valid = (*validation_data, None)[:3]
            parts.append(self._rows(X_valid, y_valid, weight_valid, reset=False))
            targets.append(self._numbers(parts[1][1]))
        columns = parts[0][0].columns
        target = _free(y.name if isinstance(y, pd.Series) and isinstance(y.name, str) else "target", columns)
        weight = None if all(part[2] is None for part in parts) else _free("sample_weight", [*columns, target])
        frames = []
        for (frame, _, weights), values in zip(parts, targets, strict=True):
            role = {} if weight is None else {weight: np.ones(len(frame)) if weights is None else weights}
            frames.append(frame.assign(**{target: values, **role}))
        return from_frame(
            frames[0],
            target=target,
            valid_frame=frames[1] if len(frames) > 1 else None,
            weight=weight,
            task=self._task,
            kinds=self.kinds,
            drop=self.drop,
            drop_uninformative=False,  # nothing tells of it
            numerical=self.numerical,
            high_cardinality=self.high_cardinality,
            val_fraction=self.val_fraction,
            split_seed=seed,
        )

    @contextlib.contextmanager
    def _run_folder(self) -> Iterator[Path]:
        """`folder`, or one that is removed afterwards."""
        if self.folder is None:
            with tempfile.TemporaryDirectory(prefix="tabnas-") as folder:
                yield Path(folder)
            return
        kept = Path(self.folder).expanduser()
        kept.mkdir(parents=True, exist_ok=True)
        if not _is_empty(kept):
            raise UserError("folder", "must be new or empty", str(kept), "name another")
        yield kept


class TabNASClassifier(ClassifierMixin, _TabNAS):
    """The best feed-forward classifier within a limit on its cost, found by the paper's search.

    Departures from the defaults of train.py: the batch size goes by the number of rows, no column is left out for being
    constant or an id, as there is nobody to tell, and no test rows are held out, as cross-validation and the like do.

    limits: the most parameters a network may have; or an architecture such as "64-32" that has them; or a list as in
        train.py's config, [{"cost": "params", "limit": 10000}, {"cost": "latency_us", "limit": 60}].
    choices: widths to choose from, a list for each hidden layer; None: WIDTHS, in three layers.
    method: one of METHODS. method_options: its settings that are to be others, {"eta": 0.01}; conf/search has them all.
    max_epochs: of the search. retrain_epochs: of training from scratch.
    n_seeds: trainings of each architecture that was selected; the best network of the best architecture is kept.
    min_architectures: that are trained from scratch at least, to tell whether the search's ranking holds.
    patience, keep: see tabnas.stopping.EpochChoice.
    optimizer: "adam" or "sgd". lr: its learning rate; None: 0.005, or 0.01 of sgd.
    batch_size: "auto": a 64th of the training rows, from 16 to 256, but no more than validate.
    embedding_dim: of each categorical column.
    numerical: of numerical columns: "standard", "original", "quantile" or "log".
    numerical_embedding: None, {"kind": "piecewise_linear", "dim": 8, "n_bins": 16} or {"kind": "periodic", "dim": 8}.
    kinds: "numerical", "categorical", "boolean" or "date" by column, in place of what is inferred.
    drop: columns to leave out.
    high_cardinality: "error", or "hash" categories where a column has more than 1,000 or they rarely repeat.
    val_fraction: share of the rows that the search and the choice of the network go by.
    accelerator: "cpu", "gpu" or "auto".
    folder: where to keep the run's files, as train.py does; new or empty. None: nothing is kept. (Measured latencies
        are kept in ~/.cache/tabnas, though.)
    random_state: of the split, of initialisation, of all draws.
    verbose: whether to show the data report and progress on a terminal, and to print the outcome.

    Fitted:
    architecture_: widths of the hidden layers. costs_: what they cost, by name.
    architectures_: a DataFrame of all that were trained from scratch, best first.
    history_, result_: of the search, and all that result.json has.
    predictor_: a tabnas.predict.Predictor in float64; its `model` is a torch module.
    classes_, n_features_in_, feature_names_in_: as anywhere in scikit-learn.
    """

    _task = "classification"

    def predict(self, X: Any) -> NDArray[Any]:
        """The class of each row: (n,)."""
        chosen = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[chosen])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """(n, n_classes), in the order of classes_."""
        return np.asarray(self._answers(X).iloc[:, 1:])

    def _learnt(self, y: NDArray[Any]) -> NDArray[np.int64]:
        check_classification_targets(y)
        self.classes_, indices = np.unique(y, return_inverse=True)
        return indices

    def _numbers(self, y: NDArray[Any]) -> NDArray[np.int64]:
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(f"validation_data must have no class that y has not, got {unknown.tolist()}")
        return np.searchsorted(self.classes_, y)

    def _table(self, *given: Any) -> Table:
        table = super()._table(*given)
        return dataclasses.replace(table, task=Classification(tuple(texts(pd.Series(self.classes_)))))


class TabNASRegressor(RegressorMixin, _TabNAS):
    """The best feed-forward network within a limit on its cost that predicts a number. Arguments: TabNASClassifier."""

    _task = "regression"

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The value of each row, in y's own units: (n,)."""
        return np.asarray(self._answers(X)[PREDICTION])

    def _learnt(self, y: NDArray[Any]) -> NDArray[np.float64]:
        return self._numbers(y)

    def _numbers(self, y: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(y, np.float64)


def _is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())


def _as_frame(architectures: list[dict[str, Any]]) -> pd.DataFrame:
    rows = []
    for found in architectures:
        metrics = {name: told["mean"] for name, told in found["stand_alone"].items() if isinstance(told, dict)}
        one_shot = (found["one_shot"] or {}).get("loss")
        about = {"architecture": hyphenated(found["widths"]), "chosen_by": found["chosen_by"], **found["costs"]}
        rows.append({**about, "one_shot_loss": one_shot, **metrics, "loss_std": found["stand_alone"]["loss"]["std"]})
    return pd.DataFrame(rows).sort_values("loss", ignore_index=True)


def _free(name: str, taken: Collection[str]) -> str:
    """The name, with underscores behind it where it is taken."""
    while name in taken:
        name += "_"
    return name
