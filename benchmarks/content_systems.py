"""Published systems of recommendation by content, each at its smallest form in the model UniversalSASRec.

    python benchmarks/content_systems.py --system morec --data-path DATA --content-path CONTENT
    python benchmarks/content_systems.py --page docs/systems.md      # writes the tables into the page

Systems: transrec, its targets of few users (few), words and modalities, morec, adapterrec, ninerec, tcf. A run is one
model on one target. Runs that two systems share are made once. The last item of a user is the test part, the one before
it the validation part, and all items are ranked.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from content_systems_data import N_USERS, Small, prepared
from content_systems_ranks import K, hits, ranks
from content_systems_tables import tables
from harness import Results
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_trainer, init_seed
from report import fill
from torch import nn

from recbole_universal import UniversalSASRec, pretrain
from recbole_universal.plugin.item_content import item_content

KEYS = {
    "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "text"]},
    "content_fields": ["text"],
    "content_join_z": None,  # the texts are known to belong to the items, which a small sample may not show
    **{"n_layers": 1, "n_heads": 2, "hidden_size": 64, "inner_size": 128, "MAX_ITEM_LIST_LENGTH": 10},
    **{"hidden_dropout_prob": 0.3, "attn_dropout_prob": 0.3, "train_batch_size": 256, "eval_batch_size": 1024},
    **{"epochs": 15, "stopping_step": 2, "metrics": ["NDCG", "Recall"], "topk": [10], "valid_metric": "NDCG@10"},
    **{"show_progress": False, "state": "ERROR", "learning_rate": 0.003},
}
#: Sources that one model is pre-trained on, and the most users of each: few large ones, and many small ones.
LARGE, DIVERSE = (
    "amazon-industrial+coco-mooc",
    "amazon-industrial+anime+citations-a+coco-mooc+lastfm-2k+ml-1m-seq+yelp-s3rec",
)
MIXES = {LARGE: 8000, DIVERSE: 1000}
TARGETS = ("amazon-office-text", "bx-books", "hm-copurchase")
MATRIX = ("amazon-industrial", "amazon-office-text", "coco-mooc", "ml-latest-small")
MOREC = ("amazon-industrial", "coco-mooc", "ml-latest-small")
TCF = ("amazon-industrial", "ml-latest-small")
ENCODERS = ("tfidf", "distil", "minilm")
NEW_SHARE, FIRST_SEED = 0.2, 2020
SYSTEMS = ("morec", "transrec", "few", "words", "modalities", "adapterrec", "tcf", "ninerec")
#: Users of a target of TransRec and AdapterRec. Each seed draws others.
MANY, FEW = 400, 100
#: A small target has few batches in an epoch. The first seed with many users has each of these learning rates. All
#: other runs have the one that was best on the validation part there.
TARGET_KEYS = {"epochs": 60, "stopping_step": 4}
TARGET_RATES = (0.003, 0.01)


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        target: dataset.
        seed: of the weights and the batches.
        items: ``item_encoder``.
        content: encoders of texts, and ``image`` for the images; joined by +. ``text | image`` gives each item one.
        pretrained: sources joined by +, whose model is taken over; "": new weights.
        tuned: ``zero_shot``, or ``finetune_parameters``.
        new_items: whether a fifth of the items is taken out of the interactions.
        n_users: users of the target, others for each seed; 0: ``N_USERS``, the same for each seed.
    """

    target: str
    seed: int
    items: str = "content"
    content: str = "distil"
    pretrained: str = ""
    tuned: str = "all"
    new_items: bool = False
    n_users: int = 0


def runs_of(system: str, seed: int) -> Iterator[Run]:
    """The runs of a system, in the order in which they are made."""
    if system == "morec":
        for target in MOREC:
            for items in ("id", "content", "id_plus_content"):
                yield Run(target, seed, items, new_items=True)
    elif system in ("transrec", "few"):
        n_users = MANY if system == "transrec" else FEW
        for target in TARGETS:
            yield Run(target, seed, "id", n_users=n_users)
            yield Run(target, seed, n_users=n_users)
            for mix in MIXES:
                for tuned in ("zero_shot", "all"):
                    yield Run(target, seed, pretrained=mix, tuned=tuned, n_users=n_users)
    elif system == "words":
        for target in TARGETS:
            yield Run(target, seed, "words", n_users=MANY)
            for tuned in ("zero_shot", "all"):
                yield Run(target, seed, "words", pretrained=DIVERSE, tuned=tuned, n_users=MANY)
    elif system == "modalities":
        for content in ("distil", "image", "distil+image", "distil | image"):
            yield Run("hm-copurchase", seed, content=content)
    elif system == "adapterrec":
        for target in TARGETS:
            yield Run(target, seed, n_users=MANY)
            for tuned in ("zero_shot", "all", "adapters", "lora", "head"):
                yield Run(target, seed, pretrained=DIVERSE, tuned=tuned, n_users=MANY)
    elif system == "ninerec":
        for target in MATRIX:
            yield Run(target, seed, "id")
            yield Run(target, seed)
        for source in MATRIX:
            for target in MATRIX:
                if target != source:
                    yield Run(target, seed, pretrained=source, tuned="zero_shot")
                    yield Run(target, seed, pretrained=source)
    else:
        for target in TCF:
            yield Run(target, seed, "id")
            for content in ENCODERS:
                yield Run(target, seed, content=content)


