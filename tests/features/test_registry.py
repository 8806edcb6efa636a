"""Families that a user registers: errors, and their way into pipeline, cache and saved models."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_universal import UniversalRanker, register_family
from recbole_universal.checkpoint import load_pretrained, save_pretrained
from recbole_universal.features import FAMILIES, FamilyFeatures, FeatureFamily, FeaturePipeline
from recbole_universal.features.binning import Binning
from recbole_universal.model_json import weight_shapes

MATRIX = sp.csr_matrix(np.random.default_rng(0).random((20, 15)) < 0.3, dtype=np.float32)


class Doubled(FeatureFamily):
    name = "doubled"
    factor = 2.0

    def __init__(self, n_bins: int = 4):
        self.binning = Binning.checked(self.owner(), "soft", n_bins, 2.0)
        self.args = {"n_bins": n_bins}
        self.user_dim = self.item_dim = n_bins

    def compute(self, graph, embedding=None, *, seed=0, device="cpu", show_progress=False):
        user = self.binning.counts(graph.user_degree, graph.user_degree > 0)
        item = self.binning.counts(graph.item_degree, graph.item_degree > 0)
        return FamilyFeatures(self.factor * user, self.factor * item)


@pytest.fixture
def doubled():
    yield register_family(Doubled)
    FAMILIES.pop("doubled", None)


def test_a_registered_family_is_computed(doubled):
    assert doubled is Doubled
    features = FeaturePipeline(["doubled", "activity"], {"doubled": {"n_bins": 5}})(MATRIX)
    assert features["doubled"].user.shape == (20, 5)
    assert features["doubled"].item.sum() == pytest.approx(2 * np.count_nonzero(MATRIX.getnnz(axis=0)))


def test_registering_again_replaces_the_family(doubled):
    again = type("Doubled", (Doubled,), {"__module__": Doubled.__module__, "__qualname__": Doubled.__qualname__})
    assert register_family(again) is again is FAMILIES["doubled"]


@pytest.mark.parametrize("version", [None, 1])
def test_features_are_stored_under_a_version_and_never_without_one(doubled, monkeypatch, tmp_path, version):
    monkeypatch.setattr(Doubled, "version", version)
    before = FeaturePipeline(["doubled"], cache_dir=tmp_path)(MATRIX)["doubled"].user
    monkeypatch.setattr(Doubled, "factor", 3.0)
    after = FeaturePipeline(["doubled"], cache_dir=tmp_path)(MATRIX)["doubled"].user
    assert after.sum() == pytest.approx(before.sum() * (1.5 if version is None else 1.0))
    monkeypatch.setattr(Doubled, "version", 2)
    assert FeaturePipeline(["doubled"], cache_dir=tmp_path)(MATRIX)["doubled"].user.sum() > before.sum()


def test_a_saved_model_names_the_family_that_is_not_registered(doubled, tmp_path):
    pipeline = FeaturePipeline(["doubled"])
    network = {"mlp_hidden_size": [8], "embedding_size": 4, "dropout_prob": 0.0, "feature_combination": "concatenation"}
    schema = {"features": pipeline.schema, "network": network}
    weights = {name: torch.full(shape, 0.1) for name, shape in weight_shapes(schema).items()}
    save_pretrained(tmp_path, weights, schema, {})
    assert load_pretrained(tmp_path).families == ["doubled"]
    lists, _ = UniversalRanker(MATRIX, pretrained=tmp_path).top_k([0], 3)
    assert lists.shape == (1, 3)
    del FAMILIES["doubled"]
    with pytest.raises(ValueError, match=r"feature family 'doubled', which is not registered here\. Import the module"):
        load_pretrained(tmp_path)


def test_other_classes_are_refused():
    for given in (3, int, "activity"):
        with pytest.raises(ValueError, match="expected a subclass of FeatureFamily"):
            register_family(given)
    with pytest.raises(ValueError, match="Lacking does not implement compute"):
        register_family(type("Lacking", (FeatureFamily,), {"name": "lacking"}))


@pytest.mark.parametrize("name", [None, "", "node2vec", "Two Words", "a-b", 3])
def test_names_that_no_config_can_hold_are_refused(name):
    with pytest.raises(ValueError, match="name must be lower-case"):
        register_family(type("Named", (Doubled,), {"name": name}))
    assert set(FAMILIES) == {"activity", "cooccurrence", "interaction", "proximity", "sequence"}


def test_the_name_of_another_family_is_refused():
    with pytest.raises(ValueError, match=r"'activity' belongs to recbole_universal\.features\.activity"):
        register_family(type("Activity", (Doubled,), {"name": "activity"}))


def test_an_incomplete_constructor_is_refused():
    def needs_argument(self, n_bins):
        Doubled.__init__(self, n_bins)

    def hides_argument(self, n_bins=4, other=1):
        Doubled.__init__(self, n_bins)

    with pytest.raises(ValueError, match="cannot be built without arguments"):
        register_family(type("Needs", (Doubled,), {"name": "needs", "__init__": needs_argument}))
    with pytest.raises(ValueError, match="differing: other"):
        register_family(type("Hides", (Doubled,), {"name": "hides", "__init__": hides_argument}))


@pytest.mark.parametrize(
    ("user", "message"),
    [
        (np.zeros((20, 5), dtype=np.float32), r"compute must give \[20, 4\] numbers of users .*gives \[20, 5\]"),
        (np.zeros((7, 4), dtype=np.float32), r"gives \[7, 4\]"),
        (np.zeros(20, dtype=np.float32), r"gives \[20\]"),
        (None, r"gives \[\]"),
        (np.full((20, 4), np.nan, dtype=np.float32), "numbers of users that are not finite"),
    ],
)
def test_wrong_numbers_name_the_family(doubled, monkeypatch, user, message):
    item = np.zeros((15, 4), dtype=np.float32)
    monkeypatch.setattr(Doubled, "compute", lambda *_, **__: FamilyFeatures(user, item))
    with pytest.raises(ValueError, match=f"'doubled': .*{message}"):
        FeaturePipeline(["doubled"])(MATRIX)


def test_features_of_other_arguments_are_not_updated():
    features = FeaturePipeline(["activity"])(MATRIX)
    with pytest.raises(ValueError, match="another pipeline computed them"):
        FeaturePipeline(["activity"], {"activity": {"n_bins": 3}}).with_interactions(features, MATRIX)
    with pytest.raises(ValueError, match=r"at least the users and items of before, \[20, 15\], got \[10, 15\]"):
        FeaturePipeline(["activity"]).with_interactions(features, MATRIX[:10])
