"""UniversalSASRec: RecBole's SASRec whose items are their content, with stages of training and few-weight tuning."""

from __future__ import annotations

import json
from typing import Any

import torch
from recbole.model.sequential_recommender.sasrec import SASRec
from torch import nn

from recbole_universal.model_json import SEQUENCE_MODEL
from recbole_universal.plugin.item_content import catalogue_bound, item_content
from recbole_universal.plugin.pretrained_model import pretrained_model
from recbole_universal.plugin.sasrec_settings import ARCHITECTURE
from recbole_universal.sequential.adapters import train_only, trained_weights
from recbole_universal.sequential.item_encoder import ItemEncoder, VectorAdaptor, WordAdaptor
from recbole_universal.sequential.item_inputs import ItemInputs, vocabulary

# Beginnings of the names of weights that a pre-trained model may lack.
_OF_IDS, _OF_MODALITIES = "item_embedding.ids.", "item_embedding.content.projections."


class UniversalSASRec(SASRec):
    """SASRec (Kang and McAuley, ICDM 2018) over what items are.

    Only ``item_embedding`` is another one than in RecBole's SASRec: an :class:`ItemEncoder`, which is called with ids
    and has all rows as ``weight``. Everything else, the losses too, is RecBole's. With ``item_encoder: id`` the weights
    and the loss are those of SASRec, bit by bit.

    The stages are those of the other universal models: ``in_domain`` from new weights; ``zero_shot`` and ``finetune``
    from the folder ``pretrained``; ``pretrain`` on several datasets by :func:`recbole_universal.pretrain`, which calls
    :meth:`read_catalogue` for each. Where no training history repeats an item, items of a history are no candidates.

    Args:
        config: RecBole ``Config`` with the keys of ``properties/model/UniversalSASRec.yaml``.
        dataset: the training dataset, with its item file loaded.

    Attributes:
        train_stage: the key.
        n_trained, n_weights: numbers of weights that are trained, and of all weights.

    Raises:
        ValueError: if a key or the content is not valid, or the pre-trained model does not fit.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.train_stage = config["train_stage"]
        if self.train_stage == "pretrain":
            raise ValueError(
                "train_stage: pretrain trains on several datasets and not by RecBole's run_recbole; call "
                "recbole_universal.pretrain(..., model='UniversalSASRec') or run_recbole_universal.py "
                "--model=UniversalSASRec --train_stage=pretrain."
            )
        self._architecture = {key: config[key] for key in ARCHITECTURE}
        content = item_content(config, dataset)
        self._dims = content.dims
        self.item_embedding = self._new_encoder(config["item_encoder"], content)
        self.read_catalogue(dataset, content)
        if self.train_stage in ("zero_shot", "finetune"):
            new = self._load_pretrained(config)
            if self.train_stage == "finetune":
                kind = config["finetune_parameters"]
                size = config["lora_rank"] if kind == "lora" else config["adapter_size"]
                train_only(self, self.trm_encoder.layer, kind, size)
                for name in new:  # ids and modalities that the pre-trained model does not have
                    self.get_parameter(name).requires_grad_(True)
        self.n_trained, self.n_weights = trained_weights(self)

    def _new_encoder(self, kind: str, content: ItemInputs) -> ItemEncoder:
        ids = self.item_embedding if kind in ("id", "id_plus_content") else None  # RecBole's, with its first weights
        if kind == "words":
            adaptor: nn.Module | None = WordAdaptor(len(vocabulary()), self.hidden_size)
        else:
            adaptor = None if kind == "id" else VectorAdaptor(content.dims, self.hidden_size)
        return ItemEncoder(adaptor, ids)  # type: ignore[arg-type]

    def read_catalogue(self, dataset: Any, content: ItemInputs, repeats: bool | None = None) -> None:
        """Read the items of a dataset from now on. A model of ids alone can read one dataset only.

        Args:
            dataset: a training dataset of RecBole's ``SequentialDataset``.
            content: its content (:func:`recbole_universal.plugin.item_content.item_content`).
            repeats: whether items of a history are candidates; ``None``: if some training history repeats an item.
        """
        self.n_items = dataset.item_num
        self.item_embedding.attach(content.to(self.device))
        self._repeats = self.has_repeats(dataset) if repeats is None else repeats

    def has_repeats(self, dataset: Any) -> bool:
        """Whether a training history of a dataset repeats an item; so it is said of one without histories, too."""
        inter = dataset.inter_feat
        return self.ITEM_SEQ not in inter or bool((inter[self.ITEM_SEQ] == inter[self.ITEM_ID][:, None]).any())

    def user_vectors(self, interaction: Any) -> torch.Tensor:
        """Vectors of the histories of a batch, float32 [batch_size, hidden_size].

        A score is the product with the vector of an item. What predicts other things of a user reads these vectors.
        """
        return self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])

    def mean_vectors(self, items: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Mean of the vectors after each item of a history, float32 [n, hidden_size].

        The vector after the last item says what comes next. The mean says more of what the user always does.

        Args:
            items: histories, int64 [n, longest]; zeros after the last item.
            lengths: their lengths, int64 [n].
        """
        layers: list[torch.Tensor] = []
        hook = self.trm_encoder.register_forward_hook(lambda module, inputs, output: layers.extend(output))
        try:
            self.forward(items, lengths)
        finally:
            hook.remove()
        vectors = layers[-1].masked_fill((items == 0)[..., None], 0.0)
        return vectors.sum(dim=1) / lengths[:, None]

    def calculate_loss(self, interaction: Any) -> torch.Tensor:
        """Loss of the next items of a batch, shape []: ``loss_type`` over the catalogue that is read."""
        with self.item_embedding.one_table():
            return super().calculate_loss(interaction)

    def predict(self, interaction: Any) -> torch.Tensor:
        """Scores of the item of each row, float32 [batch_size]; equal to those of :meth:`full_sort_predict`."""
        with self.item_embedding.one_table():
            scores = super().predict(interaction)
        if self._repeats:
            return scores
        seen = interaction[self.ITEM_SEQ] == interaction[self.ITEM_ID][:, None]
        return scores.masked_fill(seen.any(dim=1), -torch.inf)

    def full_sort_predict(self, interaction: Any) -> torch.Tensor:
        """Scores of all items, float32 [batch_size, n_items]; -inf for items of the history and the padding id.

        Where training histories repeat items, only the padding id is left out.
        """
        with self.item_embedding.one_table():
            scores = super().full_sort_predict(interaction)
        if not self._repeats:
            scores = scores.scatter(1, interaction[self.ITEM_SEQ], -torch.inf)
        scores[:, 0] = -torch.inf  # a history of full length has no padding
        return scores

    @property
    def schema(self) -> dict[str, Any]:
        """Description of the weights that :meth:`transferable` returns, for ``save_pretrained``."""
        encoder = self._architecture["item_encoder"]
        arguments = {**self._architecture, "modalities": self._dims}
        arguments["item_encoder"] = "content" if encoder == "id_plus_content" else encoder
        shapes = {name: list(weights.shape) for name, weights in self.transferable().items()}
        return {SEQUENCE_MODEL: {"arguments": arguments, "shapes": shapes}}

    def transferable(self) -> dict[str, torch.Tensor]:
        """Weights that mean the same in every dataset: all but those of ids, by name."""
        named = self.named_parameters()
        return {name: weights.detach() for name, weights in named if not name.startswith(_OF_IDS)}

    def _load_pretrained(self, config: Any) -> list[str]:
        """Take over the pre-trained weights; returns the names of the parameters that it does not have."""
        pretrained = pretrained_model(config["pretrained"], sequence_model=True)
        where = f"pretrained: [{config['pretrained']}]"
        modalities = pretrained.schema[SEQUENCE_MODEL]["arguments"]["modalities"]
        for name, dim in self._dims.items():
            if modalities.get(name, dim) != dim:
                raise ValueError(f"{where} reads [{name}] with {modalities[name]} dimensions; here it has {dim}.")
        shared = [name for name in self._dims if name in modalities and name not in catalogue_bound(config)]
        unknown = [name for name in self._dims if name not in shared]
        if (self._dims and not shared) or (unknown and self.train_stage == "zero_shot"):
            raise ValueError(
                f"{where} reads the content {list(modalities)}; {unknown} are unknown to it. Set content_encoders and "
                "the names in content_files to those."
            )
        expected = dict(self.named_parameters())
        weights = {name: tensor for name, tensor in pretrained.state_dict.items() if name in expected}
        for name, tensor in weights.items():
            if tensor.shape != expected[name].shape:
                raise ValueError(
                    f"{where}: its weights {name} have the shape {list(tensor.shape)}, not "
                    f"{list(expected[name].shape)}."
                )
        unused = [name for name in pretrained.state_dict if name not in weights and not name.startswith(_OF_MODALITIES)]
        if unused:
            raise ValueError(f"{where}: its schema does not describe the weights {unused}; the folder was changed.")
        new = [name for name in expected if name not in weights]
        if strange := [name for name in new if not name.startswith((_OF_IDS, _OF_MODALITIES))]:
            raise ValueError(f"{where}: the weights {strange} are missing.")
        self.load_state_dict(weights, strict=False)
        if self.item_embedding.ids is not None:
            nn.init.zeros_(self.item_embedding.ids.weight)  # so that tuning starts from the pre-trained scores
        return new

    def get_extra_state(self) -> str:
        """Architecture and content as JSON; it is part of ``state_dict``, so a checkpoint holds it."""
        return json.dumps({**self._architecture, "modalities": self._dims}, sort_keys=True)

    def set_extra_state(self, state: str) -> None:
        """Check the architecture of a checkpoint.

        Raises:
            ValueError: if it is another one than that of this model.
        """
        if state != self.get_extra_state():
            raise ValueError(
                f"The checkpoint holds UniversalSASRec with {state}, this config {self.get_extra_state()}."
            )
