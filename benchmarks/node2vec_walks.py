"""The walk tables of docs/node2vec.md: speed and share of returns of three implementations."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from types import ModuleType

import numpy as np
import torch

from recbole_universal.graph import InteractionGraph, RandomWalker

#: Return parameter p and in-out parameter q.
PARAMETERS = ((1.0, 1.0), (4.0, 0.25), (0.25, 4.0))
WALK_LENGTH, WALKS_PER_NODE = 20, 10
OURS = "recbole-universal"


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


def walk_tables(graph: InteractionGraph, threads: int, rounds: int, seed: int) -> tuple[list[dict], list[dict]]:
    """Rows of the table of walks and of the table of checks."""
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
            OURS: (lambda s, p=p, q=q, g=generator: walker.walk(s, WALK_LENGTH, p, q, generator=g).numpy(), starts)
        }
        if compiled:
            walkers["numba loop"] = (lambda s, p=p, q=q: compiled(s, WALK_LENGTH, p, q, seed), starts)
        if pecanpy:
            walkers["pecanpy"] = (pecanpy_walk(pecanpy, graph, p, q, threads), few)
        speed, share = race(walkers, rounds)
        exact = exact_return_share(graph, starts, p, q)
        errors = {name: standard_errors(share[name], exact, len(walkers[name][1])) for name in walkers}
        rows += [walk_row(p, q, name, speed, share[name], exact, errors[name]) for name in walkers]
        if (p, q) != (1, 1):
            checks.append(check_row(p, q, speed, errors[OURS]))
    return rows, checks


def walk_row(p: float, q: float, name: str, speed: dict, share: float, exact: float, errors: float) -> dict:
    return {
        "p": p,
        "q": q,
        "walker": name,
        "M steps/s": f"{speed[name]:.3g}",
        "ours / its": f"{speed[OURS] / speed[name]:.3g}",
        "returns": f"{share:.6f}",
        "exact": f"{exact:.6f}",
        "off by, standard errors": f"{errors:+.1f}",
    }


def check_row(p: float, q: float, speed: dict[str, float], errors: float) -> dict:
    def faster(factor: float, name: str) -> str:
        return yes(speed[OURS] >= factor * speed[name]) if name in speed else "-"

    return {
        "p": p,
        "q": q,
        "returns within 4 standard errors of exact": f"{yes(abs(errors) < 4)} ({errors:+.1f})",
        "at least 10 times as fast as pecanpy": faster(10, "pecanpy"),
        "no slower than the numba loop": faster(1, "numba loop"),
    }


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
