"""Generated interactions of any size: heavy-tailed users and items, planted communities, seeded, streamed to disk.

    python benchmarks/generate.py --users 138000 --items 27000 --interactions 20000000 --output generated/20m

The numbers of interactions of users are log-normal, and the popularity of items follows a power law. Each user and
each item belongs to one community, and most interactions of a user stay inside it. Repeated pairs are dropped, so the
file has somewhat fewer rows than --interactions.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from recbole_universal.files import atomic_write

N_COMMUNITIES = 50
INSIDE = 0.7
POPULARITY_EXPONENT = 0.6
DEGREE_SIGMA = 1.0
_CHUNK = 2_000_000


def chunks(n_users: int, n_items: int, n_interactions: int, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Distinct pairs of user and item indices, int64 each, some million at a time, sorted by user.

    Args:
        n_users: number of users.
        n_items: number of items.
        n_interactions: pairs drawn.
        seed: source of all randomness.
    """
    rng = np.random.default_rng(seed)
    weight = rng.lognormal(0.0, DEGREE_SIGMA, n_users)
    degree = np.minimum(np.maximum(1, np.round(weight * n_interactions / weight.sum())), n_items // 2).astype(np.int64)
    n_communities = min(N_COMMUNITIES, n_items)
    home = rng.integers(0, n_communities, n_users)
    # Item indices are shuffled, so that they do not show popularity or community.
    names = rng.permutation(n_items)
    popularity = np.arange(1, n_items + 1, dtype=np.float64) ** -POPULARITY_EXPONENT
    everywhere = np.cumsum(popularity) / popularity.sum()
    inside = [np.arange(k, n_items, n_communities) for k in range(n_communities)]
    sums = [np.cumsum(popularity[items]) / popularity[items].sum() for items in inside]
    ends = np.cumsum(degree)
    start = 0
    while start < n_users:
        stop = max(start + 1, int(np.searchsorted(ends, (ends[start - 1] if start else 0) + _CHUNK)))
        users = np.repeat(np.arange(start, stop), degree[start:stop])
        draws, stays = rng.random(len(users)), rng.random(len(users)) < INSIDE
        items = np.minimum(np.searchsorted(everywhere, draws), n_items - 1)
        of = home[users]
        for k in range(n_communities):
            rows = stays & (of == k)
            items[rows] = inside[k][np.minimum(np.searchsorted(sums[k], draws[rows]), len(inside[k]) - 1)]
        pairs = np.unique(users * n_items + names[items])
        yield pairs // n_items, pairs % n_items
        start = stop


def matrix(n_users: int, n_items: int, n_interactions: int, seed: int = 0) -> sp.csr_matrix:
    """The interactions as a binary csr float32 [n_users, n_items]."""
    lengths, parts = np.zeros(n_users, dtype=np.int64), []
    for users, items in chunks(n_users, n_items, n_interactions, seed):
        lengths += np.bincount(users, minlength=n_users)
        parts.append(items.astype(np.int32))
    indptr, indices = np.concatenate([[0], np.cumsum(lengths)]), np.concatenate(parts)
    return sp.csr_matrix((np.ones(len(indices), dtype=np.float32), indices, indptr), shape=(n_users, n_items))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=6000)
    parser.add_argument("--items", type=int, default=3500)
    parser.add_argument("--interactions", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="folder of the dataset; its name is that of it")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    file = arguments.output / f"{arguments.output.name}.inter"
    rows = 0
    with atomic_write(file) as stream:
        stream.write(b"user_id:token\titem_id:token\n")
        for users, items in chunks(arguments.users, arguments.items, arguments.interactions, arguments.seed):
            stream.writelines(f"u{user}\ti{item}\n".encode() for user, item in zip(users, items, strict=True))
            rows += len(users)
    print(f"{file}: {rows} interactions")


if __name__ == "__main__":
    main()
