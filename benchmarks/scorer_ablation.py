"""Which graph scorers the model needs: each subset of scorers is a whole method of its own.

    python benchmarks/scorer_ablation.py --data-path DATA --output OUT --collect
    python benchmarks/scorer_ablation.py --output OUT
    python benchmarks/scorer_ablation.py --output OUT --report docs/ablation.md

A scorer that is removed loses its columns, its candidates and its share of the two weighted averages. The first command
builds the scorers of each dataset once and stores their values for held-out users. The second command derives the
candidates and columns of each subset from the stored values, trains one network per fold of left-out domains and
measures NDCG@10 on the datasets of those domains. Both commands skip what is there.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch

import recbole_universal  # noqa: F401  patches RecBole, so it comes before any import of it

# isort: split
from ablation import KINDS, PAIR, trained
from pretrain import DOMAINS, FOLDS, SETTINGS
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.interaction import Interaction
from recbole.utils import init_seed
from results import add_result, read_results
from zero_shot import CORE, SPECIAL, markdown

from recbole_universal.features.fields import LIST_LABEL, LIST_MASK
from recbole_universal.features.proximity import (
    _SHARPNESS,
    ProximityFeatures,
    ProximityPairs,
    _as_lists,
    _relative,
    ndcg,
    support_query_split,
)
from recbole_universal.files import write_text
from recbole_universal.graph import SCORERS
from recbole_universal.plugin.dataset import training_matrix
from recbole_universal.plugin.universal_mlp import list_scores

#: Datasets of all domains whose scorers are built within a minute, the smallest first.
DATASETS = (
    "yahoo-music-mgcnn filmtrust amazon-instruments flixster-mgcnn msweb frappe ml-latest-small tenrec-article "
    "amazon-digital-music douban-mgcnn lastfm-2k amazon-hin kuairand book-crossing ml-1m citeulike-a coco-mooc "
    "delicious-tags citations-a yelp-hin"
).split()
#: Heading of the section of docs/ablation.md that this script writes.
TITLE = "## Whole scorers"
#: Held-out users of a dataset at most, and the draws that they come from.
N_USERS, N_DRAWS = 600, 2
_SHARE, _SEED = SETTINGS["query_share"], 2020
# Values of a user's best items that the columns read.
_N_TOP = 20
# What the columns say about items and users apart from the scorers.
_CONTEXT = ("item_percentile", "log_item", "user_percentile", "mean_percentile", "log_user")
# Users whose columns are computed at once.
_BLOCK_USERS = 200
_SIX = ["rp3", "user_cosine", "neighbors", "full_pass", "middle_regression", "popularity"]
# Without the item-item paths, which go together without a loss, and with one regression.
_NO_PATHS = "user_cosine user_squared neighbors low_pass mid_pass full_pass middle_regression popularity".split()
_EIGHT = "cosine rp3 user_cosine neighbors mid_pass regression strong_regression popularity".split()


def without(*names: str, of=tuple(SCORERS)) -> list[str]:
    """The scorers of a set but some."""
    return [name for name in of if name not in names]


# Fewer lists than those of the shipped model, so smaller batches and one more epoch: half of its steps.
TRAINING = {**SETTINGS, "n_networks": 1, "list_loss": "softmax", "list_batch_size": 32, "epochs": 3}
#: Subsets of the scorers by name.
SUBSETS = {
    "all 16": without(),
    "six": _SIX,
    "six, without user_cosine": without("user_cosine", of=_SIX),
    "six, with linear_filter": [*_SIX, "linear_filter"],
    "eight": _EIGHT,
    "eight, middle_regression for two": [*without("regression", "strong_regression", of=_EIGHT), "middle_regression"],
    "eight, with popular_cosine and linear_filter": [*_EIGHT, "popular_cosine", "linear_filter"],
    "eight, with full_pass and low_pass": [*_EIGHT, "full_pass", "low_pass"],
    "six, mid_pass for full_pass": [*without("full_pass", of=_SIX), "mid_pass"],
    "six, p3 for rp3": [*without("rp3", of=_SIX), "p3"],
    "no paths": _NO_PATHS,
    "no paths, without user_squared": without("user_squared", of=_NO_PATHS),
    "no paths, without user_cosine": without("user_cosine", of=_NO_PATHS),
    "no paths, without user_cosine, user_squared": without("user_cosine", "user_squared", of=_NO_PATHS),
    "no paths, without mid_pass": without("mid_pass", of=_NO_PATHS),
    "no paths, without mid_pass, full_pass": without("mid_pass", "full_pass", of=_NO_PATHS),
    "no paths, without low_pass": without("low_pass", of=_NO_PATHS),
    "no paths, without low_pass, mid_pass": without("low_pass", "mid_pass", of=_NO_PATHS),
    "no paths, without neighbors": without("neighbors", of=_NO_PATHS),
    "no paths, without popularity": without("popularity", of=_NO_PATHS),
    "no paths, without mid_pass, popularity": without("mid_pass", "popularity", of=_NO_PATHS),
    "no paths, without mid_pass, user_cosine": without("mid_pass", "user_cosine", of=_NO_PATHS),
    "no paths, without mid_pass, popularity, user_cosine": without(
        "mid_pass", "popularity", "user_cosine", of=_NO_PATHS
    ),
    "no paths, without middle_regression": without("middle_regression", of=_NO_PATHS),
    "no paths, with rp3": [*_NO_PATHS, "rp3"],
    "no paths, rp3 for middle_regression": [*without("middle_regression", of=_NO_PATHS), "rp3"],
    "no paths, linear_filter, popular_cosine for middle_regression": [
        *without("middle_regression", of=_NO_PATHS),
        "linear_filter",
        "popular_cosine",
    ],
    "no paths, strong_regression for middle_regression": [
        *without("middle_regression", of=_NO_PATHS),
        "strong_regression",
    ],
    "no paths, three regressions": [*_NO_PATHS, "regression", "strong_regression"],
    "middle_regression alone of the regressions": without("regression", "strong_regression"),
    **{
        f"without {kind}": without(*names)
        for kind, names in KINDS.items()
        if set(names) <= set(SCORERS) and kind != "trusted scorers"
    },
}
SUBSETS |= {f"six, without {name}": without(name, of=_SIX) for name in _SIX if name != "user_cosine"}
SUBSETS |= {f"six, with {name}": [*_SIX, name] for name in without(*_SIX, "linear_filter")}
SUBSETS |= {f"without {name}": without(name) for name in SCORERS if name not in ("neighbors", "popularity")}
#: Subsets whose candidates are those of other scorers: what is left of a loss is the loss of columns and weights.
CANDIDATES = {f"{name}, candidates of all 16": without() for name in ("six", "eight")}
SUBSETS |= {name: SUBSETS[name.partition(",")[0]] for name in CANDIDATES}


def interactions(name: str, data_path: str, whole: bool = False):
    """The training interactions of a dataset, as pre-training reads them; csr without empty rows and columns.

    Args:
        name: the dataset.
        data_path: the folder of the datasets.
        whole: whether users and items outside of the 5-core stay.
    """
    core = dict.fromkeys(CORE) if whole else {}
    keys = {**SETTINGS, **SPECIAL.get(name, {}), **core, "data_path": data_path, "show_progress": False}
    config = Config("BPR", name, config_dict=keys)
    init_seed(config["seed"], config["reproducibility"])
    return compact(training_matrix(create_dataset(config).build()[0]))[0]


def compact(matrix):
    """A matrix without its empty rows and columns, and the indices of those that stay."""
    rows = np.flatnonzero(np.diff(matrix.indptr))
    columns = np.flatnonzero(np.bincount(matrix.indices, minlength=matrix.shape[1]))
    return matrix[rows][:, columns].tocsr(), rows, columns


def collect(name: str, data_path: str, folder: Path) -> None:
    """Store what all scorers say about the held-out users of a dataset, one file per draw."""
    matrix = interactions(name, data_path)
    wanted = N_USERS
    for draw in range(N_DRAWS):
        file = folder / f"{name}-{draw}.npz"
        start = time.perf_counter()
        generator = np.random.default_rng([_SEED, draw])
        n_users = min(wanted, max(20, matrix.shape[0] // 4))
        support, query = support_query_split(matrix, n_users, _SHARE, generator)
        held_out = np.flatnonzero(np.diff(query.indptr))
        wanted -= len(held_out)
        if not file.is_file():
            dense, rows, columns = compact(support)
            family = ProximityFeatures()
            weights, _ = family._self_check(dense, _SEED, "cpu", False)
            pairs = ProximityPairs(family._scorers(dense, "cpu", False), weights, family.top_k)
            values = stored_values(pairs, np.searchsorted(rows, held_out), query[held_out][:, columns])
            n_held_out = np.diff(query[held_out].indptr)
            np.savez(file.with_suffix(".tmp.npz"), weights=weights, n_held_out=n_held_out, **values)
            file.with_suffix(".tmp.npz").replace(file)
            seconds = time.perf_counter() - start
            print(f"{file.stem}: {dense.shape}, {len(held_out)} users, {seconds:.0f} s", flush=True)
        if wanted <= 0:
            break


def stored_values(pairs: ProximityPairs, users: np.ndarray, query) -> dict[str, np.ndarray]:
    """What the columns of any subset of the scorers are made of, see :meth:`ProximityPairs._lists`.

    Args:
        pairs: the proximities of the support part.
        users: indices of the held-out users, [n_users].
        query: their held-out interactions, csr [n_users, n_items].
    """
    blocks = []
    for part in np.array_split(np.arange(len(users)), -(-len(users) // pairs.scorers.block_users)):
        index = torch.from_numpy(users[part])
        with pairs._scores(index) as values:
            values.clamp_(min=0.0)
            values *= 1 + 1e-5 * pairs._item_percentile
            rows, columns = pairs._own(index)
            values[:, rows, columns] = 0.0
            top_values, top_items = values.topk(min(pairs.top_k, values.shape[2]), dim=2)
            member = torch.zeros(values.shape, dtype=torch.bool).scatter_(2, top_items, top_values > 0)
            items, mask = _as_lists(member.any(dim=0))
            safe = items.clamp(min=0)
            spread = safe.expand(len(values), -1, -1)
            label = torch.from_numpy(query[part].toarray() > 0).gather(1, safe) & mask
            block = {
                "values": values.gather(2, spread) * mask,
                "member": member.gather(2, spread) & mask,
                "top": top_values[:, :, :_N_TOP].clone(),
                "items": items[None],
                "label": label[None],
            }
            blocks.append({key: part.numpy() for key, part in block.items()})
    width = max(block["items"].shape[2] for block in blocks)

    def joined(key: str) -> np.ndarray:
        fill = -1 if key == "items" else 0
        short = [width - block[key].shape[2] if key != "top" else 0 for block in blocks]
        padded = [
            np.pad(block[key], ((0, 0), (0, 0), (0, n)), constant_values=fill)
            for block, n in zip(blocks, short, strict=True)
        ]
        return np.concatenate(padded, axis=1)

    context = {key: getattr(pairs, f"_{key}").numpy() for key in _CONTEXT}
    for key in ("user_percentile", "mean_percentile", "log_user"):
        context[key] = context[key][users]
    return {key: joined(key) for key in blocks[0]} | context


def lists_of(stored: dict[str, torch.Tensor], names: list[str], sources: list[str]) -> list[Judged]:
    """Candidates and columns of stored users, as if some scorers were all that there are.

    Args:
        stored: the file of a dataset, see :func:`collect`.
        names: the scorers that the columns are of.
        sources: the scorers whose best items are the candidates.
    """
    chosen = [list(SCORERS).index(name) for name in names]
    nominating = [list(SCORERS).index(name) for name in sources]
    weights = _relative(stored["weights"][chosen].double().numpy())
    soft = np.exp(_SHARPNESS * (weights - weights.max()))
    best = (weights == weights.max()).astype(np.float32)
    pairs = SimpleNamespace(
        _weights=torch.from_numpy(np.stack([soft / soft.sum(), best / best.sum()]).astype(np.float32)),
        **{f"_{key}": stored[key] for key in _CONTEXT},
    )
    blocks = []
    for users in torch.arange(stored["label"].shape[1]).split(_BLOCK_USERS):
        places, mask = _as_lists(stored["member"][:, users][nominating].any(dim=0))
        safe = places.clamp(min=0)
        values = stored["values"][:, users][chosen].gather(2, safe.expand(len(chosen), -1, -1)) * mask
        items = stored["items"][0, users].long().gather(1, safe)
        top = stored["top"][:, users][chosen]
        features = ProximityPairs._features(pairs, values, top, users, items.clamp(min=0), mask)
        label = stored["label"][0, users].gather(1, safe) & mask
        lists = Interaction({PAIR: features.half(), LIST_LABEL: label, LIST_MASK: mask})
        blocks.append(Judged(lists, stored["n_held_out"][users].numpy()))
    return blocks


class Judged(NamedTuple):
    """Lists of users, and how many held-out interactions each user has, among the candidates or not."""

    lists: Interaction
    n_held_out: np.ndarray

    def taught(self) -> Interaction:
        """The lists with a held-out interaction, which a network can learn from."""
        return self.lists[self.lists[LIST_LABEL].any(dim=1)]


@torch.no_grad()
def quality(scorer, blocks: list[Judged]) -> dict[str, float]:
    """NDCG@10 where held-out interactions outside of the candidates count as missed; recall and candidates."""
    gains, found, sizes = [], [], []
    for lists, n_held_out in blocks:
        values = list_scores(scorer, lists).masked_fill(~lists[LIST_MASK], -torch.inf)
        top = values.topk(min(10, values.shape[1]), dim=1).indices
        hits = (lists[LIST_LABEL].gather(1, top) & lists[LIST_MASK].gather(1, top)).numpy()
        gains.append(ndcg(np.pad(hits, ((0, 0), (0, 10 - hits.shape[1]))), n_held_out))
        found.append(lists[LIST_LABEL].sum(dim=1).numpy() / n_held_out)
        sizes.append(lists[LIST_MASK].sum(dim=1).numpy())
    return {
        "ndcg": float(np.concatenate(gains).mean()),
        "recall": float(np.concatenate(found).mean()),
        "candidates": float(np.concatenate(sizes).mean()),
    }


def measure(folder: Path, subset: str, seeds: list[int]) -> Iterator[dict]:
    """Train a network per fold on the datasets of other domains, and judge it on those of the fold; once per seed."""
    start = time.process_time()
    names, sources = SUBSETS[subset], CANDIDATES.get(subset, SUBSETS[subset])
    lists: dict[str, list[Judged]] = {}
    for file in sorted(folder.glob("*-[0-9].npz")):
        with np.load(file) as arrays:
            stored = {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays.files}
        lists.setdefault(file.stem.rpartition("-")[0], []).extend(lists_of(stored, names, sources))
    for seed in seeds:
        results = {}
        for domains in FOLDS.values():
            left_out = {name for domain in domains for name in DOMAINS[domain].split()} & set(lists)
            taught = [block.taught() for name in lists if name not in left_out for block in lists[name]]
            scorer = trained([block for block in taught if len(block)], TRAINING, [], seed).scorer
            scorer.eval()
            results |= {name: quality(scorer, lists[name]) for name in lists if name in left_out}
        seconds = round(time.process_time() - start, 1)
        yield {"subset": subset, "scorers": names, "seed": seed, "datasets": results, "seconds": seconds}
        start = time.process_time()


def ratios(results: list[dict]) -> dict[str, np.ndarray]:
    """By subset, NDCG@10 divided by the mean of all scorers' runs on the dataset, [n_runs, n_datasets]."""
    gains: dict[str, list] = {}
    for result in results:
        gains.setdefault(result["subset"], []).append([part["ndcg"] for part in result["datasets"].values()])
    base = np.mean(gains["all 16"], axis=0)
    return {subset: np.array(runs) / base for subset, runs in gains.items()}


