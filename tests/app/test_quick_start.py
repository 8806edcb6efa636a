"""The command line and its table."""

from __future__ import annotations

import shutil

import fresh
import pytest
import yaml
from conftest import write_atomic
from recbole.config import Config
from recbole.model.general_recommender import BPR

from recbole_universal import checkpoint
from recbole_universal.app import checks, cli, quick_start
from recbole_universal.app.results_table import table
from recbole_universal.plugin import config_hooks


@pytest.fixture
def config_file(tiny, small_config, tmp_path):
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump({**tiny, **small_config, "dataset": "tiny"}))
    return file


def run_script(*arguments):
    script = config_hooks.properties_dir().parent / "run_recbole_universal.py"
    if not script.is_file():
        pytest.skip("the script is part of the checkout, not of the wheel")
    return fresh.run(script, *arguments)


def test_table_of_the_model_and_its_baselines(config_file):
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


def test_a_missing_config_file():
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
def test_a_config_file_without_keys(tmp_path, monkeypatch, content, message):
    (tmp_path / "bad.yaml").write_bytes(content)
    monkeypatch.setattr("sys.argv", ["run_recbole_universal.py", f"--config_files={tmp_path / 'bad.yaml'}"])
    with pytest.raises(
        SystemExit, match=f"^run_recbole_universal.py: --config_files: \\[.*bad.yaml\\] {message}.*\\.$"
    ):
        cli.run_script()


def test_run_leaves_the_callers_dict_alone(tiny, small_config):
    settings = {**tiny, **small_config, "universal_baselines": []}
    before = dict(settings)
    (result,) = quick_start.run("UniversalMLP", "tiny", config_dict=settings, saved=False)
    assert settings == before and result["model"] == "UniversalMLP" and result["seconds"] > 0


def test_a_zero_shot_run_reads_its_config_and_its_checkpoint_once(tiny, tmp_path, monkeypatch, capsys):
    """Each baseline has a Config of its own; with UniversalMLP among them the checkpoint is still read once."""
    configs, checkpoints = [], []
    init, weights = Config.__init__, checkpoint._read_weights
    monkeypatch.setattr(Config, "__init__", lambda self, *a, **k: configs.append(a) or init(self, *a, **k))
    monkeypatch.setattr(checkpoint, "_read_weights", lambda *a, **k: checkpoints.append(a) or weights(*a, **k))
    shutil.copytree(checkpoint._SHIPPED / "universal-base", tmp_path / "model")  # no other test has read it
    given = ["--dataset=tiny", f"--data_path={tiny['data_path']}", "--state=ERROR", "--pretrained=model"]
    monkeypatch.setattr("sys.argv", ["run_recbole_universal.py", *given, "--universal_baselines=[]"])
    assert cli.run_script() == 0
    assert len(configs) == 1 and len(checkpoints) == 1
    monkeypatch.setattr("sys.argv", ["run_recbole_universal.py", *given, "--universal_baselines=['Pop','ItemKNN']"])
    assert cli.run_script() == 0
    assert len(configs) == 1 + 3 and len(checkpoints) == 1
    assert "| ItemKNN |" in capsys.readouterr().out


def test_a_validation_metric_that_is_not_computed(tiny, small_config):
    with pytest.raises(ValueError, match=r"valid_metric: \[MRR@10\] is not computed.*MRR@5"):
        quick_start.run("Pop", "tiny", config_dict={**tiny, **small_config, "topk": [5]})


def test_table_without_results():
    assert "No test result" in table([{"model": "BPR", "seconds": 1.0}])


@pytest.mark.parametrize(
    ("given", "message"), [(["Foo"], r"no model \[Foo\]"), ("Foo", r"no model \[Foo\]"), (3, "list")]
)
def test_baselines_are_checked_before_anything_is_trained(tiny, small_config, monkeypatch, given, message):
    monkeypatch.setattr(quick_start, "run_recbole", lambda *_: pytest.fail("a model was trained"))
    with pytest.raises(ValueError, match=f"universal_baselines: .*{message}"):
        quick_start.run("UniversalMLP", "tiny", config_dict={**tiny, **small_config, "universal_baselines": given})


