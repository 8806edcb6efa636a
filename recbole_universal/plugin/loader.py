"""RecBole's training loader of candidate lists (:mod:`recbole_universal.ranking.candidate_lists`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.interaction import Interaction
from torch.utils.data.distributed import DistributedSampler

from recbole_universal.plugin.dataset import training_matrix
from recbole_universal.plugin.histories import training_histories
from recbole_universal.plugin.unseen import unseen_groups, without_unseen
from recbole_universal.ranking.candidate_lists import CandidateLists, make_candidate_lists


class CandidateListDataLoader(AbstractDataLoader):
    """Batches of candidate lists with held-out training interactions; an epoch has each list once.

    The lists are made at the first access, so a run without training does not compute them.

    Args:
        config: RecBole ``Config``.
        dataset: the training dataset of a split, with universal columns.
        sampler: RecBole's negative sampler, which is not used.
        shuffle: whether the order of the lists is random.

    Raises:
        ValueError: if no user has two training interactions.
    """

    def __init__(self, config: Any, dataset: Any, sampler: Any, shuffle: bool = False) -> None:
        self.matrix = without_unseen(training_matrix(dataset), *unseen_groups(config, dataset))
        n_usable = int((np.diff(self.matrix.indptr) >= 2).sum())
        if not n_usable and config["train_stage"] != "zero_shot":  # which trains on no list
            raise ValueError(
                f"Dataset [{dataset.dataset_name}] has no user with two training interactions, so none can be held "
                "out to train on; use train_stage: zero_shot, or families without candidates."
            )
        self._lists: CandidateLists | None = None
        self.sample_size = max(1, min(n_usable, _n_training_users(config, self.matrix)))
        super().__init__(config, dataset, sampler, shuffle)

    def _init_batch_size_and_step(self) -> None:
        self.step = self.config["list_batch_size"]
        self.set_batch_size(self.step)

    def update_config(self, config: Any) -> None:
        """See RecBole."""
        self.config = config

    @property
    def lists(self) -> CandidateLists:
        """The lists, made at the first access.

        Raises:
            ValueError: if no held-out interaction is a candidate of its user.
        """
        if self._lists is None:
            config, dataset = self.config, self._dataset
            pipeline = dataset.universal_pipeline
            blocks = make_candidate_lists(
                self.matrix,
                pipeline,
                self.sample_size,
                config["query_share"] or 0.0,
                config["seed"],
                histories=training_histories(dataset) if pipeline.needs_histories else None,
            )
            if not blocks:
                raise ValueError(
                    f"Dataset [{dataset.dataset_name}]: no held-out training interaction is among any user's "
                    "candidates; it is too small to train on. Use train_stage: zero_shot."
                )
            self._lists = CandidateLists(blocks)
            self._limit_sampler(len(self._lists))
        return self._lists

    def _limit_sampler(self, n_lists: int) -> None:
        """Let the sampler draw from the lists; it was made for ``sample_size`` users, some of whom have no list."""
        sampler: Any = self.sampler
        indices: Any = sampler.dataset if isinstance(sampler, DistributedSampler) else sampler.data_source
        del indices[n_lists:]
        if isinstance(sampler, DistributedSampler):
            sampler.num_samples = math.ceil(n_lists / sampler.num_replicas)
            sampler.total_size = sampler.num_samples * sampler.num_replicas

    def __iter__(self) -> Iterator[Interaction]:
        """See RecBole; the number of lists must be known before the sampler starts."""
        self.lists  # noqa: B018  made at the first access
        return super().__iter__()

    def __len__(self) -> int:
        """Number of batches."""
        self.lists  # noqa: B018
        return super().__len__()

    def collate_fn(self, index: Sequence[int]) -> Interaction:
        """The batch of the lists of some indices."""
        return Interaction(self.lists.batch(index))


def _n_training_users(config: Any, matrix: sp.csr_matrix) -> int:
    """Users to hold out from: ``query_users``, or fewer to respect ``finetune_interactions``."""
    n_users = config["query_users"]
    if config["train_stage"] != "finetune" or config["finetune_interactions"] is None:
        return n_users
    limit = config["finetune_interactions"]
    n_interactions = limit * matrix.nnz if isinstance(limit, float) else limit
    # Without this key, the last item of each user is held out.
    held_out_each = max(1.0, (config["query_share"] or 0.0) * matrix.nnz / max(1, matrix.shape[0]))
    return int(max(1, min(n_users, n_interactions // held_out_each)))
