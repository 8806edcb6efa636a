"""The array store: each entry is complete, has its key and is within the limit, or is missing."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from safetensors import safe_open

from recbole_universal import array_store
from recbole_universal import files as files_module
from recbole_universal.array_store import ArrayStore, array_digest, canonical_json, read_arrays, write_arrays
from recbole_universal.files import atomic_write

KEY = {"data": "some", "args": {"n_bins": 3}}
ARRAYS = {
    "user": np.arange(6, dtype=np.float32).reshape(2, 3),
    "none": np.empty((0, 3)),
    "flag": np.array(True),
    "transposed": np.arange(6, dtype=np.float16).reshape(2, 3).T,
    "every second": np.arange(9, dtype=np.uint8)[::2],
}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def entry(store: ArrayStore, index: int, size: int = 1000) -> dict:
    """Store an entry; its key."""
    key = {"index": index}
    store.store("x", key, {"a": np.full(size, index, dtype=np.uint8)})
    return key


# Content


def test_store_and_load(tmp_path):
    store = ArrayStore(tmp_path / "deep" / "folder")
    assert store.load("x", KEY) is None
    store.store("x", KEY, ARRAYS)
    assert array_digest(store.load("x", KEY)) == array_digest(ARRAYS)
    assert store.load("y", KEY) is None and store.load("x", {**KEY, "seed": 1}) is None


@pytest.mark.parametrize("type_name", array_store._DTYPES)
def test_every_type_is_read_as_it_was_written(tmp_path, type_name):
    values = np.arange(12).reshape(3, 4).astype(type_name)
    write_arrays(tmp_path / "file", KEY, {"a": values})
    (loaded,) = read_arrays(tmp_path / "file", KEY)[0].values()
    assert loaded.dtype == values.dtype and loaded.flags.writeable
    np.testing.assert_array_equal(loaded, values)


def test_a_type_that_safetensors_lacks_is_named(tmp_path):
    for values in (np.array(["text"]), np.array([{}]), np.array([1], dtype=">i4")):
        with pytest.raises(ValueError, match="'words'"):
            write_arrays(tmp_path / "file", KEY, {"a": np.ones(1), "words": values})
    assert names(tmp_path) == set()


def test_an_entry_is_a_safetensors_file_with_its_key(tmp_path):
    store = ArrayStore(tmp_path)
    store.store("x", KEY, ARRAYS)
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("x-") and file.name.endswith(".features.safetensors")
    assert array_digest(safetensors.numpy.load_file(file)) == array_digest(ARRAYS)
    with safe_open(file, framework="numpy") as opened:
        assert json.loads(opened.metadata()["key"]) == KEY


def test_the_description_is_read_back(tmp_path):
    description = {"epoch": 3, "metrics": {"one": 0.25}, "none": None}
    write_arrays(tmp_path / "file", KEY, {}, description)
    assert read_arrays(tmp_path / "file", KEY) == ({}, description)


def test_digest_covers_names_types_shapes_and_values():
    one = np.arange(6, dtype=np.int64)
    variants = [{"a": one}, {"b": one}, {"a": one.reshape(2, 3)}, {"a": one.astype(np.uint64)}, {"a": one + 1}, {}]
    assert len({array_digest(variant) for variant in variants}) == len(variants)
    assert array_digest({"a": one.reshape(2, 3).T}) == array_digest({"a": one.reshape(2, 3).T.copy()})


def test_no_folder_stores_nothing():
    store = ArrayStore(None)
    store.store("x", KEY, ARRAYS)
    assert store.load("x", KEY) is None
    assert store.get("x", KEY, lambda: ARRAYS) is ARRAYS


def test_get_computes_once(tmp_path):
    computed = []

    def compute():
        computed.append(1)
        return ARRAYS

    store = ArrayStore(tmp_path)
    for _ in range(2):
        assert array_digest(store.get("../so/urce", KEY, compute)) == array_digest(ARRAYS)
    assert computed == [1] and len(names(tmp_path)) == 1


# Damage


class Bomb:
    """A pickle that makes a folder when it is opened."""

    def __reduce__(self):
        return os.mkdir, ("exploded",)


def flipped(position: float):
    """Change one bit, at a relative position from 0 to 1."""

    def flip(path):
        content = bytearray(path.read_bytes())
        content[round(position * (len(content) - 1))] ^= 1
        path.write_bytes(content)

    return flip


def other_header(change):
    """Rewrite the file by safetensors itself, with another header."""

    def rewrite(path):
        with safe_open(path, framework="numpy") as file:
            header = file.metadata()
        arrays = safetensors.numpy.load_file(path)
        change(header, arrays)
        safetensors.numpy.save_file({n: np.ascontiguousarray(a) for n, a in arrays.items()}, path, metadata=header)

    return rewrite


def _longer_header(path):
    content = path.read_bytes()
    path.write_bytes((2**62).to_bytes(8, "little") + content[8:])


def _larger_shape(path):
    path.write_bytes(path.read_bytes().replace(b'"shape":[2,3]', b'"shape":[9,9]'))


def crafted(dtype: str = "U8", description: str | None = "null"):
    """Write a file by hand with the right key and checksum, of one array of a type; ``None``: no description."""

    def write(path):
        metadata = {"key": canonical_json(KEY)} | ({} if description is None else {"description": description})
        checksum = array_store._checksum(metadata["key"], description or "", {"a": np.zeros(2, dtype=np.uint8)})
        array = {"dtype": dtype, "shape": [1 if dtype == "BF16" else 2], "data_offsets": [0, 2]}
        header = json.dumps({"__metadata__": {**metadata, "checksum": checksum}, "a": array}).encode()
        header += b" " * (-len(header) % 8)
        path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")

    return write


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not ours"),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "last byte missing": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "header without end": _longer_header,
    "larger shape": _larger_shape,
    "other values": other_header(lambda header, arrays: arrays.update(user=arrays["user"] + 1)),
    "other name": other_header(lambda header, arrays: arrays.update(more=arrays.pop("user"))),
    "other key": other_header(lambda header, arrays: header.update(key=canonical_json({**KEY, "data": "other"}))),
    "other description": other_header(lambda header, arrays: header.update(description='"other"')),
    "description no JSON": other_header(lambda header, arrays: header.update(description="{")),
    "no description": other_header(lambda header, arrays: header.pop("description")),
    "no checksum": other_header(lambda header, arrays: header.pop("checksum")),
    "no key": other_header(lambda header, arrays: header.pop("key")),
    "no metadata": lambda path: safetensors.numpy.save_file({"user": np.zeros(3)}, path),
    "npz": lambda path: np.savez(path.open("wb"), user=np.zeros(3)),
    "pickle": lambda path: path.write_bytes(pickle.dumps(Bomb())),
    "pickle in an array": other_header(
        lambda header, arrays: arrays.update(user=np.frombuffer(pickle.dumps(Bomb()), dtype=np.uint8))
    ),
    "bfloat16": crafted("BF16"),
    "float8": crafted("F8_E4M3"),
    "no description, right checksum": crafted(description=None),
    "deep description": crafted(description="[" * 10**5),
    **{f"bit at {place}": flipped(place) for place in (0.0, 0.002, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)},
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_entry_is_computed_again_with_one_warning(tmp_path, damage, caplog):
    store = ArrayStore(tmp_path)
    store.store("x", KEY, ARRAYS)
    (file,) = tmp_path.iterdir()
    intact = file.read_bytes()
    damage(file)
    assert file.read_bytes() != intact
    loaded = store.get("x", KEY, lambda: ARRAYS)
    assert array_digest(loaded) == array_digest(ARRAYS) and not Path("exploded").exists()
    (record,) = caplog.records
    assert str(file) in record.getMessage() and "computed again" in record.getMessage()
    assert file.read_bytes() == intact
    caplog.clear()
    assert array_digest(store.load("x", KEY)) == array_digest(ARRAYS) and not caplog.records


def test_every_single_bit_counts(tmp_path):
    """A change of any bit raises ValueError or changes neither arrays nor description."""
    file = tmp_path / "file"
    write_arrays(file, KEY, ARRAYS, {"epoch": 1})
    intact = file.read_bytes()
    for index in range(len(intact)):
        file.write_bytes(intact[:index] + bytes([intact[index] ^ 1 << index % 8]) + intact[index + 1 :])
        try:
            arrays, description = read_arrays(file, KEY)
        except ValueError:
            continue
        assert array_digest(arrays) == array_digest(ARRAYS) and description == {"epoch": 1}


def test_an_entry_under_the_name_of_another_is_computed_again(tmp_path, caplog):
    store = ArrayStore(tmp_path)
    store.store("x", KEY, ARRAYS)
    store.path("x", {"other": 1}).write_bytes(store.path("x", KEY).read_bytes())
    assert store.load("x", {"other": 1}) is None
    assert "belongs to other data" in caplog.text


def test_a_named_pipe_in_place_of_an_entry_is_not_opened(tmp_path, caplog):
    store = ArrayStore(tmp_path)
    path = store.path("x", KEY)
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)  # so that a reader does not wait
    try:
        assert store.get("x", KEY, lambda: ARRAYS) is ARRAYS
    finally:
        os.close(writer)
    first, second = (record.getMessage() for record in caplog.records)
    assert "no regular file" in first and "Remove what is in its place" in second
    assert names(tmp_path) == {path.name}


@pytest.mark.parametrize("content", ["a letter", None])
def test_the_target_of_a_link_in_place_of_an_entry_stays(tmp_path, content):
    store = ArrayStore(tmp_path / "cache")
    path, target = store.path("x", KEY), tmp_path / "letter"
    path.parent.mkdir()
    path.symlink_to(target)
    if content is not None:
        target.write_text(content)
    store.get("x", KEY, lambda: ARRAYS)
    assert (target.read_text() if target.exists() else None) == content
    assert not path.is_symlink() and array_digest(store.load("x", KEY)) == array_digest(ARRAYS)


@pytest.mark.parametrize("error", [KeyError("user"), ValueError("wrong"), TypeError(), IndexError(), RuntimeError()])
def test_an_entry_of_another_form_is_computed_again(tmp_path, caplog, error):
    store = ArrayStore(tmp_path)
    store.store("x", KEY, {"strange": np.zeros(1)})

    def convert(arrays):
        if "strange" in arrays:
            raise error
        return arrays["user"]

    for _ in range(2):
        assert store.get("x", KEY, lambda: ARRAYS, convert) is not None
    (record,) = caplog.records
    assert str(store.path("x", KEY)) in record.getMessage() and "computed again" in record.getMessage()
    assert str(error) in record.getMessage()


# The folder


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_is_one_warning(tmp_path, monkeypatch, caplog, code):
    def refuse(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files_module, "_open_temporary", refuse)
    store = ArrayStore(tmp_path, config_key="my_key")
    for index in range(3):
        entry(store, index)
    (record,) = caplog.records
    for text in (str(tmp_path), os.strerror(code), "my_key"):
        assert text in record.getMessage()
    assert names(tmp_path) == set()


@pytest.mark.parametrize("block", ["read-only file", "folder"])
def test_an_entry_that_cannot_be_written_leaves_the_others(tmp_path, caplog, block):
    store = ArrayStore(tmp_path)
    path = store.path("x", {"index": 0})
    if block == "folder":
        path.mkdir()
    else:
        path.touch(0o444)
    entry(store, 0)
    (record,) = caplog.records
    assert str(path) in record.getMessage() and "in its place" in record.getMessage()
    assert store.config_key not in record.getMessage()
    caplog.clear()
    assert store.load("x", entry(store, 1)) is not None and not caplog.records


@pytest.mark.parametrize("letter", ["n", "\u4e2d"])
def test_a_label_may_be_longer_than_a_file_name(tmp_path, caplog, letter):
    store = ArrayStore(tmp_path, limit_gb=3e-6)
    for number in range(3):
        store.store(letter * 250, {"number": number}, {"a": np.full(1000, number, dtype=np.uint8)})
    assert store.load(letter * 250, {"number": 2})["a"][0] == 2 and not caplog.records
    assert len(names(tmp_path)) == 2 and all(len(name.encode()) <= 143 for name in names(tmp_path))


@pytest.mark.parametrize("limit", [1.0, None])
def test_a_full_disk_loses_the_least_recently_used_entries(tmp_path, monkeypatch, caplog, limit):
    def full(path, key, arrays):
        if len(names(tmp_path)) >= 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_arrays(path, key, arrays)

    monkeypatch.setattr(array_store, "write_arrays", full)
    store = ArrayStore(tmp_path, limit_gb=limit)
    keys = []
    for number in range(3):
        keys.append(entry(store, number))
        if store.path("x", keys[-1]).exists():
            os.utime(store.path("x", keys[-1]), (number, number))
    present = [store.path("x", key).exists() for key in keys]
    assert present == ([True, True, False] if limit is None else [False, True, True])
    assert len(caplog.records) == (limit is None)


def test_a_folder_that_cannot_be_read_is_computed_past(tmp_path, monkeypatch, caplog):
    store = ArrayStore(tmp_path)
    store.store("x", KEY, ARRAYS)

    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", refuse)
    assert store.load("x", KEY) is None
    assert os.strerror(errno.EACCES) in caplog.text


def test_an_entry_has_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        entry(ArrayStore(tmp_path), 0)
    finally:
        os.umask(before)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o640


def test_an_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(array_store, "_bytes_of", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ArrayStore(tmp_path).store("x", KEY, ARRAYS)
    assert names(tmp_path) == set()


def _write_and_read(folder, index, barrier, results):
    barrier.wait()
    store = ArrayStore(folder, limit_gb=5e-6)  # five of the twelve entries
    wrong = 0
    for k in range(60):
        expected = np.full(800, k % 12, dtype=np.uint8)
        values = store.get("x", {"index": k % 12}, lambda expected=expected: {"a": expected})["a"]
        wrong += not np.array_equal(values, expected)
    results.put((index, wrong))


def test_processes_share_a_folder(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_write_and_read, args=(tmp_path, n, barrier, results)) for n in range(2)]
    for worker in workers:
        worker.start()
    answers = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert sorted(answers) == [(0, 0), (1, 0)]
    assert 1 <= len(names(tmp_path)) <= 6 and all(name.endswith(".safetensors") for name in names(tmp_path))


# The limit


def test_the_least_recently_used_entry_is_removed_first(tmp_path, monkeypatch):
    measured = ArrayStore(tmp_path / "one")
    size = measured.path("x", entry(measured, 0)).stat().st_size
    store = ArrayStore(tmp_path, limit_gb=3.5 * size / 10**9)
    others = ["mine.safetensors", f"mine-{'0' * 32}.safetensors", f"mine-{'0' * 32}.npz"]
    for name in others:
        (tmp_path / name).write_bytes(b"x" * 10**5)
        os.utime(tmp_path / name, (0, 0))
    lists = ArrayStore(tmp_path, limit_gb=None, namespace="lists")
    of_lists = entry(lists, 0, 10**5)
    keys = []
    for index in range(3):
        keys.append(entry(store, index))
        old = time.time_ns() - 10**10 * (10 - index)
        os.utime(store.path("x", keys[-1]), ns=(old, old))
    with monkeypatch.context() as patch:  # reading changes the time too, but not on every disk
        patch.setattr(array_store, "read_arrays", lambda path, key: (ARRAYS, None))
        assert store.load("x", keys[0]) is not None  # now the most recently used
    keys.append(entry(store, 3))
    assert [store.load("x", key) is not None for key in keys] == [True, False, True, True]
    assert set(others) < names(tmp_path) and lists.load("x", of_lists) is not None


def test_entries_of_version_0_1_0_count_for_the_limit_and_are_removed(tmp_path):
    store = ArrayStore(tmp_path, limit_gb=3e-6)
    old = [tmp_path / f"proximity-{digit * 32}.features.npz" for digit in "ab"]
    for index, path in enumerate(old):
        path.write_bytes(b"x" * 1200)
        os.utime(path, (index, index))
    entry(store, 0)
    assert [path.exists() for path in old] == [False, True]
    entry(store, 1)
    assert not old[1].exists() and len(names(tmp_path)) == 2


@pytest.mark.parametrize(("limit", "n_stored"), [(None, 20), (0.5e-6, 0)])
def test_limits(tmp_path, caplog, limit, n_stored):
    store = ArrayStore(tmp_path, limit_gb=limit)
    keys = [entry(store, index) for index in range(20)]
    assert sum(store.load("x", key) is not None for key in keys) == n_stored
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_entries_that_another_process_removes_at_the_same_time(tmp_path, monkeypatch, caplog):
    unlink = type(tmp_path).unlink

    def gone(path, missing_ok=False):
        unlink(path)
        return unlink(path, missing_ok)

    monkeypatch.setattr(type(tmp_path), "unlink", gone)
    store = ArrayStore(tmp_path / "other", limit_gb=1e-6)  # the arrays of one entry; its file is larger
    keys = [entry(store, index) for index in range(3)]
    assert [store.load("x", key) is not None for key in keys] == [False, False, True] and not caplog.records


def test_a_new_entry_that_another_process_removes(tmp_path, monkeypatch, caplog):
    write = array_store.write_arrays

    def written_and_removed(path, key, arrays):
        write(path, key, arrays)
        path.unlink()

    store = ArrayStore(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(array_store, "write_arrays", written_and_removed)
        assert store.load("x", entry(store, 0)) is None
    assert store.load("x", entry(store, 1)) is not None and not caplog.records


def test_old_temporary_files_are_removed(tmp_path):
    store = ArrayStore(tmp_path)
    stem = store.path("proximity", KEY).name.removesuffix(".features.safetensors")
    with atomic_write(tmp_path / "a", nameless=False):
        (name,) = names(tmp_path)
    (tmp_path / "a").unlink()
    ours = [f".{stem}-abc_1234.tmp", name]
    others = [
        f".{stem}-abc.tmp",
        ".mine-abcd1234.tmp",
        ".0123456789abcdef.tmp",
        f"{stem}-abcd1234.tmp",
        ".out.csv.77.tmp",
    ]
    for name in (*ours, *others):
        (tmp_path / name).touch()
    entry(store, 0)
    assert set(ours) < names(tmp_path)  # a process may still be writing
    for name in (*ours, *others):
        os.utime(tmp_path / name, (0, time.time() - 25 * 60 * 60))
    entry(store, 1)
    assert names(tmp_path) & {*ours, *others} == set(others)
