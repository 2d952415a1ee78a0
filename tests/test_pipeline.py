"""What the phases of a run hand on to each other."""

import inspect
from dataclasses import replace

import torch

from tabnas import result
from tabnas.data import digits
from tests.test_run import SHORT, without_seconds


def test_the_test_rows_change_nothing_but_what_is_told_of_them(train_py, tmp_path, monkeypatch):
    """Neither the search nor any choice looks at them."""
    original, found = digits.load, []

    def scrambled(**settings):
        table = original(**settings)
        target = torch.randint(10, (table.test.n_rows,), generator=torch.Generator().manual_seed(0))
        return replace(table, test=table.test._replace(numerical=-3 * table.test.numerical, target=target))

    scrambled.__signature__ = inspect.signature(original)
    for name, load in {"as_it_is": original, "scrambled": scrambled}.items():
        monkeypatch.setattr(digits, "load", load)
        assert train_py(*SHORT, "retrain.keep=best", f"hydra.run.dir={name}").code == 0
        found.append(without_seconds(result.read(tmp_path / name)))
    told = [[one["network"].pop("test"), *(found["test"] for found in one["architectures"])] for one in found]
    assert all(fine["loss"] != scrambled["loss"] for fine, scrambled in zip(*told, strict=True))
    for one in found:
        del one["reproduce"]
        for architecture in one["architectures"]:
            del architecture["test"]
    assert found[0] == found[1]
