"""Any table of openml.org by its id, through scikit-learn's fetch_openml and its cache."""

import logging
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError, URLError

from sklearn.datasets import fetch_openml, get_data_home

from tabnas.data.frame import from_frame, takes_frame_options
from tabnas.data.table import Table
from tabnas.errors import UserError, require_integer

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 30.0
"""Without an answer from openml.org; twice, as fetch_openml tries again."""


@takes_frame_options
def load(
    *, data_id: int | None = None, target: str | None = None, data_home: str | None = None, **options: Any
) -> Table:
    """The table with OpenML's `data_id`, without the columns that OpenML says to ignore. The rest: see from_frame.

    target: null, OpenML's own.
    data_home: scikit-learn's folder of data sets, null for its default (~/scikit_learn_data, or
        SCIKIT_LEARN_DATA); what was fetched once is read from there, also offline.
    """
    example = "41166 is Volkert; openml.org lists the ids"
    require_integer("dataset.data_id", data_id, low=1, remedy=example)
    try:
        folder = get_data_home(data_home)
    except OSError as error:
        raise UserError("dataset.data_home", "must be a folder", data_home, str(error)) from error
    try:
        with _patience():
            # Not parser="auto": its way by pandas breaks on nominal numbers from pandas 3.1 on (scikit-learn #34892).
            fetched = fetch_openml(
                data_id=data_id,
                data_home=folder,
                target_column=target or "default-target",
                as_frame=True,
                parser="liac-arff",
                n_retries=1,
            )
    except HTTPError as error:
        error.close()
        raise UserError("dataset.data_id", "must be a table that openml.org gives out", data_id, str(error)) from error
    except (URLError, OSError) as error:
        rule = f"must be in scikit-learn's cache under {folder}, or openml.org be reached"
        remedy = f"go online once, or give dataset.data_home ({getattr(error, 'reason', error)})"
        raise UserError("dataset.data_id", rule, data_id, remedy) from error
    except KeyError as error:
        raise UserError("dataset.target", "must be a column of the table", target, str(error.args[0])) from error
    except Exception as error:  # scikit-learn's parser has errors of its own
        raise UserError("dataset.data_id", "must be a table that scikit-learn can read", data_id, str(error)) from error
    names = fetched.target_names
    if len(names) != 1:
        rule = f"must name one column, as table {data_id} has {len(names)} targets of its own"
        raise UserError("dataset.target", rule, target, f"name one, such as {', '.join(names) or 'a column'}")
    return from_frame(fetched.frame, target=names[0], **options)


@contextmanager
def _patience() -> Iterator[None]:
    """Wait for the network no longer than TIMEOUT_SECONDS, and log what scikit-learn warns of."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            socket.setdefaulttimeout(before)
    for warning in told:
        log.warning("dataset.data_id: %s", " ".join(str(warning.message).split()))
