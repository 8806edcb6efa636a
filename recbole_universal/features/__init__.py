"""Universal features: numbers that mean the same for the users and items of every dataset.

Everything here works on a SciPy sparse matrix of interactions and imports no RecBole.
"""

from recbole_universal.features.activity import ActivityFeatures
from recbole_universal.features.cooccurrence import CooccurrenceFeatures
from recbole_universal.features.family import FamilyFeatures, FeatureFamily, PairFeatures
from recbole_universal.features.interaction import InteractionFeatures
from recbole_universal.features.pipeline import FeaturePipeline, UniversalFeatures
from recbole_universal.features.registry import FAMILIES, register_family

__all__ = [
    "FAMILIES",
    "ActivityFeatures",
    "CooccurrenceFeatures",
    "FamilyFeatures",
    "FeatureFamily",
    "FeaturePipeline",
    "InteractionFeatures",
    "PairFeatures",
    "UniversalFeatures",
    "register_family",
]
