"""Parts of recommendations: the lists of a single process, runs that go on, and folders of other runs.

Workers are objects of this process here; test_ray.py has those of Ray.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import sys
import warnings
from pathlib import Path

import engine_data
import pandas as pd
import pytest

from recbole_universal import Recommender, recommend, recommend_on_ray
from recbole_universal.app import cli, part_writer
from recbole_universal.app.recommendation_parts import COMPLETE, MANIFEST, PartsFolder
from recbole_universal.files import locked_folder

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("engine") / "shop"
    engine_data.saved(folder)
    return folder


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """One worker in this process in the place of Ray; the numbers of the parts that it writes."""
    from recbole_universal.app import recommend_on_ray as module

    written: list[int] = []

    def in_this_process(ray, kind, method, shared, calls, workers):
        worker = kind()
        for call in calls:
            arguments = call()
            written.append(int(arguments[0].path.stem.removeprefix("part-")))
            yield getattr(worker, method)(shared, *arguments)

    monkeypatch.setattr(module, "ray_cluster", lambda workers, address: contextlib.nullcontext((None, 1)))
    monkeypatch.setattr(module, "checked_ray", lambda workers, address: None)
    monkeypatch.setattr(module, "in_actors", in_this_process)
    return written


def parts(folder, output="out", **settings):
    return recommend_on_ray(folder, output, **{"top_k": 4, "part_users": 20, "show_progress": False, **settings})


@pytest.mark.parametrize(
    "settings",
    [{}, {"fast": True}, {"include_seen": True}, {"where": "price < 9"}, {"users": ["u7", "u52", "u3"]}],
    ids=lambda settings: next(iter(settings), "all"),
)
def test_lists_are_those_of_a_single_process(shop, calls, settings):
    found = engine_data.joined(parts(shop, **settings))
    expected = recommend(shop, top_k=4, show_progress=False, **settings)
    # Scores of the network depend in the last digit on the users of a block.
    pd.testing.assert_frame_equal(found, expected, rtol=1e-5)
    assert Path("out", COMPLETE).exists()


def test_parts_of_whole_blocks_have_equal_scores(shop, calls):
    found = engine_data.joined(parts(shop, part_users=2048))
    pd.testing.assert_frame_equal(found, recommend(shop, top_k=4, show_progress=False), check_exact=True)


def test_a_run_goes_on_with_the_missing_parts(shop, calls):
    files = parts(shop)
    assert calls == [0, 1, 2] and [file.name for file in files] == [f"part-0000{n}.parquet" for n in range(3)]
    whole, times = engine_data.joined(files), [file.stat().st_mtime_ns for file in files]
    calls.clear()
    files[1].unlink()
    with pytest.warns(UserWarning, match=r"33 of 53 users have lists in \[.*out\] already"):
        parts(shop)
    assert calls == [1]
    pd.testing.assert_frame_equal(engine_data.joined(files), whole)
    assert files[0].stat().st_mtime_ns == times[0] and files[2].stat().st_mtime_ns == times[2]
    calls.clear()
    with pytest.warns(UserWarning, match="53 of 53"):
        parts(shop)
    assert not calls


def test_a_part_of_a_failed_worker_is_missing(shop, calls, monkeypatch):
    write = part_writer.PartWriter.write

    def failing(self, settings, part, users, rows):
        if part.start == 20:
            monkeypatch.setattr("os.fsync", _no_space)
        return write(self, settings, part, users, rows)

    monkeypatch.setattr(part_writer.PartWriter, "write", failing)
    with pytest.raises(OSError, match=r"output \(--output\): cannot write \[.*part-00001.parquet\]: No space left"):
        parts(shop)
    assert sorted(path.name for path in Path("out").iterdir()) == [MANIFEST, "part-00000.parquet"]
    monkeypatch.undo()


def _no_space(_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"top_k": 5}, r"top_k \[4\] and not \[5\]"),
        ({"users": ["u1"]}, r"asked users \[.*users \[53\] and not \[1\]"),
        ({"users": [f"u{user}" for user in range(53)]}, r"asked users \["),
        ({"where": "price < 9"}, "allowed items"),
        ({"fast": True}, r"fast \[False\] and not \[True\]"),
        ({"include_seen": True}, "include_seen"),
        ({"part_users": 21}, "users of a part"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_folder_of_another_run_is_refused(shop, calls, settings, named):
    before = [file.read_bytes() for file in parts(shop)]
    calls.clear()
    with pytest.raises(ValueError, match=rf"holds lists of another run, with .*{named}.*Name a new folder"):
        parts(shop, **settings)
    assert not calls and [file.read_bytes() for file in sorted(Path("out").glob("part-*"))] == before


def test_a_recommender_that_was_saved_again_is_another_one(shop, calls, tmp_path):
    shutil.copytree(shop, tmp_path / "copy")
    parts(tmp_path / "copy")
    parts_of_shop = sorted(Path("out").glob("part-*"))
    with pytest.warns(UserWarning, match="53 of 53"):  # a copy is the same
        parts(shop)
    Recommender.load(tmp_path / "copy").save(tmp_path / "copy")
    parts_of_shop[0].unlink()
    with pytest.raises(ValueError, match=r"with recommender \["):
        parts(tmp_path / "copy")
    assert not parts_of_shop[0].exists()


def test_a_save_during_the_run(shop, calls, tmp_path, monkeypatch):
    shutil.copytree(shop, tmp_path / "copy")
    write = part_writer.PartWriter.write

    def after_a_save(self, *arguments):
        Recommender.load(tmp_path / "copy").save(tmp_path / "copy")
        return write(self, *arguments)

    monkeypatch.setattr(part_writer.PartWriter, "write", after_a_save)
    with pytest.raises(ValueError, match=r"copy\] has been saved again since the run began"):
        parts(tmp_path / "copy")
    assert not list(Path("out").glob("part-*"))


def test_unknown_users_get_popular_items(shop, calls):
    with pytest.warns(UserWarning, match=r"2 of 3 users have no interactions and get .*: \[gone\], \[5\]"):
        found = engine_data.joined(parts(shop, users=["gone", "u3", 5], part_users=1))
    with pytest.warns(UserWarning):
        expected = recommend(shop, top_k=4, users=["gone", "u3", 5], show_progress=False)
    assert found["user"].tolist() == [str(user) for user in expected["user"]]
    assert found["item"].tolist() == expected["item"].tolist()


def test_short_lists_are_counted_over_all_parts(shop, calls):
    with pytest.warns(UserWarning, match=r"fewer recommendations: \d+ of 636 in all"):
        files = parts(shop, top_k=12, where="price < 9")
    assert 0 < len(engine_data.joined(files)) < 12 * engine_data.N_USERS


def test_users_of_a_folder_of_parts(shop, calls, tmp_path):
    (tmp_path / "asked").mkdir()
    for name, users in (("a.parquet", ["u9", "u3"]), ("b.parquet", ["u3", "u40"])):
        pd.DataFrame({"user": users, "score": 1.0}).to_parquet(tmp_path / "asked" / name)
    found = engine_data.joined(parts(shop, users=tmp_path / "asked"))
    assert found["user"].unique().tolist() == ["u9", "u3", "u40"]
    (tmp_path / "asked" / "c.csv").write_text("u1\n")
    with pytest.raises(IsADirectoryError, match="give a file, or a folder of Parquet parts"):
        parts(shop, users=tmp_path / "asked")


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (("gone", "out"), {}, r"folder \(INTERACTIONS\): the engine ray reads a folder that fit"),
        (("shop", ""), {}, r"output \(--output\): must be the path of a folder"),
        (("shop", "file"), {}, r"\[.*file\] is a file; the engine ray writes a folder"),
        (("shop", "out"), {"users": []}, "there is no user"),
        (("shop", "out"), {"top_k": 0}, "top_k"),
        (("shop", "out"), {"part_users": 0}, "part_users"),
        (("shop", "out"), {"where": "size > 3"}, "size"),
        (("shop", "out"), {"fast": 2}, "fast"),
    ],
)
def test_bad_arguments(shop, calls, arguments, settings, message):
    Path("file").write_text("content")
    folder, output = arguments
    with pytest.raises(ValueError, match=message):
        parts(shop if folder == "shop" else folder, output, **settings)
    assert Path("file").read_text() == "content" and not Path("out").exists()


def test_fast_needs_the_saved_matrix(shop, calls, tmp_path):
    loaded = Recommender.load(shop)
    loaded.ranker._state._item_item = None
    loaded.save(tmp_path / "without")
    with pytest.raises(ValueError, match=r"fast \(--fast\): \[.*without\] holds no item-item matrix.*fit --fast"):
        parts(tmp_path / "without", fast=True)


def test_folders_of_others(shop, calls, tmp_path):
    Path("out").mkdir()
    Path("out", "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds other files, such as \[mine.txt\]"):
        parts(shop)
    Path("out", MANIFEST).write_text("[1")
    with pytest.raises(ValueError, match="is no description of a run"):
        parts(shop)
    Path("out", MANIFEST).write_text("[1]")
    with pytest.raises(ValueError, match="is no description of a run: it is no JSON object"):
        parts(shop)
    assert Path("out", "mine.txt").read_text() == "mine" and not calls


def test_two_runs_at_once(shop, calls):
    parts(shop)
    with locked_folder("out"), pytest.raises(OSError, match=r"another process writes into \[.*out\]"):
        parts(shop)


def test_a_damaged_part_is_named(shop, calls):
    files = parts(shop)
    files[1].write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"part-00001.parquet\] is damaged.*Remove it and run again"):
        parts(shop)
    assert not Path("out", COMPLETE).exists()


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"address": " "}, {}], ids=["workers", "address", "no Ray"])
def test_a_run_that_cannot_start_leaves_no_folder(shop, monkeypatch, wrong):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError if not wrong else ValueError, match=next(iter(wrong), "The engine ray needs Ray")):
        parts(shop, **wrong)
    assert not Path("out").exists()


def test_the_end_of_many_parts(tmp_path):
    folder = PartsFolder(tmp_path / "out", {}, 45, 20)
    assert [(part.start, part.stop) for part in folder.parts] == [(0, 20), (20, 40), (40, 45)]
    with folder.opened() as missing:
        assert missing == folder.parts
    assert json.loads((tmp_path / "out" / MANIFEST).read_text())["parts"] == 3


def test_command(shop, calls, capsys):
    words = ["recommend", str(shop), "--engine", "ray", "--output", "out", "--top-k", "3", "--quiet"]
    assert cli.main(words) == 0
    assert capsys.readouterr().out.startswith("Wrote 159 recommendations for 53 users to out in ")
    expected = recommend(shop, top_k=3, show_progress=False)
    pd.testing.assert_frame_equal(pd.read_parquet("out"), expected, check_exact=True)
    for more, message in (
        (["--order", "rows", "--device", "cuda"], "so leave out --order and --device"),
        (["--item-inter-num-interval", "5"], "so leave out --item-inter-num-interval"),
        (["--users", str(Path("users.csv").absolute())], "users.csv"),
    ):
        assert cli.main([*words, *more]) == 1
        assert message in capsys.readouterr().err
    assert cli.main([*words[:-3], "--output", str(shop / "recs")]) == 1
    assert "is an input file, or in an input folder" in capsys.readouterr().err
    assert cli.main(["recommend", str(shop), "--output", "recs.csv", "--workers", "2"]) == 1
    assert "--workers: belongs to --engine ray" in capsys.readouterr().err
    with warnings.catch_warnings():
        assert not Path("recs.csv").exists()
