"""The embedding tables of docs/node2vec.md: seconds and link prediction against gensim."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import ModuleType

import numpy as np
import scipy.sparse as sp
import torch
from node2vec_walks import WALK_LENGTH, WALKS_PER_NODE, import_optional, yes
from sklearn.metrics import roc_auc_score

from recbole_universal.graph import InteractionGraph, RandomWalker, factorize_walks, node2vec

CONTEXT_SIZE, SMALL_CONTEXT_SIZE, DIM = 10, 4, 64
#: Epochs (gensim's default is 5), negatives (default 5), context size.
GENSIM_RUNS = ((1, 1, 10), (1, 1, 4), (1, 5, 4), (1, 5, 10), (5, 1, 10), (5, 5, 10))

#: A run: its implementation, context size, epochs, negatives.
OURS = ("factorize_walks, same walks", SMALL_CONTEXT_SIZE, "", "")


def held_out_edges(full: InteractionGraph, share: float, seed: int) -> tuple[InteractionGraph, np.ndarray, np.ndarray]:
    """A graph without a random share of each user's interactions, and the users and items of these.

    The number of a user's held-out interactions is rounded at random, so that its expectation is exact. A user keeps at
    least one interaction.
    """
    rng = np.random.default_rng(seed)
    users, items = full.edges()
    n_held_out = np.floor(share * full.user_degree + rng.random(full.n_users)).astype(np.int64)
    n_held_out = np.minimum(n_held_out, np.maximum(full.user_degree - 1, 0))
    # Edges in random order within each user: the first ones are held out.
    shuffled = np.lexsort((rng.random(full.n_edges), users))
    rank = np.arange(full.n_edges) - full.user_item.indptr[users]
    held_out = np.zeros(full.n_edges, dtype=bool)
    held_out[shuffled[rank < n_held_out[users]]] = True
    entries = (full.user_item.data[~held_out], (users[~held_out], items[~held_out]))
    return InteractionGraph(sp.csr_matrix(entries, shape=full.user_item.shape)), users[held_out], items[held_out]


class LinkPrediction:
    """Held-out interactions and as many random pairs that are no interaction, of users and items in the graph."""

    def __init__(self, full: InteractionGraph, seed: int) -> None:
        self.graph, users, items = held_out_edges(full, 0.2, seed)
        seen = self.graph.item_degree[items] > 0
        self.n_users, self.users, self.items = full.n_users, users[seen], items[seen]
        rng = np.random.default_rng(seed)
        some_users = rng.choice(np.flatnonzero(self.graph.user_degree), 4 * len(users))
        some_items = rng.choice(np.flatnonzero(self.graph.item_degree), 4 * len(users))
        free = np.asarray(full.user_item[some_users, some_items]).ravel() == 0
        self.other_users = some_users[free][: len(self.users)]
        self.other_items = some_items[free][: len(self.users)]

    def auc(self, score: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> float:
        """Area under the ROC curve of a function of users and items."""
        scores = [score(self.users, self.items), score(self.other_users, self.other_items)]
        truth = np.repeat([1, 0], [len(s) for s in scores])
        return float(roc_auc_score(truth, np.concatenate(scores)))

    def aucs(self, embedding: np.ndarray) -> tuple[float, float]:
        """AUC of the dot product and of the cosine of an embedding ``[n_nodes, d]``."""
        unit = embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)
        return tuple(
            self.auc(lambda users, items, z=z: (z[users] * z[self.n_users + items]).sum(axis=1))
            for z in (embedding, unit)
        )


def runs_of(task: LinkPrediction, n_nodes: int, threads: int, seed: int) -> dict[tuple, Callable[[], np.ndarray]]:
    """By run, a function that trains an embedding ``[n_nodes, d]``."""
    gensim = import_optional("gensim.models")
    active = np.flatnonzero(task.graph.degree)
    starts = np.random.default_rng(seed).permutation(np.tile(active, WALKS_PER_NODE))
    walker = RandomWalker(*task.graph.adjacency())
    walks = walker.walk(starts, WALK_LENGTH, generator=torch.Generator().manual_seed(seed))
    row_of = torch.zeros(n_nodes, dtype=torch.int64)
    row_of[torch.as_tensor(active)] = torch.arange(len(active))
    compact_walks = row_of[walks]
    n_users = int((task.graph.user_degree > 0).sum())

    def factorized(context_size: int) -> np.ndarray:
        embedding = np.zeros((n_nodes, DIM), dtype=np.float32)
        arguments = {"embedding_dim": DIM, "context_size": context_size, "seed": seed}
        embedding[active] = factorize_walks([compact_walks], n_users, len(active) - n_users, **arguments)
        return embedding

    runs: dict[tuple, Callable[[], np.ndarray]] = {}
    if gensim:
        sentences = [[str(node) for node in walk] for walk in walks.tolist()]
        for epochs, negatives, context_size in GENSIM_RUNS:
            arguments = {"epochs": epochs, "negative": negatives, "workers": threads, "seed": seed}
            arguments["window"] = context_size - 1
            runs["gensim Word2Vec", context_size, epochs, negatives] = lambda a=arguments: word2vec(
                gensim, sentences, n_nodes, a
            )
    for size in (CONTEXT_SIZE, SMALL_CONTEXT_SIZE):
        runs["factorize_walks, same walks", size, "", ""] = lambda n=size: factorized(n)
    runs["node2vec(), own walks", CONTEXT_SIZE, "", ""] = lambda: node2vec(task.graph, embedding_dim=DIM, seed=seed)
    return runs


def embedding_tables(full: InteractionGraph, threads: int, rounds: int, seed: int) -> tuple[list[dict], list[dict]]:
    """Rows of the table of embeddings and of the table of checks."""
    task = LinkPrediction(full, seed)
    runs = runs_of(task, full.n_nodes, threads, seed)
    best, mean, turns = train_in_turns(runs, task, rounds)
    popularity = task.auc(lambda users, items: task.graph.user_degree[users] * task.graph.item_degree[items])
    rows = [embedding_row(run, best[run], mean[run], turns[run]) for run in runs]
    rows.append(dict.fromkeys(rows[0], "") | {"trained by": "product of the degrees", "AUC, dot": f"{popularity:.4f}"})
    return rows, [check_row(run, best, mean) for run in runs if run[0].startswith("gensim")]


def check_row(run: tuple, best: dict[tuple, float], mean: dict[tuple, np.ndarray]) -> dict:
    """A run of gensim against ours."""
    times_faster = best[run] / best[OURS]
    return {
        "gensim's context": run[1],
        "epochs": run[2],
        "negatives": run[3],
        f"`factorize_walks`, context {SMALL_CONTEXT_SIZE}: AUC no lower": yes(bool(np.all(mean[OURS] >= mean[run]))),
        "at least 3 times faster": f"{yes(times_faster >= 3)} ({times_faster:.1f})",
    }


def train_in_turns(runs: dict[tuple, Callable], task: LinkPrediction, rounds: int) -> tuple[dict, dict, dict]:
    """Best time, mean AUCs and number of turns of each run, turns interleaved."""
    seconds: dict[tuple, list[float]] = {run: [] for run in runs}
    aucs: dict[tuple, list[tuple[float, float]]] = {run: [] for run in runs}
    for turn in range(rounds):
        for run, make in runs.items():
            if turn and run[0].startswith("gensim") and run[2] * run[3] > 1:
                continue  # a run that takes several times as long runs once
            begin = time.perf_counter()
            embedding = make()
            seconds[run].append(time.perf_counter() - begin)
            aucs[run].append(task.aucs(embedding))
            print(*run, f"{seconds[run][-1]:.1f} s", aucs[run][-1], flush=True)
    best = {run: min(times) for run, times in seconds.items()}
    mean = {run: np.mean(values, axis=0) for run, values in aucs.items()}
    return best, mean, {run: len(times) for run, times in seconds.items()}


def embedding_row(run: tuple, seconds: float, aucs: np.ndarray, turns: int) -> dict:
    name, context_size, epochs, negatives = run
    return {
        "trained by": name,
        "context": context_size,
        "epochs": epochs,
        "negatives": negatives,
        "turns": turns,
        "seconds, best": f"{seconds:.1f}",
        "AUC, dot": f"{aucs[0]:.4f}",
        "AUC, cosine": f"{aucs[1]:.4f}",
    }


def word2vec(gensim: ModuleType, sentences: list[list[str]], n_nodes: int, arguments: dict) -> np.ndarray:
    model = gensim.Word2Vec(sentences, vector_size=DIM, sg=1, min_count=1, **arguments)
    embedding = np.zeros((n_nodes, DIM), dtype=np.float32)
    embedding[[int(word) for word in model.wv.index_to_key]] = model.wv.vectors
    return embedding
