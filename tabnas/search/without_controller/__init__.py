"""The searchers without a controller, which the paper compares itself with (section 4.1, appendices B.2.3 and D)."""

from tabnas.search.without_controller.base import WithoutController
from tabnas.search.without_controller.bayesian import Bayesian
from tabnas.search.without_controller.evolution import Evolution
from tabnas.search.without_controller.exhaustive import Exhaustive
from tabnas.search.without_controller.one_shot_uniform import OneShotUniform
from tabnas.search.without_controller.random_search import RandomSearch

__all__ = ["Bayesian", "Evolution", "Exhaustive", "OneShotUniform", "RandomSearch", "WithoutController"]
