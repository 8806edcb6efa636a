"""The values of single users behind the metrics that RecBole averages."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from recbole.evaluator.base_metric import TopkMetric
from recbole.quick_start import quick_start as recbole_quick_start

from recbole_universal.plugin.swapped import swapped


class UserValues:
    """What the latest evaluation of a run gave to each user.

    Attributes:
        by_user: a row per user id, a column per metric such as ``ndcg@10``, in the order of the ids. ``None`` if the
            rows of the metrics are not those of the users. A user with several rows has their mean.
        test_hash: SHA-256 of the evaluated interactions, as ids of the files; "" without an evaluation.
    """

    by_user: pd.DataFrame | None = None
    test_hash: str = ""

    def evaluated(self, evaluate: Callable[..., Any], data: Any, *arguments: Any, **settings: Any) -> Any:
        """Evaluate, and keep the values of the users."""
        values: dict[str, np.ndarray] = {}
        stock = TopkMetric.topk_result

        def topk_result(metric: Any, name: str, value: np.ndarray) -> dict[str, float]:
            values.update({f"{name}@{k}": value[:, k - 1].astype(np.float64) for k in metric.topk})
            return stock(metric, name, value)

        with swapped(TopkMetric, "topk_result", topk_result):
            result = evaluate(data, *arguments, **settings)
        self._keep(values, data)
        return result

    def _keep(self, values: dict[str, np.ndarray], data: Any) -> None:
        dataset = data._dataset
        fields = dataset.uid_field, dataset.iid_field
        users, items = (dataset.id2token(field, dataset.inter_feat[field].numpy()) for field in fields)
        pairs = "\n".join(sorted(f"{user}\t{item}" for user, item in zip(users, items, strict=True)))
        self.test_hash = hashlib.sha256(pairs.encode()).hexdigest()
        if not getattr(data, "is_sequential", False) and hasattr(data, "uid_list"):
            users = dataset.id2token(dataset.uid_field, np.asarray(data.uid_list))
        self.by_user = None
        if values and {len(value) for value in values.values()} == {len(users)}:
            frame = pd.DataFrame(values, index=pd.Index(users, dtype=object, name="user"))
            self.by_user = frame.groupby(level=0).mean()


@contextlib.contextmanager
def recording_users() -> Iterator[UserValues]:
    """In the ``with`` block, ``run_recbole`` keeps the values of the users of its latest evaluation, the test."""
    kept = UserValues()
    stock = recbole_quick_start.get_trainer

    def get_trainer(*names: Any) -> Callable[[Any, Any], Any]:
        def make(config: Any, model: Any) -> Any:
            trainer = stock(*names)(config, model)
            evaluate = trainer.evaluate
            trainer.evaluate = lambda *arguments, **settings: kept.evaluated(evaluate, *arguments, **settings)
            return trainer

        return make

    with swapped(recbole_quick_start, "get_trainer", get_trainer):
        yield kept
