"""node2vec walks and embeddings against pecanpy, a numba loop and gensim: speed, return shares, link prediction.

    pip install numba gensim && pip install --no-deps pecanpy numba-progress nptyping
    python benchmarks/node2vec.py --data-path DATA --dataset ml-1m --report docs/node2vec.md

docs/node2vec.md says how the figures are measured. An implementation that is not installed is left out.
"""

from __future__ import annotations

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
from harness import parse, parser_with
from report import fill, markdown
from sklearn.metrics import roc_auc_score

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


def import_optional(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except Exception as error:  # another package of a wrong version may break the import
        print(f"{name.split('.')[0]} is left out: {error}", flush=True)
        return None


def import_pecanpy() -> ModuleType | None:
    """pecanpy, whose nptyping needs names that NumPy 2 dropped; NumPy has them during the import alone."""
    old_names = {"bool8": np.bool_, "object0": np.object_, "int0": np.intp, "uint0": np.uintp, "void0": np.void}
    old_names |= {"bytes0": np.bytes_, "str0": np.str_, "string_": np.bytes_, "unicode_": np.str_}
    old_names |= {"float_": np.float64, "singlecomplex": np.complex64, "longfloat": np.longdouble}
    old_names |= {"complex_": np.complex128, "cfloat": np.complex128, "clongfloat": np.clongdouble}
    old_names |= {"longcomplex": np.clongdouble}
    missing = [name for name in old_names if name not in vars(np)]
    for name in missing:
        setattr(np, name, old_names[name])
    try:
        return import_optional("pecanpy.pecanpy")
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


def yes(holds: bool) -> str:
    return "yes" if holds else "no"


def standard_errors(share: float, exact: float, n_walks: int) -> float:
    return (share - exact) / (exact * (1 - exact) / (n_walks * (WALK_LENGTH - 2))) ** 0.5


def walk_table(graph: InteractionGraph, threads: int, rounds: int, seed: int) -> tuple[list[dict], list[dict]]:
    numba, pecanpy = import_optional("numba"), import_pecanpy()
    indptr, indices = graph.adjacency()
    starts = np.random.default_rng(seed).permutation(np.tile(np.flatnonzero(graph.degree), WALKS_PER_NODE))
    few = starts[: max(1000, len(starts) // 50)]  # pecanpy takes some 0.1 ms a step on this graph
    walker = RandomWalker(indptr, indices)
    compiled = None
    if numba:
        numba.set_num_threads(threads)
        compiled = numba_walk(numba, indptr, indices, threads)
    rows, checks = [], []
    for p, q in PARAMETERS:
        generator = torch.Generator().manual_seed(seed)
        walkers: dict[str, tuple[Callable, np.ndarray]] = {
            "recbole-universal": (
                lambda s, p=p, q=q, g=generator: walker.walk(s, WALK_LENGTH, p, q, generator=g).numpy(),
                starts,
            )
        }
        if compiled:
            walkers["numba loop"] = (lambda s, p=p, q=q: compiled(s, WALK_LENGTH, p, q, seed), starts)
        if pecanpy:
            walkers["pecanpy"] = (pecanpy_walk(pecanpy, graph, p, q, threads), few)
        speed, share = race(walkers, rounds)
        exact = exact_return_share(graph, starts, p, q)
        for name, (_, its_starts) in walkers.items():
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
            checks.append(
                {
                    "p": p,
                    "q": q,
                    "returns within 4 standard errors of exact": f"{yes(abs(sigmas) < 4)} ({sigmas:+.1f})",
                    "at least 10 times as fast as pecanpy": yes(ours >= 10 * speed["pecanpy"]) if pecanpy else "-",
                    "no slower than the numba loop": yes(ours >= speed["numba loop"]) if compiled else "-",
                }
            )
    return rows, checks


def race(walkers: dict[str, tuple[Callable, np.ndarray]], rounds: int) -> tuple[dict, dict]:
    """Best speed (million steps a second) and share of returns of each, turns interleaved."""
    speed: dict[str, float] = dict.fromkeys(walkers, 0.0)
    share: dict[str, float] = {}
    for walk, starts in walkers.values():
        walk(starts[:64])  # compile
    for _ in range(rounds):
        for name, (walk, starts) in walkers.items():
            begin = time.perf_counter()
            walks = walk(starts)
            seconds = time.perf_counter() - begin
            speed[name] = max(speed[name], len(starts) * (WALK_LENGTH - 1) / seconds / 1e6)
            share[name] = float((walks[:, 2:] == walks[:, :-2]).mean())
    return speed, share


class LinkPrediction:
    """Held-out interactions and as many random pairs that are no interaction, of users and items in the graph."""

    def __init__(self, full: InteractionGraph, seed: int) -> None:
        self.graph, users, items = full.split_support_query(0.2, seed)
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


def embedding_table(full: InteractionGraph, threads: int, rounds: int, seed: int) -> tuple[list[dict], list[dict]]:
    gensim = import_optional("gensim.models")
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
    checks = []
    for run in runs:
        if run[0].startswith("gensim"):
            close = bool(np.all(mean[ours] >= mean[run] - 0.005))
            ratio = best[ours] / best[run]
            higher, times_faster = bool(np.all(mean[decomposed] >= mean[run])), best[run] / best[decomposed]
            checks.append(
                {
                    "gensim's context": run[1],
                    "epochs": run[2],
                    "negatives": run[3],
                    "`embed_walks`: AUC no lower than its AUC - .005": yes(close),
                    "in at most twice its time": f"{yes(ratio <= 2)} ({ratio:.2f})",
                    f"`factorize_walks`, context {decomposed[1]}: AUC no lower": yes(higher),
                    "at least 3 times faster": f"{yes(times_faster >= 3)} ({times_faster:.1f})",
                }
            )
    return rows, checks


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


def table_of(rows: list[dict]) -> str:
    """A Markdown table of rows that have the same keys; "not measured" without a row."""
    return markdown(list(rows[0]), [list(map(str, row.values())) for row in rows]) if rows else "not measured"


def versions() -> dict[str, str]:
    names = ("torch", "numpy", "numba", "pecanpy", "gensim")
    versions = {"Python": platform.python_version()}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "-"
    return versions


def main() -> None:
    parser = parser_with(__doc__, "data-path", "seed", seed=0)
    parser.add_argument("--report", type=Path, help="page whose tables are written")
    parser.add_argument("--dataset", default="ml-1m", help="name of the dataset")
    parser.add_argument("--threads", type=int, default=2, help="threads of every implementation")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each implementation; the best time counts")
    options = parse(parser)
    torch.set_num_threads(options.threads)

    file = Path(options.data_path) / options.dataset / f"{options.dataset}.inter"
    graph = InteractionGraph(read_interactions(file))
    measured = {
        "dataset": options.dataset,
        "users": graph.n_users,
        "items": graph.n_items,
        "interactions": graph.n_edges,
        "threads": options.threads,
        **versions(),
    }
    walk_rows, walk_checks = walk_table(graph, options.threads, options.rounds, options.seed)
    embedding_rows, embedding_checks = embedding_table(graph, options.threads, options.rounds, options.seed)
    tables = {
        "measured": table_of([measured]),
        "walks": table_of(walk_rows),
        "embeddings": table_of(embedding_rows),
        "walk checks": table_of(walk_checks),
        "embedding checks": table_of(embedding_checks),
    }
    for name, text in tables.items():
        print(f"{name}\n\n{text}\n")
    if options.report:
        fill(options.report, tables)


if __name__ == "__main__":
    main()
