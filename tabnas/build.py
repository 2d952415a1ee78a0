"""From a config to the objects of a run, checked: the only place that instantiates configs."""

import copy
import inspect
import logging
import os
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from tabnas import accelerator, stopping
from tabnas.cost import Limits, ParameterCount
from tabnas.data.datamodule import TableDataModule
from tabnas.data.table import UNSEEN, Table
from tabnas.encoder import Encoder
from tabnas.errors import UserError, require_integer, require_number, require_one_of, unknown
from tabnas.latency import Latency, default_folder
from tabnas.limits import limits_from
from tabnas.method import Method
from tabnas.method.base import LARGE_SPACE_SAMPLES
from tabnas.numerical import fitted
from tabnas.optim import SGD, Adam
from tabnas.progress import Display
from tabnas.ranks import started_by_torchrun
from tabnas.retrain import Retraining
from tabnas.search.module import TabNAS
from tabnas.search.selection import FinalSelection
from tabnas.search.static import StaticTabNAS
from tabnas.space import SearchSpace, Widths
from tabnas.study.protocol import Study
from tabnas.toy.search import ToySearch, ToySetup
from tabnas.toy.table import LossTable

log = logging.getLogger(__name__)

LATENCIES = "latency.json"
"""In a run folder: the measured table behind a limit on latency, which a resumed run goes by."""

LARGEST_SUPERNET_PARAMS = 10**9  # 4 GB, and as much again for each of Adam's moments

SERVING = ("batch_size", "embedding_dim", "sparse_embeddings", "numerical_embedding", "shuffle_rows")
"""Keys of `dataset` that every table has: how it is encoded and served. The others are its source's own."""

TOP_LEVEL_KEYS = (
    "accelerator", "dataset", "experiment", "limits", "optimizer",
    "resume", "retrain", "search", "seed", "space", "study", "trainer",
)  # fmt: skip


@dataclass
class Setup:
    """Everything a run works with, checked."""

    config: dict[str, Any]
    folder: Path
    table: Table
    data: TableDataModule
    space: SearchSpace
    limits: Limits
    costs: Callable[[Widths], dict[str, float]]
    """By name: the number of parameters, and whatever is limited."""
    optimizer: Adam | SGD
    new_encoder: Callable[[], Encoder]
    numerical_embedding: dict[str, Any] | None
    search: TabNAS
    study: Study | None
    accelerator: str
    devices: int
    num_nodes: int
    max_epochs: int
    checkpoint_every_seconds: float
    retrain_seeds: int
    retrain_epochs: int
    retrain_patience: int | None
    retrain_keep: str
    min_architectures: int
    seed: int

    @property
    def retraining(self) -> Retraining:
        return Retraining(
            data=self.data,
            new_encoder=self.new_encoder,
            task=self.table.task,
            optimizer=self.optimizer,
            max_epochs=self.retrain_epochs,
            accelerator="cpu" if self.accelerator == "tpu" else self.accelerator,  # each would be a graph of its own
            checkpoint_every_seconds=self.checkpoint_every_seconds,
            folder=self.folder / "retrain",
            patience=self.retrain_patience,
            keep=self.retrain_keep,
        )


