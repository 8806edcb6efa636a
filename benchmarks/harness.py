"""Shared code of the benchmarks: splits of datasets, metrics on a split, resumable results, arguments."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.utils import init_seed

from recbole_universal.app.pretrain import IN_ORDER
from recbole_universal.files import write_text
from recbole_universal.metrics import ndcg, recall
from recbole_universal.plugin.dataset import training_matrix

#: A function from user indices to float32 scores [n, n_items].
Scores = Callable[[np.ndarray], np.ndarray]

#: Datasets by domain. A dataset of two domains is in both.
DOMAINS = {
    "movies": "ml-100k ml-latest-small flixster-mgcnn filmtrust douban-mgcnn douban-movie ml-1m",
    "music": "yahoo-music-mgcnn lastfm-2k amazon-digital-music",
    "amazon": "amazon-instruments amazon-hin amazon-toys amazon-video-games amazon-sports amazon-digital-music "
    "amazon-book-kgat epinions",
    "books": "book-crossing amazon-book-kgat",
    "local": "yelp-hin yelp-s3rec yelp2018",
    "science": "citations-a citeulike-a",
    "food": "allrecipes tafeng",
    "web": "msweb frappe coco-mooc",
    "feed": "tenrec-article kuairand",
    "pins": "delicious-tags pinterest",
}
#: Datasets whose histories are in order, by domain.
ORDERED = {
    "movies": "ml-100k ml-latest-small ml-1m-seq",
    "amazon": "amazon-instruments amazon-hin amazon-toys amazon-video-games amazon-sports amazon-digital-music "
    "amazon-grocery amazon-office amazon-tools",
    "groceries": "tafeng complete-journey complete-journey-repeats amazon-grocery",
    "local": "yelp-s3rec foursquare-tky foursquare-tky-repeats",
    "learning": "coco-mooc library-sibgmu",
    "music": "nowplaying kkbox-music kkbox-music-repeats amazon-digital-music",
    "tags": "delicious-tags mathoverflow-tags mathoverflow-tags-repeats",
    "sessions": "yoochoose retailrocket",
    "web": "fifa98-web nasa-web wikipedia-edits-repeats",
}
FIVE_CORE = {"user_inter_num_interval": "[5,inf)", "item_inter_num_interval": "[5,inf)"}
#: Config keys that single datasets need.
DATASET_KEYS = {
    "kuairand": {"load_col": {"inter": ["user_id", "item_id", "rating"]}, "val_interval": {"rating": "[1,inf)"}},
}
#: The last item of each user is the test part, the one before it the validation part. SASRec needs this split.
IN_TIME_ORDER = IN_ORDER
N_VALID_USERS = 1000
#: Lower ends of the groups of users by their interactions in the training part.
ACTIVITY = (1, 5, 10, 20, 50)


class Split:
    """One dataset as RecBole splits it.

    Attributes:
        keys: config keys with which RecBole makes this split.
        train, valid, test: csr [n_users, n_items] each.
        tuning_train: what a baseline is fitted to while its hyperparameters are chosen.
        seen: by part, the interactions that are masked when this part is evaluated.
        valid_users, test_users: indices of the evaluated users.
        label: name of the dataset in the results.
    """

    label = ""

    def __init__(
        self,
        name: str,
        data_path: str,
        seed: int,
        max_users: int,
        sample: int = 0,
        n_valid: int = N_VALID_USERS,
        in_time_order: bool = False,
        five_core: bool = True,
    ):
        self.name = name
        if sample:
            data_path = sample_users(name, data_path, sample)
        self.keys = {"data_path": data_path, "load_col": {"inter": ["user_id", "item_id"]}, "seed": seed}
        self.keys |= FIVE_CORE if five_core else {}
        self.keys |= {**DATASET_KEYS.get(name, {}), "show_progress": False, "state": "ERROR"}
        self.keys |= IN_TIME_ORDER if in_time_order else {}
        init_seed(seed, True)  # RecBole splits by the global random state
        parts = create_dataset(Config("BPR", name, config_dict=dict(self.keys))).build()
        self.train, self.valid, self.test = (training_matrix(part) for part in parts)
        self.tuning_train = self.train
        self.seen = {"valid": self.train, "test": self.train + self.valid}
        self._draw_users(np.random.default_rng(seed), n_valid, max_users)

    def _draw_users(self, generator: np.random.Generator, n_valid: int, n_test: int) -> None:
        def drawn(part: sp.csr_matrix, n: int) -> np.ndarray:
            return np.sort(generator.permutation(np.flatnonzero(np.diff(part.indptr)))[: n or None])

        self.valid_users, self.test_users = drawn(self.valid, n_valid), drawn(self.test, n_test)

    def evaluate(self, scores: Scores, part: str) -> dict:
        """Mean metrics over the evaluated users of a part ("valid" or "test"); padding and seen items are masked.

        For the test part also ``by_activity``, {lower end of the group: [users, their NDCG@10]}, and ``ndcg_by_user``,
        float64 [n_users].
        """
        by_user = self.metrics_by_user(scores, part)
        metrics = {name: float(values.mean()) for name, values in by_user.items()}
        if part == "test":
            group = np.digitize(np.diff(self.train.indptr)[self.test_users], ACTIVITY[1:])
            groups = pd.Series(by_user["ndcg@10"]).groupby(group).agg(["size", "mean"])
            metrics["by_activity"] = {ACTIVITY[k]: [int(size), mean] for k, size, mean in groups.itertuples()}
            metrics["ndcg_by_user"] = by_user["ndcg@10"]
        return metrics

    def metrics_by_user(self, scores: Scores, part: str) -> dict[str, np.ndarray]:
        """NDCG and recall at 10 and 20 of each evaluated user of a part, float64 [n_users] each."""
        users, target = (self.valid_users, self.valid) if part == "valid" else (self.test_users, self.test)
        metrics: dict[str, list[np.ndarray]] = {}
        block = max(1, 2**24 // self.train.shape[1])
        for start in range(0, len(users), block):
            group = users[start : start + block]
            values = np.array(scores(group), dtype=np.float32)
            values[self.seen[part][group].nonzero()] = -np.inf
            values[:, 0] = -np.inf
            top = torch.from_numpy(values).topk(min(20, values.shape[1])).indices.numpy()
            hits = np.take_along_axis(target[group].toarray() > 0, top, axis=1)
            n_relevant = np.diff(target.indptr)[group]
            for k in (10, 20):
                metrics.setdefault(f"ndcg@{k}", []).append(ndcg(hits[:, :k], n_relevant))
                metrics.setdefault(f"recall@{k}", []).append(recall(hits[:, :k], n_relevant))
        return {name: np.concatenate(values) for name, values in metrics.items()}

    def ndcg_of_lists(self, users: np.ndarray, items: np.ndarray) -> float:
        """Mean NDCG of recommendations, int [n_users, k], on the test part."""
        return float(ndcg(self._hits(users, items), np.diff(self.test.indptr)[users]).mean())

    def recall_of_lists(self, users: np.ndarray, items: np.ndarray) -> float:
        """Mean recall of recommendations, int [n_users, k], on the test part."""
        return float(recall(self._hits(users, items), np.diff(self.test.indptr)[users]).mean())

    def _hits(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Whether each recommendation is in the test part, bool [n_users, k]."""
        return np.stack([np.isin(row, self.test[user].indices) for user, row in zip(users, items, strict=True)])


