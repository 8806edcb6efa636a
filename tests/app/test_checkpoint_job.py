"""Recommendations with models that RecBole trained: the scores are RecBole's, the ids are those of the files."""

from __future__ import annotations

import re
import shutil
import sys

import fresh
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import write_atomic
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.general_recommender import BPR
from recbole.quick_start import load_data_and_model
from recbole.utils import get_model, get_trainer, init_seed
from recbole.utils.case_study import full_sort_scores

from recbole_universal import UniversalRanker, recommend
from recbole_universal.app import cli
from recbole_universal.plugin.trained_model import TrainedModel

FIELDS = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
N_USERS, N_ITEMS = 40, 30
MODELS = {
    "BPR": {},
    "EASE": {},
    "MultiVAE": {"train_neg_sample_args": None},
    "FM": {
        "threshold": {"rating": 3},
        "eval_args": {"mode": "full"},
        "metrics": ["NDCG"],
        "valid_metric": "NDCG@10",
    },
    "UniversalMLP": {},
    "UniversalInterpolation": {"base_model": "BPR", "interpolation_weight": 0.5},
    "SASRec": {"train_neg_sample_args": None, "MAX_ITEM_LIST_LENGTH": 5},
    "DIN": {},
    "UniversalSequential": {},
    "UniversalSASRec": {"item_encoder": "id", "MAX_ITEM_LIST_LENGTH": 5},
}
SEQUENTIAL = ["SASRec", "DIN", "UniversalSequential", "UniversalSASRec"]


def interactions() -> list[tuple]:
    rng = np.random.default_rng(7)
    popularity = 1 / np.arange(1, N_ITEMS + 1)
    rows = []
    for user in range(N_USERS):
        items = rng.choice(N_ITEMS, size=12, replace=False, p=popularity / popularity.sum())
        rows += [(f"u{user}", f"i{item}", rng.integers(1, 6), time) for time, item in enumerate(items)]
    return rows


class BPROfTheUser(BPR):
    """A model that RecBole does not know by name."""


