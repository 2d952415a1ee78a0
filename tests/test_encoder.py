import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tabnas.encoder import Encoder
from tabnas.numerical import fitted


def by_hand(encoder, numerical, categorical, cardinalities, dim):
    columns = [numerical]
    tables = encoder.embedding.weight.split(list(cardinalities))
    for i, table in enumerate(tables):
        assert table.shape == (cardinalities[i], dim)
        columns.append(table[categorical[:, i].long()])
    return torch.cat(columns, dim=1)


def test_embeds_each_column_with_its_own_table():
    encoder = Encoder(2, (3, 5), 4)
    numerical = torch.randn(6, 2)
    categorical = torch.tensor([[0, 4], [1, 3], [2, 2], [0, 1], [1, 0], [2, 4]], dtype=torch.uint8)
    out = encoder(numerical, categorical)
    expected = by_hand(encoder, numerical, categorical, (3, 5), 4)
    assert out.shape == (6, encoder.n_inputs) == (6, 10)
    assert torch.equal(out, expected)
    upstream = torch.randn_like(out)
    (ours,) = torch.autograd.grad(out, encoder.embedding.weight, upstream)
    (theirs,) = torch.autograd.grad(expected, encoder.embedding.weight, upstream)
    assert torch.allclose(ours, theirs)


def test_ids_of_one_byte_do_not_overflow():
    encoder = Encoder(0, (200, 200), 1)
    out = encoder(torch.empty(1, 0), torch.tensor([[199, 199]], dtype=torch.uint8))
    assert torch.equal(out[0, 1], encoder.embedding.weight[399, 0])


def test_numerical_columns_pass_through():
    numerical = torch.randn(3, 4)
    encoder = Encoder(4, (), 2)
    assert encoder.n_inputs == 4
    assert encoder(numerical, torch.empty(3, 0, dtype=torch.uint8)) is numerical
    assert list(encoder.parameters()) == []


@given(st.integers(1, 60), st.integers(0, 2**32))
def test_a_lookup_holds_each_row_used_once(n_rows, seed):
    encoder = Encoder(1, (3, 9), 4, sparse=True)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(2):  # the second finds what the first left
        categorical = torch.stack([torch.randint(n, (n_rows,), generator=generator) for n in (3, 9)], dim=1)
        lookup = encoder.lookup(categorical)
        assert len(lookup.rows.unique()) == len(lookup.rows)
        assert torch.equal(lookup.rows[lookup.positions], (categorical + torch.tensor([0, 3])).flatten())
        numerical = torch.randn(n_rows, 1)
        used = encoder.embedding.weight[lookup.rows], lookup.positions
        assert torch.equal(encoder(numerical, categorical, used), encoder(numerical, categorical))


def test_there_is_no_lookup_unless_sparse():
    assert Encoder(1, (3,), 2).lookup(torch.zeros(4, 1, dtype=torch.int32)) is None
    assert Encoder(1, (), 2, sparse=True).lookup(torch.zeros(4, 0, dtype=torch.int32)) is None


def test_what_training_did_not_see_says_nothing():
    encoder = Encoder(0, (4, 5), 3, unseen=2)
    vectors = encoder(torch.empty(1, 0), torch.tensor([[2, 2]]))
    assert torch.equal(vectors, torch.zeros(1, 6))
    assert (encoder.embedding.weight != 0).any(dim=1).sum() == 7


@pytest.mark.parametrize("kind", ["piecewise_linear", "periodic"])
def test_numerical_embeddings(kind):
    values = torch.randn(200, 3)
    values[:, 1] = 7.0  # a constant column
    values[:, 2] = (values[:, 2] > 0).float()  # one with two values
    encoder = Encoder(3, (4,), 2, numerical=fitted({"kind": kind, "dim": 5}, values))
    assert encoder.n_inputs == 3 * 5 + 2
    out = encoder(values, torch.zeros(200, 1, dtype=torch.int32))
    assert out.shape == (200, 17)
    assert out.isfinite().all()
    out.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


def test_piecewise_linear_bins_are_quantiles_of_training():
    values = torch.arange(101.0)[:, None]
    (bins,) = fitted({"kind": "piecewise_linear", "n_bins": 4}, values)["bins"]
    assert bins == [0.0, 25.0, 50.0, 75.0, 100.0]
    assert fitted(None, values) is None
