"""Lists of Arrow batches of users: those of the recommender, whatever the batches."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys

import engine_data
import pandas as pd
import pytest
import spark_data

from recbole_universal import ArrowLists, Recommender

pa = pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arrow") / "shop"
    return engine_data.saved(folder), folder


def batch(users, kind=None):
    return pa.record_batch([pa.array(users, kind)], names=["who"])


def frame(lists, *batches) -> pd.DataFrame:
    return pa.Table.from_batches(list(lists(batches))).to_pandas()


@pytest.mark.parametrize("settings", [{}, {"fast": True}, {"filter_seen": False}, {"where": "price < 9"}])
def test_batches_have_the_lists_of_the_recommender(shop, settings):
    rec, folder = shop
    lists = pickle.loads(pickle.dumps(ArrowLists(folder, k=4, **settings)))
    assert lists.schema == "`user` string, `item` string, `score` float, `rank` int"
    users = rec.users.tolist()
    found = frame(lists, batch(users[:9]), batch([], pa.string()), batch(users[9:]))
    expected = rec.recommend(k=4, **settings)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-5)


def test_unknown_users(shop):
    rec, folder = shop
    with pytest.warns(UserWarning):
        expected = rec.recommend(["gone"], k=3)
    assert frame(ArrowLists(folder, k=3), batch(["gone"]))["item"].tolist() == expected["item"].tolist()
    with pytest.raises(ValueError, match="row 2 of a batch has no id"):
        frame(ArrowLists(folder), batch(["u1", None]))
    with pytest.raises(ValueError, match="row 1 of a batch has no id"):
        frame(ArrowLists(folder), batch([float("nan"), 1.0]))
    with pytest.raises(ValueError, match="row 2 of a batch has no id"):
        frame(ArrowLists(folder), batch(["u1", " "]))


@pytest.mark.parametrize(
    "given, name",
    [(pa.record_batch([], names=[]), "RecordBatch without a column"), (pd.DataFrame({"user": ["u1"]}), "DataFrame")],
)
def test_what_is_no_batch_of_users(shop, given, name):
    with pytest.raises(ValueError, match=f"one of them is {name}\\."):
        frame(ArrowLists(shop[1]), given)


def test_integer_ids(tmp_path):
    events = pd.DataFrame({"user": [user for user in range(30) for _ in range(4)]})
    events["item"] = [(user + step) % 12 for user in range(30) for step in range(4)]
    rec = Recommender.fit(events, model="universal-base", show_progress=False)
    rec.save(tmp_path / "shop")
    lists = ArrowLists(tmp_path / "shop", k=2)
    assert lists.schema == "`user` bigint, `item` bigint, `score` float, `rank` int"
    assert frame(lists, batch(["7", "99"]))["user"].tolist() == [7, 7, 99, 99]
    with pytest.raises(ValueError, match="ids of this recommender are integers, and one of the asked is none"):
        frame(lists, batch(["seven"]))


def test_a_folder_that_is_saved_again(shop, tmp_path):
    shutil.copytree(shop[1], tmp_path / "copy")
    lists = ArrowLists(tmp_path / "copy")
    Recommender.load(tmp_path / "copy").save(tmp_path / "copy")
    with pytest.raises(ValueError, match="has been saved again since the run began"):
        frame(lists, batch(["u1"]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"k": 0}, "k must be"), ({"where": "size < 3"}, "size"), ({"fast": 1}, "fast"), ({"filter_seen": 3}, "seen")],
)
def test_bad_arguments(shop, settings, message):
    with pytest.raises(ValueError, match=message):
        ArrowLists(shop[1], **settings)
    with pytest.raises(FileNotFoundError, match="holds no recommender"):
        ArrowLists(shop[1].parent)


SPARK = """
import sys
from pyspark.sql import SparkSession
from recbole_universal import ArrowLists

spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
users = spark.read.parquet(sys.argv[2]).repartition(3)
lists = ArrowLists(sys.argv[1], k=4)
users.select("user").mapInArrow(lists, lists.schema).write.parquet(sys.argv[3])
spark.stop()
"""


@pytest.mark.slow
def test_spark(shop, tmp_path):
    pytest.importorskip("pyspark")
    rec, folder = shop
    pd.DataFrame({"user": rec.users}).to_parquet(tmp_path / "users.parquet")
    words = [sys.executable, "-c", SPARK, str(folder), str(tmp_path / "users.parquet"), str(tmp_path / "lists")]
    environment = {**os.environ, "JAVA_HOME": spark_data.java_home(tmp_path / "java")}
    subprocess.run(words, env=environment, check=True)
    found = pd.read_parquet(tmp_path / "lists")
    assert len(found) == len(found.drop_duplicates(["user", "rank"]))
    ordered = [each.sort_values(["user", "rank"], ignore_index=True) for each in (found, rec.recommend(k=4))]
    pd.testing.assert_frame_equal(*ordered, rtol=1e-5)
