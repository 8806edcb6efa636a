"""The format of pre-trained models: what comes back is what was written, and nothing else is loaded."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from recbole_universal.pretrained import load_pretrained, save_pretrained, shipped

SCHEMA = {
    "features": {"schema_hash": "abc", "families": [{"name": "activity", "args": {"n_bins": 4}}]},
    "network": {"mlp_hidden_size": [8]},
}
CARD = {"name": "test-model", "sources": ["red", "green"], "metrics": {"NDCG@10": 0.5}, "seed": 1}


@pytest.fixture
def folder(tmp_path):
    weights = {"layer": torch.arange(6.0).reshape(2, 3), "flipped": torch.arange(6.0).reshape(2, 3).T}
    return save_pretrained(tmp_path / "model", weights, SCHEMA, CARD)


def weights_file(folder: Path) -> Path:
    (file,) = folder.glob("*.safetensors")
    return file


def change(folder: Path, **entries) -> None:
    content = json.loads((folder / "model.json").read_text()) | entries
    (folder / "model.json").write_text(json.dumps(content))


def test_round_trip(folder):
    loaded = load_pretrained(folder)
    assert torch.equal(loaded.state_dict["layer"], torch.arange(6.0).reshape(2, 3))
    assert torch.equal(loaded.state_dict["flipped"], torch.arange(6.0).reshape(2, 3).T)
    assert loaded.schema == SCHEMA
    assert loaded.card == CARD


def test_the_card_is_written_for_people(folder):
    card = (folder / "README.md").read_text()
    assert "test-model" in card and "red, green" in card and "NDCG@10 | 0.5" in card and "n_bins 4" in card


def test_saving_again_replaces_the_model(folder):
    first = weights_file(folder)
    save_pretrained(folder, {"layer": torch.zeros(1)}, SCHEMA, CARD)
    assert not first.exists()
    assert torch.equal(load_pretrained(folder).state_dict["layer"], torch.zeros(1))
    assert {path.name for path in folder.iterdir()} == {"model.json", "README.md", weights_file(folder).name}


def test_files_of_others_are_kept(folder):
    others = ("README.md", "model-00001-of-00002.safetensors", "model-0123456789ab.safetensors")
    for name in others:
        (folder / name).write_text("mine")
    first = json.loads((folder / "model.json").read_text())["weights"]["file"]
    with pytest.warns(UserWarning, match=r"README.md\] is not the card of the model that was there; it is kept"):
        save_pretrained(folder, {"layer": torch.zeros(1)}, SCHEMA, CARD)
    second = json.loads((folder / "model.json").read_text())["weights"]["file"]
    assert {path.name for path in folder.iterdir()} == {*others, "model.json", second} and first != second
    assert all((folder / name).read_text() == "mine" for name in others)


def test_a_folder_that_held_no_model(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.warns(UserWarning, match="it is kept"):
        save_pretrained(tmp_path, {"layer": torch.zeros(1)}, SCHEMA, CARD)
    assert (tmp_path / "README.md").read_text() == "mine" and load_pretrained(tmp_path).card == CARD


@pytest.mark.parametrize("content", ["{}", "[]", "half", '{"weights": 3}', b"\xff\x00"])
def test_a_model_json_of_another_program_is_refused(tmp_path, content):
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(FileExistsError, match=r"model.json\] is not a model of recbole_universal"):
        save_pretrained(tmp_path, {"layer": torch.zeros(1)}, SCHEMA, CARD)
    assert (tmp_path / "model.json").read_bytes() == content and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["README.md", "../victim", "model-00001-of-00002.safetensors"])
def test_no_file_but_weights_is_removed(folder, name):
    (folder / name).write_text("precious")
    content = json.loads((folder / "model.json").read_text())
    change(folder, weights=content["weights"] | {"file": name})
    if name == "README.md":
        (folder / name).unlink()
    save_pretrained(folder, {"layer": torch.zeros(1)}, SCHEMA, CARD)
    assert (folder / name).exists()


def test_a_model_for_the_user_alone_stays_so(folder):
    old = os.umask(0o077)
    try:
        private = save_pretrained(folder.parent / "private", {"layer": torch.zeros(1)}, SCHEMA, CARD)
    finally:
        os.umask(old)
    assert {stat.S_IMODE(path.stat().st_mode) for path in private.iterdir()} == {0o600}


def test_the_same_weights_give_the_same_files(folder, tmp_path):
    again = save_pretrained(tmp_path / "again", load_pretrained(folder).state_dict, SCHEMA, CARD)
    assert [path.read_bytes() for path in sorted(again.iterdir())] == [p.read_bytes() for p in sorted(folder.iterdir())]


def test_a_failed_save_leaves_the_old_model(folder):
    with pytest.raises(ValueError):  # JSON has no NaN
        save_pretrained(folder, {"layer": torch.zeros(1)}, SCHEMA, {**CARD, "metrics": {"NDCG@10": float("nan")}})
    assert torch.equal(load_pretrained(folder).state_dict["layer"], torch.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize("place", [0, 20, -1])
def test_one_changed_byte_is_refused(folder, place):
    content = bytearray(weights_file(folder).read_bytes())
    content[place] ^= 1
    weights_file(folder).write_bytes(content)
    with pytest.raises(ValueError, match="sha256 differs"):
        load_pretrained(folder)


def test_weights_of_another_model_are_refused(folder, tmp_path):
    other = save_pretrained(tmp_path / "other", {"layer": torch.zeros(2, 3)}, SCHEMA, CARD)
    weights_file(folder).write_bytes(weights_file(other).read_bytes())
    with pytest.raises(ValueError, match="sha256 differs"):
        load_pretrained(folder)


def test_a_pickle_is_never_opened(folder, tmp_path):
    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harm",))

    content = pickle.dumps(Harm())
    weights_file(folder).write_bytes(content)
    change(folder, weights={"file": weights_file(folder).name, "sha256": hashlib.sha256(content).hexdigest()})
    with pytest.raises(ValueError, match="no safetensors file"):
        load_pretrained(folder)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "model.json is no JSON"),
        ("[]", "is of format"),
        ('{"format": 99}', "format 99.*reads format 1"),
        ('{"format": 1}', "no entry 'weights'"),
        ('{"format": 1, "weights": {"file": "a", "sha256": "b"}, "card": {}, "schema": {}}', "no entry 'features'"),
        (
            '{"format": 1, "weights": {"file": "../a", "sha256": "b"}, "card": {}, '
            '"schema": {"features": {"schema_hash": "c"}, "network": {}}}',
            "must stand in the folder",
        ),
    ],
)
def test_a_broken_description_is_refused(folder, text, message):
    (folder / "model.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_pretrained(folder)


def test_missing_weights_are_named(folder):
    weights_file(folder).unlink()
    with pytest.raises(FileNotFoundError, match=r"weights file model-.*is missing"):
        load_pretrained(folder)


@pytest.mark.parametrize("name", ["universal-bas", "/nowhere"])
def test_an_unknown_name_lists_the_shipped_ones(name):
    with pytest.raises(FileNotFoundError, match="universal-base, universal-paper"):
        load_pretrained(name)


@pytest.mark.parametrize("name", [None, "", 3])
def test_a_wrong_type_is_refused(name):
    with pytest.raises(ValueError, match=r"pretrained: must be a name or a folder.*universal-base"):
        load_pretrained(name)


def test_the_shipped_models_are_small_and_whole():
    assert shipped() == ["universal-base", "universal-paper"]
    size = 0
    for name in shipped():
        loaded = load_pretrained(name)
        assert all(bool(tensor.isfinite().all()) for tensor in loaded.state_dict.values())
        assert loaded.card["name"] == name and len(loaded.card["sources"]) > 20
        size += sum(tensor.nbytes for tensor in loaded.state_dict.values())
    assert size < 1_000_000


def test_a_fresh_process_reads_the_same(folder):
    script = (
        "import sys; from recbole_universal.pretrained import load_pretrained;"
        "print(load_pretrained(sys.argv[1]).state_dict['layer'].sum().item())"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True)
    assert float(done.stdout.split()[-1]) == 15.0
