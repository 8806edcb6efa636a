"""UniversalInterpolation: any RecBole model, mixed with a pre-trained universal model."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import EvaluatorType, InputType, ModelType

from recbole_universal.features.pipeline import pipeline_of
from recbole_universal.plugin.base_model import base_class
from recbole_universal.plugin.dataset import training_graph, training_matrix
from recbole_universal.plugin.histories import BatchHistories, check_ids, distinct_rows
from recbole_universal.plugin.pair_scores import pair_scores
from recbole_universal.plugin.pretrained_model import pretrained_model
from recbole_universal.plugin.shared_features import shared_features
from recbole_universal.ranking.mixing import mix, to_space
from recbole_universal.ranking.ranking_network import RankingNetwork, load_network, mask_non_candidates

#: Bins of user activity for ``interpolation_weight: by_activity``.
N_BINS = 5
# Key of a checkpoint that holds weights and universal model; its other keys are those of the base.
_SAVED = "universal_interpolation"
_EPSILON = 1e-7


class UniversalInterpolation(AbstractRecommender):
    """A RecBole model whose scores are mixed with those of a pre-trained universal model.

    The constructor returns an object of a subclass of the base model's class. RecBole trains and saves it like the
    base. Its scores are those of the base until :attr:`universal_mixing` is set, which
    ``UniversalInterpolationTrainer`` does after the training of the base. The universal model is no submodule:
    ``state_dict`` is that of the base.

    Args:
        config: RecBole ``Config`` with the keys of ``properties/model/UniversalInterpolation.yaml`` and the base's.
        dataset: the training dataset.

    Attributes:
        universal_mixing: whether scores are mixed.
        universal_weights: weight of the universal model in each bin of user activity, float32 [n_bins], in [0, 1].

    Raises:
        ValueError: if a key is out of range or the base cannot be wrapped.
    """

    def __new__(cls, config: Any = None, dataset: Any = None) -> UniversalInterpolation:
        """Make an object of the class that wraps ``base_model``; ``copy`` and ``pickle`` call it without arguments."""
        return super().__new__(_wrapped(base_class(config["base_model"])) if cls is UniversalInterpolation else cls)

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        if config["eval_type"] == EvaluatorType.VALUE:
            raise ValueError(
                f"metrics: {config['metrics']} read scores as probabilities, which interpolated scores are not; valid "
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
        # An edge is the highest degree of its bin; users of equal degree share a bin.
        edges = np.quantile(degree[degree > 0], np.arange(1, n_bins) / n_bins, method="lower") if n_bins > 1 else []
        self.universal_edges = torch.as_tensor(np.array(edges, dtype=np.float32))
        self.universal_degree = torch.from_numpy(degree.astype(np.float32))
        self.universal_weights = torch.full((n_bins,), 0.5 if isinstance(weight, str) else weight)
        self.universal_mixing = False
        self._universal_score_cache: dict[tuple[bytes, ...], Any] | None = None
        # The base must draw the random numbers that it would draw alone.
        with torch.random.fork_rng(devices=[]):
            self._universal_network = [self._load_universal(config, dataset)]  # in a list, so that it is no submodule

    def _load_universal(self, config: Any, dataset: Any) -> RankingNetwork:
        """The pre-trained network with the features of the training interactions."""
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
        self._universal_histories = None
        if self.type == ModelType.SEQUENTIAL and pipeline.needs_histories:
            self._universal_histories = BatchHistories(config, dataset)
        graph = training_graph(dataset, pipeline, weighted=False, content=True)
        return load_network(pretrained, pipeline).to(config["device"]).attach(shared_features(pipeline, graph, config))

    def universal_bins(self, users: torch.Tensor) -> torch.Tensor:
        """Activity bin of each user id, int64 [n_users]; bin 0 is the least active.

        Args:
            users: internal user ids, int64 [n_users].
        """
        return torch.bucketize(self.universal_degree[users.cpu()], self.universal_edges)

    def full_sort_predict(self, interaction: Any) -> torch.Tensor:
        """Scores of all items for the users of a batch, float32 [batch_size * n_items].

        Histories without a user id get the scores of a sequential base alone.

        Raises:
            ValueError: if the base gives a score that is NaN or infinite, or a user id is out of range.
        """
        if self._universal_base_alone(interaction):
            return super().full_sort_predict(interaction)
        if self._universal_alone():
            return self._universal_scores(interaction).reshape(-1)
        return self._universal_mixed_scores(interaction).reshape(-1)

    def predict(self, interaction: Any) -> torch.Tensor:
        """Scores of the pairs of a batch, float32 [batch_size]; equal to those of :meth:`full_sort_predict`.

        Raises:
            ValueError: as :meth:`full_sort_predict`.
        """
        if self._universal_base_alone(interaction):
            return super().predict(interaction)
        first, row = distinct_rows(interaction, self._universal_fields(interaction))
        distinct = interaction[first.cpu()]
        if self._universal_alone():
            rows = self._universal_scores(distinct)
        else:
            rows = self._universal_mixed_scores(distinct)
        return rows[row, interaction[self.universal_item]]

    def _universal_fields(self, interaction: Any) -> list[str]:
        """Fields whose values, with the item, decide the scores of a row of a batch."""
        if self.type == ModelType.SEQUENTIAL:
            suffix = self.universal_history.removeprefix(self.universal_item) if self.universal_history else None
            lists = [field for field in interaction.columns if suffix and field.endswith(suffix)]
            return [self.universal_user, *lists]
        if self.type == ModelType.CONTEXT:
            of_items = {*self._universal_items.columns, getattr(self, "LABEL", None)}
            return [field for field in interaction.columns if field not in of_items]
        return [self.universal_user]

    def _universal_base_alone(self, interaction: Any) -> bool:
        """Whether the base alone scores a batch."""
        if not self.universal_mixing or self._universal_weights_are(0.0):
            return True
        if self.universal_user not in interaction:
            if self.type == ModelType.SEQUENTIAL:
                return True
            raise ValueError(f"The interaction lacks the field [{self.universal_user}], the users to score items for.")
        check_ids(interaction[self.universal_user], len(self.universal_degree), self.universal_user)
        return False

    def _universal_weights_are(self, weight: float) -> bool:
        return bool((self.universal_weights == weight).all())

    def _universal_alone(self) -> bool:
        """Whether the universal model alone scores a batch; a cache of scores holds those of the base already."""
        return self._universal_score_cache is None and self._universal_weights_are(1.0)

    def _universal_mixed_scores(self, interaction: Any) -> torch.Tensor:
        """Mixed scores, float32 [batch_size, n_items]; item 0 (padding) gets the lowest of its row."""
        cache = self._universal_score_cache
        if cache is None:
            base, universal, alone = self._universal_both_scores(interaction)
        else:  # RecBole may pass a batch in several pieces
            fields = self._universal_fields(interaction)
            key = tuple(interaction[field].cpu().numpy().tobytes() for field in fields)
            if key not in cache:
                cache[key] = self._universal_both_scores(interaction)
            base, universal, alone = cache[key]
        weights = self.universal_weights[self.universal_bins(interaction[self.universal_user])]
        weights = weights[:, None].to(base.device)
        # With weight 1 the order of the items that are no candidates counts, which the mixed scores clip.
        mixed = torch.where(weights == 1, alone, mix(base, universal, weights))
        return torch.cat([mixed.amin(dim=1, keepdim=True), mixed], dim=1)

    def _universal_both_scores(self, interaction: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Scores without the padding item, float32 [batch_size, n_items - 1].

        Returns:
            Those of the base and of the universal model in the space of the mixing, and of the universal model as is.
        """
        base = self._universal_base_scores(interaction)[:, 1:]
        finite = base.isfinite()
        if not finite.all():
            user = int(interaction[self.universal_user][int((~finite).any(dim=1).nonzero()[0])])
            raise ValueError(
                f"The base model {type(self).__name__} scores an item of user {user} (internal id) with NaN or "
                "infinity, so its scores cannot be interpolated. Check its training (learning rate, loss)."
            )
        alone = self._universal_scores(interaction)[:, 1:]
        return to_space(base, self.universal_space), to_space(mask_non_candidates(alone), self.universal_space), alone

    @contextlib.contextmanager
    def universal_score_cache(self) -> Iterator[None]:
        """Within the ``with`` block, scores of a batch are computed once, and other weights can be tried on it."""
        self._universal_score_cache = {}
        try:
            yield
        finally:
            self._universal_score_cache = None

    @torch.no_grad()
    def _universal_scores(self, interaction: Any) -> torch.Tensor:
        """Scores of the universal model for the histories or the users of a batch, float32 [batch_size, n_items]."""
        network = self._universal_network[0]
        if self._universal_histories is None:
            return network.score_all(interaction[self.universal_user])
        histories = self._universal_histories(interaction, network.candidate_pairs.repeats)
        return network.score_histories(histories, exclude_seen=not network.candidate_pairs.repeats)

    def _universal_base_scores(self, interaction: Any) -> torch.Tensor:
        """Scores of the base, float32 [batch_size, n_items]; those of a sigmoid are mapped back to logits."""
        try:
            scores = super().full_sort_predict(interaction)
            return scores.view(len(interaction), -1).float().to(self.universal_device)  # EASE's are on the CPU
        except NotImplementedError:  # a base that scores pairs only; RecBole's trainer scores it pair by pair too
            pass
        items = self._universal_items.to(self.universal_device)
        scores = pair_scores(super().predict, interaction, items, self.universal_block).to(self.universal_device)
        if getattr(self, "input_type", None) == InputType.POINTWISE and bool(((scores >= 0) & (scores <= 1)).all()):
            scores = scores.clamp(_EPSILON, 1 - _EPSILON).logit()
        return scores

    def other_parameter(self) -> dict[str, Any]:
        """See RecBole; also the interpolation weights and a hash of the universal model."""
        saved = {"weights": self.universal_weights, "mixing": self.universal_mixing, "digest": self.universal_digest}
        return {**super().other_parameter(), _SAVED: saved}

    def load_other_parameter(self, para: Any) -> None:
        """See RecBole.

        Raises:
            ValueError: if the checkpoint was made with another universal model than ``pretrained`` now names.
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


def _wrapped(base: type) -> type:
    # RecBole compares the class names of some models (Pop in get_flops), so the name is that of the base.
    return type(base.__name__, (UniversalInterpolation, base), {"__doc__": base.__doc__, "__module__": __name__})
