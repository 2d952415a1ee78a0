"""The reference builds without a warning, which would be an error here, and has the public names."""

import pytest

from tabnas import reference


@pytest.mark.slow
def test_pages(tmp_path):
    assert reference.main([str(tmp_path)]) == 0
    pages = {page.relative_to(tmp_path).as_posix(): page.read_text() for page in tmp_path.rglob("*.html")}
    for page, names in {
        "tabnas.html": ("TabNASClassifier", "TabNASRegressor"),
        "tabnas/space.html": ("SearchSpace",),
        "tabnas/feasibility.html": ("ChainProgram", "Enumeration", "MonteCarlo"),
        "tabnas/predict.html": ("Predictor",),
        "tabnas/export.html": ("export",),
        "tabnas/data/table.html": ("Table", "Rows"),
    }.items():
        for name in names:
            assert f'id="{name}"' in pages[page], f"{page} lacks {name}"


def test_without_the_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reference, "find_spec", lambda name: None)
    assert reference.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("tabnas: error: pdoc: must be installed")
