"""PeterRec, Conure and CLUE on UniversalSASRec: user vectors, sources in turn, and contrast of users.

    python benchmarks/user_systems.py --system peterrec --data-path DATA --content-path CONTENT
    python benchmarks/user_systems.py --page docs/systems_users.md          # writes the tables into the page

Results are appended to results/user_systems.jsonl. Each user's last interactions are used. Profiles are those of
ml-100k, the only dataset here that has a file of users. The models have one layer and 64 dimensions.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from content_systems_data import Small, prepared
from content_systems_ranks import hits
from harness import Results
from report import fill
from torch.nn import functional
from user_systems_tables import tables
from user_systems_vectors import (
    Histories,
    content_means,
    histories_of,
    item_svd,
    loaded,
    profiles,
    trained,
    vectors_of,
)

from recbole_universal import pretrain
from recbole_universal.metrics import ndcg
from recbole_universal.sequential.adapters import train_only, trained_weights
from recbole_universal.sequential.probe import area_under_curve, probe, user_folds
from recbole_universal.sequential.user_labels import UserClassifier, class_scores, fit_user_labels

PROFILES, FILMS = "ml-100k-last", "ml-1m-last"  # RecBole reads ml-100k from its own folder alone
ORIGIN = {PROFILES: "ml-100k", FILMS: "ml-1m-seq"}
TASKS = ("anime", "coco-mooc", "hm-copurchase")
HIDDEN, LAST, N_FOLDS = 64, 30, 3
PROFILE_USERS, FILM_USERS, FEW_LABELS = 943, 1500, 100
LAST_OF_TASKS, USERS_OF_TASKS = 12, 1000
KEYS: dict[str, Any] = {
    "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "text"]},
    "content_join_z": None,  # the texts are known to belong to the items, which a small sample may not show
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
    "hidden_size": HIDDEN,
    "inner_size": 2 * HIDDEN,
    "n_layers": 1,
    "hidden_dropout_prob": 0.2,
    "attn_dropout_prob": 0.2,
    "MAX_ITEM_LIST_LENGTH": LAST,
    "train_batch_size": 256,
    "learning_rate": 0.003,
    "epochs": 5,
    "stopping_step": 1,
    "metrics": ["NDCG", "Recall"],
    "topk": [10],
    "valid_metric": "NDCG@10",
    "show_progress": False,
    "state": "ERROR",
    "gpu_id": "",
}


class Benchmark:
    """One run with one seed.

    Args:
        options: the options of the command line.
        seed: the seed of all models.
        results: where results go.
    """

    def __init__(self, options: argparse.Namespace, seed: int, results: Results) -> None:
        self.options, self.seed, self.results = options, seed, results
        self.keys = {**KEYS, "data_path": str(options.work / "data"), "seed": seed}
        self.keys["checkpoint_dir"] = str(options.work / f"saved-{seed}")

    def data(self, name: str, **size: int) -> Small:
        """A sample of a dataset."""
        options = self.options
        paths = options.data_path, options.content_path, options.work / "data"
        return prepared(ORIGIN.get(name, name), *paths, **size, label=name)

    def folder(self, label: str, sources: list[str], **keys: Any) -> Path:
        """The folder of a pre-trained model, made if it is not there."""
        folder = self.options.work / f"{label}-{self.seed}"
        if not (folder / "model" / "model.json").is_file():
            start = time.process_time()
            given = {**self.keys, **keys, "pretrain_sources": sources, "pretrain_dir": str(folder)}
            pretrain(None, given, model="UniversalSASRec")
            print(f"{label}: {time.process_time() - start:.0f} CPU s", flush=True)
        return folder

    def has(self, system: str, **row: Any) -> bool:
        """Whether an earlier run has stored a result."""
        return self.results.has({"system": system, "seed": self.seed, **row})

    def add(self, system: str, **row: Any) -> None:
        """Store a result."""
        self.results.add({"system": system, "seed": self.seed, **row})

    def pretrained(self, folder: Path, dataset: str = PROFILES) -> Any:
        """The model of a folder on a dataset."""
        keys = {**self.keys, "train_stage": "zero_shot", "pretrained": str(folder / "model")}
        return loaded(dataset, keys)[1]

    # PeterRec

    def peterrec(self) -> None:
        """Profiles from frozen vectors, and by training on them."""
        small = self.data(PROFILES, n_last=LAST, n_users=PROFILE_USERS)
        self.data(FILMS, n_last=LAST, n_users=FILM_USERS)
        labels = profiles(self.options.data_path, list(small.histories))
        histories = histories_of(small, loaded(PROFILES, self.keys)[2][0]._dataset, LAST)
        own = self.pretrained(self.folder("next-item", [PROFILES]))
        films = self.folder("next-item-films", [FILMS])
        models = {"pre-trained on ml-100k": own, "pre-trained on ml-1m": self.pretrained(films)}
        self.frozen("peterrec", "items, SVD", item_svd(small, HIDDEN), labels)
        self.frozen("peterrec", "mean of item contents", content_means(own, histories), labels)
        if not self.has("peterrec", method="BPR user embedding"):
            self.frozen("peterrec", "BPR user embedding", self.bpr(small), labels)
        if not self.has("peterrec", method="SASRec of ids, mean"):
            models["SASRec of ids"] = trained(PROFILES, {**self.keys, "item_encoder": "id"})[0]
        for name, model in models.items():
            for pooling in ("last", "mean"):
                self.frozen("peterrec", f"{name}, {pooling}", vectors_of(model, histories, pooling), labels)
        for attribute in ("gender", "age"):
            for n_labels in (FEW_LABELS, PROFILE_USERS):
                for how in ("from scratch", "all", "adapters", "head alone"):
                    if not self.has("peterrec", method=f"trained: {how}", attribute=attribute, labels=n_labels):
                        self.tuned(attribute, how, films, histories, labels[attribute], n_labels)

    def frozen(self, system: str, method: str, vectors: np.ndarray, labels: dict[str, np.ndarray]) -> None:
        """Probes of frozen vectors."""
        for attribute, classes in labels.items():
            if self.has(system, method=method, attribute=attribute):
                continue
            found = probe(vectors, classes, N_FOLDS, self.seed)
            row = {"method": method, "attribute": attribute, "accuracy": found.accuracy, "auc": found.auc}
            self.add(system, **row, majority=found.majority)

    def bpr(self, small: Small) -> np.ndarray:
        """User embeddings of RecBole's BPR."""
        keys = {key: value for key, value in self.keys.items() if key not in ("load_col", "n_layers")}
        keys |= {"embedding_size": HIDDEN, "epochs": 20, "load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
        model, dataset, _ = trained(PROFILES, keys, "BPR")
        rows = dataset.token2id("user_id", list(small.histories))
        return model.user_embedding.weight.detach().numpy()[rows]

    def tuned(
        self, attribute: str, how: str, folder: Path, histories: Histories, classes: np.ndarray, n_labels: int
    ) -> None:
        """Training on an attribute of the most ``n_labels`` users of each fold of the probe."""
        names, codes = np.unique(classes, return_inverse=True)
        predicted, areas, start = codes.copy(), [], time.process_time()
        for fold, (fitted, tested) in enumerate(user_folds(classes, N_FOLDS, self.seed)):
            stage = {} if how == "from scratch" else {"train_stage": "zero_shot", "pretrained": str(folder / "model")}
            _, model, _ = loaded(PROFILES, {**self.keys, **stage, "seed": self.seed + fold})
            if how == "adapters":
                train_only(model, model.trm_encoder.layer, "adapters", 16)
            elif how == "head alone":
                model.requires_grad_(False)
            classifier = UserClassifier(model, HIDDEN, len(names), model.mean_vectors)
            target = torch.from_numpy(codes)
            fitted = np.random.default_rng(self.seed).permutation(fitted)[:n_labels]
            fit_user_labels(classifier, histories, target, fitted, self.seed, 0.003, batch_size=64, epochs=40)
            chances = class_scores(classifier, histories, tested).softmax(dim=1).numpy()
            predicted[tested] = chances.argmax(axis=1)
            areas.append(area_under_curve(chances, codes[tested]))
        self.add(
            "peterrec",
            method=f"trained: {how}",
            attribute=attribute,
            labels=n_labels,
            accuracy=float((predicted == codes).mean()),
            auc=float(np.mean(areas)),
            weights=trained_weights(classifier)[0],
            seconds=time.process_time() - start,
        )

    # CLUE

    def clue(self) -> None:
        """Contrast against next items, on the same tasks from frozen vectors."""
        small = self.data(PROFILES, n_last=LAST, n_users=PROFILE_USERS)
        labels = profiles(self.options.data_path, list(small.histories))
        _, untrained, parts = loaded(PROFILES, self.keys)
        models = {
            "untrained": untrained,
            "next item": self.pretrained(self.folder("next-item", [PROFILES])),
            "contrast": self.pretrained(self.folder("contrast", [PROFILES], pretrain_objective="user_contrast")),
        }
        histories = histories_of(small, parts[0]._dataset, LAST)
        for method, model in models.items():
            self.frozen("clue", method, vectors_of(model, histories, "mean"), labels)
            if not self.has("clue", method=method, attribute="next item"):
                pooling = "last" if method == "next item" else "mean"  # as in its training
                ndcg10 = next_item(model, parts, self.seed, pooling)
                self.add("clue", method=method, attribute="next item", ndcg=ndcg10)

    # Conure

    def conure(self) -> None:
        """Sources in turn, plainly and with masks, by their names forwards and backwards."""
        sizes = {"n_last": LAST_OF_TASKS, "n_users": USERS_OF_TASKS}
        samples = {name: self.data(name, **sizes) for name in TASKS}
        self.keys |= {"MAX_ITEM_LIST_LENGTH": LAST_OF_TASKS}
        for name, small in samples.items():
            if not self.has("conure", method="alone", dataset=name):
                self.tested({**self.keys, "train_stage": "in_domain"}, small, method="alone", order="", when="own")
        for order in (TASKS, TASKS[::-1]):
            for method in ("in_turn", "task_masks"):
                label = f"{method}-{order[0]}"
                folder = self.folder(label, list(order), pretrain_order=method)
                for name, small in samples.items():
                    models = {"own": folder / "tasks" / name, "last": folder / "model"}
                    if method == "task_masks":
                        del models["last"]  # the model of a source stays as it is
                    for when, model in models.items():
                        row = {"method": method, "order": order[0], "when": when}
                        if not self.has("conure", dataset=name, **row):
                            keys = {**self.keys, "train_stage": "zero_shot", "pretrained": str(model)}
                            self.tested(keys, small, **row)

    def tested(self, keys: dict[str, Any], small: Small, **row: str) -> None:
        """Store what a model has on the test part of a dataset."""
        model, dataset, metrics = trained(small.name, keys)
        found = hits(model, small.histories.values(), dataset.field2token_id["item_id"])
        own = {"dataset": small.name, "ndcg": metrics["ndcg@10"], "users n": len(small.histories), "hits": found}
        self.add("conure", **row, **own)


def next_item(model: Any, parts: list[Any], seed: int, pooling: str) -> float:
    """NDCG@10 on the test part of a linear layer that is trained on frozen vectors of the training histories."""
    train, valid, test = (_frozen(model, part.dataset.inter_feat, pooling) for part in parts)
    torch.manual_seed(seed)
    head = torch.nn.Linear(HIDDEN, model.n_items)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.003)
    spread = train[0].std(dim=0) + 1e-6
    best, waited, result = -1.0, 0, 0.0
    for _ in range(12):
        for rows in torch.randperm(len(train[0])).split(512):
            optimizer.zero_grad()
            functional.cross_entropy(head(train[0][rows] / spread), train[1][rows]).backward()
            optimizer.step()
        value = _ndcg(head, valid, spread)
        if value > best:
            best, waited, result = value, 0, _ndcg(head, test, spread)
        elif (waited := waited + 1) >= 3:
            break
    return result


