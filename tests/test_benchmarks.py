"""The basis of the tables of docs/: the baselines, the harness, and the conversion of results to tables."""

from __future__ import annotations

import argparse
import ast
import graphlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import ablation
import baselines
import columns
import correction
import data
import harness
import mutations
import penalty
import report
import wide_grids
import zero_shot
import zero_shot_tables
import zero_shot_values

sys.path.pop(0)

from recbole_universal import UniversalRanker
from recbole_universal.features import self_check
from recbole_universal.features.candidate_columns import column_groups
from recbole_universal.features.proximity_pairs import ProximityPairs
from recbole_universal.graph import GraphScorers
from recbole_universal.metrics import ndcg
from recbole_universal.ranking.correction import CORRECTION_PENALTY


@pytest.fixture(scope="module")
def train() -> sp.csr_matrix:
    rng = np.random.default_rng(0)
    same_group = np.arange(60)[:, None] % 3 == np.arange(45) % 3
    return sp.csr_matrix((rng.random((60, 45)) < np.where(same_group, 0.4, 0.05)).astype(np.float32))


@pytest.mark.parametrize("few_items", [0, 6000])
@pytest.mark.parametrize("transposed", [False, True])
def test_ease_is_the_closed_form_on_either_side(train, monkeypatch, few_items, transposed):
    monkeypatch.setattr(baselines.EASE, "few_items", few_items)
    matrix = train.T.tocsr() if transposed else train
    baseline = baselines.EASE(reg=5.0).fit(matrix)
    assert baseline.by_item == (few_items > 0 or not transposed)
    precision = np.linalg.inv((matrix.T @ matrix).toarray().astype(np.float64) + 5 * np.eye(matrix.shape[1]))
    weights = -precision / precision.diagonal()
    np.fill_diagonal(weights, 0)
    np.testing.assert_allclose(baseline.scores(np.arange(matrix.shape[0])), matrix @ weights, atol=1e-5)


@pytest.mark.parametrize("name", ["ItemKNN", "UserKNN", "RP3beta", "GF-CF"])
def test_items_of_score_0_are_in_the_order_of_popularity(name):
    block = np.ones((6, 4))
    apart = np.zeros((6, 4))
    apart[:, :3] = np.triu(np.ones((6, 3)))  # degrees 1, 2, 3, and an item without interactions
    matrix = sp.csr_matrix(np.block([[block, np.zeros((6, 4))], [np.zeros((6, 4)), apart]]).astype(np.float32))
    baseline = baselines.BASELINES[name](**baselines.BASELINES[name].grid[0]).fit(matrix)
    order = np.argsort(-baseline.scores(np.array([0]))[0], kind="stable")
    assert set(order[:4]) == {0, 1, 2, 3}
    assert [*order[4:]] == [6, 5, 4, 7]


def result(dataset: str, row: str, value: float, groups: dict | None = None, **other) -> dict:
    setting = {
        "dataset": dataset,
        "row": row,
        "ndcg@10": value,
        "seed": 2020,
        "max_users": 10,
        "seconds": 1,
        "hyperparameters": {},
    }
    return setting | ({"by_activity": groups} if groups else {}) | other


def test_hyperparameters_at_an_end_are_followed_while_validation_grows(monkeypatch):
    assert wide_grids.factors("ItemKNN", {"k": 500, "shrink": 0.0}) == {"k": 2.0}
    assert wide_grids.factors("EASE", {"reg": 10.0}) == {"reg": 0.5}
    assert wide_grids.factors("EASE", {"reg": 50.0}) == {}

    class Baseline:
        grid = baselines.ItemKNN.grid

        def __init__(self, k, shrink):
            self.scores = k, shrink

        def fit(self, train):
            return self

    class Split:
        train = None

        def evaluate(self, scores, part):
            best = {"valid": 2000, "test": 1000}[part]
            return {"ndcg@10": 1 - abs(scores[0] - best) / 1e4 - scores[1] / 1e4}

    monkeypatch.setitem(baselines.BASELINES, "ItemKNN", Baseline)
    chosen, value = wide_grids.followed(Split(), "ItemKNN", {"k": 500, "shrink": 100.0})
    assert chosen == {"k": 2000, "shrink": 100.0} and value == pytest.approx(0.89)  # chosen by validation alone


