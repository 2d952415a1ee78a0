"""The feasible set V of a space under a limit: P(V), and draws from P(y | V).

May import space, cost and controller. Everywhere: logits (L, C) padded with -inf; choice indices (n, L) int64.
"""

from tabnas.feasibility.enumeration import Enumeration
from tabnas.feasibility.monte_carlo import MonteCarlo

__all__ = ["Enumeration", "MonteCarlo"]
