"""node2vec walks and embeddings against pecanpy, a numba loop and gensim: speed, return shares, link prediction.

    pip install numba gensim && pip install --no-deps pecanpy numba-progress nptyping
    python benchmarks/node2vec.py --data-path DATA --dataset ml-1m --report docs/node2vec.md

docs/node2vec.md says how the figures are measured. An implementation that is not installed is left out.
"""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from harness import parse, parser_with
from node2vec_embeddings import embedding_tables
from node2vec_walks import walk_tables
from report import fill, markdown

from recbole_universal.graph import InteractionGraph


def read_interactions(path: Path) -> sp.csr_matrix:
    pairs = pd.read_csv(path, sep="\t", usecols=["user_id:token", "item_id:token"], dtype=str)
    users, items = (pd.factorize(pairs[column])[0] for column in ("user_id:token", "item_id:token"))
    return sp.csr_matrix((np.ones(len(users)), (users, items)))


def keyed_table(rows: list[dict]) -> str:
    """A Markdown table of rows that have the same keys."""
    return markdown(list(rows[0]), [list(map(str, row.values())) for row in rows]) if rows else ""


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
    walk_rows, walk_checks = walk_tables(graph, options.threads, options.rounds, options.seed)
    embedding_rows, embedding_checks = embedding_tables(graph, options.threads, options.rounds, options.seed)
    tables = {
        "measured": keyed_table([measured]),
        "walks": keyed_table(walk_rows),
        "embeddings": keyed_table(embedding_rows),
        "walk checks": keyed_table(walk_checks),
        "embedding checks": keyed_table(embedding_checks),
    }
    for name, text in tables.items():
        print(f"{name}\n\n{text}\n")
    if options.report:
        fill(options.report, tables)


if __name__ == "__main__":
    main()
