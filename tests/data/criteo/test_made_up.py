"""Made-up rows: the same for a seed, like the real ones, and with something to be found in them."""

import io
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from tabnas.data.criteo import load_synthetic
from tabnas.data.criteo.made_up import BLOCK_ROWS, block, blocks
from tabnas.data.criteo.synthetic import main
from tabnas.data.criteo.text import CATEGORIES, INTEGERS, NAMES, parse
from tabnas.errors import UserError


@pytest.fixture(scope="module")
def content():
    return block(0, 0)


def test_a_row_depends_on_the_seed_and_its_number(content):
    assert b"".join(blocks(10, 0)) == b"".join(content.splitlines(keepends=True)[:10])
    longer = b"".join(blocks(BLOCK_ROWS + 10, 0))
    assert longer == content + b"".join(block(0, 1).splitlines(keepends=True)[:10])
    assert len({content[:100], block(0, 1)[:100], block(1, 0)[:100]}) == 3


def test_every_line_is_good(content):
    parsed = parse(content)
    assert parsed.bad == []
    assert len(parsed.label) == BLOCK_ROWS


def test_is_like_the_real_data(content):
    types = dict.fromkeys(CATEGORIES, str)
    frame = pd.read_csv(io.BytesIO(content), sep="\t", names=NAMES, dtype=types)
    assert frame["label"].mean() == pytest.approx(0.25, abs=0.01)
    missing = frame.isna().mean()
    for name, share in {"I1": 0.45, "I2": 0, "I12": 0.77, "C1": 0, "C3": 0.03, "C22": 0.77, "C26": 0.45}.items():
        assert missing[name] == pytest.approx(share, abs=4 * (0.25 / BLOCK_ROWS) ** 0.5)
    assert frame["I2"].min() < 0
    assert frame["I5"].max() > 1_000_000
    assert frame["I5"].median() < 5000
    n_values = frame[list(CATEGORIES)].nunique()
    assert n_values["C9"] <= 6
    assert n_values["C3"] > 10_000
    # A power law: in logarithms the frequency falls along a line.
    counts = frame["C10"].value_counts().to_numpy()[:50]
    slope = np.polyfit(np.log(np.arange(10, 50)), np.log(counts[10:]), 1)[0]
    assert -1.9 < slope < -1.1


def test_the_label_hangs_on_an_interaction_that_single_columns_do_not_show(tmp_path):
    table = load_synthetic(n_rows=200_000, cache=tmp_path)
    train, valid = table.train, table.valid

    def loss(first, second):
        """Of the training rate of each pair of values, on the validation rows."""
        key = lambda rows: rows.categorical[:, first].long() * 10_000 + rows.categorical[:, second]  # noqa: E731
        frame = pd.DataFrame({"key": key(train).numpy(), "y": train.target.numpy()}).groupby("key")["y"]
        rate = ((frame.sum() + 5) / (frame.count() + 20)).reindex(key(valid).numpy()).fillna(0.25).to_numpy()
        y = valid.target.numpy()
        return -np.mean(np.where(y, np.log(rate), np.log(1 - rate)))

    c1, c2, c17, c20 = 0, 1, 16, 19
    base = loss(c20, c20)  # which the label does not hang on
    alone = base - loss(c1, c1) + base - loss(c17, c17)
    assert base - loss(c1, c17) > 1.15 * alone > 0
    assert loss(c2, c2) < base


def test_the_command_writes_them(tmp_path, capsys):
    main(["70000", str(tmp_path / "rows.txt"), "--seed", "3"])
    assert (tmp_path / "rows.txt").read_bytes() == b"".join(blocks(70_000, 3))
    with pytest.raises(SystemExit):
        main(["-1", str(tmp_path / "rows.txt")])
    assert "ROWS" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_runs_without_a_warning(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "tabnas.data.criteo.synthetic", "5", str(tmp_path / "rows.txt")]
    subprocess.run(command, check=True)
    assert (tmp_path / "rows.txt").read_bytes().count(b"\n") == 5


@pytest.mark.parametrize(("name", "value"), [("n_rows", 1), ("n_rows", 1e6), ("data_seed", -1)])
def test_bad_options_are_told(name, value, tmp_path):
    with pytest.raises(UserError, match=rf"^dataset\.{name}: "):
        load_synthetic(**{"n_rows": 100, "cache": tmp_path, name: value})


def test_columns_are_those_of_the_text():
    assert (len(INTEGERS), len(CATEGORIES), len(NAMES)) == (13, 26, 40)
