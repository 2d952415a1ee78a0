import pytest
import torch

from tabnas import model
from tabnas.encoder import Encoder
from tabnas.network import Network


@pytest.mark.parametrize("classes", [("no", "yes"), ("a", "b", "c")])
def test_a_saved_model_answers_as_before(tmp_path, classes):
    encoder = Encoder(2, (3, 4), 5)
    network = Network(encoder.n_inputs, (6, 3), 1 if len(classes) == 2 else len(classes))
    made = model.Model(encoder, network)
    path = tmp_path / "network.pt"
    model.save(
        path, made.state_dict(), n_numerical=2, cardinalities=(3, 4), embedding_dim=5, widths=(6, 3), dataset="small",
        classes=classes, scaling={"mean": [0.0, 1.0], "scale": [1.0, 2.0]},
    )  # fmt: skip
    loaded, about = model.load(path)
    numerical, categorical = torch.randn(7, 2), torch.randint(0, 3, (7, 2))
    assert torch.equal(loaded(numerical, categorical), made(numerical, categorical))
    assert about["classes"] == list(classes)
    assert about["widths"] == [6, 3]
    assert not loaded.training
    with pytest.raises(ValueError, match=r"expected \(2, 2\) numerical and categorical columns, got \(3, 2\)"):
        loaded(torch.randn(7, 3), categorical)
