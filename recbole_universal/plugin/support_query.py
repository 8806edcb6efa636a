"""Training that cannot cheat: features from a support part, loss on hidden query interactions.

Some interactions of some users are hidden; features are computed from what is left (the support part), so no
interaction takes part in the features it is scored with. A row is one user: a list of candidates with their columns,
and which of them are hidden interactions. The same lists serve in-domain training, fine-tuning and pre-training.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.interaction import Interaction
from torch.utils.data.distributed import DistributedSampler

from recbole_universal.features import FeaturePipeline
from recbole_universal.features.cache import array_digest
from recbole_universal.features.fields import LIST_LABEL, LIST_MASK, column
from recbole_universal.graph.held_out import support_query_split

# Candidates of a list where the families rank the whole catalogue: the hidden items and so many random ones.
_N_RANDOM = 200
# Most users hidden at once, as a share of all: hiding more would make the support part another data set.
_LARGEST_SHARE = 0.25
_LEAST_USERS = 20
#: Values of ``eval_users`` and ``eval_items``.
EVAL_GROUPS = ("all", "seen", "unseen")


def query_lists(
    matrix: sp.csr_matrix,
    pipeline: FeaturePipeline,
    n_users: int,
    share: float,
    seed: int,
    max_draws: int = 4,
) -> list[Interaction]:
    """Candidate lists of hidden interactions.

    Users are drawn, again and with another part hidden where the data set has few, until ``n_users`` have been drawn
    or after ``max_draws`` draws. A drawn user none of whose hidden items is a candidate gives no list, so there are
    often fewer lists than users.

    Args:
        matrix: training interactions, csr [n_users, n_items].
        pipeline: what computes the features of a support part.
        n_users: number of users drawn, over all draws; the number of lists is at most this.
        share: share of a drawn user's interactions that is hidden.
        seed: seed of the draws.
        max_draws: draws at most; each computes the features of a support part.

    Returns:
        One ``Interaction`` a block of up to 200 users, on the CPU: float16 columns ``user_<family>`` [n, dim],
        ``item_<family>`` and ``pair_<family>`` [n, n_candidates, dim], bool label and mask [n, n_candidates].
    """
    matrix = matrix[np.diff(matrix.indptr) > 0].tocsr()
    matrix = matrix[:, np.bincount(matrix.indices, minlength=matrix.shape[1]) > 0].tocsr()  # no padding
    lists: list[Interaction] = []
    wanted = n_users
    for draw in range(max_draws):
        generator = np.random.default_rng([seed, draw])
        at_once = min(wanted, max(_LEAST_USERS, int(matrix.shape[0] * _LARGEST_SHARE)))
        support, query = support_query_split(matrix, at_once, share, generator)
        users = np.flatnonzero(np.diff(query.indptr))
        if not len(users):
            break
        lists += _lists_of(support, query, users, pipeline, generator)
        wanted -= len(users)
        if wanted <= 0:
            break
    return lists


def _lists_of(support, query, users, pipeline, generator) -> list[Interaction]:
    features = pipeline(support, part=True)
    pairs = {family: values.pair for family, values in features.items() if values.pair is not None}
    blocks = []
    for start in range(0, len(users), 200):
        part = users[start : start + 200]
        index = torch.from_numpy(part)
        hidden = torch.from_numpy(query[part].toarray() > 0)
        columns: dict[str, torch.Tensor] = {}
        if "proximity" in pairs:
            candidates = pairs["proximity"].candidates(index)
            items, mask = candidates.items.cpu(), candidates.mask.cpu()
            columns[column("pair", "proximity")] = candidates.features.cpu()
        else:
            items, mask = _random_lists(support[part], query[part], generator)
        safe = items.clamp(min=0)
        label = hidden.gather(1, safe) & mask
        kept = label.any(dim=1)
        if not kept.any():
            continue
        for family, values in features.items():
            if values.user.shape[1]:
                columns[column("user", family)] = torch.from_numpy(values.user[part])
                columns[column("item", family)] = torch.from_numpy(values.item)[safe]
            if family in pairs and family != "proximity":
                repeated = index[:, None].expand_as(safe).flatten()
                rows = pairs[family](repeated, safe.flatten()).cpu()
                columns[column("pair", family)] = rows.view(*safe.shape, -1)
        block = {name: values[kept].half() for name, values in columns.items()}
        blocks.append(Interaction({**block, LIST_LABEL: label[kept], LIST_MASK: mask[kept]}))
    return blocks


def _random_lists(support: sp.csr_matrix, query: sp.csr_matrix, generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden items and random other items without support interaction; int64 [n, n_candidates] and their mask."""
    rows = []
    for user in range(support.shape[0]):
        hidden = query.indices[query.indptr[user] : query.indptr[user + 1]]
        own = support.indices[support.indptr[user] : support.indptr[user + 1]]
        drawn = generator.integers(0, support.shape[1], _N_RANDOM)
        rows.append(torch.from_numpy(np.concatenate([hidden, np.setdiff1d(drawn, np.concatenate([own, hidden]))])))
    items = torch.nn.utils.rnn.pad_sequence([row.long() for row in rows], batch_first=True, padding_value=-1)
    return items, items >= 0


