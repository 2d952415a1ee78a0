"""The controller's step is the analytic mean over the feasible replicas, however they are spread over devices."""

import math
import subprocess
import sys

import pytest
import torch

from tabnas.cost import ParameterCount
from tabnas.space import SearchSpace
from tests.rl_steps import ETA
from tests.tpu.test_tpu import ENVIRONMENT, TWO_CORES, needs_torch_xla

SPACE = SearchSpace([[8, 16, 32, 64]] * 2)
COST, LIMIT = ParameterCount(64, 10), 2500
CASES = {
    "one process": ("accelerator=cpu", "search.replicas_per_device=2"),
    "two processes": ("accelerator=cpu", "trainer.devices=2"),
    "one core": ("accelerator=tpu", "search.replicas_per_device=2"),
    "two cores": ("accelerator=tpu", "trainer.devices=2"),
}
MARKS = {name: [pytest.mark.tpu, needs_torch_xla] if "core" in name else [pytest.mark.slow] for name in CASES}


@pytest.mark.parametrize("case", [pytest.param(name, marks=MARKS[name]) for name in CASES])
def test_the_rl_step_is_the_mean_over_feasible_replicas(tmp_path, case):
    environment = {**ENVIRONMENT, **TWO_CORES} if case == "two cores" else ENVIRONMENT
    done = subprocess.run(
        [sys.executable, "-m", "tests.rl_steps", str(tmp_path), *CASES[case]], cwd=tmp_path, env=environment,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ranks = [torch.load(path) for path in sorted(tmp_path.glob("steps*.pt"))]
    assert len(ranks) == (2 if "two" in case else 1)
    feasible_replicas = []
    for of_ranks in zip(*ranks, strict=True):
        step = of_ranks[0]
        q = {replica: value for of_rank in of_ranks for replica, value in of_rank["q"].items()}
        assert sorted(q) == [0, 1]
        ok = [COST(SPACE.widths(y)) <= LIMIT for y in step["children"].tolist()]
        feasible_replicas.append(sum(ok))
        logits, baseline = analytic(step, [q[replica] for replica in (0, 1)], ok)
        for of_rank in of_ranks:
            assert torch.allclose(of_rank["after"]["logits"].double(), logits, rtol=0, atol=2e-5)
            assert of_rank["after"]["baseline"] == pytest.approx(baseline, abs=2e-5)
            assert torch.equal(of_rank["after"]["logits"], step["after"]["logits"])
            assert of_rank["after"]["baseline"] == step["after"]["baseline"]
            assert torch.equal(of_rank["children"], step["children"])
    assert min(map(feasible_replicas.count, (0, 1, 2))) >= 3
    assert (ranks[0][-1]["after"]["logits"] - ranks[0][0]["logits"]).abs().max() > 0.1


def analytic(step, q, ok):
    """The logits and the baseline after a step: the mean over feasible replicas of ∇ (Q − Q̄)·log [P(y) / P(V)]."""
    logits, (total, weight) = step["logits"].double(), step["baseline"]
    if not any(ok):
        return logits, total / weight
    p = logits.softmax(dim=1)
    expected, prob_valid = torch.zeros_like(p), 0.0
    for y in torch.cartesian_prod(*[torch.arange(n) for n in SPACE.n_choices]).tolist():
        if COST(SPACE.widths(y)) <= LIMIT:
            share = math.prod(p[i, j].item() for i, j in enumerate(y))
            expected, prob_valid = expected + share * onehot(y, p), prob_valid + share
    terms = [
        (value - total / weight) * (onehot(y, p) - expected / prob_valid)
        for value, y, feasible in zip(q, step["children"].tolist(), ok, strict=True)
        if feasible
    ]
    mean = sum(value * feasible for value, feasible in zip(q, ok, strict=True)) / sum(ok)
    return logits + ETA * sum(terms) / sum(ok), (0.9 * total + 0.1 * mean) / (0.9 * weight + 0.1)


def onehot(y, like):
    return torch.zeros_like(like).index_put((torch.arange(len(y)), torch.tensor(y)), torch.ones((), dtype=like.dtype))
