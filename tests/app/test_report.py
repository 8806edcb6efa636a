"""The report is complete, needs no network, and reports errors clearly."""

from __future__ import annotations

import gzip
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from plotly.offline import get_plotlyjs

from recbole_universal.app import cli
from recbole_universal.app.analysis import evaluation, report
from recbole_universal.app.analysis.report import analyze
from recbole_universal.features import FAMILIES


@pytest.fixture(scope="module")
def matrix() -> sp.csr_matrix:
    rng = np.random.default_rng(0)
    same = np.arange(60)[:, None] % 2 == np.arange(40) % 2
    return sp.csr_matrix((rng.random((60, 40)) < np.where(same, 0.4, 0.05)).astype(np.float32))


def test_report_of_two_datasets(matrix, tmp_path):
    file = tmp_path / "report.html"
    figures = analyze({"one": matrix, "<b>other</b>": matrix[:40]}, file, n_users=20, show_progress=False)
    page = file.read_text()
    assert "&lt;b&gt;other&lt;/b&gt;" in page and "<b>other" not in page
    for tag in ("<link ", "<script src", "<img ", "<iframe ", "@import"):
        assert tag not in page.split(get_plotlyjs())[0] + page.split(get_plotlyjs())[1], tag
    stored = pd.read_csv(file.with_suffix(".csv"))
    assert not stored.duplicated(["dataset", "section", "table", "row", "metric"]).any()
    assert {"Clusters", "By decile", "Tails"} <= set(stored["table"]) and "better fit" in set(stored["row"])
    assert len(stored) == len(figures) > 200
    titles = set(figures["section"])
    assert len(titles) == 7 and all(title in page for title in {title.replace("'", "&#x27;") for title in titles})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.csv", "report.html"]


def test_a_dataset_that_is_too_small_does_not_stop_the_report(matrix, tmp_path):
    lonely = sp.csr_matrix(np.eye(30))
    sparse = sp.csr_matrix(np.eye(30) + np.eye(30, k=29))  # one interaction of the only user with two is held out
    file = tmp_path / "report.html"
    figures = analyze({"one": matrix, "lonely": lonely, "sparse": sparse}, file, n_users=20, show_progress=False)
    assert set(figures["dataset"]) == {"one", "sparse", "All datasets"}
    page = file.read_text()
    assert "Dataset [lonely]: no user has two interactions" in page
    assert "universal model recommends the same popular items to all users here" in page


def test_families_trained_on_the_dataset(matrix, tmp_path, monkeypatch):
    asked = []

    def trained(held_out, families, k, seed, cache_dir):
        asked.append(tuple(families))
        return np.tile(np.arange(k), (len(held_out.users), 1))

    monkeypatch.setattr(evaluation, "trained_top_k", trained)  # test_evaluation.py tests it
    figures = analyze({"one": matrix}, tmp_path / "r.html", n_users=30, in_domain=True, show_progress=False)
    rows = set(figures[figures["table"] == "Families"]["row"])
    without_order = tuple(name for name, family in FAMILIES.items() if not family.needs_histories)
    assert {f"in-domain: {name}" for name in (*without_order, "the paper's three", "all")} < rows
    assert {"MostPop", "ItemKNN", "EASE", "universal model", "universal-paper"} < rows
    assert asked == [*((name,) for name in without_order), without_order[:3], without_order]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output": "report.txt"}, "must end in .html"),
        ({"output": "nowhere/report.html"}, "no folder"),
        ({"n_users": 0}, r"n_users \(--users\) must be an integer >= 1"),
        ({"n_users": 2**70}, r"n_users \(--users\) must be an integer >= 1"),
        ({"pretrained": "universal-paper"}, "proximity"),
        ({"pretrained": "unknown"}, "unknown"),
        ({"matrices": {}}, "no dataset"),
        ({"matrices": {"All datasets": sp.eye(3).tocsr()}}, "part of the report"),
        ({"matrices": {"lonely": sp.csr_matrix(np.eye(4))}}, "lonely.*no user has two"),
        ({"matrices": {"empty": sp.csr_matrix((3, 3))}}, "holds no interaction"),
    ],
)
def test_errors(matrix, change, message, tmp_path):
    arguments = {"matrices": {"one": matrix}, "output": tmp_path / "r.html", "show_progress": False, **change}
    with pytest.raises((ValueError, OSError), match=message):
        analyze(**arguments)
    assert not list(tmp_path.glob("*.html"))


