"""search=bayesian: weight-sharing Bayesian optimization (appendix D), with a Gaussian process and expected improvement.

Expected improvement: Jones, Schonlau and Welch, Efficient Global Optimization of Expensive Black-Box Functions, 1998.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from torch import Tensor

from tabnas.errors import require_integer, require_number
from tabnas.search.without_controller.base import Losses, WithoutController

Array = NDArray[np.float64]


class Bayesian(WithoutController):
    """Explores uniform draws from V, and then one by one what promises the largest improvement.

    num_initial: uniform draws; num_steps: architectures after them. The paper's budget is 405 in all.
    num_candidates: uniform draws from V, anew at every step, among which the expected improvement is looked for; all of
        V where it has no more.
    length_scale: of the RBF kernel, the paper's L. The paper does not say in what unit; here, as its 1 and 10 suggest,
        in places of a width among its layer's choices in ascending order.
    noise: variance of what the process does not explain, over the variance of the losses. It keeps the kernel's matrix
        invertible.
    """

    explored = "architectures explored by expected improvement"

    def __init__(
        self,
        *,
        num_initial: int = 25,
        num_steps: int = 380,
        num_candidates: int = 1000,
        length_scale: float = 10.0,
        noise: float = 1e-3,
        **common: Any,
    ) -> None:
        require_integer("search.num_initial", num_initial, low=1, remedy="25 is the default")
        require_integer("search.num_steps", num_steps, low=0, remedy="380 is the default")
        require_integer("search.num_candidates", num_candidates, low=1, remedy="1000 is the default")
        require_number("search.length_scale", length_scale, low=0, open_low=True, remedy="the paper has 10 and 1")
        require_number("search.noise", noise, low=1e-8, remedy="0.001 is the default")
        super().__init__(**common)
        self.num_initial, self.num_steps, self.num_candidates = num_initial, num_steps, num_candidates
        self.process = GaussianProcessRegressor(
            RBF(length_scale), alpha=noise, optimizer=None, normalize_y=True, copy_X_train=False
        )
        self._places = self.space.table.masked_fill(~self.space.mask, 2**62).argsort(dim=1).argsort(dim=1)

    def explore(self, losses: Losses) -> None:
        everything = self.listed(self.num_candidates)
        known = self.draws(self.num_initial)
        values = losses(known)
        for _ in range(self.num_steps):
            candidates = _without(self.draws(self.num_candidates) if everything is None else everything, known)
            if not len(candidates):
                break
            self.process.fit(self.features(known), values.numpy())
            mean, std = self.process.predict(self.features(candidates), return_std=True)
            most = int(expected_improvement(mean, std, float(values.min())).argmax())
            known = torch.cat([known, candidates[most : most + 1]])
            values = losses(known)

    def features(self, indices: Tensor) -> Array:
        """Each width's place among its layer's choices in ascending order: choice indices (n, L) → (n, L)."""
        return self._places.gather(1, indices.T).T.double().numpy()


def expected_improvement(mean: Array, std: Array, best: float) -> Array:
    """E[max(0, best − f)] of normal f with this mean and deviation > 0, each (n,): (n,), to be made large.

    best: the smallest loss so far.
    """
    z = (best - mean) / std
    improvement: Array = (best - mean) * norm.cdf(z) + std * norm.pdf(z)
    return improvement


def _without(candidates: Tensor, known: Tensor) -> Tensor:
    """Those of the candidates (n, L) that are none of known (m, L)."""
    seen = set(map(tuple, known.tolist()))
    return candidates[torch.tensor([tuple(y) not in seen for y in candidates.tolist()])]
