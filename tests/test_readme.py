"""The README's commands and code are right. Its two set-up commands are run by the project's CI."""

import os
import re
import shlex
import subprocess
import sys

import pandas as pd
import pytest

from tabnas.bench.__main__ import BENCHES
from tabnas.report.__main__ import main as report_main
from tests.conftest import ROOT
from tests.test_conf import compose

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def train_commands() -> list[str]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line.startswith("python train.py")]


def test_the_two_commands_set_up_their_own_environment():
    commands = [block.strip() for block in blocks("bash")[:2]]
    for command in commands:
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install -e ")
    assert commands[0].endswith(".venv/bin/python train.py")
    assert commands[1].endswith(".venv/bin/python -m pytest")


@pytest.mark.parametrize("command", train_commands())
def test_settings_exist(command):
    overrides = [a for a in shlex.split(command)[2:] if a != "-m"]
    compose(*[override if {"[", "{"} & {*override} else override.split(",")[0] for override in overrides])


def test_there_are_commands_to_check():
    assert len(train_commands()) >= 6


def test_bench_names_exist():
    for names in re.findall(r"python -m tabnas\.bench ([a-z_ ]+)`", README):
        assert set(names.split()) <= set(BENCHES)


def test_groups_and_options_are_those_there_are():
    table = re.findall(r"^\| `(\w+)` \| (`[^|]*`) \|", README, flags=re.MULTILINE)
    found = {group: set(re.findall(r"`([^`]+)`", options)) for group, options in table}
    conf = ROOT / "conf"
    expected = {
        group.name: {p.relative_to(group).with_suffix("").as_posix() for p in group.rglob("*.yaml")}
        for group in conf.iterdir()
        if group.is_dir() and group.name != "hydra"
    }
    assert found == expected


def test_from_a_csv_file_to_predictions_and_to_onnxruntime(tmp_path):
    marked = r"<!-- {} -->\n```{}\n(.*?)^```"
    parts = (("predict", "bash"), ("export", "bash"), ("onnxruntime", "python"))
    (block, export, code) = (
        re.search(marked.format(*part), README, flags=re.DOTALL | re.MULTILINE).group(1) for part in parts
    )
    assert len([line for line in code.splitlines() if line]) == 5
    short = " 'space.choices=[[8,16],[8,16]]' trainer.max_epochs=2 retrain.seeds=1 retrain.max_epochs=2\n"
    script = re.sub(r"hydra\.run\.dir=wine\n", lambda found: found.group().strip() + short, block) + export
    (tmp_path / "code.py").write_text(code + "rows['label'] = label\nrows.to_csv('labels.csv')\n")
    script = script.replace("python ", f"{shlex.quote(sys.executable)} ").replace("train.py", str(ROOT / "train.py"))
    script += f"{shlex.quote(sys.executable)} code.py\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = ["bash", "-e", "-o", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    predictions = pd.read_parquet(tmp_path / "predictions.parquet")
    assert list(predictions["row"]) == [str(i) for i in range(178)]
    assert "prediction,probability_0,probability_1,probability_2\n" in done.stdout
    assert list(pd.read_csv(tmp_path / "labels.csv")["label"]) == list(predictions["prediction"].astype(int))


def test_reports_of_a_sweep(train_py, tmp_path):
    (block,) = re.findall(r"<!-- report -->\n```bash\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    sweep, report_command = (shlex.split(line) for line in block.splitlines())
    short = ("trainer.max_epochs=2", "retrain.seeds=1", "retrain.max_epochs=1", "space.choices=[[8,16],[8,16]]")
    outcome = train_py(*sweep[2:], *short)
    assert outcome.code == 0, outcome.err
    for page in tmp_path.rglob("report.html"):
        page.unlink()
    assert report_command[:3] == ["python", "-m", "tabnas.report"]
    assert report_main(report_command[3:]) == 0
    assert len(list(tmp_path.rglob("report.html"))) == 5
    assert len(re.findall(r"--share: \d+%", (tmp_path / "sweep" / "report.html").read_text())) == 4


def test_from_a_data_frame_to_a_classifier(capsys):
    (code,) = re.findall(r"<!-- scikit-learn -->\n```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    assert len([line for line in code.splitlines() if line]) == 5
    exec(compile(code, "README.md", "exec"), {})
    assert re.match(r"\(\d+, \d+, \d+\) \{'params': 1?\d{3}\} \[\[", capsys.readouterr().out)


def test_python_code_runs(train_py, tmp_path, capsys):
    outcome = train_py(
        "dataset=connect4", "space.choices=[[8,16],[8,16]]", "trainer.max_epochs=1",
        "retrain.seeds=1", "retrain.max_epochs=1", "limits.0.limit=2000", "hydra.run.dir=run",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    (code,) = [block for block in blocks("python") if "outputs/" in block]
    exec(compile(re.sub(r"outputs/[\d/-]+", f"{tmp_path}/run/", code), "README.md", "exec"), {})
    assert re.search(r"\[\d+, \d+\] \['(win|loss|draw)'", capsys.readouterr().out)
