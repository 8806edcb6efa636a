"""New items in lists: the function, the class, folders and the command."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from content_calls import run, told, written_shop

from recbole_universal import Recommender, recommend
from recbole_universal.app.content_settings import ContentSettings
from recbole_universal.content.places import rates_of_fewer

TOPICS = ("apple pear", "dog cat", "car truck", "guitar drum", "river sea")
N_KNOWN, N_ITEMS = 100, 130
TOPIC = np.arange(N_ITEMS) // 2 % 5


def made_orders(seed: int = 0) -> pd.DataFrame:
    """Users like two of five topics; nobody has had the last 30 items."""
    generator = np.random.default_rng(seed)
    user = np.arange(250)[:, None]
    likes = (user % 5 == TOPIC) | (user // 5 % 5 == TOPIC)
    chance = np.where(likes, 0.3, 0.01)
    chance[:, N_KNOWN:] = 0
    rows, columns = np.nonzero(generator.random(chance.shape) < chance)
    return pd.DataFrame({"user": [f"u{row}" for row in rows], "item": [f"i{column:03}" for column in columns]})


def made_items() -> pd.DataFrame:
    words = np.array(["nice", "old", "small", "red", "cheap", "round"])
    titles = [f"{words[k % 6]} {TOPICS[topic]} {words[k * 7 % 6]}" for k, topic in enumerate(TOPIC)]
    return pd.DataFrame({"item": [f"i{k:03}" for k in range(N_ITEMS)], "title": titles, "price": np.arange(N_ITEMS)})


ORDERS, ITEMS = made_orders(), made_items()
QUIET = {"show_progress": False}


@pytest.fixture(scope="module")
def rec():
    return told(lambda: Recommender.fit(ORDERS, items=ITEMS, new_items=True, model="universal-base", **QUIET))[0]


def topics_of(user: str) -> set[int]:
    number = int(user[1:])
    return {number % 5, number // 5 % 5}


def test_new_items_of_the_users_topics_stand_at_the_places_that_are_asked_for():
    found, text = told(lambda: recommend(ORDERS, items=ITEMS, new_items=2, pretrained="universal-base", **QUIET))
    assert list(found) == ["user", "item", "score", "rank", "new"]
    assert found.loc[found["new"], "rank"].isin([5, 10]).all() and found["new"].sum() == 2 * found["user"].nunique()
    assert (found["new"] == (found["item"] >= f"i{N_KNOWN}")).all()
    new = found[found["new"]]
    right = [TOPIC[int(item[1:])] in topics_of(user) for user, item in zip(new["user"], new["item"], strict=True)]
    assert np.mean(right) > 0.9
    assert (found.groupby("user")["score"].diff().dropna() <= 0).all() and not found.duplicated(["user", "item"]).any()
    assert "30 items are new" in text and "30 of them have content" in text and "ranks 5, 10" in text
    assert re.search(r"trust 0\.\d\d", text) and "250 of 250 lists" in text


def test_known_items_keep_their_order_and_scores(rec):
    known = rec.recommend("u7", k=8)
    found, _ = told(lambda: rec.recommend("u7", k=10, new_items=2))
    of_known = found[~found["new"]].reset_index(drop=True)
    assert of_known["item"].tolist() == known["item"].tolist() and of_known["score"].equals(known["score"])
    assert found["score"][4] == found["score"][3]


def test_new_items_take_the_ranks_that_they_earn(rec):
    found, text = told(lambda: rec.recommend(k=30, new_items=True))
    ranks = sorted(set(found.loc[found["new"], "rank"].tolist()))
    stated = re.search(r"have the ranks? ([\d, ]+?),?( \.\.\.)? of a list, which they earn", text)
    assert ranks and [int(rank) for rank in stated[1].split(",")] == ranks[:10] and 1 not in ranks
    none, text = told(lambda: rec.recommend(k=5, new_items=True))
    assert not none["new"].any() and "They earn none of the first 5 ranks" in text
    catalogue = rec._state.catalogue
    rates = [catalogue.rates[""][:10].sum(), catalogue.lists.check.next_rate[:10].sum()]
    assert 0 < rates[1] < rates[0] < 1


def test_the_rate_of_new_items_is_scaled_to_their_number():
    """20 known items are held out. The best of 4 new items is found less often than the best of these 20."""
    few = told(lambda: Recommender.fit(ORDERS, items=ITEMS[: N_KNOWN + 4], new_items=True, **QUIET))[0]
    _, text = told(lambda: few.recommend(k=3, new_items=True))
    rate = few._state.catalogue.lists.check.next_rate
    scaled = rates_of_fewer(rate, 4)[0]
    assert len(rate) == 20 and scaled < rate[0] and f"{scaled:.2%} of the next interactions" in text


def test_without_being_asked_nothing_changes(rec):
    plain = Recommender.fit(ORDERS, model="universal-base", **QUIET)
    assert rec.recommend(k=5).equals(plain.recommend(k=5))
    assert "new" not in rec.recommend(k=5)


def test_filters_hold_for_new_items(rec):
    def new_of(**filters):
        found, text = told(lambda: rec.recommend("u7", k=10, new_items=3, **filters))
        return found[found["new"]]["item"].tolist(), found, text

    best, _, _ = new_of()
    assert len(best) == 3
    without, _, _ = new_of(exclude=best[:1])
    assert without[:2] == best[1:]
    assert new_of(exclude={"u7": best[:2]})[0][:1] == best[2:]
    only, found, text = new_of(candidates=[*best[1:], "i000", "i004", "nope"])
    assert set(only) == set(best[1:]) and len(found) <= 4 and "[nope]" in text and best[1] not in text
    assert set(new_of(candidates={"u7": best[2:]})[1]["item"]) == set(best[2:])
    cheap, found, _ = new_of(where=f"price < {N_KNOWN + 10}")
    assert len(cheap) == 3 and max(cheap) < f"i{N_KNOWN + 10}"
    alone, found, _ = new_of(where=f"price >= {N_KNOWN}")
    assert len(alone) == 10 and found["new"].all() and alone[:3] == best and (found["score"].diff().dropna() <= 0).all()


def test_new_items_of_a_history_are_left_out(rec):
    def new_of(**settings):
        history = ["i000", "i001"]
        frame, text = told(lambda: rec.recommend(histories=[history, [*history, *best]], new_items=2, **settings))
        return [frame.query("new and history == @index")["item"].tolist() for index in (0, 1)], text

    best: list[str] = []
    (first, second), _ = new_of()
    assert first == second and len(first) == 2
    best = first[:1]
    (first, second), text = new_of()
    assert first[0] == best[0] and second[0] == first[1] and best[0] not in second
    assert f"no interactions and does not count: [{best[0]}]" in text
    assert new_of(filter_seen=False)[0][1] == first


def test_excluded_items_stay_away(rec):
    best = told(lambda: rec.recommend("u7", new_items=1))[0].query("new")["item"].tolist()
    again = told(lambda: Recommender.fit(ORDERS, items=ITEMS, new_items=True, model="universal-base", **QUIET))[0]
    again.set_excluded(best)
    assert best[0] not in told(lambda: again.recommend("u7", k=130, new_items=10))[0]["item"].tolist()


def test_histories_and_strangers(rec):
    def lists():
        return rec.recommend(histories=[["i000", "i001", "i010"], ["i100"], []], k=5, new_items=2)

    found, text = told(lists)
    new = found[found["new"]]
    assert set(new["history"]) == {0} and all(TOPIC[int(item[1:])] == 0 for item in new["item"])
    assert "[i100]" in text and "histories have no known item" in text
    strangers, _ = told(lambda: rec.recommend(["nobody", "u3"], new_items=1))
    assert set(strangers[strangers["new"]]["user"]) == {"u3"}


def test_a_folder_keeps_everything(rec, tmp_path):
    rec.save(tmp_path)
    again = Recommender.load(tmp_path)
    for settings in ({"new_items": True}, {"new_items": 2, "where": "price > 50"}, {}):
        one, other = (told(lambda each=each, given=settings: each.recommend(k=6, **given)) for each in (rec, again))
        assert one[0].equals(other[0]) and one[1] == other[1]
    assert again.similar_items(["i101", "i004"]).equals(rec.similar_items(["i101", "i004"]))
    of_folder, text = told(lambda: recommend(tmp_path, new_items=2, top_k=6, **QUIET))
    assert of_folder.equals(told(lambda: rec.recommend(k=6, new_items=2))[0]) and "30 items are new" in text


def test_a_damaged_folder(rec, tmp_path):
    rec.save(tmp_path)
    (file,) = tmp_path.glob("state-*/new_items.parquet")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match="damaged"):
        Recommender.load(tmp_path)


def test_a_folder_with_new_items_of_an_older_version_is_refused(rec, tmp_path):
    """Its relations have other columns. A folder without new items has none of them."""
    rec.save(tmp_path)
    file = tmp_path / "recommender.json"
    described = json.loads(file.read_text(encoding="utf-8"))
    assert described["features"].pop("new_items") == 2
    file.write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(ValueError, match=r"other numbers than those of .* Fit it again"):
        Recommender.load(tmp_path)


def test_updates_move_items_between_new_and_known(rec):
    again = told(lambda: Recommender.fit(ORDERS, items=ITEMS, new_items=True, model="universal-base", **QUIET))[0]
    again.partial_fit(pd.DataFrame({"user": ["u1", "u2"], "item": ["i101", "x"]}), **QUIET)
    fresh = pd.concat([ORDERS, pd.DataFrame({"user": ["u1", "u2"], "item": ["i101", "x"]})])
    refitted = told(lambda: Recommender.fit(fresh, items=ITEMS, new_items=True, model="universal-base", **QUIET))[0]
    assert "i101" in again.items and "i101" not in again._state.catalogue.ids
    one, other = (told(lambda each=each: each.recommend(k=6, new_items=2))[0] for each in (again, refitted))
    assert (one["item"] == other["item"]).mean() > 0.97
    again.remove(users=["u1"], **QUIET)
    assert "i101" in again._state.catalogue.ids and "x" in again.items
    again.remove(items=["i004", "i101"], **QUIET)
    found = told(lambda: again.recommend(k=20, new_items=10))[0]
    assert "i004" not in again._state.catalogue.ids and not found["item"].isin(["i004"]).any()


def test_similar_items_and_reasons(rec):
    near = rec.similar_items(["i101", "i004"], k=4)
    of_new = near[near["similar_to"] == "i101"]["item"]
    assert len(of_new) == 4 and sum(TOPIC[int(item[1:])] == TOPIC[101] for item in of_new) >= 3
    assert near[near["similar_to"] == "i004"]["item"].tolist() == rec.similar_items("i004", k=4)["item"].tolist()
    user = next(name for name in rec.users if TOPIC[101] in topics_of(name))
    assert re.match(r"\[i101\] is new: nobody has had it\. By content, .*\(cosine 0\.\d\d\)", rec.explain(user, "i101"))
    assert "is no item" in rec.explain(user, "i999")


def test_content_that_says_nothing_shows_nothing():
    generator = np.random.default_rng(0)
    noise = {name: generator.normal(size=8) for name in ITEMS["item"]}
    settings = {"items": ITEMS[["item", "price"]], "item_vectors": {"noise": noise}, "content_join_z": None}

    def lists(places):
        return told(lambda: recommend(ORDERS, new_items=places, pretrained="universal-base", **settings, **QUIET))

    found, text = lists(True)
    assert not found["new"].any() and "No new item is shown, since the content is not trusted" in text
    found, text = lists(1)
    assert found["new"].sum() == 250 and "no better than chance" in text


def test_items_without_content_are_counted_and_never_shown():
    items = ITEMS.copy()
    items.loc[N_KNOWN:, "title"] = ""
    found, text = told(lambda: recommend(ORDERS, items=items, new_items=3, pretrained="universal-base", **QUIET))
    assert not found["new"].any() and "30 items are new" in text and "0 of them have content" in text


def test_a_catalogue_without_new_items():
    found, text = told(
        lambda: recommend(ORDERS, items=ITEMS[:N_KNOWN], new_items=True, pretrained="universal-base", **QUIET)
    )
    assert not found["new"].any() and "There are no new items" in text


def test_vectors_alone(tmp_path):
    """Ids of vectors are the catalogue if there is no table; a file without ids has the rows of the table."""
    vectors = np.eye(5)[TOPIC] + np.random.default_rng(0).normal(size=(N_ITEMS, 5)) / 10
    np.savez(tmp_path / "photo.npz", ids=ITEMS["item"].to_numpy(str), feat=vectors)
    np.save(tmp_path / "rows.npy", vectors)
    common = {"new_items": 2, "pretrained": "universal-base", **QUIET}
    one, text = told(lambda: recommend(ORDERS, item_vectors=tmp_path / "photo.npz", **common))
    assert "30 items are new" in text and one["new"].sum() == 500
    table = ITEMS[["item", "price"]]
    other, _ = told(lambda: recommend(ORDERS, items=table, item_vectors=[tmp_path / "rows.npy"], **common))
    assert other.equals(one)
    both = {"photo": tmp_path / "photo.npz", "mine": dict(zip(ITEMS["item"], vectors, strict=True))}
    assert told(lambda: recommend(ORDERS, item_vectors=both, **common))[0]["new"].sum() == 500


def test_fields_and_encoders():
    def count(texts):
        return [[float("apple" in text or "pear" in text), float("dog" in text), 1.0] for text in texts]

    items = ITEMS.assign(junk=[f"word{k}" for k in range(N_ITEMS)])
    settings = {"content_fields": "title", "content_encoders": [count, "tfidf"], "pretrained": "universal-base"}
    _, text = told(lambda: recommend(ORDERS, items=items, new_items=1, **settings, **QUIET))
    assert "30 of them have content" in text


def test_numbers_and_texts_are_one_id(tmp_path):
    orders = ORDERS.assign(item=ORDERS["item"].str[1:].astype(int))
    items = ITEMS.assign(item=ITEMS["item"].str[1:].astype(int).astype(str))
    items.to_csv(tmp_path / "items.csv", index=False)
    found, text = told(
        lambda: recommend(orders, items=tmp_path / "items.csv", new_items=1, pretrained="universal-base", **QUIET)
    )
    assert found["item"].dtype == np.int64 and "30 items are new" in text


def test_each_space_has_a_name_of_its_own():
    def names(vectors):
        return list(ContentSettings.checked(None, ["tfidf", "distil"], vectors, 3.0).vectors)

    one = {"i001": [1.0]}
    assert names([one, one, one]) == ["vectors", "vectors 2", "vectors 3"]
    assert names({"tfidf": one, "image": one}) == ["tfidf 2", "image"]
    assert names(["a/image.npz", "b/image.npz", "a/distil.npy"]) == ["image", "image 2", "distil 2"]


def shifted(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(title=np.random.default_rng(1).permutation(frame["title"]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"new_items": True}, r"needs an item table"),
        ({"new_items": True, "item_vectors": [np.ones((3, 2)), {"i001": [1.0, 2.0]}]}, r"needs .* with ids"),
        ({"new_items": True, "items": ITEMS, "item_vectors": np.ones((3, 2))}, r"3 rows for 130 items; give the ids"),
        (
            {"new_items": 11, "items": ITEMS},
            r"new_items \(--new-items\): must be true .* from 1 to top_k .* 10, got 11",
        ),
        ({"new_items": "yes", "items": ITEMS}, r"new_items \(--new-items\): must be"),
        ({"new_items": True, "items": shifted(ITEMS)}, r"content_join_z.*Check the ids.*--content-join-z none"),
        ({"new_items": True, "items": ITEMS, "content_join_z": "high"}, r"content_join_z .*must be a number"),
        ({"new_items": True, "items": ITEMS, "content_join_z": -1}, r"content_join_z .*must be a number of at least 0"),
        ({"new_items": True, "items": ITEMS[["item", "price"]]}, r"no column holds text"),
        ({"new_items": True, "items": ITEMS, "content_fields": ["plot"]}, r"no column \[?'?plot"),
        (
            {"new_items": True, "items": ITEMS, "content_encoders": ["bert"]},
            r"^content_encoders \(--content-encoders\): must be tfidf, .*'bert'",
        ),
        (
            {"new_items": True, "items": ITEMS, "content_encoders": ["tfidf", "distil", "tfidf"]},
            r"^content_encoders .*'tfidf' is given twice",
        ),
        (
            {"new_items": True, "items": ITEMS, "content_encoders": [lambda texts: 1 / 0, lambda texts: 1 / 0]},
            r"^content_encoders .*two of them have the name \[<lambda>\]; give a function a name .* TextEncoder\(",
        ),
        ({"items": ITEMS, "content_fields": ["title", "title"]}, r"^content_fields .*'title' is given twice"),
        ({"item_vectors": "."}, r"^item_vectors \(--item-vectors\): \[\.\]: is a folder; give a file"),
        ({"new_items": True, "items": ITEMS.assign(item=range(N_ITEMS))}, r"no id is an item of the interactions"),
        ({"content_fields": ["title"]}, r"content_fields \(--content-fields\): needs an item table"),
        ({"item_vectors": np.ones((2, 2))}, r"item_vectors \(--item-vectors\): needs an item table"),
        ({"item_vectors": {"i001": [1.0]}, "content_fields": ["title"]}, r"content_fields .*needs the table"),
        ({"content_encoders": ["tfidf"]}, r"content_encoders .*belongs to new_items .*, content_fields .* or item_vec"),
        ({"content_join_z": None}, r"content_join_z .*belongs to new_items"),
        ({"items": ITEMS}, r"belongs to where .*, content_fields .* or new_items"),
        ({"new_items": True, "item_vectors": {"i001": [1.0, 2.0], "i002": [1.0]}}, r"vectors differ in length"),
        (
            {"new_items": True, "item_vectors": {"i001": [1.0], "i002": [np.nan]}},
            r"NaN or infinity, the first in row 1",
        ),
        ({"new_items": True, "item_vectors": 3}, r"item_vectors .*must be files"),
        ({"new_items": True, "item_vectors": []}, r"item_vectors .*must be a source"),
    ],
)
def test_what_is_wrong_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        told(lambda: recommend(ORDERS, pretrained="universal-base", **settings, **QUIET))


def test_content_of_other_items_is_used_if_the_user_insists():
    settings = {"items": shifted(ITEMS), "new_items": True, "content_join_z": None, "pretrained": "universal-base"}
    found, _ = told(lambda: recommend(ORDERS, **settings, **QUIET))
    assert len(found) == 2500


@pytest.mark.parametrize(
    ("titles", "told_of_it"),
    [
        (lambda titles: [f"<p>{text}</p><script>x()</script>" for text in titles], "30 of them have content"),
        (
            lambda titles: [f"{text} {'long ' * 200_000}" if k == 110 else text for k, text in enumerate(titles)],
            "30 of",
        ),
        (lambda titles: [None if k % 2 else text for k, text in enumerate(titles)], "15 of them have content"),
        (lambda titles: [f"{text} {'здравствуй' if k % 2 else '你好'}" for k, text in enumerate(titles)], "30 of them"),
    ],
    ids=["html", "a million characters", "missing", "languages"],
)
def test_bad_texts(titles, told_of_it):
    items = ITEMS.assign(title=titles(ITEMS["title"].tolist()))
    found, text = told(lambda: recommend(ORDERS, items=items, new_items=2, pretrained="universal-base", **QUIET))
    assert told_of_it in text
    new = found[found["new"]]
    right = [TOPIC[int(item[1:])] in topics_of(user) for user, item in zip(new["user"], new["item"], strict=True)]
    assert np.mean(right) > 0.85


@pytest.fixture
def shop(tmp_path):
    return written_shop(tmp_path, ORDERS, ITEMS)


def test_the_command(shop, capsys):
    words = ["recommend", shop / "orders.csv", "--items", shop / "items.csv", "--model", "universal-base", "--quiet"]
    assert run(*words, "--new-items", "2", "--output", shop / "recs.csv") == 0
    assert "30 items are new" in capsys.readouterr().err
    frame = pd.read_csv(shop / "recs.csv")
    assert list(frame) == ["user", "item", "score", "rank", "new"] and frame["new"].sum() == 500
    assert run(*words, "--new-items", "2", "--output", shop / "recs.parquet") == 0
    other = pd.read_parquet(shop / "recs.parquet")
    assert other["new"].dtype == bool and other["item"].tolist() == frame["item"].tolist()
    fit = ["fit", shop / "orders.csv", "--items", shop / "items.csv", "--model", "universal-base", "--quiet"]
    assert run(*fit, "--new-items", "--content-fields", "title", "--output", shop / "folder") == 0
    of_folder = ["recommend", shop / "folder", "--new-items", "2", "--output", shop / "again.csv", "--quiet"]
    assert run(*of_folder) == 0
    again = pd.read_csv(shop / "again.csv")
    assert again.sort_values(["user", "rank"])["item"].tolist() == frame.sort_values(["user", "rank"])["item"].tolist()
    assert (
        run("similar", shop / "folder", "--items", "i101") == 0
        and run("explain", shop / "folder", "--user", "u1", "--item", "i101") == 0
    )
    assert "is new" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("further", "message"),
    [
        (["--new-items", "--item-vectors", "{}/photo.jpg"], "must end in .npz, .npy, .csv, .tsv or .parquet"),
        (["--new-items", "--item-vectors", "{}/broken.npz"], "is no array file that can be read"),
        (["--new-items", "--item-vectors", "{}/none.npy"], "none.npy"),
        (["--new-items", "--items", "{}/wrong.csv"], "--content-join-z none"),
        (["--content-encoders", "tfidf"], "belongs to new_items"),
        (["--new-items", "--engine", "ray", "--items", "{}/items.csv"], "--new-items"),
        (["--new-items", "20", "--items", "{}/items.csv"], "from 1 to top_k"),
    ],
)
def test_the_command_names_what_is_wrong(shop, further, message, capsys):
    (shop / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0 no vectors")
    (shop / "broken.npz").write_bytes(b"\x89PNG no zip")
    shifted(ITEMS).to_csv(shop / "wrong.csv", index=False)
    words = [word.format(shop) for word in further]
    assert run("recommend", shop / "orders.csv", "--output", shop / "recs.csv", "--quiet", *words) == 1
    shown = capsys.readouterr().err
    assert message in shown and "Traceback" not in shown and not (shop / "recs.csv").exists()


def test_the_command_names_a_bad_limit(shop, capsys):
    with pytest.raises(SystemExit):
        run("recommend", shop / "orders.csv", "--new-items", "--content-join-z", "high")
    assert "--content-join-z: must be a number of at least 0, or none, got 'high'" in capsys.readouterr().err


def test_progress_bars_obey(shop, capsys):
    words = ["recommend", shop / "orders.csv", "--items", shop / "items.csv", "--new-items", "--output", shop / "r.csv"]
    assert run(*words, "--quiet") == 0
    assert "new items:" not in capsys.readouterr().err
    assert run(*words) == 0
    assert "new items:" in capsys.readouterr().err


def test_a_checkpoint_takes_no_new_items(shop, capsys):
    (shop / "model.pth").write_bytes(b"")
    words = ["recommend", "--checkpoint", shop / "model.pth", "--new-items", "--output", shop / "r.csv"]
    assert run(*words) == 1
    assert "leave out new_items" in capsys.readouterr().err


def test_no_content_in_a_folder(shop, capsys):
    assert run("fit", shop / "orders.csv", "--output", shop / "folder", "--quiet") == 0
    words = ["recommend", shop / "folder", "--items", shop / "items.csv", "--new-items", "--output", shop / "r.csv"]
    assert run(*words) == 1
    assert "fit with new_items" in capsys.readouterr().err
