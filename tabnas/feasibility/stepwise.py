"""P(V), its gradient and draws from P(y | V) at every step of a search, in microseconds.

May import space, cost and controller. `Listed` goes through V anew at every step, for a V of some thousands.
`Refreshed` follows logits that move a little at a time in a space of any size. Both are exact in their draws.
Shapes: M architectures at hand, L layers, C choices.
"""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csc_array
from torch import Tensor

from tabnas.cost import Cost, Limits
from tabnas.errors import UserError
from tabnas.feasibility.chain import ChainProgram, Solution, affordable
from tabnas.feasibility.enumeration import Enumeration, ListedSolution
from tabnas.space import SearchSpace

LISTABLE = 5_000_000  # architectures of a space up to which V is listed, which takes seconds once
MOST_LISTED = 4096  # architectures of V up to which going through all of them at every step is the faster way
Array = NDArray[np.float64]


class Stepwise(Protocol):
    """What a policy takes of the feasible set at the logits of a step."""

    def log_prob_and_marginals(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """log P(V), scalar, and P(y_i = j | V), (L, C), at logits (L, C)."""

    def sample(self, logits: Tensor, n: int) -> Tensor:
        """n independent draws from P(y | V): (n, L) choice indices."""


def exact(
    space: SearchSpace, cost: Cost | Sequence[Cost], limit: int | Sequence[int]
) -> Enumeration | ChainProgram | None:
    """A program for exact P(V): for chain costs at any size, for others and for several at once in a small space.

    None where neither can be had. Raises UserError (key `limits`) if V is empty.
    """
    if affordable(space, Limits(cost, limit)):
        return ChainProgram(space, cost, limit)
    return Enumeration(space, cost, limit) if space.size <= LISTABLE else None


def stepwise(program: Enumeration | ChainProgram, generator: torch.Generator) -> "Listed | Refreshed":
    """The faster of the two ways to follow `program`. generator: of the draws."""
    if program.count() > MOST_LISTED or program.space.size > LISTABLE:
        return Refreshed(program, generator=generator)
    if isinstance(program, ChainProgram):
        program = Enumeration(program.space, program.limits.costs, program.limits.at_most)
    return Listed(program, generator=generator)


class _Pool:
    """Architectures with the log of the probability of each under the logits of a step."""

    def __init__(self, space: SearchSpace, generator: torch.Generator) -> None:
        self.space, self.generator = space, generator
        self._mask = space.mask.numpy().copy()  # a view is lost when the tensor goes to another process
        self._present: Array | None = None  # the logits of this step

    def _hold(self, architectures: Tensor) -> None:
        """architectures (M, L) choice indices."""
        self._architectures = architectures
        offsets = np.arange(self.space.n_layers) * self.space.mask.shape[1]
        self._flat = np.ascontiguousarray(architectures.numpy().T + offsets[:, None])  # (L, M) into a flat (L, C)
        self._onehots: csc_array | None = None

    def _moved(self, logits: Tensor) -> bool:
        """Whether these are other logits than the last; they are then the present ones."""
        if logits.dim() != 2:
            raise ValueError(f"follows one controller, logits (L, C), got {tuple(logits.shape)}")
        values = logits.detach().cpu().numpy()
        if self._present is not None and np.array_equal(values, self._present):
            return False
        self._present = values.copy()
        return True

    def _log_p(self) -> Array:
        """log p of the present logits, (L, C) float64; 0 where padded, so that differences are 0 there."""
        assert self._present is not None
        with np.errstate(invalid="ignore"):
            shifted = self._present.astype(np.float64) - self._present.max(axis=1, keepdims=True)
        log_p = np.where(self._mask, shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), 0.0)
        if math.isnan(log_p.sum()):
            raise UserError("logits", "must be finite", "nan or inf", "lower search.eta")
        return log_p

    def _onehot_sum(self, weights: Array) -> Array:
        """Σ_k weights_k · onehot(y_k): weights (M,) → (L, C)."""
        if self._onehots is None:
            ends = np.arange(len(weights) + 1) * self.space.n_layers
            entries = (np.ones(self._flat.size), self._flat.T.ravel(), ends)
            self._onehots = csc_array(entries, shape=(self.space.mask.numel(), len(weights)))
        total: Array = (self._onehots @ weights).reshape(self.space.mask.shape)
        return total