@pytest.mark.parametrize("extra", [{"transform": "universal"}, {"metrics": ["NDCG"]}], ids=["transform", "metrics"])
def test_baselines_run_with_the_settings_of_the_model(tiny, small_config, extra):
    settings = {**tiny, **small_config, "universal_baselines": ["Pop"], **extra}
    results = quick_start.run("UniversalMLP", "tiny", config_dict=settings, saved=False)
    assert [result["model"] for result in results] == ["UniversalMLP", "Pop"]
    assert all("ndcg@10" in result["test_result"] for result in results)


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
        (["--nproc=0"], "nproc: must be a number of processes of at least 1, got 0"),
        (["--nproc=-3"], "nproc: must be a number of processes of at least 1, got -3"),
        (["--epochs=1", "--epochs=2"], "duplicate commend arg '--epochs=2'"),
        (["--metrics=['NDCG','AUC']", "--model=Pop"], "can not be used at the same time"),
        (["--topk=x", "--model=Pop"], "topk .x. must be a integer"),
        (["--model=Pop", "--dataset=tiny/"], "dataset: must be the name of a folder in data_path, got 'tiny/'"),
        (["--model=Pop", "--dataset=../data/tiny"], "dataset: must be the name of a folder in data_path"),
        (["--model=FM", "--train_batch_size=0"], "train_batch_size: must be an integer from 1"),
        (["--model=FM", "--seed=-1"], "seed: must be an integer from 0"),
        (["--model=FM"], r"threshold: .FM. learns from labels, .* no column \[label\]"),
    ],
)
def test_mistakes_get_one_line(arguments, message, monkeypatch, tiny):
    where = ["--dataset=tiny", f"--data_path={tiny['data_path']}", "--state=ERROR"]
    given = [*(where if not "".join(arguments).count("--dataset") else where[1:]), *arguments]
    monkeypatch.setattr("sys.argv", ["run_recbole_universal.py", *given])
    with pytest.raises(SystemExit, match=message):
        cli.run_script()


@pytest.mark.parametrize("taken", ["log", "log_tensorboard", "saved"])
def test_a_folder_that_cannot_be_written_gets_one_line_before_the_work(taken, monkeypatch, tiny, tmp_path):
    monkeypatch.setattr(quick_start, "run_experiment", None)
    (tmp_path / taken).write_text("in the way")  # this stops root too, unlike write protection
    arguments = ["--dataset=tiny", f"--data_path={tiny['data_path']}", "--state=ERROR", "--model=Pop"]
    line = rf"run_recbole_universal.py: cannot use \[\.?/?{taken}.*RecBole writes log/ and log_tensorboard/ into the"
    for more in ([], ["--nproc=2"]):
        monkeypatch.setattr("sys.argv", ["run_recbole_universal.py", *arguments, *more])
        with pytest.raises(SystemExit, match=line):
            cli.run_script()


@pytest.mark.parametrize("header", ["", "u1\ti1", "user_id\titem_id", "user_id:token,item_id:token:x"])
def test_a_file_without_a_header_is_named_with_its_row(header, monkeypatch, tmp_path):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "odd.inter").write_text(header + "\n")
    monkeypatch.setattr("sys.argv", ["run_recbole_universal.py", "--dataset=odd", f"--data_path={tmp_path}"])
    with pytest.raises(SystemExit, match=r"odd.inter\], row 1: must name the columns and their types"):
        cli.run_script()


ROWS = [f"u{user}\ti{(user + step) % 9}\t{1 + step % 5}" for user in range(12) for step in range(6)]
HEADER = "user_id:token\titem_id:token\trating:float"
EVALUATION = [
    ("eval_args={'split':{'RS':[1,1]}}", r"eval_args, split: must be \{RS: .*three numbers.* got \{'RS': \[1, 1\]\}"),
    ("eval_args={'split':{'RS':'x'}}", "eval_args, split: must be"),
    ("eval_args={'split':{'XX':[8,1,1]}}", "eval_args, split: must be"),
    ("eval_args={'split':{'LS':'both'}}", "eval_args, split: must be"),
    ("eval_args={'split':{'RS':[0,0,1]}}", "eval_args, split: .*the training part, which would be empty"),
    ("eval_args={'group_by':'zz'}", "eval_args, group_by: must be user or none, got 'zz'"),
    ("eval_args={'order':'XO'}", "eval_args, order: must be one of"),
    ("threshold=3", "threshold: must be a mapping of one field to a number"),
    ("user_inter_num_interval=abc", "user_inter_num_interval: must be an interval"),
    ("user_inter_num_interval=[5,2]", "user_inter_num_interval: must be an interval"),
    ("item_inter_num_interval=[2]", "item_inter_num_interval: must be an interval"),
    ("rm_dup_inter=zz", "rm_dup_inter: must be one of"),
    ("USER_ID_FIELD=foo", r".*tiny.inter\], row 1: the .inter file has no column \[foo\] .key USER_ID_FIELD"),
    ("load_col={'inter':['nope']}", r".*tiny.inter\], row 1: the .inter file has no column \[user_id\]"),
    ("val_interval={'rating':'3'}", "val_interval: must be a mapping of fields to intervals"),
    ("val_interval=3", "val_interval: must be a mapping of fields to intervals"),
    ("val_interval={'rating':'[3,inf)'}", r"val_interval: .* needs the field \[rating\], which is not loaded"),
    ("benchmark_filename=['a','b']", "benchmark_filename: must be a list of the three parts' names"),
    ("benchmark_filename=['a','b','c']", r"benchmark_filename: there is no file \[.*tiny.a.inter\].*'tiny.inter'"),
]


