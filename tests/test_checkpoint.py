"""The format of pre-trained models: loading returns what was saved, and other files are refused."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from safetensors.torch import save

from recbole_universal import FeaturePipeline, UniversalRanker, checkpoint
from recbole_universal.checkpoint import load_pretrained, save_pretrained, shipped
from recbole_universal.ranking.network import UniversalNetwork

PIPELINE = FeaturePipeline(["activity"], {"activity": {"n_bins": 3}})
NETWORK = {"mlp_hidden_size": [4], "embedding_size": 2, "dropout_prob": 0.0, "feature_combination": "concatenation"}
SCHEMA = {"features": PIPELINE.schema, "network": NETWORK}
CARD = {"name": "test-model", "sources": ["red", "green"], "metrics": {"NDCG@10": 0.5}, "seed": 1}
FIRST = "scorers.0.user_tower.1.weight"  # [4, 3]


def weights_of(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return UniversalNetwork(PIPELINE.dims, **NETWORK).state_dict()


@pytest.fixture
def folder(tmp_path):
    flipped = weights_of(0)[FIRST].T.contiguous().T
    return save_pretrained(tmp_path / "model", {**weights_of(0), FIRST: flipped}, SCHEMA, CARD)


def weights_file(folder: Path) -> Path:
    (file,) = folder.glob("*.safetensors")
    return file


def weights_file_name(folder: Path) -> str:
    return json.loads((folder / "model.json").read_text())["weights"]["file"]


def change(folder: Path, **entries) -> None:
    content = json.loads((folder / "model.json").read_text()) | entries
    (folder / "model.json").write_text(json.dumps(content))


def test_round_trip(folder):
    loaded = load_pretrained(folder)
    assert loaded.state_dict.keys() == weights_of(0).keys()
    assert all(torch.equal(loaded.state_dict[name], value) for name, value in weights_of(0).items())
    assert loaded.schema == SCHEMA
    assert loaded.card == CARD


def test_the_card_is_written_for_people(folder):
    card = (folder / "README.md").read_text()
    assert "test-model" in card and "red, green" in card and "NDCG@10 | 0.5" in card and "n_bins 3" in card


def test_saving_again_replaces_the_model(folder):
    first = weights_file(folder)
    save_pretrained(folder, weights_of(1), SCHEMA, CARD)
    assert not first.exists()
    assert torch.equal(load_pretrained(folder).state_dict[FIRST], weights_of(1)[FIRST])
    assert {path.name for path in folder.iterdir()} == {"model.json", "README.md", weights_file(folder).name}


def test_other_files_stay(folder):
    others = ("README.md", "model-00001-of-00002.safetensors", "model-0123456789ab.safetensors")
    for name in others:
        (folder / name).write_text("mine")
    first = json.loads((folder / "model.json").read_text())["weights"]["file"]
    with pytest.warns(UserWarning, match=r"README.md\] is not the card of the old model and is kept"):
        save_pretrained(folder, weights_of(1), SCHEMA, CARD)
    second = json.loads((folder / "model.json").read_text())["weights"]["file"]
    assert {path.name for path in folder.iterdir()} == {*others, "model.json", second} and first != second
    assert all((folder / name).read_text() == "mine" for name in others)


def test_a_folder_that_held_no_model(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.warns(UserWarning, match="is kept"):
        save_pretrained(tmp_path, weights_of(1), SCHEMA, CARD)
    assert (tmp_path / "README.md").read_text() == "mine" and load_pretrained(tmp_path).card == CARD


@pytest.mark.parametrize("content", ["{}", "[]", "half", '{"weights": 3}', b"\xff\x00", "[" * 10**5])
def test_a_model_json_of_another_program_is_refused(tmp_path, content):
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(FileExistsError, match=r"model.json\] is not a model of recbole_universal"):
        save_pretrained(tmp_path, weights_of(1), SCHEMA, CARD)
    assert (tmp_path / "model.json").read_bytes() == content and len(list(tmp_path.iterdir())) == 1


def test_a_description_that_no_reader_accepts_is_not_saved(tmp_path):
    card = {**CARD, "sources": ["\u4e2d" * 100] * 2000}
    with pytest.raises(ValueError, match=r"Nothing is saved in .*model.json would have 1\d{6} bytes; at most 1048576"):
        save_pretrained(tmp_path / "new", weights_of(1), SCHEMA, card)
    assert not (tmp_path / "new").exists()
    card["sources"] = card["sources"][:1600]
    assert load_pretrained(save_pretrained(tmp_path / "new", weights_of(1), SCHEMA, card)).card == card


@pytest.mark.parametrize("name", ["README.md", "../victim", "model-00001-of-00002.safetensors"])
def test_no_file_but_weights_is_removed(folder, name):
    (folder / name).write_text("precious")
    content = json.loads((folder / "model.json").read_text())
    change(folder, weights=content["weights"] | {"file": name})
    if name == "README.md":
        (folder / name).unlink()
    save_pretrained(folder, weights_of(1), SCHEMA, CARD)
    assert (folder / name).exists()


def test_a_private_model_stays_private(folder):
    old = os.umask(0o077)
    try:
        private = save_pretrained(folder.parent / "private", weights_of(1), SCHEMA, CARD)
    finally:
        os.umask(old)
    assert {stat.S_IMODE(path.stat().st_mode) for path in private.iterdir()} == {0o600}


def test_the_same_weights_give_the_same_files(folder, tmp_path):
    again = save_pretrained(tmp_path / "again", load_pretrained(folder).state_dict, SCHEMA, CARD)
    assert [path.read_bytes() for path in sorted(again.iterdir())] == [p.read_bytes() for p in sorted(folder.iterdir())]


def test_a_failed_save_leaves_the_old_model(folder):
    with pytest.raises(ValueError):  # JSON has no NaN
        save_pretrained(folder, weights_of(1), SCHEMA, {**CARD, "metrics": {"NDCG@10": float("nan")}})
    assert torch.equal(load_pretrained(folder).state_dict[FIRST], weights_of(0)[FIRST])


@pytest.mark.parametrize("failing", ["model.json", "README.md"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_save_that_stops_half_way_leaves_one_model(folder, tmp_path, monkeypatch, failing, error):
    stock = checkpoint.write_text

    def stop(path, text):
        if path.name == failing:
            raise error
        stock(path, text)

    monkeypatch.setattr(checkpoint, "write_text", stop)
    with pytest.raises(error):
        save_pretrained(folder, weights_of(1), SCHEMA, CARD)
    whole = weights_of(0 if failing == "model.json" else 1)
    assert torch.equal(load_pretrained(folder).state_dict[FIRST], whole[FIRST])
    assert {path.name for path in folder.iterdir()} == {"model.json", "README.md", weights_file(folder).name}
    with pytest.raises(error):
        save_pretrained(tmp_path / "new", weights_of(1), SCHEMA, CARD)
    assert {path.name for path in (tmp_path / "new").iterdir()} <= (
        {"model.json", weights_file(folder).name} if failing == "README.md" else set()
    )


def test_weights_that_a_killed_save_left_are_removed(folder, tmp_path):
    left = weights_file(save_pretrained(tmp_path / "other", weights_of(2), SCHEMA, CARD))
    left.rename(folder / left.name)
    (folder / weights_file_name(folder)).write_text("damaged, and still the old model's")
    save_pretrained(folder, weights_of(1), SCHEMA, CARD)
    assert weights_file(folder).name == weights_file_name(folder)


def test_a_model_that_is_replaced_while_it_is_read(folder, monkeypatch):
    stock, descriptions = checkpoint.read_description, []

    def replaced(path):
        descriptions.append(stock(path))
        if len(descriptions) == 1:
            save_pretrained(folder, weights_of(1), SCHEMA, CARD)
        return descriptions[-1]

    monkeypatch.setattr(checkpoint, "read_description", replaced)
    assert torch.equal(load_pretrained(folder).state_dict[FIRST], weights_of(1)[FIRST])


def test_a_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save_pretrained("~/model", weights_of(0), SCHEMA, CARD)
    assert load_pretrained("~/model").card == load_pretrained(tmp_path / "model").card == CARD


def test_a_card_in_another_order_is_replaced_and_a_changed_one_stays(folder):
    """Version 0.1.0 wrote the card in the order of the caller's dicts."""
    families = [family | {"args": dict(reversed(family["args"].items()))} for family in SCHEMA["features"]["families"]]
    schema = {"features": {**SCHEMA["features"], "families": families}, "network": dict(reversed(NETWORK.items()))}
    other_order = checkpoint.model_card(schema, CARD)
    assert other_order != (folder / "README.md").read_text()
    (folder / "README.md").write_text(other_order)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_pretrained(folder, weights_of(1), SCHEMA, {**CARD, "name": "second"})
    assert (folder / "README.md").read_text().startswith("# second")
    (folder / "README.md").write_text((folder / "README.md").read_text().replace("0.5", "0.6"))
    with pytest.warns(UserWarning, match="is kept"):
        save_pretrained(folder, weights_of(1), SCHEMA, CARD)