def test_table_by_activity():
    import pandas as pd

    results = [
        result("a", "MostPop", 0.2, {"1": [100, 0.1], "5": [300, 0.3]}),
        result("a", "EASE", 0.3, {"1": [100, 0.2], "5": [300, 0.2]}),
        result("a", "zero-shot", 0.4, {"1": [100, 0.3], "5": [300, 0.15]}),
        result("b", "MostPop", 0.2, {"1": [99, 0.1]}),  # too few users
        result("c", "MostPop", 0.2, {"1": [100, 0.1]}),
        result("c", "EASE", 0.2),  # of an earlier run: the best of the others would be no best
    ]
    table = zero_shot_tables.activity_table(pd.DataFrame(results))
    assert table.splitlines()[-2:] == [
        "| 1 to 4 | 1 | 100 | 0.500 | 1.000 | 1.500 |",
        "| 5 to 9 | 1 | 300 | 1.000 | 0.667 | 0.500 |",
    ]


def test_other_seeds_are_compared_on_the_same_datasets_with_the_same_baselines():
    import pandas as pd

    first = [result(name, row, value) for name in "abc" for row, value in {"MostPop": 0.2, "zero-shot": 0.3}.items()]
    again = [
        result("a", "MostPop", 0.2),
        result("a", "zero-shot", 0.2),
        result("b", "MostPop", 0.2),
        result("b", "EASE", 0.2),  # the first seed's best was of fewer
        result("b", "zero-shot", 0.2),
        result("c", "MostPop", 0.2),
    ]
    table = zero_shot_tables.seed_table(pd.DataFrame([*first, *({**row, "seed": 2021} for row in again)]))
    assert table.splitlines()[-1] == "| 2021 | 1 | 1.000 | 1.500 | 0.500 | 100% | a 1.000 | 0% |"
    assert zero_shot_tables.seed_table(pd.DataFrame(first)) == ""


def test_differences_of_the_columns_are_paired_by_seed():
    import pandas as pd

    aucs = {"none": [0.5, 0.7, 0.6], "activity": [0.51, 0.71, 0.63]}
    results = [
        {"dataset": "a", "model": "FM", "columns": row, "seed": seed, "auc": auc, "logloss": 1 - auc, "date": "-"}
        for row, values in aucs.items()
        for seed, auc in reversed([*enumerate(values)])
    ]
    other = [{**result, "model": "DeepFM"} for result in results[:3]]  # without a row of columns
    tables = columns.tables_of(pd.DataFrame([*results, *other]))
    assert tables["gain"].splitlines()[2:] == [
        "| a | FM | none | 3 | 0.6000 |  | 0.4000 |  |",
        "| a | FM | activity | 3 | 0.6167 | +0.0167 ± 0.0067 | 0.3833 | -0.0167 ± 0.0067 |",
        "| a | DeepFM | none | 3 | 0.6000 |  | 0.4000 |  |",
    ]


def test_each_group_of_columns_is_left_out_once():
    names = [name for names in ablation.KINDS.values() for name in names]
    assert sorted(names) == sorted(column_groups())


def test_the_small_regression_chooses_the_penalty_of_the_self_check(train, monkeypatch):
    for module in (penalty, self_check):
        monkeypatch.setattr(module, "_CHOICE_SIZE", 20)  # the small regression is not the whole
    monkeypatch.setattr(penalty, "N_DRAWS", 5)
    result, expected = penalty.result_of(train), []
    for draw in range(5):
        arguments = train, 20, 0.2, draw, 6000, lambda matrix, penalty: GraphScorers(matrix, penalty=penalty)
        chosen, *_ = self_check.check_scorers(*arguments, lambda *of: ProximityPairs(*of, 10))
        expected.append(chosen)
    assert [self_check.PENALTIES[np.argmax(values[:3])] for values in result["small"]] == expected
    assert len(set(expected)) > 1 and result["users"] == [20] * 5
    assert result["whole"] != result["small"]


