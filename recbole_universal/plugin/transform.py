"""The batch transform ``transform: universal``: pair features as columns of RecBole's interaction batches.

A pair feature depends on a user and an item together, so it cannot be a column of ``user_feat`` or ``item_feat``.
RecBole applies a transform before it draws negatives, and in full ranking the items join a batch of users later
still. The transform therefore returns an :class:`~recbole.data.interaction.Interaction` that fills its pair columns
whenever a user id and an item id stand beside each other in it: one mechanism for training (pairwise, pointwise,
dynamic negatives), sampled evaluation and full ranking.
"""

from __future__ import annotations

import copy

import torch
from recbole.data.interaction import Interaction

from recbole_universal.features.fields import column


class PairInteraction(Interaction):
    """An ``Interaction`` that keeps the pair columns of its (user, item) and (user, negative item) in step.

    Args:
        interaction: Columns as for ``Interaction``.
        dataset: The built data set that holds the features (:mod:`recbole_universal.plugin.dataset`).
    """

    def __init__(self, interaction: dict[str, torch.Tensor], dataset):
        super().__init__(interaction)
        self.pair_dataset = dataset
        self._fill(self.interaction)

    def _like(self, columns: dict[str, torch.Tensor]) -> PairInteraction:
        """The same kind of batch over columns that are already complete."""
        batch = copy.copy(self)
        batch.__dict__ = {**self.__dict__, **Interaction(columns).__dict__}
        return batch

    def _fill(self, changed) -> None:
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

    def __deepcopy__(self, memo) -> PairInteraction:
        # The features behind the columns are shared, never copied: they are as large as the data set.
        return self._like(copy.deepcopy(self.interaction, memo))

    def __getitem__(self, index):
        selected = super().__getitem__(index)
        return self._like(selected.interaction) if isinstance(selected, Interaction) else selected

    def to(self, device, selected_field=None) -> PairInteraction:
        """See ``Interaction.to``."""
        return self._like(super().to(device, selected_field).interaction)

    def cpu(self) -> PairInteraction:
        """See ``Interaction.cpu``."""
        return self._like(super().cpu().interaction)

    def repeat(self, sizes: int) -> PairInteraction:
        """See ``Interaction.repeat``."""
        return self._like(super().repeat(sizes).interaction)

    def repeat_interleave(self, repeats, dim: int = 0) -> PairInteraction:
        """See ``Interaction.repeat_interleave``."""
        return self._like(super().repeat_interleave(repeats, dim).interaction)

    def update(self, new_inter: Interaction) -> None:
        """See ``Interaction.update``; pair columns of changed ids are computed anew."""
        super().update(new_inter)
        self._fill(new_inter.interaction)


class UniversalTransform:
    """RecBole transform that adds the pair columns of every feature family that has them.

    Column ``pair_<family>``, float32 of shape [batch_size, dim]; for pairwise training also
    ``neg_pair_<family>``. A pair with an id that has no training interaction gets zeros.

    Args:
        config: RecBole ``Config``; ``universal_features`` names the families.

    Raises:
        ValueError: If no family is named. Families without pair features add no column.
    """

    def __init__(self, config):
        if not config["universal_features"]:
            raise ValueError(
                "transform: universal needs the config key universal_features, "
                "e.g. universal_features: [interaction]; it is not set."
            )
        if "proximity" in config["universal_features"]:
            raise ValueError(
                "transform: universal has no columns for the family proximity, whose candidates UniversalMLP looks up "
                "itself; leave transform out."
            )

    def __call__(self, dataset, interaction: Interaction) -> Interaction:
        """Return the batch with its pair columns.

        Args:
            dataset: A built data set with universal features.
            interaction: A batch of RecBole.
        """
        if isinstance(interaction, PairInteraction):
            return interaction
        return PairInteraction(interaction.interaction, dataset)


def pair_field_names(dims: dict[str, dict[str, int]]) -> dict[str, int]:
    """Pair columns and their widths for ``FeaturePipeline.dims``."""
    return {column("pair", family): dim["pair"] for family, dim in dims.items() if dim["pair"]}