def build(cfg: DictConfig, folder: Path, table: Table | None = None, *, quiet: bool = False) -> Setup | ToySetup:
    """Instantiate a config; UserError for whatever in it cannot work, before anything is trained.

    table: in place of the one that `dataset` names. quiet: no progress is shown.
    """
    for key in cfg:
        if key not in TOP_LEVEL_KEYS:
            raise unknown(str(key), key, TOP_LEVEL_KEYS)
    for key in ("dataset", "space", "optimizer", "search", "trainer", "accelerator", "retrain"):
        if not isinstance(cfg.get(key), DictConfig):
            raise UserError(key, "must be a group of settings", cfg.get(key), "see python train.py --help")
    config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    config["resume"] = None
    trainer, dataset, retrain, seed = cfg.trainer, cfg.dataset, cfg.retrain, cfg.seed
    require_integer("seed", seed, low=0, high=2**63 - 1, remedy="any such integer will do")
    require_integer("trainer.max_epochs", trainer.max_epochs, low=1, remedy="30 epochs will do for Connect-4")
    devices, num_nodes = _check_devices(cfg)
    if "losses" in dataset:
        return _build_toy(cfg, config, folder)
    require_integer("trainer.log_every_n_steps", trainer.log_every_n_steps, low=1, remedy="100 is a good choice")
    every = trainer.checkpoint_every_seconds
    require_number("trainer.checkpoint_every_seconds", every, low=0, remedy="0 saves after every block")
    require_integer("retrain.seeds", retrain.seeds, low=1, remedy="3 give a first idea of the spread")
    require_integer("retrain.max_epochs", retrain.max_epochs, low=1, remedy="15 epochs will do for Connect-4")
    remedy = "0 trains what was chosen alone"
    require_integer("retrain.min_architectures", retrain.min_architectures, low=0, high=1000, remedy=remedy)
    stopping.check(retrain.patience, retrain.keep)
    _check_accelerator(cfg.accelerator.name, devices, config.get("limits"))
    space = SearchSpace(config["space"]["choices"])
    optimizer = _instantiated("optimizer", cfg.optimizer)
    _check_serving(dataset)
    table = table_from(dataset) if table is None else table
    data = TableDataModule(
        table,
        batch_size=dataset.batch_size,
        seed=seed,
        steps_per_block=trainer.log_every_n_steps,
        shuffle_rows=dataset.shuffle_rows,
        n_replicas=devices * num_nodes * cfg.search.get("replicas_per_device", 1),
    )
    numerical_embedding = fitted(config["dataset"]["numerical_embedding"], table.train.numerical)

    def new_encoder() -> Encoder:
        return Encoder(
            table.n_numerical,
            table.cardinalities,
            dataset.embedding_dim,
            sparse=dataset.sparse_embeddings,
            unseen=UNSEEN if table.has_reserved_ids else None,
            numerical=numerical_embedding,
        )

    torch.manual_seed(seed)
    encoder = new_encoder()
    params = ParameterCount(encoder.n_inputs, table.task.n_outputs)
    if params(space.largest) > LARGEST_SUPERNET_PARAMS:
        rule = f"must make a SuperNet of at most {LARGEST_SUPERNET_PARAMS:,} parameters"
        raise UserError("space.choices", rule, f"{params(space.largest):,}", "leave out the largest widths")
    limits = _limits(
        config,
        space,
        folder,
        n_inputs=encoder.n_inputs,
        n_outputs=table.task.n_outputs,
        n_embedding_params=sum(p.numel() for p in encoder.parameters()),
        device=torch_device(cfg.accelerator.name),
        quiet=quiet,
    )
    method = _method(cfg, space, limits)
    if devices * num_nodes > 1 and not method.trains_supernet:
        remedy = "leave it out, or choose another search"
        raise UserError("trainer.devices", "must be 1 where there is no SuperNet to train", devices * num_nodes, remedy)
    search = (StaticTabNAS if cfg.accelerator.name == "tpu" else TabNAS)(
        method=method,
        encoder=encoder,
        task=table.task,
        optimizer=optimizer,
        batch_size=data.batch_size,
        total_steps=trainer.max_epochs * data.search_steps_per_epoch,
        valid=data.valid,
        n_devices=devices * num_nodes,
    )
    return Setup(
        config=config,
        folder=folder,
        table=table,
        data=data,
        space=space,
        limits=limits,
        costs=lambda widths: {params.name: params(widths), **limits.amounts(widths)},
        optimizer=optimizer,
        new_encoder=new_encoder,
        numerical_embedding=numerical_embedding,
        search=search,
        study=_study(cfg, known_losses=False),
        accelerator=cfg.accelerator.name,
        devices=devices,
        num_nodes=num_nodes,
        max_epochs=trainer.max_epochs,
        checkpoint_every_seconds=every,
        retrain_seeds=retrain.seeds,
        retrain_epochs=retrain.max_epochs,
        retrain_patience=retrain.patience,
        retrain_keep=retrain.keep,
        min_architectures=retrain.min_architectures,
        seed=seed,
    )


