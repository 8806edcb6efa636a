"""The feature families by name, of the package and of a user."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any, TypeVar

from recbole_universal import arguments
from recbole_universal.features.activity import ActivityFeatures
from recbole_universal.features.cooccurrence import CooccurrenceFeatures
from recbole_universal.features.family import FeatureFamily
from recbole_universal.features.interaction import InteractionFeatures
from recbole_universal.features.proximity import ProximityFeatures
from recbole_universal.features.sequence import SequenceFeatures

Family = TypeVar("Family", bound=type[FeatureFamily])

#: Every feature family by name.
FAMILIES: dict[str, type[FeatureFamily]] = {
    family.name: family
    for family in (ActivityFeatures, CooccurrenceFeatures, InteractionFeatures, ProximityFeatures, SequenceFeatures)
}


def register_family(family: Family) -> Family:
    """Make a family of your own available under its name; usable as a class decorator.

    From then on ``FeaturePipeline``, the config key ``universal_features`` and saved models know the name. Each
    process registers the family itself, by importing the module that calls this function.

    Args:
        family: Subclass of ``FeatureFamily`` with a ``name``. Each argument of its ``__init__`` has a default.

    Returns:
        The same class.

    Raises:
        ValueError: If the class is not a complete family, or another family has the name.
    """
    if not (isinstance(family, type) and issubclass(family, FeatureFamily)):
        raise ValueError(f"register_family: expected a subclass of FeatureFamily, not {arguments.shown(family)}")
    name: Any = getattr(family, "name", None)
    where = f"register_family: {family.__qualname__}"
    if inspect.isabstract(family):
        missing = ", ".join(sorted(family.__abstractmethods__))
        raise ValueError(f"{where} does not implement {missing}")
    if not isinstance(name, str) or not re.fullmatch("[a-z][a-z0-9_]*", name) or name == "node2vec":
        raise ValueError(
            f"{where}: name must be lower-case letters, digits and underscores, and not node2vec; "
            f"got {arguments.shown(name)}"
        )
    known = FAMILIES.get(name)
    if known is not None and (known.__module__, known.__qualname__) != (family.__module__, family.__qualname__):
        raise ValueError(f"{where}: the name {name!r} belongs to {known.__module__}.{known.__qualname__}")
    _check_defaults(where, family)
    FAMILIES[name] = family
    return family


def _check_defaults(where: str, family: type[FeatureFamily]) -> None:
    """Build the family without arguments, as the pipeline does, and check the attributes that the pipeline reads."""
    try:
        built = family.from_args()
        args, dims = built.args, built.dims
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{where}: cannot be built without arguments, or lacks an attribute: {error}") from error
    unlisted = set(arguments.defaults(family.__init__)) ^ set(args)
    if unlisted:
        raise ValueError(f"{where}: args must hold each argument of __init__; differing: {', '.join(sorted(unlisted))}")
    for side, dim in dims.items():
        arguments.integer(where, f"{side}_dim", dim, 0)


def unknown_families(names: Sequence[Any]) -> list[str]:
    """The names that no registered family has, quoted."""
    return [repr(name) for name in names if not isinstance(name, str) or name not in FAMILIES]
