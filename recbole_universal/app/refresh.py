"""Brings the interactions of a service into its saved recommenders, and erases people from both."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from recbole_universal.app.fitted_interactions import FittedInteractions
from recbole_universal.app.recommender_files import load_recommender, save_recommender
from recbole_universal.app.recommender_state import RecommenderState, as_ids
from recbole_universal.app.service.appended import AppendedInteractions, Row
from recbole_universal.app.service.loaded import as_kind, kind_of
from recbole_universal.files import locked_folder
from recbole_universal.io.events import Events
from recbole_universal.io.interaction_table import InteractionTable, distinct_pairs
from recbole_universal.io.source import Report


def refresh(
    folders: Sequence[str | os.PathLike[str]], report: Report = print, show_progress: bool = False
) -> list[tuple[str, int]]:
    """Fit saved recommenders again with the interactions that a service has appended, and save them.

    ``recommender.json`` says up to which row a recommender includes the database. It is replaced in one step with the
    recommender, so no row is lost or counts twice, wherever a process is stopped. A service that runs loads the new
    recommender by itself.

    Args:
        folders: the folders of the service in the same order; the database is in the first.
        report: receives sentences for people.
        show_progress: whether to draw progress bars on stderr.

    Returns:
        Each folder, and the number of interactions that are new in it.

    Raises:
        ValueError: if a folder is damaged, or its recommender cannot be updated.
        OSError: if a folder or the database cannot be read or written.
    """
    done = []
    with _locked(folders) as appended:
        for folder in folders:
            state = load_recommender(folder, "cpu")
            rows, last = appended.rows(state.appended)
            if rows:
                interactions = state.interactions().with_table(_table(rows, state))
                _save(folder, state, interactions, last, report, show_progress)
            done.append((os.fspath(folder), len(rows)))
    return done


@contextmanager
def _locked(folders: Sequence[str | os.PathLike[str]]) -> Iterator[AppendedInteractions]:
    """The database of the first folder; another refresh waits."""
    if not folders:
        raise ValueError("folders: must be at least one folder.")
    for folder in folders:
        load_recommender(folder, "cpu")  # errors come before anything changes
    appended = AppendedInteractions(os.fspath(folders[0]))
    try:
        with locked_folder(appended.folder, wait=True):
            yield appended
    finally:
        appended.close()


def _save(
    folder: str | os.PathLike[str],
    old: RecommenderState,
    interactions: FittedInteractions,
    appended: int,
    report: Report,
    show_progress: bool,
) -> None:
    """Save a fit of interactions in the place of an old one, with an item-item matrix if the old one has one."""
    new = old.refitted(interactions, report, show_progress)
    new.appended = appended
    if old.ranker.has_item_item and "proximity" in new.ranker.pretrained.families:
        new.ranker.prepare_fast()
    save_recommender(folder, new)


def _table(rows: Sequence[Row], state: RecommenderState) -> InteractionTable:
    """The rows, which are in the order of time, as a table."""
    user_codes, users = pd.factorize(np.array([row.user for row in rows], dtype=object))
    item_codes, items = pd.factorize(np.array([row.item for row in rows], dtype=object))
    weights = None if state.amounts is None else np.array([row.weight for row in rows])
    pair_users, pair_items, sums = distinct_pairs(user_codes, item_codes, len(items), weights)
    events = None
    if state.histories is not None:
        times, fitted = None, state.histories.times
        if fitted is not None and state.histories.has_clock:
            times = np.array([row.time for row in rows])
        elif fitted is not None:  # positions in the histories, which go on
            times = np.floor(fitted.max()) + 1 + np.arange(len(rows))
        events = Events.in_order(user_codes, item_codes, times, None, weights)
    return InteractionTable(
        users=pd.Index(users, tupleize_cols=False),
        items=pd.Index(items, tupleize_cols=False),
        user_codes=pair_users,
        item_codes=pair_items,
        columns=("user", "item"),
        events=events,
        weights=sums,
    )


def erase(folders: Sequence[str | os.PathLike[str]], users: Any, report: Report = print) -> tuple[int, int]:
    """Erase users from saved recommenders and from the interactions that a service has appended.

    Args:
        folders: the folders of the service in the same order.
        users: ids of users, or one id.
        report: receives sentences for people.

    Returns:
        Number of users who were in a recommender, and of appended interactions that were removed.

    Raises:
        ValueError: if a folder is damaged, its recommender cannot be updated, or no interaction is left.
        OSError: if a folder or the database cannot be read or written.
    """
    ids = as_ids("users", users)
    found: set[int] = set()
    with _locked(folders) as appended:
        kind = kind_of(load_recommender(folders[0], "cpu").users)
        n_rows = appended.erase([stored for name in ids if (stored := as_kind(name, kind)) is not None])
        for folder in folders:
            state = load_recommender(folder, "cpu")
            rows = state.find_user.indices(ids)
            found.update(np.flatnonzero(rows >= 0).tolist())
            rows = np.unique(rows[rows >= 0])
            if len(rows):
                interactions = state.interactions().without(rows, np.zeros(0, dtype=np.int64))
                _save(folder, state, interactions, state.appended, report, False)
    return len(found), n_rows
