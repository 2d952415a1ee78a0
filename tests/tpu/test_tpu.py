"""accelerator=tpu on torch-xla's CPU client, each case in a process of its own with a time limit. No TPU is needed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from tabnas import result
from tests.conftest import ROOT

needs_torch_xla = pytest.mark.skipif(find_spec("torch_xla") is None, reason="torch-xla has an environment of its own")
pytestmark = [pytest.mark.tpu, needs_torch_xla]

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PJRT_DEVICE": "CPU"}


def called(*command: str, cwd: Path, environment: Mapping[str, str] = ENVIRONMENT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def searched(folder: Path, *overrides: str, **environment: str) -> dict:
    """What tests.tpu.search tells, and the weights it leaves."""
    folder.mkdir(exist_ok=True)
    done = called(
        "-m", "tests.tpu.search", str(folder), *overrides, cwd=folder, environment={**ENVIRONMENT, **environment}
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
    return told | {"ranks": [torch.load(path) for path in sorted(folder.glob("rank*.pt"))]}


def same_weights(one, other, tolerance):
    for name, value in one["weights"].items():
        assert torch.allclose(value, other["weights"][name], rtol=0, atol=tolerance), name


TWO_CORES = {"CPU_NUM_DEVICES": "2", "PJRT_CPU_ASYNC_CLIENT": "0"}


@pytest.mark.parametrize("search", ["tabnas", "tabnas_exact"])
def test_one_core_and_two_find_what_the_cpu_finds(tmp_path, search):
    method = (f"search={search}", "search.eta=0.05")
    two = "search.replicas_per_device=2"
    (cpu,) = searched(tmp_path / "cpu", *method, two)["ranks"]
    (core,) = searched(tmp_path / "core", "accelerator=tpu", *method, two)["ranks"]
    cores = searched(tmp_path / "cores", "accelerator=tpu", *method, "trainer.devices=2", **TWO_CORES)["ranks"]
    assert cpu["weights"]["controller.logits"].abs().max() > 0.1
    same_weights(cpu, core, 1e-4)
    same_weights(core, cores[0], 1e-5)
    same_weights(cores[0], cores[1], 0.0)
    for ours, theirs in zip(cpu["history"], cores[0]["history"], strict=True):
        for key in ("train_loss", "reward", "advantage", "prob_valid"):
            assert ours[key] == pytest.approx(theirs[key], abs=1e-4), key


def test_nothing_is_compiled_and_no_step_waits_after_the_first_rl_steps(tmp_path):
    told = searched(tmp_path, "accelerator=tpu", "search=tabnas", "trainer.max_epochs=10")["seen"]
    begun = next(seen for seen in told if seen["rl_updates"])
    last = told[-1]
    assert begun["CompileTime"] <= 8
    assert last["CompileTime"] == begun["CompileTime"]
    drawn = [seen["children_evaluated"] + seen["skipped_infeasible"] for seen in (begun, last)]
    assert drawn[1] - drawn[0] > 100
    blocks = len(told) - told.index(begun) - 1
    assert last["scalars_read"] - begun["scalars_read"] <= blocks  # whether weights are finite, for a checkpoint
    assert last["TransferFromDeviceTime"] - begun["TransferFromDeviceTime"] <= 8 * blocks
    assert last["step"] - begun["step"] > 16 * blocks
    assert last["on_host"] == 0


def test_a_mask_on_the_device_is_a_slice_on_the_host_in_float64(tmp_path):
    """Outputs and gradients, of a child for all rows and of a child for each."""
    code = """
import torch, torch_xla
from tabnas.space import SearchSpace
from tabnas.supernet import SuperNet
space = SearchSpace([[2, 4, 8], [2, 4, 8]])
host = SuperNet(space, 5, 3).double()
device = SuperNet(space, 5, 3).double()
device.load_state_dict(host.state_dict())
device.to("xla")
x, upstream = torch.randn(9, 16, 5, dtype=torch.float64), torch.randn(9, 16, 3, dtype=torch.float64)
children = torch.tensor(list(space))
sliced = torch.stack([host(rows, widths) for rows, widths in zip(x, children.tolist())])
sliced.backward(upstream)
one_by_one = torch.stack([device(rows.to("xla"), w.to("xla"), "mask") for rows, w in zip(x, children)])
of_rows = children.repeat_interleave(16, 0).to("xla")
at_once = device(x.flatten(0, 1).to("xla"), of_rows, "mask").view(9, 16, 3)
for masked in (one_by_one, at_once):
    device.zero_grad()
    masked.backward(upstream.to("xla"))
    pairs = [(sliced, masked), *((p.grad, q.grad) for p, q in zip(host.parameters(), device.parameters()))]
    print(max((one - other.cpu()).abs().max().item() for one, other in pairs))
"""
    done = called("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(0 <= float(line) < 1e-12 for line in done.stdout.splitlines())
    assert done.stdout.count("\n") == 2


def test_slices_are_compiled_again_and_again(tmp_path):
    """What masks are for."""
    code = """
