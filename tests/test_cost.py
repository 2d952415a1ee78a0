"""The paper's 66 parameter counts (its text, Tables 3 and 4, appendices B and C), and counts on built networks."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from tabnas.cost import Flops, Limits, ParameterCount
from tabnas.encoder import Encoder
from tabnas.network import Network
from tabnas.space import SearchSpace

GOLDEN = {
    ("criteo", 1027, 1): """
        32-144-24 41153; 32-160-16 40769; 32-64-96 41345; 32-80-64 40785; 32-112-32 40241; 24-384-16 40449;
        32-144-24-112 44041; 48-112-8-80 56537; 48-384-16-176 77489; 96-144-32-240 125457; 96-384-48-16 155217;
        48-128-16-112 59697; 48-128-24-32 59545; 48-144-16-48 59585; 48-112-16-144 59233; 48-80-32-112 59665;
        32-128-80-144 59249; 48-160-8-48 58953; 32-240-16-8-96 45769; 48-128-64-16-128 67217; 48-256-16-8-384 69977;
        64-144-48-96-160 102497; 96-512-24-256-48 179449; 48-240-24-256-8 75353; 48-176-64-16-256 74945;
        48-208-48-48-64 75121; 48-256-32-80-24 74721; 48-176-80-16-96 75153; 64-80-48-8-8 75353; 64-80-24-16-112 75353;
        48-144-96-16-192 75329; 64-96-8-32-64 75273; 64-80-8-16-16 72073; 48-80-48-96-96 71265; 48-96-16-144-64 67393;
        48-48-80-80-64 67345""",
    ("volkert", 180, 10): """
        48-112-16-24 16642; 32-112-24-224 20050; 48-160-32-144 27882; 48-256-24-112 31330; 80-208-32-64 40778;
        64-128-48-16 27050; 80-48-112-32 27802; 64-96-80-24 27778; 64-144-32-48 27658; 96-64-32-48 27738;
        96-48-32-96 27738; 96-80-16-48 27738; 112-48-24-24 27722; 80-80-48-48 27690;
        64-64-160-48-16-144-16-8-48 40482; 80-144-32-112-32-8-128-8-144 43290; 112-144-32-32-24-24-24-128-32 51890;
        144-128-112-16-16-48-144-24-160 78114; 160-144-144-32-112-32-48-32-144 94330;
        144-144-112-64-24-16-128-8-128 78026; 128-160-96-32-24-64-64-32-160 77890; 128-144-112-32-64-64-80-16-128 77834;
        160-128-96-32-48-64-48-24-112 78002; 144-112-160-24-112-16-16-128-48 77986; 144-96-80-80-48-64-96-80-32 78170;
        160-80-160-24-80-16-80-64-128 78114; 128-96-80-80-64-64-80-80-80 78106; 144-128-80-16-16-16-96-160-24 78050""",
    ("aloi", 128, 1000): "64-192-48-32 64568; 96-80-96-32 64024",
}


def golden():
    for (_, n_inputs, n_outputs), text in GOLDEN.items():
        for entry in text.split(";"):
            widths, count = entry.split()
            yield n_inputs, n_outputs, tuple(map(int, widths.split("-"))), int(count)


def test_there_are_66():
    assert len(list(golden())) == 66


@pytest.mark.parametrize(("n_inputs", "n_outputs", "widths", "count"), list(golden()))
def test_equals_the_papers_count(n_inputs, n_outputs, widths, count):
    cost = ParameterCount(n_inputs, n_outputs)
    assert cost(widths) == count
    assert cost.many(torch.tensor([widths])).tolist() == [count]


sizes = given(
    n_inputs=st.integers(1, 50),
    n_outputs=st.integers(1, 20),
    widths=st.lists(st.integers(1, 40), min_size=1, max_size=5),
)


@sizes
def test_parameters_are_those_of_the_built_network(n_inputs, n_outputs, widths):
    built = sum(p.numel() for p in Network(n_inputs, widths, n_outputs).parameters())
    assert ParameterCount(n_inputs, n_outputs)(widths) == built
    assert ParameterCount(n_inputs, n_outputs).many(torch.tensor([widths])).tolist() == [built]


@sizes
def test_embeddings_are_counted_if_given(n_inputs, n_outputs, widths):
    encoder = Encoder(2, (3, 4, 5), 6)
    embedding = sum(p.numel() for p in encoder.parameters())
    assert embedding == (3 + 4 + 5) * 6
    network = Network(encoder.n_inputs, widths, n_outputs)
    whole = embedding + sum(p.numel() for p in network.parameters())
    cost = ParameterCount(encoder.n_inputs, n_outputs, n_embedding_params=embedding)
    assert cost(widths) == whole
    assert cost.many(torch.tensor([widths])).tolist() == [whole]
    assert ParameterCount(encoder.n_inputs, n_outputs)(widths) == whole - embedding


@sizes
def test_flops_are_those_torch_counts(n_inputs, n_outputs, widths):
    """torch counts a multiplication and an addition as two."""
    network = Network(n_inputs, widths, n_outputs)
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, n_inputs))
    flops = Flops(n_inputs, n_outputs)
    assert 2 * flops(widths) == counter.get_total_flops()
    assert flops.many(torch.tensor([widths])).tolist() == [flops(widths)]


@pytest.mark.parametrize("cost", [ParameterCount(3, 2), Flops(3, 2), ParameterCount(3, 2, n_embedding_params=17)])
@pytest.mark.parametrize("choices", [[[4, 2]], [[7, 2, 3], [5], [4, 9]]])
def test_terms_add_up_to_the_cost(cost, choices):
    space = SearchSpace(choices)
    terms = cost.terms(space)
    n = (1, *space.n_choices, 1)
    assert [tuple(term.shape) for term in terms] == list(itertools.pairwise(n))
    for widths in space:
        ends = (0, *space.indices(widths), 0)
        total = sum(int(term[pair]) for term, pair in zip(terms, itertools.pairwise(ends), strict=True))
        assert total + cost.fixed == cost(widths)


@pytest.mark.parametrize("cost", [ParameterCount(3, 2), Flops(3, 2)])
def test_wider_is_never_cheaper(cost):
    everything = list(itertools.product((1, 2, 5), (1, 3), (2, 4)))
    for a, b in itertools.product(everything, everything):
        if all(x <= y for x, y in zip(a, b, strict=True)):
            assert cost(a) <= cost(b)


def test_limits_must_all_hold():
    params, flops = ParameterCount(2, 1), Flops(2, 1)
    limits = Limits((params, flops), (25, 16))
    everything = list(itertools.product((2, 3, 4), (2, 3, 4)))
    by_hand = [params(w) <= 25 and flops(w) <= 16 for w in everything]
    assert [limits.allow(w) for w in everything] == by_hand
    assert limits.allow_many(torch.tensor(everything)).tolist() == by_hand
    assert [w for w, within in zip(everything, by_hand, strict=True) if within] == [(2, 2), (2, 3), (2, 4), (3, 2)]
    one = Limits(params, 25)
    assert (one.costs, one.at_most) == ((params,), (25,))
    assert one.allow_many(torch.tensor(everything)).tolist() == [params(w) <= 25 for w in everything]


def test_amounts_are_in_the_unit_of_their_names():
    class Nanoseconds(Flops):
        name, scale = "latency_us", 1000

    amounts = Limits((ParameterCount(2, 1), Nanoseconds(2, 1)), (25, 16)).amounts((4, 2))
    assert amounts == {"params": 25, "latency_us": 0.018}
    assert isinstance(amounts["params"], int)


@pytest.mark.parametrize(("costs", "at_most"), [([], []), ([Flops(2, 1)], []), (Flops(2, 1), (1, 2))])
def test_limits_are_one_for_each_cost(costs, at_most):
    with pytest.raises(ValueError, match="one limit for each cost"):
        Limits(costs, at_most)
