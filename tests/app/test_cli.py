"""The command line: commands, scripts, help, and words that are not valid."""

from __future__ import annotations

import os
import subprocess
import sys

import fresh
import pytest

import recbole_universal
from recbole_universal.app import cli, mistakes
from recbole_universal.app.commands import run


@pytest.fixture
def keys(monkeypatch):
    """The arguments that the command ``run`` passes to RecBole, which does not run."""
    seen = []
    monkeypatch.setattr(run, "_run", lambda options, files: seen.append((options.model, files, sys.argv[1:])))
    return seen


def test_run_is_the_script_of_the_repository(monkeypatch, keys):
    monkeypatch.setattr("sys.argv", ["python -m recbole_universal", "run", "-m", "BPR", "--dataset=a", "--topk=[5]"])
    assert cli.main() == 0
    monkeypatch.setattr("sys.argv", ["run_recbole_universal.py", "--model", "BPR", "--dataset", "a", "--topk=[5]"])
    assert cli.run_script() == 0
    assert keys == [("BPR", None, ["--topk=[5]"])] * 2


def test_several_config_files(keys):
    assert cli.main(["run", "--config_files=a.yaml b.yaml", "--interval=[5, inf)"]) == 0
    assert keys == [(None, ["a.yaml", "b.yaml"], ["--interval=[5, inf)"])]


@pytest.mark.parametrize("command", ["run", "pretrain"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", "1"], "[--epochs]: a config key and its value are one word: write --epochs=1"),
        (["--epochs=1", "--show_progress"], "write --show_progress=value"),
        (["--state", "--epochs=1"], "write --state=value"),
        (["-epochs=1"], "a config key begins with two dashes: write --epochs=1"),
        (["epochs=1"], "a config key begins with two dashes: write --epochs=1"),
        (["ml-100k"], "[ml-100k] is no option and no config key"),
        (["--data_path=a=b"], "write data_path: a=b into a yaml file"),
        (["--config_files=a.yaml", "b.yaml"], "[b.yaml] is no option and no config key"),
    ],
)
def test_words_that_recbole_ignores_are_refused(command, words, message, keys, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, *words])
    assert stop.value.code == 2 and not keys
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", list(cli._COMMANDS))
def test_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"  python -m recbole_universal {command}" in text.partition("example")[2]


def test_help_of_all(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["/venv/bin/recbole-universal"])
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert text.startswith("usage: recbole-universal COMMAND") and "run_recbole.py" in text
    assert all(f"    {command}" in text for command in cli._COMMANDS)
    with pytest.raises(SystemExit, match="2"):
        cli.main([])
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert recbole_universal.__version__ in capsys.readouterr().out


def test_help_of_the_script(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["./run_recbole_universal.py", "--help"])
    with pytest.raises(SystemExit):
        cli.run_script()
    text = capsys.readouterr().out
    assert "  run_recbole_universal.py -m LightGCN" in text and "UniversalMLP.yaml" in text
    for name in ("model", "dataset", "config_files", "nproc", "ip", "port", "world_size", "group_offset"):
        assert f"--{name}" in text


