"""Pre-train a model on many source datasets."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from recbole.config import Config
from recbole.data import create_dataset
from recbole.utils import get_tensorboard, init_logger, init_seed
from tqdm import tqdm

import recbole_universal
from recbole_universal.app.pretrain_card import pretraining_card
from recbole_universal.app.pretrain_sources import check_source_folders, checked_sources, pretraining_folder
from recbole_universal.array_store import ArrayStore, array_digest
from recbole_universal.checkpoint import save_pretrained
from recbole_universal.features.computation import CACHE_VERSION, library_versions
from recbole_universal.features.pipeline import FeaturePipeline
from recbole_universal.plugin.atomic_file import reading_as_text
from recbole_universal.plugin.dataset import pipeline_from_config, training_graph
from recbole_universal.plugin.dataset_checks import checking_all_models
from recbole_universal.plugin.universal_model import NETWORK_KEYS, UNIVERSAL_MODELS
from recbole_universal.ranking.candidate_lists import (
    Block,
    CandidateLists,
    blocks_from_arrays,
    blocks_to_arrays,
    check_blocks,
    list_store,
    make_candidate_lists,
)
from recbole_universal.ranking.network import UniversalNetwork
from recbole_universal.ranking.pretraining import Pretrainer


def pretrain(
    config_file_list: Sequence[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    model: str | None = "UniversalMLP",
) -> Path:
    """Pre-train a model on many source datasets and save it (``train_stage: pretrain``).

    RecBole loads, filters and splits each source. The candidate lists of its training part are stored in
    ``pretrain_lists``, the state of the training in ``pretrain_dir``. After a kill, the same call continues and ends
    with the same weights. UniversalSASRec stores no state: it starts again, and writes its model at the end.

    Args:
        config_file_list: Paths of yaml files, as for RecBole.
        config_dict: Parameters, as for RecBole. ``pretrain_sources`` is a list of dataset names, or of dicts with a
            key ``dataset`` and config keys of that source alone.
        model: Name of the model: ``UniversalMLP``, ``UniversalSequential`` or ``UniversalSASRec``, which reads items'
            content and no candidate lists. ``None``: the model that a file names.

    Returns:
        Folder of the model. The key ``pretrained`` of other runs takes it.

    Raises:
        ValueError: If no source is named, a source is named twice, a held-out one is no source, or another
            pre-training works in ``pretrain_dir``.
        FileExistsError: If ``pretrain_dir/model`` is a model of another program.
    """
    files = list(config_file_list) if config_file_list else None
    keys = {**(config_dict or {}), "train_stage": "pretrain"}
    return pretrain_by_config(Config(model, "ml-100k", files, keys), files, config_dict)


def pretrain_by_config(config: Config, files: list[str] | None, config_dict: dict[str, Any] | None = None) -> Path:
    """Pre-train by a ``Config`` of ``train_stage: pretrain``.

    Args:
        config: RecBole ``Config`` of the pre-training.
        files: Paths of the yaml files that made it, from which the configs of the sources are made.
        config_dict: Parameters that made it.

    Returns:
        As :func:`pretrain`.
    """
    if config["train_stage"] != "pretrain":
        raise ValueError(f"train_stage: must be pretrain for a pre-training, got {config['train_stage']!r}.")
    init_logger(config)
    if config["model"] not in (*UNIVERSAL_MODELS, "UniversalSASRec"):
        known = ", ".join((*UNIVERSAL_MODELS, "UniversalSASRec"))
        raise ValueError(f"model: must be one of {known} for a pre-training, got {config['model']!r}.")
    if config["model"] == "UniversalSASRec":
        from recbole_universal.app.pretrain_sasrec import pretrain_sasrec

        return pretrain_sasrec(config, files, config_dict)
    defaults = IN_ORDER if pipeline_from_config(config).needs_histories else {}
    sources = {
        name: source_config(name, files, {**defaults, **(config_dict or {}), **keys})
        for name, keys in checked_sources(config).items()
    }
    check_source_folders(sources)
    with pretraining_folder(config) as folder:
        return _train(config, sources, folder)


def _train(config: Config, sources: dict[str, Config], folder: Path) -> Path:
    pipeline = pipeline_from_config(config)
    lists = _lists_of_sources(config, sources, pipeline)
    init_seed(config["seed"], config["reproducibility"])
    network = UniversalNetwork(pipeline.dims, *(config[key] for key in NETWORK_KEYS))
    held_out = {name: CandidateLists(lists[name]) for name in config["pretrain_held_out"] or ()}
    trainer = Pretrainer(
        network,
        folder,
        seed=config["seed"],
        learning_rate=config["learning_rate"],
        epochs=config["epochs"],
        stopping_step=config["stopping_step"],
        batch_size=config["list_batch_size"],
        loss=config["list_loss"],
        device=config["device"],
        show_progress=config["show_progress"],
        tensorboard=get_tensorboard(logging.getLogger()),
        described={"package": recbole_universal.__version__, "features": pipeline.schema, "sources": list(lists)},
    )
    trained = [name for name in lists if name not in held_out]
    metrics = trainer.fit(CandidateLists([block for name in trained for block in lists[name]]), held_out)
    return save_pretrained(
        folder / "model",
        network.state_dict(),
        {"features": pipeline.schema, "network": network.arguments},
        _model_card(config, trained, metrics),
    )


def _lists_of_sources(config: Config, sources: dict[str, Config], pipeline: FeaturePipeline) -> dict[str, list[Block]]:
    """Blocks of candidate lists of each source."""
    store = list_store(os.path.expanduser(config["pretrain_lists"]))
    lists = {}
    bar = tqdm(sources.items(), desc="sources", unit="dataset", disable=not config["show_progress"])
    for name, source in bar:
        bar.set_postfix_str(name)
        lists[name] = source_lists(source, config, pipeline, store)
        if not lists[name]:
            raise ValueError(
                f"pretrain_sources: dataset [{name}] is too small, no held-out interaction is among any user's "
                "candidates; leave it out."
            )
    return lists


def _model_card(config: Config, sources: list[str], metrics: dict[str, float]) -> dict[str, Any]:
    return pretraining_card(
        config,
        "A recommender made of universal statistics of interactions, which ranks items of datasets it was not trained "
        "on.",
        sources,
        {f"NDCG@10 of held-out interactions, {name}": value for name, value in metrics.items()},
    )


#: Config keys of the sources of a model that reads the order, where they are not given.
IN_ORDER = {
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
}


def source_config(name: str, files: list[str] | None, keys: dict[str, Any]) -> Config:
    """RecBole ``Config`` of a source dataset.

    It names a model without universal columns, which candidate lists do not need.

    Args:
        name: The dataset.
        files: Paths of yaml files, as for RecBole.
        keys: Config keys of the source.
    """
    source = Config("BPR", name, files, {**keys, "show_progress": False})
    source["universal_features"] = None  # also where the command line sets it
    return source


def source_lists(source: Config, config: Config, pipeline: FeaturePipeline, store: ArrayStore) -> list[Block]:
    """Blocks of candidate lists of one source dataset, from ``store``, or made and stored.

    Args:
        source: RecBole ``Config`` of the source.
        config: RecBole ``Config`` of the pre-training. It sets the number of lists and their draw.
        pipeline: Computes the features.
        store: Store of the lists.
    """
    init_seed(source["seed"], source["reproducibility"])  # RecBole splits by the global random state
    with checking_all_models(), reading_as_text():  # as a model with universal columns reads it
        training = create_dataset(source).build()[0]
        graph = training_graph(training, pipeline)
    matrix, histories = graph.user_item, graph.histories
    settings = {
        "n_users": config["query_users"],
        "held_out_share": config["query_share"] or 0.0,
        "seed": config["seed"],
    }
    arrays = {"indptr": matrix.indptr.astype(np.int64), "indices": matrix.indices.astype(np.int64)}
    if histories is not None:
        arrays |= {"items": histories.items, "history indptr": histories.indptr, "times": histories.times}
    key = {
        "matrix": array_digest(arrays),
        "schema": pipeline.schema,
        "version": CACHE_VERSION,
        "pipeline_seed": pipeline.seed,
        "device": pipeline.device.type,
        "libraries": library_versions(),
        **settings,
    }

    def compute() -> dict[str, NDArray]:
        return blocks_to_arrays(make_candidate_lists(matrix, pipeline, **settings, histories=histories))

    def convert(arrays: Mapping[str, NDArray]) -> list[Block]:
        blocks = blocks_from_arrays(arrays)
        check_blocks(blocks, pipeline.dims)
        return blocks

    return store.get(source["dataset"], key, compute, convert)
