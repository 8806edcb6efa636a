"""The probe of frozen vectors: known answers, and no look at the users that it is tested on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from recbole_universal.sequential import probe as module
from recbole_universal.sequential.probe import area_under_curve, probe, user_folds
from recbole_universal.sequential.user_labels import UserClassifier, class_scores, fit_user_labels


def users(n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = np.where(np.arange(n) % 3 == 0, "a", "b")
    return generator.normal(size=(n, 4)), labels


def test_a_class_in_the_vectors_is_found_and_noise_is_not():
    noise, labels = users()
    seen = noise.copy()
    seen[:, 2] += 6 * (labels == "a")
    found = probe(seen, labels)
    assert found.accuracy > 0.95 and found.auc > 0.99
    blind = probe(noise, labels)
    assert abs(blind.auc - 0.5) < 0.15
    assert blind.majority == found.majority == pytest.approx(2 / 3)


def test_each_user_is_tested_once_and_never_fitted_to_then():
    _, labels = users()
    tested = []
    for fitted, held_out in user_folds(labels, 5, seed=1):
        assert not set(fitted) & set(held_out)
        assert len(fitted) + len(held_out) == len(labels)
        tested.extend(held_out)
    assert sorted(tested) == list(range(len(labels)))


def test_labels_of_tested_users_are_not_read(monkeypatch):
    """Each label of a tested fold is replaced; its predictions stay."""
    vectors, labels = users()
    vectors[:, 0] += 2 * (labels == "a")
    folds = user_folds(labels, 5, seed=0)
    monkeypatch.setattr(module, "user_folds", lambda *_: folds[:1])
    before = probe(vectors, labels)
    tested = folds[0][1]
    other = labels.copy()
    other[tested] = np.where(labels[tested] == "a", "b", "a")
    after = probe(vectors, other)
    assert np.array_equal(before.correct[tested], ~after.correct[tested])


def test_area_under_curve_is_weighted_by_class():
    codes = np.array([0, 0, 0, 1, 2, 2])
    perfect = np.eye(3)[codes]
    assert area_under_curve(perfect, codes) == 1.0
    assert area_under_curve(np.ones((6, 3)) / 3, codes) == 0.5
    wrong_last = perfect.copy()
    wrong_last[:, 2] = codes != 2
    assert area_under_curve(wrong_last, codes) == pytest.approx(4 / 6)


@pytest.mark.parametrize(
    ("vectors", "labels", "message"),
    [
        (np.zeros((4, 2)), list("aaab"), r"labels: 1 of 2 classes have fewer users than the 2 folds: 'b' \(1\)\."),
        (np.zeros((7, 2)), list("aabbcdd"), r"1 of 4 classes .*: 'c' \(1\)\. Leave their users out"),
        (np.zeros((8, 2)), list("aabcdefg"), r"6 of 7 classes .*: 'b' \(1\), 'c' .* 'f' \(1\), \.\.\.\. Leave"),
        (np.zeros((4, 2)), list("aaaa"), "two classes at least"),
        (np.zeros((3, 2)), list("aabb"), r"\[n_users, dim\] for 4 labels, got \[3, 2\]"),
        (np.array([[0.0], [np.nan], [1.0], [2.0]]), list("aabb"), "must be finite"),
        (np.full((4, 1), 1e300), list("aabb"), "must be finite numbers of 32 bits"),
        (np.zeros((4, 0)), list("aabb"), r"\[n_users, dim\] for 4 labels, got \[4, 0\]"),
        ([["x"]] * 4, list("aabb"), "vectors: must be numbers"),
        (np.zeros((4, 2)), ["a", "a", None, "b"], "labels: 1 of 4 are missing, the first in row 2"),
        (np.zeros((4, 2)), [0, np.nan, 1, np.nan], "labels: 2 of 4 are missing, the first in row 1"),
        (np.zeros((4, 2)), [[0], [0], [1], [1]], "labels: must be texts or numbers"),
        (np.zeros((8, 2)), list("aaaaabbb"), "a fold fits to 2 users of the class 'a', and needs 3"),
    ],
)
def test_bad_input_is_named(vectors, labels, message):
    with pytest.raises(ValueError, match=message):
        probe(vectors, labels, n_folds=2)


@pytest.mark.parametrize("n_folds", [1, 0, 2.5, "5", True])
def test_bad_numbers_of_folds(n_folds):
    with pytest.raises(ValueError, match="n_folds: must be an integer of at least 2"):
        probe(*users(), n_folds=n_folds)


def test_labels_of_a_series_must_have_the_users_of_the_vectors():
    noise, labels = users()
    vectors = pd.DataFrame(noise, index=[f"u{user}" for user in range(len(noise))])
    series = pd.Series(labels, index=vectors.index)
    assert np.array_equal(probe(vectors, series).correct, probe(noise, labels).correct)
    with pytest.raises(ValueError, match="labels: their index is not that of the vectors"):
        probe(vectors, series[::-1])


class Sums(nn.Module):
    """Counts of the items of a history."""

    def __init__(self, n_items: int) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items, 4, padding_idx=0)

    def forward(self, items: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return self.items(items).sum(dim=1)


def test_training_on_labels_reads_those_of_the_given_users_alone():
    generator = np.random.default_rng(3)
    labels = torch.from_numpy(np.arange(90) % 2)
    items = torch.from_numpy(generator.integers(1, 4, (90, 5))) + 3 * labels[:, None]
    histories = items, torch.full((90,), 5)
    fitted, tested = np.arange(60), np.arange(60, 90)
    scores = []
    for other in (labels, torch.where(torch.arange(90) < 60, labels, 1 - labels)):
        torch.manual_seed(0)
        classifier = UserClassifier(Sums(8), 4, 2)
        fit_user_labels(classifier, histories, other, fitted, seed=0, learning_rate=0.05, epochs=10)
        scores.append(class_scores(classifier, histories, tested))
    assert torch.equal(scores[0], scores[1])
    assert (scores[0].argmax(dim=1) == labels[60:]).all()


def test_a_classifier_reads_the_vectors_that_it_is_told_to():
    model = Sums(8)
    items, lengths = torch.arange(6).view(3, 2) + 1, torch.full((3,), 2)
    twice = UserClassifier(model, 4, 2, vectors=lambda *history: 2 * model(*history))
    torch.testing.assert_close(twice(items, lengths), twice.head(2 * model(items, lengths)))


def test_frozen_weights_stay_and_the_best_epoch_counts():
    torch.manual_seed(0)
    classifier = UserClassifier(Sums(8).requires_grad_(False), 4, 2)
    before = classifier.model.items.weight.clone()
    head = classifier.head.weight.detach().clone()
    items = torch.arange(80).view(40, 2) % 7 + 1
    losses = []
    labels = torch.arange(40) % 2
    settings = {"seed": 0, "learning_rate": 0.5, "epochs": 12, "stopping_step": 12}
    histories = items, torch.full((40,), 2)
    fit_user_labels(classifier, histories, labels, np.arange(40), **settings, on_epoch=lambda *e: losses.append(e))
    assert torch.equal(classifier.model.items.weight, before)
    assert not torch.equal(classifier.head.weight, head)
    valid = np.random.default_rng(0).permutation(np.arange(40))[:4]
    kept = nn.functional.cross_entropy(class_scores(classifier, histories, valid), labels[valid])
    assert kept.item() == pytest.approx(min(loss for _, loss in losses))
