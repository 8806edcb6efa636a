"""RecBole-Universal: recommendations for datasets that a model has never seen, as a plugin of RecBole.

Importing the package registers it with RecBole, at once or when RecBole is imported; nothing else is needed. Public
names are resolved when they are first used, so the import itself needs neither RecBole nor PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from recbole_universal import signals
from recbole_universal.plugin import registration

if TYPE_CHECKING:
    from recbole_universal.app.arrow_lists import ArrowLists
    from recbole_universal.app.conversion.convert import convert
    from recbole_universal.app.evaluation.evaluate import evaluate
    from recbole_universal.app.pretrain import pretrain
    from recbole_universal.app.recommend import recommend
    from recbole_universal.app.recommend_on_ray import recommend_on_ray
    from recbole_universal.app.recommender import Recommender
    from recbole_universal.app.user_vectors import user_vectors
    from recbole_universal.features.pipeline import FeaturePipeline, UniversalFeatures
    from recbole_universal.features.registry import register_family
    from recbole_universal.graph.histories import Histories
    from recbole_universal.graph.interaction_graph import InteractionGraph
    from recbole_universal.plugin.universal_interpolation import UniversalInterpolation
    from recbole_universal.plugin.universal_mlp import UniversalMLP
    from recbole_universal.plugin.universal_sasrec import UniversalSASRec
    from recbole_universal.plugin.universal_sequential import UniversalSequential
    from recbole_universal.ranking.mixing import interpolate
    from recbole_universal.ranking.ranker import UniversalRanker

__version__ = "0.1.0"

__all__ = [
    "ArrowLists",
    "FeaturePipeline",
    "Histories",
    "InteractionGraph",
    "Recommender",
    "UniversalFeatures",
    "UniversalInterpolation",
    "UniversalMLP",
    "UniversalRanker",
    "UniversalSASRec",
    "UniversalSequential",
    "__version__",
    "convert",
    "evaluate",
    "interpolate",
    "pretrain",
    "recommend",
    "recommend_on_ray",
    "register_family",
    "user_vectors",
]

_MODULES = {
    "ArrowLists": "app.arrow_lists",
    "FeaturePipeline": "features.pipeline",
    "Histories": "graph.histories",
    "InteractionGraph": "graph.interaction_graph",
    "Recommender": "app.recommender",
    "UniversalFeatures": "features.pipeline",
    "UniversalInterpolation": "plugin.universal_interpolation",
    "UniversalMLP": "plugin.universal_mlp",
    "UniversalRanker": "ranking.ranker",
    "UniversalSASRec": "plugin.universal_sasrec",
    "UniversalSequential": "plugin.universal_sequential",
    "convert": "app.conversion.convert",
    "evaluate": "app.evaluation.evaluate",
    "interpolate": "ranking.mixing",
    "pretrain": "app.pretrain",
    "recommend": "app.recommend",
    "recommend_on_ray": "app.recommend_on_ray",
    "register_family": "features.registry",
    "user_vectors": "app.user_vectors",
}

signals.stop_while_importing()
registration.register()


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value
