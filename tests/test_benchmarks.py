"""What the tables in docs/ stand on: the peers beside us, and how results become tables."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import data
import mutations
import peers
import wide_grids
import zero_shot

sys.path.pop(0)


@pytest.fixture(scope="module")
def train() -> sp.csr_matrix:
    rng = np.random.default_rng(0)
    own = np.arange(60)[:, None] % 3 == np.arange(45) % 3
    return sp.csr_matrix((rng.random((60, 45)) < np.where(own, 0.4, 0.05)).astype(np.float32))


@pytest.mark.parametrize("few_items", [0, 6000])
@pytest.mark.parametrize("transposed", [False, True])
def test_ease_is_the_closed_form_on_either_side(train, monkeypatch, few_items, transposed):
    monkeypatch.setattr(peers.EASE, "few_items", few_items)
    matrix = train.T.tocsr() if transposed else train
    peer = peers.EASE(reg=5.0).fit(matrix)
    assert peer.by_item == (few_items > 0 or not transposed)
    precision = np.linalg.inv((matrix.T @ matrix).toarray().astype(np.float64) + 5 * np.eye(matrix.shape[1]))
    weights = -precision / precision.diagonal()
    np.fill_diagonal(weights, 0)
    np.testing.assert_allclose(peer.scores(np.arange(matrix.shape[0])), matrix @ weights, atol=1e-5)


@pytest.mark.parametrize("name", ["ItemKNN", "UserKNN", "RP3beta", "GF-CF"])
def test_popularity_decides_where_a_peer_knows_nothing(name):
    block = np.ones((6, 4))
    apart = np.zeros((6, 4))
    apart[:, :3] = np.triu(np.ones((6, 3)))  # degrees 1, 2, 3, and an item without interactions
    matrix = sp.csr_matrix(np.block([[block, np.zeros((6, 4))], [np.zeros((6, 4)), apart]]).astype(np.float32))
    peer = peers.PEERS[name](**peers.PEERS[name].grid[0]).fit(matrix)
    order = np.argsort(-peer.scores(np.array([0]))[0], kind="stable")
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
        "knobs": {},
    }
    return setting | ({"by_activity": groups} if groups else {}) | other


def test_knobs_at_an_end_are_followed_while_validation_grows(monkeypatch):
    assert wide_grids.factors("ItemKNN", {"k": 500, "shrink": 0.0}) == {"k": 2.0}
    assert wide_grids.factors("EASE", {"reg": 10.0}) == {"reg": 0.5}
    assert wide_grids.factors("EASE", {"reg": 50.0}) == {}

    class Peer:
        grid = peers.ItemKNN.grid

        def __init__(self, k, shrink):
            self.scores = k, shrink

        def fit(self, train):
            return self

    class Split:
        train = None

        def evaluate(self, scores, part):
            best = {"valid": 2000, "test": 1000}[part]
            return {"ndcg@10": 1 - abs(scores[0] - best) / 1e4 - scores[1] / 1e4}

    monkeypatch.setitem(peers.PEERS, "ItemKNN", Peer)
    found, value = wide_grids.followed(Split(), "ItemKNN", {"k": 500, "shrink": 100.0})
    assert found == {"k": 2000, "shrink": 100.0} and value == pytest.approx(0.89)  # chosen by validation alone


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
    table = zero_shot.activity_table(pd.DataFrame(results))
    assert table[-2:] == [
        "| 1 to 4 | 1 | 100 | 0.500 | 1.000 | 1.500 |",
        "| 5 to 9 | 1 | 300 | 1.000 | 0.667 | 0.500 |",
    ]


def test_other_seeds_are_compared_on_the_same_data_sets_with_the_same_peers():
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
    table = zero_shot.spread(pd.DataFrame([*first, *({**found, "seed": 2021} for found in again)]))
    assert table[-1] == "| 2021 | 1 | 1.000 | 1.500 | 0.500 | 100% | 1.000 (a) | 0% |"
    assert zero_shot.spread(pd.DataFrame(first)) == []


def test_report_takes_one_number_of_users_and_pairs_them(tmp_path):
    rng = np.random.default_rng(0)
    base = rng.random(400) * 0.5
    kept = {"MostPop": base, "EASE": base + 0.01, "zero-shot": base + 0.02 + 0.01 * rng.standard_normal(400)}
    results = [result("a", row, float(values.mean())) for row, values in kept.items()]
    for one, values in zip(results, kept.values(), strict=True):
        file = zero_shot.gains_file(tmp_path, one)
        file.parent.mkdir(exist_ok=True)
        np.save(file, values)
    page = zero_shot.report([*results, result("a", "zero-shot", 0.0) | {"max_users": 0}], tmp_path)
    assert f"| a | {base.mean():.4f} | {base.mean() + 0.01:.4f} | {kept['zero-shot'].mean():.4f} | EASE |" in page
    assert "above the best peer by more than two standard errors on 1, below it by more than two on 0" in page


@pytest.mark.parametrize(("shift", "verdict"), [(0.02, (1, 0, 0)), (0.0, (0, 0, 1)), (-0.02, (0, 1, 0))])
def test_differences_within_chance_are_told_from_others(tmp_path, shift, verdict):
    import pandas as pd

    base = np.random.default_rng(0).random(400) * 0.5
    noise = np.random.default_rng(1).standard_normal(400)
    kept = {"EASE": base, "zero-shot": base + shift + 0.1 * (noise - noise.mean())}  # an error of .005
    results = [result("a", row, float(values.mean())) for row, values in kept.items()]
    for one, values in zip(results, kept.values(), strict=True):
        file = zero_shot.gains_file(tmp_path, one)
        file.parent.mkdir(exist_ok=True)
        np.save(file, values)
    line = zero_shot.paired(pd.DataFrame(results), pd.Series({"a": "EASE"}), tmp_path)[-1]
    above, below, near = verdict
    assert f"standard errors on {above}, below it by more than two on {below}" in line
    assert f"within two on {near}." in line and ("(a)" in line) == bool(below)


def test_trained_rows_of_other_seeds_are_lines_of_their_own():
    import pandas as pd

    results = [
        result("a", "EASE", 0.25),
        result("a", "BPR", 0.2),
        result("a", "BPR", 0.3, seed=2021, seconds=7),
        result("b", "zero-shot", 0.4),  # nothing was trained there
    ]
    table = zero_shot.trained_table(pd.DataFrame(results))
    assert table[-2:] == ["| a | 0.2000 (1 s) | - | 0.2500 (EASE) |", "| a, seed 2021 | 0.3000 (7 s) | - | - |"]


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


def test_each_mutant_changes_one_place_of_the_package():
    mutants = mutations.read_mutants()
    assert len(mutants) == len({mutant.name for mutant in mutants}) > 80
    assert [(mutant.name, wrong) for mutant in mutants if (wrong := mutations.found_once(mutant, mutations.ROOT))] == []
