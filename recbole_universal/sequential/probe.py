"""What frozen vectors of users tell about an attribute of the users, such as their gender."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from recbole_universal import arguments

_PENALTIES = (0.001, 0.01, 0.1, 1.0)
# Folds within the users that a fold fits to, which choose the penalty.
_INNER_FOLDS = 3


@dataclass(frozen=True)
class Probe:
    """How well an attribute is predicted for users that the classifier was not fitted to.

    Attributes:
        correct: whether each user's class is predicted, bool [n_users].
        majority_correct: the same for the most frequent class of the other users.
        auc: area under the ROC curve of each class against the others, weighted by the size of the class, mean of the
            folds; 0.5 is chance. Chances of different folds are not compared, since each fold has its own majority.
    """

    correct: NDArray[np.bool_]
    majority_correct: NDArray[np.bool_]
    auc: float

    @property
    def accuracy(self) -> float:
        """Share of the users whose class is predicted."""
        return float(self.correct.mean())

    @property
    def majority(self) -> float:
        """Share of the users who have the most frequent class."""
        return float(self.majority_correct.mean())


def user_folds(labels: Sequence[Any], n_folds: int, seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Users to fit to and users to test on, with the shares of the classes alike. Each user is tested once.

    Args:
        labels: the class of each user, [n_users].
        n_folds: number of folds, at least 2.
        seed: draws the folds.

    Raises:
        ValueError: if a label is missing, there are fewer than two classes, or a class has fewer users than there are
            folds.
    """
    if not arguments.is_integer(n_folds) or n_folds < 2:
        raise ValueError(f"n_folds: must be an integer of at least 2, got {arguments.shown(n_folds)}.")
    codes, classes = _classes(labels)
    counts = np.bincount(codes, minlength=len(classes))
    if len(classes) < 2:
        raise ValueError(f"labels: two classes at least are needed, got {classes}.")
    if counts.min() < n_folds:
        rare = [f"'{classes[code]}' ({counts[code]})" for code in np.flatnonzero(counts < n_folds)]
        raise ValueError(
            f"labels: {len(rare)} of {len(classes)} classes have fewer users than the {n_folds} folds: "
            f"{', '.join(rare[:5])}{', ...' * (len(rare) > 5)}. Leave their users out, of the vectors too, or join "
            "classes."
        )
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    return list(folds.split(np.zeros(len(codes)), codes))


def _classes(labels: Sequence[Any]) -> tuple[NDArray[np.int64], list[Any]]:
    """The class of each user as a number, int64 [n_users], and the classes."""
    try:
        codes, classes = pd.factorize(_objects(labels), sort=True)
    except TypeError as error:
        raise ValueError(f"labels: must be texts or numbers ({error}).") from error
    missing = codes < 0
    if missing.any():
        raise ValueError(
            f"labels: {int(missing.sum())} of {len(codes)} are missing, the first in row {int(missing.argmax())}; "
            "leave these users out, of the vectors too."
        )
    return codes.astype(np.int64), list(classes)


def _objects(values: Sequence[Any]) -> NDArray[np.object_]:
    """The labels as an array of Python's own values, object [n_users]."""
    array = np.empty(len(values), dtype=object)
    array[:] = values.tolist() if isinstance(values, (np.ndarray, pd.Series, pd.Index)) else list(values)
    return array


def _checked_vectors(vectors: Any, labels: Sequence[Any]) -> NDArray[np.float64]:
    """The vectors as an array, [n_users, dim].

    Raises:
        ValueError: if they are no finite numbers, or of other users than the labels.
    """
    if isinstance(vectors, pd.DataFrame) and isinstance(labels, pd.Series) and not vectors.index.equals(labels.index):
        raise ValueError(
            "labels: their index is not that of the vectors; give labels.loc[vectors.index], or an array in the order "
            "of the vectors."
        )
    try:
        array = np.asarray(vectors, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"vectors: must be numbers [n_users, dim] ({error}).") from error
    if array.ndim != 2 or len(array) != len(labels) or not array.shape[1]:
        raise ValueError(f"vectors: must be [n_users, dim] for {len(labels)} labels, got {list(array.shape)}.")
    with np.errstate(over="ignore"):  # the squares of larger numbers are infinite
        if not np.isfinite(array.astype(np.float32)).all():
            raise ValueError("vectors: must be finite numbers of 32 bits, but hold NaN, infinity or larger ones.")
    return array


def probe(vectors: NDArray, labels: Sequence[Any], n_folds: int = 5, seed: int = 0) -> Probe:
    """Logistic regression on standardised vectors, cross-validated by users.

    Means, spreads and the penalty come from the users that a fold fits to.

    Args:
        vectors: finite, float [n_users, dim], such as the frame of :func:`recbole_universal.user_vectors`.
        labels: the class of each user, [n_users]. A series must have the index of a frame of vectors.
        n_folds: number of folds.
        seed: draws the folds.

    Raises:
        ValueError: if the lengths differ, a vector is not finite, or the classes do not suffice
            (:func:`user_folds`).
    """
    vectors = _checked_vectors(vectors, labels)
    codes, classes = _classes(labels)
    predicted, most, areas = codes.copy(), codes.copy(), []
    for fitted, tested in user_folds(labels, n_folds, seed):
        counts = np.bincount(codes[fitted], minlength=len(classes))
        if counts.min() < _INNER_FOLDS:
            raise ValueError(
                f"labels: a fold fits to {counts.min()} users of the class '{classes[counts.argmin()]}', and needs "
                f"{_INNER_FOLDS}; use more folds, leave the class out, or join it with another."
            )
        model = GridSearchCV(
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
            {"logisticregression__C": _PENALTIES},
            cv=StratifiedKFold(_INNER_FOLDS, shuffle=True, random_state=seed),
            scoring="neg_log_loss",
        )
        chances = model.fit(vectors[fitted], codes[fitted]).predict_proba(vectors[tested])
        predicted[tested] = chances.argmax(axis=1)
        most[tested] = np.bincount(codes[fitted]).argmax()
        areas.append(area_under_curve(chances, codes[tested]))
    return Probe(predicted == codes, most == codes, float(np.mean(areas)))


def area_under_curve(chances: NDArray, codes: NDArray[np.int64]) -> float:
    """See :attr:`Probe.auc`.

    Args:
        chances: of each class, float [n_users, n_classes].
        codes: the class of each user, int64 [n_users]; each class occurs.
    """
    areas = [roc_auc_score(codes == code, chances[:, code]) for code in range(chances.shape[1])]
    return float(np.average(areas, weights=np.bincount(codes, minlength=chances.shape[1])))
