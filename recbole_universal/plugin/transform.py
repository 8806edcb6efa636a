"""The batch transform ``transform: universal``: pair features as columns of RecBole's interaction batches.

A pair feature depends on a user and an item together, so it cannot be a column of ``user_feat`` or ``item_feat``.
RecBole applies a transform before it draws negatives, and full ranking adds the items to a batch of users even later.
The transform therefore returns an :class:`~recbole.data.interaction.Interaction` that fills its pair columns whenever
it holds a user id and an item id. This serves training (pairwise, pointwise, dynamic negatives), sampled evaluation and
full ranking.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from recbole.data.interaction import Interaction

from recbole_universal.features.fields import column
from recbole_universal.ranking.network import CANDIDATE_FAMILIES


class PairInteraction(Interaction):
    """An ``Interaction`` with the pair columns of its (user, item) and (user, negative item), also after a change.

    Args:
        interaction: columns as for ``Interaction``.
        dataset: the built dataset that holds the features (:mod:`recbole_universal.plugin.dataset`).
    """

    def __init__(self, interaction: dict[str, torch.Tensor], dataset: Any) -> None:
        super().__init__(interaction)
        self.pair_dataset = dataset
        self._fill(self.interaction)

    def _like(self, columns: dict[str, torch.Tensor]) -> PairInteraction:
        """A batch of this class with columns that are already complete."""
        batch = copy.copy(self)
        batch.__dict__ = {**self.__dict__, **Interaction(columns).__dict__}
        return batch

    def _fill(self, changed: Iterable[str]) -> None:
        """Compute the pair columns of the ids among the changed columns."""
        dataset = self.pair_dataset
        user_field, item_field = dataset.uid_field, dataset.iid_field
        if user_field not in self.interaction:
            return
        for prefix in ("", dataset.config["NEG_PREFIX"]):
            item = prefix + item_field
            if item not in self.interaction or not ({user_field, item} & set(changed)):
                continue
            users, items = self.interaction[user_field], self.interaction[item]
            for name, values in dataset.pair_columns(users, items).items():
                self.interaction[prefix + name] = values

    def __copy__(self) -> PairInteraction:
        clone = object.__new__(type(self))
        clone.__dict__.update(self.__dict__)
        return clone

    def __deepcopy__(self, memo: dict[int, Any]) -> PairInteraction:
        # The features are shared, not copied: they are as large as the dataset.
        return self._like(copy.deepcopy(self.interaction, memo))

    def __getitem__(self, index: Any) -> Any:
        selected = super().__getitem__(index)
        return self._like(selected.interaction) if isinstance(selected, Interaction) else selected

    def to(self, device: Any, selected_field: Any = None) -> PairInteraction:
        """See ``Interaction.to``."""
        return self._like(super().to(device, selected_field).interaction)

    def cpu(self) -> PairInteraction:
        """See ``Interaction.cpu``."""
        return self._like(super().cpu().interaction)

    def repeat(self, sizes: int) -> PairInteraction:
        """See ``Interaction.repeat``."""
        return self._like(super().repeat(sizes).interaction)

    def repeat_interleave(self, repeats: Any, dim: int = 0) -> PairInteraction:
        """See ``Interaction.repeat_interleave``."""
        return self._like(super().repeat_interleave(repeats, dim).interaction)

    def update(self, new_inter: Interaction) -> None:
        """See ``Interaction.update``; pair columns of changed ids are computed again."""
        super().update(new_inter)
        self._fill(new_inter.interaction)


class UniversalTransform:
    """RecBole transform that adds the pair columns of every feature family that has them.

    The column is ``pair_<family>``, float32 [batch_size, dim]. Pairwise training has ``neg_pair_<family>`` too. A pair
    with an id that has no training interaction gets zeros. Families without pair features add no column.

    Args:
        config: RecBole ``Config``; ``universal_features`` names the families.

    Raises:
        ValueError: if no family is named, or ``proximity`` or ``sequence``, which have no columns.
    """

    def __init__(self, config: Any) -> None:
        if not config["universal_features"]:
            raise ValueError(
                "transform: universal needs the config key universal_features, "
                "e.g. universal_features: [interaction]; it is not set."
            )
        for family in CANDIDATE_FAMILIES:
            if family in config["universal_features"]:
                raise ValueError(
                    f"transform: universal has no columns for the family {family}, whose candidates the model looks up "
                    "itself; leave transform out."
                )

    def __call__(self, dataset: Any, interaction: Interaction) -> Interaction:
        """Return the batch with its pair columns.

        Args:
            dataset: a built dataset with universal features.
            interaction: a batch of RecBole.
        """
        if isinstance(interaction, PairInteraction):
            return interaction
        return PairInteraction(interaction.interaction, dataset)


def pair_field_names(dims: dict[str, dict[str, int]]) -> dict[str, int]:
    """Number of values of each pair column by its name.

    Args:
        dims: ``FeaturePipeline.dims``.
    """
    return {column("pair", family): dim["pair"] for family, dim in dims.items() if dim["pair"]}
