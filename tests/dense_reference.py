"""Graph scorers, proximity columns and bins in dense float64 NumPy.

Written from the formulas of docs/method.md and of the papers that the docstrings of ``recbole_universal`` name; nothing
here calls the package.
"""

from __future__ import annotations

import math

import numpy as np

SCORERS = (
    "user_cosine",
    "user_squared",
    "rp3",
    "linear_filter",
    "neighbors",
    "low_pass",
    "mid_pass",
    "full_pass",
    "regression",
    "popularity",
)


def small() -> np.ndarray:
    """40 users and 25 items: an empty user, an empty item, a user of most items, twins, and many equal degrees."""
    rng = np.random.default_rng(5)
    popularity = 1 / np.arange(1, 26) ** 0.7
    seen = rng.random((40, 25)) < 0.55 * popularity
    seen[7], seen[:, 11] = False, False
    seen[3, :22] = True
    seen[3, 11] = False
    seen[20] = seen[21]
    seen[:, 17] = seen[:, 18]
    seen[30], seen[30, [2, 23]] = False, True
    return seen.astype(np.float64)


def large() -> np.ndarray:
    """104 users and 100 items in two communities that overlap: the filters have rank 12, lists more than 20 items."""
    rng = np.random.default_rng(6)
    same = (np.arange(104) % 2)[:, None] == np.arange(100) % 2
    popularity = 1 / np.arange(1, 101) ** 0.5
    seen = rng.random((104, 100)) < np.where(same, 0.8, 0.15) * popularity
    seen[0], seen[:, 99], seen[50, :80] = False, False, True
    return seen.astype(np.float64)


def weighted(seen: np.ndarray) -> np.ndarray:
    """The interactions with weights of a mean near 1 in each user."""
    weights = seen * 2.0 ** np.random.default_rng(7).integers(-1, 2, seen.shape)
    return weights * seen.sum(axis=1, keepdims=True) / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)


MATRICES = {"small": small(), "large": large(), "wide": large().T[:90]}
WEIGHTED = {"weighted": weighted(large()), "weighted wide": weighted(large().T[:90])}


def power(degree: np.ndarray, exponent: float) -> np.ndarray:
    """``degree ** -exponent``; 0 where the degree is 0."""
    return np.where(degree > 0, np.maximum(degree, 1.0) ** -exponent, 0.0)