@pytest.mark.parametrize("model", ["UniversalMLP", "Pop"])
@pytest.mark.parametrize(("key", "message"), EVALUATION)
def test_a_wrong_split_or_filter_gets_one_line(key, message, model, monkeypatch, tiny):
    where = ["--dataset=tiny", f"--data_path={tiny['data_path']}", "--state=ERROR", f"--model={model}"]
    monkeypatch.setattr("sys.argv", ["run_recbole_universal.py", *where, f"--{key}"])
    with pytest.raises(SystemExit, match=f"run_recbole_universal.py: {message}"):
        cli.run_script()


def test_a_wrong_split_of_a_universal_model_is_refused_by_recbole_s_entry_too(tiny):
    with pytest.raises(ValueError, match="eval_args, split: must be"):
        Config("UniversalMLP", "tiny", config_dict={**tiny, "eval_args": {"split": {"RS": [1, 1]}}})
    Config("BPR", "tiny", config_dict={**tiny, "eval_args": {"split": {"RS": [1, 1]}}})


@pytest.mark.parametrize("model", ["UniversalMLP", "Pop"])
@pytest.mark.parametrize(
    ("header", "row", "encoding", "message"),
    [
        (
            HEADER.replace("user_id:token", "user_id:tok"),
            "",
            "utf-8",
            r"row 1: .*type \[tok\]; valid are tok",
        ),
        (HEADER.replace("user_id:token", "user_id:float"), "", "utf-8", "row 1: .*ids must be of the type token"),
        (f"{HEADER}\trating:float", "", "utf-8", r"row 1: column \[rating\] is named 2 times"),
        (HEADER, "ué\ti1\t3", "latin-1", "line 74: the byte 0xe9 is no text in utf-8"),
        (HEADER, "u1\ti1\t3", "utf-16", "line 1: the byte 0xff is no text in utf-8"),
        (HEADER, "u1\ti1\tabc", "utf-8", r"line 74, column \[rating\]: 'abc' is no number"),
        (f"{HEADER}_seq", "u1\ti1\t1 2 abc", "utf-8", r"line 74, column \[rating\]: 'abc' is no number"),
    ],
)
def test_a_bad_file_is_named_with_row_and_column(header, row, encoding, message, model, monkeypatch, tmp_path):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "odd.inter").write_bytes("\n".join([header, *ROWS, row, *ROWS, ""]).encode(encoding))
    columns = "--load_col={'inter':['user_id','item_id','rating']}"
    where = ["--dataset=odd", f"--data_path={tmp_path}", "--state=ERROR", f"--model={model}", columns]
    monkeypatch.setattr("sys.argv", ["run_recbole_universal.py", *where])
    with pytest.raises(SystemExit, match=rf"odd.inter\], {message}"):
        cli.run_script()


def test_a_folder_without_interactions_is_named(monkeypatch, tmp_path):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "other.inter").write_text(HEADER)
    monkeypatch.setattr("sys.argv", ["run_recbole_universal.py", "--dataset=odd", f"--data_path={tmp_path}"])
    with pytest.raises(SystemExit, match=r"dataset: there is no file \[.*odd.inter\]; .*\['other.inter'\]"):
        cli.run_script()


@pytest.mark.parametrize("model", ["Pop", "UniversalMLP"])
def test_a_byte_order_mark_changes_nothing(model, small_config, tmp_path):
    results = []
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "odd").mkdir(exist_ok=True)
        (tmp_path / "odd" / "odd.inter").write_bytes("\n".join([HEADER, *ROWS, ""]).encode(encoding))
        keys = {**small_config, "data_path": str(tmp_path), "epochs": 1, "topk": [3], "valid_metric": "NDCG@3"}
        keys |= {"universal_features": ["activity"]} if model == "UniversalMLP" else {"universal_features": None}
        results += quick_start.run(model, "odd", config_dict={**keys, "universal_baselines": []}, saved=False)
    assert results[0]["test_result"] == results[1]["test_result"]


