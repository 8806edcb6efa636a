"""Zero-shot, in-domain and fine-tuned UniversalMLP beside what a user would train or pick instead.

    python benchmarks/zero_shot.py --data-path DATA --datasets ml-1m lastfm-2k --rows peers zero-shot --output OUT
    python benchmarks/zero_shot.py --output OUT --report docs/zero_shot.md

5-core, RecBole's random 80/10/10 split of each user, full ranking with training and validation items masked; every row
of a data set sees the same split and the same evaluated users (``--max-users`` of them, drawn once). Knobs of peers
and learning rates of trained models are chosen on validation NDCG@10. One result a line in ``OUT/results.jsonl``:
a run that is started again skips what is there. ``--models`` is a JSON file {data set: folder of the model that saw no
data of its domain}, as ``benchmarks/pretrain.py`` writes it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

import recbole_universal  # noqa: F401  mends RecBole, so it comes before any import of it

# isort: split
from peers import PEERS
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.interaction import Interaction
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.utils import ModelType, init_seed
from results import add_result, read_results

from recbole_universal import UniversalRanker
from recbole_universal.checkpoint import load_pretrained
from recbole_universal.files import atomic_write, write_text
from recbole_universal.metrics import ndcg
from recbole_universal.plugin.dataset import training_matrix

# Batches larger than RecBole's 2048, so that a graph model takes minutes; MultiVAE's are of users.
TRAINED = {
    "BPR": {"train_batch_size": 8192},
    "NeuMF": {"train_batch_size": 8192},
    "NGCF": {"train_batch_size": 8192},
    "LightGCN": {"train_batch_size": 8192},
    "MultiVAE": {"train_batch_size": 512},
    "SASRec": {"train_neg_sample_args": None, "MAX_ITEM_LIST_LENGTH": 20},
}
RATES = (0.001, 0.005)
# Validation every second epoch; training stops after 20 epochs without a better one.
STOPPING = {"epochs": 400, "eval_step": 2, "stopping_step": 10}
CORE = {"user_inter_num_interval": "[5,inf)", "item_inter_num_interval": "[5,inf)"}
# What a data set's catalogue entry asks for.
SPECIAL = {
    "kuairand": {"load_col": {"inter": ["user_id", "item_id", "rating"]}, "val_interval": {"rating": "[1,inf)"}},
}
# Each user's last item is the test part, the one before it the validation part; what SASRec needs.
IN_TIME_ORDER = {
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
}
N_VALID_USERS = 1000
# Fewest evaluated users of a data set that are a group of their own by activity.
MIN_USERS = 100
# Lower ends of the groups of users by their interactions in the training part.
ACTIVITY = (1, 5, 10, 20, 50)


class Split:
    """One data set as RecBole splits it.

    Attributes:
        train, valid, test: csr [n_users, n_items] each.
        search: what peers are fitted to while their knobs are chosen.
        seen: what is masked when ``valid`` or ``test`` is judged.
        valid_users, test_users: evaluated users.
    """

    label = ""  # its name in the results

    def __init__(
        self,
        name: str,
        data_path: str,
        seed: int,
        max_users: int,
        sample: int = 0,
        n_valid: int = N_VALID_USERS,
        in_time_order: bool = False,
        core: bool = True,
    ):
        self.name = name
        if sample:
            data_path = sampled(name, data_path, sample)
        self.keys = {"data_path": data_path, "load_col": {"inter": ["user_id", "item_id"]}, "seed": seed}
        self.keys |= CORE if core else {}
        self.keys |= {**SPECIAL.get(name, {}), "show_progress": False, "state": "ERROR"}
        self.keys |= IN_TIME_ORDER if in_time_order else {}
        init_seed(seed, True)  # RecBole splits by the global random state
        parts = create_dataset(Config("BPR", name, config_dict=dict(self.keys))).build()
        self.train, self.valid, self.test = (training_matrix(part) for part in parts)
        self.search = self.train  # what knobs are chosen with
        self.seen = {"valid": self.train, "test": self.train + self.valid}
        generator = np.random.default_rng(seed)
        self.valid_users = self._some(self.valid, n_valid, generator)
        self.test_users = self._some(self.test, max_users, generator)

    @staticmethod
    def _some(matrix: sp.csr_matrix, number: int, generator) -> np.ndarray:
        able = np.flatnonzero(np.diff(matrix.indptr))
        return np.sort(generator.permutation(able)[: number or None])

    def evaluate(self, scores, part: str) -> dict:
        """Mean metrics of a function from users to float32 [n, n_items]; padding and known items masked.

        For the test part also ``by_activity``: {lower end of the group: [users, their NDCG@10]}, and ``gains``: NDCG@10
        by user, float64 [n_users].
        """
        gains = self.gains(scores, part)
        metrics = {name: float(values.mean()) for name, values in gains.items()}
        if part == "test":
            group = np.digitize(np.diff(self.train.indptr)[self.test_users], ACTIVITY[1:])
            found = pd.Series(gains["ndcg@10"]).groupby(group).agg(["size", "mean"])
            metrics["by_activity"] = {ACTIVITY[k]: [int(size), mean] for k, size, mean in found.itertuples()}
            metrics["gains"] = gains["ndcg@10"]
        return metrics

    def gains(self, scores, part: str) -> dict[str, np.ndarray]:
        """The same metrics by user, float64 [n_users] each."""
        users, target = (self.valid_users, self.valid) if part == "valid" else (self.test_users, self.test)
        known = self.seen[part]
        gains: dict[str, list[np.ndarray]] = {}
        block = max(1, 2**24 // self.train.shape[1])
        for start in range(0, len(users), block):
            group = users[start : start + block]
            values = np.array(scores(group), dtype=np.float32)
            values[known[group].nonzero()] = -np.inf
            values[:, 0] = -np.inf
            top = torch.from_numpy(values).topk(min(20, values.shape[1])).indices.numpy()
            hits = np.take_along_axis(target[group].toarray() > 0, top, axis=1)
            number = np.diff(target.indptr)[group]
            for k in (10, 20):
                gains.setdefault(f"ndcg@{k}", []).append(ndcg(hits[:, :k], number))
                gains.setdefault(f"recall@{k}", []).append(hits[:, :k].sum(axis=1) / number)
        return {name: np.concatenate(values) for name, values in gains.items()}


def sampled(name: str, data_path: str, n_users: int) -> str:
    """A copy of a data set with some of its users, drawn once; returns the ``data_path`` of it."""
    source = hashlib.sha256(str(Path(data_path).resolve()).encode()).hexdigest()[:8]
    folder = Path(tempfile.gettempdir()) / f"recbole_universal_{source}_{n_users}_users"
    file = folder / name / f"{name}.inter"
    if not file.is_file():
        rows = pd.read_csv(Path(data_path) / name / file.name, sep="\t", dtype=str)
        users = np.sort(rows["user_id:token"].unique())
        drawn = np.random.default_rng(0).permutation(users)[:n_users]
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, rows[rows["user_id:token"].isin(drawn)].to_csv(sep="\t", index=False))
    return str(folder)


class PublishedSplit(Split):
    """The split a data set was published with: ``<name>.train.inter`` and ``<name>.test.inter``.

    Knobs are chosen on a tenth of the training part; then a peer is fitted to all of it.
    """

    def __init__(self, name: str, data_path: str, seed: int, max_users: int):
        self.name, self.keys = name, {"seed": seed}
        folder = Path(data_path) / name
        parts = [pd.read_csv(folder / f"{name}.{part}.inter", sep="\t", dtype=str) for part in ("train", "test")]
        pairs = pd.concat([part[["user_id:token", "item_id:token"]] for part in parts], ignore_index=True)
        users, items = (pd.factorize(pairs[column])[0] + 1 for column in pairs)
        shape, n_train = (users.max() + 1, items.max() + 1), len(parts[0])
        self.train, self.test = (
            sp.csr_matrix((np.ones(len(users[rows]), dtype=np.float32), (users[rows], items[rows])), shape=shape)
            for rows in (slice(0, n_train), slice(n_train, None))
        )
        generator = np.random.default_rng(seed)
        held_out = self.train.copy()  # eliminate_zeros works in place
        held_out.data = (generator.random(held_out.nnz) < 0.1).astype(np.float32)
        held_out.eliminate_zeros()
        self.search = self.train - held_out
        self.search.eliminate_zeros()
        self.valid = held_out
        self.seen = {"valid": self.search, "test": self.train}
        self.valid_users = self._some(self.valid, N_VALID_USERS, generator)
        self.test_users = self._some(self.test, max_users, generator)


def peer_row(split: Split, name: str) -> dict:
    """A training-free peer, knobs chosen on validation."""
    peer = PEERS[name]
    if not peer.affordable(split.train.shape):
        return {"note": "not affordable"}
    tried = []
    for knobs in peer.grid:
        start = time.perf_counter()
        fitted = peer(**knobs).fit(split.search)
        score = split.evaluate(fitted.scores, "valid")["ndcg@10"] if len(peer.grid) > 1 else 0.0
        tried.append((score, len(tried), knobs, fitted, time.perf_counter() - start))
        best = max(tried, key=lambda trial: trial[:2])
        tried = [trial if trial is best else (*trial[:3], None, trial[4]) for trial in tried]
    start = time.perf_counter()
    chosen = best[3] if split.search is split.train else peer(**best[2]).fit(split.train)
    metrics = split.evaluate(chosen.scores, "test")
    seconds = time.perf_counter() - start + best[4]
    return {**metrics, "knobs": best[2], "seconds": seconds, "seconds_search": sum(trial[4] for trial in tried)}


def zero_shot_row(split: Split, model: str) -> dict:
    """A frozen pre-trained model."""
    start = time.perf_counter()
    pretrained = load_pretrained(model)
    network = UniversalRanker(split.train, pretrained, seed=split.keys["seed"]).network
    with torch.no_grad():
        metrics = split.evaluate(lambda users: network.score_all(torch.from_numpy(users)).numpy(), "test")
    return {**metrics, "seconds": time.perf_counter() - start, "sources": len(pretrained.card.get("sources", ()))}


def fast_row(split: Split) -> dict:
    """The item-item matrix of the trusted scorers, in which no network and so no pre-training has a part."""
    start = time.perf_counter()
    ranker = UniversalRanker(split.train, seed=split.keys["seed"])
    relations = ranker.item_item()
    popularity = np.bincount(split.train.indices, minlength=split.train.shape[1]) / split.train.nnz - 1

    def scores(users: np.ndarray) -> np.ndarray:
        sums = (ranker.matrix[users] @ relations).toarray()
        return np.where(sums > 0, sums, popularity)

    return {**split.evaluate(scores, "test"), "seconds": time.perf_counter() - start}


def recbole_row(split: Split, model: str, trials: list[dict], kept: Path | None = None) -> dict:
    """A model trained by RecBole, the trial chosen on validation; its checkpoint is moved to ``kept``."""
    best: tuple[float, dict] | None = None
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for number, trial in enumerate(trials):
            start = time.perf_counter()
            own = Path(folder) / str(number)
            keys = {**split.keys, "checkpoint_dir": str(own), "valid_metric": "NDCG@10", "eval_batch_size": 2**19}
            result = run_recbole(model, split.name, config_dict={**keys, **trial})
            seconds.append(time.perf_counter() - start)
            if best is None or result["best_valid_score"] > best[0]:
                (file,) = own.glob("*.pth")
                metrics = split.evaluate(base_scores(file)["test"], "test")
                knobs = {key: value for key, value in trial.items() if key != "pretrained"}  # a path of this machine
                best = float(result["best_valid_score"]), {**metrics, "knobs": knobs, "seconds": seconds[-1]}
        if kept:  # when all were tried, so that what is kept has a row
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(file, kept)
    return {**best[1], "seconds_search": sum(seconds)}


def base_scores(file: Path) -> dict:
    """By part (valid, test) a function from users to scores of a checkpoint of RecBole."""
    _, model, _, _, valid, test = load_data_and_model(str(file))
    model.eval()
    if model.type != ModelType.SEQUENTIAL:
        return dict.fromkeys(("valid", "test"), scores_of(model))
    return {"valid": sequential_scores(model, valid), "test": sequential_scores(model, test)}


@torch.no_grad()
def sequential_scores(model, loader):
    """A function from users to scores, by what the users did before the part that the loader is of."""
    rows = {}
    for batch, *_ in loader:
        for user, scores in zip(batch[loader.uid_field], model.full_sort_predict(batch).cpu().numpy(), strict=True):
            rows[int(user)] = scores
    return lambda users: np.stack([rows[int(user)] for user in users])


def scores_of(model):
    """A function from users to scores of all items, by a model of RecBole; pairs' sigmoids as logits."""

    @torch.no_grad()
    def scores(users: np.ndarray) -> np.ndarray:
        batch = Interaction({model.USER_ID: torch.from_numpy(users)}).to(model.device)
        try:
            return model.full_sort_predict(batch).view(len(users), -1).cpu().numpy()
        except NotImplementedError:
            items = torch.arange(model.n_items)
            pairs = {model.USER_ID: batch[model.USER_ID].repeat_interleave(len(items))}
            pairs[model.ITEM_ID] = items.repeat(len(users))
            return model.predict(Interaction(pairs)).logit(eps=1e-7).view(len(users), -1).numpy()

    return scores


