"""UniversalSASRec makes the join test: for the dataset of a run, and for each source of a pre-training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_universal_sasrec import N_ITEMS, N_USERS, built, shop  # noqa: F401

from recbole_universal import pretrain


def shuffle_titles(keys: dict, name: str) -> None:
    """Give each item the title of another one."""
    file = Path(keys["data_path"]) / name / f"{name}.item"
    head, *lines = file.read_text(encoding="utf-8").splitlines()
    ids, titles = zip(*(line.split("\t") for line in lines), strict=True)
    order = np.random.default_rng(1).permutation(N_ITEMS)
    rows = [f"{item}\t{titles[other]}" for item, other in zip(ids, order, strict=True)]
    file.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")


@pytest.mark.parametrize("encoder", ["content", "id_plus_content", "words"])
def test_titles_of_other_items_are_refused(shop, encoder):  # noqa: F811
    shuffle_titles(shop, "alpha")
    keys = {**shop, "item_encoder": encoder}
    with pytest.raises(ValueError, match=r"^content_join_z: dataset \[alpha\]: two items of one user are not more"):
        built(keys)
    built({**keys, "content_join_z": None})
    built({**keys, "item_encoder": "id"})


def test_vectors_of_other_items_are_refused_beside_right_titles(shop, tmp_path):  # noqa: F811
    file, rng = tmp_path / "colour.npz", np.random.default_rng(0)
    colours = np.eye(4)[np.arange(N_ITEMS) % 4] + rng.normal(size=(N_ITEMS, 4)) / 10
    keys = {**shop, "content_files": {"colour": str(file)}}
    ids = [f"a{item:02d}" for item in range(N_ITEMS)]
    np.savez(file, ids=ids, feat=colours)
    assert built(keys)[0].schema["sequence_model"]["arguments"]["modalities"] == {"distil": 64, "colour": 4}
    np.savez(file, ids=ids, feat=rng.permutation(colours))
    with pytest.raises(ValueError, match=r"dataset \[alpha\]: two items .*: colour: z "):
        built(keys)
    np.savez(file, ids=ids, feat=np.ones((N_ITEMS, 4)))  # one vector for all items says nothing
    with pytest.raises(ValueError, match=r"colour: z 0\.0"):
        built(keys)


def test_each_source_of_a_pretraining_is_tested(shop):  # noqa: F811
    shuffle_titles(shop, "beta")
    keys = {**shop, "epochs": 1, "pretrain_dir": "pre"}
    with pytest.raises(ValueError, match=r"content_join_z: dataset \[beta\]: two items"):
        pretrain(config_dict={**keys, "pretrain_sources": ["alpha", "beta"]}, model="UniversalSASRec")
    assert not Path("pre/model").exists()
    accepted = ["alpha", {"dataset": "beta", "content_join_z": None}]
    assert pretrain(config_dict={**keys, "pretrain_sources": accepted}, model="UniversalSASRec").is_dir()


def test_few_different_pairs_cannot_tell(shop):  # noqa: F811
    """All users have the same items, so that there is nothing to compare."""
    shuffle_titles(shop, "alpha")
    rows = [f"u{user}\ta{item:02d}\t{time}" for user in range(N_USERS) for time, item in enumerate((1, 5, 2, 6, 3))]
    file = Path(shop["data_path"]) / "alpha" / "alpha.inter"
    file.write_text("\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]) + "\n", encoding="utf-8")
    built(shop)
