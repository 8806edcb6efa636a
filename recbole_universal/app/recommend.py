"""Recommendations for a table of interactions with a pre-trained model: the Python function and the command line."""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import os
import sys
import time
import warnings
from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from recbole_universal import arguments
from recbole_universal.files import atomic_write, would_replace
from recbole_universal.io.interactions import read_interactions
from recbole_universal.io.source import Report
from recbole_universal.io.users import read_users

if TYPE_CHECKING:
    from recbole_universal.checkpoint import Pretrained

COLUMNS = ("user", "item", "score", "rank")
_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet", ".pq")
# Users ranked and written at once: few enough for little memory, enough that a block's overhead does not count.
_BLOCK_USERS = 2048


@dataclass
class _Lists:
    """Lists of some users, one row an item: places of user and item, score, rank from 1; each [n_rows]."""

    users: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray


def recommend(
    interactions: Any,
    *,
    top_k: int = 10,
    users: Any = None,
    user_column: Hashable | None = None,
    item_column: Hashable | None = None,
    include_seen: bool = False,
    fast: bool = False,
    pretrained: str | os.PathLike[str] | Pretrained = "universal-base",
    device: str | None = None,
    show_progress: bool = True,
) -> pd.DataFrame:
    """Recommend items with a pre-trained model; nothing is trained.

    What was left out (rows without id, repeated pairs) or guessed, and users without interactions, is told in
    warnings.

    Args:
        interactions: one row an interaction, as a frame of pandas or polars, an Arrow table, or the path of a text,
            JSON or Parquet file or a folder of parts (text and JSON also gzip, zstd). Ids may be of any type; those of
            text files are kept as written.
        top_k: items of a list, between 1 and the number of items.
        users: ids of the users who get lists, or a file of them; ``None``: all. One without interactions gets the
            most popular items, scored by their share of the most popular item's users.
        user_column: name of the user column; ``None``: recognised by a usual name. For a text file without header,
            its position, from 1.
        item_column: as ``user_column``.
        include_seen: whether a user's own items may be in the list.
        fast: whether to rank by one item-item matrix instead of the network (:meth:`UniversalRanker.item_item`): for
            many users, much sooner done, with lists somewhat less good.
        pretrained: name of a shipped model, folder of one, or a loaded one.
        device: where to compute, such as ``cpu`` or ``cuda``; ``None``: a GPU if there is one. Experimental: not
            tried on CUDA.
        show_progress: whether to draw progress bars on stderr.

    Returns:
        ``user``, ``item``, ``score`` (higher is better; comparable within one user) and ``rank`` (from 1), best first,
        users in the order of ``users`` or of their first row. A list is shorter where a user has seen nearly all items.

    Raises:
        ValueError: naming the file, column or argument and what is valid.
        OSError: if a file cannot be read.
        ImportError: if zstd text is read without pyarrow.
    """
    messages: list[str] = []
    try:
        job = _Job(messages.append, show_progress, top_k, include_seen, fast, pretrained, device)
        job.read(interactions, users, user_column, item_column)
        parts = list(job.lists())
    finally:
        for message in messages:
            warnings.warn(message, UserWarning, stacklevel=2)
    user, item, scores, ranks = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("users", "items", "scores", "ranks")
    )
    columns = (job.users.take(user), job.items.take(item), scores, ranks)
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))


