"""A recommender in threads and in processes: readers during updates, pools after a load, one shared folder."""

from __future__ import annotations

import multiprocessing
import sys
import threading
import warnings

import pandas as pd
import pytest
from test_recommender import events, fitted, lists

from recbole_universal import Recommender

pytest.importorskip("pyarrow")
TABLE = pd.DataFrame({"item": [f"i{index}" for index in range(24)], "price": range(24)})
shared: Recommender | None = None


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def lists_of_parent(user: str) -> dict:
    """A list by the recommender of the parent process, which has a copy after a fork."""
    return lists(shared.recommend([user], k=4, where="price < 20"))


def lists_of_folder(arguments: tuple[str, str]) -> dict:
    """A list by a recommender that this process loads."""
    folder, user = arguments
    return lists(Recommender.load(folder).recommend([user], k=4, where="price < 20"))


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_fork_pool_after_a_load(tmp_path):
    global shared
    fitted(items=TABLE).save(tmp_path)
    shared = Recommender.load(tmp_path)
    users = shared.users[:6].tolist()
    expected = [lists_of_parent(user) for user in users]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(lists_of_parent, users).get(120) == expected


def test_a_spawn_pool_loads_the_folder(tmp_path):
    rec = fitted(items=TABLE)
    rec.save(tmp_path)
    users = rec.users[:2].tolist()
    expected = [lists(rec.recommend([user], k=4, where="price < 20")) for user in users]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map_async(lists_of_folder, [(str(tmp_path), user) for user in users]).get(300) == expected


def test_readers_during_updates_of_every_kind():
    """A filter, an item table and the interactions of one state belong together."""
    rec = fitted(items=TABLE)
    ended, failed, n_read = threading.Event(), [], [0]
    cheap = TABLE.assign(price=0)

    def read() -> None:
        while not ended.is_set():
            try:
                found = rec.recommend(["u1", "u2"], k=30, where="price < 5", filter_seen=False)
                items = set(found["item"])
                every = {f"i{index}" for index in range(24)}
                first = {f"i{index}" for index in range(5)}
                assert items in (first, first - {"i2"}, every, every - {"i2"}), items
                rec.similar_items("i1", 3)
                rec.explain("u1", "i5")
                n_read[0] += 1
            except Exception as error:
                failed.append(error)
                return

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for round_ in range(3):
            rec.set_excluded("i2")
            rec.set_items(cheap)
            rec.partial_fit(pd.DataFrame([(f"n{round_}", "i3")], columns=["user", "item"]), show_progress=False)
            rec.set_excluded(None)
            rec.set_items(TABLE)
            rec.remove(users=f"n{round_}", show_progress=False)
    finally:
        ended.set()
        for reader in readers:
            reader.join()
    assert not failed and n_read[0] > 5
    assert rec.recommend(k=3).equals(fitted().recommend(k=3)) and len(events()) == 400
