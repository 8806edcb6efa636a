"""Arrays of a folder that fit no recommender, under a right checksum: an error at load, and never one later."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from test_recommender import fitted, state_of
from test_shown_new_items import ITEMS, ORDERS

from recbole_universal import Recommender
from recbole_universal.app import recommender_files
from recbole_universal.array_store import read_arrays, write_arrays

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module", params=["rec", "ordered", "universal-paper", "few users", "content"])
def saved(request, tmp_path_factory):
    """A folder, and its arrays."""
    folder = tmp_path_factory.mktemp(request.param)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if request.param == "few users":
            rng = np.random.default_rng(0)
            frame = pd.DataFrame({"user": rng.integers(0, 12, 200), "item": rng.integers(0, 40, 200)})
            rec = Recommender.fit(frame.astype(str), model="universal-base", show_progress=False)
        elif request.param == "content":
            rec = Recommender.fit(ORDERS, items=ITEMS, new_items=True, model="universal-base", show_progress=False)
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


def loaded_of(saved, arrays: dict[str, np.ndarray], name: str) -> Recommender | None:
    """The saved folder with other arrays, loaded; ``None`` if it is refused as damaged. ``name``: the array changed."""
    folder, _, description = saved
    file = state_of(folder) / "arrays.safetensors"
    write_arrays(file, recommender_files._KEY, arrays, description)
    named = json.loads((folder / "recommender.json").read_text())
    named["bytes"]["arrays.safetensors"] = file.stat().st_size
    (folder / "recommender.json").write_text(json.dumps(named))
    try:
        return Recommender.load(folder)
    except ValueError as error:
        assert "is damaged: " in str(error), name
        return None


@pytest.mark.parametrize("change", ["negative", "large", "shorter"])
def test_an_error_comes_at_load_or_not_at_all(saved, change):
    arrays, refused = saved[1], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, values in arrays.items():
            if values.dtype.kind not in "iu" or values.dtype.itemsize == 1 or not values.ndim or not values.size:
                continue
            rec = loaded_of(saved, {**arrays, name: changed(values, change)}, name)
            if rec is None:
                refused.append(name)
                continue
            rec.recommend(k=4)
            rec.similar_items(rec.items[:3])
            if rec.ranker.network.ranks_candidates:
                rec.recommend(histories=[rec.items[:3].tolist()], k=4)
                rec.explain(rec.users[0], rec.items[0])
    assert "matrix.indptr" in refused and (change == "shorter" or "matrix.indices" in refused)


@pytest.mark.parametrize("saved", ["content"], indirect=True)
@pytest.mark.parametrize("change", ["missing", "NaN", "another dimension"])
def test_arrays_of_content_that_no_fit_writes(saved, change):
    arrays = saved[1]
    names = [name for name in arrays if name.startswith(("new.", "check.co", "features.proximity.pair.content."))]
    assert len(names) > 20
    if change != "missing":  # texts are bytes
        kinds = {"NaN": ["f4", "f8"], "another dimension": ["f4", "f8", "i4", "i8"]}[change]
        names = [name for name in names if arrays[name].dtype in kinds]
    for name in names:
        values = {each: array for each, array in arrays.items() if each != name}
        if change != "missing":
            values[name] = np.full_like(arrays[name], np.nan) if change == "NaN" else arrays[name][..., None]
        rec = loaded_of(saved, values, name)
        if rec is not None:  # fast lists alone read the rates; an array of one number is a number
            assert name == "new.rates.fast" if change == "missing" else arrays[name].ndim == 0, name
            assert np.isfinite(rec.recommend(k=4, new_items=True)["score"]).all()