class ListBatches:
    """Rows of several blocks of lists as one sequence; a batch is cut to its longest list."""

    def __init__(self, blocks: Sequence[Interaction]) -> None:
        self.blocks = list(blocks)
        self._place = [(number, row) for number, block in enumerate(self.blocks) for row in range(len(block))]

    def __len__(self) -> int:
        """Number of lists."""
        return len(self._place)

    def digest(self) -> str:
        """SHA-256 of the content of all lists in their order, in hexadecimal."""
        parts = [
            array_digest({name: values.cpu().numpy() for name, values in block.interaction.items()})
            for block in self.blocks
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def batch(self, index: Sequence[int] | np.ndarray) -> Interaction:
        """The lists of these numbers, padded to the longest of them."""
        rows = [
            {name: values[row] for name, values in self.blocks[number].interaction.items()}
            for number, row in (self._place[int(i)] for i in index)
        ]
        length = max(int(row[LIST_MASK].sum()) for row in rows)
        batch = {}
        for name in rows[0]:
            values = [row[name] for row in rows]
            if name.startswith("user_"):
                batch[name] = torch.stack(values)
            else:
                values = [value[:length] for value in values]
                batch[name] = torch.nn.utils.rnn.pad_sequence(values, batch_first=True)
        return Interaction(batch)

    def sample(self, n_rows: int = 20000, seed: int = 0) -> dict[str, torch.Tensor]:
        """Some rows of the pair columns, by family, float32 [n, dim]."""
        chosen = np.random.default_rng(seed).permutation(len(self))[: max(1, n_rows // 100)]
        batch = self.batch(chosen)
        names = [name for name in batch.interaction if name.startswith("pair_")]
        return {name.removeprefix("pair_"): batch[name][batch[LIST_MASK]].float()[:n_rows] for name in names}


class SupportQueryDataLoader(AbstractDataLoader):
    """RecBole training loader of candidate lists of hidden training interactions; an epoch has each list once.

    The lists are made when first needed, so that a run without training never pays for them.
    """

    def __init__(self, config, dataset, sampler, shuffle=False):
        from recbole_universal.plugin.dataset import training_matrix

        self.matrix = seen_part(training_matrix(dataset), *unseen_groups(config, dataset))
        n_able = int((np.diff(self.matrix.indptr) >= 2).sum())
        if not n_able and config["train_stage"] != "zero_shot":  # which trains on none
            raise ValueError(
                f"Data set [{dataset.dataset_name}] has no user with two training interactions, so none can be hidden "
                "to train on; use train_stage: zero_shot, or families other than proximity."
            )
        self._lists: ListBatches | None = None
        self.sample_size = max(1, min(n_able, _number_of_users(config, self.matrix)))
        super().__init__(config, dataset, sampler, shuffle)

    def _init_batch_size_and_step(self) -> None:
        self.step = self.config["list_batch_size"]
        self.set_batch_size(self.step)

    def update_config(self, config) -> None:
        """See RecBole."""
        self.config = config

    @property
    def lists(self) -> ListBatches:
        """The lists, made when first asked for."""
        if self._lists is None:
            config, dataset = self.config, self._dataset
            blocks = query_lists(
                self.matrix, dataset.universal_pipeline, self.sample_size, config["query_share"], config["seed"]
            )
            if not blocks:
                raise ValueError(
                    f"Data set [{dataset.dataset_name}]: no hidden training interaction is among any user's "
                    "candidates; it is too small to train on. Use train_stage: zero_shot."
                )
            self._lists = ListBatches(blocks)
            self._cut_to(len(self._lists))
        return self._lists

    def _cut_to(self, n_lists: int) -> None:
        """Let the sampler, made for all drawn users, draw from the lists that these gave."""
        sampler: Any = self.sampler
        indices: Any = sampler.dataset if isinstance(sampler, DistributedSampler) else sampler.data_source
        del indices[n_lists:]
        if isinstance(sampler, DistributedSampler):
            sampler.num_samples = math.ceil(n_lists / sampler.num_replicas)
            sampler.total_size = sampler.num_samples * sampler.num_replicas

    def __iter__(self):
        """See RecBole; before the sampler starts the number of lists must be known."""
        self.lists  # noqa: B018  made when first asked for
        return super().__iter__()

    def __len__(self) -> int:
        """Number of batches."""
        self.lists  # noqa: B018
        return super().__len__()

    def collate_fn(self, index) -> Interaction:
        """A batch of lists."""
        return self.lists.batch(index)


def unseen_groups(config, dataset) -> tuple[np.ndarray, np.ndarray]:
    """Which users and items training never learns from, drawn by ``seed`` (arXiv 2309.01188: unseen users and items).

    Args:
        config: RecBole ``Config`` with ``unseen_users`` and ``unseen_items``, shares in [0, 1).
        dataset: A built part.

    Returns:
        bool [user_num] and bool [item_num]; padding is in neither.

    Raises:
        ValueError: If a share is out of range.
    """
    groups = []
    for salt, (key, number) in enumerate((("unseen_users", dataset.user_num), ("unseen_items", dataset.item_num))):
        share = config[key] or 0.0
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < 1:
            raise ValueError(f"{key}: must be a share in [0, 1), got {share!r}.")
        drawn = np.random.default_rng([config["seed"], salt]).permutation(number - 1)[: round(share * (number - 1))]
        group = np.zeros(number, dtype=bool)
        group[drawn + 1] = True
        groups.append(group)
    return groups[0], groups[1]


def seen_part(matrix: sp.csr_matrix, unseen_users: np.ndarray, unseen_items: np.ndarray) -> sp.csr_matrix:
    """The interactions of a matrix between users and items that are both not unseen; same shape."""
    part = sp.diags((~unseen_users).astype(np.float32)) @ matrix @ sp.diags((~unseen_items).astype(np.float32))
    part = part.tocsr().astype(np.float32)
    part.eliminate_zeros()
    return part


def rows_to_test(config, part) -> np.ndarray:
    """Interactions of the test part that ``eval_users`` and ``eval_items`` ask for, bool [n].

    Raises:
        ValueError: If a key is out of range or no interaction is left.
    """
    kept = np.ones(len(part.inter_feat), dtype=bool)
    groups = unseen_groups(config, part)
    for key, field, group in zip(("eval_users", "eval_items"), (part.uid_field, part.iid_field), groups, strict=True):
        wanted = config[key] or "all"
        if wanted not in EVAL_GROUPS:
            raise ValueError(f"{key}: must be one of {list(EVAL_GROUPS)}, got {wanted!r}.")
        if wanted != "all":
            kept &= group[part.inter_feat[field].numpy()] == (wanted == "unseen")
    if len(kept) and not kept.any():
        raise ValueError(
            f"eval_users, eval_items: the test part of [{part.dataset_name}] has no interaction of that group; set "
            "unseen_users and unseen_items to shares above 0."
        )
    return kept


def _number_of_users(config, matrix: sp.csr_matrix) -> int:
    """Users to train on: ``query_users``; fewer where ``finetune_interactions`` bounds the interactions."""
    wanted = config["query_users"]
    if not isinstance(wanted, int) or wanted < 1:
        raise ValueError(f"query_users: must be a positive integer, got {wanted!r}.")
    share = config["query_share"]
    if not isinstance(share, float) or not 0 < share < 1:
        raise ValueError(f"query_share: must be a number in (0, 1), got {share!r}.")
    if config["train_stage"] != "finetune" or config["finetune_interactions"] is None:
        return wanted
    amount = config["finetune_interactions"]
    if isinstance(amount, bool) or not isinstance(amount, (int, float)) or amount <= 0:
        raise ValueError(
            f"finetune_interactions: must be a share in (0, 1] or a number of interactions, got {amount!r}."
        )
    number = amount * matrix.nnz if amount <= 1 and isinstance(amount, float) else amount
    hidden_each = max(1.0, share * matrix.nnz / max(1, matrix.shape[0]))
    return int(max(1, min(wanted, number // hidden_each)))
