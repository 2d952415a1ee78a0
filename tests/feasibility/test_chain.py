"""The dynamic program where no listing goes: counts of huge spaces, probabilities below what float64 holds."""

from collections import Counter

import pytest
import torch

from tabnas.cost import Flops, Limits, ParameterCount
from tabnas.errors import UserError
from tabnas.feasibility import ChainProgram
from tabnas.feasibility.chain import MOST_STATES, affordable
from tabnas.space import SearchSpace
from tests.brute_force import feasible, log_probs, misfit, onehots, padded_logits
from tests.conftest import PAPER_WIDTHS


@pytest.mark.parametrize(
    ("n_inputs", "n_outputs", "widths", "n_layers", "limit", "count"),
    [
        (1027, 1, PAPER_WIDTHS, 3, 41153, 856),
        (1027, 1, PAPER_WIDTHS, 4, 59697, 17762),
        (1027, 1, PAPER_WIDTHS, 5, 75353, 340590),  # the paper's appendix D
        (180, 10, PAPER_WIDTHS, 4, 27882, 16886),
        (180, 10, PAPER_WIDTHS[:12], 9, 78114, 3916221381),
    ],
)
def test_known_counts(n_inputs, n_outputs, widths, n_layers, limit, count):
    program = ChainProgram(SearchSpace([widths] * n_layers), ParameterCount(n_inputs, n_outputs), limit)
    assert program.count() == count
    assert program.log_prob(torch.zeros(n_layers, len(widths), dtype=torch.float64)).exp().item() == pytest.approx(
        count / len(widths) ** n_layers, rel=1e-12
    )


def counted(space: SearchSpace, cost: ParameterCount | Flops, limit: int) -> int:
    """|V| by how many prefixes there are of each cost and last width, in Python's integers."""
    prefixes = Counter({(cost.fixed, cost.n_inputs): 1})
    for layer in space.choices:
        longer: Counter[tuple[int, int]] = Counter()
        for (total, before), n in prefixes.items():
            for width in layer:
                longer[total + cost.layer(before, width, False), width] += n
        prefixes = longer
    return sum(
        n for (total, before), n in prefixes.items() if total + cost.layer(before, cost.n_outputs, True) <= limit
    )


@pytest.mark.parametrize("cost", [ParameterCount(3, 2), Flops(3, 2)], ids=lambda cost: cost.name)
@pytest.mark.parametrize("n_layers", [30, 31, 32, 40])  # 4^31 is 2^62, 4^32 is more than 64 bits hold
def test_counts_beyond_64_bits(cost, n_layers):
    space = SearchSpace([[1, 2, 3, 5]] * n_layers)
    assert ChainProgram(space, cost, 10**12).count() == 4**n_layers
    for share in (0.1, 0.3, 0.9):
        limit = int(cost(space.smallest) + share * (cost(space.largest) - cost(space.smallest)))
        expected = counted(space, cost, limit)
        assert 0 < expected < 4**n_layers
        assert ChainProgram(space, cost, limit).count() == expected


@pytest.mark.parametrize("n_layers", [12, 40])
def test_probability_of_a_space_too_large_to_list_is_its_share(n_layers):
    space, cost = SearchSpace([[1, 2, 3, 5]] * n_layers), ParameterCount(3, 2)
    limit = (cost(space.smallest) + cost(space.largest)) // 4
    logits = torch.zeros(n_layers, 4, dtype=torch.float64)
    share = counted(space, cost, limit) / 4**n_layers
    assert ChainProgram(space, cost, limit).log_prob(logits).exp().item() == pytest.approx(share, rel=1e-10)


# log P(V) from about -10 to -10,000; below log(1e-200) = -460 the program works with logarithms.
@pytest.mark.parametrize("slope", [1.0, 25.0, 45.0, 70.0, 200.0, 1000.0])
@pytest.mark.parametrize("several", [False, True])
def test_probabilities_below_what_float64_holds(slope, several):
    space = SearchSpace([[2, 3, 5, 7, 11], [3, 4, 6, 9], [2, 5, 7, 8, 13]])
    costs, limits = ((ParameterCount(4, 2), Flops(4, 2)), (70, 51)) if several else (ParameterCount(4, 2), 70)
    logits = (slope * space.table + padded_logits(space, seed=0).detach()).requires_grad_()
    valid = feasible(space, costs, limits)
    log_p = log_probs(space, valid, logits)
    total = log_p.logsumexp(dim=0)
    conditional = (log_p - total).detach().exp()
    program = ChainProgram(space, costs, limits)
    assert program.solve(logits)._in_logs == (total.item() < -460.6)

    value = program.log_prob(logits)
    assert value.item() == pytest.approx(total.item(), rel=1e-13)
    marginals = (conditional[:, None, None] * onehots(space, valid)).sum(dim=0)
    assert torch.allclose(program.marginals(logits.detach()), marginals, rtol=0, atol=1e-10)
    gradient = torch.autograd.grad(value, logits)[0]
    assert torch.allclose(gradient, torch.autograd.grad(total, logits)[0], rtol=0, atol=1e-10)
    entropy = torch.special.entr(conditional).sum()
    assert program.entropy(logits).item() == pytest.approx(entropy.item(), abs=1e-9)
    ranked = [list(valid[i]) for i in log_p.argsort(descending=True)[:20]]
    assert program.most_probable(logits, 20).tolist() == ranked

    n, surprise = 2000, conditional.log()
    draws = [tuple(draw) for draw in program.sample(logits, n, generator=torch.Generator().manual_seed(0)).tolist()]
    mean = surprise[[valid.index(draw) for draw in draws]].mean()
    deviation = (conditional * (surprise + entropy) ** 2).nan_to_num().sum().sqrt()  # of one, by enumeration
    assert abs(mean + entropy) <= 4 * deviation / n**0.5


