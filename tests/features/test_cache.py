"""The cache: bit-equal, keyed by everything that matters, and never in the way."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import pickle
import time

import numpy as np
import pytest
from features_data import ALL, ARGS, FAST, assert_equal, random_matrix
from recbole.config import Config

from recbole_universal import files as files_module
from recbole_universal.features import FeaturePipeline, cache
from recbole_universal.features.cache import ArrayCache, array_digest
from recbole_universal.files import atomic_write
from recbole_universal.plugin.dataset import pipeline_from_config

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


def entry(store: ArrayCache, number: int, size: int = 1000) -> dict:
    key = {"number": number}
    store.store("x", key, {"a": np.full(size, number, dtype=np.uint8)})
    return key


def test_what_was_not_used_for_the_longest_time_goes_first(tmp_path, monkeypatch):
    measured = ArrayCache(tmp_path / "one")
    size = measured.path("x", entry(measured, 0)).stat().st_size
    store = ArrayCache(tmp_path, limit_gb=3.5 * size / 10**9)
    others = ["mine.npz", f"mine-{'0' * 32}.npz"]
    for name in others:
        (tmp_path / name).write_bytes(b"x" * 10**5)
        os.utime(tmp_path / name, (0, 0))
    lists = ArrayCache(tmp_path, limit_gb=None, suffix=".npz")
    of_lists = entry(lists, 0, 10**5)
    keys = []
    for number in range(3):
        keys.append(entry(store, number))
        old = time.time_ns() - 10**10 * (10 - number)
        os.utime(store.path("x", keys[-1]), ns=(old, old))
    with monkeypatch.context() as patch:  # reading changes the time too, but not on every disk
        patch.setattr(cache, "read_arrays", lambda path, key: ARRAYS)
        assert store.load("x", keys[0]) is not None  # now the newest
    keys.append(entry(store, 3))
    assert [store.load("x", key) is not None for key in keys] == [True, False, True, True]
    assert set(others) < set(files(tmp_path)) and lists.load("x", of_lists) is not None


def test_limits(tmp_path, caplog):
    for limit, n_kept in ((None, 20), (0.5e-6, 0)):
        store = ArrayCache(tmp_path / str(limit), limit_gb=limit)
        keys = [entry(store, number) for number in range(20)]
        assert sum(store.load("x", key) is not None for key in keys) == n_kept
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    for bad in (-1, "many", True, float("nan"), [4]):
        with pytest.raises(ValueError, match="universal_cache_gb: must be a number of at least 0"):
            FeaturePipeline(ALL, ARGS, cache_gb=bad)


def test_the_limit_is_a_config_key(tiny, small_config):
    config = Config("UniversalMLP", "tiny", config_dict={**tiny, **small_config, "universal_cache_gb": 0})
    assert pipeline_from_config(config).cache._limit == 0
    config = Config("UniversalMLP", "tiny", config_dict={**tiny, **small_config})
    assert pipeline_from_config(config).cache._limit == 4 * 10**9


def test_an_entry_that_another_process_removes(tmp_path, monkeypatch, caplog):
    expected = compute(tmp_path)
    read = cache.read_arrays

    def removed(path, key):
        path.unlink()
        return read(path, key)

    monkeypatch.setattr(cache, "read_arrays", removed)
    assert_equal(compute(tmp_path), expected)
    assert not caplog.records
    monkeypatch.setattr(cache, "read_arrays", read)
    unlink = type(tmp_path).unlink

    def gone(path, missing_ok=False):
        unlink(path)
        return unlink(path, missing_ok)

    monkeypatch.setattr(type(tmp_path), "unlink", gone)
    store = ArrayCache(tmp_path / "other", limit_gb=1e-6)  # room for one, not for its metadata too
    keys = [entry(store, number) for number in range(3)]
    assert [store.load("x", key) is not None for key in keys] == [False, False, True] and not caplog.records


def test_a_new_entry_that_another_process_removes(tmp_path, monkeypatch, caplog):
    write = cache.write_arrays

    def written_and_removed(path, key, arrays):
        write(path, key, arrays)
        path.unlink()

    store = ArrayCache(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(cache, "write_arrays", written_and_removed)
        assert store.load("x", entry(store, 0)) is None
    assert store.load("x", entry(store, 1)) is not None and not caplog.records


def test_old_temporary_files_are_removed(tmp_path):
    store = ArrayCache(tmp_path)
    stem = store.path("proximity", KEY).name.removesuffix(".features.npz")
    with atomic_write(tmp_path / "a", nameless=False):
        (name,) = files(tmp_path)
    (tmp_path / "a").unlink()
    left = [f".{stem}-abc_1234.tmp", name]
    others = [
        f".{stem}-abc.tmp",
        ".mine-abcd1234.tmp",
        ".0123456789abcdef.tmp",
        f"{stem}-abcd1234.tmp",
        ".out.csv.77.tmp",
    ]
    for name in (*left, *others):
        (tmp_path / name).touch()
    entry(store, 0)
    assert set(left) < set(files(tmp_path))  # a process may still be writing
    for name in (*left, *others):
        os.utime(tmp_path / name, (0, time.time() - 25 * 60 * 60))
    entry(store, 1)
    assert set(files(tmp_path)) & {*left, *others} == set(others)