class _Job:
    """One call: what is checked before any work, what is read, and the lists block by block."""

    def __init__(
        self, report: Report, show_progress: bool, top_k, include_seen: bool, fast: bool, pretrained, device
    ) -> None:
        # Here since PyTorch takes seconds to load, which other uses of this module need not wait for.
        from recbole_universal.checkpoint import Pretrained, load_pretrained

        self._report = report
        self._show_progress = arguments.flag("recommend", "show_progress", show_progress)
        self._include_seen = arguments.flag("recommend", "include_seen", include_seen)
        self._fast = arguments.flag("recommend", "fast", fast)
        self._top_k = _checked_top_k(top_k)
        self._device = _checked_device(device)
        self._pretrained = pretrained if isinstance(pretrained, Pretrained) else load_pretrained(pretrained)
        if fast and "proximity" not in self._pretrained.families:
            raise ValueError(
                f"fast (--fast): needs a model with the family [proximity]; this one has {self._pretrained.families}."
            )

    def read(self, interactions, users, user_column: Hashable | None, item_column: Hashable | None) -> None:
        """Read the interactions, and who gets a list."""
        _check_column_name("user_column (--user-column)", user_column)
        _check_column_name("item_column (--item-column)", item_column)
        asked = None if users is None else read_users(users, user_column, self._report)
        self.table = read_interactions(interactions, user_column, item_column, self._report, self._show_progress)
        self.items = self.table.items
        if self._top_k > len(self.items):
            raise ValueError(f"top_k (--top-k): {self._top_k} is more than the {len(self.items)} items that there are.")
        self.users = self.table.users
        self._places = np.arange(len(self.users))
        if asked is not None:
            self.users, self._places = _found(asked, self.table.users)
            self._report_unknown()

    def lists(self) -> Iterator[_Lists]:
        """The lists of all users, a block of users at a time."""
        from recbole_universal.ranking.ranker import UniversalRanker

        matrix, rows, item_order = self.table.matrix()
        rows = np.where(self._places < 0, -1, rows[self._places])
        ranker = UniversalRanker(matrix, self._pretrained, device=self._device, show_progress=self._show_progress)
        ranker.tell = self._report
        if self._fast:
            ranker.prepare_fast()  # here, with its own progress bar
        ranker.show_progress = False  # one bar over all blocks, not one for each
        # A user without interactions is no row of the matrix: who is asked for changes nobody else's list.
        popularity = np.bincount(matrix.indices, minlength=matrix.shape[1])
        popular = np.argsort(-popularity, kind="stable")[: self._top_k]
        share = (popularity[popular] / popularity.max()).astype(np.float32)
        n_short = n_empty = 0
        with tqdm(total=len(rows), desc="recommending", unit="user", disable=not self._show_progress) as bar:
            for start in range(0, len(rows), _BLOCK_USERS):
                part = rows[start : start + _BLOCK_USERS]
                known = part >= 0
                items, scores = (np.tile(values, (len(part), 1)) for values in (popular, share))
                if known.any():
                    items[known], scores[known] = ranker.top_k(
                        part[known], self._top_k, not self._include_seen, fast=self._fast
                    )
                found = items >= 0
                user, rank = np.nonzero(found)
                yield _Lists(start + user, item_order[items[found]], scores[found], (rank + 1).astype(np.int32))
                length = found.sum(axis=1)
                n_short += int((length < self._top_k).sum())
                n_empty += int((length == 0).sum())
                bar.update(len(part))
        if n_short:
            self._report(
                f"{n_short} of {len(rows)} users have fewer than {self._top_k} items that they have not seen, so their "
                f"lists are shorter" + (f"; {n_empty} have none." if n_empty else ".")
            )

    def _report_unknown(self) -> None:
        unknown = np.flatnonzero(self._places < 0)
        if len(unknown):
            named = ", ".join(f"[{self.users[place]}]" for place in unknown[:5]) + (", ..." if len(unknown) > 5 else "")
            self._report(
                f"{len(unknown)} of {len(self.users)} users have no interactions and get the most popular items: "
                f"{named}."
            )


def _checked_top_k(top_k: Any) -> int:
    if isinstance(top_k, bool) or not isinstance(top_k, (int, np.integer)) or top_k < 1:
        raise ValueError(f"top_k (--top-k): must be a whole number of at least 1, got {arguments.shown(top_k)}.")
    return int(top_k)


def _check_column_name(argument: str, name: Any) -> None:
    """Refuse what can be the name of no column: lists, arrays, frames, tensors."""
    try:
        hash(name)
        is_array = getattr(name, "ndim", 0) > 0  # a tensor has a hash
    except TypeError:
        is_array = True
    if is_array:
        raise ValueError(f"{argument}: must be the name of a column, got {arguments.shown(name)}.")


def _checked_device(device: Any) -> str:
    import torch

    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    return str(arguments.device(device))


