"""Known items by content: the same model with and without content, on the same held-out interactions.

``python benchmarks/content.py --part warm`` runs it. A tenth of each user's interactions is tested, another tenth is
left out as a validation part would be, and the rest is known. All items that the user has not had are ranked.
"""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pandas as pd
import scipy.sparse as sp
from report import markdown

from recbole_universal import UniversalRanker
from recbole_universal.content.spaces import Space
from recbole_universal.graph.held_out import held_out_hits
from recbole_universal.metrics import ndcg, paired_z_score
from recbole_universal.ranking.correction import ContentGain

#: Datasets without a filter of items, and those of five interactions an item.
SPARSE = "amazon-industrial amazon-office-text bx-books citeulike-a coco-mooc"
DENSE = (
    "amazon-industrial bx-books coco-mooc ml-latest-small lastfm-2k citeulike-a anime yelp-s3rec citations-a "
    "book-crossing ml-100k ml-1m hm-copurchase msweb amazon-book-kgat"
)
N_USERS, K, _DRAWN = 5000, 10, 60


class WarmSplit:
    """Known and tested interactions, csr [n_users, n_items] each, and the users whose lists are evaluated."""

    def __init__(self, matrix: sp.csr_matrix, generator: np.random.Generator):
        part = np.zeros(matrix.nnz, dtype=np.int64)
        for start, stop in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
            n, order = max(1, round((stop - start) / 10)), generator.permutation(stop - start)
            part[start + order[:n]], part[start + order[n : 2 * n]] = 2, 1

        def where(chosen: np.ndarray) -> sp.csr_matrix:
            kept = matrix.copy()
            kept.data = chosen.astype(np.float32)
            kept.eliminate_zeros()
            return kept

        self.train, self.left_out, self.test = (where(part == one) for one in range(3))
        self.users = np.sort(generator.permutation(np.flatnonzero(np.diff(self.test.indptr)))[:N_USERS])

    def ndcg(self, ranker: UniversalRanker) -> np.ndarray:
        """NDCG@10 of each user, float64 [n_users]."""
        drawn = ranker.top_k(self.users, _DRAWN)[0]
        lists = np.full((len(drawn), K), -1)
        for row, (user, items) in enumerate(zip(self.users, drawn, strict=True)):
            best = items[~np.isin(items, self.left_out[user].indices)][:K]
            lists[row, : len(best)] = best
        test = self.test[self.users]
        return ndcg(held_out_hits(lists, test), np.diff(test.indptr))


def measure_warm(matrix: sp.csr_matrix, spaces: list[Space], seed: int) -> dict:
    """Results of one split: without content, with it where the self-check says so, and with it in any case."""
    split = WarmSplit(matrix, np.random.default_rng(seed))
    ranker = UniversalRanker(split.train, seed=seed, content=spaces)
    gain = ranker.network.content_gain
    assert gain is not None

    def ndcg_if(helps: bool) -> np.ndarray:
        with patch.object(ContentGain, "helps", helps):
            ranker.network._checked = None
            return split.ndcg(ranker)

    without, always = ndcg_if(False), ndcg_if(True)
    difference = always - without
    return {
        "seed": seed,
        "users": len(split.users),
        "items": matrix.shape[1],
        "interactions": int(matrix.nnz),
        "without": float(without.mean()),
        "always": float(always.mean()),
        "z": paired_z_score(difference),
        "error": float(difference.std(ddof=1) / len(difference) ** 0.5),
        "chosen": bool(gain.helps),
        "check without": gain.without,
        "check with": gain.with_content,
        "check z": gain.z_score,
    }


def warm_table(rows: list[dict]) -> str:
    """Markdown with a row for each dataset and filter, means over the seeds."""
    rows = [row for row in rows if row.get("part") == "warm"]
    if not rows:
        return ""
    frame = pd.DataFrame(rows)
    frame["with"] = np.where(frame["chosen"], frame["always"], frame["without"])
    lines = []
    for five_core, names in ((False, SPARSE), (True, DENSE)):
        for name in names.split():
            of_set = frame[(frame["dataset"] == name) & (frame["five_core"] == five_core)]
            if of_set.empty:
                continue
            mean, n = of_set.mean(numeric_only=True), len(of_set)
            error = np.sqrt((of_set["error"] ** 2).sum()) / n / mean["without"]
            lines.append(
                [
                    name,
                    "5" if five_core else "-",
                    str(n),
                    f"{mean['without']:.4f}",
                    f"{mean['with']:.4f}",
                    f"{mean['with'] / mean['without']:.3f}",
                    f"{mean['always'] / mean['without']:.3f}",
                    f"{error:.3f}",
                    f"{of_set['chosen'].sum()} of {n}",
                    ", ".join(f"{z:+.1f}" for z in of_set["check z"]),
                ]
            )
    head = ["dataset", "least users of an item", "splits", "without content", "with content", "ratio"]
    return markdown([*head, "ratio, content always", "error of that", "content chosen", "z in the self-check"], lines)
