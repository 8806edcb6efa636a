"""The feature cache: loaded features are bit-equal, the key is complete, and errors never stop a run."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os

import numpy as np
import pytest
from features_data import ALL, ARGS, FAST, assert_equal, random_matrix
from recbole.config import Config
from safetensors import safe_open

from recbole_universal import array_store
from recbole_universal import files as files_module
from recbole_universal.array_store import array_digest, write_arrays
from recbole_universal.features import FeaturePipeline
from recbole_universal.plugin.dataset import pipeline_from_config


def compute(folder, matrix=None, **changes):
    settings = {"families": ALL, "args": ARGS, "seed": 1, **changes}
    return FeaturePipeline(**settings, cache_dir=folder)(random_matrix() if matrix is None else matrix)


def files(folder) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_loading_equals_computing(tmp_path):
    computed = compute(tmp_path)
    before = files(tmp_path)
    loaded = compute(tmp_path)
    assert len(before) == 4 and files(tmp_path) == before
    assert {name.split("-")[0] for name in before} == {"node2vec", *ALL}
    assert_equal(computed, loaded)
    assert_equal(loaded, compute(None))
    assert loaded.seconds == {} and loaded.schema == computed.schema


def test_a_stored_embedding_serves_new_arguments_of_a_family(tmp_path):
    compute(tmp_path, families=["cooccurrence"])
    args = {**ARGS, "interaction": {"operator": "average"}}
    loaded = compute(tmp_path, families=["interaction"], args=args)
    assert "node2vec" not in loaded.seconds and len(files(tmp_path)) == 3
    assert_equal(loaded, compute(None, families=["interaction"], args=args))


@pytest.mark.parametrize(
    ("changes", "new_files"),
    [
        ({"seed": 2}, 3),
        ({"args": {**ARGS, "activity": {"n_bins": 5}}}, 1),
        ({"args": {**ARGS, "cooccurrence": {"n_bins": 4, "n_clusters": 3}}}, 1),
        ({"args": {**ARGS, "node2vec": {**FAST, "p": 0.5}}}, 3),
        ({"matrix": random_matrix(seed=1)}, 4),
        ({"matrix": random_matrix() * 2}, 4),
        ({"families": ALL[::-1]}, 0),
    ],
)
def test_each_change_gives_another_key(tmp_path, changes, new_files):
    compute(tmp_path)
    assert_equal(compute(tmp_path, **changes), compute(None, **changes))
    assert len(files(tmp_path)) == 4 + new_files


def test_a_wider_matrix_has_another_key(tmp_path):
    matrix = random_matrix()
    compute(tmp_path, matrix)
    wide = matrix.copy()
    wide.resize(matrix.shape[0], matrix.shape[1] + 1)
    assert compute(tmp_path, wide)["activity"].item.shape[0] == matrix.shape[1] + 1


def test_versions_change_the_key(tmp_path, monkeypatch):
    compute(tmp_path)
    monkeypatch.setattr("recbole_universal.features.computation.CACHE_VERSION", 10**6)
    compute(tmp_path)
    assert len(files(tmp_path)) == 8


def _changed(change):
    """Rewrite an intact file with the right key, a right checksum and other arrays."""

    def rewrite(path):
        with safe_open(path, framework="numpy") as file:
            key = json.loads(file.metadata()["key"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}
        write_arrays(path, key, change(arrays))

    return rewrite


def _with_nan(arrays):
    next(array for array in arrays.values() if array.dtype == np.float32).flat[0] = np.nan
    return arrays


def _with_nan_of_pairs(arrays):
    return _with_nan({name: array for name, array in arrays.items() if name == "pair.bins"} or arrays) and arrays


def _other_users_of_pairs(arrays):
    for name, array in arrays.items():
        arrays[name] = array[:-1] if name in ("pair.user_present", "pair.user_embedding", "pair.user_index") else array
    return arrays if any(name.startswith("pair.") for name in arrays) else {}


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "other arrays": _changed(lambda arrays: {"strange": np.zeros(3)}),
    "a column less": _changed(lambda arrays: {**arrays, next(iter(arrays)): next(iter(arrays.values()))[:, :-1]}),
    "NaN": _changed(_with_nan),
    "NaN of pairs": _changed(_with_nan_of_pairs),
    "other users of pairs": _changed(_other_users_of_pairs),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_files_are_replaced(tmp_path, damage, caplog):
    folder = tmp_path / "cache"
    expected = compute(folder)
    intact = files(folder)
    for path in folder.iterdir():
        damage(path)
    with caplog.at_level("WARNING"):
        assert_equal(compute(folder), expected)
    assert len(caplog.records) >= 3
    assert all("computed again" in record.getMessage() for record in caplog.records)
    assert set(files(folder)) == set(intact)
    caplog.clear()
    assert compute(folder).seconds == {} and not caplog.records


def test_a_file_with_the_name_of_the_folder(tmp_path, caplog):
    folder = tmp_path / "cache"
    folder.write_text("in the way")
    with caplog.at_level("WARNING"):
        assert_equal(compute(folder), compute(None))
    (record,) = caplog.records
    assert str(folder) in record.getMessage() and "universal_cache_dir" in record.getMessage()
    assert folder.read_text() == "in the way"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("call", ["replace", "open"])
def test_full_or_read_only_folder(tmp_path, monkeypatch, caplog, code, call):
    def refuse(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    if call == "open":
        monkeypatch.setattr(files_module, "_open_temporary", refuse)
    else:
        monkeypatch.setattr(files_module.os, "replace", refuse)
    pipeline = FeaturePipeline(ALL, ARGS, cache_dir=tmp_path)
    with caplog.at_level("WARNING"):
        assert_equal(pipeline(random_matrix()), FeaturePipeline(ALL, ARGS)(random_matrix()))
        pipeline(random_matrix(seed=1))
    (record,) = caplog.records
    assert str(tmp_path) in record.getMessage() and os.strerror(code) in record.getMessage()
    assert files(tmp_path) == {}


def _worker(folder, barrier, results):
    barrier.wait()
    results.put(array_digest({name: family.user for name, family in compute(folder).items()}))


def test_two_processes(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_worker, args=(tmp_path, barrier, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    digests = {results.get() for _ in workers}
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert digests == {array_digest({name: family.user for name, family in compute(None).items()})}
    assert len(files(tmp_path)) == 4 and all(name.endswith(".features.safetensors") for name in files(tmp_path))
    assert compute(tmp_path).seconds == {}


@pytest.mark.parametrize("bad", [-1, "many", True, float("nan"), [4]], ids=str)
def test_an_invalid_limit_is_refused(bad):
    with pytest.raises(ValueError, match="universal_cache_gb: must be a number of at least 0"):
        FeaturePipeline(ALL, ARGS, cache_gb=bad)


def test_the_limit_is_a_config_key(tiny, small_config):
    config = Config("UniversalMLP", "tiny", config_dict={**tiny, **small_config, "universal_cache_gb": 0})
    assert pipeline_from_config(config).cache.limit_gb == 0
    config = Config("UniversalMLP", "tiny", config_dict={**tiny, **small_config})
    assert pipeline_from_config(config).cache.limit_gb == 4


def test_features_that_another_process_removes_are_computed(tmp_path, monkeypatch, caplog):
    expected = compute(tmp_path)
    read = array_store.read_arrays

    def removed(path, key):
        path.unlink()
        return read(path, key)

    monkeypatch.setattr(array_store, "read_arrays", removed)
    assert_equal(compute(tmp_path), expected)
    assert not caplog.records