def run(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["python -m recbole_universal", "analyze", *arguments])
    return cli.main()


def test_command_line(matrix, tmp_path, monkeypatch, capsys):
    users, items = matrix.nonzero()
    frame = pd.DataFrame({"user": users, "item": items})
    frame.to_csv(tmp_path / "shop.csv", index=False)
    arguments = (str(tmp_path / "shop.csv"), "--users", "10", "--quiet", "--output")
    assert run(monkeypatch, *arguments, "shop.html") == 1  # its figures would be shop.csv
    assert "is an input file" in capsys.readouterr().err
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "shop.csv"), frame, check_dtype=False)
    assert run(monkeypatch, *arguments, "report.html") == 0
    assert "report.html" in capsys.readouterr().out
    assert set(pd.read_csv(tmp_path / "report.csv")["dataset"]) == {"shop"}


def test_the_name_of_a_dataset_is_that_of_its_file_without_the_ending(tmp_path, monkeypatch):
    analyzed: list[str] = []
    monkeypatch.setattr(report, "analyze", lambda matrices, *_, **__: analyzed.extend(matrices))
    files = ["shop.v1.csv", "shop.v2.csv", "shop.inter", "u.data", "2024.01"]
    for name in files:
        (tmp_path / name).write_text("user,item\nu1,i1\nu2,i2\n")
    with gzip.open(tmp_path / "log.JSONL.gz", "wt") as stream:
        stream.write('{"user": "u1", "item": "i1"}\n')
    assert run(monkeypatch, *(str(tmp_path / name) for name in [*files, "log.JSONL.gz"]), "--quiet") == 0
    assert analyzed == ["shop.v1", "shop.v2", "shop", "u", "2024.01", "log"]


def test_files_that_nobody_named_are_kept(matrix, tmp_path, monkeypatch, capsys):
    users, items = matrix.nonzero()
    pd.DataFrame({"user": users, "item": items}).to_csv(tmp_path / "in.csv", index=False)
    arguments = (str(tmp_path / "in.csv"), "--users", "10", "--quiet")
    (tmp_path / "shop.csv").write_text("precious,data\n")
    assert run(monkeypatch, *arguments, "--output", "shop.html") == 1
    assert "[shop.csv], the table of [shop.html], exists" in capsys.readouterr().err
    (tmp_path / "analysis.html").write_text("<html>mine</html>")
    assert run(monkeypatch, *arguments) == 1
    assert "[analysis.html] exists and is no report of analyze" in capsys.readouterr().err
    assert (tmp_path / "shop.csv").read_text() == "precious,data\n"
    assert (tmp_path / "analysis.html").read_text() == "<html>mine</html>"
    assert len(list(tmp_path.iterdir())) == 3
    (tmp_path / "analysis.html").unlink()
    monkeypatch.setenv("HOME", str(tmp_path))
    for again in range(2):  # the files of the first run are replaced
        assert run(monkeypatch, *arguments) == 0, again
        assert run(monkeypatch, *arguments, "--output", "~/own.html") == 0, again
    assert {path.name for path in tmp_path.iterdir()} == {
        *("in.csv", "shop.csv", "analysis.html", "analysis.csv", "own.html", "own.csv")
    }


def test_a_path_that_cannot_be_written_is_reported_first(matrix, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "RandomSplit", None)
    (tmp_path / "r.html").touch(0o444)
    with pytest.raises(OSError, match=r"output \(--output\): cannot write .*write-protected"):
        analyze({"one": matrix}, tmp_path / "r.html", show_progress=False)
    assert (tmp_path / "r.html").read_text() == ""


def test_command_line_finds_named_datasets_and_reports_missing_ones(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, "nothing", "--data-path", str(tmp_path)) == 1
    message = capsys.readouterr().err
    assert "[nothing]" in message and str(tmp_path / "nothing" / "nothing.inter") in message
