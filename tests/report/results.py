"""Hand-made results, as a run writes them."""

import copy
import json
from pathlib import Path

HOSTILE = "<script>alert(1)</script> & \"quotes'"


def spread(*runs):
    mean = sum(runs) / len(runs)
    std = (sum((r - mean) ** 2 for r in runs) / (len(runs) - 1)) ** 0.5 if len(runs) > 1 else None
    return {"mean": mean, "std": std, "runs": list(runs)}


def architecture(widths, params, losses, one_shot, chosen_by):
    return {
        "widths": list(widths),
        "costs": {"params": params},
        "chosen_by": chosen_by,
        "probability": 0.1 if "search" in chosen_by else None,
        "one_shot": {"loss": one_shot, "balanced_error": 0.3},
        "stand_alone": {"seconds": 1.0, "loss": spread(*losses), "balanced_error": spread(*(x / 2 for x in losses))},
    }


def config(**changes):
    made = {"search.name": "tabnas", "search.eta": 0.02, "search.num_samples": None, "seed": 7, **changes}
    return {
        "search": {key.removeprefix("search."): value for key, value in made.items() if key.startswith("search.")},
        "limits": [{"cost": "params", "limit": 100}],
        "dataset": {"name": "things", "_target_": "x"},
        "seed": made["seed"],
    }


def result(**changes):
    """A search among 9 networks of 5 inputs and 3 classes; `changes` replace whole sections."""
    history = [
        {
            "step": step, "train_loss": 1.0 / step, "reward": None if step < 30 else 0.5 + step / 1000,
            "prob_valid": step / 200, "warmup_probability": 0.5 if step < 30 else 0.0,
            "probabilities": [[1 / 3, 1 / 3, 1 / 3], [0.0, step / 100, 1 - step / 100]],
        }
        for step in range(10, 101, 10)
    ]  # fmt: skip
    made = {
        "version": 1,
        "seconds": {"search": 3.2, "retrain": 200.0, "total": 8000.0},
        "config": config(),
        "dataset": {
            "name": "things", "task": "classification", "metrics": ["balanced_error"], "n_train": 80, "n_val": 20,
            "n_inputs": 5, "n_outputs": 3,
            "columns": [
                {"name": "age", "kind": "numerical", "missing": 0.25, "n_values": 1234, "became": "standardised"},
                {"name": "label", "kind": "target", "missing": 0.0, "n_values": None, "became": "3 classes"},
            ],
        },
        "space": {"choices": [[2, 4, 8], [2, 4, 8]], "size": 9},
        "limits": [{"cost": "params", "limit": 100}],
        "search": {
            "method": "tabnas", "epochs": 30, "weight_updates": 100, "rl_updates": 40, "seconds": 3.2,
            "prob_valid": 0.5, "selection": "largest feasible of 500 draws", "history": history, "forward_passes": 4321,
        },
        "architectures": [
            architecture((2, 8), 63, (0.50, 0.52, 0.51), 0.6, "search"),
            architecture((4, 8), 91, (0.40, 0.42, 0.41), 0.5, "search"),
            architecture((8, 2), 75, (0.41, 0.43, 0.42), 0.7, "random feasible"),
        ],
        "best": 1,
    }  # fmt: skip
    return {**copy.deepcopy(made), **changes}


TRUST = {
    "n": 6, "n_seeds": 3, "kendall": {"value": 0.733, "interval": [0.2, 0.95]},
    "pearson": {"value": 0.9, "interval": None}, "verdict": "not trusted", "words": "The ranking says little.",
    "remedy": "train longer",
}  # fmt: skip
NETWORK = {
    "seed": 8,
    "valid": {"loss": {"value": 0.4001, "interval": [0.3501, 0.4501]}},
    "test": {"loss": {"value": 0.4444, "interval": [0.4, 0.5]}},
}
REPRODUCE = {
    "command": "python train.py 'dataset.path=a b.csv'", "overrides": ["dataset.path=a b.csv"],
    "versions": {"torch": "2.10.0"}, "device": "cpu", "finished": "2026-11-24T16:00:00",
}  # fmt: skip


def full(**changes):
    """A result with every section that may be absent."""
    made = result(trust=TRUST, network=NETWORK, reproduce=REPRODUCE)
    made["dataset"]["n_test"] = 25
    for found in made["architectures"]:
        found["test"] = {"loss": spread(0.6, 0.62, 0.61), "balanced_error": spread(0.3, 0.3, 0.3)}
    return {**made, **changes}


def leave(folder: Path, content) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder
