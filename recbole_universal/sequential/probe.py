"""What frozen vectors of users tell about an attribute of the users, such as their gender."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

_PENALTIES = (0.001, 0.01, 0.1, 1.0)


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
        ValueError: if there are fewer than two classes, or a class has fewer users than there are folds.
    """
    classes, counts = np.unique(np.asarray(labels), return_counts=True)
    if len(classes) < 2:
        raise ValueError(f"labels: two classes at least are needed, got {list(classes)}.")
    if counts.min() < n_folds:
        rare = classes[counts.argmin()]
        raise ValueError(
            f"labels: the class '{rare}' has {counts.min()} users, fewer than the {n_folds} folds; leave it out or "
            "join it with another."
        )
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    return list(folds.split(np.zeros(len(labels)), np.asarray(labels)))


def probe(vectors: NDArray, labels: Sequence[Any], n_folds: int = 5, seed: int = 0) -> Probe:
    """Logistic regression on standardised vectors, cross-validated by users.

    Means, spreads and the penalty come from the users that a fold fits to.

    Args:
        vectors: finite, float [n_users, dim].
        labels: the class of each user, [n_users].
        n_folds: number of folds.
        seed: draws the folds.

    Raises:
        ValueError: if the lengths differ, a vector is not finite, or the classes do not suffice
            (:func:`user_folds`).
    """
    vectors, labels = np.asarray(vectors, dtype=np.float64), list(labels)
    if vectors.ndim != 2 or len(vectors) != len(labels):
        raise ValueError(f"vectors: must be [n_users, dim] for {len(labels)} labels, got {list(vectors.shape)}.")
    if not np.isfinite(vectors).all():
        raise ValueError("vectors: must be finite, but hold NaN or infinity.")
    codes = np.unique(labels, return_inverse=True)[1]
    predicted, most, areas = codes.copy(), codes.copy(), []
    for fitted, tested in user_folds(labels, n_folds, seed):
        model = GridSearchCV(
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
            {"logisticregression__C": _PENALTIES},
            cv=StratifiedKFold(3, shuffle=True, random_state=seed),
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