def base_file(output: Path, dataset: str, model: str, seed: int) -> Path:
    """Where the checkpoint of a trained row is kept, for ``benchmarks/interpolation.py``."""
    return output / "bases" / f"{dataset}-{model}-{seed}.pth"


def gains_file(output: Path, result: dict) -> Path:
    """Where the NDCG@10 of each evaluated user of a result is kept, for paired comparisons."""
    return output / "gains" / ("{dataset}-{seed}-{max_users}-{row}.npy".format(**result))


def row(split: Split, name: str, model: str, output: Path, rates: list[float]) -> dict:
    """One result."""
    if name in PEERS:
        return peer_row(split, name)
    if name in TRAINED:
        trials = [{"learning_rate": rate, **STOPPING, **TRAINED[name]} for rate in rates]
        return recbole_row(split, name, trials, base_file(output, split.label, name, split.keys["seed"]))
    if name == "in-domain":
        trial = {"train_stage": "in_domain", "universal_features": ["proximity"], "learning_rate": 0.003}
        return recbole_row(split, "UniversalMLP", [{**trial, "mlp_hidden_size": [64, 64]}])
    if name == "fine-tuned":
        rates = (0.0003, 0.001)
        return recbole_row(
            split,
            "UniversalMLP",
            [{"train_stage": "finetune", "pretrained": model, "learning_rate": rate} for rate in rates],
        )
    return fast_row(split) if name == "zero-shot, fast" else zero_shot_row(split, model)


