"""Scores, mixtures and weights against answers that were computed separately and are not symmetric."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import write_atomic
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed
from test_ranker import communities

from recbole_universal import UniversalRanker, interpolate
from recbole_universal.features.candidate_columns import column_groups, n_columns
from recbole_universal.ranking import checked_network
from recbole_universal.ranking.attribution import contributions
from recbole_universal.ranking.mixing import mix
from recbole_universal.ranking.ranking_network import RankingNetwork, mask_non_candidates
from recbole_universal.ranking.weight_choice import WEIGHTS, monotone_choice, one_standard_error


def in_space(row: np.ndarray, space: str) -> np.ndarray:
    """A user's scores on a common scale, by the definition of each."""
    if space == "min-max":
        return (row - row.min()) / (row.max() - row.min())
    if space == "z-score":
        return (row - row.mean()) / row.std()
    if space == "rank":
        return np.array([(row < value).sum() for value in row]) / (len(row) - 1)
    return row


@pytest.mark.parametrize("space", ["raw", "min-max", "z-score", "rank"])
def test_each_user_has_a_weight(space):
    rng = np.random.default_rng(0)
    base, universal = rng.normal(size=(3, 8)), 5 * rng.normal(size=(3, 8)) + 2
    base[1, 3] = base[1, 4]
    weights = np.array([0.2, 0.3, 0.9])
    expected = [
        (1 - weight) * in_space(one, space) + weight * in_space(other, space)
        for weight, one, other in zip(weights, base, universal, strict=True)
    ]
    mixed = interpolate(torch.from_numpy(base), torch.from_numpy(universal), torch.from_numpy(weights), space)
    np.testing.assert_allclose(mixed, expected, rtol=1e-4, atol=1e-5)
    one = interpolate(torch.from_numpy(base), torch.from_numpy(universal), 0.2, space)[0]
    np.testing.assert_allclose(one, expected[0], rtol=1e-4, atol=1e-5)


def test_the_weight_is_that_of_the_universal_model():
    mixed = mix(torch.tensor([[10.0, 20.0]]), torch.tensor([[1.0, 2.0]]), torch.tensor([[0.3]]))
    torch.testing.assert_close(mixed, torch.tensor([[7.3, 14.6]]))


def test_other_items_tie_with_the_last_candidate():
    scores = torch.tensor([[-1.0, -61.5, -3.0, -61.0], [-61.2, -61.3, -61.4, -61.5]])
    torch.testing.assert_close(
        mask_non_candidates(scores), torch.tensor([[-1.0, -3.0, -3.0, -3.0], [0.0, 0.0, 0.0, 0.0]])
    )


# Rows are groups of users; three choices, sums of gains over the users of a group.
ONE_STANDARD_ERROR = [
    # Two of two groups agree on the last: no loss varies, nothing else is as good.
    ([[1, 2, 3], [1, 2, 3]], [1, 1], 2),
    ([[3, 2, 1], [3, 2, 1]], [1, 1], 0),
    # The best, in the middle, is ahead of the better end (the first) by .5 with an error of .5.
    ([[2, 3, 0], [2, 2, 0]], [1, 1], 0),
    ([[0, 3, 2], [0, 2, 2]], [1, 1], 2),
    # By .75 with an error of .25 (three groups of different sizes, of which one is empty).
    ([[4, 8, 0], [0, 0, 0], [2, 4, 0]], [4, 0, 4], 1),
    # The better end is ahead of the other: of two that are as good as the best the nearer to it.
    ([[0, 2, 3, 2.5], [0, 3, 2, 2.4]], [1, 1], 3),
]


@pytest.mark.parametrize(("gains", "counts", "expected"), ONE_STANDARD_ERROR)
def test_one_standard_error(gains, counts, expected):
    assert one_standard_error(np.array(gains, dtype=float), np.array(counts, dtype=float)) == expected


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ([[0, 0, 5], [0, 4, 0], [3, 0, 0]], [2, 1, 0]),
        ([[5, 0, 0], [0, 4, 0], [0, 0, 3]], [0, 1, 2]),
        # Two of the three best turn back: the most that a curve can have is 5 + 4 or 4.5 + 4 the other way.
        ([[0, 5, 0], [4, 0, 0], [0, 4.5, 1]], [1, 1, 1]),
        ([[0, 0, 5], [6, 0, 0], [0, 0, 4]], [2, 0, 0]),
        ([[1, 0, 0, 0], [0, 0, 0, 2], [0, 0, 3, 0]], [3, 3, 2]),
    ],
)
def test_monotone_choice(gains, expected):
    assert monotone_choice(np.array(gains, dtype=float)) == expected