class Listed(_Pool):
    """All of V, by its listing. Exact."""

    def __init__(self, program: Enumeration, *, generator: torch.Generator) -> None:
        super().__init__(program.space, generator)
        self.program = program
        self._hold(program.feasible)

    def log_prob_and_marginals(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """log P(V), scalar, and P(y_i = j | V), (L, C), at logits (L, C)."""
        self._weigh(logits)
        return logits.new_tensor(self._log_prob_valid), torch.from_numpy(self._onehot_sum(self._probabilities)).to(
            logits
        )

    def sample(self, logits: Tensor, n: int) -> Tensor:
        """n independent draws from P(y | V) at logits (L, C): (n, L) choice indices."""
        self._weigh(logits)
        cumulative = self._probabilities.cumsum()
        uniform = torch.rand(n, generator=self.generator, dtype=torch.float64).numpy() * cumulative[-1]
        return self._architectures[cumulative.searchsorted(uniform, side="right")]

    def _weigh(self, logits: Tensor) -> None:
        if self._moved(logits):
            log_p = self._log_p().take(self._flat).sum(axis=0)
            largest = log_p.max()
            weights = np.exp(log_p - largest)
            total = weights.sum()
            self._probabilities = weights / total
            self._log_prob_valid = min(0.0, float(largest + np.log(total)))

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing is carried from step to step."""


class Refreshed(_Pool):
    """A pool of draws that carries an exact program's answers over to logits near those it was run at.

    Let r be the logits of the last run of the program, w(y) = p(y) / p_r(y), and w̄ the mean of w over the pool, M
    draws from P_r(y | V).

    - Draws are exact at any logits: a draw of the pool, each of which is considered once, is accepted with probability
      w(y) / max w, the maximum being over the whole space.
    - E[onehot | V] is the exact one at r plus the mean over the pool of (w / w̄ − 1)·onehot, a control variate.
      `error` is its estimated root mean square error over that of the policy gradient's own noise,
      onehot(y) − E[onehot | V] for a draw y: 0 at r, and growing as the logits move away.
      The two share the pool: a method that learns from the one and draws by the other, in the same search, has draws
      that depend on the past by something of the order of `error`.
    - log P(V) is the exact one at r plus log E[w], the first order of which, Σ E_r[onehot]·log(p / p_r), is exact.

    The program is run anew when `error` exceeds max_error, and when the pool is used up. Where only draws are asked
    for, the weights of the whole pool are not worked out.
    """

    def __init__(
        self,
        program: Enumeration | ChainProgram,
        *,
        generator: torch.Generator,
        pool_size: int = 2048,
        max_error: float = 0.01,
    ) -> None:
        super().__init__(program.space, generator)
        self.program, self.pool_size, self.max_error = program, pool_size, max_error
        self.error = self.largest_error = 0.0  # of the last marginals, and of all so far
        self.steps = self.refreshes = 0  # different logits seen, and runs of the program
        self._used = 0  # draws of the pool considered so far

    def log_prob_and_marginals(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """log P(V), scalar, and P(y_i = j | V), (L, C), at logits (L, C)."""
        self._move(logits)
        self._weigh()
        if not self.error <= self.max_error:
            self._refresh()
            self._weigh()
        self.largest_error = max(self.largest_error, self.error)
        marginals = self._marginals + self._onehot_sum(self._excess / self.pool_size)
        first_order = (self._marginals * self._change).sum()
        rest = (self._weights - 1.0 - self._log_weights).sum() / self.pool_size
        log_prob_valid = min(0.0, self._log_prob_valid + math.log1p(first_order + rest))
        return logits.new_tensor(log_prob_valid), torch.from_numpy(marginals.clip(0.0)).to(logits)

    def sample(self, logits: Tensor, n: int) -> Tensor:
        """n independent draws from P(y | V) at logits (L, C): (n, L) choice indices."""
        self._move(logits)
        found: list[Tensor] = []
        while len(found) < n:
            if self._used == self.pool_size:
                self._refresh()
            some = slice(self._used, min(self._used + 16 * n, self.pool_size))
            log_weights = self._change.take(self._flat[:, some]).sum(axis=0)
            accepted = np.flatnonzero(self._log_uniforms[some] < log_weights - self._log_bound)
            accepted = accepted[: n - len(found)] + self._used
            found.extend(self._architectures[torch.from_numpy(accepted)])
            self._used = int(accepted[-1]) + 1 if len(found) == n else some.stop
        return torch.stack(found)

    def _move(self, logits: Tensor) -> None:
        if self._moved(logits):
            self.steps += 1
            if self.steps == 1:
                self._refresh()
            else:
                self._compare()

    def _refresh(self) -> None:
        """Run the program at the logits of this step."""
        self.refreshes += 1
        assert self._present is not None
        solution = self.program.solve(torch.from_numpy(self._present))
        pool = solution.sample(self.pool_size, generator=self.generator)
        self._log_uniforms = torch.rand(self.pool_size, generator=self.generator, dtype=torch.float64).log().numpy()
        self._used = 0
        self._take(self._present, solution, pool)
        self._compare()

    def _take(self, anchor: Array, solution: Solution | ListedSolution, pool: Tensor) -> None:
        self._anchor, self._anchor_log_p, self._solution = anchor, self._log_p(), solution
        self._hold(pool)
        self._weighable = False

    def _compare(self) -> None:
        self._change = self._log_p() - self._anchor_log_p
        self._log_bound = self._change.max(axis=1).sum()

    def _weigh(self) -> None:
        """w over the whole pool, and the error that results."""
        if not self._weighable:
            self._log_prob_valid, self._marginals = self._solution.log_prob, self._solution.marginals().numpy()
            squares = self._marginals**2
            distances = (1.0 - 2.0 * self._marginals.take(self._flat)).sum(axis=0) + squares.sum()  # ‖onehot(y) − E‖²
            self._distances = distances / max((self._marginals - squares).sum(), np.finfo(np.float64).tiny)
            self._weighable = True
        self._log_weights = self._change.take(self._flat).sum(axis=0)
        self._weights = np.exp(self._log_weights)
        self._excess = self._weights * (self.pool_size / self._weights.sum()) - 1.0
        self.error = math.sqrt(self._excess**2 @ self._distances) / self.pool_size

    def state_dict(self) -> dict[str, Any]:
        """Plain tensors and numbers; the generator is its owner's to save."""
        state: dict[str, Any] = {name: getattr(self, name) for name in ("largest_error", "steps", "refreshes")}
        if self._present is not None:
            arrays = {"anchor": self._anchor, "present": self._present, "log_uniforms": self._log_uniforms}
            state |= {name: torch.from_numpy(array) for name, array in arrays.items()}
            state |= {"pool": self._architectures, "used": self._used}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.largest_error, self.steps, self.refreshes = state["largest_error"], state["steps"], state["refreshes"]
        self._present = None
        if "pool" in state:
            self._log_uniforms, self._used = state["log_uniforms"].numpy(), state["used"]
            self._present = state["anchor"].numpy()
            self._take(self._present, self.program.solve(state["anchor"]), state["pool"])
            self._present = state["present"].numpy()
            self._compare()
