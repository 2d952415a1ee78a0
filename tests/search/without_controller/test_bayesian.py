import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from tabnas.cost import ParameterCount
from tabnas.search.without_controller import Bayesian
from tabnas.search.without_controller.bayesian import expected_improvement
from tabnas.space import SearchSpace


@pytest.mark.parametrize(("mean", "std", "best"), [(0.5, 0.1, 0.45), (0.4, 0.02, 0.45), (0.5, 0.01, 0.45), (-3, 2, -4)])
def test_expected_improvement_is_the_integral(mean, std, best):
    integral, _ = quad(lambda f: (best - f) * norm.pdf(f, mean, std), mean - 12 * std, best, epsabs=1e-13)
    (closed,) = expected_improvement(np.array([mean]), np.array([std]), best)
    assert closed == pytest.approx(integral, rel=1e-6, abs=1e-12)


def test_expected_improvement_grows_with_promise_and_with_doubt():
    better = expected_improvement(np.array([0.5, 0.45, 0.4]), np.full(3, 0.1), 0.45)
    less_sure = expected_improvement(np.full(3, 0.5), np.array([0.05, 0.1, 0.2]), 0.45)
    for values in (better, less_sure):
        assert list(values) == sorted(values)


@pytest.mark.parametrize("length_scale", [3.0, 10.0])
@pytest.mark.parametrize("num_candidates", [1000, 200])
def test_finds_the_best_of_665_by_60_losses(connect4, length_scale, num_candidates):
    """Chance alone would in one run of 11. All of V are candidates, or 200 draws at every step."""
    for seed in range(2):
        method = connect4.new(
            Bayesian, seed, num_initial=10, num_steps=50, length_scale=length_scale, num_candidates=num_candidates
        )
        assert connect4.found(method)[0] == connect4.best


def test_explores_one_by_one_up_to_its_budget(connect4):
    asked = []

    def losses(children):
        asked.append(len(children))
        return connect4.losses(children)

    connect4.new(Bayesian, num_initial=5, num_steps=7).choose(losses)
    assert asked == [5, *[1] * 7]


def test_ends_when_all_are_known(toy, new_method):
    asked = []

    def losses(children):
        asked.extend(children)
        return [0.5] * len(children)  # which no process can tell apart

    new_method(Bayesian, *toy, num_initial=2).choose(losses)
    assert sorted(asked) == sorted(widths for widths in toy.space if toy.cost(widths) <= toy.limit)


def test_features_are_places_in_ascending_order(new_method):
    space = SearchSpace([[16, 4, 8], [512, 2]])
    method = new_method(Bayesian, space, ParameterCount(3, 1), 10**6)
    indices = torch.tensor([[0, 0], [1, 1], [2, 0]])
    assert space.gather_widths(indices).tolist() == [[16, 512], [4, 2], [8, 512]]
    assert method.features(indices).tolist() == [[2, 1], [0, 0], [1, 1]]