class Lab:
    """Datasets and pre-trained models, each made once."""

    def __init__(self, data: Path, content: Path, work: Path):
        self.data, self.content, self.work = data, content, work
        self._sets: dict[tuple, Small] = {}

    def sample(self, name: str, n_users: int = N_USERS, draw: int = 0, new_share: float = 0.0) -> Small:
        """A sample of a dataset, written at the first call."""
        key = name, n_users, draw, new_share
        if key not in self._sets:
            label = "" if n_users == N_USERS else f"{name}-{n_users}-{draw}"
            folders = self.data, self.content, self.work / "data"
            self._sets[key] = prepared(name, *folders, new_share, n_users, label=label, draw=draw)
        return self._sets[key]

    def target(self, run: Run) -> Small:
        """The sample of a run."""
        if run.n_users:
            return self.sample(run.target, run.n_users, run.seed % 10)
        return self.sample(run.target, new_share=NEW_SHARE if run.new_items else 0.0)

    def keys(self, run: Run) -> dict[str, Any]:
        """The config keys of a run."""
        keys = {**KEYS, "data_path": str(self.work / "data"), "seed": run.seed, "item_encoder": run.items}
        keys |= {"universal_cache_dir": str(self.work / "cache"), "checkpoint_dir": str(self.work / "saved")}
        names = [] if run.items in ("id", "words") else run.content.replace(" | ", "+").split("+")
        keys["content_encoders"] = [name for name in names if name != "image"]
        if "image" in names:
            keys["content_files"] = {"image": str(self._images(run.target, run.content))}
        if run.n_users:
            keys |= TARGET_KEYS
        if run.pretrained:
            for key in ("n_layers", "n_heads", "hidden_size", "inner_size", "MAX_ITEM_LIST_LENGTH"):
                del keys[key]
            keys["pretrained"] = str(self.pretrained(run))
            keys["train_stage"] = "zero_shot" if run.tuned == "zero_shot" else "finetune"
            if run.tuned != "zero_shot":
                keys["finetune_parameters"] = run.tuned
        return keys

    def _images(self, name: str, content: str) -> Path:
        """The images; for ``text | image`` those of half of the items, whose texts :meth:`_fitted` takes away."""
        file = self.content / name / f"{name}.image_efflite0.npz"
        if " | " not in content:
            return file
        half = self.work / f"{name}-half.npz"
        with np.load(file) as arrays:
            chosen = np.arange(len(arrays["ids"])) % 2 == 0
            np.savez(half, ids=arrays["ids"][chosen], feat=arrays["feat"][chosen])
        return half

    def _model_of(self, run: Run) -> Path:
        """Folder of the pre-trained model of a run. That of several sources serves all seeds."""
        seed = FIRST_SEED if "+" in run.pretrained else run.seed
        return self.work / "models" / f"{run.pretrained}-{run.items}-{seed}"

    def pretrained(self, run: Run) -> Path:
        """The pre-trained model of a run, trained now if it is not there."""
        folder = self._model_of(run)
        if not (folder / "model" / "model.json").is_file() and "+" not in run.pretrained:
            self.made(Run(run.pretrained, run.seed, run.items), (KEYS["learning_rate"],))
        elif not (folder / "model" / "model.json").is_file():
            names = [self.sample(name, MIXES[run.pretrained]).name for name in run.pretrained.split("+")]
            keys = {**self.keys(Run(names[0], FIRST_SEED, run.items, run.content)), "pretrain_sources": names}
            start = time.process_time()
            pretrain(config_dict={**keys, "pretrain_dir": str(folder)}, model="UniversalSASRec")
            print(f"pre-trained on {run.pretrained}, {run.items}: {time.process_time() - start:.0f} s", flush=True)
        return folder / "model"

    def made(self, run: Run, rates: tuple[float, ...]) -> dict[str, Any]:
        """Metrics, numbers of weights and seconds of a run, with the learning rate that is best on validation."""
        rows = [self._fitted(run, self.target(run), rate) for rate in rates]
        return max(rows, key=lambda row: row["valid"])

    def _fitted(self, run: Run, sample: Small, rate: float) -> dict[str, Any]:
        config = Config("UniversalSASRec", sample.name, config_dict={**self.keys(run), "learning_rate": rate})
        init_seed(run.seed, True)
        dataset = create_dataset(config)
        train, valid, test = data_preparation(config, dataset)
        init_seed(run.seed, True)
        model = UniversalSASRec(config, train.dataset)
        if " | " in run.content:
            vectors = dict(item_content(config, train.dataset).vectors)
            texts = next(name for name in vectors if name != "image")
            vectors[texts] = vectors[texts] * ~vectors["image"].any(dim=1, keepdim=True)
            model.read_catalogue(train.dataset, type(item_content(config, train.dataset))(vectors))
        trainer = get_trainer(config["MODEL_TYPE"], "UniversalSASRec")(config, model)
        start = time.process_time()
        trainer.fit(train, valid, verbose=False, saved=True)
        seconds = time.process_time() - start
        tested = trainer.evaluate(test, load_best_model=True)
        row = {"ndcg": tested["ndcg@10"], "recall": tested["recall@10"], "seconds": round(seconds, 1)}
        row |= {"trained": model.n_trained, "weights": model.n_weights, "items n": dataset.item_num - 1}
        row |= {"epochs": len(trainer.train_loss_dict), "rate": rate, "valid": float(trainer.best_valid_score)}
        if run.n_users:
            row |= {"users n": len(sample.histories)}
            row |= {"hits": hits(model, sample.histories.values(), dataset.field2token_id["item_id"])}
        if run.new_items:
            row |= self._with_new_items(run, sample, model, dataset)
        exported = Path(trainer.saved_model_file).with_suffix("")
        own = self._model_of(Run(run.target, run.seed, run.items, run.content, pretrained=run.target))
        if run == Run(run.target, run.seed, run.items) and exported.is_dir() and not own.exists():
            shutil.copytree(exported, own / "model")  # it is the model that is pre-trained on this dataset
        shutil.rmtree(self.work / "saved", ignore_errors=True)
        return row

    def _with_new_items(self, run: Run, small: Small, model: UniversalSASRec, dataset: Any) -> dict[str, float]:
        """Metrics when the catalogue has the new items, too, which the training has not seen as candidates."""
        config = Config("UniversalSASRec", f"{small.name}-all", config_dict=self.keys(run))
        init_seed(run.seed, True)
        everything = create_dataset(config)
        inside = everything.build()[0]
        model.read_catalogue(inside, item_content(config, inside))
        tokens = everything.field2id_token["item_id"]
        if model.item_embedding.ids is not None:
            old, new = model.item_embedding.ids.weight, nn.Embedding(len(tokens), model.hidden_size)
            nn.init.normal_(new.weight, std=0.02)  # an item without interactions keeps a first vector
            for index, token in enumerate(tokens):
                if token in dataset.field2token_id["item_id"]:
                    new.weight.data[index] = old.data[dataset.field2token_id["item_id"][token]]
            model.item_embedding.ids = new
        code = everything.field2token_id["item_id"]
        new_codes = torch.tensor([code[item] for item in small.new_items])
        warm = [(items[:-1], items[-1]) for items in small.histories.values() if len(items) > 2]
        cold = [(small.histories[user], item) for user, item in small.new_of if len(small.histories.get(user, ())) > 1]
        ranks_warm = ranks(model, warm, code)
        ranks_cold = ranks(model, cold, code)
        among = ranks(model, cold, code, new_codes)
        both = np.concatenate([ranks_warm, ranks_cold])
        parts = {"warm": ranks_warm, "cold": ranks_cold, "among new": among, "both": both}
        row = {f"{name} recall": float((part < K).mean()) for name, part in parts.items()}
        return row | {"new items n": len(small.new_items), "cold n": len(cold), "warm n": len(warm)}