def _found(asked: Sequence, users: pd.Index) -> tuple[pd.Index, np.ndarray]:
    """Ids of the asked users and their places in ``users``, -1 where they are not; 7 finds "7" if need be."""

    def key(name: Any) -> Any:
        return str(name) if isinstance(name, (bool, np.bool_)) else name  # True is not 1

    exact = {key(name): place for place, name in enumerate(users.tolist())}
    places = [exact.get(key(name), -1) for name in asked]
    if -1 in places:
        text = {str(name): place for name, place in exact.items()}
        places = [text.get(str(name), -1) if place < 0 else place for name, place in zip(asked, places, strict=True)]
    chosen: dict[Any, tuple[Any, int]] = {}  # "7" and 7 may be one user
    known = users.tolist()
    for name, place in zip(asked, places, strict=True):
        if place >= 0:
            chosen.setdefault(("known", place), (known[place], place))
        else:
            chosen.setdefault(("unknown", key(name)), (name, -1))
    ids = [name for name, _ in chosen.values()]
    codes = np.array([place for _, place in chosen.values()], dtype=np.int64)
    if (codes >= 0).all():
        return users.take(codes), codes
    return pd.Index(ids, dtype=object if len({type(name) for name in ids}) > 1 else None), codes  # 1 stays 1 beside 2.5


# -- Writing ----------------------------------------------------------------------------------------------------------


def write_recommendations(recommendations: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write what :func:`recommend` returns as CSV, TSV or Parquet, by the file's ending.

    A reader never sees half a file: it is written beside and put in place when it is complete.

    Raises:
        ValueError: if the ending is none of the known ones, or ``recommendations`` is no frame with these columns.
        OSError: if the file cannot be written.
        ImportError: if Parquet is written without pyarrow.
    """
    if not isinstance(recommendations, pd.DataFrame) or not set(COLUMNS) <= set(recommendations.columns):
        shown = arguments.shown(recommendations)
        raise ValueError(f"recommendations: must be a frame with the columns {', '.join(COLUMNS)}, got {shown}.")
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(f"path: must be the path of a file, got {arguments.shown(path)}.")
    with _output(path) as sink:
        step = 2**20
        for start in range(0, max(1, len(recommendations)), step):
            part = recommendations.iloc[start : start + step]
            columns = [part[name] for name in COLUMNS]
            sink.write(pd.Index(columns[0]), pd.Index(columns[1]), columns[2].to_numpy(), columns[3].to_numpy())


class _TextSink:
    """Writes rows as CSV or TSV, plain or gzip."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        # Neither name nor time in the gzip header: the same lists give the same file.
        zipped = gzip.GzipFile("", "wb", 6, file, mtime=0) if name.endswith(".gz") else None
        self._zipped = zipped
        self._text = io.TextIOWrapper(zipped or file, encoding="utf-8", newline="", write_through=False)
        self._format: dict[str, Any] = {"delimiter": "\t" if ".tsv" in name[-7:] else ",", "lineterminator": "\n"}
        csv.writer(self._text, **self._format).writerow(COLUMNS)

    def write(self, users: pd.Index, items: pd.Index, scores: np.ndarray, ranks: np.ndarray) -> None:
        """Write rows."""
        values = map("{:.7g}".format, scores.tolist())
        columns = users.tolist(), items.tolist()
        # The module csv quotes a line feed, but before Python 3.13 no carriage return, which also ends a line.
        risky = any("\r" in text for ids in columns for text in ids if isinstance(text, str))
        if risky:
            rows = csv.writer(self._text, quoting=csv.QUOTE_ALL, **self._format)
        else:
            rows = csv.writer(self._text, **self._format)
        rows.writerows(zip(*columns, values, ranks.tolist(), strict=True))

    def close(self) -> None:
        """Write what is left; the file stays open."""
        self._text.flush()
        self._text.detach()
        if self._zipped:
            self._zipped.close()


def _import_pyarrow():
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "Parquet is written with pyarrow, which is not installed: pip install pyarrow, or write CSV."
        ) from error
    return pyarrow


