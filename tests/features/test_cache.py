"""The cache: bit-equal, keyed by everything that matters, and never in the way."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import pickle

import numpy as np
import pytest
from features_data import ALL, ARGS, FAST, assert_equal, random_matrix

from recbole_universal.features import FeaturePipeline, cache
from recbole_universal.features.cache import ArrayCache, array_digest

KEY = {"data": "some", "args": {"n_bins": 3}}
ARRAYS = {"user": np.arange(6, dtype=np.float32).reshape(2, 3), "none": np.empty((0, 3)), "flag": np.array(True)}


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
def test_what_changes_the_key(tmp_path, changes, new_files):
    compute(tmp_path)
    assert_equal(compute(tmp_path, **changes), compute(None, **changes))
    assert len(files(tmp_path)) == 4 + new_files


def test_a_wider_matrix_is_other_data(tmp_path):
    matrix = random_matrix()
    compute(tmp_path, matrix)
    wide = matrix.copy()
    wide.resize(matrix.shape[0], matrix.shape[1] + 1)
    assert compute(tmp_path, wide)["activity"].item.shape[0] == matrix.shape[1] + 1


def test_versions_change_the_key(tmp_path, monkeypatch):
    compute(tmp_path)
    monkeypatch.setattr("recbole_universal.features.pipeline.CACHE_VERSION", 10**6)
    compute(tmp_path)
    assert len(files(tmp_path)) == 8


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def _truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def _other_values(path):
    with np.load(path) as file:
        arrays = dict(file)
    name = next(name for name in arrays if name in ("user", "embedding"))
    arrays[name] = arrays[name] + 1
    with path.open("wb") as file:
        np.savez(file, **arrays)


def _other_key(path):
    with np.load(path) as file:
        arrays = dict(file)
    metadata = json.loads(str(arrays["metadata"]))
    metadata["key"]["data"] = "other"
    arrays["metadata"] = np.array(json.dumps(metadata))
    with path.open("wb") as file:
        np.savez(file, **arrays)


def _other_form(path):
    """A file that is whole and has the right key, but not the arrays of a family."""
    with np.load(path) as file:
        metadata = json.loads(str(file["metadata"]))
    arrays = {"strange": np.zeros(3)}
    metadata["checksum"] = array_digest(arrays)
    with path.open("wb") as file:
        np.savez(file, metadata=np.array(json.dumps(metadata)), **arrays)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not ours"),
    "truncated": _truncated,
    "flipped byte": _flipped,
    "other values": _other_values,
    "other key": _other_key,
    "other form": _other_form,
    "no metadata": lambda path: np.savez(path, user=np.zeros(3)),
    "metadata no JSON": lambda path: np.savez(path, metadata=np.array("{")),
    "metadata no object": lambda path: np.savez(path, metadata=np.array("[]")),
    "single array": lambda path: np.save(path.open("wb"), np.zeros(3)),
    "pickle": lambda path: path.write_bytes(pickle.dumps(Bomb())),
    "pickle in metadata": lambda path: np.savez(path, metadata=np.array(Bomb(), dtype=object)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_files_are_rebuilt(tmp_path, damage, caplog):
    folder = tmp_path / "cache"
    expected = compute(folder)
    intact = files(folder)
    for path in folder.iterdir():
        damage(path)
    with caplog.at_level("WARNING"):
        assert_equal(compute(folder), expected)
    assert len(caplog.records) >= 3
    assert all("anew" in record.getMessage() for record in caplog.records)
    assert not (tmp_path / "exploded").exists()
    assert set(files(folder)) == set(intact)
    caplog.clear()
    assert compute(folder).seconds == {} and not caplog.records


def test_a_file_in_place_of_the_folder(tmp_path, caplog):
    folder = tmp_path / "cache"
    folder.write_text("in the way")
    with caplog.at_level("WARNING"):
        assert_equal(compute(folder), compute(None))
    (record,) = caplog.records
    assert str(folder) in record.getMessage() and "universal_cache_dir" in record.getMessage()
    assert folder.read_text() == "in the way"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("call", ["replace", "mkstemp"])
def test_full_or_read_only_folder(tmp_path, monkeypatch, caplog, code, call):
    def refuse(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(cache.os if call == "replace" else cache.tempfile, call, refuse)
    pipeline = FeaturePipeline(ALL, ARGS, cache_dir=tmp_path)
    with caplog.at_level("WARNING"):
        assert_equal(pipeline(random_matrix()), FeaturePipeline(ALL, ARGS)(random_matrix()))
        pipeline(random_matrix(seed=1))
    (record,) = caplog.records
    assert str(tmp_path) in record.getMessage() and os.strerror(code) in record.getMessage()
    assert files(tmp_path) == {}


def test_an_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(cache.np, "savez", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ArrayCache(tmp_path).store("x", KEY, ARRAYS)
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
    assert len(files(tmp_path)) == 4 and all(name.endswith(".npz") for name in files(tmp_path))
    assert compute(tmp_path).seconds == {}


def test_store_and_load(tmp_path):
    store = ArrayCache(tmp_path / "deep" / "folder")
    assert store.load("x", KEY) is None
    store.store("x", KEY, ARRAYS)
    loaded = store.load("x", KEY)
    assert array_digest(loaded) == array_digest(ARRAYS)
    assert store.load("y", KEY) is None and store.load("x", {**KEY, "seed": 1}) is None
    # Another entry under this one's file name is foreign.
    store.path("x", {"other": 1}).write_bytes(store.path("x", KEY).read_bytes())
    assert store.load("x", {"other": 1}) is None


def test_no_folder_no_cache():
    store = ArrayCache(None)
    store.store("x", KEY, ARRAYS)
    assert store.load("x", KEY) is None


def test_digest_covers_names_types_shapes_and_values():
    one = np.arange(6, dtype=np.int64)
    variants = [{"a": one}, {"b": one}, {"a": one.reshape(2, 3)}, {"a": one.astype(np.uint64)}, {"a": one + 1}, {}]
    assert len({array_digest(variant) for variant in variants}) == len(variants)
    assert array_digest({"a": one.reshape(2, 3).T}) == array_digest({"a": one.reshape(2, 3).T.copy()})