def seconds_left(names: list[str], builds: list[dict]) -> float:
    """Estimated seconds of a build with these scorers alone, divided by those with all 16; mean over builds."""
    chosen = set(names)
    families = [set(names) for kind, names in KINDS.items() if kind in ("filters", "regressions", "neighbours")]
    n_paths = len(chosen - set.union(*families)) / (len(SCORERS) - sum(map(len, families)))
    shares = []
    for build in (build for build in builds if "dataset" in build):
        parts, scores = build["parts"], build["scores"]
        kinds = {
            "filters": any("pass" in name for name in chosen & set(KINDS["filters"])),
            "neighbors": "neighbors" in chosen,
            "regressions": len(chosen & set(KINDS["regressions"])) / len(KINDS["regressions"]),
            "paths": n_paths,
        }
        left = parts.get("rest", 0.0)
        left += parts["neighbors"] * kinds["neighbors"] + parts["singular vectors"] * kinds["filters"]
        left += parts["regressions"] * kinds["regressions"]
        share = sum(scores[kind] * kinds[kind] for kind in kinds) / sum(scores[kind] for kind in kinds)
        left += parts["scores of the check users"] * share
        left += parts["candidates and columns of the check users"] * len(chosen) / len(SCORERS)
        shares.append(left / sum(parts.values()))
    return float(np.mean(shares))