def test_table_of_penalties():
    draws = {"whole": [[0.1, 0.2, 0.4, 0.5], [0.4, 0.2, 0.1, 0.0]], "small": [[0, 0, 1, 2], [0, 2, 1, 0]]}
    table = penalty.table_of_penalties([{"dataset": "a", "users": [10, 20], **draws}])
    # Draw 0 chooses 10, which has 0.1 on draw 1. Draw 1 chooses 3, which has 0.2 on draw 0, and half of the best here.
    assert table.splitlines()[-1] == "| a | 15 | 0.250 | 0.200 | 0.250 | 0.250 | 10, 3 | 50.0% | -25.0% |"
    assert penalty.table_of_penalties([]) == ""


class StubSplit:
    """A split of the block matrix: two items of each user are held out."""

    def __init__(self, matrix: sp.csr_matrix):
        held_out = np.zeros(matrix.shape, dtype=np.float32)
        for user in range(matrix.shape[0]):
            held_out[user, matrix.indices[slice(*matrix.indptr[user : user + 2])][:2]] = 1
        self.test, self.train = sp.csr_matrix(held_out), sp.csr_matrix(matrix - held_out)
        self.train.eliminate_zeros()
        self.seen, self.keys = {"test": self.train}, {"seed": 2020}
        self.test_users = np.arange(matrix.shape[0])


def test_a_correction_of_the_table_is_that_of_the_package(train):
    split = StubSplit(train)
    values = correction.result_of(split, "universal-base")
    network = UniversalRanker(split.train).network
    assert not network.falls_back()
    scores = network.score_all(torch.arange(60)).detach().numpy()
    scores[split.train.nonzero()] = -np.inf
    hits = np.take_along_axis(split.test.toarray() > 0, np.argsort(-scores, axis=1)[:, :10], axis=1)
    expected = ndcg(hits, np.diff(split.test.indptr)).mean()
    assert values[f"penalty {CORRECTION_PENALTY:.0f}"] == pytest.approx(expected)
    check = network.candidate_pairs.check
    compared = correction.corrections(check, network._check_scores(check))
    assert list(compared) == list(values) and not compared["the network alone"].any()
    sizes = [float(compared[f"penalty {penalty:.0f}"].norm()) for penalty in correction.PENALTIES]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] > 0


def test_table_of_corrections():
    results = [
        {"dataset": "a", "ndcg@10": {"the network alone": 0.2, "penalty 3": 0.3}},
        {"dataset": "b", "ndcg@10": {"the network alone": 0.4, "penalty 3": 0.2}},
    ]
    assert correction.table_of_corrections(results).splitlines()[2:] == [
        "| the network alone | 1.0000 | 0.0000 | 0 of 2 | 1.000 (a) | 1.000 (a) |",
        "| penalty 3 | 1.0000 | 0.5000 | 1 of 2 | 0.500 (b) | 1.500 (a) |",
    ]
    assert correction.table_of_corrections(results[:1]) == ""


def save_ndcg(folder: Path, results: list[dict], values: dict[str, np.ndarray]) -> None:
    for one, by_user in zip(results, values.values(), strict=True):
        file = zero_shot_values.ndcg_file(folder, one)
        file.parent.mkdir(exist_ok=True)
        np.save(file, by_user)


def test_tables_take_one_number_of_users_and_pair_them(tmp_path):
    rng = np.random.default_rng(0)
    base = rng.random(400) * 0.5
    values = {"MostPop": base, "EASE": base + 0.01, "zero-shot": base + 0.02 + 0.01 * rng.standard_normal(400)}
    results = [result("a", row, float(by_user.mean())) for row, by_user in values.items()]
    save_ndcg(tmp_path, results, values)
    tables = zero_shot_tables.tables_of([*results, result("a", "zero-shot", 0.0) | {"max_users": 0}], tmp_path)
    ndcg = f"| a | {base.mean():.4f} | {base.mean() + 0.01:.4f} | {values['zero-shot'].mean():.4f} | EASE |"
    assert ndcg in tables["ndcg"]
    assert tables["significance"].endswith("| 1 | 1 | 0 | 0 | - |")


def test_fast_lists_are_a_ratio_and_no_row(tmp_path):
    values = {"MostPop": 0.1, "EASE": 0.4, "zero-shot": 0.5, "zero-shot, fast": 0.45}
    tables = zero_shot_tables.tables_of([result("a", row, value) for row, value in values.items()], tmp_path)
    assert "| zero-shot, fast / zero-shot | 1 | 0.900 | 0 | a 0.900 |" in tables.pop("pairs of rows")
    assert "fast" not in "".join(tables.values())


