"""Can the search's choice be trusted? Whether one-shot losses rank architectures as training from scratch does.

The search sees one-shot losses alone. Where those rank architectures otherwise than stand-alone losses, as on a table
that stand-alone training over-fits, its choice is no better than chance. May import statistics.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tabnas.statistics import pearson, rank_correlation

ENOUGH = 0.5
"""Kendall's τ from which a ranking is of use: three of four pairs in the right order."""


def assess(architectures: Sequence[Mapping[str, Any]], retrain: Mapping[str, Any]) -> dict[str, Any] | None:
    """The `trust` part of result.json, from its `architectures` and the settings `retrain`; None without a SuperNet.

    The verdict is "trusted" where Kendall's 95 % interval lies above 0 and the estimate is at least ENOUGH, "not
    trusted" where the interval lies below ENOUGH or the estimate is not above 0, and otherwise "unclear".
    """
    known = [found for found in architectures if found["one_shot"] is not None]
    if not known:
        return None
    one_shot = [found["one_shot"]["loss"] for found in known]
    stand_alone = [found["stand_alone"]["loss"]["mean"] for found in known]
    kendall = rank_correlation(one_shot, stand_alone)
    verdict = _verdict(kendall)
    return {
        "n": len(known),
        "n_seeds": len(known[0]["stand_alone"]["loss"]["runs"]),
        "kendall": kendall,
        "pearson": pearson(one_shot, stand_alone),
        "verdict": verdict,
        "words": _words(verdict, kendall, len(known)),
        "remedy": None if verdict == "trusted" else _remedy(verdict, retrain),
    }


def _verdict(kendall: Mapping[str, Any]) -> str:
    value, (low, high) = kendall["value"], kendall["interval"]
    if value is None:
        return "unclear"
    if low > 0 and value >= ENOUGH:
        return "trusted"
    return "not trusted" if high < ENOUGH or value <= 0 else "unclear"


def _words(verdict: str, kendall: Mapping[str, Any], n: int) -> str:
    saying = {
        "trusted": "The shared weights rank architectures as training from scratch does",
        "not trusted": "The shared weights do not rank architectures as training from scratch does: "
        "do not trust the search's choice more than a random one",
        "unclear": "Whether the shared weights rank architectures as training from scratch does cannot be told",
    }[verdict]
    if kendall["value"] is None:
        return f"{saying}: it takes 3 architectures with different losses, and there are {n}."
    low, high = kendall["interval"]
    return f"{saying} (Kendall's τ {kendall['value']:.2f}, 95 % interval {low:.2f} to {high:.2f}, {n} architectures)."


def _remedy(verdict: str, retrain: Mapping[str, Any]) -> str:
    more = "retrain.min_architectures=20 tells more"
    if verdict == "unclear":
        return f"{more}; retrain.seeds too where losses differ by less than their spread."
    stops = retrain["patience"] is not None or retrain["keep"] == "best"
    training = "a smaller optimizer.lr" if stops else "retrain.patience=3 retrain.keep=best, or a smaller optimizer.lr"
    return (
        f"Training from scratch may over-fit: try {training}. "
        f"The shared weights may need more training: a larger trainer.max_epochs, search.weight_draws=valid. {more}."
    )
