import pytest
import torch

from tabnas import model
from tabnas.encoder import Encoder
from tabnas.network import Network
from tabnas.numerical import fitted
from tabnas.task import Classification, Regression


@pytest.mark.parametrize("embedded", [None, {"kind": "piecewise_linear", "n_bins": 3}, {"kind": "periodic"}])
@pytest.mark.parametrize("task", [Classification(("no", "yes")), Classification(("a", "b", "c")), Regression(2.0, 3.0)])
def test_a_saved_model_answers_as_before(tmp_path, task, embedded):
    spec = fitted(embedded, torch.randn(50, 2))
    encoder = Encoder(2, (3, 4), 5, numerical=spec)
    network = Network(encoder.n_inputs, (6, 3), task.n_outputs)
    made = model.Model(encoder, network)
    path = tmp_path / "network.pt"
    model.save(
        path, made.state_dict(), n_numerical=2, cardinalities=(3, 4), embedding_dim=5, numerical_embedding=spec,
        widths=(6, 3), dataset="small", task=task, encoding={"mean": [0.0, 1.0], "scale": [1.0, 2.0]},
    )  # fmt: skip
    loaded, about = model.load(path)
    numerical, categorical = torch.randn(7, 2), torch.randint(0, 3, (7, 2))
    assert torch.equal(loaded(numerical, categorical), made(numerical, categorical))
    assert about["task"] == task.name
    assert about.get("classes") == (list(task.classes) if isinstance(task, Classification) else None)
    assert about["widths"] == [6, 3]
    assert not loaded.training
    with pytest.raises(ValueError, match=r"expected \(2, 2\) numerical and categorical columns, got \(3, 2\)"):
        loaded(torch.randn(7, 3), categorical)