@pytest.fixture
def uneven(tmp_path) -> dict:
    """A dataset of 60 users with 10 to 30 interactions each."""
    rng = np.random.default_rng(3)
    rows = []
    for user in range(60):
        items = rng.choice(50, 10 + user // 3, replace=False)
        rows += [(f"u{user}", f"i{item}") for item in items]
    quiet = {"show_progress": False, "gpu_id": "", "state": "ERROR", "epochs": 1, "valid_metric": "NDCG@10"}
    return {"data_path": write_atomic(tmp_path / "data", "tiny", rows), **quiet}


def built(keys: dict, **extra):
    settings = {**keys, "base_model": "BPR", **extra}
    config = Config("UniversalInterpolation", "tiny", config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    loaders = data_preparation(config, create_dataset(config))
    model = get_model(config["model"])(config, loaders[0]._dataset)
    return get_trainer(config["MODEL_TYPE"], config["model"])(config, model), loaders


def test_each_bin_of_activity_has_a_weight(uneven):
    trainer, (train, valid, _) = built(uneven, interpolation_weight="by_activity")
    model = trainer.model.eval()
    model.universal_mixing = True
    model.universal_weights = torch.tensor([0.1, 0.2, 0.4, 0.7, 1.0])
    degree = np.bincount(train._dataset.inter_feat["user_id"].numpy(), minlength=61)
    bins = model.universal_bins(torch.arange(61)).numpy()
    ordered = np.sort(degree[1:])
    for user in range(1, 61):  # an edge is the highest degree of its bin
        edges = [ordered[int((len(ordered) - 1) * share / 5)] for share in range(1, 5)]
        assert bins[user] == sum(degree[user] > edge for edge in edges)
    assert len(set(bins[1:])) == 5 and bins[degree.argmax()] == 4
    batch = valid._dataset.inter_feat[
        [int(np.flatnonzero(valid._dataset.inter_feat["user_id"] == u)[0]) for u in range(1, 61)]
    ]
    with torch.no_grad():
        mixed = model.full_sort_predict(batch).view(60, -1)[:, 1:].numpy()
        model.universal_mixing = False
        base = model.full_sort_predict(batch).view(60, -1)[:, 1:].numpy()
        alone = model._universal_scores(batch)[:, 1:].numpy()
    for row, user in enumerate(batch["user_id"].tolist()):
        weight = model.universal_weights[bins[user]].item()
        candidates = alone[row] >= -60
        ours = in_space(np.maximum(alone[row], alone[row][candidates].min()), "z-score") if candidates.any() else 0.0
        expected = (1 - weight) * in_space(base[row], "z-score") + weight * ours
        np.testing.assert_allclose(mixed[row], alone[row] if weight == 1 else expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("weight", ["auto", "by_activity"])
@pytest.mark.parametrize("oracle", ["base", "universal"])
def test_the_weight_is_that_of_the_better_model(uneven, monkeypatch, weight, oracle):
    """One model scores the validation items higher than all others, the other model lower."""
    trainer, (train, valid, _) = built(uneven, interpolation_weight=weight)
    inter = valid._dataset.inter_feat
    known = torch.zeros(61, 51)
    known[inter["user_id"], inter["item_id"]] = 1.0
    known += torch.rand(known.shape, generator=torch.Generator().manual_seed(0)) / 100
    model = trainer.model
    sign = 1.0 if oracle == "universal" else -1.0
    monkeypatch.setattr(model, "_universal_scores", lambda interaction: sign * known[interaction["user_id"]])
    monkeypatch.setattr(model, "_universal_base_scores", lambda interaction: -sign * known[interaction["user_id"]])
    trainer.fit(train, valid, saved=False)
    expected = [w > 0.5 if oracle == "universal" else w < 0.5 for w in model.universal_weights.tolist()]
    assert all(expected) and trainer.best_valid_result["ndcg@10"] > 0.99
    assert WEIGHTS[0] == 0 and WEIGHTS[-1] == 1


def test_metrics_of_which_less_is_better(uneven, monkeypatch):
    keys = {**uneven, "metrics": ["AveragePopularity"], "valid_metric": "AveragePopularity@10"}
    trainer, (train, valid, _) = built(keys)
    popular = torch.from_numpy(np.bincount(train._dataset.inter_feat["item_id"].numpy(), minlength=51)).float()
    model = trainer.model
    monkeypatch.setattr(model, "_universal_scores", lambda interaction: -popular.repeat(len(interaction), 1))
    monkeypatch.setattr(model, "_universal_base_scores", lambda interaction: popular.repeat(len(interaction), 1))
    trainer.fit(train, valid, saved=False)
    assert model.universal_weights.item() > 0.5


def network(state: dict, columns: np.ndarray) -> np.ndarray:
    """The mean over the networks of a checkpoint of their pair heads, from the weights, [...]."""
    scores = []
    for k in range(4):
        weights = {name.removeprefix(f"scorers.{k}."): value.double().numpy() for name, value in state.items()}
        values = (columns - weights["pair_mean"]) / weights["pair_scale"]
        layers = sorted(
            int(name.split(".")[1]) for name in weights if name.startswith("pair_head") and "weight" in name
        )
        for layer in layers:
            values = values @ weights[f"pair_head.{layer}.weight"].T + weights[f"pair_head.{layer}.bias"]
            values = values if layer == layers[-1] else np.maximum(values, 0)
        scores.append(values[..., 0])
    return np.mean(scores, axis=0)


@pytest.fixture(scope="module")
def ranker():
    """A ranker with a random correction."""
    correction = 0.1 * torch.from_numpy(np.random.default_rng(0).normal(size=n_columns())).float()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checked_network, "choose_correction", lambda check, scores: (correction, check.result(scores)))
        made = UniversalRanker(communities())
    assert made.network.correction is correction
    return made


def list_scores(ranker: UniversalRanker, columns: np.ndarray) -> np.ndarray:
    """Scores of a list of candidates: the network's with the correction."""
    return network(ranker.network.state_dict(), columns) + columns @ ranker.network.correction.double().numpy()


@torch.no_grad()
def test_scores_are_shares_of_the_list_and_then_popularity(ranker):
    matrix = communities()
    degree = np.asarray(matrix.sum(axis=0))[0]
    order = np.array([len({other for other in degree if other > value}) for value in degree])
    by_popularity = -61 - order / (order.max() + 1)
    scores = ranker.network.score_all(torch.arange(60)).numpy()
    lists = ranker.network.candidate_pairs.candidates(torch.arange(60))
    for user in range(60):
        mask = lists.mask[user].numpy()
        values = list_scores(ranker, lists.features[user].double().numpy()[mask])
        expected = by_popularity.copy()
        if len(values):
            expected[lists.items[user].numpy()[mask]] = values - np.log(np.exp(values).sum())
        np.testing.assert_allclose(scores[user], expected, rtol=1e-3, atol=1e-3)


def test_shares_of_an_explanation_are_contributions_of_each_group(ranker):
    items, shares = ranker.explain(3, 6)
    np.testing.assert_allclose(np.sum([np.abs(share) for share in shares.values()], axis=0), 1.0, rtol=1e-5)
    lists = ranker.network.candidate_pairs.candidates(torch.tensor([3]))
    features = lists.features[0].double().numpy()
    whole = list_scores(ranker, features)
    np.testing.assert_array_equal(lists.items[0].numpy()[np.argsort(-whole)][:6], items)
    added = {}
    for name, columns in column_groups().items():
        without = features.copy()
        without[:, columns] = features[:, columns].mean(axis=0)
        added[name] = (whole - list_scores(ranker, without))[np.argsort(-whole)][:6]
    size = sum(np.abs(contribution) for contribution in added.values())
    # Together with users of longer lists, which pad this one, it is the same.
    lists, columns = ranker.network.candidate_columns(torch.arange(60))
    _, contributions_of_all = contributions(ranker.network, lists, columns)
    mask = lists.items[3] >= 0
    assert not mask.all() and set(contributions_of_all) == set(added)
    for name, alone in contributions(ranker.network, *ranker.network.candidate_columns(torch.tensor([3])))[1].items():
        torch.testing.assert_close(contributions_of_all[name][3][mask], alone[0], rtol=1e-3, atol=1e-4)
    assert set(shares) == set(added)
    for name, contribution in added.items():
        np.testing.assert_allclose(shares[name], contribution / size, rtol=1e-2, atol=2e-3, err_msg=name)


@torch.no_grad()
def test_families_are_combined_by_their_weights():
    """Two networks of two families: the mean over the networks of the weighted sums over the families."""
    dims = {"activity": {"user": 3, "item": 2, "pair": 0}, "interaction": {"user": 2, "item": 2, "pair": 4}}
    model = RankingNetwork(dims, [], 2, 0.0, "interpolation", n_networks=2).eval()
    model.combination_logits[:] = torch.tensor([0.3, -0.9])
    rng = np.random.default_rng(0)
    sides = [
        {family: torch.from_numpy(rng.normal(size=(5, dim[side])).astype(np.float32)) for family, dim in dims.items()}
        for side in ("user", "item", "pair")
    ]
    weights = np.exp([0.3, -0.9]) / np.exp([0.3, -0.9]).sum()
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    expected = np.zeros(5)
    for net in range(2):
        for index, family in enumerate(dims):
            prefix = f"scorers.{2 * net + index}."
            user, item = (
                sides[k][family].numpy() @ state[f"{prefix}{side}_tower.1.weight"].T
                + state[f"{prefix}{side}_tower.1.bias"]
                for k, side in enumerate(("user", "item"))
            )
            score = (user * item).sum(axis=1)
            if family == "interaction":
                head = f"{prefix}pair_head.1."
                score += (sides[2][family].numpy() @ state[head + "weight"].T + state[head + "bias"])[:, 0]
            expected += weights[index] * score / 2
    np.testing.assert_allclose(model(*sides), expected, rtol=1e-4, atol=1e-5)
