"""Small datasets with text for benchmarks/content_systems.py: some users, their last items, one text an item."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import recbole

from recbole_universal.content.texts import chosen_fields, item_texts
from recbole_universal.files import write_text
from recbole_universal.io.item_table import read_items

N_USERS, N_LAST, FEWEST, CHARACTERS = 800, 12, 4, 300
USER, ITEM, TIME = "user_id:token", "item_id:token", "timestamp:float"


@dataclass(frozen=True)
class Small:
    """A prepared dataset.

    Attributes:
        name: its name, a folder of ``data_path``.
        data_path: RecBole's key.
        histories: items of each user, oldest first.
        ordered: whether the source says in which order they came. Otherwise the order is drawn.
        new_items: items that were taken out of the interactions, and are in the item file.
        new_of: for a user, the first item that was taken out.
    """

    name: str
    data_path: Path
    histories: dict[str, list[str]]
    ordered: bool
    new_items: tuple[str, ...] = ()
    new_of: tuple[tuple[str, str], ...] = ()


def prepared(
    name: str,
    data: Path,
    content: Path,
    folder: Path,
    new_share: float = 0.0,
    n_users: int = N_USERS,
    n_last: int = N_LAST,
    label: str = "",
    draw: int = 0,
) -> Small:
    """Write a sample of a dataset as RecBole's atomic files.

    Args:
        name: the dataset. ``content/NAME/NAME.item`` has its texts.
        data: folder of datasets.
        content: folder of item texts.
        folder: where the files are written.
        new_share: share of the items that lose all their interactions.
        n_users: the most users that stay.
        n_last: interactions of a user that stay, the last ones.
        label: name of the result; "": that of the dataset.
        draw: number of the sample. Samples of other numbers have other users.
    """
    source = next(
        each / name / f"{name}.inter"
        for each in (content, data, Path(recbole.__file__).parent / "dataset_example")
        if (each / name / f"{name}.inter").is_file()
    )
    rows = pd.read_csv(source, sep="\t", dtype=str, quoting=3, keep_default_na=False)
    generator = np.random.default_rng(0)
    ordered = TIME in rows
    rows[TIME] = pd.to_numeric(rows[TIME]) if ordered else generator.permutation(len(rows))
    rows = rows[[USER, ITEM, TIME]].drop_duplicates([USER, ITEM]).sort_values([USER, TIME], kind="stable")
    users = np.sort(rows[USER].unique()[rows.groupby(USER).size() >= FEWEST])
    drawn = generator.permutation(users)[draw * n_users : (draw + 1) * n_users]
    rows = rows[rows[USER].isin(drawn)].groupby(USER).tail(n_last)
    table = read_items(content / name / f"{name}.item", None, print)
    columns = {column: [_text(value) for value in table.frame[column]] for column in table.frame.columns[1:]}
    texts = item_texts(columns, chosen_fields(columns, None, name), len(table.frame))
    # RecBole reads quotes as pandas does, so that one in a title would join rows.
    text_of = dict(zip(table.ids, (text.replace('"', " ")[:CHARACTERS] for text in texts), strict=True))
    items = np.sort(rows[ITEM].unique())
    new = set(generator.permutation(items)[: int(new_share * len(items))].tolist())
    is_new = rows[ITEM].isin(new)
    first = rows[is_new].groupby(USER, sort=True)[ITEM].first()
    rows = rows[~is_new]
    known = sorted(rows[ITEM].unique())
    label = label or (f"{name}-new" if new_share else name)
    _write(folder, label, rows, {item: text_of.get(item, "") for item in known})
    if new:
        everything = {item: text_of.get(item, "") for item in [*known, *sorted(new)]}
        _write(folder, f"{label}-all", rows, everything)
    histories = {user: items.tolist() for user, items in rows.groupby(USER)[ITEM]}
    return Small(label, folder, histories, ordered, tuple(sorted(new)), tuple(first.items()))


def _text(value: Any) -> Any:
    """A list of words, as a field of the type token_seq is read, as the text that it was."""
    return " ".join(map(str, value)) if isinstance(value, list) else value


def _write(folder: Path, name: str, rows: pd.DataFrame, text_of: dict[str, str]) -> None:
    path = folder / name
    path.mkdir(parents=True, exist_ok=True)
    rows = rows.assign(**{TIME: rows.groupby(USER).cumcount()})
    write_text(path / f"{name}.inter", rows.to_csv(sep="\t", index=False))
    lines = [f"{item}\t{text}" for item, text in text_of.items()]
    write_text(path / f"{name}.item", "\n".join(["item_id:token\ttext:token_seq", *lines]) + "\n")
