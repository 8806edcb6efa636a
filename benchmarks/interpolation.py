"""What UniversalInterpolation adds to trained models, beside two controls that show where the gain comes from.

    python benchmarks/zero_shot.py --data-path DATA --datasets ml-100k --rows LightGCN --max-users 2000 --output OUT
    python benchmarks/interpolation.py --data-path DATA --models OUT/models.json --output OUT
    python benchmarks/interpolation.py --output OUT --report docs/interpolation_results.md

The first trains the bases and keeps them in ``OUT/bases``; the second mixes each of them, post hoc, with the frozen
universal model that saw no data of its domain, with MostPop and with the training-free peer that is best on validation.
Every mixture has one weight, chosen on the validation part from the same 21 values in the same score space by the rule
of UniversalInterpolation; every row is judged on the same test users. One result a line in
``OUT/interpolation.jsonl``: a run that is started again skips what is there.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import recbole_universal  # noqa: F401  mends RecBole, so it comes before any import of it

# isort: split
from peers import PEERS
from results import add_result, read_results
from zero_shot import Split, base_scores, peer_row, sampled

from recbole_universal import UniversalRanker
from recbole_universal.files import write_text
from recbole_universal.ranking.mixing import SCORE_SPACES, mix, to_space
from recbole_universal.ranking.ranking_network import mask_non_candidates
from recbole_universal.ranking.weight_choice import WEIGHTS, one_standard_error

DEFAULT_SPACE = "z-score"
# Validation users that a weight is chosen by; UniversalInterpolation takes all.
N_VALID = 2000
# Score spaces are compared on data sets of at most so many items.
_SMALL = 10_000


class Scores:
    """Scores of one model for the validation and test users of a split, float32 [n_users, n_items - 1] each.

    Args:
        split: the split.
        scores: a function from users to scores; or by part, where they differ.
    """

    def __init__(self, split: Split, scores) -> None:
        self.split = split
        start = time.perf_counter()
        by_part = scores if isinstance(scores, dict) else dict.fromkeys(("valid", "test"), scores)
        self.parts = {part: self._rows(by_part[part], users) for part, users in self._users().items()}
        self.seconds = time.perf_counter() - start

    def _users(self) -> dict[str, np.ndarray]:
        return {"valid": self.split.valid_users, "test": self.split.test_users}

    def _rows(self, scores, users: np.ndarray) -> torch.Tensor:
        step = max(1, 2**24 // self.split.train.shape[1])
        blocks = [np.asarray(scores(users[k : k + step]), dtype=np.float32) for k in range(0, len(users), step)]
        return torch.from_numpy(np.concatenate(blocks)[:, 1:])

    def in_space(self, space: str) -> dict[str, torch.Tensor]:
        """The scores by part, on a common scale."""
        return {part: to_space(values, space) for part, values in self.parts.items()}


class UniversalScores(Scores):
    """Of a universal model: what is below a user's candidates has an order in its own list, and ties in a mixture."""

    def in_space(self, space: str) -> dict[str, torch.Tensor]:
        """See :meth:`Scores.in_space`."""
        return {part: to_space(mask_non_candidates(values), space) for part, values in self.parts.items()}


def judged(split: Split, rows: torch.Tensor, part: str) -> np.ndarray:
    """NDCG@10 by user of rows of scores, [n_users, n_items - 1]."""
    users = split.valid_users if part == "valid" else split.test_users
    padded = torch.cat([rows.new_zeros(len(rows), 1), rows], dim=1).numpy()
    place = {user: k for k, user in enumerate(users)}
    return split.gains(lambda some: padded[[place[user] for user in some]], part)["ndcg@10"]


def mixture(base: Scores, other: Scores, space: str) -> dict:
    """The best mixture on validation, and its test result."""
    ours, theirs = base.in_space(space), other.in_space(space)

    def score(weight: float, part: str) -> np.ndarray:
        if weight in (0.0, 1.0):  # exactly one of the two
            return judged(base.split, (base if weight == 0 else other).parts[part], part)
        return judged(base.split, mix(ours[part], theirs[part], torch.tensor(weight)), part)

    gains = np.stack([score(weight, "valid") for weight in WEIGHTS], axis=1)
    best = one_standard_error(gains, np.ones(len(gains)))
    curve = gains.mean(axis=0).tolist()
    return {"weight": WEIGHTS[best], "valid": curve[best], "test": score(WEIGHTS[best], "test").mean(), "curve": curve}


def universal_scores(split: Split, model: str):
    """A function from users to scores of a frozen universal model."""
    network = UniversalRanker(split.train, model, seed=split.keys["seed"]).network

    @torch.no_grad()
    def scores(users: np.ndarray) -> np.ndarray:
        return network.score_all(torch.from_numpy(users)).numpy()

    return scores


