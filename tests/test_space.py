import itertools

import pytest
import torch

from tabnas.errors import UserError
from tabnas.space import SearchSpace


def test_layers_may_differ_in_length():
    space = SearchSpace([[8, 16], [4], [2, 4, 6]])
    assert (space.n_layers, space.size, space.n_choices) == (3, 6, (2, 1, 3))
    assert space.largest == (16, 4, 6)
    assert space.smallest == (8, 4, 2)
    assert space.mask.tolist() == [[True, True, False], [True, False, False], [True, True, True]]


def test_widths_and_indices_are_inverse():
    space = SearchSpace([[8, 16], [4], [2, 4, 6]])
    everything = list(itertools.product([8, 16], [4], [2, 4, 6]))
    assert list(space) == everything
    for widths in everything:
        assert space.widths(space.indices(widths)) == widths
    indices = torch.tensor([space.indices(widths) for widths in everything])
    assert space.gather_widths(indices).tolist() == [list(widths) for widths in everything]


@pytest.mark.parametrize(
    ("choices", "name", "says"),
    [
        ([], "space.choices", "non-empty list"),
        ("8,16", "space.choices", "non-empty list"),
        (8, "space.choices", "non-empty list"),
        ([[8], []], "space.choices[1]", "non-empty list of widths"),
        ([8, 16], "space.choices[0]", "non-empty list of widths"),
        ([[8, 0]], "space.choices[0]", "got 0"),
        ([[8, -4]], "space.choices[0]", "got -4"),
        ([[8, 2.5]], "space.choices[0]", "got 2.5"),
        ([[8, True]], "space.choices[0]", "got True"),
        ([[8], [16, 8, 16]], "space.choices[1]", "repeat a width, got 16"),
    ],
)
def test_refuses(choices, name, says):
    with pytest.raises(UserError) as caught:
        SearchSpace(choices)
    assert caught.value.name == name
    assert says in str(caught.value)