@pytest.mark.parametrize(
    ("shift", "counts"), [(0.02, "1 | 0 | 0 | -"), (-0.02, "0 | 1 | 0 | a"), (0.0, "0 | 0 | 1 | -")]
)
def test_differences_within_two_standard_errors_are_apart(tmp_path, shift, counts):
    import pandas as pd

    base = np.random.default_rng(0).random(400) * 0.5
    noise = np.random.default_rng(1).standard_normal(400)
    values = {"EASE": base, "zero-shot": base + shift + 0.1 * (noise - noise.mean())}  # an error of .005
    results = [result("a", row, float(by_user.mean())) for row, by_user in values.items()]
    save_ndcg(tmp_path, results, values)
    line = zero_shot_tables.significance_table(pd.DataFrame(results), tmp_path).splitlines()[-1]
    assert line == f"| 1 | {counts} |"


def test_trained_rows_of_other_seeds_are_separate_lines():
    import pandas as pd

    results = [
        result("a", "EASE", 0.25),
        result("a", "BPR", 0.2),
        result("a", "BPR", 0.3, seed=2021, seconds=7),
        result("b", "zero-shot", 0.4),  # nothing was trained there
    ]
    lines = zero_shot_tables.trained_table(pd.DataFrame(results)).splitlines()
    assert lines[-2:] == [
        "| a | 0.2000 (1 s) | - | 0.2500 (EASE) |",
        "| a, seed 2021 | 0.3000 (7 s) | - | - |",
    ]


def test_fingerprints_know_pairs_and_files(tmp_path):
    def described(*rows: str) -> dict:
        file = tmp_path / "x.inter"
        file.write_text("\n".join(["user_id:token\titem_id:token\trating:float", *rows]) + "\n")
        return data.described(file)

    first = described("u\ti\t1", "v\tNA\t2")
    assert (first["users"], first["items"], first["rows"]) == (2, 2, 2)
    assert data.compared(described("u\ti\t1", "v\tNA\t2"), first) == "the same file"
    assert "the same pairs in another file" in data.compared(described("v\tNA\t2", "u\ti\t1"), first)
    assert "rows 3, not 2" in data.compared(described("u\ti\t1", "v\tNA\t2", "u\ti\t1"), first)
    assert "items 1, not 2" in data.compared(described("u\ti\t1", "v\ti\t2"), first)


def test_the_text_of_each_mutant_occurs_once():
    mutants = mutations.read_mutants()
    assert len(mutants) == len({mutant.name for mutant in mutants}) > 80
    assert [(mutant.name, wrong) for mutant in mutants if (wrong := mutations.problem_of(mutant, mutations.ROOT))] == []


PAGE = """# Title

Text before.

<!-- table: ndcg -->

| old |

<!-- end -->

Text between, with | bars | and <!-- a comment -->.

<!-- table: seconds -->

| old | too |

<!-- end -->

Text after.
"""