def degrees(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the weights of each user and of each item, which are numbers of interactions without weights."""
    return seen.sum(axis=1), seen.sum(axis=0)


def counts(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of interactions of each user and of each item, with weights or without."""
    return degrees((seen > 0).astype(np.float64))


def most_popular(seen: np.ndarray) -> np.ndarray:
    """Item indices by popularity; items of equal popularity by index."""
    return np.argsort(-counts(seen)[1], kind="stable")


def item_relations(
    seen: np.ndarray, n_neighbors: int = 100, max_regression_size: int = 6000, penalty: float = 3.0
) -> dict[str, np.ndarray]:
    """Item-item matrix of each linear scorer, [n_items, n_items], row = item of the user."""
    user, item = degrees(seen)
    half, root = power(item, 0.5), np.where(item > 0, np.sqrt(np.maximum(item, 1.0)), 0.0)
    normal = power(user, 0.5)[:, None] * seen * half
    relations = {
        "rp3": power(item, 1.0)[:, None] * (seen.T @ (power(user, 1.0)[:, None] * seen)) * half,
        "linear_filter": normal.T @ normal,
        "user_cosine": seen.T @ (power(user, 0.5)[:, None] * seen),
        "neighbors": neighbors(seen, n_neighbors).T,
    }
    # GF-CF's ideal low-pass filter (Shen et al., CIKM 2021, Eq. 11): D_i^-1/2 V V^T D_i^1/2.
    smaller = min(seen.shape)
    rank = min(max(8, smaller // 8), smaller)
    _, values, vectors = np.linalg.svd(normal)
    for name, cut in (("low_pass", rank // 4), ("mid_pass", rank // 2), ("full_pass", rank)):
        assert values[cut - 1] - values[cut] > 1e-3  # otherwise the cut separates equal singular values
        largest = vectors[:cut].T
        relations[name] = half[:, None] * (largest @ largest.T) * root
    # EASE (Steck, WWW 2019, Eq. 8): B = I - P diag(1 / diag P), P = (X^T X + lambda I)^-1.
    fewer = seen.shape[0] < seen.shape[1] and seen.shape[0] <= max_regression_size
    popular = most_popular(seen)[: None if fewer else max_regression_size]
    chosen = seen[:, popular]
    squares = (chosen**2).sum(axis=0)  # without weights, the numbers of interactions
    mean = squares[squares > 0].mean()
    inverse = np.linalg.inv(chosen.T @ chosen + penalty * mean * np.eye(len(popular)))
    relations["regression"] = np.zeros((len(item), len(item)))
    relations["regression"][np.ix_(popular, popular)] = np.eye(len(popular)) - inverse / np.diag(inverse)
    return relations


def neighbors(seen: np.ndarray, n_neighbors: int) -> np.ndarray:
    """Cosines of each item (row) and its nearest; items that tie with the last are included, unless too many do."""
    squares = (seen**2).sum(axis=0)
    cosines = power(squares, 0.5)[:, None] * (seen.T @ seen) * power(squares, 0.5)
    np.fill_diagonal(cosines, 0.0)
    for row in cosines:
        if (row > 0).sum() > n_neighbors:
            least = np.sort(row)[-n_neighbors]
            near = row >= least - 1e-9
            if near.sum() > 4 * n_neighbors:
                near = row > least + 1e-9
            row[~near] = 0.0
    return cosines


def scores(seen: np.ndarray, *settings: float) -> np.ndarray:
    """Scores of every item for every user by the settings of :func:`item_relations`, [n_scorers, n_users, n_items]."""
    user, item = degrees(seen)
    related = item_relations(seen, *settings)
    by_name = {name: seen @ matrix for name, matrix in related.items()}
    similar = (seen * power(item, 0.7)) @ seen.T * power(user, 0.5)
    np.fill_diagonal(similar, 0.0)
    by_name["user_squared"] = similar**2 @ seen
    by_name["popularity"] = np.where(seen @ seen.T @ seen > 0, counts(seen)[1], 0.0)
    values = np.stack([by_name[name] for name in SCORERS])
    step = 2.0 ** (np.frexp(values.max(axis=2, keepdims=True))[1] - 16)
    return np.round(values / step) * step


def percentiles(values: np.ndarray) -> np.ndarray:
    """Share of smaller values plus half the share of equal values."""
    return np.array([((values < value).sum() + (values == value).sum() / 2) / len(values) for value in values])


class Columns:
    """The 42 columns of the pairs of one dataset.

    Args:
        seen: interactions, 1 or the weight of each, [n_users, n_items].
        scores: of :func:`scores`.
        weights: of the scorers, [n_scorers].
        top_k: candidates of each scorer.
        most_filtered: number of most popular items among which the shortest filter draws.
    """

    def __init__(
        self, seen: np.ndarray, scores: np.ndarray, weights: np.ndarray, top_k: int, most_filtered: int = 2**14
    ) -> None:
        self.seen, self.top_k, self.most_filtered = seen, top_k, most_filtered
        user, item = counts(seen)
        self.item_percentile, self.user_percentile = percentiles(item), percentiles(user)
        # Of items with equal scores the more popular comes first.
        self.values = np.maximum(scores, 0.0) * (1 + 1e-5 * self.item_percentile)
        soft = np.exp(20 * weights)
        best = weights == weights.max()
        self.averages = np.stack([soft / soft.sum(), best / best.sum()])

    def unseen(self, user: int) -> np.ndarray:
        return np.where(self.seen[user] > 0, 0.0, self.values[:, user])

    def candidates(self, user: int) -> tuple[set[int], set[int]]:
        """Items that are candidates, and items that are candidates or not by rounding.

        They are the best by neighbours, by the shortest filter among popular items, by the regression and by the
        squared similarity of the 100 nearest users, and the 20 most popular ones that the user lacks.
        """
        sure, possible = set(), set()
        nearest = self.nearest_users(user) @ self.seen * (1 + 1e-5 * self.item_percentile)
        unseen = self.unseen(user)
        rows = [unseen[SCORERS.index(name)] for name in ("neighbors", "low_pass", "regression")]
        rows[1] = np.where(
            np.isin(np.arange(len(rows[1])), most_popular(self.seen)[: self.most_filtered]), rows[1], 0.0
        )
        for row in (*rows, np.where(self.seen[user] > 0, 0.0, nearest)):
            least = np.sort(row)[::-1][min(self.top_k, len(row)) - 1]
            sure |= set(np.flatnonzero((row > least * (1 + 1e-4)) & (row > 1e-6)))
            possible |= set(np.flatnonzero((row >= least * (1 - 1e-4)) & (row > 0)))
        reached = unseen.max(axis=0) > 0
        order = [item for item in most_popular(self.seen) if not self.seen[user, item]]
        popular = {int(item) for item in order[:20] if reached[item]}
        return sure | popular, possible | popular

    def nearest_users(self, user: int) -> np.ndarray:
        """Squared similarity of the 100 nearest users, 0 for all others, [n_users]."""
        user_degree, item_degree = degrees(self.seen)
        similar = (self.seen[user] * power(item_degree, 0.7)) @ self.seen.T * power(user_degree, 0.5)
        similar[user] = 0.0
        near = np.argsort(-similar, kind="stable")[:100]
        return np.where(np.isin(np.arange(len(similar)), near), similar, 0.0) ** 2

    def of(self, user: int, items: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Columns of a user's list of candidates.

        Returns:
            The columns [n_items, 42], and their least and largest values over all orders of nearly equal items.
        """
        top = -np.sort(-np.where(np.isin(np.arange(self.seen.shape[1]), items), self.unseen(user), 0.0), axis=1)
        best = top[:, :1]
        reference = top[:, [min(20, self.top_k, top.shape[1]) - 1]]
        reference = np.where(reference > 1e-6 * best, reference, best)
        values = self.values[:, user][:, items]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(values > 0, np.minimum(values / best, 4.0), 0.0)
            excess = np.where(values > 0, np.log1p(np.minimum(values / reference, 100.0)), 0.0)
        orders = []
        highest = self.values[:, user].max(axis=1)
        for how in (0.0, -3e-5, 3e-5):
            # How many of the list are above: none of the equals, some, all but itself.
            above = [
                [(row > value + how * scale).sum() for value in row] for row, scale in zip(values, highest, strict=True)
            ]
            rank = np.array(above) - (how < 0)
            nearness = 1 - np.log1p(np.where(values > 0, np.maximum(rank, 0), 400)) / math.log(401)
            scored = np.stack([share, excess, nearness])
            averages = np.stack([np.tensordot(weights, kind, axes=1) for weights in self.averages for kind in scored])
            orders.append(np.concatenate([*scored, averages, self._context(user, items)]).T)
        return orders[0], orders[1], orders[2]

    def _context(self, user: int, items: np.ndarray) -> np.ndarray:
        user_degree, item_degree = counts(self.seen)
        percentile = self.item_percentile[items]
        mean = self.item_percentile[self.seen[user] > 0].mean()
        one = np.ones(len(items))
        return np.stack(
            [
                percentile,
                np.log1p(item_degree[items]) - np.log1p(item_degree[items]).max(),
                self.user_percentile[user] * one,
                mean * one,
                percentile - mean,
                np.log1p(user_degree[user]) / 5 * one,
            ]
        )


def ndcg(hits: np.ndarray, n_relevant: int, k: int = 10) -> float:
    """NDCG@k of one list, from its hits, best position first."""
    gains = [1 / math.log2(rank + 2) for rank in range(k)]
    return sum(gain for gain, hit in zip(gains, hits, strict=False) if hit) / sum(gains[: min(k, n_relevant)])


def two_hot(percentile: float, n_bins: int) -> np.ndarray:
    """Linear membership in the two nearest of ``n_bins`` knots at 0, 1/(n-1), ..., 1."""
    return np.maximum(0.0, 1 - np.abs(percentile * (n_bins - 1) - np.arange(n_bins)))


def bins(values: np.ndarray, present: np.ndarray, n_bins: int, kind: str, base: float, first: float) -> np.ndarray:
    """Rows of bins; zeros where not ``present``.

    ``soft`` and ``hard`` bin the mid-rank percentile among those present; ``log`` has the edges first * base^k.
    """
    rows = np.zeros((len(values), n_bins))
    where = np.flatnonzero(present)
    for row, percentile in zip(where, percentiles(values[where]), strict=True):
        if kind == "soft":
            rows[row] = two_hot(percentile, n_bins)
        elif kind == "hard":
            rows[row, min(int(percentile * n_bins), n_bins - 1)] = 1
        else:
            rows[row, sum(values[row] >= first * base**k for k in range(1, n_bins))] = 1
    return rows