class Opponents:
    """What a base of one split is mixed with; computed once."""

    def __init__(self, split: Split, model: str) -> None:
        self.universal = UniversalScores(split, universal_scores(split, model))
        self.most_pop = Scores(split, PEERS["MostPop"]().fit(split.train).scores)
        found = {}
        for name, peer in PEERS.items():
            if name != "MostPop" and peer.affordable(split.train.shape):
                knobs = peer_row(split, name)["knobs"]
                found[name] = Scores(split, peer(**knobs).fit(split.train).scores)
        self.peer_name = max(found, key=lambda name: judged(split, found[name].parts["valid"], "valid").mean())
        self.peer = found[self.peer_name]


def result(split: Split, file: Path, opponents: Opponents) -> dict:
    """All rows of one base."""
    base = Scores(split, base_scores(file))
    compared = SCORE_SPACES if split.train.shape[1] <= _SMALL else (DEFAULT_SPACE,)
    spaces = {space: mixture(base, opponents.universal, space) for space in compared}
    start = time.perf_counter()
    for part, rows in base.parts.items():  # what mixing costs
        mix(to_space(rows, DEFAULT_SPACE), to_space(opponents.universal.parts[part], DEFAULT_SPACE), torch.tensor(0.5))
    mixing = time.perf_counter() - start
    return {
        "base": judged(split, base.parts["test"], "test").mean(),
        "universal": judged(split, opponents.universal.parts["test"], "test").mean(),
        "interpolated": spaces[DEFAULT_SPACE]["test"],
        "weight": spaces[DEFAULT_SPACE]["weight"],
        "base + MostPop": mixture(base, opponents.most_pop, DEFAULT_SPACE)["test"],
        "base + peer": mixture(base, opponents.peer, DEFAULT_SPACE)["test"],
        "peer": opponents.peer_name,
        "spaces": {space: [round(found["valid"], 5), round(found["test"], 5)] for space, found in spaces.items()},
        "curve": [round(value, 5) for value in spaces[DEFAULT_SPACE]["curve"]],
        "cost": (base.seconds + opponents.universal.seconds + mixing) / (base.seconds + opponents.universal.seconds),
    }


ROWS = ("base", "universal", "interpolated", "base + MostPop", "base + peer")


def report(results: list[dict]) -> str:
    """Markdown tables: each base on each data set, and what sums them up."""
    table = pd.DataFrame(results)
    table["better part"] = table[["base", "universal"]].max(axis=1)
    cells = table.groupby(["dataset", "model"], sort=False)
    lines = ["| data set | base | seeds | " + " | ".join(ROWS) + " | gain | weight |", "|" + "---|" * (len(ROWS) + 5)]
    for (dataset, model), group in cells:
        mean = group[[*ROWS, "weight"]].mean()
        shown = " | ".join(f"{mean[row]:.4f}" for row in ROWS)
        gain = mean["interpolated"] / mean["base"] - 1
        lines.append(f"| {dataset} | {model} | {len(group)} | {shown} | {gain:+.0%} | {mean['weight']:.2f} |")
    lines += [
        "",
        "Gains of each line above, seeds averaged before:",
        "",
        "| base | data sets | gain over the base | lowest | over the better part | lowest | gain of base + MostPop ",
    ]
    lines[-1] += "| gain of base + peer |"
    lines.append("|" + "---|" * 8)
    table = cells[[*ROWS, "better part"]].mean().reset_index()
    both = table[table["model"].isin(["LightGCN", "NGCF"])]
    for model, group in [*table.groupby("model", sort=False), ("LightGCN and NGCF", both), ("all", table)]:
        gain, over = group["interpolated"] / group["base"] - 1, group["interpolated"] / group["better part"] - 1
        controls = [(group[row] / group["base"] - 1).mean() for row in ("base + MostPop", "base + peer")]
        shown = (gain.mean(), gain.min(), over.mean(), over.min(), *controls)
        lines.append(f"| {model} | {len(group)} | " + " | ".join(f"{value:+.1%}" for value in shown) + " |")
    lines += [
        "",
        "| score space (data sets of at most 10,000 items) | mean validation NDCG@10 | mean test NDCG@10 |",
        "|---|---|---|",
    ]
    all_spaces = [result["spaces"] for result in results if len(result["spaces"]) == len(SCORE_SPACES)]
    for space in SCORE_SPACES if all_spaces else ():
        valid, test = np.mean([spaces[space] for spaces in all_spaces], axis=0)
        lines.append(f"| {space} | {valid:.4f} | {test:.4f} |")
    cost = pd.Series([result["cost"] for result in results])
    lines += [
        "",
        f"Scoring both models and mixing takes {cost.median():.2f} times (at most {cost.max():.2f} times) as ",
    ]
    lines[-1] += "long as scoring both."
    return "\n".join(lines)


