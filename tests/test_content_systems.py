"""The benchmark of the systems by content: its samples, ranks and tables."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import content_systems
import content_systems_data
import content_systems_ranks
import content_systems_tables

sys.path.pop(0)


@pytest.fixture
def shop(tmp_path) -> Path:
    """Users 0 to 9 with 20 items each, in order, and one with too few."""
    folder = tmp_path / "source" / "shop"
    folder.mkdir(parents=True)
    rows = [f"u{user}\ti{(user * 7 + step) % 60}\t{100 + step}" for user in range(10) for step in range(20)]
    rows += ["few\ti0\t1", "few\ti1\t2"]
    (folder / "shop.inter").write_text("\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]))
    lines = [f'i{item}\tthe "{item}" thing' for item in range(60)]
    (folder / "shop.item").write_text("\n".join(["item_id:token\ttitle:token_seq", *lines]))
    return tmp_path / "source"


def test_a_sample_has_the_last_items_of_users(shop, tmp_path):
    small = content_systems_data.prepared("shop", shop, shop, tmp_path / "out")
    assert small.ordered and sorted(small.histories) == sorted(f"u{user}" for user in range(10))
    assert small.histories["u1"] == [f"i{(7 + step) % 60}" for step in range(8, 20)]
    text = (tmp_path / "out" / "shop" / "shop.item").read_text()
    assert '"' not in text and "i15\tthe 15 thing" in text.replace("  ", " ")  # no commas between words


def test_new_items_have_no_interaction_and_are_in_the_larger_catalogue(shop, tmp_path):
    small = content_systems_data.prepared("shop", shop, shop, tmp_path / "out", new_share=0.2)
    known = {item for items in small.histories.values() for item in items}
    assert small.new_items and not known & set(small.new_items)
    whole = content_systems_data.prepared("shop", shop, shop, tmp_path / "out")
    for user, item in small.new_of:
        assert item in small.new_items
        assert item == next(one for one in whole.histories[user] if one in small.new_items)
    files = {name: (tmp_path / "out" / name / f"{name}.item").read_text() for name in ("shop-new", "shop-new-all")}
    for item in small.new_items:
        assert f"\n{item}\t" not in files["shop-new"] and f"\n{item}\t" in files["shop-new-all"]


def test_samples_of_other_numbers_have_other_users(shop, tmp_path):
    drawn = [
        content_systems_data.prepared("shop", shop, shop, tmp_path / "out", n_users=4, label=f"s{draw}", draw=draw)
        for draw in range(3)
    ]
    assert [len(small.histories) for small in drawn] == [4, 4, 2]
    assert len(set().union(*(small.histories for small in drawn))) == 10


def test_gains_are_those_of_the_hits_and_differences_are_paired():
    gains = content_systems_ranks.gains({"1": 0.0, "3": 2.0}, 4)
    assert gains.tolist() == [0, 1, 0, 0.5]
    assert content_systems_ranks.difference(gains, gains - 0.25) == (0.25, 0)
    assert content_systems_ranks.difference(gains, 0 * gains) == (0.375, pytest.approx(0.2393568))


def test_other_seeds_have_the_learning_rate_of_the_first():
    first, second = (content_systems.Run("shop", seed, n_users=400) for seed in (2020, 2021))
    assert content_systems.learning_rates(second, []) == content_systems.TARGET_RATES
    assert content_systems.learning_rates(second, [{**asdict(first), "rate": 0.5}]) == (0.5,)
    assert content_systems.learning_rates(content_systems.Run("shop", 2021), []) == (0.003,)


def test_ranks_count_better_items_and_half_of_the_tied_ones():
    scores = torch.tensor([[-torch.inf, 3.0, 1.0, 2.0, 2.0, 0.0]])
    model = SimpleNamespace(
        eval=lambda: None, max_seq_length=2, full_sort_predict=lambda batch: scores.repeat(len(batch), 1)
    )
    code = {f"i{item}": item for item in range(1, 6)}
    pairs = [(["i1", "i5", "i2"], "i3"), (["i1"], "i5"), (["i2"], "i1")]
    assert content_systems_ranks.ranks(model, pairs, code).tolist() == [1.5, 4, 0]
    assert content_systems_ranks.ranks(model, pairs[:2], code, torch.tensor([2, 3, 5])).tolist() == [0, 2]


def test_every_run_of_a_system_is_another_one():
    for system in content_systems.SYSTEMS:
        runs = list(content_systems.runs_of(system, 1))
        assert runs and len(set(runs)) == len(runs)


def test_tables_are_means_of_the_seeds():
    rows = []
    for seed in (1, 2):
        runs = [run for system in content_systems.SYSTEMS for run in content_systems.runs_of(system, seed)]
        for run in dict.fromkeys(runs):
            row = {**asdict(run), "ndcg": 0.1 * seed, "recall": 0.2, "trained": 7, "epochs": 3, "seconds": 1.0}
            row |= {"users n": 4, "hits": {"1": 0.0} if run.tuned == "lora" else {}}
            rows.append(row | {f"{name} recall": 0.3 for name in ("warm", "cold", "among new", "both")})
    made = content_systems_tables.tables(rows)
    assert all(made.values())
    assert "| bx-books | adapters | 0.1500 | 100% | +0.0000 ± 0.0000 | 7 | 3 | 1 |" in made["adapterrec"]
    assert "| bx-books | low rank | 0.1500 | 100% | +0.2500 ± 0.1637 |" in made["adapterrec"]
    assert "| all | low rank | 0.1500 | 100% | +0.2500 ± 0.0903 |" in made["adapterrec"]
    assert made["ninerec"].count("(0.1500)") == len(content_systems.MATRIX)
    assert "| amazon-industrial | id + content | 2 | 0.300 | 0.300 | 0.300 | 0.300 |" in made["morec"]
    assert "| text or image | 0.1500 | 0.2000 |" in made["transrec-modality"]
    assert (
        "| 2 | 100 | bx-books | 8 | 0.1500 | 0.1500 | 0.1500 | 0.1500 | +0.0000 ± 0.0000 | +0.0000 ± 0.0000 |"
        in made["transrec"]
    )
    assert "| 7 | 400 | bx-books | 8 | 0.1500 | 0.1500 | 0.1500 | 0.1500 | +0.0000 ± 0.0000 |" in made["transrec-words"]
    assert "-" not in {cell.strip() for line in made["transrec"].splitlines()[2:] for cell in line.split("|")}
    assert not any(content_systems_tables.tables([]).values())


def test_values_of_a_target_are_of_the_same_seeds():
    rows = []
    for seed, targets in ((1, ("amazon-industrial", "coco-mooc")), (2, ("amazon-industrial",))):
        for run in content_systems.runs_of("morec", seed):
            recalls = {f"{name} recall": 0.1 * seed for name in ("warm", "cold", "among new", "both")}
            if run.target in targets or run.items == "id":
                rows.append({**asdict(run), "ndcg": 0.1, "recall": 0.2, **recalls})
    table = content_systems_tables.tables(rows)["morec"].splitlines()
    cells = {tuple(cell.strip() for cell in line.split("|")[1:5]) for line in table}
    assert ("amazon-industrial", "id", "2", "0.150") in cells
    assert ("coco-mooc", "id", "1", "0.100") in cells
