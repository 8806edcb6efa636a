"""RecBole-Universal: universal interaction statistics for every RecBole model.

Importing the package registers the plugin with RecBole; nothing else is needed.
"""

from recbole_universal import compat

compat.apply()  # before anything of RecBole is imported

from recbole_universal import integration  # noqa: E402

integration.register()

from recbole_universal.features import FeaturePipeline, UniversalFeatures  # noqa: E402
from recbole_universal.graph import InteractionGraph  # noqa: E402
from recbole_universal.model.universal_mlp import UniversalMLP  # noqa: E402

__version__ = "0.1.0"

__all__ = ["FeaturePipeline", "InteractionGraph", "UniversalFeatures", "UniversalMLP", "__version__"]
