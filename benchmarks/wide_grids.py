"""Would the peers of the zero-shot table be better with knobs beyond the values that were tried?

    python benchmarks/wide_grids.py --data-path DATA --output OUT/wide_grids.jsonl
    python benchmarks/wide_grids.py --output OUT/wide_grids.jsonl --report docs/wide_grids.md

Of every training-free peer in `docs/zero_shot.csv` that reaches 95 % of the frozen model's NDCG@10 on a data set with a
knob at the end of its grid, that knob is followed beyond the end: doubled (at the lower end halved), one knob after the
other, as long as NDCG@10 on the validation part grows. Data sets, splits and users are those of the table.
"""

from __future__ import annotations

import argparse
import ast
import logging
import sys
from pathlib import Path

import pandas as pd

import recbole_universal  # noqa: F401  mends RecBole, so it comes before any import of it
from recbole_universal.files import write_text

# isort: split
from peers import PEERS
from results import add_result, read_results
from zero_shot import Split, best_peer, comparable, markdown, whole

NEAR = 0.95
# What a result must share with a line of the table to be of it.
SAME = ("dataset", "row", "seed", "max_users", "knobs")
TABLE = Path(__file__).parent.parent / "docs" / "zero_shot.csv"


def zero_shot_table() -> pd.DataFrame:
    """Results of the first seed on whole data sets, knobs as dictionaries."""
    table = comparable(pd.read_csv(TABLE).to_dict("records"))
    table = table[(table["seed"] == table["seed"].min()) & ~table["dataset"].str.contains(", ")].copy()
    table["knobs"] = [ast.literal_eval(knobs) if isinstance(knobs, str) else {} for knobs in table["knobs"]]
    return table


def factors(name: str, knobs: dict) -> dict[str, float]:
    """By knob at the end of a peer's grid, what leads beyond that end; nothing leads below 0."""
    tried = {knob: [values[knob] for values in PEERS[name].grid] for knob in knobs}
    upper = {knob: 2.0 for knob, value in knobs.items() if value == max(tried[knob])}
    return upper | {knob: 0.5 for knob, value in knobs.items() if value == min(tried[knob]) and value > 0}


def at_an_end(table: pd.DataFrame) -> pd.DataFrame:
    """Lines of peers near the frozen model with a knob at the end of its grid."""
    frozen = table[table["row"] == "zero-shot"].set_index("dataset")["ndcg@10"]
    near = table["row"].isin(PEERS) & (table["ndcg@10"] >= NEAR * table["dataset"].map(frozen))
    table = table[near]
    return table[[bool(factors(name, knobs)) for name, knobs in zip(table["row"], table["knobs"], strict=True)]]


def result_of(line: dict, results: list[dict]) -> dict | None:
    """The last result that was begun at a line of the table as it is now."""
    same = (found for found in reversed(results) if all(found.get(name) == line[name] for name in SAME))
    return next(same, None)


def followed(split: Split, name: str, knobs: dict) -> tuple[dict, float]:
    """The knobs that validation leads to from ``knobs``, and their NDCG@10 on the test part."""

    def fitted(knobs: dict):
        peer = PEERS[name](**knobs).fit(split.train)
        return split.evaluate(peer.scores, "valid")["ndcg@10"], peer

    score, peer = fitted(knobs)
    for knob, factor in factors(name, knobs).items():
        while True:
            further = {**knobs, knob: type(knobs[knob])(knobs[knob] * factor)}
            found, other = fitted(further)
            if found <= score:
                break
            score, peer, knobs = found, other, further
    return knobs, split.evaluate(peer.scores, "test")["ndcg@10"]


def report(table: pd.DataFrame, results: list[dict]) -> str:
    """Markdown page: each knob that was followed, and what it changes in the sum."""
    values = whole(table)
    before, rows = best_peer(values), []
    frozen = values["zero-shot"]
    wide = values.copy()
    for line in at_an_end(table).to_dict("records"):
        found = result_of(line, results)
        if found is None:
            continue
        dataset, name = line["dataset"], line["row"]
        shown = [
            ", ".join(f"{knob} {value:g}" for knob, value in knobs.items())
            for knobs in (line["knobs"], found["followed to"])
        ]
        old, new = values.loc[dataset, name], found["ndcg@10"]
        wide.loc[dataset, name] = new
        rows.append([dataset, name, shown[0], f"{old:.4f}", shown[1], f"{new:.4f}", f"{frozen[dataset]:.4f}"])
    after = best_peer(wide)
    lines = ["# Peers beyond their grids", "", *(__doc__ or "").strip().splitlines()[5:]]
    lines += markdown(["data set", "peer", "knobs", "NDCG@10", "followed to", "NDCG@10", "zero-shot"], rows)
    sums = [
        f"above it on {(frozen > best).sum()} of {len(frozen)}, mean ratio {(frozen / best).mean():.3f}"
        for best in (before, after)
    ]
    lines += ["", f"Zero-shot against the best peer: {sums[0]}; with these knobs in place of theirs: {sums[1]}."]
    lines += ["", "Made by `make wide-grids` from [zero_shot.csv](zero_shot.csv)."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", default="dataset/")
    parser.add_argument("--output", type=Path, required=True, help="file of results, one a line")
    parser.add_argument("--report", type=Path, help="write the Markdown page of what is there, run nothing")
    arguments = parser.parse_args()
    sys.argv = sys.argv[:1]  # RecBole would read the rest as config
    logging.disable(logging.WARNING)
    table, results = zero_shot_table(), read_results(arguments.output)
    if arguments.report:
        write_text(arguments.report, report(table, results))
        print(arguments.report.read_text(encoding="utf-8"))
        return
    for dataset, lines in at_an_end(table).groupby("dataset", sort=False):
        lines = lines[[result_of(line, results) is None for line in lines.to_dict("records")]]
        if lines.empty:
            continue
        split = Split(dataset, arguments.data_path, int(lines["seed"].iloc[0]), int(lines["max_users"].iloc[0]))
        for line in lines.to_dict("records"):
            found, value = followed(split, line["row"], line["knobs"])
            result = {name: line[name] for name in SAME} | {"followed to": found, "ndcg@10": value}
            add_result(arguments.output, result)


if __name__ == "__main__":
    main()
