"""What the command line adds to Hydra: mistakes told in one line with exit code 2, and run folders that are resumed.

May import errors and ranks. Imports neither torch nor Lightning, so that help and mistakes come at once.
"""

import contextlib
import itertools
import logging
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString, ValueType
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tabnas.errors import ProcessLost, UserError, unknown
from tabnas.ranks import rank

log = logging.getLogger(__name__)


@contextlib.contextmanager
def errors_in_one_line(conf: Path) -> Iterator[None]:
    """Turn a mistake into `tabnas: error: …` on stderr and exit code 2, and Ctrl-C into exit code 130.

    conf: the folder of the configs, to say which keys and options there are. With HYDRA_FULL_ERROR=1 in the
    environment everything is raised as it is.
    """
    global _explaining
    if os.environ.get("HYDRA_FULL_ERROR"):
        yield
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # otherwise Hydra reports in its own form and exits itself
    _explaining = True
    try:
        yield
    except KeyboardInterrupt:
        _tell("stopped")
        sys.exit(130)
    except Exception as error:
        _explain(error, conf)
    finally:
        _explaining = False
        del os.environ["HYDRA_FULL_ERROR"]


@contextlib.contextmanager
def errors_of_one_job(conf: Path) -> Iterator[None]:
    """The same within a job, before Hydra adds a line of its own; a sweep goes on and Hydra says which job failed."""
    try:
        yield
    except KeyboardInterrupt:
        _tell(f"stopped{_go_on()}")
        sys.exit(130)
    except ProcessLost as lost:
        logging.disable(logging.NOTSET)  # what the others know may be the cause
        log.info("%s", lost, exc_info=lost)
        if not _explaining and rank() == 0:
            raise
        _tell(f"error: {lost}{_go_on()}", ranks=(0, 1))  # it may be the first that has ended
        sys.exit(1)
    except Exception as error:
        if not _explaining or HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        _explain(error, conf)


def _go_on() -> str:
    """How to take up the run that has stopped, if it had begun."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    return f"; go on with: python train.py {resuming(folder)}" if (folder / RUN_CONFIG).exists() else ""


def resuming(folder: Path) -> str:
    """The argument that takes up the run in `folder`, in such quotes as Hydra and the shell need."""
    path = os.path.relpath(folder)
    with contextlib.suppress(HydraException):
        if OverridesParser.create().parse_override(f"resume={path}").value() == path:
            return shlex.quote(f"resume={path}")
    return shlex.quote(f"resume={QuotedString(path, Quote.double).with_quotes()}")


def _tell(line: str, ranks: Sequence[int] = (0,)) -> None:
    """On stderr, by the first of several processes or some others."""
    if rank() in ranks:
        print(f"tabnas: {line}", file=sys.stderr)


_explaining = False

RUN_CONFIG = "run.yaml"
"""In a run folder: the config a resumed run goes by. Hydra's own copy may be cut short where a run is killed early."""


def _explain(error: Exception, conf: Path) -> NoReturn:
    mistake = _mistake(error, conf)
    if mistake is None:
        raise error
    _tell(f"error: {mistake}")
    sys.exit(2)


