"""What all methods share: settings, draws for the weights, P(V), and what a resumed search goes on from."""

import pytest
import torch

from tabnas.cost import Flops, Limits, ParameterCount
from tabnas.errors import UserError
from tabnas.feasibility import ChainProgram, Listed, MonteCarlo, Refreshed
from tabnas.method import ConditionalDraws, Rejection, RewardShaping
from tabnas.method.base import LARGE_SPACE_SAMPLES, policy_gradient
from tabnas.space import SearchSpace
from tests.brute_force import log_probs, misfit, padded_logits
from tests.conftest import PAPER_WIDTHS

KINDS = [
    (Rejection, {}),
    (Rejection, {"num_samples": 50}),
    (ConditionalDraws, {}),
    (ConditionalDraws, {"num_children": 1}),
    (RewardShaping, {"reward": "quality"}),
]
every_kind = pytest.mark.parametrize(("kind", "settings"), KINDS)


@pytest.mark.parametrize("lead", [(), (5,), (2, 3)])
@pytest.mark.parametrize("n_children", [1, 2, 4])
def test_policy_gradient_is_the_gradient_of_the_weighted_log_probabilities(lead, n_children):
    draws = torch.Generator().manual_seed(0)
    logits = torch.randn(*lead, 3, 4, generator=draws, dtype=torch.float64).requires_grad_()
    children = torch.randint(0, 4, (*lead, n_children, 3), generator=draws)
    advantage = torch.randn(*lead, n_children, generator=draws, dtype=torch.float64)
    log_p = logits.log_softmax(dim=-1)
    chosen = torch.stack([log_p.gather(-1, children[..., k, :, None]).sum(dim=(-1, -2)) for k in range(n_children)], -1)
    (expected,) = torch.autograd.grad((advantage * chosen).mean(dim=-1).sum(), logits)
    ours = policy_gradient(children, advantage, logits.detach().softmax(dim=-1))
    assert torch.allclose(ours, expected, rtol=0, atol=1e-12)


@every_kind
@pytest.mark.parametrize("weight_draws", ["p", "valid"])
def test_the_weight_steps_child_is_drawn_from_p_or_from_v(new_method, problem, kind, settings, weight_draws):
    method = new_method(kind, weight_draws=weight_draws, **settings)
    everything = [tuple(problem.space.indices(w)) for w in problem.space]
    among = everything if weight_draws == "p" else problem.valid
    probabilities = log_probs(problem.space, among, problem.logits).softmax(dim=0).tolist()
    drawn = [method.draw_for_weights(problem.logits.detach()) for _ in range(4000)]
    assert drawn[0].shape == (1, 2)
    assert misfit((tuple(y[0].tolist()) for y in drawn), dict(zip(among, probabilities, strict=True))) < 1


@every_kind
def test_the_rl_steps_children_are_independent_of_the_weight_steps(new_method, problem, kind, settings):
    method = new_method(kind, **settings)
    logits = problem.logits.detach()
    everything = [tuple(problem.space.indices(w)) for w in problem.space]
    p = log_probs(problem.space, everything, logits).exp().tolist()
    among = problem.valid if kind is ConditionalDraws else everything
    q = log_probs(problem.space, among, logits).softmax(dim=0).tolist()
    expected = {(x, y): a * b for x, a in zip(everything, p, strict=True) for y, b in zip(among, q, strict=True)}
    pairs = []
    for _ in range(8000):
        x, y = method.draw_for_weights(logits), method.draw(logits)
        assert y.shape == (method.num_children, 2)
        pairs.append((tuple(x[0].tolist()), tuple(y[-1].tolist())))
    assert misfit(pairs, expected) < 1


@every_kind
def test_prob_valid_and_the_most_probable_are_exact(new_method, problem, kind, settings):
    method = new_method(kind, **settings)
    logits = problem.logits.detach()
    assert method.log_prob_valid(logits) == pytest.approx(problem.log_prob_valid.item(), abs=1e-12)
    order = log_probs(problem.space, problem.valid, logits).argsort(descending=True)
    assert method.most_probable(logits, 3).tolist() == [list(problem.valid[i]) for i in order[:3]]


def test_v_is_followed_by_its_listing_where_it_is_small(new_method):
    method = new_method(Rejection)
    assert isinstance(method.program, ChainProgram)
    assert isinstance(method.feasible, Listed)
    assert method.feasible is method.feasible
    assert method.feasible.generator is method.generator


def test_v_is_followed_by_refreshed_where_it_is_not(new_method, never_listed):
    assert isinstance(new_method(Rejection).feasible, Refreshed)


def test_the_error_of_the_gradient_is_known_where_it_is_no_exact_one(new_method, problem, never_listed):
    """Which it is for two children, of which P(V) drops out, and at the logits the program was run at."""
    errors = {}
    for n_children in (1, 2):
        method = new_method(ConditionalDraws, num_children=n_children)
        assert method.gradient_error is None
        for shift in (0.0, 0.05):
            logits = problem.logits.detach() * (1 + shift)
            children = method.draw(logits)
            method.step(logits, children, problem.quality(children), method.evaluated(children))
            errors[n_children, shift] = method.gradient_error
    assert errors[1, 0.05] == method_error(new_method, problem)
    assert 0 < errors[1, 0.05] < 0.01
    assert (errors[2, 0.0], errors[2, 0.05]) == (None, None)
    assert errors[1, 0.0] is None or errors[1, 0.0] < 1e-9


