"""Pre-train UniversalSASRec on several source datasets that share no item."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed
from tqdm import tqdm

from recbole_universal.app.pretrain_card import pretraining_card
from recbole_universal.app.pretrain_in_turn import TASKS, Values, check_order, fit_in_turn
from recbole_universal.app.pretrain_sources import check_source_folders, checked_sources, pretraining_folder
from recbole_universal.checkpoint import save_pretrained
from recbole_universal.plugin.dataset_checks import checking_all_models
from recbole_universal.plugin.item_content import item_content
from recbole_universal.plugin.sasrec_settings import ARCHITECTURE
from recbole_universal.plugin.sasrec_trainer import UniversalSASRecTrainer
from recbole_universal.plugin.universal_sasrec import UniversalSASRec
from recbole_universal.ranking.list_loss import refuse_divergence
from recbole_universal.sequential.item_inputs import ItemInputs
from recbole_universal.sequential.user_contrast import halves, user_contrast

logger = logging.getLogger(__name__)

# Keys of the target or of the stage, which a source does not take over.
_NOT_OF_SOURCES = ("dataset", "train_stage", "pretrain_sources", "pretrain_held_out", "universal_features")
# Keys of the model and its training, which all sources share.
_OF_THE_MODEL = (
    *ARCHITECTURE,
    *("hidden_dropout_prob", "attn_dropout_prob", "initializer_range", "loss_type", "learning_rate", "epochs"),
    *("stopping_step", "weight_decay", "learner", "seed", "device", "pretrain_objective", "pretrain_order"),
    "task_share",
)


@dataclass
class Source:
    """One source dataset.

    Attributes:
        config: its RecBole ``Config``.
        train, valid: its loaders.
        content: the content of its items.
        repeats: whether items of a history are candidates.
    """

    config: Config
    train: Any
    valid: Any
    content: ItemInputs
    repeats: bool | None = None

    def attach_to(self, model: UniversalSASRec) -> None:
        """Make a model read this source."""
        model.read_catalogue(self.train._dataset, self.content, self.repeats)


def pretrain_sasrec(config: Config, files: list[str] | None, keys: dict[str, Any] | None = None) -> Path:
    """Pre-train by a ``Config`` of ``model: UniversalSASRec`` and ``train_stage: pretrain``.

    With ``pretrain_order: mixed``, batches of all sources come in random order. A batch is ranked among the items of
    its source. The best epoch has the highest mean of ``valid_metric`` over the validation parts of
    ``pretrain_held_out``, or of the sources. With ``pretrain_objective: user_contrast`` it has the lowest mean of that
    loss. The other orders train on one source after another (:mod:`recbole_universal.app.pretrain_in_turn`).

    Args:
        config: the ``Config``.
        files: paths of yaml files that made it.
        keys: ``config_dict`` that made it.

    Returns:
        Folder of the model. The key ``pretrained`` of other runs takes it.

    Raises:
        ValueError: if a source is missing or not valid, or the training diverges.
        FileExistsError: if the folder holds a model of another program.
    """
    sources = checked_sources(config)
    check_order(config)
    configs = {name: _source_config(name, files, {**(keys or {}), **own}) for name, own in sources.items()}
    _check_model_keys(config, configs)
    check_source_folders(configs)
    with pretraining_folder(config) as folder:
        loaded = {name: _loaded(source) for name, source in configs.items()}
        _check_modalities(loaded)
        return _train(config, loaded, folder / "model")


def _source_config(name: str, files: list[str] | None, keys: dict[str, Any]) -> Config:
    own = {key: value for key, value in keys.items() if key not in _NOT_OF_SOURCES}
    own |= {"show_progress": False, "train_stage": "in_domain", "pretrained": None}
    source = Config(UniversalSASRec.__name__, name, files, copy.deepcopy(own))
    source["train_stage"] = "in_domain"  # also where a file or the command line sets it
    return source


def _check_model_keys(config: Config, sources: dict[str, Config]) -> None:
    """One model reads all sources, so no source has keys of the model for itself.

    Raises:
        ValueError: if one does, with the key.
    """
    for name, source in sources.items():
        for key in _OF_THE_MODEL:
            if source[key] != config[key]:
                raise ValueError(
                    f"pretrain_sources: [{name}] sets {key} to {source[key]!r}, but one model reads all sources; set "
                    f"{key} once for all, beside pretrain_sources (now {config[key]!r})."
                )


def _loaded(config: Config) -> Source:
    init_seed(config["seed"], config["reproducibility"])
    with checking_all_models():
        dataset = create_dataset(config)
        train, valid, _ = data_preparation(config, dataset)
    return Source(config, train, valid, item_content(config, train._dataset).to(config["device"]))


def _check_modalities(sources: dict[str, Source]) -> None:
    dims = {name: source.content.dims for name, source in sources.items()}
    first = next(iter(dims))
    for name, own in dims.items():
        if own != dims[first]:
            raise ValueError(
                f"pretrain_sources: the content of [{name}] is {own}, that of [{first}] is {dims[first]} (dimensions "
                "by name). All sources need the same."
            )


def _train(config: Config, sources: dict[str, Source], folder: Path) -> Path:
    held_out = config["pretrain_held_out"] or []
    trained = [name for name in sources if name not in held_out]
    init_seed(config["seed"], config["reproducibility"])
    model = UniversalSASRec(sources[trained[0]].config, sources[trained[0]].train._dataset).to(config["device"])
    for source in sources.values():
        source.repeats = model.has_repeats(source.train._dataset)
    generator = np.random.default_rng(config["seed"])

    def fit(names: Sequence[str]) -> Values:
        judged = {name: sources[name] for name in (held_out or names)}
        return _fit(model, [sources[name] for name in names], judged, config, generator)

    if config["pretrain_order"] == "mixed":
        values = fit(trained)
    else:
        tasks = fit_in_turn(model, trained, fit, config)
        for task in tasks:
            card = _card(config, task.sources, task.values)
            save_pretrained(folder.parent / TASKS / task.sources[-1], task.state, model.schema, card)
        values = tasks[-1].values
        model.load_state_dict(tasks[-1].state, strict=False)
    return save_pretrained(folder, model.transferable(), model.schema, _card(config, trained, values))


def _fit(
    model: UniversalSASRec,
    sources: Sequence[Source],
    judged: dict[str, Source],
    config: Config,
    generator: np.random.Generator,
) -> Values:
    """Train until no epoch is better on the judged sources. The model has the weights of the best epoch then.

    Returns:
        What was judged in that epoch, by source.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=config["learning_rate"], weight_decay=config["weight_decay"])
    judges = {name: UniversalSASRecTrainer(source.config, model) for name, source in judged.items()}
    best: tuple[float, dict[str, torch.Tensor], Values] | None = None
    waited = 0
    for epoch in tqdm(range(config["epochs"]), desc="epochs", disable=not config["show_progress"]):
        loss = _epoch(model, sources, optimizer, generator, config)
        values = {name: _value(judged[name], judge, model, config) for name, judge in judges.items()}
        mean = float(np.mean(list(values.values())))
        logger.info("pre-training, epoch %d: loss %.4f, validation %.4f %s", epoch, loss, mean, values)
        if best is None or mean > best[0]:
            best, waited = (mean, {k: v.clone() for k, v in model.transferable().items()}, values), 0
        elif (waited := waited + 1) > config["stopping_step"]:  # as RecBole counts
            break
    assert best is not None
    model.load_state_dict(best[1], strict=False)
    return best[2]


