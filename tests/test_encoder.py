import torch

from tabnas.encoder import Encoder


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
