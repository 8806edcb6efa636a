"""The gain of UniversalInterpolation over trained models, with two controls that show its origin.

    python benchmarks/zero_shot.py --data-path DATA --datasets ml-100k --rows LightGCN --max-users 2000 --output OUT
    python benchmarks/interpolation.py --data-path DATA --models OUT/models.json --output OUT
    python benchmarks/interpolation.py --output OUT --report docs/interpolation_results.md

The first command trains the bases and stores them in ``OUT/bases``. The second mixes each of them, post hoc, with the
frozen universal model, with MostPop and with the baseline that is best on validation. Every mixture has one weight,
chosen on the validation part from the same 21 values in the same score space by the rule of UniversalInterpolation.
Each line of ``OUT/interpolation.jsonl`` is a result. A run that is started again skips the results in the file.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from baselines import BASELINES, baseline_result
from harness import Results, Split, parse, parser_with, read_results
from models import checkpoint_scores, universal_scores
from report import fill, markdown, write_csv, write_plot

from recbole_universal.ranking.mixing import SCORE_SPACES, mix, to_space
from recbole_universal.ranking.ranking_network import mask_non_candidates
from recbole_universal.ranking.weight_choice import WEIGHTS, one_standard_error

DEFAULT_SPACE = "z-score"
#: Validation users by which a weight is chosen. UniversalInterpolation takes all.
N_VALID = 2000
#: Score spaces are compared on datasets with at most this many items.
MAX_ITEMS = 10_000


class ModelScores:
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


class UniversalScores(ModelScores):
    """Scores of a universal model. In a mixture all items that are no candidates of a user tie."""

    def in_space(self, space: str) -> dict[str, torch.Tensor]:
        """See :meth:`ModelScores.in_space`."""
        return {part: to_space(mask_non_candidates(values), space) for part, values in self.parts.items()}


def ndcg_by_user(split: Split, rows: torch.Tensor, part: str) -> np.ndarray:
    """NDCG@10 by user of rows of scores, [n_users, n_items - 1]."""
    users = split.valid_users if part == "valid" else split.test_users
    padded = torch.cat([rows.new_zeros(len(rows), 1), rows], dim=1).numpy()
    row_of = {user: k for k, user in enumerate(users)}
    return split.metrics_by_user(lambda some: padded[[row_of[user] for user in some]], part)["ndcg@10"]


def mixture(base: ModelScores, other: ModelScores, space: str) -> dict:
    """The best mixture on validation, and its test result."""
    ours, theirs = base.in_space(space), other.in_space(space)

    def score(weight: float, part: str) -> np.ndarray:
        if weight in (0.0, 1.0):  # exactly one of the two
            return ndcg_by_user(base.split, (base if weight == 0 else other).parts[part], part)
        return ndcg_by_user(base.split, mix(ours[part], theirs[part], torch.tensor(weight)), part)

    gains = np.stack([score(weight, "valid") for weight in WEIGHTS], axis=1)
    best = one_standard_error(gains, np.ones(len(gains)))
    curve = gains.mean(axis=0).tolist()
    return {"weight": WEIGHTS[best], "valid": curve[best], "test": score(WEIGHTS[best], "test").mean(), "curve": curve}


class Partners:
    """The models with which the bases of one split are mixed."""

    def __init__(self, split: Split, model: str) -> None:
        self.universal = UniversalScores(split, universal_scores(split, model))
        self.most_pop = ModelScores(split, BASELINES["MostPop"]().fit(split.train).scores)
        scores = {}
        for name, baseline in BASELINES.items():
            if name != "MostPop" and baseline.affordable(split.train.shape):
                chosen = baseline_result(split, name)["hyperparameters"]
                scores[name] = ModelScores(split, baseline(**chosen).fit(split.train).scores)
        valid = {name: ndcg_by_user(split, scored.parts["valid"], "valid").mean() for name, scored in scores.items()}
        self.baseline_name = max(valid, key=lambda name: valid[name])
        self.baseline = scores[self.baseline_name]


def result_of(split: Split, file: Path, partners: Partners) -> dict:
    """Test metrics of one base and its mixtures."""
    base = ModelScores(split, checkpoint_scores(file))
    compared = SCORE_SPACES if split.train.shape[1] <= MAX_ITEMS else (DEFAULT_SPACE,)
    spaces = {space: mixture(base, partners.universal, space) for space in compared}
    start = time.perf_counter()
    for part, rows in base.parts.items():  # time of the mixing
        mix(to_space(rows, DEFAULT_SPACE), to_space(partners.universal.parts[part], DEFAULT_SPACE), torch.tensor(0.5))
    mixing = time.perf_counter() - start
    return {
        "base": ndcg_by_user(split, base.parts["test"], "test").mean(),
        "universal": ndcg_by_user(split, partners.universal.parts["test"], "test").mean(),
        "interpolated": spaces[DEFAULT_SPACE]["test"],
        "weight": spaces[DEFAULT_SPACE]["weight"],
        "base + MostPop": mixture(base, partners.most_pop, DEFAULT_SPACE)["test"],
        "base + baseline": mixture(base, partners.baseline, DEFAULT_SPACE)["test"],
        "baseline": partners.baseline_name,
        "spaces": {space: [round(best["valid"], 5), round(best["test"], 5)] for space, best in spaces.items()},
        "curve": [round(value, 5) for value in spaces[DEFAULT_SPACE]["curve"]],
        "cost": (base.seconds + partners.universal.seconds + mixing) / (base.seconds + partners.universal.seconds),
    }


ROWS = ("base", "universal", "interpolated", "base + MostPop", "base + baseline")


def base_table(cells: pd.DataFrame) -> str:
    """NDCG@10 of each base and its mixtures, mean over seeds."""
    rows = []
    for (dataset, model), mean in cells.iterrows():
        shown = [f"{mean[row]:.4f}" for row in ROWS]
        gain = mean["interpolated"] / mean["base"] - 1
        rows.append([dataset, model, f"{mean['seeds']:.0f}", *shown, f"{gain:+.0%}", f"{mean['weight']:.2f}"])
    return markdown(["dataset", "base", "seeds", *ROWS, "gain", "weight"], rows)


def gain_table(cells: pd.DataFrame) -> str:
    """Gains over the base and over the better of the two models, by base."""
    cells = cells.reset_index()
    gains = pd.DataFrame({"model": cells["model"]})
    gains["gain"] = cells["interpolated"] / cells["base"] - 1
    gains["over better"] = cells["interpolated"] / cells[["base", "universal"]].max(axis=1) - 1
    for row in ("base + MostPop", "base + baseline"):
        gains[row] = cells[row] / cells["base"] - 1
    groups = dict(list(gains.groupby("model", sort=False)))
    if {"LightGCN", "NGCF"} <= set(groups):
        groups["LightGCN and NGCF"] = gains[gains["model"].isin(["LightGCN", "NGCF"])]
    rows = []
    for model, group in {**groups, "all": gains}.items():
        pairs = [value for name in ("gain", "over better") for value in (group[name].mean(), group[name].min())]
        controls = [group[name].mean() for name in ("base + MostPop", "base + baseline")]
        rows.append([model, f"{len(group)}", *(f"{value:+.1%}" for value in (*pairs, *controls))])
    head = ["base", "datasets", "gain over the base", "lowest", "over the better of the two", "lowest"]
    return markdown([*head, "gain of base + MostPop", "gain of base + baseline"], rows)


def tables_of(results: list[dict]) -> dict[str, str]:
    """Markdown by name of the table, "" for a table without results."""
    groups = pd.DataFrame(results).groupby(["dataset", "model"], sort=False)
    cells = groups[[*ROWS, "weight"]].mean()
    cells["seeds"] = groups.size()
    tables = {"bases": base_table(cells), "gains": gain_table(cells), "score spaces": ""}
    complete = [result["spaces"] for result in results if len(result["spaces"]) == len(SCORE_SPACES)]
    if complete:
        means = {space: np.mean([spaces[space] for spaces in complete], axis=0) for space in SCORE_SPACES}
        rows = [[space, *(f"{value:.4f}" for value in mean)] for space, mean in means.items()]
        tables["score spaces"] = markdown(["score space", "mean validation NDCG@10", "mean test NDCG@10"], rows)
    cost = pd.Series([result["cost"] for result in results])
    tables["cost"] = markdown(["median", "highest"], [[f"{cost.median():.2f}", f"{cost.max():.2f}"]])
    return tables


def plot(results: list[dict], file: Path) -> None:
    """Validation NDCG@10 against the weight, each curve relative to its base."""
    import plotly.express

    y = "NDCG@10 / the base's"
    rows = [
        {"weight": weight, y: value / result["curve"][0], "run": "{model}, {dataset}, {seed}".format(**result)}
        for result in results
        for weight, value in zip(WEIGHTS, result["curve"], strict=True)
    ]
    figure = plotly.express.line(pd.DataFrame(rows), x="weight", y=y, color="run")
    figure.update_layout(title="Validation NDCG@10 by weight of the universal model")
    write_plot(file, figure)


def split_of(label: str, data_path: str, seed: int, max_users: int) -> Split:
    """The split whose name in the results is a label."""
    name, _, special = label.partition(", ")
    n_users = int(special.split()[0]) if special.endswith("users") else 0
    drawn = (name, data_path, seed, max_users, n_users, N_VALID)
    return Split(*drawn, in_time_order=special == "in time order")


def run(results: Results, arguments: argparse.Namespace) -> None:
    """Measure the bases that the results lack."""
    models = json.loads(arguments.models.read_text())["zero-shot"] if arguments.models else {}
    rows = read_results(arguments.output / "results.jsonl")
    finished = {(row["dataset"], row["row"], row["seed"]) for row in rows}
    splits: dict[tuple[str, int], tuple[Split, Partners]] = {}
    for base in sorted((arguments.output / "bases").glob("*.pth")):
        label, model, digits = re.fullmatch(r"(.*)-(\w+)-(\d+)", base.stem).groups()
        seed = int(digits)
        setting = {"dataset": label, "model": model, "seed": seed}
        if results.has(setting) or (label, model, seed) not in finished:
            continue
        if (label, seed) not in splits:
            splits.clear()  # one at a time in memory
            split = split_of(label, arguments.data_path, seed, arguments.max_users)
            splits[label, seed] = split, Partners(split, models.get(split.name, "universal-base"))
        split, partners = splits[label, seed]
        results.add({**setting, **result_of(split, base, partners)})


def main() -> None:
    parser = parser_with(__doc__, "data-path", "models", "max-users", "output", "report", max_users=2000)
    arguments = parse(parser)
    results = Results(arguments.output / "interpolation.jsonl")
    if arguments.report:
        fill(arguments.report, tables_of(results.rows))
        write_csv(arguments.report.with_suffix(".csv"), results.rows)
        plot(results.rows, arguments.report.with_suffix(".html"))
    else:
        run(results, arguments)


if __name__ == "__main__":
    main()