def report(results: list[dict], builds: list[dict]) -> str:
    """The section "Whole scorers", Markdown."""
    by_subset = ratios(results)
    full = by_subset["all 16"].mean(axis=1)
    others = [runs.mean(axis=1).var(ddof=1) for name, runs in by_subset.items() if name != "all 16" and len(runs) > 1]
    datasets = list(results[0]["datasets"])
    lines = [
        "",
        TITLE,
        "",
        "A scorer that is removed here loses its columns, its candidates and its share of the two weighted averages. "
        f"One network per fold of left-out domains is trained on the other domains. {len(datasets)} datasets are "
        "judged, each by the network that saw no dataset of its domain: " + ", ".join(datasets) + ". NDCG@10 counts "
        "held-out interactions outside of the candidates as missed. The ratio divides it by the NDCG@10 of all 16 "
        "scorers on the same users, and is a mean over datasets. The standard error is paired, over datasets. Recall "
        "is the share of the held-out interactions that are candidates. The build is an estimate from the profile of "
        "the parts: the seconds of a build with all 16 scorers, divided by those with the subset.",
        "",
        f"Seed noise: the mean ratio of all 16 scorers has the standard deviation {full.std(ddof=1):.4f} over "
        f"{len(full)} seeds ({', '.join(f'{value:.4f}' for value in full)}). "
        f"That of the subsets with several runs is {np.mean(others) ** 0.5 if others else 0:.4f}, pooled.",
    ]
    rows = []
    for subset in (subset for subset in SUBSETS if subset in by_subset):
        runs = by_subset[subset]
        first = next(result for result in results if result["subset"] == subset)
        parts = first["datasets"].values()
        means = runs.mean(axis=0)
        rows.append(
            [
                subset,
                str(len(first["scorers"])),
                str(len(runs)),
                f"{means.mean():.4f}",
                f"{means.std(ddof=1) / len(means) ** 0.5:.4f}",
                f"{means.min():.3f} ({datasets[int(means.argmin())]})",
                f"{np.mean([part['recall'] for part in parts]):.3f}",
                f"{np.mean([part['candidates'] for part in parts]):.0f}",
                f"{1 / seconds_left(first['scorers'], builds):.1f}x" if builds else "-",
            ]
        )
    head = ["scorers", "number", "runs", "ratio", "standard error", "lowest", "recall", "candidates", "build"]
    lines += markdown(head, rows)
    lines += ["", f"Six: {', '.join(_SIX)}. Eight: {', '.join(_EIGHT)}. No paths: {', '.join(_NO_PATHS)}."]
    if builds:
        lines += costs(builds)
    lines += ["", "Made by `python benchmarks/scorer_ablation.py` and `python benchmarks/scorer_build.py`."]
    return "\n".join(lines) + "\n"


