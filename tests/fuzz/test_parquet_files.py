"""Generated Parquet files and folders: the original ids, or one clear sentence."""

from __future__ import annotations

import datetime
import random
import uuid
from decimal import Decimal

import pytest
from fuzz_tables import expected_table, read_table

pa = pytest.importorskip("pyarrow")
import pyarrow.parquet  # noqa: E402

N_FILES = 200
pytestmark = pytest.mark.slow


def column(rng, n):
    """An Arrow column of some type, and its ids (``None``: missing); no ids at all: the type holds none."""
    kind = rng.choice(
        "int8 int64 uint64 float32 float64 nan_floats halves text large binary dictionary decimal wide uuid bool "
        "date time nested struct null blanks".split()
    )
    share = rng.choice([0, 0, 0.1])

    def some(values):
        return [None if rng.random() < share else rng.choice(values) for _ in range(n)]

    if kind == "int8":
        values = some([-3, 0, 7])
        return pa.array(values, pa.int8()), values
    if kind == "int64":
        values = some([2**62 + 1, 2**62, -5])
        return pa.array(values, pa.int64()), values
    if kind == "uint64":
        values = some([2**64 - 1, 2**64 - 2, 0])
        return pa.array(values, pa.uint64()), values
    if kind in ("float32", "float64", "nan_floats"):
        values = some([1.0, 2.0, -0.0, 16777216.0])
        stored = [float("nan") if value is None and kind == "nan_floats" else value for value in values]
        array = pa.array(stored, pa.float32() if kind == "float32" else pa.float64(), from_pandas=False)
        return array, [None if value is None else int(value) for value in values]
    if kind == "halves":
        values = some([1.5, 2.0, 1e300])
        return pa.array(values, pa.float64()), values
    if kind in ("text", "large", "binary", "dictionary"):
        values = some(["007", "NA", "é", "7"])
        if kind == "binary":
            return pa.array([value and value.encode() for value in values], pa.binary()), values
        array = pa.array(values, pa.large_string() if kind == "large" else pa.string())
        return array.dictionary_encode() if kind == "dictionary" else array, values
    if kind == "decimal":
        values = some([Decimal("7.00"), Decimal("8.00")])
        return pa.array(values, pa.decimal128(10, 2)), [value and int(value) for value in values]
    if kind == "wide":
        values = some([10**37, 3, -(10**30)])
        return pa.array([value and Decimal(value) for value in values], pa.decimal128(38, 0)), values
    if kind == "uuid":
        values = some([uuid.UUID(int=3), uuid.UUID(int=2**100)])
        return pa.array([value and value.bytes for value in values], pa.uuid()), [
            value and str(value) for value in values
        ]
    if kind == "bool":
        values = some([True, False])
        return pa.array(values, pa.bool_()), values
    if kind == "date":
        values = some([datetime.date(2020, 1, 2), datetime.date(1999, 12, 31)])
        return pa.array(values), [value and str(value) for value in values]
    if kind == "time":
        values = some([datetime.datetime(2020, 1, 2, 3, 4, 5), datetime.datetime(1999, 12, 31)])
        return pa.array(values, pa.timestamp("us")), [value and str(value) for value in values]
    if kind == "nested":
        return pa.array([[1]] * n), None
    if kind == "struct":
        return pa.array([{"a": 1}] * n), None
    if kind == "null":
        return pa.nulls(n), [None] * n
    values = some(["a", "b", "  ", ""])
    return pa.array(values), [value if value and value.strip() else None for value in values]


def test_parquet_files(tmp_path):
    counts = {"read": 0, "error": 0}
    for seed in range(N_FILES):
        rng = random.Random(seed)
        n = rng.randint(1, 60)
        (users, user_ids), (items, item_ids) = column(rng, n), column(rng, n)
        columns = {"user_id": users, "item_id": items, "rating": pa.array([1.0] * n)}
        names = list(columns)
        rng.shuffle(names)
        table = pa.table({name: columns[name] for name in names})
        path = tmp_path / f"{seed}.parquet"
        options = {
            "row_group_size": rng.choice([5, 1000]),
            "compression": rng.choice(["snappy", "zstd", "gzip", "none"]),
        }
        if rng.random() < 0.3:
            path = tmp_path / f"{seed}[*]"
            half = n // 2
            for day, part in ((1, table.slice(0, half)), (2, table.slice(half))):
                folder = path / f"user={day}"
                folder.mkdir(parents=True)
                pyarrow.parquet.write_table(part, folder / "part-0.parquet", **options)
            (path / "_SUCCESS").touch()
        else:
            pyarrow.parquet.write_table(table, path, **options)
        content = path.read_bytes() if path.is_file() else b""
        if content and rng.random() < 0.1:  # damaged
            path.write_bytes(content[: rng.randint(4, len(content) - 1)])
            user_ids = None
        good = expected_table(user_ids, item_ids)
        found, said = read_table(path)
        if found is None:
            assert not good, (seed, said)
            assert str(path) in said and "\n" not in said, (seed, said)
            counts["error"] += 1
        else:
            assert good and found == good[0] and said == good[1], (seed, found, said, good)
            counts["read"] += 1
    print(counts)
    assert counts["read"] > N_FILES / 2 and counts["error"] > N_FILES / 20