def _mistake(error: BaseException, conf: Path) -> UserError | None:
    """The user's mistake behind an exception, if there is one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            return cause
        cause = cause.__cause__ or cause.__context__  # OmegaConf leaves out the cause, not the context
    if isinstance(error, MissingConfigException) and "/" in (error.missing_cfg_file or ""):
        return _unknown_option(str(error.missing_cfg_file), error.options or (), conf)
    if isinstance(error, ValueError) and "Config group override" in str(error):
        return UserError("config", "must name an option for each group", None, "see python train.py --help")
    if isinstance(error, FileExistsError | NotADirectoryError | PermissionError):
        rule = "must be a folder that can be written"
        return UserError("hydra.run.dir", rule, error.filename, "name another")
    if isinstance(error, OverrideParseException):
        return UserError(error.override, "must be KEY=VALUE", error.override, "quote what the shell would change")
    if isinstance(error, ConfigCompositionException):
        return _unknown_key(error, conf)
    if isinstance(error, InstantiationException) and error.__cause__ and not isinstance(error.__cause__, TypeError):
        return None  # what was instantiated failed: no mistake in the config
    if isinstance(error, HydraException | OmegaConfBaseException):
        key = getattr(error, "full_key", None) or "config"
        return UserError(key, "must make a valid config", str(error).splitlines()[0], "see python train.py --help")
    return None


def _unknown_option(missing: str, found: Sequence[str], conf: Path) -> UserError:
    """found: the options that Hydra knows."""
    group, _, option = missing.removesuffix(".yaml").rpartition("/")
    if group == "hydra/launcher":
        remedy = 'choose one of these, or install more by pip install -e ".[sweep]"'
        return UserError(group, f"must be an installed launcher, one of {', '.join(sorted(found))}", option, remedy)
    if group.startswith("hydra/"):
        return unknown(group, option, found)
    group, _, option = missing.removesuffix(".yaml").partition("/")
    options = [path.relative_to(conf / group).with_suffix("").as_posix() for path in (conf / group).rglob("*.yaml")]
    return unknown(group, option, options)


def _unknown_key(error: ConfigCompositionException, conf: Path) -> UserError:
    swept = re.search(r"Ambiguous value for argument '([^=]*)=([^']*)'", str(error))
    if swept:
        return UserError(swept.group(1), "must be one value", swept.group(2), "add -m to run each of several in turn")
    found = re.search(r"Could not override '([^']*)'|Error merging override ([^=\s]*)", str(error))
    if found is None:
        line = " ".join(str(error).split())
        return UserError("config", "must be made of existing keys and groups", line, "see python train.py --help")
    key = found.group(1) or found.group(2)
    parent, _, last = key.rpartition(".")
    for cfg in _composed(conf):
        node = OmegaConf.select(cfg, parent) if parent else cfg
        if not isinstance(node, DictConfig) or last not in node:
            break
    if not isinstance(node, DictConfig):
        why = f"there is no {parent!r}" if node is None else f"{parent!r} has no such part"
        return UserError(key, "must be an existing key", key, f"{why}; see python train.py --help")
    groups = [] if parent else [path.name for path in conf.iterdir() if path.is_dir() and path.name != "hydra"]
    return unknown(key, last, {*groups, *(str(k) for k in node if not str(k).startswith("_"))})


def _composed(conf: Path) -> Iterator[DictConfig]:
    """The config composed from the groups chosen on this command line; of a sweep over groups, each in turn."""
    given = [a for a in sys.argv[1:] if (conf / a.partition("=")[0]).is_dir()]
    options: list[list[str]] = []
    for override in OverridesParser.create().parse_overrides(given):
        if not override.is_sweep_override():
            options.append([str(override.input_line)])
        elif override.value_type != ValueType.GLOB_CHOICE_SWEEP:
            options.append([f"{override.key_or_group}={one}" for one in override.sweep_string_iterator()])
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(conf.resolve()), version_base="1.3"):
        for groups in itertools.product(*options):
            yield hydra.compose("config", overrides=list(groups))


def _resumed_or(resume: str | None, default: str) -> str:
    """`hydra.run.dir`: the folder given to resume, which must be a run's, or a new one."""
    if resume is None:
        return default
    resume = str(resume)
    if not (Path(resume) / RUN_CONFIG).is_file():
        raise UserError("resume", f"must be the folder of a run (with {RUN_CONFIG} in it)", resume, "see outputs/")
    return resume


OmegaConf.register_new_resolver("run_folder", _resumed_or, replace=True)
OmegaConf.register_new_resolver("unless_resumed", lambda resume, value: None if resume else value, replace=True)
