"""The command line and its table."""

from __future__ import annotations

import sys

import fresh
import pytest
import yaml
from recbole.config import Config

from recbole_universal import __main__ as command_line
from recbole_universal import integration, quick_start


@pytest.fixture
def config_file(tiny, small_config, tmp_path):
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump({**tiny, **small_config, "dataset": "tiny"}))
    return file


def run_script(*arguments):
    script = integration.properties_dir().parent / "run_recbole_universal.py"
    if not script.is_file():
        pytest.skip("the script is part of the checkout, not of the wheel")
    return fresh.run(script, *arguments)


def test_table_of_the_model_and_its_peers(config_file):
    result = run_script(f"--config_files={config_file}")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.strip().splitlines()[-5:]
    assert lines[0] == "| model | Recall@10 | NDCG@10 | seconds |"
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["UniversalMLP", "Pop", "ItemKNN"]


def test_a_stock_model_and_a_key(config_file):
    result = run_script("--model=Pop", f"--config_files={config_file}", "--topk=[5]", "--valid_metric=MRR@5")
    assert result.returncode == 0, result.stderr
    table = result.stdout.strip().splitlines()[-3:]
    assert "Recall@5" in table[0] and table[2].startswith("| Pop |")


def test_help_names_every_argument_of_recbole():
    result = run_script("--help")
    assert result.returncode == 0
    for name in ("model", "dataset", "config_files", "nproc", "ip", "port", "world_size", "group_offset"):
        assert f"--{name}" in result.stdout
    assert "UniversalMLP.yaml" in result.stdout


def test_a_config_file_that_is_not_there():
    result = run_script("--config_files=nowhere.yaml")
    assert result.returncode == 1 and "cannot read [nowhere.yaml]" in result.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"epochs: [1", "is not valid yaml: while parsing.*line 1"),
        (b"\xff\xfe\x00", "is not valid yaml: 'utf-8' codec can't decode"),
        (b"day: 2020-13-45", "is not valid yaml: month must be"),
        (b"- epochs", "must hold config keys, such as epochs: 20, but holds a list"),
        (b"epochs", "must hold config keys.*but holds a str"),
        (b"", "must hold config keys.*but holds nothing"),
    ],
)
def test_a_config_file_that_is_no_yaml_of_keys(tmp_path, monkeypatch, content, message):
    (tmp_path / "bad.yaml").write_bytes(content)
    monkeypatch.setattr("sys.argv", ["run_recbole_universal.py", f"--config_files={tmp_path / 'bad.yaml'}"])
    with pytest.raises(SystemExit, match=f"^--config_files: \\[.*bad.yaml\\] {message}.*\\.$"):
        quick_start.main()


def test_run_leaves_the_callers_dict_alone(tiny, small_config):
    settings = {**tiny, **small_config, "universal_peers": []}
    before = dict(settings)
    (result,) = quick_start.run("UniversalMLP", "tiny", config_dict=settings, saved=False)
    assert settings == before and result["model"] == "UniversalMLP" and result["seconds"] > 0


def test_a_validation_metric_that_is_not_computed(tiny, small_config):
    with pytest.raises(ValueError, match=r"valid_metric: \[MRR@10\] is not computed.*MRR@5"):
        quick_start.run("Pop", "tiny", config_dict={**tiny, **small_config, "topk": [5]})


def test_table_without_results():
    assert "No test result" in quick_start.table([{"model": "BPR", "seconds": 1.0}])


@pytest.mark.parametrize(
    ("peers", "message"), [(["Foo"], r"no model \[Foo\]"), ("Foo", r"no model \[Foo\]"), (3, "list")]
)
def test_peers_are_checked_before_anything_is_trained(tiny, small_config, monkeypatch, peers, message):
    monkeypatch.setattr(quick_start, "recbole_run", lambda **_: pytest.fail("a model was trained"))
    with pytest.raises(ValueError, match=f"universal_peers: .*{message}"):
        quick_start.run("UniversalMLP", "tiny", config_dict={**tiny, **small_config, "universal_peers": peers})


@pytest.mark.parametrize("extra", [{"transform": "universal"}, {"metrics": ["NDCG"]}], ids=["transform", "metrics"])
def test_peers_run_with_the_settings_of_the_model(tiny, small_config, extra):
    settings = {**tiny, **small_config, "universal_peers": ["Pop"], **extra}
    results = quick_start.run("UniversalMLP", "tiny", config_dict=settings, saved=False)
    assert [result["model"] for result in results] == ["UniversalMLP", "Pop"]
    assert all("ndcg@10" in result["test_result"] for result in results)