@pytest.mark.parametrize(
    ("rows", "model", "message"),
    [
        (["u1\ti1"], ["--model=UniversalMLP"], "one interaction after RecBole's filters; a run needs at least two"),
        (["u1\ti1"], ["--model=BPR"], "one interaction after RecBole's filters; a run needs at least two"),
        (
            [f"u1\ti{item}" for item in range(4)],
            ["--model=UniversalInterpolation", "--base_model=BPR"],
            "Some users have interacted with all items",
        ),
    ],
)
def test_data_that_is_too_small_gets_one_line(rows, model, message, monkeypatch, tmp_path):
    path = write_atomic(tmp_path, "small", [tuple(row.split("\t")) for row in rows])
    more = ["--topk=[1]", "--valid_metric=NDCG@1", "--state=ERROR"]
    monkeypatch.setattr("sys.argv", ["x", "--dataset=small", f"--data_path={path}", *more, *model])
    with pytest.raises(SystemExit, match=message):
        cli.run_script()


LABELLED = ["--metrics=['AUC']", "--valid_metric=AUC", "--load_col={'inter':['user_id','item_id','rating']}"]


@pytest.mark.parametrize("threshold", [9, -9])
def test_labels_of_one_kind_are_refused_before_the_training(threshold, monkeypatch, tiny):
    where = ["--dataset=tiny", f"--data_path={tiny['data_path']}", "--state=ERROR", "--model=FM", *LABELLED]
    monkeypatch.setattr("sys.argv", ["x", *where, f"--threshold={{'rating':{threshold}}}"])
    label = int(threshold < 0)
    with pytest.raises(SystemExit, match=f"every row of dataset .tiny. has the label {label}; .'auc'. .* both kinds"):
        cli.run_script()


def test_a_training_without_a_usable_score_is_explained(monkeypatch, tmp_path):
    """All held-out rows have the same label, so no epoch has an AUC and no checkpoint is written."""
    for part, ratings in (("train", (1, 5)), ("valid", (5, 5)), ("test", (1, 5))):
        rows = [(f"u{user}", f"i{user % 7}", ratings[user % 2]) for user in range(20)]
        path = write_atomic(tmp_path, "odd", rows, HEADER)
        (tmp_path / "odd" / "odd.inter").rename(tmp_path / "odd" / f"odd.{part}.inter")
    more = ["--benchmark_filename=['train','valid','test']", "--threshold={'rating':3}", "--epochs=1"]
    where = ["--dataset=odd", f"--data_path={path}", "--state=ERROR", "--show_progress=False", "--model=FM", *LABELLED]
    monkeypatch.setattr("sys.argv", ["x", *where, *more])
    with pytest.raises(SystemExit, match=r"no epoch had a validation score.*valid_metric.*\.pth\]; AUC needs"):
        cli.run_script()


def test_an_unexplained_error_keeps_its_traceback(monkeypatch, tiny):
    def fail(*_, **__):
        raise KeyError("a fault in the code")

    monkeypatch.setattr(quick_start, "run_recbole", fail)
    monkeypatch.setattr("sys.argv", ["x", "--dataset=tiny", f"--data_path={tiny['data_path']}", "--model=Pop"])
    with pytest.raises(KeyError):
        cli.run_script()


def test_files_that_recbole_does_not_read_are_ignored(tmp_path):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "odd.inter").write_text("user_id:token\titem_id:token\n")
    (tmp_path / "odd" / "odd-old.inter").write_text("u1\ti1\n")
    config = Config("Pop", "odd", config_dict={"data_path": str(tmp_path)})
    checks.check_folder(config)
    (tmp_path / "odd" / "odd.one.inter").write_text("u1\ti1\n")
    config["benchmark_filename"] = ["one", "two", "three"]
    with pytest.raises(ValueError, match=r"odd\.one\.inter"):
        checks.check_folder(config)


def test_a_misspelt_key_is_an_error_or_a_warning(tiny):
    """The plugin's models raise an error. Other models warn, since they may read the key."""
    message = "interpolation_wieght.*did you mean .interpolation_weight"
    keys = {**tiny, "interpolation_wieght": 1}
    with pytest.raises(ValueError, match=message):
        Config("UniversalInterpolation", "tiny", config_dict={**keys, "base_model": "BPR"})
    with pytest.warns(UserWarning, match="universal_baslines.*did you mean .universal_baselines"):
        Config("BPR", "tiny", config_dict={**tiny, "universal_baslines": []})
    other = type("UniversalOther", (BPR,), {})  # a model of somebody else
    with pytest.warns(UserWarning, match="universal_baslines"):
        Config(other, "tiny", config_dict={**tiny, "universal_baslines": []})
