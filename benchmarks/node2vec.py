"""node2vec walks and embeddings beside pecanpy, a numba loop and gensim: speed, return shares, link prediction.

    pip install numba gensim && pip install --no-deps pecanpy numba-progress nptyping
    python benchmarks/node2vec.py --data-path DATA --dataset ml-1m --output docs/node2vec.md

Walks: every contender walks on the same graph with its compiled code warm, in turns; its best turn counts. The
starts are the same, for pecanpy a part of them. "returns" is the share of steps from the third node on that go
back to the last but one node. Its exact value is computed from the adjacency, by carrying the distribution over
directed edges along.

Embeddings: 20 % of each user's interactions are held out; gensim's Word2Vec and `embed_walks` train on the same
walks over the rest. AUC: held-out pairs against as many random user-item pairs that are no interaction, scored by
the dot product and by the cosine of the two embeddings. Timed is the training alone, walks and (for gensim) lists
of tokens being ready; "node2vec(), own walks" is all of it. gensim's defaults are 5 epochs and 5 negatives.
`factorize_walks` decomposes what both approach by steps. "context": nodes in a window, as in PyTorch Geometric;
gensim's `window` is one less.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import inspect
import platform
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from sklearn.metrics import roc_auc_score

from recbole_universal.files import write_text
from recbole_universal.graph import InteractionGraph, RandomWalker, embed_walks, factorize_walks, node2vec

PARAMETERS = ((1.0, 1.0), (4.0, 0.25), (0.25, 4.0))
WALK_LENGTH, WALKS_PER_NODE, CONTEXT_SIZE, DIM = 20, 10, 10, 64
SMALL_CONTEXT_SIZE = 4
# Epochs (gensim's default is 5), negatives (default 5), context size.
GENSIM_RUNS = ((1, 1, 10), (1, 1, 4), (1, 5, 4), (1, 5, 10), (5, 1, 10), (5, 5, 10))


def read_interactions(path: Path) -> sp.csr_matrix:
    pairs = pd.read_csv(path, sep="\t", usecols=["user_id:token", "item_id:token"], dtype=str)
    users, items = (pd.factorize(pairs[column])[0] for column in ("user_id:token", "item_id:token"))
    return sp.csr_matrix((np.ones(len(users)), (users, items)))


def peer(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except Exception as error:  # a peer that an installed version of something else breaks is left out as well
        print(f"{name.split('.')[0]} is left out: {error}", flush=True)
        return None


def import_pecanpy() -> ModuleType | None:
    """Its nptyping asks NumPy for names that NumPy 2 dropped: they are lent to it while it is imported."""
    lent = {"bool8": np.bool_, "object0": np.object_, "int0": np.intp, "uint0": np.uintp, "void0": np.void}
    lent |= {"bytes0": np.bytes_, "str0": np.str_, "string_": np.bytes_, "unicode_": np.str_}
    lent |= {"float_": np.float64, "singlecomplex": np.complex64, "longfloat": np.longdouble}
    lent |= {"complex_": np.complex128, "cfloat": np.complex128, "clongfloat": np.clongdouble}
    lent |= {"longcomplex": np.clongdouble}
    missing = [name for name in lent if name not in vars(np)]
    for name in missing:
        setattr(np, name, lent[name])
    try:
        return peer("pecanpy.pecanpy")
    finally:
        for name in missing:
            delattr(np, name)


def numba_walk(numba: ModuleType, indptr: np.ndarray, indices: np.ndarray, threads: int) -> Callable:
    """A compiled loop over walks: one comparison decides on the return, rejection on the other neighbour."""

    @numba.njit(inline="always")
    def uniform(state):  # SplitMix64
        state[0] += np.uint64(0x9E3779B97F4A7C15)
        z = state[0]
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.float64((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53

    @numba.njit(parallel=True, nogil=True)
    def walk(starts, length, p, q, seed):
        out = np.empty((len(starts), length), np.int64)
        for part in numba.prange(threads):
            state = np.array([seed * 1000003 + part], dtype=np.uint64)
            for k in range(len(starts) * part // threads, len(starts) * (part + 1) // threads):
                previous, node = np.int64(-1), starts[k]
                out[k, 0] = node
                for step in range(1, length):
                    first, degree = indptr[node], indptr[node + 1] - indptr[node]
                    if previous >= 0 and (p != 1.0 or q != 1.0):
                        following = previous
                        if degree > 1 and uniform(state) * (1 / p + (degree - 1) / q) >= 1 / p:
                            while following == previous:
                                following = indices[first + np.int64(uniform(state) * degree)]
                    else:
                        following = indices[first + np.int64(uniform(state) * degree)]
                    previous, node = node, following
                    out[k, step] = node
        return out

    return walk


def pecanpy_walk(pecanpy: ModuleType, graph: InteractionGraph, p: float, q: float, threads: int) -> Callable:
    """The compiled kernel of pecanpy without its mapping to lists of strings, which would count against it."""
    from numba_progress import ProgressBar

    indptr, indices = graph.adjacency()
    kind = pecanpy.FirstOrderUnweighted if p == q == 1 else pecanpy.SparseOTF  # its fastest without set-up
    model = kind(p=p, q=q, workers=threads, verbose=False, random_state=0)
    model.set_node_ids([str(k) for k in range(graph.n_nodes)])
    model.indptr, model.indices = indptr.astype(np.uint32), indices.astype(np.uint32)
    model.data = np.ones(len(indices), dtype=np.float32)
    move, has_neighbours = model.get_move_forward(), model.get_has_nbrs()

    def walk(starts: np.ndarray) -> np.ndarray:
        with ProgressBar(total=len(starts), disable=True) as bar:
            jobs = starts.astype(np.uint32)
            walks = model._random_walks(len(starts), WALK_LENGTH - 1, 0, jobs, has_neighbours, move, bar)
        return walks[:, :-1]

    return walk


def exact_return_share(graph: InteractionGraph, starts: np.ndarray, p: float, q: float) -> float:
    """Mean probability, over steps, to go back; the walks' distribution over directed edges is carried along."""
    indptr, target = graph.adjacency()
    source = np.repeat(np.arange(graph.n_nodes), np.diff(indptr))
    reverse = np.argsort(target, kind="stable")
    degree = graph.degree
    back = (1 / p) / (1 / p + (degree - 1) / q)
    other = (1 / q) / (1 / p + (degree - 1) / q)
    position = (np.bincount(starts, minlength=graph.n_nodes) / len(starts))[source] / degree[source]
    shares = []
    for _ in range(WALK_LENGTH - 2):
        shares.append(position @ back[target])
        arriving = np.bincount(target, weights=position, minlength=graph.n_nodes)[source]
        position = position[reverse] * back[source] + (arriving - position[reverse]) * other[source]
    return float(np.mean(shares))