class PublishedSplit(Split):
    """The split that a dataset was published with: ``<name>.train.inter`` and ``<name>.test.inter``.

    Hyperparameters are chosen on a tenth of the training part; then a baseline is fitted to all of it.
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
        self.valid = self.train.copy()  # eliminate_zeros works in place
        self.valid.data = (generator.random(self.valid.nnz) < 0.1).astype(np.float32)
        self.valid.eliminate_zeros()
        self.tuning_train = self.train - self.valid
        self.tuning_train.eliminate_zeros()
        self.seen = {"valid": self.tuning_train, "test": self.train}
        self._draw_users(generator, N_VALID_USERS, max_users)


def sample_users(name: str, data_path: str, n_users: int) -> str:
    """Copy a dataset with some of its users, drawn once; returns the ``data_path`` of the copy."""
    source = Path(data_path) / name / f"{name}.inter"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"recbole_universal_{digest}_{n_users}_users"
    file = folder / name / source.name
    if not file.is_file():
        rows = pd.read_csv(source, sep="\t", dtype=str)
        users = np.sort(rows["user_id:token"].unique())
        drawn = np.random.default_rng(0).permutation(users)[:n_users]
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, rows[rows["user_id:token"].isin(drawn)].to_csv(sep="\t", index=False))
    return str(folder)


def read_results(file: Path) -> list[dict]:
    """The results in a file, one JSON object a line; none if there is no file.

    A killed run may leave half a last line. It is left out with a message.
    """
    *lines, rest = file.read_text(encoding="utf-8").split("\n") if file.is_file() else [""]
    if rest:
        print(f"{file}: the last line is incomplete and is dropped: {rest[:80]}", file=sys.stderr)
    return [json.loads(line) for line in lines]


def add_result(file: Path, result: dict) -> None:
    """Append a result to a file, in place of half a last line, and print it."""
    line = json.dumps(result, default=str)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+b") as stream:
        stream.seek(0)
        stream.truncate(stream.read().rfind(b"\n") + 1)
        stream.write(line.encode() + b"\n")
    print(line, flush=True)


class Results:
    """The results in a file, which a run extends. A run that is started again skips what the file has.

    Attributes:
        rows: the results, in the order of the file.
    """

    def __init__(self, file: Path):
        self.file, self.rows = file, read_results(file)

    def has(self, setting: dict) -> bool:
        """Whether some result has all these values."""
        return any(setting.items() <= row.items() for row in self.rows)

    def check_weights(self, setting: dict, weights: str) -> None:
        """Check that the results with these values were measured with a model of these weights.

        Args:
            setting: values that identify the results.
            weights: digest of the weights file, the value of ``weights`` in a result. Older results have none.

        Raises:
            ValueError: if a result was measured with other weights.
        """
        for row in self.rows:
            if setting.items() <= row.items() and row.get("weights") != weights:
                if "weights" in row:
                    raise ValueError(
                        f"{self.file}: {setting} was measured with a model of the weights {row['weights']}; the model "
                        f"has the weights {weights} now. Remove the old lines, or name another --output."
                    )
                print(f"{self.file}: {setting} does not say which weights it was measured with.", file=sys.stderr)

    def add(self, row: dict) -> None:
        """Append a result to the file and to ``rows``."""
        self.rows.append(row)
        add_result(self.file, row)


_ARGUMENTS: dict[str, dict] = {
    "data-path": {"default": "dataset/", "help": "folder of the datasets, as RecBole's data_path"},
    "datasets": {"nargs": "*", "default": ["ml-100k"], "help": "names of datasets"},
    "models": {"type": Path, "help": "JSON of pre-trained models, as pretrain.py --leave-out writes it"},
    "seed": {"type": int, "default": 2020, "help": "seed of the split"},
    "max-users": {"type": int, "default": 0, "help": "evaluated users; 0: all"},
    "output": {"type": Path, "required": True, "help": "where the results are, one JSON object a line"},
    "report": {"type": Path, "help": "write the tables of this page from the results; run nothing"},
}


def parser_with(doc: str | None, *names: str, **defaults) -> argparse.ArgumentParser:
    """A parser of the shared arguments of these names.

    Args:
        doc: the description.
        names: of "data-path", "datasets", "models", "seed", "max-users", "output" and "report".
        defaults: defaults of this script in place of the shared ones.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in names:
        parser.add_argument(f"--{name}", **_ARGUMENTS[name])
    parser.set_defaults(**defaults)
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments; RecBole, which reads ``sys.argv`` too and logs much, sees none of them and logs errors alone."""
    arguments = parser.parse_args()
    sys.argv = sys.argv[:1]
    logging.disable(logging.WARNING)
    return arguments
