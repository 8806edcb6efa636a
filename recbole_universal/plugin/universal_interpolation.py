"""UniversalInterpolation: any RecBole model, mixed with a pre-trained universal model."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import EvaluatorType, InputType, ModelType, get_model

from recbole_universal.features.pipeline import pipeline_of
from recbole_universal.plugin.dataset import shared_features, training_matrix
from recbole_universal.plugin.pretrained_model import pretrained_model
from recbole_universal.plugin.universal_mlp import check_ids
from recbole_universal.ranking.mixing import mix, to_space
from recbole_universal.ranking.ranker import scorer_of
from recbole_universal.ranking.scorer import floored

#: Bins of user activity for ``interpolation_weight: by_activity``.
N_BINS = 5
# Key of what a checkpoint keeps beside the base's own weights.
_SAVED = "universal_interpolation"
_EPSILON = 1e-7


class UniversalInterpolation(AbstractRecommender):
    """A RecBole model whose scores are mixed with those of a pre-trained ``UniversalMLP``.

    Constructing it gives an object of a subclass of the base model's class: its trainer, loss, weights and everything
    else that RecBole asks of it are the base's. Until :attr:`universal_mixing` is set, which
    ``UniversalInterpolationTrainer`` does when the base is trained, its scores are the base's too.

    The universal model is no submodule: ``state_dict`` is that of the base.

    Args:
        config: RecBole ``Config`` with the keys of ``properties/model/UniversalInterpolation.yaml`` and the base's.
        dataset: The training part.

    Attributes:
        universal_mixing: Whether scores are mixed.
        universal_weights: Weight of the universal model in each bin of user activity, float32 [n_bins], in [0, 1].

    Raises:
        ValueError: If a key is out of range or the base cannot be wrapped.
    """

    def __new__(cls, config=None, dataset=None):
        """An object of the class that wraps ``base_model``; a copy of one is made without arguments."""
        return super().__new__(_wrapped(base_class(config["base_model"])) if cls is UniversalInterpolation else cls)

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        if config["eval_type"] == EvaluatorType.VALUE:
            raise ValueError(
                f"metrics: {config['metrics']} judge scores as probabilities, which interpolated scores are not; valid "
                "with UniversalInterpolation are ranking metrics such as NDCG, Recall and MRR, and an evaluation mode "
                "that ranks, such as eval_args: {mode: full}."
            )
        self.universal_space = config["interpolation_space"]
        self.universal_device = config["device"]
        self.universal_user, self.universal_item = config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]
        self.universal_history = self.universal_item + config["LIST_SUFFIX"] if config["LIST_SUFFIX"] else None
        self.universal_block = config["eval_batch_size"]
        self._universal_items = dataset.get_item_feature()
        matrix = training_matrix(dataset)
        matrix.data[:] = 1.0
        degree = np.diff(matrix.indptr)
        weight = config["interpolation_weight"]
        n_bins = N_BINS if weight == "by_activity" else 1
        # An edge is the highest degree of its bin; equal degrees share one.
        edges = np.quantile(degree[degree > 0], np.arange(1, n_bins) / n_bins, method="lower") if n_bins > 1 else []
        self.universal_edges = torch.as_tensor(np.array(edges, dtype=np.float32))
        self.universal_degree = torch.from_numpy(degree.astype(np.float32))
        self.universal_weights = torch.full((n_bins,), 0.5 if isinstance(weight, str) else weight)
        self.universal_mixing = False
        self._universal_held: dict[tuple[bytes, ...], Any] | None = None
        # The base must draw the random numbers that it would draw alone.
        with torch.random.fork_rng(devices=[]):
            self._universal_scorer = [self._load_universal(config, matrix)]  # in a list, so that it is no submodule

    def _load_universal(self, config, matrix):
        pretrained = pretrained_model(config["pretrained"])
        pipeline = pipeline_of(
            pretrained.schema["features"],
            seed=config["seed"],
            device=config["device"],
            cache_dir=config["universal_cache_dir"],
            cache_gb=config["universal_cache_gb"],
            show_progress=bool(config["show_progress"]),
        )
        digest = hashlib.sha256()
        for name in sorted(pretrained.state_dict):
            digest.update(pretrained.state_dict[name].numpy().tobytes())
        self.universal_digest = digest.hexdigest()
        return scorer_of(pretrained, pipeline).to(config["device"]).attach(shared_features(pipeline, matrix, config))

    def universal_bins(self, users: torch.Tensor) -> torch.Tensor:
        """Bin of activity of each user id, int64 [n], 0 = least active."""
        return torch.bucketize(self.universal_degree[users.cpu()], self.universal_edges)

    def full_sort_predict(self, interaction) -> torch.Tensor:
        """Scores of all items for the users of a batch, shape [batch_size * n_items].

        A sequential base alone answers for histories without a user id.

        Raises:
            ValueError: If the base gives a score that is NaN or infinite, or a user id is not one of the data set.
        """
        if self._universal_leaves_alone(interaction):
            return super().full_sort_predict(interaction)
        if self._universal_ranks_alone():
            return self._universal_rows(interaction[self.universal_user]).reshape(-1)
        return self._universal_mixed(interaction).reshape(-1)

    def predict(self, interaction) -> torch.Tensor:
        """Scores of the pairs of a batch, shape [batch_size]; the same as :meth:`full_sort_predict`'s."""
        if self._universal_leaves_alone(interaction):
            return super().predict(interaction)
        keys = [
            interaction[field].reshape(len(interaction), -1).double() for field in self._universal_fields(interaction)
        ]
        _, row = torch.cat(keys, dim=1).unique(dim=0, return_inverse=True)
        first = torch.full((int(row.max()) + 1,), len(row), device=row.device)
        first = first.scatter_reduce(0, row, torch.arange(len(row), device=row.device), "amin")
        distinct = interaction[first.cpu()]
        if self._universal_ranks_alone():
            rows = self._universal_rows(distinct[self.universal_user])
        else:
            rows = self._universal_mixed(distinct)
        return rows[row, interaction[self.universal_item]]

    def _universal_fields(self, interaction) -> list[str]:
        """Fields whose values, with the item, decide the scores of a row of a batch."""
        if self.type == ModelType.SEQUENTIAL:
            suffix = self.universal_history.removeprefix(self.universal_item) if self.universal_history else None
            lists = [field for field in interaction.columns if suffix and field.endswith(suffix)]
            return [self.universal_user, *lists]
        if self.type == ModelType.CONTEXT:
            of_items = {*self._universal_items.columns, getattr(self, "LABEL", None)}
            return [field for field in interaction.columns if field not in of_items]
        return [self.universal_user]

    def _universal_leaves_alone(self, interaction) -> bool:
        """Whether the base alone scores a batch."""
        if not self.universal_mixing or self._universal_weighs(0.0):
            return True
        if self.universal_user not in interaction:
            if self.type == ModelType.SEQUENTIAL:
                return True
            raise ValueError(f"The interaction lacks the field [{self.universal_user}], the users to score items for.")
        check_ids(interaction[self.universal_user], len(self.universal_degree), self.universal_user)
        return False

    def _universal_weighs(self, weight: float) -> bool:
        return bool((self.universal_weights == weight).all())

    def _universal_ranks_alone(self) -> bool:
        """Whether the base is not asked; where scores are held for other weights it has been."""
        return self._universal_held is None and self._universal_weighs(1.0)

    def _universal_mixed(self, interaction) -> torch.Tensor:
        """Mixed scores, float32 [batch_size, n_items]; item 0 (padding) gets the lowest of its row."""
        held = self._universal_held
        if held is None:
            parts = self._universal_parts(interaction)
        else:  # RecBole may hand over a batch in several pieces
            fields = self._universal_fields(interaction)
            key = tuple(interaction[field].cpu().numpy().tobytes() for field in fields)
            parts = held[key] if key in held else held.setdefault(key, self._universal_parts(interaction))
        base, universal, alone = parts
        weights = self.universal_weights[self.universal_bins(interaction[self.universal_user])]
        weights = weights[:, None].to(base.device)
        # As where all weights are 1, the order below the candidates counts too.
        mixed = torch.where(weights == 1, alone, mix(base, universal, weights))
        return torch.cat([mixed.amin(dim=1, keepdim=True), mixed], dim=1)

    def _universal_parts(self, interaction) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        base = self._base_rows(interaction)[:, 1:]
        finite = base.isfinite()
        if not finite.all():
            user = int(interaction[self.universal_user][int((~finite).any(dim=1).nonzero()[0])])
            raise ValueError(
                f"The base model {type(self).__name__} scores an item of user {user} (internal id) with NaN or "
                "infinity, so its scores cannot be interpolated. Check its training (learning rate, loss)."
            )
        alone = self._universal_rows(interaction[self.universal_user])[:, 1:]
        return to_space(base, self.universal_space), to_space(floored(alone), self.universal_space), alone

    @contextlib.contextmanager
    def universal_scores_held(self) -> Iterator[None]:
        """Within it, scores are kept, so that other weights can be tried on the same batch."""
        self._universal_held = {}
        try:
            yield
        finally:
            self._universal_held = None

    @torch.no_grad()
    def _universal_rows(self, users: torch.Tensor) -> torch.Tensor:
        """Scores of the universal model, float32 [n_users, n_items]."""
        return self._universal_scorer[0].score_all(users)

    def _base_rows(self, interaction) -> torch.Tensor:
        """Scores of the base, float32 [batch_size, n_items]."""
        try:
            scores = super().full_sort_predict(interaction)
            return scores.view(len(interaction), -1).float().to(self.universal_device)  # EASE's are on the CPU
        except NotImplementedError:  # a base that scores pairs only, as RecBole's trainer knows it
            pass
        items = self._universal_items.to(self.universal_device)
        block = max(1, self.universal_block // len(items))
        rows = []
        for start in range(0, len(interaction), block):
            part = interaction[start : start + block]
            pairs = part.repeat_interleave(len(items))
            pairs.update(items.repeat(len(part)))
            rows.append(super().predict(pairs).view(len(part), -1).float().to(self.universal_device))
        scores = torch.cat(rows)
        if getattr(self, "input_type", None) == InputType.POINTWISE and bool(((scores >= 0) & (scores <= 1)).all()):
            scores = scores.clamp(_EPSILON, 1 - _EPSILON).logit()  # a sigmoid's output: back to the scale of logits
        return scores

    def other_parameter(self) -> dict[str, Any]:
        """See RecBole; with the weights and what the universal model was."""
        saved = {"weights": self.universal_weights, "mixing": self.universal_mixing, "digest": self.universal_digest}
        return {**super().other_parameter(), _SAVED: saved}

    def load_other_parameter(self, para) -> None:
        """See RecBole.

        Raises:
            ValueError: If the checkpoint was made with another universal model than ``pretrained`` now names.
        """
        para = dict(para or {})
        saved = para.pop(_SAVED, None)
        super().load_other_parameter(para)
        if saved is None:
            return
        if saved["digest"] != self.universal_digest:
            raise ValueError(
                "pretrained: the checkpoint was made with another universal model than the one of that name now; "
                "restore that model, or run UniversalInterpolation anew with base_checkpoint."
            )
        self.universal_weights, self.universal_mixing = saved["weights"].cpu(), saved["mixing"]


# What a damaged pickle may raise.
_UNREADABLE = (
    RuntimeError,
    pickle.UnpicklingError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ImportError,
)


def read_base_checkpoint(file: str, **arguments) -> dict[str, Any]:
    """A checkpoint that RecBole saved.

    RecBole's checkpoints are pickles, which run code when they are opened.

    Args:
        file: Path of it.
        **arguments: Of ``torch.load``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is none.
    """
    if not isinstance(file, (str, os.PathLike)) or not Path(file).is_file():
        raise FileNotFoundError(f"base_checkpoint: there is no file [{file}].")
    try:
        checkpoint = torch.load(file, weights_only=False, **arguments)
        checkpoint["config"]["model"], checkpoint["state_dict"]
    except _UNREADABLE as error:
        raise ValueError(f"base_checkpoint: [{file}] is no checkpoint of a RecBole model ({error}).") from error
    return checkpoint


def base_class(base_model: str | type) -> type:
    """The class of a base model.

    Args:
        base_model: Name of a RecBole model, or a class.

    Raises:
        ValueError: If there is no such model or it cannot be wrapped, with the reason.
    """
    if base_model is None:
        raise ValueError(
            "base_model: UniversalInterpolation needs the name of the RecBole model to improve, e.g. base_model: "
            "LightGCN, or base_checkpoint: a file that RecBole saved."
        )
    if isinstance(base_model, str):
        try:
            found = get_model(base_model)
        except (ImportError, AttributeError, ValueError) as error:
            shown = repr(base_model)[1:-1][:100]
            raise ValueError(f"base_model: there is no RecBole model [{shown}], or it cannot be imported.") from error
    else:
        found = base_model
    name = getattr(found, "__name__", str(found))
    if not (isinstance(found, type) and issubclass(found, AbstractRecommender)) or name in (
        "UniversalInterpolation",
        "UniversalMLP",
    ):
        raise ValueError(f"base_model: [{name}] must be another RecBole model, e.g. LightGCN.")
    if getattr(found, "type", None) == ModelType.DECISIONTREE:
        raise ValueError(
            f"base_model: [{name}] cannot be wrapped: a decision-tree model classifies labelled rows and has no "
            "scores of all items for a user."
        )
    return found


def _wrapped(base: type) -> type:
    # RecBole asks for the class name of some models (Pop in get_flops), so it is the base's.
    return type(base.__name__, (UniversalInterpolation, base), {"__doc__": base.__doc__, "__module__": __name__})