def costs(builds: list[dict]) -> list[str]:
    """Lines about the seconds of the parts of a build, and of inversions."""
    whole = [build for build in builds if "dataset" in build]
    lines = [
        "",
        "### Seconds of a build",
        "",
        "Seconds of the processor, one thread, 5-core. A build makes the scorers twice: for the self-check and for all "
        "interactions. It computes the scores of the check users twice: for the scorer weights and for the candidates.",
    ]
    parts = dict.fromkeys(part for build in whole for part in build["parts"])
    rows = [[part, *(f"{build['parts'].get(part, 0):.1f}" for build in whole)] for part in parts]
    rows.append(["all", *(f"{sum(build['parts'].values()):.1f}" for build in whole)])
    kinds = dict.fromkeys(kind for build in whole for kind in build["scores"])
    rows += [[f"scores of 200 users: {kind}", *(f"{build['scores'][kind]:.2f}" for build in whole)] for kind in kinds]
    heads = [f"{build['dataset']} ({build['users']:,} x {build['items']:,})" for build in whole]
    lines += markdown(["part", *heads], rows)
    timed = [build for build in builds if "dataset" not in build]
    if timed:
        lines += ["", "Ways to the inverses of the Gram matrix under three penalties, random interactions of 1 %."]
        ways = dict.fromkeys(way for build in timed for way in build if way not in ("users", "items"))
        lines += markdown(
            ["way", *(f"{build['users']:,} x {build['items']:,}" for build in timed)],
            [[way, *(f"{build[way]:.2g}" if way in build else "-" for build in timed)] for way in ways],
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", default="dataset/")
    parser.add_argument("--output", type=Path, required=True, help="folder of stored values and results")
    parser.add_argument("--collect", action="store_true", help="store the values of the scorers, train nothing")
    parser.add_argument("--subsets", nargs="*", choices=list(SUBSETS), metavar="NAME", help="names of subsets")
    parser.add_argument("--seeds", nargs="*", type=int, default=[_SEED])
    parser.add_argument("--report", type=Path, help="write the section into this Markdown page, run nothing")
    arguments = parser.parse_args()
    sys.argv = sys.argv[:1]  # RecBole would read the rest as config
    logging.disable(logging.WARNING)
    folder = arguments.output / "values"
    if arguments.collect:
        folder.mkdir(parents=True, exist_ok=True)
        for name in DATASETS:
            collect(name, arguments.data_path, folder)
        return
    results = read_results(arguments.output / "results.jsonl")
    if arguments.report:
        section = report(
            read_results(arguments.output / "results.jsonl"), read_results(arguments.output / "build.jsonl")
        )
        before, _, after = arguments.report.read_text(encoding="utf-8").partition("\n" + TITLE)
        kept = "".join(after.partition("\n## ")[1:])  # sections that people wrote
        write_text(arguments.report, before + section + kept)
        print(section)
        return
    for subset in arguments.subsets or SUBSETS:
        done = {result["seed"] for result in results if result["subset"] == subset}
        seeds = [seed for seed in arguments.seeds if seed not in done]
        for result in measure(folder, subset, seeds) if seeds else ():
            add_result(arguments.output / "results.jsonl", result)


if __name__ == "__main__":
    main()