@torch.no_grad()
def _frozen(model: Any, rows: Any, pooling: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    items = rows[model.ITEM_SEQ]
    vectors = vectors_of(model, (items, rows[model.ITEM_SEQ_LEN]), pooling)
    return torch.from_numpy(vectors), rows[model.ITEM_ID], items


@torch.no_grad()
def _ndcg(head: torch.nn.Linear, rows: tuple[torch.Tensor, torch.Tensor, torch.Tensor], spread: torch.Tensor) -> float:
    scores = head(rows[0] / spread).scatter(1, rows[2], -torch.inf)
    scores[:, 0] = -torch.inf  # the padding id
    hits = scores.topk(10, dim=1).indices == rows[1][:, None]
    return float(ndcg(hits.numpy(), np.ones(len(hits), dtype=np.int64)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", choices=["peterrec", "conure", "clue"], action="append")
    parser.add_argument("--data-path", type=Path)
    parser.add_argument("--content-path", type=Path)
    parser.add_argument("--seeds", type=int, nargs="*", default=[2020, 2021])
    parser.add_argument("--work", type=Path, default=Path("results/user_systems"), help="folder for data and models")
    parser.add_argument("--output", type=Path, default=Path("results/user_systems.jsonl"))
    parser.add_argument("--page", type=Path, help="write the tables into this page instead")
    options = parser.parse_args()
    sys.argv[1:] = []  # RecBole reads the command line, too
    results = Results(options.output)
    if options.page:
        fill(options.page, tables(results.rows))
        return
    torch.set_num_threads(1)
    for seed in options.seeds:
        for system in options.system or ["peterrec", "conure", "clue"]:
            getattr(Benchmark(options, seed, results), system)()


if __name__ == "__main__":
    main()