def method_error(new_method, problem):
    """By a Refreshed of its own."""
    feasible = new_method(ConditionalDraws, num_children=1).feasible
    for shift in (0.0, 0.05):
        feasible.sample(problem.logits.detach() * (1 + shift), 1)
        feasible.log_prob_and_marginals(problem.logits.detach() * (1 + shift))
    return feasible.largest_error


NINE = SearchSpace([PAPER_WIDTHS[:12]] * 9)
BOTH = (ParameterCount(180, 10), Flops(180, 10))


def on_nine_layers(kind, limits, costs=BOTH, **settings):
    limits = Limits(costs, limits)
    return kind(space=NINE, limits=limits, generator=torch.Generator().manual_seed(0), name="any", **settings)


def test_without_an_exact_program_chance_does_it():
    """Two limits on nine layers."""
    method = on_nine_layers(Rejection, (78_114, 77_000))
    assert method.program is None
    assert isinstance(method.feasible, MonteCarlo)
    assert method.feasible.num_samples == LARGE_SPACE_SAMPLES == 32_768
    logits = torch.zeros(9, 12)
    nearly = ChainProgram(NINE, BOTH[0], 78_114).log_prob(logits).exp().item()  # an upper bound, and near
    value = method.log_prob_valid(logits)
    assert nearly - 0.1 < torch.tensor(value).exp() < nearly + 4 * (nearly * (1 - nearly) / 32_768) ** 0.5
    found = NINE.gather_widths(method.most_probable(padded_logits(NINE, seed=0), 5))
    assert method.limits.allow_many(found).all()
    assert method.limits.allow_many(NINE.gather_widths(method.feasible.sample(logits, 10))).all()


def test_exact_draws_need_an_exact_program():
    with pytest.raises(UserError, match=r"limits: must leave exact draws possible.*\['params', 'flops'\]; give one"):
        on_nine_layers(ConditionalDraws, (78_114, 77_000))


@pytest.mark.parametrize("n_inputs", [180, 100_000])  # with many inputs the empty program would have too many states
@every_kind
def test_an_empty_v_is_told_of_at_once(kind, settings, n_inputs):
    params, flops = ParameterCount(n_inputs, 10), Flops(n_inputs, 10)
    for costs, at_most in (([params], [1]), ([params, flops], [1, 1])):
        with pytest.raises(UserError) as caught:
            on_nine_layers(kind, at_most, costs, **settings)
        assert caught.value.name == "limits"


@every_kind
@pytest.mark.parametrize("followed_by", [Listed, Refreshed])
@pytest.mark.parametrize("n_steps", [0, 1, 30])
def test_goes_on_bit_for_bit(new_method, problem, request, kind, settings, followed_by, n_steps, tmp_path):
    if followed_by is Refreshed:
        request.getfixturevalue("never_listed")

    def run(method, logits, n):
        seen = []
        for _ in range(n):
            x, children = method.draw_for_weights(logits), method.draw(logits)
            taken = method.step(logits, children, problem.quality(children), method.evaluated(children))
            logits = logits + 0.05 * taken.ascent * taken.applies
            seen.append((x, children, logits, method.log_prob_valid(logits)))
        return logits, seen

    method = new_method(kind, weight_draws="valid", **settings)
    logits, _ = run(method, problem.logits.detach().float(), n_steps)
    torch.save((method.state_dict(), method.generator.get_state()), tmp_path / "state.pt")
    state, generator_state = torch.load(tmp_path / "state.pt", weights_only=True)
    taken_up = new_method(kind, seed=99, weight_draws="valid", **settings)
    taken_up.load_state_dict(state)
    taken_up.generator.set_state(generator_state)
    for ours, theirs in zip(run(taken_up, logits, 30)[1], run(method, logits, 30)[1], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours[:3], theirs[:3], strict=True))
        assert ours[3] == theirs[3]
    assert isinstance(method.feasible, followed_by)
    assert taken_up.baseline == method.baseline


@every_kind
@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"eta": 0}, "search.eta"),
        ({"eta": "fast"}, "search.eta"),
        ({"eta": float("nan")}, "search.eta"),
        ({"rl_every": 0}, "search.rl_every"),
        ({"rl_from": 1}, "search.rl_from"),
        ({"rl_from": "late"}, "search.rl_from"),
        ({"rl_every": 1.5}, "search.rl_every"),
        ({"rl_optimizer": "lbfgs"}, "search.rl_optimizer"),
        ({"rl_schedule": "linear"}, "search.rl_schedule"),
        ({"baseline_decay": 1.0}, "search.baseline_decay"),
        ({"baseline_decay": -0.1}, "search.baseline_decay"),
        ({"weight_draws": "v"}, "search.weight_draws"),
        ({"skip_infeasible_weight_updates": "maybe"}, "search.skip_infeasible_weight_updates"),
        ({"selection": 3}, "search.selection"),
    ],
)
def test_refuses(new_method, kind, settings, wrong, key):
    with pytest.raises(UserError) as caught:
        new_method(kind, **settings, **wrong)
    assert caught.value.name == key
