"""A model that RecBole trained and saved, and the best items of the users of its dataset."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import recbole
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from recbole.data import create_dataset
from recbole.data.interaction import Interaction
from recbole.utils import ModelType

from recbole_universal.graph.histories import Histories
from recbole_universal.plugin.base_model import model_named
from recbole_universal.plugin.pair_scores import pair_scores
from recbole_universal.plugin.saved_run import changed_config, random_state_of_run, read_checkpoint

_WHERE = "checkpoint (--checkpoint)"
#: Which vector of a history is that of its user.
POOLINGS = ("last", "mean")
# Sequential models whose ``forward`` returns chances of the items, and no vector.
_FORWARD_SCORES_ITEMS = ("RepeatNet",)
# Scores at a time, so that many items take no more memory than few.
_MOST_SCORES = 2**24


class TrainedModel:
    """A model of a checkpoint that RecBole saved, with its dataset built again from the config in the checkpoint.

    The model is that of ``recbole.quick_start.load_data_and_model``: it knows the training interactions of its users.
    A sequential model is asked about the latest interactions of all splits.

    Args:
        file: the checkpoint. It is a pickle, which runs code when it is opened.
        data_path: the folder that holds the folder of the dataset; ``None``: where it was in training.
        device: where to compute.

    Attributes:
        name: name of the model.
        dataset_name: name of the dataset.
        users: ids of the users with interactions, in the order of the dataset.
        items: ids of all items, in the order of the dataset.
        matrix: the interactions of all splits, float32 csr [n_users, n_items].
        repeats: whether items that a user has are recommended again: the key ``repeatable`` is set, which RecBole sets
            for every sequential model, and the interactions repeat items.

    Raises:
        FileNotFoundError: if the checkpoint or the folder of the dataset is missing.
        ValueError: if the file is no checkpoint, or its weights do not fit the dataset.
    """

    def __init__(
        self, file: str | os.PathLike[str], data_path: str | os.PathLike[str] | None = None, device: str = "cpu"
    ) -> None:
        checkpoint = read_checkpoint(file, _WHERE, map_location=device)
        config = checkpoint["config"]
        settings = {"device": torch.device(device), "single_spec": True, "local_rank": 0}
        config = self._config = changed_config(config, {**settings, "data_path": _data_folder(config, data_path)})
        self.name, self.dataset_name = config["model"], config["dataset"]
        with random_state_of_run(config):
            dataset = create_dataset(config)
            events = dataset.inter_feat
            self._dataset = dataset.build()[0]
        with random_state_of_run(config):
            self._model = _model_class(config)(config, self._dataset).to(config["device"])
        self._items = self._dataset.get_item_feature().to(config["device"])
        uid, iid = self._dataset.uid_field, self._dataset.iid_field
        events = events[(events[uid] != 0) & (events[iid] != 0)]
        self._user_ids, rows = np.unique(events[uid].to_numpy(), return_inverse=True)
        columns = events[iid].to_numpy() - 1
        self.users = pd.Index(self._dataset.field2id_token[uid][self._user_ids], name=uid)
        self.items = pd.Index(self._dataset.field2id_token[iid][1:], name=iid)
        shape = len(self.users), len(self.items)
        self.matrix = sp.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)
        self.matrix.data[:] = 1.0
        histories = Histories.of_events(rows, columns, len(self.users))
        self.repeats = bool(config["repeatable"]) and histories.repeats(self.matrix)
        self._load(checkpoint)
        is_sequential = self._model.type == ModelType.SEQUENTIAL
        self._batch = self._latest(events) if is_sequential else Interaction({uid: torch.from_numpy(self._user_ids)})

    def _load(self, checkpoint: dict[str, Any]) -> None:
        try:
            self._model.load_state_dict(checkpoint["state_dict"])
        except RuntimeError as error:
            raise self._unfit(error) from error
        self._model.load_other_parameter(checkpoint.get("other_parameter"))
        self._model.eval()

    def _unfit(self, reason: object) -> ValueError:
        return ValueError(
            f"{_WHERE}: this {self.name} does not fit the dataset [{self.dataset_name}] in "
            f"[{self._config['data_path']}], which has {len(self.users)} users and {len(self.items)} items. Name the "
            f"folder of the data of the training with data_path (--data-path). ({' '.join(str(reason).split())})"
        )

    def _latest(self, events: pd.DataFrame) -> Interaction:
        """The latest interactions of each user, as the lists that a sequential model of RecBole reads."""
        dataset, suffix = self._dataset, self._config["LIST_SUFFIX"]
        uid, iid = dataset.uid_field, dataset.iid_field
        if iid + suffix in events:
            raise ValueError(
                f"{_WHERE}: the files of dataset [{self.dataset_name}] hold lists of items (benchmark_filename), so "
                "the latest items of a user are not known."
            )
        longest = dataset.inter_feat[iid + suffix].shape[1]
        events = events.sort_values([uid, dataset.time_field], kind="stable").groupby(uid).tail(longest)
        values = dataset._dataframe_to_interaction(events)
        _, first, row, lengths = np.unique(
            values[uid].numpy(), return_index=True, return_inverse=True, return_counts=True
        )
        position = np.arange(len(row)) - first[row]
        columns = {uid: values[uid][first], dataset.item_list_length_field: torch.from_numpy(lengths)}
        for field in dataset.inter_feat.columns:
            if field.endswith(suffix):
                like = dataset.inter_feat[field]
                lists = columns[field] = torch.zeros((len(first), *like.shape[1:]), dtype=like.dtype)
                source = field.removesuffix(suffix)
                if source in values:  # DIEN has lists of random items, which it reads in training only
                    index: Any = (row, position, *map(slice, values[source].shape[1:]))
                    lists[index] = values[source].to(like.dtype)
        return Interaction(columns)

    @torch.no_grad()
    def scores(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """Scores of all items for some users, float32 [n_rows, n_items], on the CPU.

        Args:
            rows: rows of :attr:`matrix`, int64 [n_rows].

        Raises:
            ValueError: if the model cannot score, or not with numbers.
        """
        batch = self._dataset.join(self._batch[torch.from_numpy(rows)]).to(self._config["device"])
        try:
            scores = self._all_scores(batch)
        except KeyError as error:
            raise ValueError(
                f"{_WHERE}: this {self.name} reads the field {error} of an interaction, which an interaction of "
                "tomorrow does not have. Train it without this field (key load_col)."
            ) from error
        except IndexError as error:
            raise self._unfit(error) from error
        scores = scores.view(len(rows), -1).float().cpu()[:, 1:]
        if scores.shape[1] != len(self.items):
            raise self._unfit(f"it scores {scores.shape[1]} items")
        if scores.isnan().any():
            raise ValueError(f"{_WHERE}: this {self.name} gives scores that are NaN; check its training.")
        return scores

    @torch.no_grad()
    def user_vectors(self, pooling: str = "last") -> NDArray[np.float32]:
        """One vector of each user, float32 [n_users, dim], in the order of :attr:`users`.

        Of a sequential model it is the vector of the latest items; of a model with ``user_embedding``, its row.

        Args:
            pooling: ``last``, or ``mean`` for the mean over the items of a history, which UniversalSASRec has.

        Raises:
            ValueError: if the model has no vectors of users, or they are NaN.
        """
        if pooling not in POOLINGS:
            raise ValueError(f"pooling (--pooling): must be one of {', '.join(POOLINGS)}, got [{pooling}].")
        if pooling == "mean" and not hasattr(self._model, "mean_vectors"):
            raise ValueError(f"pooling (--pooling): mean needs UniversalSASRec; {_WHERE} holds {self.name}.")
        size = self._config["eval_batch_size"]
        blocks = []
        for start in range(0, len(self.users), size):
            batch = self._dataset.join(self._batch[start : start + size]).to(self._config["device"])
            blocks.append((self._mean(batch) if pooling == "mean" else self._vectors(batch)).float().cpu())
        vectors = torch.cat(blocks)
        if not vectors.isfinite().all():
            raise ValueError(f"{_WHERE}: this {self.name} gives vectors that are not finite; check its training.")
        return vectors.numpy()

    def _mean(self, batch: Interaction) -> torch.Tensor:
        model: Any = self._model
        return model.mean_vectors(batch[model.ITEM_SEQ], batch[model.ITEM_SEQ_LEN])

    def _vectors(self, batch: Interaction) -> torch.Tensor:
        model: Any = self._model
        if model.type == ModelType.SEQUENTIAL:
            has_vectors = list(inspect.signature(model.forward).parameters) == ["item_seq", "item_seq_len"]
            if has_vectors and self.name not in _FORWARD_SCORES_ITEMS:
                vectors = model(batch[model.ITEM_SEQ], batch[model.ITEM_SEQ_LEN])
                if vectors.ndim == 2:  # others return a vector of each item of a history
                    return vectors
        elif isinstance(embedding := getattr(model, "user_embedding", None), torch.nn.Embedding):
            return embedding(batch[model.USER_ID])
        raise ValueError(
            f"{_WHERE}: {self.name} has no vectors of users that are known here. UniversalSASRec, SASRec, GRU4Rec, BPR "
            "and other models with forward(item_seq, item_seq_len) or user_embedding do."
        )

    def _all_scores(self, batch: Interaction) -> torch.Tensor:
        try:
            return self._model.full_sort_predict(batch)
        except NotImplementedError:
            return pair_scores(self._model.predict, batch, self._items, self._config["eval_batch_size"])

    def top_k(
        self, users: NDArray[np.int64], k: int, exclude_seen: bool | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The best items of some users.

        Args:
            users: rows of :attr:`matrix`, int64 [n_users].
            k: items per user.
            exclude_seen: whether the user's items are left out; ``None``: unless :attr:`repeats`.

        Returns:
            Columns of :attr:`matrix`, int64 [n_users, k], best first, -1 after the last item; their scores, float32.

        Raises:
            ValueError: as :meth:`scores`.
        """
        exclude_seen = not self.repeats if exclude_seen is None else exclude_seen
        block = max(1, min(self._config["eval_batch_size"], _MOST_SCORES // len(self.items)))
        found = []
        for start in range(0, len(users), block):
            rows = users[start : start + block]
            scores = self.scores(rows)
            if exclude_seen:
                seen = self.matrix[rows].tocoo()
                scores[seen.row, seen.col] = -torch.inf
            best, items = scores.topk(k, dim=1)
            found.append((torch.where(best == -torch.inf, -1, items).numpy(), best.numpy()))
        items, scores = zip(*found, strict=True)
        return np.concatenate(items), np.concatenate(scores)


def _model_class(config: Any) -> type:
    """The class of a config's model. It may be a class of the user's; an interpolation has the class of its base."""
    is_named = config.model_class.__name__ == config["model"]
    return config.model_class if is_named else model_named(config["model"])


def _data_folder(config: Any, data_path: str | os.PathLike[str] | None) -> str:
    """The folder of the dataset of a config, below ``data_path`` if it is given."""
    name, folder = config["dataset"], Path(config["data_path"])
    if data_path is not None:
        folder = Path(data_path).expanduser() / name
    elif name == "ml-100k" and not folder.is_dir():  # the checkpoint is from another machine; RecBole ships this one
        folder = Path(recbole.__file__).parent / "dataset_example" / name
    if not folder.is_dir():  # RecBole would try to download it
        raise FileNotFoundError(
            f"data_path (--data-path): there is no folder [{folder}]. The checkpoint was trained on the dataset "
            f"[{name}]; name the folder that holds the folder [{name}]."
        )
    return str(folder)
