"""The feasible set V of a space under its limits: P(V), and draws from P(y | V).

May import space, cost and controller. Everywhere: logits (L, C) padded with -inf; choice indices (n, L) int64.
"""

from tabnas.feasibility.chain import ChainProgram
from tabnas.feasibility.enumeration import Enumeration
from tabnas.feasibility.monte_carlo import MonteCarlo
from tabnas.feasibility.stepwise import Listed, Refreshed, Stepwise, exact, stepwise

__all__ = ["ChainProgram", "Enumeration", "Listed", "MonteCarlo", "Refreshed", "Stepwise", "exact", "stepwise"]