def comparable(results: list[dict]) -> pd.DataFrame:
    """Results, of a data set those of one number of evaluated users; of published splits all, each in its own line."""
    table = pd.DataFrame([result for result in results if "ndcg@10" in result])
    first = table.groupby("dataset")["max_users"].transform("first")
    return table[table["dataset"].str.endswith("published split") | (table["max_users"] == first)]


def whole(table: pd.DataFrame) -> pd.DataFrame:
    """NDCG@10 of [data set, row] of the first seed, for whole data sets with RecBole's split, without trained rows."""
    table = table[table["seed"] == table["seed"].min()]
    rows = table[~table["dataset"].str.contains(", ") & ~table["row"].isin(TRAINED)]
    values = rows.pivot(index="dataset", columns="row", values="ndcg@10")  # refuses two results of one cell
    return values.loc[rows["dataset"].unique(), rows["row"].unique()].rename_axis(index="dataset", columns="row")


def best_peer(values: pd.DataFrame) -> pd.Series:
    """Of :func:`whole`, by data set, the best training-free peer's value."""
    return values[[name for name in PEERS if name in values]].max(axis=1)


def mean_of(ratio: pd.DataFrame, row: str) -> str:
    """The mean of a row over data sets as a cell; "-" if it was not run on all of them."""
    return "-" if row not in ratio or ratio[row].isna().any() else f"{ratio[row].mean():.3f}"