def _epoch(
    model: UniversalSASRec, sources: Sequence[Source], optimizer: Any, generator: np.random.Generator, config: Config
) -> float:
    """One pass over all sources; returns the mean loss."""
    model.train()
    losses = []
    draw = torch.Generator().manual_seed(int(generator.integers(2**31)))
    for source, batch in _mixed(sources, generator):
        source.attach_to(model)
        optimizer.zero_grad()
        loss = _loss(model, batch.to(config["device"]), config, draw)
        if loss is None:
            continue
        refuse_divergence(loss.item(), config["learning_rate"])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return _mean(losses, sources)


def _loss(model: UniversalSASRec, batch: Any, config: Config, draw: torch.Generator) -> torch.Tensor | None:
    """The loss of ``pretrain_objective``; ``None`` if no two histories of a batch can be told apart."""
    if config["pretrain_objective"] == "next_item":
        return model.calculate_loss(batch)
    users, lengths = batch[model.USER_ID], batch[model.ITEM_SEQ_LEN]
    long_enough = lengths >= 2
    if len(users[long_enough].unique()) < 2:
        return None
    views = halves(batch[model.ITEM_SEQ][long_enough], lengths[long_enough], draw)
    with model.item_embedding.one_table():
        return user_contrast(model.mean_vectors(*views[:2]), model.mean_vectors(*views[2:]), users[long_enough])


def _mixed(sources: Sequence[Source], generator: np.random.Generator) -> Iterator[tuple[Source, Any]]:
    """The batches of all sources in random order, each source's in its own order."""
    turns = generator.permutation(np.repeat(np.arange(len(sources)), [len(source.train) for source in sources]))
    loaders = [iter(source.train) for source in sources]
    for turn in turns:
        yield sources[turn], next(loaders[turn])


def _value(source: Source, judge: UniversalSASRecTrainer, model: UniversalSASRec, config: Config) -> float:
    """``valid_metric`` of a source, or minus the loss of ``user_contrast``; more is better."""
    source.attach_to(model)
    if config["pretrain_objective"] == "user_contrast":
        return -_contrast(source, model, config)
    judge.eval_collector.data_collect(source.train)
    score, _ = judge._valid_epoch(source.valid)
    return float(score) if source.config["valid_metric_bigger"] else -float(score)


@torch.no_grad()
def _contrast(source: Source, model: UniversalSASRec, config: Config) -> float:
    """The mean loss of the histories of the validation part, whose halves are the same in every epoch."""
    model.eval()
    draw = torch.Generator().manual_seed(config["seed"])
    losses = [_loss(model, batch[0].to(config["device"]), config, draw) for batch in source.valid]
    return _mean([loss.item() for loss in losses if loss is not None], [source])


def _mean(losses: list[float], sources: Sequence[Source]) -> float:
    if not losses:
        names = [source.config["dataset"] for source in sources]
        raise ValueError(
            f"pretrain_objective: no batch of {names} has two users with two items each in their histories, which "
            "user_contrast needs."
        )
    return float(np.mean(losses))


def _card(config: Config, sources: list[str], values: Values) -> dict[str, Any]:
    judged = "minus user_contrast" if config["pretrain_objective"] == "user_contrast" else config["valid_metric"]
    return pretraining_card(
        config,
        "A sequence model over item content, which ranks items of datasets it was not trained on.",
        sources,
        {f"{judged}, validation, {name}": value for name, value in values.items()},
    )
