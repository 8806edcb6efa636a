"""The join test in ``doctor`` and ``analyze``."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from recbole_universal.app import cli

TOPICS = ("apple pear", "dog cat", "car truck", "guitar drum")


@pytest.fixture
def files(tmp_path):
    """Interactions in four topics, and tables of items, right and permuted."""
    generator = np.random.default_rng(0)
    topic = np.arange(40) // 2 % 4
    chance = np.where(np.arange(200)[:, None] % 4 == topic, 0.4, 0.02)
    users, items = np.nonzero(generator.random(chance.shape) < chance)
    pd.DataFrame({"user_id": users, "item_id": items}).to_csv(tmp_path / "shop.csv", index=False)
    titles = np.array([f"{TOPICS[each]} {k}" for k, each in enumerate(topic)])
    for name, order in (("right", np.arange(40)), ("wrong", generator.permutation(40))):
        pd.DataFrame({"item_id": np.arange(40), "title": titles[order]}).to_csv(tmp_path / f"{name}.csv", index=False)
    np.savez(tmp_path / "right.npz", ids=np.arange(40).astype(str), v=np.eye(4)[topic] + 0.1)
    return tmp_path


@pytest.mark.parametrize(("items", "status"), [("right.csv", 0), ("wrong.csv", 1), ("right.npz", 0)])
def test_doctor_tests_the_join(files, items, status, capsys):
    assert cli.main(["doctor", "--data", str(files / "shop.csv"), "--items", str(files / items)]) == status
    out = capsys.readouterr().out
    assert ("is accepted" in out, "REFUSED" in out) == (not status, bool(status)) and re.search(r": z -?\d", out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--items", "x.csv"], "go together"),
        (["--data", "{}/shop.csv", "--items", "{}/none.csv"], "none.csv"),
        (["--data", "{}/shop.csv", "--items", "{}/right.csv", "--content-fields", "plot"], "no column"),
        (["--data", "{}/shop.csv", "--items", "{}/shop.csv"], "no column holds text"),
    ],
)
def test_doctor_names_what_is_wrong(files, words, message, capsys):
    assert cli.main(["doctor", *(word.format(files) for word in words)]) == 1
    assert message in capsys.readouterr().err


def test_analyze_reports_the_join(files):
    pytest.importorskip("plotly")
    output = files / "a.html"
    words = [str(files / "shop.csv"), "--items", str(files / "wrong.csv"), "--output", str(output), "--quiet"]
    assert cli.main(["analyze", *words]) == 0
    assert "Does the content belong to the items?" in output.read_text()
    figures = pd.read_csv(output.with_suffix(".csv"))
    belongs = figures[(figures["table"] == "Join") & (figures["metric"] == "z")]
    assert len(belongs) == 2 and (belongs["value"].astype(float) < 3).all()


def test_analyze_takes_items_for_one_dataset(files, capsys):
    data = str(files / "shop.csv")
    assert cli.main(["analyze", data, data, "--items", str(files / "right.csv")]) == 1
    assert "one dataset" in capsys.readouterr().err