@pytest.mark.parametrize("place", [0, 20, -1])
def test_one_changed_byte_is_refused(folder, place):
    content = bytearray(weights_file(folder).read_bytes())
    content[place] ^= 1
    weights_file(folder).write_bytes(content)
    with pytest.raises(ValueError, match="sha256 differs"):
        load_pretrained(folder)


def test_weights_of_another_model_are_refused(folder, tmp_path):
    other = save_pretrained(tmp_path / "other", weights_of(1), SCHEMA, CARD)
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
        ('{"format": 1, "format": 1}', "the entry 'format' occurs twice"),
        ('{"format": NaN}', "NaN is no number of JSON"),
        ('{"format": 1e999}', "too large"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        (" " * 2**20 + "{}", "larger than 1048576 bytes"),
    ],
)
def test_a_broken_description_is_refused(folder, text, message):
    (folder / "model.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_pretrained(folder)


BIG = 10**9


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("weights.file", 5, "must hold a text as 'file' in weights, got 5"),
        ("weights.file", "../a", "must be in the folder"),
        ("weights.file", "", "must be in the folder"),
        ("weights.sha256", "b", "64 hexadecimal digits"),
        ("weights", [], "must hold an object as 'weights'"),
        ("schema", {}, "no entry 'features' in schema"),
        ("schema.network", [], "must hold an object as 'network' in schema"),
        ("schema.network.x", 1, "unknown entry 'x' in schema.network"),
        ("schema.network.embedding_size", None, "must hold an integer as 'embedding_size'"),
        ("schema.network.embedding_size", True, "must hold an integer as 'embedding_size'"),
        ("schema.network.embedding_size", BIG, "embedding_size must be an integer >= 1 and at most 4096"),
        ("schema.network.embedding_size", 3, r"item_tower.4.bias is F32 \[2\], not F32 \[3\]"),
        ("schema.network.mlp_hidden_size", [4097], "mlp_hidden_size must be an integer >= 1 and at most 4096"),
        ("schema.network.mlp_hidden_size", [4096] * 3, "weights; at most"),
        ("schema.network.mlp_hidden_size", [1] * BIG.bit_length() * 9, "at most 16 integers"),
        ("schema.network.mlp_hidden_size", [4, 4], "does not hold the weights of the network"),
        ("schema.network.mlp_hidden_size", [[]], "mlp_hidden_size must be an integer"),
        ("schema.network.n_networks", BIG, "n_networks must be an integer >= 1 and at most 100"),
        ("schema.network.n_networks", 2, "scorers.1.item_tower.1.bias is missing"),
        ("schema.network.dropout_prob", 2, r"dropout_prob must be a number in \[0, 1\), not 2"),
        ("schema.network.feature_combination", "sum", "feature_combination must be one of"),
        ("schema.features.families", None, "must hold a list as 'families'"),
        ("schema.features.families", [], "non-empty list"),
        ("schema.features.families", [{}], r"no entry 'name' in schema.features.families\[0\]"),
        ("schema.features.families", [5], "must hold an object at schema.features.families"),
        ("schema.features.families", SCHEMA["features"]["families"] * 2, "two entries 'activity'"),
        ("schema.features.families.0.name", "wisdom", "feature family 'wisdom', which is not registered"),
        ("schema.features.families.0.args.n_bins", BIG, "n_bins must be an integer >= 2 and below"),
        ("schema.features.families.0.args.n_bins", [3], "n_bins must be an integer >= 2 and below"),
        ("schema.features.families.0.args.n_bins", 4, "universal features of another version"),
        ("schema.features.families.0.dims.user", 4, "do not fit their schema_hash"),
        ("schema.features.schema_hash", "0", "universal features of another version"),
        (
            "schema.features.node2vec",
            {"embedding_dim": 101, "walk_length": 1000, "context_size": 1000},
            "too much work",
        ),
        ("schema.features.node2vec", {"epochs": 3}, "no model of this version.*unknown argument epochs"),
        ("schema.features.families.0.args.log_base", -(10**400), "log_base must be a finite number"),
        ("card.sources", "red", "a list of dataset names at card.sources"),
        ("card.name", 5, "a text at card.name"),
        ("extra", 1, "unknown entry 'extra'"),
    ],
)
def test_every_entry_of_the_description_is_checked(folder, entry, value, message):
    content = json.loads((folder / "model.json").read_text())
    *way, last = entry.split(".")
    inner = content
    for name in way:
        inner = inner[int(name) if isinstance(inner, list) else name]
    inner[last] = value
    (folder / "model.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"^Pre-trained model \[.*" + message):
        load_pretrained(folder)


def with_weights(folder: Path, **changed: torch.Tensor | None) -> None:
    """Replace the weights file, hash and all."""
    weights = {**weights_of(0), **changed}
    content = save({name: value.contiguous() for name, value in weights.items() if value is not None})
    weights_file(folder).write_bytes(content)
    change(folder, weights={"file": weights_file(folder).name, "sha256": hashlib.sha256(content).hexdigest()})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({FIRST: None}, rf"{FIRST} is missing, not F32 \[4, 3\]"),
        ({"extra": torch.zeros(1)}, r"extra is F32 \[1\], not missing"),
        ({FIRST: torch.zeros(4, 3).double()}, r"is F64 \[4, 3\], not F32"),
        ({FIRST: torch.zeros(4, 3).int()}, r"is I32 \[4, 3\], not F32"),
        ({FIRST: torch.zeros(3, 4)}, r"is F32 \[3, 4\], not F32 \[4, 3\]"),
        ({FIRST: torch.full((4, 3), torch.nan)}, f"{FIRST} hold NaN or infinite numbers"),
        ({FIRST: torch.full((4, 3), torch.inf)}, f"{FIRST} hold NaN or infinite numbers"),
        ({name: torch.zeros_like(value) for name, value in weights_of(0).items()}, "all weights are 0"),
    ],
)
def test_weights_that_do_not_fit_are_refused(folder, changed, message):
    with_weights(folder, **changed)
    with pytest.raises(ValueError, match=message):
        load_pretrained(folder)


