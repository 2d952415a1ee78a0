"""P(V) exactly at any size, by a dynamic program over (layer, choice, what is left of the limit).

May import space, cost and controller. The paper estimates P(V) by Monte-Carlo in spaces it cannot enumerate; for a cost
that is a sum over consecutive layers that is not needed.
"""

import heapq
import itertools
import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tabnas.cost import ChainCost, Cost, Limits
from tabnas.errors import UserError
from tabnas.feasibility.enumeration import no_feasible
from tabnas.space import SearchSpace

MOST_STATES = 20_000_000  # of the program, 8 bytes each, twice
UNDERFLOW = 1e-200  # a P(V) below this is computed again from logarithms

Array = NDArray[Any]
Slices = tuple[slice, ...]


class ChainProgram:
    """Exact P(V), its gradient, and draws from P(y | V), for chain costs.

    cost, limit: a ChainCost and its limit, or several of each that must all hold. Costs are counted in units of the
    greatest common divisor of their terms, after each layer's smallest term is taken off. The program has a state for
    every layer, choice and amount left of each limit.

    Time and memory are in the number of states times C; a call of `log_prob` on the paper's space of 5·10^9
    architectures takes milliseconds.

    Raises UserError (key `limits`) if V is empty, ValueError if there are more than MOST_STATES states or a cost is no
    ChainCost (see `affordable`).

    >>> from tabnas.cost import ParameterCount
    >>> volkert = SearchSpace([[8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160]] * 9)
    >>> ChainProgram(volkert, ParameterCount(180, 10), 78_114).count()
    3916221381
    """

    def __init__(self, space: SearchSpace, cost: Cost | Sequence[Cost], limit: int | Sequence[int]) -> None:
        self.space, self.limits = space, Limits(cost, limit)
        if not self.limits.allow(space.smallest):
            raise no_feasible(space, self.limits)
        if not affordable(space, self.limits):
            raise ValueError("ChainProgram takes chain costs with few enough states; see affordable()")
        terms, left = _in_units(space, self.limits)
        self._left: tuple[int, ...] = tuple(left)  # of each limit before the first layer
        self._first = terms[0][0]  # (C_1, n_costs)
        self._last = terms[-1][:, 0]  # (C_L, n_costs)
        # Of layer i + 1's tables, only what can be left after the i layers before is needed: at least `lowest`.
        lowest = [np.maximum(0, np.array(left) - self._first.max(axis=0))]
        for term in terms[1:-1]:
            lowest.append(np.maximum(0, lowest[-1] - term.max(axis=(0, 1))))
        self._lowest = [tuple(map(int, low)) for low in lowest]
        self._terms = terms[1:-1]  # L - 1 of (C_i, C_i+1, n_costs)
        self._moves = [
            self._moves_between(term, low, after)
            for term, low, after in zip(self._terms, self._lowest, self._lowest[1:], strict=False)
        ]

    def _moves_between(
        self, term: Array, low: tuple[int, ...], after: tuple[int, ...]
    ) -> list[tuple[int, int, Slices, Slices]]:
        """For choices j, k of consecutive layers: the part of j's table, and the part of k's that it meets."""
        moves = []
        for j, k in itertools.product(*map(range, term.shape[:2])):
            start = [max(a, t + b) for a, b, t in zip(low, after, term[j, k], strict=True)]
            if all(s <= top for s, top in zip(start, self._left, strict=True)):
                here = tuple(slice(s - a, None) for s, a in zip(start, low, strict=True))
                there = tuple(
                    slice(int(s - t - b), int(top - t - b + 1))
                    for s, t, b, top in zip(start, term[j, k], after, self._left, strict=True)
                )
                moves.append((j, k, here, there))
        return moves

    def solve(self, logits: Tensor) -> "Solution":
        """The program run at some logits (L, C): what the methods below take from it, computed once."""
        return Solution(self, logits)

    def log_prob(self, logits: Tensor) -> Tensor:
        """log P(V): logits (L, C) → scalar, differentiable once; its gradient is E[onehot | V] − p."""
        value: Tensor = _LogProb.apply(logits, self)
        return value

    def marginals(self, logits: Tensor) -> Tensor:
        """P(y_i = j | V), (L, C); 0 where padded."""
        return self.solve(logits).marginals().to(logits)

    def log_prob_and_marginals(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """log P(V), scalar, and P(y_i = j | V), (L, C)."""
        solution = self.solve(logits)
        return logits.new_tensor(solution.log_prob), solution.marginals().to(logits)

    def entropy(self, logits: Tensor) -> Tensor:
        """Entropy of P(y | V) in nats, scalar: log P(V) − Σ P(y_i = j | V) log p_ij."""
        log_prob_valid, marginals = self.log_prob_and_marginals(logits.detach().double())
        log_p = logits.detach().double().log_softmax(dim=1)
        entropy: Tensor = log_prob_valid - (marginals * log_p).nan_to_num(nan=0.0).sum()
        return entropy.to(logits)

    @cached_property
    def _count(self) -> int:
        kind: Any = np.int64 if self.space.size < 2**62 else object  # Python's integers have no limit
        ones = [np.ones(n, dtype=kind) for n in self.space.n_choices]
        first = self._suffixes(ones, np.add, np.multiply, 0, 1)[0]
        return int(sum(self._at_start(first, np.multiply, ones[0], 0)))

    def count(self) -> int:
        """|V|."""
        return self._count

    def sample(self, logits: Tensor, n: int, *, generator: torch.Generator) -> Tensor:
        """n independent draws from P(y | V): (n, L) choice indices."""
        return self.solve(logits).sample(n, generator=generator)

    def most_probable(self, logits: Tensor, k: int) -> Tensor:
        """The k most probable architectures of V, most probable first: (k, L) choice indices.

        Fewer where V has fewer of non-zero probability. Best-first over prefixes, by the exact probability of the best
        feasible completion of each.
        """
        log_p = _log_probabilities(self.space, logits)
        tables = self._suffixes(log_p, np.maximum, np.add, -np.inf, 0.0)
        queue: list[tuple[float, tuple[int, ...], float, tuple[int, ...]]] = [(0.0, (), 0.0, self._left)]
        found: list[tuple[int, ...]] = []
        while queue and len(found) < k:
            _, prefix, so_far, left = heapq.heappop(queue)
            i = len(prefix)
            if i == self.space.n_layers:
                found.append(prefix)
                continue
            term = self._first if i == 0 else self._terms[i - 1][prefix[-1]]
            for j in range(self.space.n_choices[i]):
                after = tuple(int(a - t) for a, t in zip(left, term[j], strict=True))
                if min(after) < 0:
                    continue
                index = tuple(a - low for a, low in zip(after, self._lowest[i], strict=True))
                value = so_far + log_p[i][j]
                best = value + tables[i][j][index]
                if best > -np.inf:
                    heapq.heappush(queue, (-best, (*prefix, j), value, after))
        return torch.tensor(found, dtype=torch.int64).view(-1, self.space.n_layers)

    def _suffixes(self, p: Sequence[Array], add: Any, multiply: Any, zero: Any, one: Any) -> list[Array]:
        """Per layer i, a table (C_i, left of each limit): the sum over all that may follow choice j within that.

        The operations are those of probabilities, of their logarithms, of the best logarithm, or of counts.
        """
        tables = [self._ends(zero, one, p[-1].dtype)]
        for i in range(self.space.n_layers - 2, -1, -1):
            after = multiply(tables[0], p[i + 1].reshape(-1, *[1] * len(self._left)))
            table = np.full((self.space.n_choices[i], *self._shape(i)), zero, dtype=after.dtype)
            for j, k, here, there in self._moves[i]:
                part = table[j][here]
                add(part, after[k][there], out=part)
            tables.insert(0, table)
        return tables

    def _prefixes(self, p: Sequence[Array], add: Any, multiply: Any, zero: Any) -> list[Array]:
        """Per layer i, a table of the same shape: the sum over all that lead up to choice j and leave that."""
        table = np.full((self.space.n_choices[0], *self._shape(0)), zero, dtype=p[0].dtype)
        for j, term in enumerate(self._first):
            left = tuple(int(x) for x in np.array(self._left) - term)
            if min(left) >= 0:
                table[j][tuple(x - low for x, low in zip(left, self._lowest[0], strict=True))] = p[0][j]
        tables = [table]
        for i, moves in enumerate(self._moves):
            table = np.full((self.space.n_choices[i + 1], *self._shape(i + 1)), zero, dtype=p[0].dtype)
            for j, k, here, there in moves:
                part = table[k][there]
                add(part, tables[-1][j][here], out=part)
            tables.append(multiply(table, p[i + 1].reshape(-1, *[1] * len(self._left))))
        return tables

    def _shape(self, i: int) -> tuple[int, ...]:
        return tuple(top - low + 1 for top, low in zip(self._left, self._lowest[i], strict=True))

    def _ends(self, zero: Any, one: Any, dtype: Any) -> Array:
        """The last layer's table: whether the output layer is within what is left."""
        table = np.full((self.space.n_choices[-1], *self._shape(-1)), zero, dtype=dtype)
        for j, term in enumerate(self._last):
            table[j][
                tuple(slice(max(0, int(t) - low), None) for t, low in zip(term, self._lowest[-1], strict=True))
            ] = one
        return table

    def _at_start(self, table: Array, multiply: Any, p: Array, zero: Any) -> Array:
        """The first layer's choices, each with all that may follow: (C_1,)."""
        values = np.full(len(p), zero, dtype=table.dtype)
        for j, term in enumerate(self._first):
            left = [top - int(t) - low for top, t, low in zip(self._left, term, self._lowest[0], strict=True)]
            if min(left) >= 0:
                values[j] = table[j][tuple(left)]
        started: Array = multiply(values, p)
        return started


class Solution:
    """The program at given logits, in probabilities, or in logarithms where those would underflow."""

    def __init__(self, program: ChainProgram, logits: Tensor) -> None:
        self.program = program
        log_p = _log_probabilities(program.space, logits)
        self._p = [np.exp(row) for row in log_p]
        self._in_logs = False
        self._suffixes = program._suffixes(self._p, np.add, np.multiply, 0.0, 1.0)
        self._start = program._at_start(self._suffixes[0], np.multiply, self._p[0], 0.0)
        total = float(self._start.sum())
        if total < UNDERFLOW:
            self._in_logs, self._p = True, log_p
            self._suffixes = program._suffixes(log_p, np.logaddexp, np.add, -np.inf, 0.0)
            self._start = program._at_start(self._suffixes[0], np.add, log_p[0], -np.inf)
            self.log_prob = float(np.logaddexp.reduce(self._start))
        else:
            self.log_prob = min(0.0, math.log(total))

    def marginals(self) -> Tensor:
        """P(y_i = j | V), (L, C) float64; 0 where padded."""
        program, space = self.program, self.program.space
        table = torch.zeros(space.mask.shape, dtype=torch.float64)
        if self.log_prob == -math.inf:
            raise _nothing_feasible()
        if self._in_logs:
            prefixes = program._prefixes(self._p, np.logaddexp, np.add, -np.inf)
            joint = [a + b for a, b in zip(prefixes, self._suffixes, strict=True)]
            rows = [np.exp(np.logaddexp.reduce(t.reshape(len(t), -1), axis=1) - self.log_prob) for t in joint]
        else:
            prefixes = program._prefixes(self._p, np.add, np.multiply, 0.0)
            pairs = zip(prefixes, self._suffixes, strict=True)
            rows = [np.einsum("jr,jr->j", a.reshape(len(a), -1), b.reshape(len(b), -1)) for a, b in pairs]
        for i, row in enumerate(rows):
            table[i, : len(row)] = torch.from_numpy(row / row.sum())
        return table

    def sample(self, n: int, *, generator: torch.Generator) -> Tensor:
        """n independent draws from P(y | V): (n, L) choice indices. Layer by layer, from what is left of the limit."""
        if self.log_prob == -math.inf:
            raise _nothing_feasible()
        program, space = self.program, self.program.space
        uniform = torch.rand(n, space.n_layers, generator=generator, dtype=torch.float64).numpy()
        draws = np.empty((n, space.n_layers), dtype=np.int64)
        start = np.broadcast_to(self._start, (n, len(self._start)))
        draws[:, 0] = self._choose(start, uniform[:, 0])
        left = np.array(program._left) - program._first[draws[:, 0]]  # (n, n_costs)
        for i, term in enumerate(program._terms, start=1):
            after = left[:, None, :] - term[draws[:, i - 1]]  # (n, C_i, n_costs)
            feasible = (after >= program._lowest[i]).all(axis=2)
            index = np.where(feasible[:, :, None], after - program._lowest[i], 0)
            choices = np.broadcast_to(np.arange(space.n_choices[i]), feasible.shape)
            values = self._suffixes[i][(choices, *np.moveaxis(index, 2, 0))]
            if self._in_logs:
                weights = np.where(feasible, values + self._p[i], -np.inf)
            else:
                weights = np.where(feasible, values * self._p[i], 0.0)
            draws[:, i] = self._choose(weights, uniform[:, i])
            left = after[np.arange(n), draws[:, i]]
        return torch.from_numpy(draws)

    def _choose(self, weights: Array, uniform: Array) -> Array:
        """One of each row's choices in proportion to its weight: weights (n, C), uniform (n,) in [0, 1) → (n,)."""
        if self._in_logs:
            weights = np.exp(weights - weights.max(axis=1, keepdims=True))
        cumulative = weights.cumsum(axis=1)
        chosen: Array = (cumulative <= (uniform * cumulative[:, -1])[:, None]).sum(axis=1)
        return chosen


class _LogProb(torch.autograd.Function):
    """log P(V) with the gradient of the forward-backward pass."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, program: ChainProgram) -> Tensor:
        ctx.solution = program.solve(logits)
        ctx.save_for_backward(logits)
        return logits.new_tensor(ctx.solution.log_prob)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (logits,) = ctx.saved_tensors
        return gradient * (ctx.solution.marginals().to(logits) - logits.softmax(dim=1)), None


def affordable(space: SearchSpace, limits: Limits) -> bool:
    """Whether ChainProgram takes these limits: all of them chain costs, and at most MOST_STATES states."""
    if not all(isinstance(cost, ChainCost) for cost in limits.costs):
        return False
    _, left = _in_units(space, limits)
    return math.prod(top + 1 for top in left) * sum(space.n_choices) <= MOST_STATES


def _in_units(space: SearchSpace, limits: Limits) -> tuple[list[Array], list[int]]:
    """The terms of all layers, (C_i, C_i+1, n_costs) int64, and the limits, less what cannot be avoided, in units.

    A unit of a cost is the greatest common divisor of its terms after each layer's smallest is taken off. A term over
    the limit is one over the limit, a limit that cannot be reached is the largest cost.
    """
    columns: list[list[Array]] = []
    left: list[int] = []
    for cost, at_most in zip(limits.costs, limits.at_most, strict=True):
        assert isinstance(cost, ChainCost)
        tables = [t.numpy() for t in cost.terms(space)]
        slack = at_most - cost.fixed - sum(int(t.min()) for t in tables)
        tables = [t - t.min() for t in tables]
        unit = math.gcd(*(int(np.gcd.reduce(t, axis=None)) for t in tables)) or 1
        tables = [t // unit for t in tables]
        slack = min(slack // unit, sum(int(t.max()) for t in tables))
        columns.append([np.minimum(t, slack + 1) for t in tables])
        left.append(slack)
    return [np.stack(layer, axis=2) for layer in zip(*columns, strict=True)], left


def _log_probabilities(space: SearchSpace, logits: Tensor) -> list[Array]:
    """log p per layer, float64, without the padding."""
    log_p = logits.detach().cpu().double().log_softmax(dim=1).numpy()
    return [np.ascontiguousarray(row[:n]) for row, n in zip(log_p, space.n_choices, strict=True)]


def _nothing_feasible() -> UserError:
    rule = "must leave some feasible architecture a probability above 0"
    return UserError("logits", rule, "P(V) = 0", "lower search.eta or raise the limit")
