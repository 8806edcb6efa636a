"""Runs of RecBole with several seeds and results in files, and the paired comparison of two runs."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from conftest import write_planted
from scipy import stats

from recbole_universal.app import cli
from recbole_universal.app.comparison import compare
from recbole_universal.app.output_files import latex_table
from recbole_universal.app.quick_start import run
from recbole_universal.app.run_results import RunResults, as_csv, as_html, as_json, as_latex

KEYS = {"data_path": "data", "epochs": 1, "show_progress": False, "state": "ERROR", "gpu_id": "", "topk": [5, 10]}


@pytest.fixture(autouse=True)
def planted(tmp_path):
    write_planted(tmp_path / "data", "shop", seed=3)


def of_seed(model: str, seed: int = 2020, dataset: str = "shop", **keys) -> dict:
    (result,) = run(model, dataset, config_dict={**KEYS, "universal_baselines": [], "seed": seed, **keys}, saved=False)
    return result


@pytest.mark.parametrize("model", ["EASE", "BPR"])
def test_values_of_users_have_the_means_of_recbole(model):
    result = of_seed(model)
    by_user = result["by_user"]
    assert len(by_user) == 60 and {f"u{user}" for user in range(60)} == set(by_user.index)
    assert by_user.mean().round(4).to_dict() == pytest.approx(dict(result["test_result"]), abs=1e-4)


def test_values_of_users_of_a_sequential_model(tiny):
    keys = {**KEYS, **tiny, "train_neg_sample_args": None, "train_batch_size": 512, "MAX_ITEM_LIST_LENGTH": 5}
    (result,) = run("GRU4Rec", "tiny", config_dict={**keys, "universal_baselines": []}, saved=False)
    assert set(result["by_user"].index) == {f"u{user}" for user in range(40)}
    assert result["by_user"].mean().round(4).to_dict() == pytest.approx(dict(result["test_result"]), abs=1e-4)


def test_value_of_a_user_by_hand():
    """A popular recommender finds the held-out item of u0, whom the values of the other users do not reach."""
    one, other = of_seed("Pop", train_batch_size=1), of_seed("EASE")
    assert one["test_hash"] == other["test_hash"] != of_seed("Pop", seed=7)["test_hash"]
    assert not one["by_user"].equals(other["by_user"])


def results(*models: str, seeds=(2020,), **keys) -> RunResults:
    listed = [of_seed(model, seed, **keys) for seed in seeds for model in models]
    return RunResults("shop", {"order": "RO"}, list(seeds), listed)


@pytest.fixture
def two_seeds() -> RunResults:
    return results("EASE", "Pop", seeds=(1, 2))


def test_files_have_means_and_deviations(two_seeds):
    values = [one["test_result"]["ndcg@10"] for one in two_seeds.results if one["model"] == "EASE"]
    frame = two_seeds.table()
    assert frame.loc["EASE", "ndcg@10"] == pytest.approx(np.mean(values))
    assert frame.loc["EASE", "ndcg@10 std"] == pytest.approx(np.std(values, ddof=1)) and np.std(values) > 0
    assert as_csv(two_seeds).startswith("model,recall@5,recall@5 std")
    shown = f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}"
    assert shown.replace("±", r"$\pm$") in as_latex(two_seeds) and r"\toprule" in as_latex(two_seeds)
    assert shown.replace("±", "&plusmn;") in as_html(two_seeds) and "<script" not in as_html(two_seeds)
    content = json.loads(as_json(two_seeds))
    assert content["seeds"] == [1, 2] and list(content["models"]) == ["EASE", "Pop"]
    assert len(content["models"]["EASE"]["by_user"]) == 2


def test_a_comparison_is_a_paired_t_test_over_users(tmp_path):
    runs = {}
    for model in ("EASE", "Pop"):
        found = results(model, seeds=(1, 2))
        (tmp_path / f"{model}.json").write_text(as_json(found))
        runs[model] = pd.concat([one["by_user"] for one in found.results]).groupby(level=0).mean()
    comparison = compare("EASE.json", "Pop.json")
    one, two = (runs[model]["ndcg@5"] for model in ("EASE", "Pop"))
    expected = stats.ttest_rel(one, two)
    interval = expected.confidence_interval()
    row = comparison.table.loc["ndcg@5"]
    assert comparison.n_users == 60 and comparison.names == ("EASE", "Pop")
    assert row["difference"] == pytest.approx((one - two).mean(), abs=1e-5)
    assert row["standard error"] == pytest.approx(stats.sem(one - two), abs=1e-5)
    assert [row["low"], row["high"]] == pytest.approx([interval.low, interval.high], abs=1e-5)
    assert row["p"] == pytest.approx(expected.pvalue, rel=1e-2)
    assert str(comparison).startswith("EASE minus Pop, paired over 60 users; seeds 1, 2,")
    reverse = compare("Pop.json", "EASE.json").table.loc["ndcg@5"]
    assert reverse["difference"] == -row["difference"] and reverse["p"] == row["p"]
    same = compare("EASE.json", "EASE.json").table
    assert (same["difference"] == 0).all() and (same["p"] == 1).all()


def test_json_has_no_nan():
    run = results("Pop")
    run.results[0]["test_result"]["ndcg@5"] = float("nan")
    run.results[0]["by_user"].iloc[3, 0] = np.inf
    model = json.loads(as_json(run), parse_constant=pytest.fail)["models"]["Pop"]
    assert model["test_result"][0]["ndcg@5"] is None
    assert next(iter(model["by_user"][0]["metrics"].values()))[3] is None


def changed(content: dict, change) -> str:
    content = json.loads(json.dumps(content))
    change(content)
    return json.dumps(content)


def other_users(content):
    (by_user,) = content["models"]["Pop"]["by_user"]
    by_user["users"][0] = "someone"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(dataset="x"), "different datasets: shop and x"),
        (lambda content: content.update(seeds=[3]), r"different seeds: \[2020\] and \[3\]"),
        (lambda content: content["models"]["Pop"].update(test_hash=["x"]), "hold out different interactions"),
        (lambda content: content["models"]["Pop"]["by_user"][0]["metrics"].pop("mrr@5"), "different metrics"),
        (lambda content: content["models"]["Pop"].update(by_user=[None]), "no values of single users"),
        (other_users, "different users: 60 and 60"),
        (lambda content: content.update(format=2), "is no result of a run"),
        (lambda content: content.update(models=["Pop"]), "is no result of a run"),
        (lambda content: content.update(models={}), "is no result of a run"),
        (lambda content: content["models"]["Pop"].pop("by_user"), "is no result of a run"),
        (lambda content: content["models"]["Pop"]["by_user"][0]["users"].pop(), r"two\.json\] is damaged"),
        (lambda content: content["models"]["Pop"]["by_user"][0].update(metrics={"mrr@5": ["x"] * 60}), "is damaged"),
        (lambda content: content["models"]["Pop"]["by_user"][0]["metrics"].update({"mrr@5": [None] * 60}), "no finite"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(change, message, tmp_path):
    content = json.loads(as_json(results("Pop")))
    (tmp_path / "one.json").write_text(json.dumps(content))
    (tmp_path / "two.json").write_text(changed(content, change))
    with pytest.raises(ValueError, match=message):
        compare("one.json", "two.json")


def test_commands(tmp_path, capsys):
    keys = [f"--{key}={value}" for key, value in KEYS.items()]
    common = ["--dataset", "shop", *keys, "--universal_baselines=['Pop']"]
    assert cli.main(["run", "-m", "EASE", *common, "--output", "ease.json", "--seeds", "1", "2"]) == 0
    printed = capsys.readouterr().out
    assert "| EASE | " in printed and " ± " in printed and printed.endswith("Wrote ease.json.\n")
    assert cli.main(["run", "-m", "BPR", *common, "--output", "bpr.json", "--seeds", "1", "2"]) == 0
    capsys.readouterr()
    assert cli.main(["compare", "ease.json", "bpr.json"]) == 0
    assert "EASE minus BPR, paired over 60 users; seeds 1, 2" in capsys.readouterr().out
    assert cli.main(["compare", "ease.json", "gone.json"]) == 1
    assert capsys.readouterr().err == "compare: There is no file [gone.json].\n"
    with pytest.raises(SystemExit, match="leave out --seed"):
        cli.main(["run", "-m", "EASE", *common, "--seed=3", "--seeds", "1"])
    with pytest.raises(SystemExit, match=r"must end in one of \.csv, \.json, \.tex, \.html"):
        cli.main(["run", "-m", "EASE", *common, "--output", "x.txt"])


def test_latex_of_all_special_characters():
    table = latex_table(pd.DataFrame({"50 %": ["a_b"]}, index=["\\x{y}~^$#&"]))
    assert r"\textbackslash{}x\{y\}\textasciitilde{}\textasciicircum{}\$\#\& & a\_b" in table and r"50 \%" in table