import torch, torch_xla
from torch_xla.debug import metrics
from tabnas.space import SearchSpace
from tabnas.supernet import SuperNet
space = SearchSpace([[2, 4, 8], [2, 4, 8]])
x = torch.randn(16, 5).to("xla")
for mode in ("mask", "slice"):
    supernet = SuperNet(space, 5, 3).to("xla")
    torch_xla.sync()
    before = metrics.metric_data("CompileTime")[0] if metrics.metric_data("CompileTime") else 0
    for widths in space:
        supernet(x, torch.tensor(widths).to("xla") if mode == "mask" else widths, mode=mode).sum()
        kept = supernet(x, torch.tensor(widths).to("xla") if mode == "mask" else widths, mode=mode)
        torch_xla.sync()
    print(mode, metrics.metric_data("CompileTime")[0] - before)
"""
    done = called("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    compiled = dict(line.split() for line in done.stdout.splitlines())
    assert int(compiled["mask"]) <= 2
    assert int(compiled["slice"]) >= 9  # a graph for each architecture


@pytest.mark.parametrize(("begun", "then"), [("tpu", ("tpu", "cpu")), ("cpu", ("tpu",))])
def test_a_search_goes_on_from_a_checkpoint_of_either_device(tmp_path, begun, then):
    whole = searched(tmp_path / "whole", f"accelerator={begun}")
    checkpoint = torch.load(tmp_path / "whole" / "half.ckpt", weights_only=True)
    tensors = [
        value for state in checkpoint["optimizer_states"] for of_p in state["state"].values() for value in of_p.values()
    ]
    assert {value.device.type for value in (*checkpoint["state_dict"].values(), *tensors)} == {"cpu"}
    assert 0 < checkpoint["tabnas"]["counts"]["rl_updates"] < whole["counts"]["rl_updates"]
    for device in then:
        folder = tmp_path / device
        folder.mkdir()
        shutil.copy(tmp_path / "whole" / "half.ckpt", folder / "last.ckpt")
        taken_up = searched(folder, f"accelerator={device}")
        same_weights(whole["ranks"][0], taken_up["ranks"][0], 0.0 if device == begun else 1e-4)
        assert taken_up["counts"] == whole["counts"]


def test_a_whole_run(tmp_path):
    short = ("space.choices=[[8,16,32],[8,16,32]]", "trainer.max_epochs=1", "retrain.max_epochs=1", "retrain.seeds=1")
    done = called(str(ROOT / "train.py"), "accelerator=tpu", *short, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = result.read(tmp_path / "run")
    assert found["search"]["weight_updates"] == found["dataset"]["n_train"] // 256
    assert found["search"]["rl_updates"] > 0
    assert all(architecture["costs"]["params"] <= 10_000 for architecture in found["architectures"])


NO_DEVICE = {key: value for key, value in ENVIRONMENT.items() if key != "PJRT_DEVICE"}


def test_without_a_tpu_the_cpu_client_has_to_be_asked_for(tmp_path):
    """In the second job of a sweep as well, though torch-xla then is imported."""
    jobs = ("-m", "accelerator=tpu", "experiment=quick", "seed=0,1", "hydra.sweep.dir=sweep")
    done = called(str(ROOT / "train.py"), *jobs, cwd=tmp_path, environment=NO_DEVICE)
    assert done.returncode == 2
    assert "tabnas: error: accelerator: must find a TPU, got 'none'" in done.stderr
    assert "Defaulting" not in done.stderr
    assert not list((tmp_path / "sweep").rglob("*.ckpt"))


def test_the_accelerator_on_mocked_chips(tmp_path):
    """Four chips of two cores; the rest is Lightning's and torch-xla's own."""
    code = """
import torch
from tabnas import accelerator
from tabnas.errors import UserError
from torch_xla._internal import tpu
tpu.num_available_chips = lambda: 4
accelerator.check(1)
accelerator.check(8)
try:
    accelerator.check(3)
except UserError as error:
    print(error)
assert not accelerator.cpu_client()
assert accelerator.TPU.parse_devices(8) == 8
assert accelerator.TPU.get_parallel_devices(8) == [torch.device("xla", i) for i in range(8)]
"""
    chips = {"TPU_SKIP_MDS_QUERY": "1", "TPU_ACCELERATOR_TYPE": "v3-8"}
    done = called("-c", code, cwd=tmp_path, environment={**NO_DEVICE, **chips})
    assert done.returncode == 0, done.stderr
    assert "trainer.devices: must be 1 or all the 8 cores, got 3" in done.stdout


def test_the_bench(tmp_path):
    code = """
import sys
from tabnas.bench import __main__, setting, tpu
tiny = setting.Case("tiny", lambda: setting.random_table(2000, 6, 3), 32, 2, 5_000, widths=(8, 16))
tpu.CASES, tpu.LARGE, tpu.ROUNDS, setting.STEPS_PER_BLOCK = (None, None, tiny), tiny, 1, 10
sys.exit(__main__.main(["tpu", "--json"]))
"""
    done = called("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 8
    assert all(line["value"] > 0 for line in lines)
