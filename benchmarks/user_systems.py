"""PeterRec, Conure and CLUE on UniversalSASRec: user vectors, sources in turn, and contrast of users.

    python benchmarks/user_systems.py --system peterrec --data-path DATA --content-path CONTENT
    python benchmarks/user_systems.py --page docs/systems_users.md          # writes the tables into the page

Results are appended to results/user_systems.jsonl. Each user's last interactions are used. Profiles are those of
ml-100k, the only dataset here that has a file of users. Everything is small: one layer, 64 dimensions, one core.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import recbole
import scipy.sparse as sp
import torch
from content_systems_data import Small, prepared
from harness import Results
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed
from report import fill
from sklearn.decomposition import TruncatedSVD
from torch.nn import functional
from user_systems_tables import tables

from recbole_universal import pretrain
from recbole_universal.metrics import ndcg
from recbole_universal.sequential.adapters import train_only, trained_weights
from recbole_universal.sequential.probe import area_under_curve, probe, user_folds
from recbole_universal.sequential.user_labels import UserClassifier, class_scores, fit_user_labels

PROFILES, SOURCE = "ml-100k-last", "ml-latest-small"  # RecBole reads ml-100k from its own folder alone
ORIGIN = {PROFILES: "ml-100k"}
TASKS = ("anime", "coco-mooc", "hm-copurchase")
HIDDEN, LAST, LAST_OF_TASKS, USERS_OF_TASKS, N_FOLDS = 64, 20, 12, 500, 3
KEYS: dict[str, Any] = {
    "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "text"]},
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
    "hidden_size": HIDDEN,
    "inner_size": 2 * HIDDEN,
    "n_layers": 1,
    "hidden_dropout_prob": 0.2,
    "attn_dropout_prob": 0.2,
    "MAX_ITEM_LIST_LENGTH": LAST,
    "train_batch_size": 256,
    "learning_rate": 0.003,
    "epochs": 8,
    "stopping_step": 3,
    "metrics": ["NDCG", "Recall"],
    "topk": [10],
    "valid_metric": "NDCG@10",
    "show_progress": False,
    "state": "ERROR",
    "gpu_id": "",
}
Histories = tuple[torch.Tensor, torch.Tensor]


def loaded(dataset: str, keys: dict[str, Any], model: str = "UniversalSASRec") -> tuple[Any, Any, list[Any]]:
    """A config, a model, and the loaders of the three parts."""
    config = Config(model, dataset, config_dict=dict(keys))
    init_seed(config["seed"], True)
    parts = list(data_preparation(config, create_dataset(config)))
    init_seed(config["seed"], True)
    return config, get_model(model)(config, parts[0]._dataset).to(config["device"]), parts


def trained(dataset: str, keys: dict[str, Any], model: str = "UniversalSASRec") -> tuple[Any, Any, dict[str, float]]:
    """A model with the weights of its best epoch, its dataset and its metrics on the test part."""
    config, network, (train, valid, test) = loaded(dataset, keys, model)
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
    trainer.fit(train, valid, verbose=False, saved=True, show_progress=False)
    metrics = trainer.evaluate(test, load_best_model=True, show_progress=False)
    return network.eval(), train._dataset, {name: float(value) for name, value in metrics.items()}


def histories_of(small: Small, dataset: Any) -> Histories:
    """The last items of all users by RecBole's ids, with their number."""
    lists = [dataset.token2id("item_id", items[-LAST:]) for items in small.histories.values()]
    items = torch.zeros((len(lists), LAST), dtype=torch.int64)
    for row, one in enumerate(lists):
        items[row, : len(one)] = torch.from_numpy(np.asarray(one))
    return items, torch.tensor([len(one) for one in lists])


@torch.no_grad()
def vectors_of(model: Any, histories: Histories) -> np.ndarray:
    """User vectors, float32 [n_users, dim]."""
    model.eval()
    return torch.cat([model(*block) for block in zip(*(one.split(256) for one in histories), strict=True)]).numpy()


