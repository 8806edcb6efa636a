"""The proximity family: how near an item is to a user, relative to everything else that user could be shown.

Not in the paper, whose features describe nodes: users in one cell of its bins get the same list. A pair of user and
item is described by the responses of :class:`~recbole_universal.graph.scorers.GraphScorers`, made free of scale inside
the user's own candidate list. Which scorers deserve trust differs between data sets; a self-check measures it on the
data set itself, by hiding some of its training interactions from a second set of scorers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from recbole_universal import arguments
from recbole_universal.features.family import FamilyFeatures, FeatureFamily, PairFeatures
from recbole_universal.graph.scorers import LINEAR, SCORERS, GraphScorers
from recbole_universal.graph.threads import in_torch_threads, lazy_property

if TYPE_CHECKING:
    from recbole_universal.graph.interaction_graph import InteractionGraph

# Columns: three a scorer, three by each way of trusting the scorers, and the activity of user and item.
_CONTEXT = (
    "item percentile",
    "log item degree below the list's largest",
    "user percentile",
    "mean item percentile of the user's items",
    "item percentile above that mean",
    "log user degree",
)
_N_TRUSTED = 2
_SHARPNESS = 20.0
_REFERENCE_RANK = 20
# Numbers of the scorers of the item-item matrix; their first columns are those that `SelfCheck.linear` sums.
_LINEAR = [number for number, name in enumerate(SCORERS) if name in LINEAR]
# Places of a list that a self-check looks at.
_LENGTH = 10
# Users that a scorer's scale is estimated from.
_N_SCALE_USERS = 300


@dataclass(frozen=True)
class Candidates:
    """Lists of items for some users, with the features of each pair.

    Attributes:
        items: item ids, int64 [n_users, n_candidates]; -1 where a list is shorter.
        features: float32 [n_users, n_candidates, dim]; all-zero rows where ``items`` is -1.
    """

    items: torch.Tensor
    features: torch.Tensor

    @property
    def mask(self) -> torch.Tensor:
        """Whether a place holds an item, bool [n_users, n_candidates]."""
        return self.items >= 0


@dataclass(frozen=True)
class SelfCheck:
    """Lists of users some of whose interactions were hidden, by which a model can judge itself on the data set.

    The trust in the columns of one half of the users was measured on the other half, so that no hidden interaction has
    a part in what it is found by. (A network that was trained on this data set may have been trained to find it.)

    Attributes:
        features: columns of the candidates, float16 [n_users, n_candidates, dim].
        mask: whether a place holds a candidate, bool [n_users, n_candidates].
        label: whether the candidate is a hidden interaction, bool [n_users, n_candidates].
        n_hidden: hidden interactions of each user, at least 1, int64 [n_users].
        below: what the popular items find that follow a list of fewer than ten candidates, as a part of the NDCG@10,
            float64 [n_users].
        popularity: what the same most popular items for everybody find, NDCG@10 by user, float64 [n_users].
        linear: scores of the candidates by the scorers of :meth:`ProximityPairs.item_item`, as these are trusted,
            float16 [n_users, n_candidates].
    """

    features: torch.Tensor
    mask: torch.Tensor
    label: torch.Tensor
    n_hidden: torch.Tensor
    below: torch.Tensor
    popularity: torch.Tensor
    linear: torch.Tensor

    def ndcg(self, scores: torch.Tensor) -> torch.Tensor:
        """NDCG@10 by user of an order of the candidates by ``scores``, [n_users, n_candidates]; float64 [n_users]."""
        scores = scores.float().cpu().masked_fill(~self.mask, -torch.inf)
        scores = torch.nn.functional.pad(scores, (0, _LENGTH), value=-torch.inf)
        label = torch.nn.functional.pad(self.label, (0, _LENGTH))
        hits = label.gather(1, scores.topk(_LENGTH, dim=1).indices).numpy()
        return torch.from_numpy(ndcg(hits, self.n_hidden.numpy())) + self.below

    def lead(self, scores: torch.Tensor) -> float:
        """How much more than popularity an order by ``scores`` finds, in standard errors over the users; 0 of one."""
        gain = self.ndcg(scores) - self.popularity
        mean = float(gain.mean())
        if len(gain) < 2 or not mean:
            return 0.0
        error = float(gain.std()) / len(gain) ** 0.5
        # Rounded, since one user's gain alone leads by exactly one error.
        return round(mean / error, 6) if error else math.copysign(math.inf, mean)


class ProximityPairs(PairFeatures):
    """Proximities of one data set, computed when asked for.

    Candidates of a user are the union of every scorer's ``top_k`` best items that the user has not interacted with.
    All other pairs have all-zero features; :meth:`candidates` is the way to rank.

    Args:
        scorers: the scorers of the data set.
        trust: how well each scorer finds hidden interactions of the data set, relative to the best, in [0, 1],
            float32 [n_scorers].
        top_k: candidates of each scorer.
        users: for each user id the user number in the scorers, -1 without interactions, int64 [n_users].
        items: the same for items, int64 [n_items].
        check: lists of the self-check that gave the trust; ``None`` if nothing could be hidden.
    """

    def __init__(
        self,
        scorers: GraphScorers,
        trust: NDArray[np.float32],
        top_k: int,
        users: NDArray[np.int64] | None = None,
        items: NDArray[np.int64] | None = None,
        check: SelfCheck | None = None,
    ) -> None:
        self.scorers = scorers
        self.trust = trust
        self.check = check
        self.top_k = top_k
        self._memory: list[torch.Tensor] = []  # what threads write scores to
        self.users = np.arange(scorers.n_users) if users is None else users
        self.items = np.arange(scorers.n_items) if items is None else items
        self.n_users, self.n_items = len(self.users), len(self.items)
        self.dim = n_columns()
        device = scorers.device
        degree = scorers.item_degree
        self._user_number = torch.from_numpy(self.users).to(device)
        self._item_number = torch.from_numpy(self.items).to(device)
        known = np.flatnonzero(self.items >= 0)
        item_id = np.full(scorers.n_items, -1, dtype=np.int64)
        item_id[self.items[known]] = known
        self._item_id = torch.from_numpy(item_id).to(device)
        self._item_percentile = torch.from_numpy(_percentiles(degree)).to(device)
        self._user_percentile = torch.from_numpy(_percentiles(scorers.user_degree)).to(device)
        means = (scorers.matrix @ _percentiles(degree)) / np.maximum(scorers.user_degree, 1)
        self._mean_percentile = torch.from_numpy(means.astype(np.float32)).to(device)
        self._log_item = torch.from_numpy(np.log1p(degree)).to(device)
        self._log_user = torch.from_numpy(np.log1p(scorers.user_degree)).to(device)
        best = (trust == trust.max()).astype(np.float32)
        soft = np.exp(_SHARPNESS * (trust - trust.max()))
        self._weights = torch.from_numpy(np.stack([soft / soft.sum(), best / best.sum()]).astype(np.float32)).to(device)

    def __deepcopy__(self, memo) -> ProximityPairs:
        return self  # never changed, and as large as the data set (RecBole copies a model to count its operations)

    @lazy_property
    def item_order(self) -> torch.Tensor:
        """Popularity of each item id as a rank in [0, 1), 0 = most popular, equal for equals; float32 [n_items]."""
        degree = np.where(self.items >= 0, self.scorers.item_degree[self.items], -1.0)
        rank = rankdata(-degree, method="dense") - 1
        with torch.inference_mode(False):  # kept
            return torch.from_numpy((rank / (rank.max() + 1)).astype(np.float32)).to(self.scorers.device)

    def popularity_outdoes(self, lead: float) -> bool:
        """Whether popularity should rank instead of something that has a :meth:`SelfCheck.lead`.

        Where most users can be checked, popularity must be ahead by more than one standard error. Where most have a
        single interaction, those that can be checked are not those that are served, and to rank by what looks like
        nothing a model was trained on can be several times worse: there the model must be ahead, by more than half of
        one (which is right in seven of ten cases).
        """
        return lead <= 0.5 if self._mostly_single else lead < -1

    @lazy_property
    def _mostly_single(self) -> bool:
        """Whether most users with interactions have one."""
        degree = self.scorers.user_degree
        return bool(np.mean(degree[degree > 0] == 1) > 0.5)

    def why_popularity(self, name: str, lead: float = 0.0, found: float = 0.0) -> str:
        """The reason for which :meth:`popularity_outdoes` something, for people; empty if it does not.

        Args:
            name: what is judged.
            lead: its :meth:`SelfCheck.lead`; not read if there is no self-check.
            found: its mean :meth:`SelfCheck.ndcg`.
        """
        if self.check is None:
            return "no user has two interactions, so nothing tells what a user likes"
        if not self.popularity_outdoes(lead):
            return ""
        n_users = len(self.check.n_hidden)
        return (
            f"on held-out interactions of {n_users} user{'s' * (n_users != 1)}, popularity has NDCG@10 "
            f"{float(self.check.popularity.mean()):.4f} and {name} {found:.4f}"
            + ("" if lead < -1 else "; most users have one interaction, so the model must be clearly better")
        )

    @lazy_property
    def why_not_linear(self) -> str:
        """:meth:`why_popularity` of the scorers of :meth:`item_item`."""
        if self.check is None:
            return self.why_popularity("")
        lead, found = self.check.lead(self.check.linear), float(self.check.ndcg(self.check.linear).mean())
        return self.why_popularity("fast lists", lead, found)

    @property
    def most_candidates(self) -> int:
        """Items of the longest list that is possible, a user's own left out."""
        return min(self.scorers.n_items, len(SCORERS) * self.top_k)

    def candidates(self, users: torch.Tensor, exclude_seen: bool = True) -> Candidates:
        """Candidate lists of some users.

        Args:
            users: user ids, int64 [n]; an id without interactions has an empty list.
            exclude_seen: whether a user's own interactions are left out.

        Returns:
            Lists padded to the longest, in no particular order, on the scorers' device.
        """
        number = self._user_number[users.to(self.scorers.device)]
        numbers = number.split(self.scorers.block_users)
        if self.scorers.device.type == "cpu":
            parts = in_torch_threads(lambda part: self._block(part, exclude_seen), numbers)
        else:
            parts = [self._block(part, exclude_seen) for part in numbers]
        width = max(part.items.shape[1] for part in parts)
        return Candidates(
            torch.cat([_padded(part.items, width, -1) for part in parts]),
            torch.cat([_padded(part.features, width, 0.0) for part in parts]),
        )

    @contextmanager
    def _scores(self, users: torch.Tensor) -> Iterator[torch.Tensor]:
        """Scores in memory that is used again: fresh pages cost as much time as half of the scores."""
        shape = (len(SCORERS), len(users), self.scorers.n_items)
        try:
            memory = self._memory.pop()
        except IndexError:
            size = len(SCORERS) * self.scorers.block_users * self.scorers.n_items
            with torch.inference_mode(False):  # it is used again, perhaps outside of that mode
                memory = torch.empty(size, device=self.scorers.device)
        yield self.scorers.scores(users, memory[: math.prod(shape)].view(shape))
        self._memory.append(memory)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_memory": []}

    def _own(self, users: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Places of the interactions of some user numbers: row among these, and item number."""
        rows, columns = self.scorers.matrix[users.cpu().numpy()].nonzero()
        device = self.scorers.device
        return torch.from_numpy(rows.astype(np.int64)).to(device), torch.from_numpy(columns.astype(np.int64)).to(device)

    def _block(self, number: torch.Tensor, exclude_seen: bool) -> Candidates:
        inner = number.clamp(min=0)
        with self._scores(inner) as values:
            return self._lists(values.clamp_(min=0.0), number, inner, exclude_seen)

    def _lists(self, values: torch.Tensor, number, inner, exclude_seen: bool) -> Candidates:
        known = number >= 0
        # Among equals the more popular item comes first, whatever its number.
        values *= 1 + 1e-5 * self._item_percentile
        values[:, ~known] = 0.0
        rows, columns = self._own(inner)
        unseen = values.clone() if not exclude_seen else values
        unseen[:, rows, columns] = 0.0
        top_values, top_items = unseen.topk(min(self.top_k, values.shape[2]), dim=2)
        member = torch.zeros(values.shape[1:], dtype=torch.bool, device=values.device)
        place = top_items + torch.arange(len(number), device=values.device)[:, None] * values.shape[2]
        member.view(-1)[place[top_values > 0]] = True
        if not exclude_seen:
            member[rows, columns] = True
            member[~known] = False
        inner_items, mask = _as_lists(member)
        safe = inner_items.clamp(min=0)
        values = values.gather(2, safe.expand(len(values), -1, -1)) * mask
        features = self._features(values, top_values, inner, safe, mask)
        return Candidates(torch.where(mask, self._item_id[safe], -1), features)

    def _features(self, values, top_values, users, items, mask) -> torch.Tensor:
        """Scale-free columns, [n_users, n_candidates, dim]; ``values`` are [n_scorers, n_users, n_candidates]."""
        tiny = torch.finfo(torch.float32).tiny
        best = top_values[:, :, :1].clamp(min=tiny)
        reference = top_values[:, :, min(_REFERENCE_RANK, top_values.shape[2]) - 1 :][:, :, :1]
        reference = torch.where(reference > 1e-6 * best, reference, best)
        share = (values / best).clamp(max=4.0)
        excess = torch.log1p((values / reference).clamp(max=100.0))
        rank = torch.where(mask, -values, torch.inf).argsort(dim=2, stable=True).argsort(dim=2)
        rank = torch.where(values > 0, rank.float(), torch.full_like(values, 400.0))
        nearness = 1 - torch.log1p(rank.clamp(max=400.0)) / math.log(401.0)
        scored = torch.stack([share, excess, nearness])  # [3, n_scorers, n_users, n_candidates]
        trusted = torch.einsum("ws,fsuc->wfuc", self._weights, scored)
        percentile = self._item_percentile[items]
        log_item = self._log_item[items]
        own_mean = self._mean_percentile[users][:, None].expand_as(percentile)
        context = [
            percentile,
            log_item - (log_item * mask).amax(dim=1, keepdim=True),
            self._user_percentile[users][:, None].expand_as(percentile),
            own_mean,
            percentile - own_mean,
            self._log_user[users][:, None].expand_as(percentile) / 5,
        ]
        columns = torch.cat([scored.flatten(0, 1), trusted.flatten(0, 1), torch.stack(context)])
        return (columns * mask).permute(1, 2, 0).contiguous()

    def __call__(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """See :meth:`PairFeatures.__call__`; all zeros for a pair outside the user's candidates."""
        device = self.scorers.device
        distinct, row = users.to(device).unique(return_inverse=True)
        lists = self.candidates(distinct)
        items = items.to(device)
        features = torch.zeros(len(items), self.dim, device=device)
        if lists.items.shape[1]:
            hit = lists.items[row] == items[:, None]
            found = hit.any(dim=1)
            features[found] = lists.features[row[found], hit[found].int().argmax(dim=1)]
        return features

    def full(self, users: torch.Tensor) -> torch.Tensor:
        """See :meth:`PairFeatures.full`; for a few users only, since most rows are zeros."""
        lists = self.candidates(users)
        full = torch.zeros(len(users), self.n_items + 1, self.dim, device=self.scorers.device)
        index = torch.where(lists.mask, lists.items, self.n_items)
        full.scatter_(1, index[..., None].expand(-1, -1, self.dim), lists.features)
        return full[:, : self.n_items]

    def arrays(self) -> dict[str, NDArray]:
        """See :meth:`PairFeatures.arrays`; as large as the scorers are (three regressions take most of it)."""
        own = {"trust": self.trust, "top_k": np.array(self.top_k), "users": self.users, "items": self.items}
        if self.check is not None:
            own |= {f"check.{name}": tensor.numpy() for name, tensor in vars(self.check).items()}
        return own | {f"scorers.{name}": array for name, array in self.scorers.arrays().items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> ProximityPairs:
        """See :meth:`PairFeatures.from_arrays`."""
        parts = {name.removeprefix("scorers."): array for name, array in arrays.items()}
        scorers = GraphScorers.from_arrays(parts)
        kept = {name.removeprefix("check."): array for name, array in arrays.items() if name.startswith("check.")}
        check = SelfCheck(**{name: torch.from_numpy(array) for name, array in kept.items()}) if kept else None
        return cls(scorers, arrays["trust"], int(arrays["top_k"]), arrays["users"], arrays["items"], check)

    def to(self, device: str | torch.device) -> ProximityPairs:
        """The same features computed on another device."""
        wanted, present = torch.device(device), self.scorers.device
        if wanted.type == present.type and (wanted.index is None or wanted.index == present.index):
            return self
        return ProximityPairs(self.scorers.to(device), self.trust, self.top_k, self.users, self.items, self.check)

    def item_item(self, n_kept: int, show_progress: bool = False) -> sp.csr_matrix:
        """The trusted scorers as one matrix, :meth:`GraphScorers.item_item`.

        A linear scorer weighs what its trust is worth, as in the columns of the trusted scorers, by what it says about
        a user's best item, on average over some users.

        Args:
            n_kept: relations of an item that are kept.
            show_progress: whether to draw a progress bar.

        Returns:
            csr float32 by item id, [n_items, n_items], row = item of the user.
        """
        drawn = np.random.default_rng(0).permutation(self.scorers.n_users)[:_N_SCALE_USERS]
        best = torch.zeros(len(SCORERS), device=self.scorers.device)
        for users in torch.from_numpy(drawn).split(self.scorers.block_users):
            with self._scores(users) as values:
                rows, columns = self._own(users)
                values[:, rows, columns] = 0.0
                best += values.amax(dim=2).sum(dim=1)
        weights = torch.where(best > 0, self._weights[0] / best * len(drawn), 0.0).tolist()
        named = {name: weight for name, weight in zip(SCORERS, weights, strict=True) if name in LINEAR}
        relations = self.scorers.item_item(named, n_kept, show_progress)
        ids = np.flatnonzero(self.items >= 0)
        place = (np.ones(len(ids), dtype=np.float32), (ids, self.items[ids]))
        by_id = sp.csr_matrix(place, shape=(self.n_items, self.scorers.n_items))
        return by_id @ relations @ by_id.T.tocsr()

    def updated(self, matrix: sp.csr_matrix) -> ProximityPairs:
        """The features of the interactions that there are by now.

        Counts, percentiles, paths and neighbours are those of a rebuild; filters, regressions and trust stay those of
        the last build, see :meth:`GraphScorers.updated`.

        Args:
            matrix: all interactions by id, csr [n_users, n_items], at least as large as before.
        """
        users = _numbered(self.users, np.diff(matrix.indptr), self.scorers.n_users)
        items = _numbered(self.items, np.bincount(matrix.indices, minlength=matrix.shape[1]), self.scorers.n_items)
        rows, columns = matrix.nonzero()
        shape = (int(users.max()) + 1, int(items.max()) + 1)
        numbered = sp.csr_matrix((np.ones(len(rows), dtype=np.float32), (users[rows], items[columns])), shape=shape)
        return ProximityPairs(self.scorers.updated(numbered), self.trust, self.top_k, users, items, self.check)

    def reindexed(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> ProximityPairs:
        """See :meth:`PairFeatures.reindexed`."""
        new_users = np.where(users >= 0, self.users[users], -1)
        new_items = np.where(items >= 0, self.items[items], -1)
        return ProximityPairs(self.scorers, self.trust, self.top_k, new_users, new_items, self.check)


class ProximityFeatures(FeatureFamily):
    """Scale-free responses of training-free graph scorers to a user and an item, and the activity of both.

    Columns of a pair: for each scorer its value relative to the user's best and to the user's 20th best item and its
    log-rank in the list; the same three averaged over the scorers by trust, softly and for the best scorer alone;
    activity percentiles and degrees of both sides. Trust is a scorer's NDCG@10 on hidden training interactions
    relative to the best scorer's: a number about the data set's own statistics, on no scale but 0 to 1.

    Args:
        top_k: candidates each scorer contributes, >= 1.
        n_neighbors: neighbours of an item in the nearest-neighbour scorer, >= 1.
        max_rank: most singular vectors of the low-pass filters, >= 4.
        max_regression_items: most popular items that the regressions relate, >= 1; their cost is cubic in it.
        n_check_users: users whose interactions the self-check hides, >= 1.
        check_share: share of the interactions of such a user that is hidden, in (0, 1); at least one is.

    Raises:
        ValueError: naming the argument and what is valid.
    """

    name = "proximity"
    version = 1
    pair_class = ProximityPairs
    seeded = True
    large = True

    def __init__(
        self,
        top_k: int = 50,
        n_neighbors: int = 100,
        max_rank: int = 256,
        max_regression_items: int = 6000,
        n_check_users: int = 500,
        check_share: float = 0.2,
    ) -> None:
        owner = self.owner()
        self.top_k = arguments.integer(owner, "top_k", top_k, 1)
        self.n_neighbors = arguments.integer(owner, "n_neighbors", n_neighbors, 1)
        self.max_rank = arguments.integer(owner, "max_rank", max_rank, 4)
        self.max_regression_items = arguments.integer(owner, "max_regression_items", max_regression_items, 1)
        self.n_check_users = arguments.integer(owner, "n_check_users", n_check_users, 1)
        self.check_share = arguments.real(owner, "check_share", check_share, 0)
        if self.check_share >= 1:
            raise ValueError(f"{owner}: argument check_share must be a number in (0, 1), not {check_share!r}")
        self.args = {
            "top_k": self.top_k,
            "n_neighbors": self.n_neighbors,
            "max_rank": self.max_rank,
            "max_regression_items": self.max_regression_items,
            "n_check_users": self.n_check_users,
            "check_share": self.check_share,
        }
        self.user_dim = self.item_dim = 0
        self.pair_dim = n_columns()

    def compute(
        self,
        graph: InteractionGraph,
        embedding: NDArray[np.float32] | None = None,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
        show_progress: bool = False,
    ) -> FamilyFeatures:
        """Build the scorers and check them; see :meth:`FeatureFamily.compute`."""
        matrix = graph.user_item
        trust, check = self._self_check(matrix, seed, device, show_progress)
        scorers = self._scorers(matrix, device, show_progress)
        return _of_pairs(ProximityPairs(scorers, trust, self.top_k, check=check).to("cpu"))

    def updated(self, features: FamilyFeatures, graph: InteractionGraph) -> FamilyFeatures | None:
        """See :meth:`FeatureFamily.updated` and :meth:`ProximityPairs.updated`.

        ``None`` where the self-check, on which the trust and the verdicts rest, could be of twice as many users.
        """
        assert isinstance(features.pair, ProximityPairs)
        check, degree = features.pair.check, np.diff(graph.user_item.indptr)
        n_checked = 0 if check is None else len(check.n_hidden)
        could_be = min(int((degree >= 2).sum()), self._most_checked(int((degree > 0).sum())))
        return None if could_be >= max(1, 2 * n_checked) else _of_pairs(features.pair.updated(graph.user_item))

    def _most_checked(self, n_users: int) -> int:
        """Users of the self-check of a data set."""
        return min(self.n_check_users, max(20, n_users // 4))

    def _scorers(self, matrix: sp.csr_matrix, device, show_progress: bool) -> GraphScorers:
        return GraphScorers(
            matrix,
            n_neighbors=self.n_neighbors,
            max_rank=self.max_rank,
            max_regression_items=self.max_regression_items,
            device=device,
            show_progress=show_progress,
        )

    def _self_check(
        self, matrix: sp.csr_matrix, seed: int, device, show_progress: bool
    ) -> tuple[NDArray[np.float32], SelfCheck | None]:
        """Trust in each scorer by hidden interactions, float32 [n_scorers], and lists to judge a model by."""
        n_users = self._most_checked(matrix.shape[0])
        support, query = support_query_split(matrix, n_users, self.check_share, np.random.default_rng(seed))
        users = np.flatnonzero(np.diff(query.indptr))
        if not len(users):
            return _relative(np.zeros(len(SCORERS))), None  # nobody has two interactions: nothing can be hidden
        scorers = self._scorers(support, device, show_progress)
        gains: list[NDArray[np.float64]] = []
        block = scorers.block_users
        memory = torch.empty(len(SCORERS), block, scorers.n_items, device=scorers.device)
        for start in range(0, len(users), block):
            part = users[start : start + block]
            scores = scorers.scores(torch.from_numpy(part), memory[:, : len(part)])
            top = best_unseen(scores, support[part], _LENGTH)[1].cpu()
            hidden = torch.from_numpy(query[part].toarray() > 0)
            hits = hidden.expand(len(top), -1, -1).gather(2, top).numpy()
            gains.append(ndcg(hits, hidden.sum(dim=1).numpy()))
        del memory
        gain = np.concatenate(gains, axis=1)
        halves = []
        for half in (0, 1):
            if len(users[half::2]):
                trust = _relative(gain[:, 1 - half :: 2].sum(axis=1))
                halves.append(_checked(ProximityPairs(scorers, trust, self.top_k), users[half::2], query))
        return _relative(gain.sum(axis=1)), _joined(halves)


def _relative(gain: NDArray[np.float64]) -> NDArray[np.float32]:
    """Values by the largest; ones if all are 0."""
    return (gain / gain.max()).astype(np.float32) if gain.max() > 0 else np.ones(len(gain), dtype=np.float32)


def _checked(pairs: ProximityPairs, users: NDArray[np.int64], query: sp.csr_matrix) -> SelfCheck:
    """The self-check of users whose interactions in ``query`` are hidden from ``pairs``."""
    lists = pairs.candidates(torch.from_numpy(users))
    linear = lists.features[..., _LINEAR] @ pairs._weights[0][_LINEAR]
    items, mask = lists.items.cpu().numpy(), lists.mask.cpu()
    n_items = query.shape[1]
    rows, columns = (numbers.astype(np.int64) for numbers in query[users].nonzero())
    label = np.isin(np.arange(len(users))[:, None] * n_items + items, rows * n_items + columns) & mask.numpy()
    n_hidden = np.diff(query.indptr)[users]
    popular = np.argsort(-pairs.scorers.item_degree, kind="stable")
    below, popularity = np.zeros((2, len(users)))
    for row, user in enumerate(users):
        own, hidden = pairs.scorers.matrix[user].indices, query[user].indices
        found = items[row][items[row] >= 0]
        for values, before in ((popularity, found[:0]), (below, found[:_LENGTH])):
            follow = next_popular(popular, np.concatenate([own, before]), _LENGTH - len(before))
            hits = np.isin(np.concatenate([np.full(len(before), -1), follow]), hidden)
            values[row] = ndcg(np.pad(hits, (0, _LENGTH - len(hits)))[None], n_hidden[[row]])[0]
    return SelfCheck(
        features=lists.features.half().cpu(),
        mask=mask,
        label=torch.from_numpy(label),
        n_hidden=torch.from_numpy(n_hidden.astype(np.int64)),
        below=torch.from_numpy(below),
        popularity=torch.from_numpy(popularity),
        linear=linear.half().cpu(),
    )


def _joined(checks: list[SelfCheck]) -> SelfCheck:
    width = max(check.mask.shape[1] for check in checks)
    joined = {
        name: torch.cat([_padded(part, width, 0) if part.ndim > 1 else part for part in parts])
        for name, parts in ((name, [getattr(check, name) for check in checks]) for name in vars(checks[0]))
    }
    return SelfCheck(**joined)


def next_popular(popular: NDArray[np.int64], taken: NDArray[np.integer], n: int) -> NDArray[np.int64]:
    """The first n of some items, most popular first, that are not taken; fewer if there are no more."""
    first = popular[: n + len(taken)]
    return first[~np.isin(first, taken)][:n]


def _of_pairs(pairs: ProximityPairs) -> FamilyFeatures:
    """Features of pairs alone: no column of a user or an item."""
    user, item = (np.zeros((size, 0), dtype=np.float32) for size in (pairs.n_users, pairs.n_items))
    return FamilyFeatures(user, item, pairs)


def _numbered(numbers: NDArray[np.int64], degree: NDArray[np.int64], n_known: int) -> NDArray[np.int64]:
    """Numbers by id, the ids that have come into use since counted on from ``n_known``."""
    grown = np.concatenate([numbers, np.full(len(degree) - len(numbers), -1, dtype=np.int64)])
    new = np.flatnonzero((grown < 0) & (degree > 0))
    grown[new] = n_known + np.arange(len(new))
    return grown


def n_columns() -> int:
    """Number of values of a pair."""
    return 3 * (len(SCORERS) + _N_TRUSTED) + len(_CONTEXT)


def column_groups() -> dict[str, list[int]]:
    """Places of the columns of a pair by what they are of: a scorer, the trusted scorers, or activity."""
    n = len(SCORERS)
    groups = {name: [number, n + number, 2 * n + number] for number, name in enumerate(SCORERS)}
    groups["trusted scorers"] = list(range(3 * n, 3 * (n + _N_TRUSTED)))
    return groups | {"activity": list(range(3 * (n + _N_TRUSTED), n_columns()))}


def support_query_split(
    matrix: sp.csr_matrix, n_users: int, share: float, generator: np.random.Generator
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Hide some interactions of some users.

    Args:
        matrix: interactions, csr [n_users, n_items].
        n_users: users to draw, among those with at least two interactions.
        share: share of a drawn user's interactions that is hidden, rounded; at least one, never all.
        generator: source of randomness.

    Returns:
        The support part and the hidden query part, csr of the shape of ``matrix``; their sum is ``matrix``.
    """
    degree = np.diff(matrix.indptr)
    able = np.flatnonzero(degree >= 2)
    users = np.sort(generator.permutation(able)[:n_users])
    hidden = np.zeros(matrix.nnz, dtype=bool)
    for user in users:
        n_hidden = min(max(1, round(share * degree[user])), degree[user] - 1)
        hidden[matrix.indptr[user] + generator.permutation(degree[user])[:n_hidden]] = True
    parts = []
    for kept in (~hidden, hidden):
        indptr = np.concatenate([[0], np.cumsum(kept)])[matrix.indptr]
        parts.append(sp.csr_matrix((matrix.data[kept], matrix.indices[kept], indptr), shape=matrix.shape))
    return parts[0], parts[1]


def best_unseen(scores: torch.Tensor, seen: sp.csr_matrix, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The best items of each scorer for some users; items of equal score, also of score 0, in no particular order.

    Args:
        scores: float32 [n_scorers, n_users, n_items]; changed.
        seen: the users' interactions, csr [n_users, n_items].
        k: items of a list.

    Returns:
        Scores and item numbers, [n_scorers, n_users, at most k]; a score of minus infinity is of an item seen.
    """
    rows, columns = (torch.from_numpy(index.astype(np.int64)).to(scores.device) for index in seen.nonzero())
    scores[:, rows, columns] = -torch.inf
    best, items = scores.topk(min(k, scores.shape[2]), dim=2)
    return best, items


def ndcg(hits: NDArray[np.bool_], n_relevant: NDArray[np.int64]) -> NDArray[np.float64]:
    """NDCG of ranked lists.

    Args:
        hits: whether each place of a list holds a relevant item, [..., n_users, k].
        n_relevant: relevant items of each user, at least 1, [n_users].

    Returns:
        [..., n_users].
    """
    discount = 1 / np.log2(np.arange(2, hits.shape[-1] + 2))
    ideal = np.cumsum(discount)[np.minimum(n_relevant, hits.shape[-1]) - 1]
    return (hits * discount).sum(axis=-1) / ideal


def _percentiles(degree: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mid-rank percentile of each degree, in (0, 1)."""
    return ((rankdata(degree) - 0.5) / max(1, len(degree))).astype(np.float32)


def _as_lists(member: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Column numbers of the true places of each row, -1 padded, int64 [n_rows, longest >= 1], and where they are."""
    rows, columns = member.nonzero(as_tuple=True)
    lengths = member.sum(dim=1)
    starts = lengths.cumsum(0) - lengths
    place = torch.arange(len(rows), device=member.device) - starts[rows]
    longest = max(1, int(lengths.max())) if len(member) else 1
    lists = torch.full((len(member), longest), -1, device=member.device)
    lists[rows, place] = columns
    return lists, lists >= 0


def _padded(values: torch.Tensor, width: int, fill: float) -> torch.Tensor:
    shape = (values.shape[0], width - values.shape[1], *values.shape[2:])
    return torch.cat([values, values.new_full(shape, fill)], dim=1)