@pytest.mark.parametrize("push", [0.0, 400.0])
def test_draws_are_exact_in_logarithms_too(push, generator):
    """All of V is made as improbable as it takes, and equally so: P(y | V) stays what it was."""
    space, cost, limit = SearchSpace([[2, 3, 5, 99], [3, 4, 6], [2, 5, 7]]), ParameterCount(2, 1), 60
    logits = padded_logits(space, seed=5).detach()
    logits[0, 3] += 2 * push  # over the limit whatever follows
    valid = feasible(space, cost, limit)
    conditional = log_probs(space, valid, logits).softmax(dim=0).tolist()
    program = ChainProgram(space, cost, limit)
    assert program.solve(logits)._in_logs == (push > 0)
    draws = program.sample(logits, 20_000, generator=generator).tolist()
    assert misfit(map(tuple, draws), dict(zip(valid, conditional, strict=True))) < 1


def test_a_choice_of_probability_0_is_left_out(toy):
    logits = padded_logits(toy.space, seed=1).detach()
    logits[0, 0] = -torch.inf
    program = ChainProgram(*toy)
    kept = [y for y in feasible(*toy) if y[0] != 0]
    log_p = log_probs(toy.space, kept, logits)
    total = log_p.logsumexp(dim=0)
    assert program.log_prob(logits).item() == pytest.approx(total.item(), abs=1e-12)
    assert program.entropy(logits).item() == pytest.approx(torch.special.entr(log_p.softmax(dim=0)).sum().item())
    marginals = ((log_p - total).exp()[:, None, None] * onehots(toy.space, kept)).sum(dim=0)
    assert torch.allclose(program.marginals(logits), marginals, rtol=0, atol=1e-12)
    assert {tuple(y) for y in program.most_probable(logits, 99).tolist()} == set(kept)
    draws = program.sample(logits, 300, generator=torch.Generator().manual_seed(0)).tolist()
    assert {tuple(draw) for draw in draws} == set(kept)


def test_no_probability_left_in_v_is_a_users_error(toy):
    logits = torch.tensor([[-torch.inf, -torch.inf, 0.0], [-torch.inf, -torch.inf, 0.0]])  # 4-4 for certain
    program = ChainProgram(*toy)
    assert program.log_prob(logits).item() == -torch.inf
    for ask in (program.marginals, lambda at: program.sample(at, 1, generator=torch.Generator())):
        with pytest.raises(UserError, match=r"logits: must leave some feasible architecture a probability above 0"):
            ask(logits)


def test_none_of_probability_above_0_are_none_in_l_columns(toy):
    logits = torch.tensor([[-torch.inf, -torch.inf, 0.0], [-torch.inf, -torch.inf, 0.0]])
    assert ChainProgram(*toy).most_probable(logits, 3).shape == (0, 2)


class Depth:
    """A cost that is no sum over consecutive layers."""

    name, scale = "depth", 1

    def __call__(self, widths):
        return max(widths)

    def many(self, widths):
        return widths.max(dim=1).values


@pytest.mark.parametrize(
    ("costs", "limits"), [(Depth(), 3), ((ParameterCount(2, 1), Depth()), (25, 3)), ((Depth(), Depth()), (3, 4))]
)
def test_refuses_costs_that_are_no_chain(toy, costs, limits):
    assert not affordable(toy.space, Limits(costs, limits))
    with pytest.raises(ValueError, match="ChainProgram takes chain costs"):
        ChainProgram(toy.space, costs, limits)


def test_refuses_more_states_than_memory_is_meant_for():
    space, costs = SearchSpace([PAPER_WIDTHS] * 3), (ParameterCount(84, 3), Flops(84, 3))
    assert affordable(space, Limits(costs[0], 100_000))
    assert not affordable(space, Limits(costs, (100_000, 100_000)))
    with pytest.raises(ValueError, match="few enough states"):
        ChainProgram(space, costs, (100_000, 100_000))


@pytest.mark.parametrize("n_inputs", [7, 1027])
@pytest.mark.parametrize("limit", [20_000, 10**6, 10**15])
def test_states_are_counted_in_units_above_what_cannot_be_avoided(n_inputs, limit):
    """Widths are multiples of 8: parameters beyond the smallest architecture's come in multiples of 8 too."""
    space, cost = SearchSpace([PAPER_WIDTHS[:12]] * 3), ParameterCount(n_inputs, 8)
    program = ChainProgram(space, cost, limit)
    (left,) = program._left
    assert left <= min(limit, cost(space.largest)) // 8
    assert sum(space.n_choices) * (left + 1) <= MOST_STATES
    assert program.count() == counted(space, cost, limit)
