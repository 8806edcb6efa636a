"""Arrays of a folder that fit no recommender, under a right checksum: an error at load, and never one later."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from test_recommender import fitted, state_of

from recbole_universal import Recommender
from recbole_universal.app import recommender_files
from recbole_universal.array_store import read_arrays, write_arrays

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module", params=["rec", "ordered", "universal-paper", "few users"])
def saved(request, tmp_path_factory):
    """A folder, and its arrays."""
    folder = tmp_path_factory.mktemp(request.param)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if request.param == "few users":
            rng = np.random.default_rng(0)
            frame = pd.DataFrame({"user": rng.integers(0, 12, 200), "item": rng.integers(0, 40, 200)})
            rec = Recommender.fit(frame.astype(str), model="universal-base", show_progress=False)
        elif request.param == "ordered":
            rec = fitted(model="universal-sequential", order="rows")
        else:
            rec = fitted() if request.param == "rec" else fitted(model="universal-paper")
    rec.save(folder)
    arrays, description = read_arrays(state_of(folder) / "arrays.safetensors", recommender_files._KEY)
    return folder, arrays, description


def changed(values: np.ndarray, change: str) -> np.ndarray:
    values = values.copy()
    if change == "shorter":
        return values[:-1]
    values.reshape(-1)[-1] = -7 if change == "negative" else 10**6
    return values


@pytest.mark.parametrize("change", ["negative", "large", "shorter"])
def test_an_error_comes_at_load_or_not_at_all(saved, change):
    folder, arrays, description = saved
    file = state_of(folder) / "arrays.safetensors"
    named = json.loads((folder / "recommender.json").read_text())
    refused = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, values in arrays.items():
            if values.dtype.kind not in "iu" or not values.ndim or not values.size:
                continue
            write_arrays(file, recommender_files._KEY, {**arrays, name: changed(values, change)}, description)
            named["bytes"]["arrays.safetensors"] = file.stat().st_size
            (folder / "recommender.json").write_text(json.dumps(named))
            try:
                rec = Recommender.load(folder)
            except ValueError as error:
                assert "is damaged: " in str(error), name
                refused.append(name)
                continue
            rec.recommend(k=4)
            rec.similar_items(rec.items[:3])
            if rec.ranker.network.ranks_candidates:
                rec.recommend(histories=[rec.items[:3].tolist()], k=4)
                rec.explain(rec.users[0], rec.items[0])
    assert "matrix.indptr" in refused and (change == "shorter" or "matrix.indices" in refused)