PAGE = """# Interpolation: what it brings

NDCG@10 under full ranking, 5-core, random 80/10/10 split of each user ("in time order": the last two interactions of
each, of which SASRec alone knows the first when the second is tested), at most 2,000 evaluated users a data set, the
same for all rows. How to use it: [interpolation.md](interpolation.md).

Bases: trained by RecBole with early stopping on validation (`benchmarks/zero_shot.py --rows LightGCN NGCF ...`:
validation every second epoch, at most 400 epochs, stopped after 20 epochs without a better one; batches of 8192
interactions, of 512 users for MultiVAE; learning rate chosen on validation from 0.001 and 0.005, on data sets of
sampled users and on amazon-sports 0.005). "ml-1m, 2000 users": all rows share that sample of users, drawn once, to keep
training within minutes. Universal: frozen, and trained without any data set of the domain. Each mixture has one weight,
chosen on validation as UniversalInterpolation chooses it.

{table}

`base + MostPop` and `base + peer` are the controls: the same mixture with popularity, and with the training-free peer
(ItemKNN, UserKNN, RP3beta, EASE, GF-CF, knobs chosen on validation) that is best on validation. Validation metric
against weight: [interpolation_results.html](interpolation_results.html); every figure:
[interpolation_results.csv](interpolation_results.csv).

Made by `python benchmarks/interpolation.py --data-path DATA --models OUT/models.json --output OUT` and `--report`.
"""


def plot(results: list[dict], file: Path) -> None:
    """Validation metric against the weight as an HTML plot, each curve relative to its base."""
    import plotly.express

    rows = [
        {"weight": weight, "NDCG@10 / the base's": value / result["curve"][0], "run": run}
        for result in results
        for run in [f"{result['model']}, {result['dataset']}, {result['seed']}"]
        for weight, value in zip(WEIGHTS, result["curve"], strict=True)
    ]
    figure = plotly.express.line(pd.DataFrame(rows), x="weight", y="NDCG@10 / the base's", color="run")
    figure.update_layout(title="Validation NDCG@10 by weight of the universal model")
    write_text(file, figure.to_html(include_plotlyjs="cdn"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", default="dataset/")
    parser.add_argument("--models", type=Path, help="JSON of leave-one-domain-out models; else the shipped one")
    parser.add_argument("--max-users", type=int, default=2000, help="users evaluated; 0: all")
    parser.add_argument("--output", type=Path, required=True, help="folder with bases, and of interpolation.jsonl")
    parser.add_argument("--report", type=Path, help="write Markdown, CSV and plot of what is there, run nothing")
    arguments = parser.parse_args()
    sys.argv = sys.argv[:1]  # RecBole would read the rest as config
    logging.disable(logging.WARNING)
    file = arguments.output / "interpolation.jsonl"
    results = read_results(file)
    if arguments.report:
        write_text(arguments.report, PAGE.format(table=report(results)))
        write_text(arguments.report.with_suffix(".csv"), pd.DataFrame(results).to_csv(index=False))
        plot(results, arguments.report.with_suffix(".html"))
        print(report(results))
        return
    models = json.loads(arguments.models.read_text())["zero-shot"] if arguments.models else {}
    done = {(found["dataset"], found["model"], found["seed"]) for found in results}
    splits: dict[tuple[str, int], tuple[Split, Opponents]] = {}
    rows = read_results(arguments.output / "results.jsonl")
    finished = {(row["dataset"], row["row"], row["seed"]) for row in rows}
    for base in sorted((arguments.output / "bases").glob("*.pth")):
        label, model, number = re.fullmatch(r"(.*)-(\w+)-(\d+)", base.stem).groups()
        seed = int(number)
        if (label, model, seed) in done or (label, model, seed) not in finished:
            continue
        if (label, seed) not in splits:
            splits.clear()  # one at a time in memory
            name, _, special = label.partition(", ")
            n_users = int(special.split()[0]) if special.endswith("users") else 0
            if n_users:
                sampled(name, arguments.data_path, n_users)
            drawn = (name, arguments.data_path, seed, arguments.max_users, n_users, N_VALID)
            split = Split(*drawn, in_time_order=special == "in time order")
            splits[label, seed] = split, Opponents(split, models.get(name, "universal-base"))
        found = {
            "dataset": label,
            "model": model,
            "seed": seed,
            **result(splits[label, seed][0], base, splits[label, seed][1]),
        }
        add_result(file, found)


if __name__ == "__main__":
    main()
