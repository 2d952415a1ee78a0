"""The controller's side of the search methods: what is drawn, what is rewarded, and where the logits go.

May import space, cost, controller, reward and feasibility; knows no network, so that the search and the toy study share
it. Shapes: K children a step, L layers, C choices; leading dimensions (...) are independent runs, of which a search has
none.
"""

from tabnas.method.base import Method, Step
from tabnas.method.conditional import ConditionalDraws
from tabnas.method.rejection import Rejection
from tabnas.method.shaping import RewardShaping

__all__ = ["ConditionalDraws", "Method", "Rejection", "RewardShaping", "Step"]
