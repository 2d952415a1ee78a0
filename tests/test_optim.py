"""Updates of a child's slices against torch's own optimizers on a stand-alone copy."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tabnas.errors import UserError
from tabnas.optim import SGD, Adam, schedule_factor
from tabnas.space import SearchSpace
from tabnas.supernet import SuperNet, feedforward

SETTINGS = [Adam(lr=0.01), SGD(lr=0.05, momentum=0.9), SGD(lr=0.05)]


def children_step(supernet, optimizer, widths, x):
    child = optimizer.gather(supernet.regions(widths))
    for leaf, p, region in zip(child.leaves, supernet.parameters(), supernet.regions(widths), strict=True):
        assert torch.equal(leaf, p[region])
    feedforward(x, child.leaves).square().mean().backward()
    optimizer.update(child)


@pytest.mark.parametrize("optimizer", SETTINGS)
def test_one_child_again_and_again_is_trained_as_if_alone(optimizer):
    torch.manual_seed(0)
    supernet = SuperNet(SearchSpace([[2, 5], [3, 7], [2, 4]]), 4, 3).double()
    widths = (2, 7, 2)
    alone = supernet.child(widths)
    ours, theirs = optimizer.child(list(supernet.parameters())), optimizer.dense(list(alone.parameters()))
    for step in range(6):
        x = torch.randn(8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        children_step(supernet, ours, widths, x)
        theirs.zero_grad()
        alone(x).square().mean().backward()
        theirs.step()
    for p, q in zip(supernet.child(widths).parameters(), alone.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=0, atol=1e-12)


@pytest.mark.parametrize("optimizer", SETTINGS)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_nothing_outside_the_child_changes(optimizer, data):
    space = SearchSpace([[1, 2, 5], [2, 3, 7]])
    torch.manual_seed(0)
    supernet = SuperNet(space, 4, 3)
    ours = optimizer.child(list(supernet.parameters()))
    for step in range(3):
        widths = tuple(data.draw(st.sampled_from(layer)) for layer in space.choices)
        whole_state = [
            tensor for p in supernet.parameters() for name, tensor in ours.state[p].items() if name != "step"
        ]
        before = [t.detach().clone() for t in (*supernet.parameters(), *whole_state)]
        children_step(supernet, ours, widths, torch.randn(8, 4))
        regions = supernet.regions(widths)
        per_parameter = len(whole_state) // len(regions)
        state_regions = [region for region in regions for _ in range(per_parameter)]
        after = [t.detach() for t in (*supernet.parameters(), *whole_state)]
        for old, new, region in zip(before, after, [*regions, *state_regions], strict=True):
            inside = torch.zeros_like(old, dtype=torch.bool)
            inside[region] = True
            assert torch.equal(old[~inside], new[~inside]), step


@pytest.mark.parametrize("optimizer", SETTINGS)
def test_whole_parameters_are_torchs_optimizer_bit_for_bit(optimizer):
    torch.manual_seed(0)
    net, twin = torch.nn.Linear(5, 3), torch.nn.Linear(5, 3)
    twin.load_state_dict(net.state_dict())
    ours, theirs = optimizer.child(list(net.parameters())), optimizer.dense(list(twin.parameters()))
    for _ in range(5):
        x = torch.randn(4, 5)
        child = ours.gather([None, None])
        net(x).square().sum().backward()
        ours.update(child)
        theirs.zero_grad()
        twin(x).square().sum().backward()
        theirs.step()
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)


def test_state_survives_a_round_trip():
    torch.manual_seed(0)
    x, space = torch.randn(8, 4), SearchSpace([[2, 5], [3, 7]])
    nets = [SuperNet(space, 4, 3) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    first, second = (Adam(lr=0.01).child(list(net.parameters())) for net in nets)
    children_step(nets[0], first, (5, 3), x)
    nets[1].load_state_dict(nets[0].state_dict())
    second.load_state_dict(copy.deepcopy(first.state_dict()))  # torch would share the tensors
    for net, optimizer in zip(nets, (first, second), strict=True):
        children_step(net, optimizer, (2, 7), x)
    for p, q in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(p, q)


def test_a_step_without_gradients_is_refused():
    net = torch.nn.Linear(2, 2)
    optimizer = Adam(lr=0.01).child(list(net.parameters()))
    with pytest.raises(RuntimeError, match="gradient"):
        optimizer.update(optimizer.gather([None, None]))


def test_schedules():
    assert [schedule_factor("constant", t) for t in (0.0, 0.5, 1.0)] == [1.0, 1.0, 1.0]
    assert [schedule_factor("cosine", t) for t in (0.0, 0.25, 0.5, 1.0)] == pytest.approx([1, 0.853553, 0.5, 0])


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Adam(lr=0.0), "optimizer.lr"),
        (lambda: Adam(lr="fast"), "optimizer.lr"),
        (lambda: Adam(lr=float("nan")), "optimizer.lr"),
        (lambda: Adam(lr=0.1, betas=(0.9, 1.0)), "optimizer.betas"),
        (lambda: Adam(lr=0.1, eps=0.0), "optimizer.eps"),
        (lambda: Adam(lr=0.1, schedule="linear"), "optimizer.schedule"),
        (lambda: SGD(lr=-1.0), "optimizer.lr"),
        (lambda: SGD(lr=0.1, momentum=1.0), "optimizer.momentum"),
    ],
)
def test_refuses(make, name):
    with pytest.raises(UserError) as caught:
        make()
    assert caught.value.name == name


@pytest.mark.parametrize("settings", [Adam(lr=0.01, eps=1e-14), SGD(lr=0.05)])
def test_rows_of_a_table_are_trained_as_by_torchs_sparse_optimizers(settings):
    """SparseAdam adds eps before the correction of v, hence the small one; torch's fused Adam corrects in float32,
    hence the tolerance. Sparse momentum moves every row, hence none.
    """
    torch.manual_seed(0)
    ours = torch.nn.Embedding(50, 3).double()
    theirs = torch.nn.Embedding(50, 3, sparse=True).double()
    theirs.load_state_dict(ours.state_dict())
    optimizer = settings.child(list(ours.parameters()))
    if isinstance(settings, Adam):
        reference = torch.optim.SparseAdam(theirs.parameters(), lr=settings.lr, eps=settings.eps)
    else:
        reference = torch.optim.SGD(theirs.parameters(), lr=settings.lr)
    for step in range(8):
        ids = torch.randint(0, 50, (20,), generator=torch.Generator().manual_seed(step))
        rows, positions = ids.unique(return_inverse=True)
        child = optimizer.gather([rows])
        child.leaves[0][positions].pow(3).sum().backward()
        optimizer.update(child)
        reference.zero_grad()
        theirs(ids).pow(3).sum().backward()
        reference.step()
    assert torch.allclose(ours.weight, theirs.weight, rtol=0, atol=1e-5)