def standard_errors(share: float, exact: float, n_walks: int) -> float:
    return (share - exact) / (exact * (1 - exact) / (n_walks * (WALK_LENGTH - 2))) ** 0.5


def walk_table(graph: InteractionGraph, threads: int, rounds: int, seed: int) -> tuple[list[dict], list[str]]:
    numba, pecanpy = peer("numba"), import_pecanpy()
    indptr, indices = graph.adjacency()
    starts = np.random.default_rng(seed).permutation(np.tile(np.flatnonzero(graph.degree), WALKS_PER_NODE))
    few = starts[: max(1000, len(starts) // 50)]  # pecanpy takes some 0.1 ms a step on this graph
    walker = RandomWalker(indptr, indices)
    compiled = None
    if numba:
        numba.set_num_threads(threads)
        compiled = numba_walk(numba, indptr, indices, threads)
    rows, verdicts = [], []
    for p, q in PARAMETERS:
        generator = torch.Generator().manual_seed(seed)
        contenders: dict[str, tuple[Callable, np.ndarray]] = {
            "recbole-universal": (
                lambda s, p=p, q=q, g=generator: walker.walk(s, WALK_LENGTH, p, q, generator=g).numpy(),
                starts,
            )
        }
        if compiled:
            contenders["numba loop"] = (lambda s, p=p, q=q: compiled(s, WALK_LENGTH, p, q, seed), starts)
        if pecanpy:
            contenders["pecanpy"] = (pecanpy_walk(pecanpy, graph, p, q, threads), few)
        speed, share = race(contenders, rounds)
        exact = exact_return_share(graph, starts, p, q)
        for name, (_, its_starts) in contenders.items():
            rows.append(
                {
                    "p": p,
                    "q": q,
                    "walker": name,
                    "M steps/s": f"{speed[name]:.3g}",
                    "ours / its": f"{speed['recbole-universal'] / speed[name]:.3g}",
                    "returns": f"{share[name]:.6f}",
                    "exact": f"{exact:.6f}",
                    "off by, standard errors": f"{standard_errors(share[name], exact, len(its_starts)):+.1f}",
                }
            )
        ours = speed["recbole-universal"]
        if (p, q) != (1, 1):
            sigmas = standard_errors(share["recbole-universal"], exact, len(starts))
            verdicts.append(
                f"p={p}, q={q}: returns within 4 standard errors of exact ({sigmas:+.1f}): {abs(sigmas) < 4}"
            )
            if pecanpy:
                verdicts.append(f"p={p}, q={q}: at least 10 times pecanpy: {ours >= 10 * speed['pecanpy']}")
            if compiled:
                verdicts.append(f"p={p}, q={q}: no slower than the numba loop: {ours >= speed['numba loop']}")
    return rows, verdicts


def race(contenders: dict[str, tuple[Callable, np.ndarray]], rounds: int) -> tuple[dict, dict]:
    """Best speed (million steps a second) and share of returns of each, turns interleaved."""
    speed: dict[str, float] = dict.fromkeys(contenders, 0.0)
    share: dict[str, float] = {}
    for walk, starts in contenders.values():
        walk(starts[:64])  # compile
    for _ in range(rounds):
        for name, (walk, starts) in contenders.items():
            begin = time.perf_counter()
            walks = walk(starts)
            seconds = time.perf_counter() - begin
            speed[name] = max(speed[name], len(starts) * (WALK_LENGTH - 1) / seconds / 1e6)
            share[name] = float((walks[:, 2:] == walks[:, :-2]).mean())
    return speed, share


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


def embedding_table(full: InteractionGraph, threads: int, rounds: int, seed: int) -> tuple[list[dict], list[str]]:
    gensim = peer("gensim.models")
    task = LinkPrediction(full, seed)
    active = np.flatnonzero(task.graph.degree)
    starts = np.random.default_rng(seed).permutation(np.tile(active, WALKS_PER_NODE))
    walker = RandomWalker(*task.graph.adjacency())
    walks = walker.walk(starts, WALK_LENGTH, generator=torch.Generator().manual_seed(seed))
    place = torch.zeros(full.n_nodes, dtype=torch.int64)
    place[torch.as_tensor(active)] = torch.arange(len(active))
    compact_walks = place[walks]

    n_users = int((task.graph.user_degree > 0).sum())

    def same_walks(context_size: int) -> np.ndarray:
        embedding = np.zeros((full.n_nodes, DIM), dtype=np.float32)
        arguments = {"embedding_dim": DIM, "context_size": context_size, "seed": seed}
        embedding[active] = embed_walks(compact_walks, len(active), **arguments).numpy()
        return embedding

    def factorized(context_size: int) -> np.ndarray:
        embedding = np.zeros((full.n_nodes, DIM), dtype=np.float32)
        arguments = {"embedding_dim": DIM, "context_size": context_size, "seed": seed}
        embedding[active] = factorize_walks(compact_walks, n_users, len(active) - n_users, **arguments)
        return embedding

    runs: dict[tuple, Callable[[], np.ndarray]] = {}
    if gensim:
        sentences = [[str(node) for node in walk] for walk in walks.tolist()]
        for epochs, negatives, context_size in GENSIM_RUNS:
            arguments = {"epochs": epochs, "negative": negatives, "workers": threads, "seed": seed}
            arguments["window"] = context_size - 1
            runs["gensim Word2Vec", context_size, epochs, negatives] = lambda a=arguments: word2vec(
                gensim, sentences, full.n_nodes, a
            )
    defaults = (default(embed_walks, "epochs"), default(embed_walks, "num_negative_samples"))
    ours = ("embed_walks, same walks", CONTEXT_SIZE, *defaults)
    decomposed = ("factorize_walks, same walks", SMALL_CONTEXT_SIZE, "", "")
    for size in (CONTEXT_SIZE, SMALL_CONTEXT_SIZE):
        run = ("embed_walks, same walks", size, *defaults)
        runs[run] = lambda n=size: same_walks(n)
        runs["factorize_walks, same walks", size, "", ""] = lambda n=size: factorized(n)
    whole = ("node2vec(), own walks", CONTEXT_SIZE, *defaults)
    runs[whole] = lambda: node2vec(task.graph, embedding_dim=DIM, seed=seed)
    runs['node2vec(objective="factorization"), own walks', CONTEXT_SIZE, "", ""] = lambda: node2vec(
        task.graph, embedding_dim=DIM, objective="factorization", seed=seed
    )

    best, mean, turns = train_in_turns(runs, task, rounds)
    popularity = task.auc(lambda users, items: task.graph.user_degree[users] * task.graph.item_degree[items])
    rows = [embedding_row(run, best[run], mean[run], best[ours], turns[run]) for run in runs]
    rows.append(dict.fromkeys(rows[0], "") | {"trained by": "product of the degrees", "AUC, dot": f"{popularity:.4f}"})
    verdicts = []
    for run in runs:
        if run[0].startswith("gensim"):
            close = bool(np.all(mean[ours] >= mean[run] - 0.005))
            ratio = best[ours] / best[run]
            verdicts.append(
                f"{run[0]}, context {run[1]}, epochs {run[2]}, negatives {run[3]}: embed_walks' AUC no lower than its "
                f"minus .005, dot and cosine: {close}; in no more than twice its time: {ratio <= 2} ({ratio:.2f})"
            )
            higher, ratio = bool(np.all(mean[decomposed] >= mean[run])), best[run] / best[decomposed]
            verdicts.append(
                f"factorize_walks, context {decomposed[1]}, against it: AUC no lower, dot and cosine: {higher}; at "
                f"least 3 times faster: {ratio >= 3} ({ratio:.1f})"
            )
    return rows, verdicts


def train_in_turns(runs: dict[tuple, Callable], task: LinkPrediction, rounds: int) -> tuple[dict, dict, dict]:
    """Best time, mean AUCs and number of turns of each run, turns interleaved."""
    seconds: dict[tuple, list[float]] = {run: [] for run in runs}
    aucs: dict[tuple, list[tuple[float, float]]] = {run: [] for run in runs}
    for turn in range(rounds):
        for run, make in runs.items():
            if turn and run[0].startswith("gensim") and run[2] * run[3] > 1:
                continue  # once is enough for what takes several times as long
            begin = time.perf_counter()
            embedding = make()
            seconds[run].append(time.perf_counter() - begin)
            aucs[run].append(task.aucs(embedding))
            print(*run, f"{seconds[run][-1]:.1f} s", aucs[run][-1], flush=True)
    best = {run: min(times) for run, times in seconds.items()}
    mean = {run: np.mean(values, axis=0) for run, values in aucs.items()}
    return best, mean, {run: len(times) for run, times in seconds.items()}


def embedding_row(run: tuple, seconds: float, aucs: np.ndarray, our_seconds: float, turns: int) -> dict:
    name, context_size, epochs, negatives = run
    return {
        "trained by": name,
        "context": context_size,
        "epochs": epochs,
        "negatives": negatives,
        "turns": turns,
        "seconds, best": f"{seconds:.1f}",
        "ours / its": f"{our_seconds / seconds:.2f}",
        "AUC, dot": f"{aucs[0]:.4f}",
        "AUC, cosine": f"{aucs[1]:.4f}",
    }


def default(function: Callable, argument: str) -> int:
    return inspect.signature(function).parameters[argument].default


def word2vec(gensim: ModuleType, sentences: list[list[str]], n_nodes: int, arguments: dict) -> np.ndarray:
    model = gensim.Word2Vec(sentences, vector_size=DIM, sg=1, min_count=1, **arguments)
    embedding = np.zeros((n_nodes, DIM), dtype=np.float32)
    embedding[[int(word) for word in model.wv.index_to_key]] = model.wv.vectors
    return embedding


def markdown(rows: list[dict]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(v) for v in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def versions() -> str:
    found = [f"Python {platform.python_version()}", f"torch {torch.__version__}", f"numpy {np.__version__}"]
    for name in ("numba", "pecanpy", "gensim"):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} missing")
    return ", ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", type=Path, required=True, help="folder of the data sets, as RecBole's data_path")
    parser.add_argument("--dataset", default="ml-1m", help="name of the data set")
    parser.add_argument("--threads", type=int, default=2, help="threads of every contender")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender; the best time counts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    graph = InteractionGraph(read_interactions(options.data_path / options.dataset / f"{options.dataset}.inter"))
    about = (
        f"{options.dataset}: {graph.n_users} users, {graph.n_items} items, {graph.n_edges} interactions; "
        f"{options.threads} threads; {WALKS_PER_NODE} walks of {WALK_LENGTH} nodes from each node, "
        f"context {CONTEXT_SIZE} unless said, dimension {DIM}. {versions()}."
    )
    walk_rows, walk_verdicts = walk_table(graph, options.threads, options.rounds, options.seed)
    embedding_rows, embedding_verdicts = embedding_table(graph, options.threads, options.rounds, options.seed)
    listed = "\n".join(f"- {verdict}" for verdict in (*walk_verdicts, *embedding_verdicts))
    parts = [
        "# node2vec beside its peers",
        "Written by `benchmarks/node2vec.py`, whose docstring says what is measured and how.",
        about,
        "## Walks",
        markdown(walk_rows),
        "## Embeddings",
        markdown(embedding_rows),
        "## In short",
        listed,
    ]
    text = "\n\n".join(parts) + "\n"
    print(text)
    if options.output:
        write_text(options.output, text)


if __name__ == "__main__":
    main()
