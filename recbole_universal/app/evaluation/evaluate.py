"""Recommenders on held-out interactions of a table: are the recommendations any good there?"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from recbole_universal import arguments
from recbole_universal.app.evaluation import recommenders, results
from recbole_universal.app.evaluation.recommenders import POPULAR, UNIVERSAL
from recbole_universal.app.evaluation.results import Evaluation, Example
from recbole_universal.app.evaluation.splits import SPLITS, Fold, Split, make_split, shown_time
from recbole_universal.app.evaluation.weights import with_weights
from recbole_universal.app.fitted_interactions import FittedInteractions
from recbole_universal.app.model_choice import given_model
from recbole_universal.app.recommend import check_column_names
from recbole_universal.app.recommendation_blocks import checked_top_k
from recbole_universal.app.weighting import Weighting
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.interaction_weights import evidence_of
from recbole_universal.io.interactions import read_interactions
from recbole_universal.io.source import Report

if TYPE_CHECKING:
    from recbole_universal.checkpoint import Pretrained
    from recbole_universal.io.interaction_table import InteractionTable

_N_EXAMPLES, _SHOWN_HISTORY = 5, 5


def evaluate(
    interactions: Any,
    *,
    top_k: int = 10,
    split: str | None = None,
    n_folds: int = 3,
    max_users: int = 2000,
    user_column: Hashable | None = None,
    item_column: Hashable | None = None,
    time_column: Hashable | None = None,
    order: str | None = None,
    weight_column: Hashable | None = None,
    event_column: Hashable | None = None,
    event_weights: Mapping[Any, float] | None = None,
    half_life: float | None = None,
    pretrained: str | os.PathLike[str] | Pretrained = "auto",
    seed: int = 2020,
    device: str = "cpu",
    show_progress: bool = True,
    report: Report | None = None,
) -> Evaluation:
    """Compare the recommendations of the pre-trained model with those of baselines on held-out interactions.

    The baselines are MostPop, ItemKNN and EASE, which read no weights. No recommender sees a held-out interaction. An
    interaction of weight 0 is never held out, and no list has its item.

    Args:
        interactions: as of :func:`recbole_universal.recommend`.
        top_k: length of a list, at least 1.
        split: what is held out. ``time``: everything from a point in time on. ``folds``: the same for several points.
            ``last``: the last item of each evaluated user. ``random``: a fifth of the items of each evaluated user.
            ``None``: ``time`` where the times are those of a clock and 100 users come back, otherwise ``last`` where
            the order is known, otherwise ``random``.
        n_folds: number of points in time of the split ``folds``.
        max_users: number of evaluated users at most; they are drawn at random.
        user_column: as of :func:`recbole_universal.recommend`.
        item_column: likewise.
        time_column: likewise.
        order: likewise.
        weight_column: likewise.
        event_column: likewise.
        event_weights: likewise.
        half_life: likewise.
        pretrained: likewise.
        seed: seed of the split, of the users who are drawn, and of the examples.
        device: as of :func:`recbole_universal.recommend`.
        show_progress: whether to draw a progress bar on stderr.
        report: receives a sentence on each thing that reading the interactions left out or guessed; ``None``: warnings.

    Returns:
        The figures. ``print`` shows them as a table, and ``table`` has them as a data frame.

    Raises:
        ValueError: naming the file, column or argument and the valid values, or what a small table lacks.
        OSError: if a file cannot be read.
    """
    top_k = checked_top_k(top_k)
    if split is not None and split not in SPLITS:
        raise ValueError(f"split (--split): must be one of {', '.join(SPLITS)}, got {arguments.shown(split)}.")
    n_folds = arguments.integer("evaluate", "n_folds (--folds)", n_folds, 2, below=101)
    max_users = arguments.integer("evaluate", "max_users (--max-users)", max_users, 1, below=2**31)
    seed, device = arguments.seed("evaluate", seed), str(arguments.device(device))
    show_progress = arguments.flag("evaluate", "show_progress", show_progress)
    check_column_names(user_column, item_column, time_column)
    weighting = Weighting.checked(weight_column, event_column, event_weights, half_life)
    model = given_model(pretrained)
    messages: list[str] = []
    try:
        table = read_interactions(
            interactions,
            user_column,
            item_column,
            report or messages.append,
            show_progress,
            time_column=time_column,
            order=order,
            **weighting.columns(),
        )
    finally:
        for message in messages:
            warnings.warn(message, UserWarning, stacklevel=2)
    matrix = table.matrix()
    if matrix.shape[1] <= top_k:
        raise ValueError(
            f"top_k (--top-k): a list of {top_k} would hold every item (number of items: {matrix.shape[1]}); give a "
            "smaller number."
        )
    weights = FittedInteractions.of_table(table).weights(weighting.half_life)
    histories = Histories.of_table(table)
    evidence, in_order = matrix, histories
    if weights is not None:
        evidence = evidence_of(matrix, weights).sign()
        in_order = None if histories is None else histories.of_positive_weight()
    made = make_split(split, evidence, in_order, max_users, n_folds, seed)
    if weights is not None:
        made.folds = [with_weights(fold, matrix, histories, weights, weighting.half_life) for fold in made.folds]
    if made.name == "random" and model is not None and "sequence" in model.families:
        raise ValueError(
            "pretrained (--model): this model reads the order of the interactions, which a random split does not "
            "have. Take another model, or split (--split) time, folds or last."
        )
    fits = recommenders.baselines(made.folds[-1])
    runs, choices = _Runs(top_k), []
    with tqdm(total=len(made.folds) * (len(fits) + 1), desc="evaluating", disable=not show_progress) as bar:
        for fold in made.folds:
            of_fold: list[str] = []
            fits[UNIVERSAL] = recommenders.universal(model, of_fold.append, device=device)
            for name, fit in fits.items():
                bar.set_postfix_str(name)
                runs.add(name, fit, fold)
                bar.update()
            when = f"{shown_time(fold.cut)}: " if fold.cut is not None and len(made.folds) > 1 else ""
            choices += [when + message for message in of_fold]
    users = _ids_of_rows(table)
    by_user = runs.by_user(users)
    best = results.difference_to_best(by_user, top_k)
    return Evaluation(
        answer=results.answer(by_user, best, made.name, top_k),
        table=runs.table(by_user),
        margins=pd.DataFrame({name: results.margins(values) for name, values in by_user.items()}).T,
        by_user=by_user,
        difference=best,
        split=made.name,
        n_users=len(by_user[UNIVERSAL]),
        top_k=top_k,
        notes=_notes(made, len(by_user[UNIVERSAL]), max_users, seed, "EASE" in fits, choices),
        examples=_examples(made.folds[-1], runs, users, table, seed),
    )


class _Runs:
    """Fits and ranks, and keeps the figures.

    Attributes:
        lists: by recommender, the lists of the latest fold.
        latest: what ranked last.
    """

    latest: recommenders.Rank

    def __init__(self, top_k: int) -> None:
        self._top_k = top_k
        self.lists: dict[str, np.ndarray] = {}
        self._by_user: dict[str, list[pd.DataFrame]] = {}
        self._of_lists: dict[str, list[dict[str, float]]] = {}

    def add(self, name: str, fit: recommenders.Fit, fold: Fold) -> None:
        """Run a recommender on a fold; MostPop comes before the others."""
        times = [time.perf_counter()]
        rank = self.latest = fit(fold)
        times.append(time.perf_counter())
        lists = self.lists[name] = rank(fold.users, self._top_k)
        times.append(time.perf_counter())
        seconds = dict(zip(("fit seconds", "ranking seconds"), np.diff(times), strict=True))
        by_user = results.metrics_by_user(lists, self.lists[POPULAR], fold)
        self._by_user.setdefault(name, []).append(by_user)
        self._of_lists.setdefault(name, []).append(results.metrics_of_lists(lists, fold) | seconds)

    def by_user(self, users: pd.Index) -> dict[str, pd.DataFrame]:
        """The metrics of each user, means over the folds, by the ids of the matrix rows."""
        means = {name: pd.concat(frames).groupby(level=0).mean() for name, frames in self._by_user.items()}
        return {
            name: frame.set_index(users.take(frame.index.to_numpy()).rename("user")) for name, frame in means.items()
        }

    def table(self, by_user: dict[str, pd.DataFrame]) -> pd.DataFrame:
        """A row per recommender."""
        rows = {}
        for name, values in by_user.items():
            of_lists = pd.DataFrame(self._of_lists[name])
            together = of_lists[["coverage", "Gini"]].mean()
            rows[name] = pd.concat([values.mean(), together, of_lists[["fit seconds", "ranking seconds"]].sum()])
        return pd.DataFrame(rows).T.rename_axis("recommender")


def _ids_of_rows(table: InteractionTable) -> pd.Index:
    """The user of each row of the matrix."""
    return table.users.take(table.user_order)


def _notes(split: Split, n_users: int, max_users: int, seed: int, has_ease: bool, choices: list[str]) -> list[str]:
    notes = list(split.sentences)
    drawn = f" of {split.n_eligible:,}, drawn with seed {seed}" if split.n_eligible > max_users else ""
    notes.append(f"Users: {n_users:,}{drawn}. ± is the half-width of a 95 % confidence interval over the users.")
    if n_users < results.ENOUGH_USERS:
        notes.append(f"Fewer than {results.ENOUGH_USERS} users say little, whatever the figures are.")
    n_held_out, n_new = 0, 0
    for fold in split.folds:
        known = np.bincount(fold.train.indices, minlength=fold.train.shape[1]) > 0
        held_out = fold.test[fold.users].indices
        n_held_out, n_new = n_held_out + len(held_out), n_new + int((~known[held_out]).sum())
    if n_new:
        notes.append(
            f"{n_new / n_held_out:.1%} of the held-out items have no interaction in the training part. No recommender "
            "here knows them, so they come last, if a list reaches so far."
        )
    if split.folds[-1].weights is not None:
        notes.append(
            "The universal model reads weights, and the baselines do not. Interactions of weight 0 are not held out."
        )
    if split.folds[-1].repeats:
        notes.append(
            "The users come back to items, so lists may hold items that a user had; those of [universal-base] do not. "
            "The recommender own items lists those that the user had most often."
        )
    if not has_ease:
        notes.append(
            f"EASE is left out: there are more than {recommenders.LARGEST_REGRESSION:,} users and as many items."
        )
    return notes + choices


def _examples(fold: Fold, runs: _Runs, users: pd.Index, table: InteractionTable, seed: int) -> list[Example]:
    """Some users of the latest fold, drawn at random."""
    universal = runs.latest
    assert isinstance(universal, recommenders.Universal)  # the last one of each fold
    items = table.items.take(table.item_order)
    examples = []
    for row in np.random.default_rng(seed).permutation(len(fold.users))[:_N_EXAMPLES]:
        user = fold.users[row]
        held_out = set(fold.test[user].indices.tolist())
        history = fold.train[user].indices if fold.histories is None else fold.histories[np.array([user])].items
        shown = {
            name: [(str(items[item]), item in held_out) for item in runs.lists[name][row].tolist() if item >= 0]
            for name in (UNIVERSAL, POPULAR)
        }
        last = [str(items[item]) for item in history[-_SHOWN_HISTORY:]]
        own = universal.reasons(int(user), [item for item in runs.lists[UNIVERSAL][row].tolist() if item >= 0])
        reasons = [[str(items[item]) for item in strongest] for strongest in own]
        examples.append(Example(str(users[user]), last, shown, reasons))
    return examples