def _check_serving(dataset: DictConfig) -> None:
    for key in SERVING:
        if key not in dataset:
            raise UserError(f"dataset.{key}", "must be given", None, "see python train.py --help")
    require_integer(
        "dataset.embedding_dim", dataset.embedding_dim, low=1, remedy="the paper has 39 for Criteo, 2 for Connect-4"
    )
    require_one_of("dataset.sparse_embeddings", dataset.sparse_embeddings, (True, False))


def table_from(dataset: DictConfig) -> Table:
    """The table that `dataset` names: its settings but SERVING go to its _target_."""
    source = OmegaConf.masked_copy(dataset, [str(key) for key in dataset if key not in SERVING])
    known = _parameters(_target("dataset", source))
    if "name" not in known:
        del source["name"]
    with Display() as display:
        given = {"progress": display.phases()} if "progress" in known else {}
        table = _instantiated("dataset", source, **given)
    if not isinstance(table, Table):
        raise UserError("dataset._target_", "must return a tabnas.data.table.Table", table, "see Table.from_arrays")
    return table


def _build_toy(cfg: DictConfig, config: dict[str, Any], folder: Path) -> ToySetup:
    """Known losses in place of a network and its data."""
    dataset = config["dataset"]
    for key in ("trainer.devices", "trainer.num_nodes", "search.replicas_per_device"):
        if OmegaConf.select(cfg, key, default=1) != 1:
            remedy = f"leave out {key}"
            raise UserError(
                key, "must be 1 with known losses, whose searches are one replica", OmegaConf.select(cfg, key), remedy
            )
    space = SearchSpace(config["space"]["choices"])
    table = LossTable(dataset["losses"], dataset.get("n_inputs"), dataset.get("n_outputs"), space)
    shape: dict[str, Any] = {"n_inputs": table.n_inputs, "n_outputs": table.n_outputs}
    limits = _limits(config, space, folder, **shape, n_embedding_params=0, device="cpu")
    params = ParameterCount(**shape)
    known = _parameters(_target("search", cfg.search))
    brought = {"eta", "warmup_fraction"} - set(known)  # by dataset=toy, for a search that has no such settings
    cfg = copy.deepcopy(cfg)
    cfg.search = OmegaConf.masked_copy(cfg.search, [str(key) for key in cfg.search if key not in brought])
    method = _method(cfg, space, limits)
    return ToySetup(
        config=config,
        folder=folder,
        data=table,
        space=space,
        limits=limits,
        costs=lambda widths: {params.name: params(widths), **limits.amounts(widths)},
        search=ToySearch(method, table, cfg.trainer.max_epochs * table.steps_per_epoch),
        study=_study(cfg, known_losses=True),
        max_epochs=cfg.trainer.max_epochs,
        seed=cfg.seed,
    )


def _study(cfg: DictConfig, *, known_losses: bool) -> Study | None:
    """The study that the run is, if it is one; known_losses: whether its data are."""
    if "study" not in cfg:
        return None
    study: Study = _instantiated("study", cfg.study)
    if study.known_losses != known_losses:
        rule = "must go with known losses" if study.known_losses else "must go with a table of rows"
        remedy = "give dataset=toy" if study.known_losses else "give another dataset"
        raise UserError("study", rule, f"dataset={cfg.dataset.get('name')}", remedy)
    return study


def _method(cfg: DictConfig, space: SearchSpace, limits: Limits) -> Method:
    generator = torch.Generator().manual_seed(cfg.seed)
    method: Method = _instantiated("search", cfg.search, space=space, limits=limits, generator=generator)
    known = _parameters(FinalSelection)
    for name in sorted(set(method.selection) - set(known)):
        raise unknown(f"search.selection.{name}", name, known)
    if method.program is None:
        log.warning("P(V) and draws from P(y | V): not exact, in so large a space; by %d samples", LARGE_SPACE_SAMPLES)
    return method


def _limits(
    config: dict[str, Any], space: SearchSpace, folder: Path, *, quiet: bool = False, **networks: Any
) -> Limits:
    """What `limits` asks for; in `config` they are numbers afterwards. networks: see limits_from."""
    with Display(quiet) as display:
        limits, config["limits"] = limits_from(
            config.get("limits"),
            space,
            folder=default_folder(),
            kept=folder / LATENCIES,
            progress=display.phase("latency"),
            **networks,
        )
    if limits.allow(space.largest):
        amounts = ", ".join(f"{amount:,} {name}" for name, amount in limits.amounts(space.largest).items())
        log.warning("limits: the largest architecture keeps to them (%s), so nothing is ruled out", amounts)
    return limits


