"""RecBole-Universal: universal interaction statistics for every RecBole model.

Importing the package registers the plugin with RecBole; nothing else is needed.
"""

import importlib

from recbole_universal import signals
from recbole_universal.plugin import compat

signals.stop_while_importing()
compat.apply()  # before anything of RecBole is imported

from recbole_universal.plugin import registration  # noqa: E402

registration.register()

from recbole_universal.app.recommend import recommend  # noqa: E402
from recbole_universal.features import FeaturePipeline, UniversalFeatures  # noqa: E402
from recbole_universal.graph import InteractionGraph  # noqa: E402
from recbole_universal.plugin.universal_interpolation import UniversalInterpolation  # noqa: E402
from recbole_universal.plugin.universal_mlp import UniversalMLP  # noqa: E402
from recbole_universal.ranking.mixing import interpolate  # noqa: E402

__version__ = "0.1.0"

_LAZY = {"pretrain": "recbole_universal.app.quick_start", "UniversalRanker": "recbole_universal.ranking.ranker"}

__all__ = [
    "FeaturePipeline",
    "InteractionGraph",
    "UniversalFeatures",
    "UniversalInterpolation",
    "UniversalMLP",
    "UniversalRanker",
    "__version__",
    "interpolate",
    "pretrain",
    "recommend",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str):
    """Names whose modules import slow parts of RecBole, loaded when first used."""
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
