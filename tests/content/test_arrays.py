from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_universal.content.arrays import item_vectors

ITEMS = pd.Index(["a", "b", "c"])
VECTORS = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32)


def written(folder, ending) -> str:
    path = folder / f"vectors{ending}"
    frame = pd.DataFrame({"item_id": list("cab"), "x": [5, 1, 3], "y": [6, 2, 4]})
    if ending == ".npz":
        np.savez(path, ids=np.array(list("cab")), feat=VECTORS[[2, 0, 1]])
    elif ending == ".npy":
        np.save(path, VECTORS[[2, 0, 1]])
        path.with_suffix(".ids").write_text("c\na\nb\n")
    elif ending == ".parquet":
        pd.DataFrame({"item_id": list("cab"), "v": [[5, 6], [1, 2], [3, 4]]}).to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="," if ending == ".csv" else "\t")
    return str(path)


@pytest.mark.parametrize("ending", [".npz", ".npy", ".csv", ".tsv", ".parquet"])
def test_files_are_read_by_id(tmp_path, ending):
    assert (item_vectors(written(tmp_path, ending), ITEMS) == VECTORS).all()


@pytest.mark.parametrize(
    "source", [VECTORS, dict(zip("abc", VECTORS, strict=True)), (["b", "c", "a"], VECTORS[[1, 2, 0]]), VECTORS.tolist()]
)
def test_objects(source):
    assert (item_vectors(source, ITEMS) == VECTORS).all()


def test_items_without_a_vector_get_zeros_and_other_ids_are_left_out():
    found = item_vectors({"b": [1.0, 1.0], "x": [2.0, 2.0]}, ITEMS)
    assert found.tolist() == [[0, 0], [1, 1], [0, 0]]


def test_ids_of_another_type_match():
    assert item_vectors({"1": [1.0], "2": [2.0]}, pd.Index([2, 1])).tolist() == [[2], [1]]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"a": [1.0, np.nan], "b": [1.0, 2.0]}, r"1 of 2 vectors hold NaN or infinity, the first in row 0"),
        ({"a": [1.0, 1e300]}, r"NaN or infinity"),
        ({"a": [1.0], "b": [1.0, 2.0]}, r"differ in length"),
        ((["a", "a"], [[1.0], [2.0]]), r"the id \[?'?a'?\]? is there twice"),
        ((["a"], [[1.0], [2.0]]), r"1 ids for 2 vectors"),
        ({"x": [1.0]}, r"no id is an item"),
        (VECTORS[:2], r"2 rows for 3 items"),
        ({"a": "picture"}, r"no list of numbers"),
        (np.ones((3, 0)), r"must be an array \[n, dim\]"),
        ([["x"], ["y"], ["z"]], r"no numbers"),
        (np.ones((3, 2), dtype=complex), r"complex numbers"),
        (np.full((3, 2), np.datetime64("2020-01-01")), r"holds times"),
        (torch.ones((3, 2), requires_grad=True), r"no numbers: .*detach"),
        (torch.ones((3, 2)).bfloat16(), r"no numbers: .*BFloat16"),
        (np.full((3, 2), np.longdouble("1e4000")), r"3 of 3 vectors hold NaN or infinity"),
        ([[10**400]] * 3, r"no numbers: 'int too large"),
        ({"a": [1.0], None: [2.0]}, r"1 of 2 ids are missing or no text, the first in row 1"),
        ({"a": [1.0], float("nan"): [2.0]}, r"ids are missing"),
        ((["", "a"], [[1.0], [2.0]]), r"ids are missing or no text, the first in row 0"),
        ((["a", "\ud800"], [[1.0], [2.0]]), r"ids are missing or no text, the first in row 1"),
        (([], np.ones((0, 2))), r"holds no vector"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_bad_vectors(source, message):
    with pytest.raises(ValueError, match=message):
        item_vectors(source, ITEMS, "images")


def test_whole_numbers_with_a_point_are_whole():
    assert item_vectors(([1.0, 2.0], [[1.0], [2.0]]), pd.Index([2, 1])).tolist() == [[2], [1]]


@pytest.mark.parametrize(("header", "fits"), [("item,0,1", True), ("item,v0.5,x", True), ("z,.5,0.25", False)])
def test_a_table_needs_names_of_columns(tmp_path, header, fits):
    path = tmp_path / "x.csv"
    path.write_text(f"{header}\na,1,2\nb,3,4\nc,5,6\n")
    if fits:
        assert (item_vectors(path, ITEMS) == VECTORS).all()
    else:
        with pytest.raises(ValueError, match="its first row holds numbers; give the columns names"):
            item_vectors(path, ITEMS)


def test_a_text_called_an_array_file_gets_no_advice_to_load_it_unsafely(tmp_path):
    (tmp_path / "x.npz").write_text("hello")
    with pytest.raises(ValueError, match=r"vectors: \[.*x\.npz\]: is no array file .*: it holds Python objects or is"):
        item_vectors(tmp_path / "x.npz", ITEMS)


@pytest.mark.parametrize("source", [np.zeros((3, 2)), {"a": [0.0, 0.0], "x": [1.0, 2.0]}])
def test_vectors_of_zeros_alone_are_refused(source):
    with pytest.raises(ValueError, match="vectors: all vectors of the items are zero"):
        item_vectors(source, ITEMS)


@pytest.mark.parametrize("ending", [".npz", ".npy"])
def test_files_that_are_no_arrays(tmp_path, ending):
    path = tmp_path / f"x{ending}"
    for data in (b"\x89PNG no array", b"PK\x03\x04 no end", b""):  # the second looks like a zip file
        path.write_bytes(data)
        with pytest.raises(ValueError, match="no array file"):
            item_vectors(path, ITEMS)


def test_a_damaged_array_is_an_error(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, ids=np.array(list("abc")), vectors=np.random.default_rng(0).random((3, 500)))
    whole = path.read_bytes()
    start = whole.index(b"vectors.npy") + 40  # in the compressed vectors
    for place in (start, len(whole) // 2):  # the first breaks the compression, the second the checksum
        path.write_bytes(whole[:place] + b"\xff" * 20 + whole[place + 20 :])
        with pytest.raises(ValueError, match="no array file"):
            item_vectors(path, ITEMS)


def test_a_picture_is_no_vector(tmp_path):
    path = tmp_path / "cover.jpg"
    path.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ValueError, match="Encode pictures"):
        item_vectors(path, ITEMS)


def test_objects_in_a_file_are_not_run(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.array([object()]), allow_pickle=True)
    with pytest.raises(ValueError, match="no array file"):
        item_vectors(path, ITEMS)


def test_a_file_with_two_arrays_says_what_is_valid(tmp_path):
    np.savez(tmp_path / "x.npz", ids=np.array(["a"]), one=np.ones((1, 1)), two=np.ones((1, 1)))
    with pytest.raises(ValueError, match="one array of ids"):
        item_vectors(tmp_path / "x.npz", ITEMS)
