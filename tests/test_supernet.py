"""Slice = mask = extracted child, outputs and gradients, in float64."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tabnas.network import Network
from tabnas.space import SearchSpace
from tabnas.supernet import SuperNet


@st.composite
def spaces_and_children(draw):
    choices = draw(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True), min_size=1, max_size=4))
    widths = tuple(draw(st.sampled_from(layer)) for layer in choices)
    return SearchSpace(choices), widths, draw(st.integers(1, 6)), draw(st.integers(1, 4)), draw(st.integers(0, 99))


@settings(deadline=None)
@given(spaces_and_children())
def test_slice_mask_and_child_agree(example):
    space, widths, n_inputs, n_outputs, seed = example
    torch.manual_seed(seed)
    supernet = SuperNet(space, n_inputs, n_outputs).double()
    x = torch.randn(7, n_inputs, dtype=torch.float64)
    upstream = torch.randn(7, n_outputs, dtype=torch.float64)
    child = supernet.child(widths)
    parameters = list(supernet.parameters())
    outputs = {mode: supernet(x, widths, mode) for mode in ("slice", "mask")}
    outputs["child"] = child(x)
    for mode in ("mask", "child"):
        assert torch.allclose(outputs["slice"], outputs[mode], rtol=0, atol=1e-9), mode
    slice_gradients = torch.autograd.grad(outputs["slice"], parameters, upstream)
    mask_gradients = torch.autograd.grad(outputs["mask"], parameters, upstream)
    child_gradients = torch.autograd.grad(outputs["child"], list(child.parameters()), upstream)
    for by_slice, by_mask, by_child, region in zip(
        slice_gradients, mask_gradients, child_gradients, supernet.regions(widths), strict=True
    ):
        assert torch.allclose(by_slice, by_mask, rtol=0, atol=1e-8)
        assert torch.allclose(by_slice[region], by_child, rtol=0, atol=1e-8)
        outside = by_slice.clone()
        outside[region] = 0
        assert not outside.any()


@settings(deadline=None)
@given(spaces_and_children(), st.data())
def test_several_children_at_once_are_each_alone(example, data):
    space, widths, n_inputs, n_outputs, seed = example
    one = st.tuples(*map(st.sampled_from, space.choices))
    children = [widths, *data.draw(st.lists(one, max_size=4))]
    torch.manual_seed(seed)
    supernet = SuperNet(space, n_inputs, n_outputs).double()
    x = torch.randn(7, n_inputs, dtype=torch.float64)
    before = [p.clone() for p in supernet.parameters()]
    together = list(supernet.several(x, children))
    assert len(together) == len(children)
    for outputs, child in zip(together, children, strict=True):
        assert torch.allclose(outputs, supernet(x, child), rtol=0, atol=1e-9)
    assert all(torch.equal(p, q) for p, q in zip(supernet.parameters(), before, strict=True))


def test_what_consecutive_children_have_in_common_is_computed_once(monkeypatch):
    """Four children of three layers: one first layer, two second ones, three outputs."""
    supernet, n_calls = SuperNet(SearchSpace([[2, 4], [3, 6]]), 5, 2), []
    monkeypatch.setattr(F, "linear", lambda *given, linear=F.linear: n_calls.append(1) or linear(*given))
    list(supernet.several(torch.randn(7, 5), [(2, 3), (2, 6), (2, 6), (4, 3)]))
    assert len(n_calls) == 1 + 2 + 3


@settings(deadline=None)
@given(spaces_and_children(), st.data())
def test_a_mask_of_a_child_for_each_row(example, data):
    space, _, n_inputs, n_outputs, seed = example
    children = data.draw(st.lists(st.tuples(*map(st.sampled_from, space.choices)), min_size=3, max_size=3))
    torch.manual_seed(seed)
    supernet = SuperNet(space, n_inputs, n_outputs).double()
    x = torch.randn(3, 2, n_inputs, dtype=torch.float64)
    upstream = torch.randn(3, 2, n_outputs, dtype=torch.float64)
    of_rows = torch.tensor(children).repeat_interleave(2, dim=0)
    together = supernet(x.flatten(0, 1), of_rows, "mask").view_as(upstream)
    alone = torch.stack([supernet(rows, child) for rows, child in zip(x, children, strict=True)])
    assert torch.allclose(together, alone, rtol=0, atol=1e-9)
    gradients = (torch.autograd.grad(outputs, list(supernet.parameters()), upstream) for outputs in (together, alone))
    assert all(torch.allclose(one, other, rtol=0, atol=1e-8) for one, other in zip(*gradients, strict=True))


def test_mask_takes_widths_as_a_tensor():
    supernet = SuperNet(SearchSpace([[2, 4], [3, 6]]), 5, 2).double()
    x = torch.randn(4, 5, dtype=torch.float64)
    assert torch.allclose(supernet(x, torch.tensor([2, 6]), "mask"), supernet(x, (2, 6)), rtol=0, atol=1e-12)


def test_input_gradients_agree():
    supernet = SuperNet(SearchSpace([[2, 4], [3, 6]]), 5, 2).double()
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    gradients = [torch.autograd.grad(supernet(x, (4, 3), mode).sum(), x)[0] for mode in ("slice", "mask")]
    assert torch.allclose(*gradients, rtol=0, atol=1e-10)


def test_child_is_a_copy():
    supernet = SuperNet(SearchSpace([[2, 4]]), 3, 1)
    child = supernet.child((2,))
    assert isinstance(child, Network)
    with torch.no_grad():
        for p in child.parameters():
            p.add_(1)
    assert not torch.equal(child.linears[0].weight, supernet.layers[0].weight[:2])


def test_nothing_is_remembered_between_calls():
    supernet = SuperNet(SearchSpace([[2, 4], [2, 4]]), 3, 2)
    x = torch.randn(5, 3)
    before = supernet(x, (2, 4))
    supernet(x, (4, 2))
    supernet(x, (4, 4), "mask")
    assert torch.equal(supernet(x, (2, 4)), before)


def test_widths_beyond_the_supernet_are_refused():
    supernet = SuperNet(SearchSpace([[2, 4]]), 3, 2)
    with pytest.raises(RuntimeError):
        supernet.child((5,))
