"""Files as fetch_openml keeps them: a data_home that has a table, so that nothing is fetched."""

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd


def seed_cache(data_home: Path, data_id: int, frame: pd.DataFrame, targets: tuple[str, ...], ignored: str = "") -> None:
    """Put the frame there as OpenML's table `data_id`: ARFF and three JSON documents, gzipped."""
    arff = _arff(frame)
    features = [
        {
            "index": str(i),
            "name": name,
            "data_type": "nominal" if _is_nominal(column) else "numeric",
            "is_target": _truth(name in targets),
            "is_ignore": _truth(name == ignored),
            "is_row_identifier": "false",
            "number_of_missing_values": str(int(column.isna().sum())),
            **({"nominal_value": list(column.cat.categories)} if _is_nominal(column) else {}),
        }
        for i, (name, column) in enumerate(frame.items())
    ]
    description = {
        "id": str(data_id),
        "name": f"made-up-{data_id}",
        "description": "Made up.",
        "version": "1",
        "format": "ARFF",
        "status": "active",
        "file_id": str(data_id),
        "url": f"https://api.openml.org/data/v1/download/{data_id}",
        "md5_checksum": hashlib.md5(arff).hexdigest(),
        "default_target_attribute": ",".join(targets),
    }
    qualities = [{"name": "NumberOfInstances", "value": str(float(len(frame)))}]
    api = "api/v1/json/data"
    for path, content in {
        f"{api}/{data_id}": _json({"data_set_description": description}),
        f"{api}/features/{data_id}": _json({"data_features": {"feature": features}}),
        f"{api}/qualities/{data_id}": _json({"data_qualities": {"quality": qualities}}),
        f"data/v1/download/{data_id}": arff,
    }.items():
        file = data_home / "openml" / "openml.org" / f"{path}.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(content))


def made_up(data_id: int, n_rows: int = 400) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """A small stand-in for one of the paper's tables, and its target: as many columns and (of enough rows) classes."""
    rng = np.random.default_rng(data_id)
    n_numerical, n_classes = {41166: (180, 10), 42396: (128, 1000), 23512: (28, 2), 40668: (0, 3)}[data_id]
    n_classes = min(n_classes, n_rows // 8)
    columns = {f"V{i + 1}": rng.standard_normal(n_rows).round(4) for i in range(n_numerical)}
    if data_id == 40668:
        columns |= {
            f"{c}{r}": pd.Categorical(rng.choice(["0", "1", "2"], n_rows)) for c in "abcdefg" for r in range(1, 7)
        }
    if data_id == 41166:
        columns["V7"] = np.zeros(n_rows)
    if data_id == 23512:
        columns["V20"][3] = np.nan
    labels = [str(i % n_classes) for i in range(n_rows)]
    return pd.DataFrame({**columns, "class": pd.Categorical(labels)}), ("class",)


def _is_nominal(column: pd.Series) -> bool:
    return isinstance(column.dtype, pd.CategoricalDtype)


def _arff(frame: pd.DataFrame) -> bytes:
    lines = ["@RELATION made-up"]
    for name, column in frame.items():
        kind = "{" + ",".join(column.cat.categories) + "}" if _is_nominal(column) else "NUMERIC"
        lines.append(f"@ATTRIBUTE {name} {kind}")
    data = frame.to_csv(index=False, header=False, na_rep="?", lineterminator="\n")
    return ("\n".join([*lines, "@DATA", ""]) + data).encode()


def _json(content: object) -> bytes:
    return json.dumps(content).encode()


def _truth(value: bool) -> str:
    return str(value).lower()
