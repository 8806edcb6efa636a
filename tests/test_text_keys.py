"""Config keys that hold text: they are taken as they stand, and never run."""

from __future__ import annotations

import os
import re

import pytest
from recbole.config import Config

from recbole_universal.integration import properties_dir
from recbole_universal.text_keys import TEXT_KEYS, text_value

HARM = "__import__('os').mkdir('executed')"


def test_all_keys_of_text_are_known():
    found = set()
    for file in properties_dir().rglob("*.yaml"):
        found |= set(re.findall(r"^(\w+): .*# \(str\)", file.read_text(encoding="utf-8"), re.MULTILINE))
    assert found - {"dataset", "valid_metric"} == TEXT_KEYS  # RecBole's own keys


@pytest.mark.parametrize("where", ["config_dict", "command line"])
def test_no_text_is_run(where, monkeypatch):
    given = dict.fromkeys(TEXT_KEYS - {"base_model", "base_checkpoint", "pretrained"}, HARM)
    given["train_stage"] = "in_domain"
    if where == "command line":
        monkeypatch.setattr("sys.argv", ["run.py", *(f"--{key}={value}" for key, value in given.items())])
        config = Config("UniversalMLP", "ml-100k")
    else:
        config = Config("UniversalMLP", "ml-100k", config_dict=dict(given))
    assert {key: config[key] for key in given} == given
    assert not os.path.exists("executed")
    monkeypatch.setattr("sys.argv", ["run.py"])
    for key in ("base_model", "base_checkpoint", "pretrained"):  # looked up at once, and not found
        model = "UniversalMLP" if key == "pretrained" else "UniversalInterpolation"
        with pytest.raises((ValueError, OSError), match="executed"):
            Config(model, "ml-100k", config_dict={key: HARM})
    assert not os.path.exists("executed")


@pytest.mark.parametrize(
    ("given", "meant"),
    [("None", None), ("'a b'", "a b"), ('"a"', "a"), ("3", "3"), ("saved/x", "saved/x"), ("[1]", "[1]"), ("", "")],
)
def test_what_a_text_means(given, meant):
    assert text_value(given) == meant


def test_other_keys_are_read_as_before():
    given = {"epochs": "3", "universal_features": "['activity']", "train_stage": "in_domain"}
    given |= {"universal_cache_dir": "None", "pretrain_name": "'mine'"}
    config = Config("UniversalMLP", "ml-100k", config_dict=given)
    assert config["universal_cache_dir"] is None and config["pretrain_name"] == "mine"
    assert config["epochs"] == 3 and config["universal_features"] == ["activity"]
    assert given["epochs"] == 3  # RecBole changes the caller's dictionary