def test_tables_are_written_between_their_markers(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    results = harness.Results(tmp_path / "results.jsonl")
    for row, value in {"MostPop": 0.2, "EASE": 0.3, "zero-shot": 0.4}.items():
        results.add(result("a", row, value))
    table = zero_shot_tables.tables_of(harness.read_results(results.file), tmp_path)["ndcg"]
    report.fill(page, {"ndcg": table})
    written = "| dataset | MostPop | EASE | zero-shot | best baseline |\n| --- | --- | --- | --- | --- |\n"
    assert page.read_text() == PAGE.replace("| old |\n\n", written + "| a | 0.2000 | 0.3000 | 0.4000 | EASE |\n\n", 1)
    before = page.read_text()
    report.fill(page, {"ndcg": table})
    assert page.read_text() == before
    report.fill(page, {"ndcg": "", "seconds": table})
    assert page.read_text() == PAGE.replace("| old |\n", "Not measured.\n", 1).replace("| old | too |", table)
    page.write_text(PAGE.replace("<!-- end -->", "", 1))
    with pytest.raises(ValueError, match=r"0 pairs of markers for the table \[ndcg\]; it has \['seconds'\]"):
        report.fill(page, {"ndcg": table})
    with pytest.raises(ValueError, match=r"0 pairs of markers for the table \[other\]"):
        report.fill(page, {"other": table})
    report.fill(tmp_path / "new.md", {"other": table})
    assert (tmp_path / "new.md").read_text() == f"<!-- table: other -->\n\n{table}\n\n<!-- end -->\n"


def test_a_run_skips_existing_results(tmp_path):
    file = tmp_path / "new" / "results.jsonl"
    harness.Results(file).add({"dataset": "a", "hyperparameters": {"k": 5}, "ndcg@10": 0.5})
    results = harness.Results(file)
    assert results.has({"dataset": "a", "hyperparameters": {"k": 5}})
    assert not results.has({"dataset": "a", "hyperparameters": {"k": 6}}) and not results.has({"seed": 1})
    results.add({"dataset": "b"})
    assert [json.loads(line)["dataset"] for line in file.read_text().splitlines()] == ["a", "b"]


def test_half_a_last_line_is_dropped_with_a_message(tmp_path, capsys):
    file = tmp_path / "results.jsonl"
    file.write_text('{"dataset": "a"}\n{"dataset": "b", "ndcg@')
    results = harness.Results(file)
    assert [row["dataset"] for row in results.rows] == ["a"] and not results.has({"dataset": "b"})
    assert "is incomplete" in capsys.readouterr().err
    results.add({"dataset": "b"})
    assert [row["dataset"] for row in harness.read_results(file)] == ["a", "b"]
    assert not capsys.readouterr().err


def test_rows_of_other_weights_are_refused(tmp_path, monkeypatch, capsys):
    """After retraining, the row of the old model is no row of the new one."""
    measured: list[str] = []
    monkeypatch.setattr(zero_shot, "split_of", lambda *_: argparse.Namespace(name="a"))
    monkeypatch.setattr(zero_shot, "result_of", lambda _, row, *__: measured.append(row) or {"ndcg@10": 0.5})
    settings = {"seed": 1, "max_users": 2, "datasets": ["a"], "models": None, "output": tmp_path}
    flags = dict.fromkeys(("unfiltered", "in_time_order", "sample", "published"))
    arguments = argparse.Namespace(**settings, **flags, rows=["MostPop", "zero-shot", "zero-shot, paper"])
    for _ in range(2):
        zero_shot.run(arguments)
    assert measured == arguments.rows
    rows = harness.read_results(tmp_path / "results.jsonl")
    assert "weights" not in rows[0] and rows[1]["weights"] != rows[2]["weights"]
    assert rows[1]["weights"] == zero_shot.weights_digest("universal-base")
    monkeypatch.setattr(zero_shot, "weights_digest", lambda model: "0123456789ab")
    with pytest.raises(ValueError, match=rf"zero-shot.* the weights {rows[1]['weights']}; .* 0123456789ab now"):
        zero_shot.run(arguments)
    harness.Results(tmp_path / "old" / "results.jsonl").add({"dataset": "a", "seed": 1, "max_users": 2, "row": "old"})
    zero_shot.run(argparse.Namespace(**{**vars(arguments), "output": tmp_path / "old", "rows": ["old"]}))
    assert "does not say which weights" in capsys.readouterr().err


def test_a_sample_is_of_the_present_file(tmp_path, monkeypatch):
    monkeypatch.setattr(harness.tempfile, "gettempdir", lambda: str(tmp_path))
    source = tmp_path / "data" / "x" / "x.inter"
    source.parent.mkdir(parents=True)
    for items in ("ij", "kl"):
        source.write_text("user_id:token\titem_id:token\n" + "".join(f"u\t{item}\n" for item in items))
        copy = Path(harness.sample_users("x", str(tmp_path / "data"), 5)) / "x" / "x.inter"
        assert copy.read_text() == source.read_text()
        assert harness.sample_users("x", str(tmp_path / "data"), 5) == str(copy.parent.parent)


def test_no_circle_of_imports():
    files = {path.stem: path for path in (mutations.ROOT / "benchmarks").glob("*.py")}
    imports: dict[str, set[str]] = {}
    for name, path in files.items():
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))  # in functions too
        modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        modules |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        imports[name] = modules & set(files)
    assert "harness" in imports["zero_shot"]
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError and names the circle
