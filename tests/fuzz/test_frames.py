"""Generated frames of pandas, polars and Arrow: the original ids, or one clear sentence."""

from __future__ import annotations

import random
import uuid

import numpy as np
import pandas as pd
import pytest
from fuzz_tables import expected_table, read_table

pa = pytest.importorskip("pyarrow")
polars = pytest.importorskip("polars")

N_FRAMES = 240
pytestmark = pytest.mark.slow


def pandas_column(rng, n):
    """A column of some dtype, and its ids."""
    share = rng.choice([0, 0, 0.1])

    def some(values):
        return [None if rng.random() < share else rng.choice(values) for _ in range(n)]

    kind = rng.choice(
        "int uint float nullable arrow_int arrow_nan text object category mixed uuid tuple missing time lists".split()
    )
    if kind == "int":
        values = [rng.choice([3, 5, -1]) for _ in range(n)]
        return pd.Series(values, dtype=rng.choice(["int64", "int8"])), values
    if kind == "uint":
        values = [rng.choice([2**64 - 1, 2**64 - 2]) for _ in range(n)]
        return pd.Series(values, dtype="uint64"), values
    if kind == "float":
        values = some([3, 5])
        return pd.Series([np.nan if value is None else value for value in values], dtype="float64"), values
    if kind in ("nullable", "arrow_int"):
        values = some([2**60 + 1, 2**60, 4])
        return pd.Series(values, dtype="Int64" if kind == "nullable" else "int64[pyarrow]"), values
    if kind == "arrow_nan":
        values = some([3, 5])
        stored = pd.arrays.ArrowExtensionArray(
            pa.array([float("nan") if value is None else float(value) for value in values], from_pandas=False)
        )
        return pd.Series(stored), values
    if kind in ("text", "object"):
        values = some(["007", "7", "NA", " x"])
        dtype = (
            "object" if kind == "object" else rng.choice(["string", "str", "string[pyarrow]", "large_string[pyarrow]"])
        )
        return pd.Series(values, dtype=dtype), values
    if kind == "category":
        values = some(rng.choice([["a", "b"], [1, 2]]))
        return pd.Series(pd.Categorical(values)), values
    if kind == "mixed":
        stored = [rng.choice([27, "27", 27.0, "x", 2.5, "2.5", None, float("nan"), "  "]) for _ in range(n)]
        values = [
            int(value) if value == 27.0 and not isinstance(value, str) else None if value != value else value
            for value in stored
        ]
        values = [None if isinstance(value, str) and not value.strip() else value for value in values]
        return pd.Series(stored, dtype=object), values
    if kind == "uuid":
        values = some([uuid.UUID(int=1), uuid.UUID(int=2)])
        return pd.Series(values, dtype=object), values
    if kind == "tuple":
        values = [rng.choice([(1, 2), (3,)]) for _ in range(n)]
        return pd.Series(values, dtype=object), values
    if kind == "missing":
        return pd.Series([rng.choice([None, np.nan, pd.NA, pd.NaT]) for _ in range(n)], dtype=object), [None] * n
    if kind == "time":
        values = [rng.choice([pd.Timestamp("2020-01-01"), pd.Timestamp("2021-01-01")]) for _ in range(n)]
        return pd.Series(values), values
    return pd.Series([[1]] * n), None


def arrow_column(rng, n):
    """A column of polars and Arrow alike, and its ids."""
    share = rng.choice([0, 0, 0.1])
    kind = rng.choice(["int", "float", "text", "category", "big", "list"])
    if kind == "list":
        return polars.Series([[1]] * n), None
    values = {"int": [1, 2], "float": [1.0, 2.0], "text": ["007", "é"], "category": ["a", "b"], "big": [2**62 + 1, 3]}[
        kind
    ]
    values = [None if rng.random() < share else rng.choice(values) for _ in range(n)]
    if kind == "float":
        series = polars.Series([float("nan") if value is None else value for value in values], dtype=polars.Float64)
        return series, [value and int(value) for value in values]
    dtype = {"category": polars.Categorical, "text": polars.String}.get(kind, polars.Int64)
    return polars.Series(values, dtype=dtype), values


def test_frames():
    counts = {"read": 0, "error": 0}
    for seed in range(N_FRAMES):
        rng = random.Random(seed)
        n = rng.randint(1, 50)
        make = rng.choice([pandas_column, arrow_column])
        (users, user_ids), (items, item_ids) = make(rng, n), make(rng, n)
        names = rng.choice([("user_id", "item_id"), ("u", "i"), ("customer", "sku")])
        if make is pandas_column:
            frame = pd.DataFrame({names[1]: items, names[0]: users, "rating": 1.0})
            frame.index = pd.Index(rng.sample(range(1000), n))
        else:
            frame = polars.DataFrame({names[1]: items, names[0]: users})
            frame = frame if rng.random() < 0.5 else frame.to_arrow()
        good = expected_table(user_ids, item_ids)
        found, said = read_table(frame, rng.choice([(None, None), names]))
        if found is None:
            assert not good, (seed, said)
            assert said.startswith("The ") and "\n" not in said, (seed, said)
            counts["error"] += 1
        else:
            assert good and found == good[0] and said == good[1], (seed, found, said, good)
            counts["read"] += 1
    print(counts)
    assert counts["read"] > N_FRAMES / 2 and counts["error"] > N_FRAMES / 20