def cells_of(values: pd.Series) -> list[str]:
    """Metrics as cells; "-" where a row was not run."""
    return ["-" if np.isnan(value) else f"{value:.4f}" for value in values]


def markdown(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return ["", *("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))]


def report(results: list[dict], output: Path) -> str:
    """Markdown: NDCG@10 of every row on every data set, and the ratios that sum it up.

    Args:
        results: lines of ``output / "results.jsonl"``.
        output: the folder, which also has the values by user.
    """
    every_seed = comparable(results)
    table = every_seed[every_seed["seed"] == every_seed["seed"].min()]
    values = whole(table)
    best = best_peer(values)
    peers = [name for name in PEERS if name in values]
    rows = [[name, *cells_of(found), found[peers].idxmax()] for name, found in values.iterrows()]
    lines = markdown(["data set", *values.columns, "best peer"], rows)
    lines += ["", "NDCG@10 divided by the best training-free peer's (the best on the test part itself):"]
    rows = []
    ratios = values.div(best, axis=0)
    for column in [name for name in values if name not in PEERS]:
        ratio = ratios[column].dropna()
        above = (values[column] > values["MostPop"])[ratio.index].mean()
        frozen = mean_of(ratios.loc[ratio.index], "zero-shot")
        share, mean = (ratio >= 1).mean(), ratio.mean()
        rows.append([column, f"{len(ratio)}", f"{mean:.3f}", f"{share:.0%}", f"{above:.0%}", frozen])
    head = ["row", "data sets", "mean", "at least 1.0", "above MostPop", "mean of zero-shot on the same"]
    lines += markdown(head, rows)
    if "EASE" in values and "zero-shot" in values:
        over = (values["zero-shot"] / values["EASE"]).dropna()
        lines += ["", f"Zero-shot by EASE alone, {len(over)} data sets: mean {over.mean():.3f}, lowest "]
        lines[-1] += f"{over.min():.3f} ({over.idxmin()}), at least 1.0 on {(over >= 1).sum()}."
    if "zero-shot" in values:
        below = ratios["zero-shot"].sort_values()
        below = below[below < 1]
        lines += ["", f"Zero-shot is below the best peer on {len(below)}: "]
        lines[-1] += ", ".join(f"{name} {value:.3f}" for name, value in below.items()) + "."
        lines += paired(table, values[peers].idxmax(axis=1), output)
    if {"zero-shot", "zero-shot, fast"} <= set(values):
        lost = (values["zero-shot, fast"] / values["zero-shot"]).dropna().sort_values()
        lines += [
            "",
            f"Fast by zero-shot: mean {lost.mean():.3f}, at least 1.0 on {(lost >= 1).sum()} of {len(lost)}; lowest ",
        ]
        lines[-1] += ", ".join(f"{name} {value:.3f}" for name, value in lost.head(7).items()) + "."
    lines += spread(every_seed)
    lines += domain_table(values, best)
    lines += activity_table(table)
    lines += unfiltered_table(table)
    lines += published_table(table)
    lines += trained_table(every_seed)
    lines += knobs_table(table)
    timed = table[~table["dataset"].str.contains(", ") & table["row"].isin([*PEERS, "zero-shot", "zero-shot, fast"])]
    seconds = timed.pivot_table(index="row", values="seconds", aggfunc="median", sort=False)["seconds"]
    lines += ["", "Median seconds a data set (chosen knobs, evaluation included): "]
    lines[-1] += ", ".join(f"{name} {value:.1f}" for name, value in seconds.items()) + "."
    return "\n".join(lines).strip()


def paired(table: pd.DataFrame, best: pd.Series, output: Path) -> list[str]:
    """On how many data sets the frozen model differs from the best peer by more than chance, over their users."""
    found: dict[str, list[str]] = {"above": [], "below": [], "near": []}
    rows = table.set_index(["dataset", "row"])
    for name, peer in best.items():
        files = []
        for of in ("zero-shot", peer):
            if (name, of) in rows.index:
                setting = {"dataset": name, "row": of, **rows.loc[(name, of), ["seed", "max_users"]]}
                files.append(gains_file(output, setting))
        if len(files) == 2 and all(file.is_file() for file in files):
            ours, theirs = (np.load(file) for file in files)
            difference = ours - theirs
            error = difference.std(ddof=1) / np.sqrt(len(difference))
            where = "near" if abs(difference.mean()) <= 2 * error else "above" if difference.mean() > 0 else "below"
            found[where].append(str(name))
    if not any(found.values()):
        return []
    total = sum(map(len, found.values()))
    line = (
        f"Paired over the evaluated users of each of {total} data sets, zero-shot is above the best peer by more than "
        f"two standard errors on {len(found['above'])}, below it by more than two on {len(found['below'])}"
    )
    named = f" ({', '.join(found['below'])})" if found["below"] else ""
    return ["", f"{line}{named}, and within two on {len(found['near'])}."]


def knobs_table(table: pd.DataFrame) -> list[str]:
    """How often the chosen value of a knob is the lowest or highest that was tried."""
    rows = []
    table = table[~table["dataset"].str.contains(", ")]
    for name, peer in PEERS.items():
        chosen = [knobs for knobs in table.loc[table["row"] == name, "knobs"] if isinstance(knobs, dict) and knobs]
        for knob in peer.grid[0] if chosen else ():
            tried = sorted({knobs[knob] for knobs in peer.grid})
            edges = [sum(knobs[knob] == end for knobs in chosen) / len(chosen) for end in (tried[0], tried[-1])]
            rows.append([name, knob, ", ".join(f"{value:g}" for value in tried), *(f"{edge:.0%}" for edge in edges)])
    title = "Knobs of the peers, and on how many data sets the lowest or the highest was chosen:"
    return ["", title, *markdown(["peer", "knob", "tried", "lowest", "highest"], rows)] if rows else []


def spread(table: pd.DataFrame) -> list[str]:
    """The ratios of the frozen model for other seeds of the split, and for the first on the same data sets."""
    (_, first), *others = [(seed, whole(rows)) for seed, rows in table.groupby("seed")]
    names = ["zero-shot", *PEERS]
    rows = []
    for seed, values in others:
        both = [part.reindex(columns=names) for part in (first, values)]
        shared = both[0].index.intersection(both[1].index)
        # The same peers for each seed: fewer would make a lower best.
        same = (both[0].loc[shared].notna() == both[1].loc[shared].notna()).all(axis=1)
        both = [part.loc[shared[same & both[0].loc[shared, "zero-shot"].notna()]] for part in both]
        if both[0].empty:
            continue
        before, ratio = (part["zero-shot"] / best_peer(part) for part in both)
        moved = (ratio - before).abs().mean()
        above = (both[1]["zero-shot"] > both[1]["MostPop"]).mean()
        lowest = f"{ratio.min():.3f} ({ratio.idxmin()})"
        means = [f"{value:.3f}" for value in (ratio.mean(), before.mean(), moved)]
        rows.append([str(seed), f"{len(ratio)}", *means, f"{(ratio >= 1).mean():.0%}", lowest, f"{above:.0%}"])
    if not rows:
        return []
    title = "Other splits: zero-shot by the best training-free peer on data sets that were split anew:"
    head = ["seed of the split", "data sets", "mean", "mean with the first seed", "mean absolute change of a ratio"]
    return ["", title, *markdown([*head, "at least 1.0", "lowest", "above MostPop"], rows)]


def domain_table(values: pd.DataFrame, best: pd.Series) -> list[str]:
    """Ratios to the best training-free peer by domain, which the judged model knew nothing of."""
    from pretrain import DOMAINS  # that module imports this one

    shown = [name for name in ("MostPop", "ItemKNN", "EASE", "zero-shot, fast", "zero-shot") if name in values]
    ratio = values[shown].div(best, axis=0)
    rows = []
    for domain, names in DOMAINS.items():
        found = ratio.loc[[name for name in names.split() if name in ratio.index]]
        if len(found):
            rows.append([domain, ", ".join(found.index), *(mean_of(found, name) for name in shown)])
    title = (
        "By domain (a data set of two domains is in both), mean ratio to the best training-free peer. The model called "
        "zero-shot had seen no data set of that domain:"
    )
    return ["", title, *markdown(["domain", "data sets", *shown], rows)]


def activity_table(table: pd.DataFrame) -> list[str]:
    """Ratios to the best training-free peer by the number of interactions a user has."""
    shown = [name for name in (*PEERS, "zero-shot, fast", "zero-shot") if name in set(table["row"])]
    table = table[table["row"].isin(shown) & ~table["dataset"].str.contains(", ")]
    if "by_activity" not in table:
        return []
    # Without one row's groups the best of the others would be too low.
    table = table[table["by_activity"].notna().groupby(table["dataset"]).transform("all")]
    cells = [
        {"from": int(low), "dataset": dataset, "row": row, "users": users, "ndcg@10": value}
        for dataset, row, groups in table[["dataset", "row", "by_activity"]].itertuples(index=False)
        for low, (users, value) in groups.items()
        if users >= MIN_USERS
    ]
    if not cells:
        return []
    rows = []
    for low, found in pd.DataFrame(cells).groupby("from"):
        values = found.pivot(index="dataset", columns="row", values="ndcg@10")
        ratio = values.div(best_peer(values), axis=0)
        users = found.groupby("dataset")["users"].first().sum()
        high = next((f" to {end - 1}" for end in ACTIVITY if end > low), " or more")
        means = [mean_of(ratio, name) for name in shown]
        rows.append([f"{low}{high}", f"{len(ratio)}", f"{users:,}", *means])
    title = (
        "By a user's interactions in the training part, mean ratio to the best training-free peer of that group, on "
        f"the data sets that have at least {MIN_USERS} evaluated users in it:"
    )
    return ["", title, *markdown(["interactions", "data sets", "users", *shown], rows)]


def unfiltered_table(table: pd.DataFrame) -> list[str]:
    """NDCG@10 where users and items with few interactions stay."""
    table = table[table["dataset"].str.endswith(", unfiltered")]
    if table.empty:
        return []
    values = table.pivot(index="dataset", columns="row", values="ndcg@10").reindex(table["dataset"].unique())
    values = values[[name for name in (*PEERS, "zero-shot, fast", "zero-shot") if name in values]]
    values.index = values.index.str.removesuffix(", unfiltered")
    ratio = values.div(best_peer(values), axis=0)
    rows = [[name, *cells_of(found), f"{ratio.loc[name, 'zero-shot']:.3f}"] for name, found in values.iterrows()]
    rows.append(["mean ratio to the best peer", *(mean_of(ratio, name) for name in values), ""])
    title = (
        "Without our 5-core filter, NDCG@10 (users with a single interaction have no test part), on the data sets of "
        "fewer than 250,000 interactions of which the filter takes more than a hundredth; some of the files were "
        "filtered by those who published them:"
    )
    return ["", title, *markdown(["data set", *values.columns, "zero-shot / best peer"], rows)]


def published_table(table: pd.DataFrame) -> list[str]:
    """Recall@20 / NDCG@20 on the splits that data sets were published with."""
    table = table[table["dataset"].str.endswith("published split")]
    if table.empty:
        return []
    names = list(table["row"].unique())
    rows = []
    for (dataset, users), group in table.groupby(["dataset", "max_users"], sort=False):
        found = group.set_index("row")
        cells = [
            f"{found.loc[name, 'recall@20']:.4f} / {found.loc[name, 'ndcg@20']:.4f}" if name in found.index else "-"
            for name in names
        ]
        rows.append([dataset, f"{users:,}" if users else "all", *cells])
    title = (
        "Published splits, Recall@20 / NDCG@20 (yelp2018: of LightGCN's repository; amazon-book-kgat: of KGAT's; "
        "ml-1m: see [data.md](data.md)). Quoted for yelp2018, all users, from their papers: LightGCN 0.0649 / 0.0530 "
        "(He et al., SIGIR 2020), GF-CF 0.0697 / 0.0571 (Shen et al., CIKM 2021), SimpleX 0.0701 / 0.0575 (Mao et al., "
        "CIKM 2021), SimGCL 0.0721 / 0.0601 (Yu et al., SIGIR 2022), XSimGCL 0.0723 / 0.0604 (Yu et al., TKDE 2023); "
        "of all users, the last two are above what is measured here."
    )
    return ["", title, *markdown(["data set", "evaluated users", *names], rows)]


def trained_table(table: pd.DataFrame) -> list[str]:
    """NDCG@10 of models trained here beside the frozen one, with the seconds each took."""
    names = [name for name in (*TRAINED, "in-domain", "fine-tuned", "zero-shot") if name in set(table["row"])]
    table = table[~table["dataset"].str.endswith(("published split", "unfiltered"))]
    rows = []
    for (dataset, seed), group in table.groupby(["dataset", "seed"], sort=False):
        found = group.drop_duplicates("row").set_index("row")
        if set(found.index) & set(names[:-1]):
            label = dataset if seed == table["seed"].min() else f"{dataset}, seed {seed}"
            cells = [
                f"{found.loc[name, 'ndcg@10']:.4f} ({found.loc[name, 'seconds']:.0f} s)" if name in found.index else "-"
                for name in names
            ]
            peer = found.loc[[name for name in PEERS if name in found.index], "ndcg@10"]
            rows.append([label, *cells, f"{peer.max():.4f} ({peer.idxmax()})" if len(peer) else "-"])
    if not rows:
        return []
    title = "Beside models trained on the data set (seconds of the chosen training, evaluation included):"
    return ["", title, *markdown(["data set", *names, "best training-free peer"], rows)]


PAGE = """# Zero-shot

NDCG@10 under full ranking on 5-core data, RecBole's random 80/10/10 split of each user (seed 2020), training and
validation items masked, at most 2,000 evaluated users a data set, drawn once and the same for every row. Knobs of the
training-free peers are chosen on the validation part of each data set, from the values below (values beyond these:
[wide_grids.md](wide_grids.md)); where a KNN peer knows nothing of an item for a user, popularity decides. The rows
called zero-shot are frozen and have no knob. Each was pre-trained without any data set of the domain it is judged on
(leave-one-domain-out, four folds of `benchmarks/pretrain.py`; groups and folds: [data.md](data.md)), but for
"zero-shot, fast", the item-item matrix of `recommend --fast`, in which no network has a part; by itself, whatever its
self-check says. "-": not run.

What the weights have not seen, their designers have: which scorers and columns there are, the size and the training
settings of the networks were chosen on held-out folds of these same data sets ([method.md](method.md)).

BPR, NGCF, LightGCN, NeuMF and MultiVAE are RecBole's, trained with early stopping on validation (every second epoch,
stopped after 20 epochs without a better one, at most 400) in batches of 8192 interactions (MultiVAE: 512 users) with a
learning rate chosen on validation (NDCG@10, as for stopping) from 0.001 and 0.005; on amazon-sports and on data sets
marked with a number of users, which is a sample of the users that all rows share, with 0.005; all else is RecBole's
default. "In-domain" is UniversalMLP trained on the data set from zero, "fine-tuned" the frozen model trained further on
it, both on hidden interactions of the training part, stopped on validation. A trained row is one training run; the
lines of other seeds (another split, another initialisation) show how much it varies. On the data set that is split in
time, RecBole gives SASRec a user's validation item as the last of the sequence when the test item is ranked; no other
row knows it.

{table}

Made by `make zero-shot`, whose lines in the Makefile name every row, data set and seed
([benchmarks.md](benchmarks.md)); a seed of the split is in a table as soon as it was run. Each line with its knobs and
seconds: [zero_shot.csv](zero_shot.csv); a plot of the ratios: [zero_shot.html](zero_shot.html). Seconds are of one
thread of a machine that other jobs used at the same time.

The shipped models were trained on all of these data sets, so running them on one of them shows how they work, not how
good they are.
"""


def plot(results: list[dict], file: Path) -> None:
    """Ratios to the best training-free peer as an HTML plot, and as the README's picture where matplotlib is there."""
    import plotly.express

    values = whole(comparable(results))
    ratio = values.div(best_peer(values), axis=0)
    long = ratio.reset_index().melt("dataset", value_name="NDCG@10 / best training-free peer's")
    figure = plotly.express.scatter(long, x="dataset", y=long.columns[-1], color="row")
    figure.add_hline(y=1)
    write_text(file, figure.to_html(include_plotlyjs="cdn"))
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    picture = Figure(figsize=(8, 3.6), layout="constrained")
    axes = picture.subplots()
    ratio = ratio.sort_values("zero-shot", ascending=False)
    for name in ("MostPop", "ItemKNN", "GF-CF", "EASE"):
        axes.plot(ratio.index, ratio[name], "o", markersize=3.5, label=name, alpha=0.55)
    axes.plot(ratio.index, ratio["zero-shot"], "D", markersize=5.5, color="black", label="universal-base, zero-shot")
    axes.axhline(1, color="grey", linewidth=0.8)
    axes.set_ylabel("NDCG@10 / the best peer's")
    axes.tick_params(axis="x", rotation=90, labelsize=7)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    # No date and no random ids, so that the same figures give the same file.
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "recbole_universal"
    with atomic_write(file.with_suffix(".svg")) as stream:
        picture.savefig(stream, format="svg", metadata={"Date": None}, facecolor="white")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", default="dataset/")
    parser.add_argument("--datasets", nargs="*", default=["ml-100k"])
    parser.add_argument("--rows", nargs="*", default=["peers", "zero-shot"], help="peers, trained, or names of rows")
    parser.add_argument("--models", type=Path, help="JSON: {row: {data set: folder}} of leave-one-domain-out models")
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--published", action="store_true", help="the published split; trained rows are left out")
    parser.add_argument("--rates", nargs="*", type=float, default=RATES, help="learning rates of trained rows")
    parser.add_argument("--sample", type=int, default=0, help="users of the data set that all rows share; 0: all")
    parser.add_argument("--unfiltered", action="store_true", help="all users and items, not the 5-core")
    parser.add_argument("--in-time-order", action="store_true", help="split each user in time, leave one out")
    parser.add_argument("--max-users", type=int, default=0, help="users evaluated; 0: all")
    parser.add_argument("--output", type=Path, required=True, help="folder of results.jsonl")
    parser.add_argument("--report", type=Path, help="write Markdown, CSV and plot of what is there, run nothing")
    arguments = parser.parse_args()
    sys.argv = sys.argv[:1]  # RecBole would read the rest as config
    logging.disable(logging.WARNING)
    arguments.output.mkdir(parents=True, exist_ok=True)
    file = arguments.output / "results.jsonl"
    results = read_results(file)
    if arguments.report:
        write_text(arguments.report, PAGE.format(table=report(results, arguments.output)))
        write_text(arguments.report.with_suffix(".csv"), pd.DataFrame(results).to_csv(index=False))
        plot(results, arguments.report.with_suffix(".html"))
        print(arguments.report.read_text(encoding="utf-8"))
        return
    names = [n for row in arguments.rows for n in {"peers": PEERS, "trained": TRAINED}.get(row, [row])]
    models = json.loads(arguments.models.read_text()) if arguments.models else {}
    for dataset in arguments.datasets:
        label = f"{dataset}, published split" if arguments.published else dataset
        label = f"{dataset}, {arguments.sample} users" if arguments.sample else label
        label = f"{dataset}, in time order" if arguments.in_time_order else label
        label = f"{dataset}, unfiltered" if arguments.unfiltered else label
        setting = {"dataset": label, "seed": arguments.seed, "max_users": arguments.max_users}
        todo = [name for name in names if not any({**setting, "row": name}.items() <= r.items() for r in results)]
        if not todo:
            continue
        drawn = (arguments.data_path, arguments.seed, arguments.max_users)
        split = (
            PublishedSplit(dataset, *drawn)
            if arguments.published
            else Split(
                dataset, *drawn, arguments.sample, in_time_order=arguments.in_time_order, core=not arguments.unfiltered
            )
        )
        split.label = label
        for name in todo:
            shipped = "universal-paper" if "paper" in name else "universal-base"
            # Fine-tuning starts from the frozen model that is judged beside it.
            model = models.get("zero-shot" if name == "fine-tuned" else name, {}).get(dataset, shipped)
            result = {**setting, "row": name, **row(split, name, model, arguments.output, arguments.rates)}
            if "gains" in result:  # not of a peer that could not be run
                kept = gains_file(arguments.output, result)
                kept.parent.mkdir(parents=True, exist_ok=True)
                with atomic_write(kept) as stream:
                    np.save(stream, result.pop("gains"))
            results.append(result)
            add_result(file, result)


if __name__ == "__main__":
    main()
