"""Answers to requests: what routes compute in threads, as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from recbole_universal.app.explanation import Explanation, explained, explanation
from recbole_universal.app.list_filters import ListFilters, list_filters
from recbole_universal.app.new_item_filters import new_item_filters
from recbole_universal.app.ranked_lists import (
    Asked,
    Lists,
    ListSettings,
    about_short,
    about_strangers,
    similar_to_all,
    with_new_items,
)
from recbole_universal.app.recommender_state import about_unknown
from recbole_universal.app.service.appended import DatabaseError
from recbole_universal.app.service.bodies import ExplainBody, RecommendBody, SimilarBody
from recbole_universal.app.service.loaded import Loaded

# Items of a person that an explanation has.
_MOST_OWN = 50


class Refused(Exception):
    """A request that the service refuses.

    Args:
        status: status of the answer.
        detail: a sentence for people.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


def encoded(content: dict[str, Any]) -> bytes:
    """JSON in ASCII, which holds every text."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def list_settings(loaded: Loaded, body: RecommendBody, fast: bool) -> ListSettings:
    """The settings of a request.

    Args:
        loaded: the model.
        body: the request.
        fast: whether lists are fast if the request does not say.

    Raises:
        Refused: if the model or the service cannot do what is asked.
    """
    if body.histories is not None and not loaded.ranks_histories:
        raise Refused(422, f"histories: the model [{loaded.name}] ranks users of the fit only.")
    if body.fast and not loaded.has_fast:
        raise Refused(422, f"fast: the model [{loaded.name}] has no item-item matrix; leave fast out.")
    if body.new_items and loaded.new_items is None:
        raise Refused(422, f"new_items: the model [{loaded.name}] was fitted without new items; leave new_items out.")
    fast = loaded.has_fast and (fast if body.fast is None else body.fast)
    return ListSettings(min(body.k, len(loaded.item_ids)), body.filter_seen, fast)


def is_filtered(body: RecommendBody) -> bool:
    """Whether a request has filters of its own."""
    return body.candidates is not None or body.exclude is not None or body.where is not None


def recommended(loaded: Loaded, settings: ListSettings, bodies: Sequence[RecommendBody]) -> list[bytes | Exception]:
    """Answers to requests of the same settings, which are ranked together; a request with filters is alone."""
    answers: list[bytes | Exception] = []
    asked: list[tuple[int, RecommendBody, Asked, ListFilters | None]] = []
    filters = None
    for body in bodies:
        unknown: dict[Any, None] = {}
        of_filters: dict[Any, None] = {}
        try:
            if body.users is not None:
                group = loaded.asked_users(body.users)
            else:
                group = loaded.asked_histories(body.histories or [], unknown)
            if is_filtered(body):
                filters = list_filters(loaded.state, group.ids, body.candidates, body.exclude, body.where, of_filters)
            of_new = _new_item_filters(loaded, body, group, of_filters) if body.new_items else None
            group.messages = [
                *loaded.notes(settings.fast),
                *about_strangers(group),
                *about_unknown(unknown | of_filters),
            ]
        except ValueError as error:  # of an argument
            answers.append(Refused(422, str(error)))
            continue
        except DatabaseError as error:  # other requests need no database
            answers.append(error)
            continue
        asked.append((len(answers), body, group, of_new))
        answers.append(b"")
    if asked:
        found = loaded.ranked([group for _, _, group, _ in asked], settings, filters)
        for (index, body, group, of_new), lists in zip(asked, found, strict=True):
            if of_new is not None:
                wanted, fast = body.new_items, settings.fast
                items, scores, about = with_new_items(loaded.state, group, lists, wanted, body.k, fast, of_new)
                lists = items, scores
                group.messages += about
            group.messages += about_short(lists[0], body.k)
            answers[index] = _recommended_answer(loaded, group, lists)
    return answers


def _new_item_filters(loaded: Loaded, body: RecommendBody, asked: Asked, unknown: dict[Any, None]) -> ListFilters:
    """The new items that each list may hold. New items that the person has had stay out."""
    assert loaded.new_items is not None
    had: Sequence[Sequence[Any]] = []
    if body.filter_seen is not False:
        had = body.histories or [loaded.appended_items(user) for user in asked.ids]
    return new_item_filters(loaded.new_items, asked.ids, had, body.candidates, body.exclude, body.where, unknown)


def _recommended_answer(loaded: Loaded, asked: Asked, lists: Lists) -> bytes:
    made = [{asked.by: name, "items": items} for name, items in zip(asked.ids, _rows(loaded, lists), strict=True)]
    return encoded({"model": loaded.name, "lists": made, "notes": asked.messages})


def _rows(loaded: Loaded, lists: Lists) -> list[list[dict[str, Any]]]:
    """The items of each list."""
    listed, n_known = loaded.listed, len(loaded.item_ids)
    return [
        [
            {"item": listed[column][0], "title": listed[column][1], "score": score, "rank": rank}
            | ({"new": True} if column >= n_known else {})
            for rank, (column, score) in enumerate(zip(columns, scores, strict=True), start=1)
            if column >= 0
        ]
        for columns, scores in zip(*(values.tolist() for values in lists), strict=True)
    ]


def similar(loaded: Loaded, body: SimilarBody) -> bytes:
    """The answer to a request for similar items."""
    state = loaded.state
    ids, lists, messages = similar_to_all(state, body.items, min(body.k, len(loaded.item_ids)))
    columns = state.find_item.indices(ids.tolist())
    if state.catalogue is not None:  # whose items follow the known ones
        of_new = len(loaded.item_ids) + state.catalogue.find.indices(ids.tolist())
        columns = np.where(columns >= 0, columns, of_new)
    made = [
        {"similar_to": loaded.listed[column][0], "title": loaded.listed[column][1], "items": items}
        for column, items in zip(columns.tolist(), _rows(loaded, lists), strict=True)
    ]
    return encoded({"model": loaded.name, "lists": made, "notes": messages})


def explained_answer(loaded: Loaded, body: ExplainBody) -> bytes:
    """The answer to a request for an explanation.

    Raises:
        Refused: if the model cannot explain.
    """
    if not loaded.state.ranker.network.ranks_candidates or (body.user is None and not loaded.ranks_histories):
        raise Refused(422, f"The model [{loaded.name}] does not explain such lists.")
    found = _explained(loaded, body)
    items = [
        {"item": loaded.item_ids[column], "title": loaded.item_titles[column], "share": share}
        for column, share in found.items[:_MOST_OWN]
    ]
    scorers = [{"name": name, "share": share} for name, share in found.scorers]
    return encoded({"model": loaded.name, "text": found.text, "items": items, "scorers": scorers})


def _explained(loaded: Loaded, body: ExplainBody) -> Explanation:
    state = loaded.state
    if body.user is not None:
        row = int(state.find_user.indices([body.user])[0])
        history = loaded.history(body.user, row)
        column = int(state.find_item.indices([body.item])[0])
        if history is not None and column >= 0:
            return explanation(state.ranker, history, column, state.items, f"[{body.user}]")
    return explained(state, body.item, user=body.user, history=body.history)


def found_items(loaded: Loaded, query: str, limit: int) -> bytes:
    """Items whose id or title contains a text. Ids and titles that begin with it come first."""
    columns = _found(loaded.item_keys, query, limit)
    items = [{"item": loaded.item_ids[column], "title": loaded.item_titles[column]} for column in columns]
    return encoded({"items": items})


def found_users(loaded: Loaded, query: str, limit: int) -> bytes:
    """Users whose id contains a text. Ids that begin with it come first."""
    return encoded({"users": [loaded.user_ids[row] for row in _found(loaded.user_keys, query, limit)]})


def _found(keys: Sequence[tuple[str, ...]], query: str, limit: int) -> list[int]:
    """Indices of the entries that contain a text: equal entries, then entries that begin with it, then all others."""
    query = query.strip().casefold()
    ranks: tuple[list[int], list[int], list[int]] = ([], [], [])
    for index, texts in enumerate(keys):
        best = min((_rank(text, query) for text in texts), default=3)
        if best < 3:
            ranks[best].append(index)
    return [index for part in ranks for index in part][:limit]


def _rank(text: str, query: str) -> int:
    if query not in text:
        return 3
    return 0 if text == query else 1 if text.startswith(query) else 2