def test_help_imports_nothing_large():
    code = """
import sys
from recbole_universal.app import cli
try:
    cli.main(["run", "--help"])
except SystemExit:
    print("imported:", *{name.partition(".")[0] for name in sys.modules})
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"recbole", "torch", "numpy", "pandas"} & set(out.partition("imported:")[2].split())


@pytest.mark.parametrize("words", [["doctor", "foo"], ["doctor", "--foo"], ["analyze", "a", "--foo"]])
def test_unknown_words_are_refused(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(words)
    assert f"unrecognized arguments: {words[-1]}" in capsys.readouterr().err


def test_files_of_a_pattern_without_quotes_get_a_hint(tmp_path, capsys):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).touch()
    for words, has_hint in (([str(tmp_path / "b.csv")], True), ([str(tmp_path / "b.csv"), "--foo"], False)):
        with pytest.raises(SystemExit, match="2"):
            cli.main(["recommend", str(tmp_path / "a.csv"), *words, "--output", "recs.csv"])
        assert ("quote a pattern" in capsys.readouterr().err) is has_hint


def test_doctor():
    result = fresh.run("-m", "recbole_universal", "doctor")
    assert result.returncode == 0, result.stdout + result.stderr
    for part in ("Python 3", "torch ", "cpu (", "applied", "passed"):
        assert part in result.stdout
    assert "universal-base: 32 sources" in result.stdout and "FAILED" not in result.stdout


@pytest.mark.parametrize(("script", "hint"), [("run_hyper.py", True), ("mine.py", False)])
def test_where_the_scripts_of_recbole_are(script, hint, capsys):
    assert cli.main([script]) == 2
    message = capsys.readouterr().err
    assert f"there is no script [{script}]" in message and ("github.com/RUCAIBox" in message) == hint


@pytest.mark.parametrize("own", [False, True])
def test_a_script_in_such_a_folder(own, monkeypatch, tmp_path):
    (tmp_path / "log").write_text("in the way")
    body = "open('log/x', 'w')" if own else "init_logger(Config('Pop', 'ml-100k'))"
    (tmp_path / "mine.py").write_text(
        f"from recbole.config import Config\nfrom recbole.utils import init_logger\n{body}\n"
    )
    monkeypatch.setattr("sys.argv", ["python -m recbole_universal", "mine.py"])
    monkeypatch.setattr("sys.path", list(sys.path))
    if own:  # an error of the script itself keeps its traceback
        with pytest.raises(NotADirectoryError):
            cli.main()
    else:
        with pytest.raises(SystemExit, match=r"mine.py: cannot use \[.*log.*Not a directory"):
            cli.main()


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("recomend", "did you mean recommend?"),
        (
            "xyz",
            "commands are recommend, fit, similar, explain, serve, refresh, evaluate, convert, analyze, run, compare",
        ),
    ],
)
def test_a_command_that_does_not_exist(word, hint, capsys):
    assert cli.main([word]) == 2
    assert f"there is no command and no script [{word}]; {hint}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "DATASET: the path is empty"),
        ("https://shop.org/a.csv", "DATASET: [https://shop.org/a.csv] is a URL"),
        ("pipe", "[pipe] is a pipe"),
        ("folder", "DATASET: [folder] is a folder without [folder.inter]; name a file"),
        ("nothing", "DATASET: there is no file [nothing]"),
    ],
)
def test_a_dataset_that_cannot_be_analysed(name, message, tmp_path, capsys):
    os.mkfifo("pipe")
    os.mkdir("folder")
    assert cli.main(["analyze", name]) == 1
    assert message in capsys.readouterr().err


def test_the_error_of_a_process_is_one_sentence():
    """PyTorch hands over an error of a process of --nproc as the text of its traceback."""
    from torch.multiprocessing import start_processes

    with pytest.raises(Exception, match="Traceback") as found:
        start_processes(_fails, ("1",), start_method="fork")
    assert type(found.value).__name__ == "ProcessRaisedException"
    assert mistakes.explain(found.value).startswith("dropout_prob: must be a number in [0, 1), got '1'")
    with pytest.raises(Exception, match="Traceback") as found:
        start_processes(_fails, (None,), start_method="fork")
    assert mistakes.explain(found.value) is None  # an error in the code keeps its traceback


def _fails(rank: int, value: str | None) -> None:
    from recbole_universal.plugin import settings

    settings.value("dropout_prob", value or object.nothing, settings.MODEL_KEYS["UniversalMLP"])


@pytest.mark.parametrize("command", ["doctor", "run", "pretrain"])
def test_a_missing_recbole_is_named(command, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    try:
        status = cli.main([command])
        message = capsys.readouterr().err
    except SystemExit as stop:
        status, message = stop.code, str(stop.code)
    assert status and f"{command}: RecBole is not installed; pip install 'recbole>=1.2,<1.3'." in message


@pytest.mark.parametrize("option", ["--model=", "--dataset="])
def test_an_empty_name_is_refused(option):
    with pytest.raises(SystemExit, match=f"{option[:-1]}: is empty"):
        cli.main(["run", option])