def learning_rates(run: Run, rows: list[dict]) -> tuple[float, ...]:
    """The learning rates of a run, by what is known of the first seed."""
    if not run.n_users or run.tuned == "zero_shot":
        return (KEYS["learning_rate"],)
    first = asdict(replace(run, seed=FIRST_SEED, n_users=MANY))
    known = [row["rate"] for row in rows if all(row.get(key) == value for key, value in first.items())]
    return tuple(known) or TARGET_RATES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--system", nargs="*", default=["morec", "transrec", "modalities", "adapterrec", "tcf", "ninerec"]
    )
    parser.add_argument("--data-path", type=Path, default=Path("dataset"))
    parser.add_argument("--content-path", type=Path, default=Path("content"))
    parser.add_argument("--seeds", type=int, nargs="*", default=[FIRST_SEED, FIRST_SEED + 1])
    parser.add_argument(
        "--work", type=Path, default=Path("results/content_systems"), help="folder of models and samples"
    )
    parser.add_argument("--output", type=Path, default=Path("results/content_systems.jsonl"))
    parser.add_argument("--page", type=Path, help="write the tables into this page instead")
    options = parser.parse_args()
    results = Results(options.output)
    if options.page:
        fill(options.page, tables(results.rows))
        return
    lab = Lab(options.data_path, options.content_path, options.work)
    for seed in options.seeds:
        for system in options.system:
            for run in runs_of(system, seed):
                if not results.has(asdict(run)):
                    results.add({**asdict(run), **lab.made(run, learning_rates(run, results.rows))})


if __name__ == "__main__":
    main()