def train(model: str | type, folder, rows=None, **settings) -> str:
    """Train a model for one epoch and return its checkpoint."""
    data_path = write_atomic(folder / "data", "tiny", rows or interactions(), FIELDS)
    columns = {"inter": ["user_id", "item_id", "rating", "timestamp"]}
    run = {"epochs": 1, "show_progress": False, "gpu_id": "", "state": "ERROR", "checkpoint_dir": str(folder / "saved")}
    config = Config(model, "tiny", config_dict={"data_path": data_path, "load_col": columns, **run, **settings})
    init_seed(config["seed"], config["reproducibility"])
    train_data, valid_data, _ = data_preparation(config, create_dataset(config))
    init_seed(config["seed"], config["reproducibility"])
    trained = (model if isinstance(model, type) else get_model(model))(config, train_data.dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, trained)
    trainer.fit(train_data, valid_data, verbose=False, show_progress=False)
    return trainer.saved_model_file


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint of each model, which is trained when a test first asks for it."""
    made = {}

    def of(model: str) -> str:
        if model not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("sys.argv", ["pytest"])
                folder = tmp_path_factory.mktemp(model)
                patch.chdir(folder)
                made[model] = train(model, folder, **MODELS[model])
        return made[model]

    return of


def table(scores: np.ndarray, items: list[str]) -> pd.DataFrame:
    return pd.DataFrame(scores, index=[f"u{user}" for user in range(N_USERS)], columns=items)


def scores_of_recbole(file: str, data_path=None) -> pd.DataFrame:
    """The scores that RecBole gives to all items, by the ids of the files; no item of a user is left out."""
    if data_path is not None:
        saved = torch.load(file, weights_only=False)
        saved["config"].final_config_dict["data_path"] = f"{data_path}/tiny"
        file = "moved.pth"
        torch.save(saved, file, pickle_protocol=4)
    _, model, dataset, _, _, test_data = load_data_and_model(str(file))
    users = dataset.token2id("user_id", [f"u{user}" for user in range(N_USERS)])
    if not test_data.is_sequential:
        test_data.uid2history_item[:] = [torch.zeros(1, dtype=torch.int64)] * dataset.user_num
    rows = [full_sort_scores([user], model, test_data)[0, 1:] for user in users.tolist()]
    return table(torch.stack(rows).detach().numpy(), dataset.id2token("item_id", range(1, dataset.item_num)).tolist())


def assert_best_unseen(recs: pd.DataFrame, scores: pd.DataFrame, top_k: int) -> None:
    """The recommendations have the highest of the scores among the items that the user lacks in the file."""
    unseen = scores.copy()
    for user, item, *_ in interactions():
        unseen.loc[user, item] = -np.inf
    for user, rows in recs.groupby("user_id"):
        assert rows["rank"].tolist() == list(range(1, top_k + 1))
        expected = np.sort(unseen.loc[user].to_numpy())[::-1][:top_k]
        assert rows["score"].to_numpy() == pytest.approx(expected, abs=1e-5)
        assert unseen.loc[user, rows["item_id"]].to_numpy() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("model", [name for name in MODELS if name not in SEQUENTIAL])
def test_general_and_context_aware_models_rank_by_the_scores_of_recbole(checkpoint, model):
    recs = recommend(checkpoint=checkpoint(model), top_k=4, show_progress=False)
    assert list(recs) == ["user_id", "item_id", "score", "rank"]
    assert set(recs["user_id"]) == {f"u{user}" for user in range(N_USERS)}
    assert_best_unseen(recs, scores_of_recbole(checkpoint(model)), 4)


@pytest.mark.parametrize("model", ["SASRec", "DIN"])
def test_sequential_models_continue_the_latest_items(checkpoint, model, tmp_path):
    """With one more event of each user, RecBole's test asks about the whole history of the checkpoint's data."""
    rows = interactions()
    rows += [(f"u{user}", rows[0][1], 3, 100) for user in range(N_USERS)]
    tomorrow = write_atomic(tmp_path / "tomorrow", "tiny", rows, FIELDS)
    expected = scores_of_recbole(checkpoint(model), tomorrow)
    recs = recommend(checkpoint=checkpoint(model), top_k=4, show_progress=False)
    assert_best_unseen(recs, expected, 4)
    assert not expected.equals(scores_of_recbole(checkpoint(model)))


def test_a_model_of_the_user(checkpoint, tmp_path):
    recs = recommend(checkpoint=train(BPROfTheUser, tmp_path, embedding_size=64), top_k=2, show_progress=False)
    pd.testing.assert_frame_equal(recs, recommend(checkpoint=checkpoint("BPR"), top_k=2, show_progress=False))


@pytest.mark.parametrize("model", ["UniversalSequential", "UniversalSASRec"])
def test_sequential_models_of_the_plugin(checkpoint, model):
    recs = recommend(checkpoint=checkpoint(model), top_k=4, show_progress=False)
    seen = {(user, item) for user, item, *_ in interactions()}
    assert len(recs) == 4 * N_USERS and not seen & set(zip(recs["user_id"], recs["item_id"], strict=True))


def test_lists_of_the_latest_items(checkpoint):
    model = TrainedModel(checkpoint("SASRec"))
    row = model.users.get_loc("u3")
    latest = [item for user, item, *_ in interactions() if user == "u3"][-5:]
    lists = model._batch[row]["item_id_list"].flatten().tolist()
    assert model._dataset.id2token("item_id", lists).tolist() == latest
    assert model._batch[row]["timestamp_list"].flatten().tolist() == [7, 8, 9, 10, 11]


def test_users_who_come_back_to_items(tmp_path):
    rows = [(f"u{user}", f"i{(user + time) % 4}", 3, time) for user in range(N_USERS) for time in range(8)]
    file = train("SASRec", tmp_path, rows, topk=[2], valid_metric="MRR@2", **MODELS["SASRec"])
    with pytest.warns(UserWarning, match="come back to items"):
        recs = recommend(checkpoint=file, top_k=4, show_progress=False)
    assert len(recs) == 4 * N_USERS


def test_seen_items_on_request(checkpoint):
    recs = recommend(checkpoint=checkpoint("EASE"), top_k=N_ITEMS, include_seen=True, show_progress=False)
    assert len(recs) == N_USERS * N_ITEMS
    with pytest.warns(UserWarning, match="40 of 40 users have fewer than 30 items"):
        recs = recommend(checkpoint=checkpoint("EASE"), top_k=N_ITEMS, show_progress=False)
    assert len(recs) == N_USERS * (N_ITEMS - 12)


def test_asked_users_and_their_order(checkpoint, tmp_path):
    (tmp_path / "users.txt").write_text("u5\nstranger\nu2\n")
    with pytest.warns(UserWarning, match=r"1 of 3 users have no interactions .*\[stranger\]"):
        recs = recommend(checkpoint=checkpoint("BPR"), users="users.txt", top_k=2, show_progress=False)
    assert recs["user_id"].unique().tolist() == ["u5", "stranger", "u2"]
    whole = recommend(checkpoint=checkpoint("BPR"), top_k=2, show_progress=False).set_index("user_id")
    assert (
        recs.set_index("user_id").loc[["u5", "u2"], "item_id"].tolist() == whole.loc[["u5", "u2"], "item_id"].tolist()
    )
    popular = pd.DataFrame(interactions())[1].value_counts()
    assert popular[recs.set_index("user_id").loc["stranger", "item_id"]].tolist() == popular.iloc[:2].tolist()


def test_blocks_of_users_change_nothing(checkpoint, monkeypatch):
    whole = recommend(checkpoint=checkpoint("FM"), top_k=3, show_progress=False)
    monkeypatch.setattr(sys.modules["recbole_universal.app.recommendation_blocks"], "_BLOCK_USERS", 7)
    monkeypatch.setattr(sys.modules["recbole_universal.plugin.trained_model"], "_MOST_SCORES", 100)
    pd.testing.assert_frame_equal(recommend(checkpoint=checkpoint("FM"), top_k=3, show_progress=False), whole)


NEW = [("new", "i3", 2), ("u4", "i1", 1), ("new", "i5", 1), ("new", "gone", 3), ("bare", "gone", 1), ("7", "i9", 1)]


def new_users() -> pd.DataFrame:
    return pd.DataFrame(NEW, columns=["customer", "sku", "timestamp"])


@pytest.mark.parametrize("model", ["BPR", "FM", "EASE", "UniversalInterpolation", "SASRec"])
def test_new_users_are_ranked_by_the_universal_model(checkpoint, model):
    file = checkpoint(model)
    alone = recommend(checkpoint=file, top_k=4, show_progress=False)
    with pytest.warns(UserWarning) as said:
        recs = recommend(checkpoint=file, new_users=new_users(), top_k=4, show_progress=False)
    pd.testing.assert_frame_equal(recs[: len(alone)], alone, check_exact=True)  # u4 is of the training
    trained = TrainedModel(file)
    columns = dict(zip(trained.items, range(N_ITEMS), strict=True))
    histories = [[columns["i5"], columns["i3"]], [columns["i9"]]]
    items, scores = UniversalRanker(trained.matrix, show_progress=False).top_k_of(histories, 4)
    rest = recs[len(alone) :]
    assert rest["user_id"].tolist() == ["new"] * 4 + ["bare"] * 4 + ["7"] * 4
    for user, row in (("new", 0), ("7", 1)):
        assert rest.loc[rest["user_id"] == user, "item_id"].tolist() == trained.items[items[row]].tolist()
        assert rest.loc[rest["user_id"] == user, "score"].to_numpy() == pytest.approx(scores[row])
    popular = np.bincount(trained.matrix.indices)
    found = [popular[columns[item]] for item in rest.loc[rest["user_id"] == "bare", "item_id"]]
    assert found == sorted(popular, reverse=True)[:4]
    texts = [str(one.message) for one in said]
    assert (
        "new_users (--new-users): 1 of 4 users were in the training and keep the model's recommendations: [u4]."
        in texts
    )
    assert "new_users (--new-users): 1 items are unknown to the model: [gone]." in texts
    assert "1 of 43 users have no item that the model knows and get the most popular items: [bare]." in texts


def test_new_users_that_are_asked_for(checkpoint):
    with pytest.warns(UserWarning, match=r"1 of 3 users have no interactions and get the most popular items: \[who\]"):
        recs = recommend(
            checkpoint=checkpoint("EASE"), new_users=new_users(), users=[7, "u3", "who"], top_k=2, show_progress=False
        )
    assert recs["user_id"].tolist() == ["7", "7", "u3", "u3", "who", "who"]


def test_the_items_of_new_users_on_request(checkpoint):
    options = {"checkpoint": checkpoint("EASE"), "new_users": new_users(), "users": ["new"], "show_progress": False}
    with pytest.warns(UserWarning):
        every = recommend(**options, include_seen=True, top_k=N_ITEMS)
        unseen = recommend(**options, top_k=N_ITEMS)
    assert len(every) == N_ITEMS and set(every["item_id"]) - set(unseen["item_id"]) == {"i3", "i5"}


def test_command_line_with_new_users(checkpoint, tmp_path, capsys):
    new_users().to_csv(tmp_path / "new.csv", index=False)
    words = ["recommend", "--checkpoint", checkpoint("EASE"), "--output", "recs.csv", "--quiet", "--top-k", "2"]
    assert cli.main([*words, "--new-users", str(tmp_path / "new.csv")]) == 0
    printed = capsys.readouterr()
    assert "of 40 users with 30 items. New users, whom the universal model ranks: 2." in printed.err
    assert printed.out.startswith("Wrote 86 recommendations for 43 users to recs.csv")
    assert cli.main([*words, "--new-users", "gone.csv"]) == 1
    assert cli.main(["recommend", "x.csv", "--output", "recs.csv", "--new-users", "new.csv"]) == 1
    assert "new_users (--new-users): belongs to checkpoint" in capsys.readouterr().err


def test_random_numbers_of_the_caller_stay(checkpoint):
    torch.manual_seed(1)
    np.random.seed(1)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(1)
    np.random.seed(1)
    recommend(checkpoint=checkpoint("BPR"), top_k=1, show_progress=False)
    assert (torch.rand(1), np.random.rand()) == expected


def test_command_line(checkpoint, tmp_path, capsys):
    words = ["recommend", "--checkpoint", checkpoint("BPR"), "--output", "recs.csv", "--top-k", "2"]
    assert cli.main([*words, "--users", "u1,u2"]) == 0
    out, err = capsys.readouterr()
    assert "Wrote 4 recommendations for 2 users to recs.csv" in out
    assert "recommend: BPR, trained on [tiny]: 480 interactions of 40 users with 30 items." in err
    assert "recommending" in err
    recs = pd.read_csv("recs.csv")
    expected = recommend(checkpoint=checkpoint("BPR"), users=["u1", "u2"], top_k=2, show_progress=False)
    assert recs["item_id"].tolist() == expected["item_id"].tolist()
    assert not list(tmp_path.glob("log*"))


def test_help_says_that_a_checkpoint_runs_code(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["recommend", "--help"])
    out = capsys.readouterr().out
    assert "--checkpoint saved/LightGCN" in out and "It runs code when it is opened" in out


def test_moved_data(checkpoint, tmp_path):
    """In another process and another folder, as on another machine."""
    folder = tmp_path / "elsewhere"
    file = train("BPR", tmp_path)
    expected = recommend(checkpoint=file, top_k=2, show_progress=False)
    (tmp_path / "data").rename(folder)
    with pytest.raises(FileNotFoundError, match=r"no folder \[.*tiny\].*dataset \[tiny\]; name the folder"):
        recommend(checkpoint=file, show_progress=False)
    words = ["recommend", "--checkpoint", file, "--data-path", folder, "--output", "r.csv", "--top-k", "2", "--quiet"]
    done = fresh.run("-m", "recbole_universal", *map(str, words))
    assert done.returncode == 0, done.stderr
    assert pd.read_csv("r.csv")["item_id"].tolist() == expected["item_id"].tolist()


@pytest.mark.parametrize("model", ["BPR", "EASE"])
@pytest.mark.parametrize("other", [("u", "j"), ("v", "i")])
def test_another_dataset_of_the_same_name(checkpoint, tmp_path, model, other):
    rows = [*interactions(), (*(f"{kind}1000" for kind in other), 3, 0)]
    folder = write_atomic(tmp_path / "other", "tiny", rows, FIELDS)
    with pytest.raises(
        ValueError, match=r"this \w+ does not fit the dataset \[tiny\] in .* has \d+ users and \d+ items"
    ):
        recommend(checkpoint=checkpoint(model), data_path=folder, show_progress=False)


def test_a_checkpoint_without_the_keys_of_the_plugin(checkpoint, tmp_path):
    """Such a checkpoint comes from RecBole alone."""
    saved = torch.load(checkpoint("BPR"), weights_only=False)
    config = saved["config"].final_config_dict
    for key in [key for key in config if key.startswith(("universal_", "unseen_", "eval_users", "eval_items"))]:
        del config[key]
    torch.save(saved, "stock.pth", pickle_protocol=4)
    expected = recommend(checkpoint=checkpoint("BPR"), top_k=2, show_progress=False)
    pd.testing.assert_frame_equal(recommend(checkpoint="stock.pth", top_k=2, show_progress=False), expected)


@pytest.mark.parametrize("content", [b"", b"user,item\n1,2\n", None])
def test_a_file_that_is_no_checkpoint(checkpoint, tmp_path, capsys, content):
    if content is None:
        with open(checkpoint("BPR"), "rb") as file:
            content = file.read()[:5000]
    (tmp_path / "x.pth").write_bytes(content)
    assert cli.main(["recommend", "--checkpoint", "x.pth", "--output", "recs.csv", "--quiet"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("recommend: checkpoint (--checkpoint): [x.pth] is no checkpoint of a RecBole model")
    assert not (tmp_path / "recs.csv").exists()


def test_a_field_that_tomorrow_does_not_have(tmp_path):
    settings = {"threshold": {"rating": 3}, "numerical_features": ["timestamp"], "eval_args": {"mode": "labeled"}}
    file = train("FM", tmp_path, **settings, metrics=["AUC"], valid_metric="AUC")
    with pytest.raises(ValueError, match="this FM reads the field 'timestamp' of an interaction"):
        recommend(checkpoint=file, show_progress=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a file of interactions, or a model that RecBole trained with checkpoint"),
        (["x.csv", "--data-path", "data"], r"data_path \(--data-path\): belongs to checkpoint"),
        (["x.csv", "--checkpoint", "x.pth"], r"leave out interactions \(INTERACTIONS\)\."),
        (["--checkpoint", "x.pth", "--fast", "--model", "universal-base"], r"out pretrained .* and fast \(--fast\)"),
        (["--checkpoint", "x.pth", "--time-column", "t", "--order", "rows"], r"out time_column .* and order"),
        (["--checkpoint", "x.pth"], r"there is no file \[x.pth\]"),
        (["--checkpoint", "recs.csv"], r"\[recs.csv\] is an input file"),
    ],
)
def test_arguments_that_do_not_fit(capsys, tmp_path, words, message):
    if "recs.csv" in words:
        shutil.copy(__file__, "recs.csv")
    assert cli.main(["recommend", *words, "--output", "recs.csv", "--quiet"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line), line
