"""Wrong inputs at the command line: exit code 2, one line on stderr, and nothing trained."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
import yaml
from omegaconf import OmegaConf

from tabnas.errors import ProcessLost, UserError, require_integer, require_number
from tests.conftest import ROOT
from tests.test_conf import compose

QUICK = "experiment=quick"

# What is typed, and what the line must name and say.
WRONG = {
    ("searchh=tabnas",): "got 'searchh'; did you mean 'search'?",
    ("search.etaa=0.1",): "search.etaa: must be one of baseline_decay, baseline_over, eta,",
    ("retrain.seed=4",): "got 'seed'; did you mean 'seeds'?",
    ("search.eta.x=1",): "search.eta.x: must be an existing key",
    ("nothing.at.all=1",): "nothing.at.all: must be an existing key",
    ("+foo=1",): "foo: must be one of accelerator,",
    ("+search.foo=1",): "search.foo: must be one of baseline_decay, baseline_over, eta,",
    ("dataset=null",): "config: must name an option for each group",
    ("retrain=null",): "retrain: must be a group of settings, got None",
    ("retrain=3",): "retrain: must be a group of settings, got 3",
    ("~limits",): "limits: must be a list of limits, got None",
    ("~search",): "search: must be a group of settings, got None",
    ("dataset._target_=null",): "dataset: must be a group of settings with a _target_, got {",
    ("~dataset.shuffle_rows",): "dataset.shuffle_rows: must be given",
    ("dataset.shuffle_rows=3",): "dataset.shuffle_rows: must be an integer of at least 64, got 3",
    ("dataset.sparse_embeddings=3",): "dataset.sparse_embeddings: must be one of False, True, got 3",
    ("dataset.numerical_embedding=3",): "dataset.numerical_embedding: must be null or have a kind, one of piecewise",
    ("dataset.numerical_embedding={kind: periodc}",): "numerical_embedding.kind: must be one of periodic, piecewise",
    ("dataset.numerical_embedding={kind: periodic, bins: 3}",): "numerical_embedding.bins: must be one of dim,",
    ("dataset.numerical_embedding={kind: periodic, dim: 0}",): "embedding.dim: must be an integer in [1, 1024], got 0",
    ("dataset.numerical_embedding={kind: piecewise_linear, n_bins: 1}",): "n_bins: must be an integer in [2, 1257]",
    ("dataset._target_=nope.load",): "must name a class or function that can be imported, got 'nope.load'",
    ("dataset._target_=tabnas.data.digits.load_digits",): "dataset.split_seed: must be one of as_frame, n_class",
    ("limits.0.limit=99999999999999999999",): "limits.0.limit: must be a number in (0, 9.0072e+15]",
    ("space.choices=[[8,99999999999]]",): "space.choices: must make a SuperNet of at most 1,000,000,000 parameters",
    ("dataset.val_fraction=0.0001",): "dataset.val_fraction: must leave a row of the 1797 for validation, got 0.0001",
    ("optimizer.betas=3",): "optimizer.betas: must be two numbers in [0, 1), got 3",
    ("search.eta=inf",): "search.eta: must be a number above 0, got inf",
    ("search.num_samples=99999999999",): "search.num_samples: must be an integer in [1, 1e+07]",
    ("dataset=conect4",): "got 'conect4'; did you mean 'connect4'?",
    ("search=darts",): "search: must be one of bayesian, evolution, exhaustive, mnasnet, mnasnet_clipped,",
    ("space=layers7",): "space: must be one of layers3, layers4, layers5, layers9,",
    ("experiment=paper/nothing",): "experiment: must be one of paper/aloi, paper/connect4, paper/criteo3,",
    ("limits",): "limits: must be KEY=VALUE",
    ("search.eta=[1",): "must be KEY=VALUE",
    ("limits=10000",): "limits: must be a list of limits, got 10000; give limits=[{cost: params, limit: 10000}], or",
    ("limits=[]",): "limits: must be a list of limits, got []",
    ("limits=[{cost: params}]",): "limits.0: must have the keys cost and limit, got {'cost': 'params'}",
    ("limits.0.cost=prams",): "limits.0.cost: must be one of flops, latency_us, params, got 'prams'; did you",
    ("accelerator=tpu", "limits.0.cost=latency_us"): "limits: must be on what is known of a TPU, got 'latency_us'",
    ("search=random", "trainer.devices=2"): "trainer.devices: must be 1 where there is no SuperNet to train, got 2",
    ("limits.1.limit=5",): "limits.1.limit: must be an existing key",
    ("search.eta=0.1,0.2",): "search.eta: must be one value, got '0.1,0.2'; add -m to run each of several in turn",
    ("epochs=3",): "epochs: must be one of accelerator, dataset,",
    ("retrain.epochs=3",): "got 'epochs'; did you mean 'max_epochs'?",
    ("--config-name=nonsense",): "Cannot find primary config 'nonsense'",
    ("limits.0.limit=0",): "limits.0.limit: must be a number in (0, 9.0072e+15], got 0",
    ("limits.0.limit=ten",): "limits.0.limit: must be a number, or an architecture with as many layers as",
    ("limits.0.limit=8-9",): "limits.0.limit: must be an architecture of the space, got '8-9'; 9 is no choice there",
    ("limits=[{cost: params, limit: 4000}, {cost: flops, limit: 9}]",): "limit on flops must be at least 656",
    ("limits=[{cost: [params], limit: 9}]",): "limits.0.cost: must be one of flops, latency_us, params, got ['params']",
    ("limits.0.limit=500",): "at least 682, the cost of the smallest architecture, got 500; raise the limit to 682",
    ("space.choices=[]",): "space.choices: must be a non-empty list",
    ("space.choices=[[8,16],[]]",): "space.choices[1]: must be a non-empty list of widths, got []",
    ("space.choices=[[8,8]]",): "space.choices[0]: must not repeat a width, got 8",
    ("space.choices=[[8,-16]]",): "space.choices[0]: must hold positive integers, got -16",
    ("space.choices=8",): "space.choices: must be a non-empty list with one list of widths per hidden layer, got 8",
    ("dataset.batch_size=0",): "dataset.batch_size: must be an integer of at least 1, got 0",
    ("dataset.batch_size=400",): "dataset.batch_size: must be at most the 359 rows of the validation split, got 400",
    ("dataset.batch_size=5000",): "dataset.batch_size: must be at most the 1258 rows of the training split, got 5000",
    ("dataset.val_fraction=0",): "dataset.val_fraction: must be a number in (0, 0.9], got 0",
    ("dataset.numerical=log",): "got 'numerical'; did you mean 'numerical_embedding'?",
    ("dataset.embedding_dim=-2",): "dataset.embedding_dim: must be an integer of at least 1, got -2",
    ("search.eta=-0.1",): "search.eta: must be a number above 0, got -0.1",
    ("search.eta=fast",): "search.eta: must be a number above 0, got 'fast'",
    ("search.num_samples=0",): "search.num_samples: must be an integer in [1, 1e+07], got 0",
    ("search.proposal=q",): "search.proposal: must be one of p, uniform, got 'q'",
    ("search.prob_valid=exact",): "search.prob_valid: must be one of constant, differentiated, omitted, got 'exact'",
    ("search.rl_every=0",): "search.rl_every: must be an integer of at least 1, got 0",
    ("search=tabnas_exact", "search.num_children=0"): "search.num_children: must be an integer in [1, 1000], got 0",
    ("search=tabnas_exact", "search.num_samples=64"): "search.num_samples: must be one of baseline_decay,",
    ("search=tunas_abs", "search.beta=1"): "search.beta: must be a number in [-1e+06, 0], got 1",
    ("search=mnasnet", "limits=[{cost: params, limit: 4000}, {cost: flops, limit: 4000}]"): "limits: must be one with",
    ("search.weight_draws=q",): "search.weight_draws: must be one of p, valid, got 'q'",
    ("+search.selection.foo=1",): "search.selection.foo: must be one of",
    ("search.warmup_fraction=1",): "search.warmup_fraction: must be a number in [0, 0.99], got 1",
    ("search.selection.rule=best",): "search.selection.rule: must be one of largest, most_probable, one_shot, got",
    ("search.selection.num_draws=none",): "search.selection.num_draws: must be an integer of at least 1, got 'none'",
    ("search.selection=3",): "search.selection: must be a mapping, got 3",
    ("optimizer.lr=0",): "optimizer.lr: must be a number above 0, got 0",
    ("optimizer.schedule=linear",): "optimizer.schedule: must be one of constant, cosine, got 'linear'",
    ("trainer.max_epochs=0",): "trainer.max_epochs: must be an integer of at least 1, got 0",
    ("trainer.log_every_n_steps=often",): "trainer.log_every_n_steps: must be an integer of at least 1, got 'often'",
    ("trainer.checkpoint_every_seconds=-1",): "checkpoint_every_seconds: must be a number of at least 0, got -1",
    ("retrain.seeds=0",): "retrain.seeds: must be an integer of at least 1, got 0",
    ("retrain.max_epochs=2.5",): "retrain.max_epochs: must be an integer of at least 1, got 2.5",
    ("retrain.patience=0",): "retrain.patience: must be an integer of at least 1, got 0",
    ("retrain.keep=first",): "retrain.keep: must be one of best, last, got 'first'",
    ("seed=-1",): "seed: must be an integer in [0, 9.22337e+18], got -1",
    ("accelerator=tpux",): "accelerator: must be one of auto, cpu, gpu, tpu, got 'tpux'",
    ("~optimizer.lr",): "optimizer.lr: must be given",
    ("~trainer.max_epochs",): "trainer.max_epochs: must make a valid config, got",
}  # fmt: skip


@pytest.mark.parametrize("typed", WRONG, ids=" ".join)
def test_one_line_and_exit_code_2(train_py, typed, tmp_path, monkeypatch):
    monkeypatch.setattr("tabnas.pipeline.fit", lambda *_: pytest.fail("training started"))
    outcome = train_py(QUICK, *typed)
    assert outcome.code == 2, outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.err.startswith("tabnas: error: ")
    assert WRONG[typed] in outcome.err
    assert outcome.out == ""
    assert not [path for path in tmp_path.rglob("*") if path.name != "outputs"]  # nothing is left behind


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (("dataset=digits,connect4", "trainer.max_epoch=3"), "got 'max_epoch'; did you mean 'max_epochs'?"),
        (("search=tabnas,tunas_abs", "search.betta=3"), "search.betta: must be one of baseline_decay,"),
        (("search=tunas_abs,tabnas", "search.beta=-1"), "got 'beta'; did you mean 'eta'?"),
        (("dataset=choice(digits,connect4)", "trainer.max_epoch=3"), "did you mean 'max_epochs'?"),
        (("dataset=glob(d*)", "trainer.max_epoch=3"), "did you mean 'max_epochs'?"),
        (("dataset=digits,conect4",), "got 'conect4'; did you mean 'connect4'?"),
    ],
    ids=" ".join,
)
def test_a_mistake_in_a_sweep_over_groups(train_py, typed, line):
    outcome = train_py("-m", *typed)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert line in outcome.err


def test_an_option_of_hydras_own_groups(train_py):
    launcher = train_py("-m", "hydra/launcher=foo")
    assert launcher.code == 2
    assert "error: hydra/launcher: must be an installed launcher, one of basic, " in launcher.err
    assert "got 'foo'; choose one of these, or install more by pip install -e \".[sweep]\"\n" in launcher.err
    help_page = train_py("hydra/help=foo")
    assert (help_page.code, "hydra/help: must be one of default, tabnas, got 'foo'" in help_page.err) == (2, True)


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        ("[gloo/pair.cc:547] Connection closed by peer [127.0.0.1]:1\nmore", ""),
        ("NCCL error: invalid usage\nmore", ", or cannot be reached: NCCL error: invalid usage"),
    ],
)
def test_why_a_process_was_lost_is_in_the_log(train_py, tmp_path, monkeypatch, cause, told):
    def loses(*_):
        raise ProcessLost(RuntimeError(cause)) from RuntimeError(cause)

    monkeypatch.setattr("tabnas.pipeline.fit", loses)
    outcome = train_py(QUICK, "hydra.run.dir=run")
    line = f"a process of this run has ended before its time{told}; go on with: python train.py resume=run"
    assert (outcome.code, outcome.err) == (1, f"tabnas: error: {line}\n")
    log = (tmp_path / "run" / "train.log").read_text()
    assert f"RuntimeError: {cause}" in log
    assert "Traceback" in log
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ProcessLost):
        train_py("resume=run")


def test_there_are_enough_of_them():
    assert len(WRONG) >= 25


def test_resume_needs_a_run_folder(train_py, tmp_path):
    for folder in (tmp_path / "nowhere", tmp_path):
        outcome = train_py(f"resume={folder}")
        assert outcome.code == 2
        assert outcome.err.startswith("tabnas: error: resume: must be the folder of a run (with run.yaml in it), got ")
    assert not (tmp_path / "nowhere").exists()


def test_resume_stands_alone(train_py, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.yaml").write_text("{}")
    outcome = train_py("resume=run", "seed=3")
    assert outcome.code == 2
    assert "resume: takes up a run with its own config, got 'seed=3'; give resume alone" in outcome.err
    moved = train_py("resume=run", "hydra.run.dir=elsewhere")
    assert (moved.code, "give resume alone" in moved.err) == (2, True)
    swept = train_py("-m", "resume=run")
    assert swept.code == 2
    assert "resume: takes up one run and cannot be swept" in swept.err


def test_divergence_stops_the_run_and_keeps_the_last_good_checkpoint(train_py, tmp_path):
    outcome = train_py(QUICK, "optimizer.lr=1e30", "trainer.checkpoint_every_seconds=0")
    assert outcome.code == 2
    assert "loss: must stay finite, at step" in outcome.err
    assert "last good checkpoint is kept" in outcome.err


def test_a_limit_that_rules_nothing_out_is_a_warning(train_py):
    outcome = train_py(QUICK, "limits.0.limit=1000000", "trainer.max_epochs=1", "retrain.max_epochs=1")
    assert outcome.code == 0
    assert (
        "WARNING: limits: the largest architecture keeps to them (8,970 params), so nothing is ruled out" in outcome.err
    )


def test_in_a_process_of_its_own(tmp_path):
    """As a person meets it: no traceback, and with HYDRA_FULL_ERROR=1 the whole one."""
    command = [sys.executable, str(ROOT / "train.py"), "dataset=conect4"]
    plain = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert plain.returncode == 2
    assert plain.stderr.splitlines() == [plain.stderr.strip()]
    environment = {**os.environ, "HYDRA_FULL_ERROR": "1"}
    full = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert full.returncode == 1
    assert "Traceback" in full.stderr


def test_help_names_groups_settings_and_examples(tmp_path):
    command = [sys.executable, str(ROOT / "train.py"), "--help"]
    text = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    for part in (
        "dataset: aloi, connect4, criteo, criteo_synthetic, digits",
        "search: bayesian, evolution, exhaustive, mnasnet",
        "resume=",
        "tensorboard --logdir",
    ):
        assert part in text
    cfg = compose()
    settings = re.findall(r"^([a-z_.0-9]+)=(\S+)  +", text, flags=re.MULTILINE)
    assert len(settings) > 8
    for key, default in settings:
        if key != "space.choices":
            assert OmegaConf.select(cfg, key, throw_on_missing=True) == yaml.safe_load(default), key
    for line in re.findall(r"^    python train.py (.*?)   ", text, flags=re.MULTILINE):
        compose(*[part.split(",")[0] for part in line.split() if part != "-m"])


def test_a_message_is_one_line():
    assert "\n" not in str(UserError("name", "must\nhold", "a\nb", "do\nthis"))


@pytest.mark.parametrize("given", [True, None, "3", 2.5, 11, 0])
def test_require_integer(given):
    with pytest.raises(UserError, match=r"n: must be an integer in \[1, 10\], got"):
        require_integer("n", given, low=1, high=10, remedy="count")


@pytest.mark.parametrize("given", [False, None, "3", 0, float("nan"), float("inf")])
def test_require_number(given):
    with pytest.raises(UserError, match=r"x: must be a number in \(0, 10\], got"):
        require_number("x", given, low=0, high=10, open_low=True, remedy="measure")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("-m", "trainer.devices=2"), "trainer.devices: must be 1 in a sweep"),
        (("experiment=study/compare", "trainer.devices=2"), "study: must be one process with trainer.devices=1"),
        (("trainer.num_nodes=2",), "trainer.num_nodes: must go with torchrun on each machine"),
        (("trainer.devices=0",), "trainer.devices: must be"),
        (("dataset=toy", "search.replicas_per_device=8"), "search.replicas_per_device: must be 1 with known losses"),
    ],
)
def test_devices_that_cannot_be(train_py, arguments, line):
    outcome = train_py(*arguments)
    assert outcome.code == 2
    assert f"tabnas: error: {line}" in outcome.err


def test_a_study_is_one_process_when_resumed_and_under_torchrun(train_py, tmp_path, monkeypatch):
    (tmp_path / "was").mkdir()
    was = "study: {}\ntrainer: {devices: 1}\nsearch: {replicas_per_device: 2}\n"
    (tmp_path / "was" / "run.yaml").write_text(was)
    outcome = train_py("resume=was", "trainer.devices=2")
    assert (outcome.code, "study: must be one process" in outcome.err) == (2, True)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "id")
    outcome = train_py("experiment=study/compare", "hydra.run.dir=run")
    assert outcome.code == 2
    assert "study: must be one process" in outcome.err
    assert "got 'torchrun'" in outcome.err


@pytest.mark.skipif(find_spec("torch_xla") is not None, reason="torch-xla is here")
def test_a_tpu_needs_torch_xla(train_py):
    outcome = train_py("accelerator=tpu")
    assert outcome.code == 2
    assert "tabnas: error: accelerator: must go with torch-xla installed" in outcome.err