def _instantiated(key: str, node: Any, **arguments: Any) -> Any:
    """What a config node with _target_ stands for; _partial_ nodes are given `arguments`, which are no config."""
    remedy = "see python train.py --help"
    known = _parameters(_target(key, node))
    given = {str(name) for name in node if not str(name).startswith("_")}
    for name in sorted(given - set(known)):
        raise unknown(f"{key}.{name}", name, set(known) - set(arguments))
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in given | set(arguments):
            raise UserError(f"{key}.{name}", "must be given", None, remedy)
    if arguments and not node.get("_partial_"):
        node = OmegaConf.merge(node, {"_partial_": True})
    made = instantiate(node, _convert_="all")
    return made(**arguments) if arguments else made


def _target(key: str, node: Any) -> Any:
    """The class or function a config node is for."""
    if not isinstance(node, DictConfig) or not isinstance(node.get("_target_"), str):
        remedy = "see python train.py --help"
        raise UserError(key, "must be a group of settings with a _target_", node, remedy)
    try:
        target = pkgutil.resolve_name(node["_target_"])
        inspect.signature(target)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UserError(
            f"{key}._target_", "must name a class or function that can be imported", node["_target_"], str(error)
        ) from error
    return target


def _parameters(target: Any) -> dict[str, inspect.Parameter]:
    """What a function or class takes by name, its base classes included where it hands its keywords on to them."""
    known: dict[str, inspect.Parameter] = {}
    is_class = inspect.isclass(target)
    for function in [vars(c)["__init__"] for c in target.__mro__ if "__init__" in vars(c)] if is_class else [target]:
        own = inspect.signature(function).parameters
        known |= {n: p for n, p in own.items() if n != "self" and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in own.values()):
            break
    return known


def torch_device(accelerator: str) -> str:
    """Where networks are timed."""
    return "cuda" if accelerator in ("auto", "gpu") and torch.cuda.is_available() else "cpu"


def _check_devices(cfg: DictConfig) -> tuple[int, int]:
    """trainer.devices and trainer.num_nodes, which the processes that were started must agree with."""
    devices, num_nodes = cfg.trainer.get("devices", 1), cfg.trainer.get("num_nodes", 1)
    require_integer("trainer.devices", devices, low=1, remedy="1 is one process on one device")
    require_integer("trainer.num_nodes", num_nodes, low=1, remedy="1 is one machine")
    replicas = cfg.search.get("replicas_per_device", 1)
    require_integer("search.replicas_per_device", replicas, low=1, remedy="1 is a replica for each device")
    started = int(os.environ.get("WORLD_SIZE", 1)) if started_by_torchrun() else None
    if started not in (None, devices * num_nodes):
        rule = f"must make up, times trainer.num_nodes={num_nodes}, the {started} processes torchrun has started"
        raise UserError("trainer.devices", rule, devices, "give the number of processes on each machine")
    if num_nodes > 1 and started is None:
        raise UserError("trainer.num_nodes", "must go with torchrun on each machine", num_nodes, "see the README")
    available = torch.cuda.device_count()
    if cfg.accelerator.get("name") == "gpu" and available and devices > available:
        raise UserError("trainer.devices", f"must be at most the {available} GPUs there are", devices, "give fewer")
    return devices, num_nodes


def _check_accelerator(name: str, devices: int, limits: Any) -> None:
    if name not in ("auto", "cpu", "gpu", "tpu"):
        raise unknown("accelerator.name", name, ("auto", "cpu", "gpu", "tpu"))
    if name == "tpu":
        if isinstance(limits, list) and any(isinstance(e, dict) and e.get("cost") == Latency.name for e in limits):
            remedy = "limit params or flops, or give accelerator=cpu"
            raise UserError("limits", "must be on what is known of a TPU", Latency.name, remedy)
        accelerator.check(devices)
    if name == "gpu" and not torch.cuda.is_available():
        raise UserError("accelerator", "must be one that torch can use", name, "choose accelerator=cpu")