def profiles(data: Path, users: list[str]) -> dict[str, np.ndarray]:
    """Gender, age group and occupation of some users of ml-100k."""
    folders = (data, Path(recbole.__file__).parent / "dataset_example")
    file = next(each / "ml-100k" / "ml-100k.user" for each in folders if (each / "ml-100k").is_dir())
    frame = pd.read_csv(file, sep="\t", dtype=str).set_index("user_id:token").loc[users]
    age = pd.cut(frame["age:token"].astype(int), [0, 24, 34, 44, 120], labels=["-24", "25-34", "35-44", "45-"])
    return {"gender": frame["gender:token"].to_numpy(), "age": age.astype(str).to_numpy()} | {
        "occupation": frame["occupation:token"].to_numpy()
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
        small = self.data(PROFILES, n_last=LAST)
        self.data(SOURCE, n_last=LAST)
        labels = profiles(self.options.data_path, list(small.histories))
        own = self.folder("next-item", [PROFILES])
        dataset = loaded(PROFILES, self.keys)[2][0]._dataset
        histories = histories_of(small, dataset)
        ids, elsewhere = {**self.keys, "item_encoder": "id"}, ("next-item-elsewhere", [SOURCE])
        for method, vectors in {
            "items, SVD": lambda: item_svd(small),
            "mean of item contents": lambda: content_means(self.pretrained(own), histories),
            "BPR user embedding": lambda: self.bpr(small),
            "pre-trained on ml-100k": lambda: vectors_of(self.pretrained(own), histories),
            f"pre-trained on {SOURCE}": lambda: vectors_of(self.pretrained(self.folder(*elsewhere)), histories),
            "SASRec of ids": lambda: vectors_of(trained(PROFILES, ids)[0], histories),
        }.items():
            if not self.has("peterrec", method=method):
                self.frozen("peterrec", method, vectors(), labels)
        for attribute in ("gender", "age"):
            for how in ("from scratch", "all", "adapters", "head alone"):
                if not self.has("peterrec", method=f"trained: {how}", attribute=attribute):
                    self.tuned(attribute, how, own, histories, labels[attribute])

    def frozen(self, system: str, method: str, vectors: np.ndarray, labels: dict[str, np.ndarray]) -> None:
        """Probes of frozen vectors."""
        for attribute, classes in labels.items():
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

    def tuned(self, attribute: str, how: str, folder: Path, histories: Histories, classes: np.ndarray) -> None:
        """Training on an attribute, by the folds of the probe."""
        names, codes = np.unique(classes, return_inverse=True)
        predicted, areas, start = codes.copy(), [], time.process_time()
        for fold, (fitted, tested) in enumerate(user_folds(classes, N_FOLDS, self.seed)):
            stage = {} if how == "from scratch" else {"train_stage": "zero_shot", "pretrained": str(folder / "model")}
            _, model, _ = loaded(PROFILES, {**self.keys, **stage, "seed": self.seed + fold})
            if how == "adapters":
                train_only(model, model.trm_encoder.layer, "adapters", 16)
            elif how == "head alone":
                model.requires_grad_(False)
            classifier = UserClassifier(model, HIDDEN, len(names))
            fit_user_labels(classifier, histories, torch.from_numpy(codes), fitted, self.seed, batch_size=64, epochs=25)
            chances = class_scores(classifier, histories, tested).softmax(dim=1).numpy()
            predicted[tested] = chances.argmax(axis=1)
            areas.append(area_under_curve(chances, codes[tested]))
        self.add(
            "peterrec",
            method=f"trained: {how}",
            attribute=attribute,
            accuracy=float((predicted == codes).mean()),
            auc=float(np.mean(areas)),
            weights=trained_weights(classifier)[0],
            seconds=time.process_time() - start,
        )

    # CLUE

    def clue(self) -> None:
        """Contrast against next items, on the same tasks from frozen vectors."""
        small = self.data(PROFILES, n_last=LAST)
        labels = profiles(self.options.data_path, list(small.histories))
        models = {
            "untrained": loaded(PROFILES, self.keys)[1],
            "next item": self.pretrained(self.folder("next-item", [PROFILES])),
            "contrast": self.pretrained(self.folder("contrast", [PROFILES], pretrain_objective="user_contrast")),
        }
        _, _, parts = loaded(PROFILES, self.keys)
        histories = histories_of(small, parts[0]._dataset)
        for method, model in models.items():
            if self.has("clue", method=method, attribute="next item"):
                continue
            self.frozen("clue", method, vectors_of(model, histories), labels)
            self.add("clue", method=method, attribute="next item", ndcg=next_item(model, parts, self.seed))

    # Conure

    def conure(self) -> None:
        """Sources in turn, plainly and with masks."""
        for name in TASKS:
            self.data(name, n_last=LAST_OF_TASKS, n_users=USERS_OF_TASKS)
        self.keys |= {"MAX_ITEM_LIST_LENGTH": LAST_OF_TASKS}
        for order in ("in_turn", "task_masks"):
            folder = self.folder(order, list(TASKS), pretrain_order=order)
            for name in TASKS:
                for when, model in (("own", folder / "tasks" / name), ("last", folder / "model")):
                    if not self.has("conure", method=order, dataset=name, when=when):
                        ndcg10 = self.zero_shot(model, name)
                        self.add("conure", method=order, dataset=name, when=when, ndcg=ndcg10)
        for name in TASKS[1:]:
            if self.has("conure", method="alone", dataset=name):
                continue
            ndcg10 = trained(name, {**self.keys, "train_stage": "in_domain"})[2]["ndcg@10"]
            self.add("conure", method="alone", dataset=name, when="own", ndcg=ndcg10)

    def zero_shot(self, model: Path, name: str) -> float:
        """NDCG@10 of a folder on the test part of a dataset."""
        keys = {**self.keys, "train_stage": "zero_shot", "pretrained": str(model)}
        return trained(name, keys)[2]["ndcg@10"]


def item_svd(small: Small) -> np.ndarray:
    """Truncated SVD of users by items."""
    items = pd.factorize(np.concatenate(list(small.histories.values())))[0]
    rows = np.repeat(np.arange(len(small.histories)), [len(one) for one in small.histories.values()])
    matrix = sp.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, items)))
    return TruncatedSVD(HIDDEN, random_state=0).fit_transform(matrix)


def content_means(model: Any, histories: Histories) -> np.ndarray:
    """Mean of the content vectors of a user's items, without any training."""
    (vectors,) = model.item_embedding._catalogue.vectors.values()
    return (vectors[histories[0]].sum(dim=1) / histories[1][:, None]).numpy()


def next_item(model: Any, parts: list[Any], seed: int) -> float:
    """NDCG@10 on the test part of a linear layer that is trained on frozen vectors of the training histories."""
    train, valid, test = (_frozen(model, part.dataset.inter_feat) for part in parts)
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
def _frozen(model: Any, rows: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    items = rows[model.ITEM_SEQ]
    return torch.from_numpy(vectors_of(model, (items, rows[model.ITEM_SEQ_LEN]))), rows[model.ITEM_ID], items


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