class _ParquetSink:
    """Writes rows as Parquet; ids are integers or strings."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._arrow = _import_pyarrow()
        self._file = file
        self._writer: Any = None

    def write(self, users: pd.Index, items: pd.Index, scores: np.ndarray, ranks: np.ndarray) -> None:
        """Write rows."""
        columns = (self._ids(users), self._ids(items), self._arrow.array(scores), self._arrow.array(ranks))
        table = self._arrow.table(dict(zip(COLUMNS, columns, strict=True)))
        if self._writer is None:
            self._writer = self._arrow.parquet.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def _ids(self, ids: pd.Index):
        if pd.api.types.is_integer_dtype(ids):
            return self._arrow.array(ids.to_numpy())
        return self._arrow.array([str(value) for value in ids], type=self._arrow.string())

    def close(self) -> None:
        """Write what is left; the file stays open."""
        if self._writer is not None:
            self._writer.close()


@contextmanager
def _output(path: str | os.PathLike[str]) -> Iterator[_TextSink | _ParquetSink]:
    """Where rows are written; opened before the work, so that what cannot be written is known before it."""
    path = Path(os.path.expanduser(path))
    name = path.name.lower()
    if not name.endswith(_ENDINGS):
        raise ValueError(f"output: the name of [{path}] must end in one of {', '.join(_ENDINGS)}.")
    if path.is_dir():
        raise IsADirectoryError(f"output: [{path}] is a folder; give the name of a file.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"output: there is no folder [{path.parent}].")
    with ExitStack() as stack:
        try:
            file = stack.enter_context(atomic_write(path))
        except OSError as error:
            raise OSError(f"output: cannot write [{path}]: {error.strerror}.") from error
        sink = (_ParquetSink if name.endswith((".parquet", ".pq")) else _TextSink)(file, name)
        yield sink
        sink.close()


# -- The command line -------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m recbole_universal recommend",
        description="Recommend items to the users of a file of interactions with a pre-trained model.",
        epilog="What is left out of the input, and why, is said on stderr.",
    )
    parser.add_argument(
        "interactions", metavar="INTERACTIONS", help="text (CSV, ...), JSON or Parquet, or a folder of parts"
    )
    parser.add_argument("--output", required=True, metavar="RECS", help=f"file to write: {', '.join(_ENDINGS)}")
    parser.add_argument("--top-k", type=int, default=10, metavar="K", help="items of a list (default: 10)")
    parser.add_argument("--users", metavar="FILE_OR_LIST", help="file of user ids, one a line, or ids parted by commas")
    parser.add_argument("--user-column", metavar="NAME", help="name of the user column; without header: 1, 2, ...")
    parser.add_argument("--item-column", metavar="NAME", help="name of the item column; without header: 1, 2, ...")
    parser.add_argument("--include-seen", action="store_true", help="also recommend a user's own items")
    parser.add_argument("--fast", action="store_true", help="rank by one item-item matrix: sooner done, less good")
    parser.add_argument("--pretrained", default="universal-base", metavar="NAME", help="shipped model, or a folder")
    parser.add_argument("--device", metavar="DEVICE", help="cpu, cuda, ... (default: a GPU if there is one)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the command line ``recommend``; returns the exit status."""
    start = time.perf_counter()
    options = _parser().parse_args(arguments)
    try:
        n_rows, n_users = _run(options)
        seconds = time.perf_counter() - start
        what = f"{n_rows} recommendation{'s' * (n_rows != 1)} for {n_users} user{'s' * (n_users != 1)}"
        print(f"Wrote {what} to {options.output} in {seconds:.1f} s.", flush=True)
    except (ValueError, OSError, ImportError) as error:
        print(f"recommend: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> tuple[int, int]:
    def report(message: str) -> None:
        print(f"recommend: {message}", file=sys.stderr)

    for given in (options.interactions, options.users):
        if given and would_replace(options.output, given):
            raise ValueError(f"--output: [{options.output}] is an input file, or in an input folder; name another.")
    show = not options.quiet
    with _output(options.output) as sink:
        job = _Job(report, show, options.top_k, options.include_seen, options.fast, options.pretrained, options.device)
        job.read(options.interactions, options.users, options.user_column, options.item_column)
        table = job.table
        report(
            f"{len(table.user_codes)} interactions of {len(table.users)} users with {len(table.items)} items "
            f"(users from [{table.columns[0]}], items from [{table.columns[1]}])."
        )
        n_rows = 0
        for lists in job.lists():
            sink.write(job.users.take(lists.users), job.items.take(lists.items), lists.scores, lists.ranks)
            n_rows += len(lists.users)
    return n_rows, len(job.users)