def test_doctor_takes_no_arguments(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["python -m recbole_universal", "doctor", "foo"])
    with pytest.raises(SystemExit) as stop:
        command_line.main()
    assert stop.value.code == 2
    assert "takes no arguments, got ['foo']" in capsys.readouterr().err


def test_doctor():
    result = fresh.run("-m", "recbole_universal", "doctor")
    assert result.returncode == 0, result.stdout + result.stderr
    for part in ("Python 3", "torch ", "cpu (", "applied", "passed"):
        assert part in result.stdout
    assert "universal-base: 32 sources" in result.stdout and "FAILED" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model=UniversalMPL"], "no RecBole model .UniversalMPL.; did you mean UniversalMLP"),
        (["--model=LightGNC"], "no RecBole model .LightGNC.; did you mean LightGCN"),
        (["--dataset=nosuch"], "there is no folder .*nosuch. of RecBole atomic files"),
        (["--dataset=shop.csv"], "is a file; RecBole wants the name"),
        (["--train_stage=foo"], "train_stage: must be one of"),
        (["--pretrained=foo"], "pretrained: .foo. is neither"),
        (["--topk=0"], "topk must be a positive integer"),
        (["--metrics=Foo"], "no metric named"),
    ],
)
def test_mistakes_get_one_line(arguments, message, monkeypatch, tiny):
    where = ["--dataset=tiny", f"--data_path={tiny['data_path']}", "--state=ERROR"]
    given = [*where, *arguments] if not arguments[0].startswith("--dataset") else arguments
    monkeypatch.setattr("sys.argv", ["run_recbole_universal.py", *given])
    with pytest.raises(SystemExit, match=message):
        quick_start.main()


@pytest.mark.parametrize("taken", ["log", "log_tensorboard", "saved"])
def test_a_folder_that_cannot_be_written_gets_one_line_before_the_work(taken, monkeypatch, tiny, tmp_path):
    monkeypatch.setattr(quick_start, "run", None)
    (tmp_path / taken).write_text("in the way")  # what a write-protected folder is to others, this is to root too
    arguments = ["--dataset=tiny", f"--data_path={tiny['data_path']}", "--state=ERROR", "--model=Pop"]
    line = rf"run_recbole_universal.py: cannot use \[\.?/?{taken}.*RecBole writes log/ and log_tensorboard/ into the"
    for more in ([], ["--nproc=2"]):
        monkeypatch.setattr("sys.argv", ["run_recbole_universal.py", *arguments, *more])
        with pytest.raises(SystemExit, match=line):
            quick_start.main()


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
            command_line.main()
    else:
        with pytest.raises(SystemExit, match=r"mine.py: cannot use \[.*log.*Not a directory"):
            command_line.main()


@pytest.mark.parametrize("header", ["", "u1\ti1", "user_id\titem_id", "user_id:token,item_id:token:x"])
def test_a_file_without_a_header_is_named_with_its_row(header, monkeypatch, tmp_path):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "odd.inter").write_text(header + "\n")
    monkeypatch.setattr("sys.argv", ["run_recbole_universal.py", "--dataset=odd", f"--data_path={tmp_path}"])
    with pytest.raises(SystemExit, match=r"odd.inter\], row 1: must name the columns and their types"):
        quick_start.main()


def test_files_that_recbole_does_not_read_are_no_matter(tmp_path):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "odd.inter").write_text("user_id:token\titem_id:token\n")
    (tmp_path / "odd" / "odd-old.inter").write_text("u1\ti1\n")
    config = Config("Pop", "odd", config_dict={"data_path": str(tmp_path)})
    quick_start._check_folder(config)
    (tmp_path / "odd" / "odd.one.inter").write_text("u1\ti1\n")
    config["benchmark_filename"] = ["one", "two"]
    with pytest.raises(ValueError, match=r"odd\.one\.inter"):
        quick_start._check_folder(config)


def test_a_misspelt_key_is_told(tiny):
    """An error where the model is ours; a warning where another reader of the key may be about."""
    message = "interpolation_wieght.*did you mean .interpolation_weight"
    keys = {**tiny, "interpolation_wieght": 1}
    with pytest.raises(ValueError, match=message):
        Config("UniversalInterpolation", "tiny", config_dict={**keys, "base_model": "BPR"})
    with pytest.warns(UserWarning, match=message):
        Config("BPR", "tiny", config_dict=keys)