def test_weights_in_another_folder_are_refused(folder, tmp_path):
    file = weights_file(folder)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is a link to another folder"):
        load_pretrained(folder)


def test_weights_of_gigabytes_are_not_read(folder):
    with open(weights_file(folder), "r+b") as file:
        file.truncate(2**33)  # a sparse file
    with pytest.raises(ValueError, match="is larger than 268435456 bytes"):
        load_pretrained(folder)


def test_a_model_that_diverged_is_not_saved(folder):
    weights = {**weights_of(1), FIRST: torch.full((4, 3), torch.nan)}
    with pytest.raises(ValueError, match=r"Nothing is saved.*a smaller learning_rate helps"):
        save_pretrained(folder, weights, SCHEMA, CARD)
    assert torch.equal(load_pretrained(folder).state_dict[FIRST], weights_of(0)[FIRST])


def test_scores_that_overflow_are_an_error_and_no_empty_list(folder):
    with_weights(folder, **{name: torch.full_like(v, 3e38) for name, v in weights_of(0).items() if "weight" in name})
    ranker = UniversalRanker(sp.csr_matrix(np.eye(6)), folder)
    with pytest.raises(ValueError, match="scores of the model are NaN or infinite"):
        ranker.top_k(np.arange(6), 2)


def test_reading_a_model_leaves_the_random_state(folder):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    load_pretrained(folder)
    assert torch.equal(torch.get_rng_state(), before)


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


def test_the_shipped_models_are_small_and_intact():
    assert shipped() == ["universal-base", "universal-paper", "universal-sequential"]
    size = 0
    for name in shipped():
        loaded = load_pretrained(name)
        assert all(bool(tensor.isfinite().all()) for tensor in loaded.state_dict.values())
        assert loaded.card["name"] == name and len(loaded.card["sources"]) > 20
        size += sum(tensor.nbytes for tensor in loaded.state_dict.values())
    assert size < 1_000_000


def test_a_fresh_process_reads_the_same(folder):
    script = (
        "import sys; from recbole_universal.checkpoint import load_pretrained;"
        "print(load_pretrained(sys.argv[1]).state_dict['scorers.0.user_tower.1.weight'].double().sum().item())"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True)
    assert float(done.stdout.split()[-1]) == weights_of(0)[FIRST].double().sum().item()
