"""UniversalInterpolation: every kind of base model, every way to run it, and errors."""

from __future__ import annotations

import fresh
import numpy as np
import pytest
import torch
import yaml
from conftest import meet_in_a_file
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.utils import get_model, get_trainer, init_seed

from recbole_universal.plugin import universal_interpolation
from recbole_universal.ranking.mixing import to_space
from recbole_universal.ranking.ranking_network import MIN_CANDIDATE_SCORE, RankingNetwork
from recbole_universal.ranking.weight_choice import WEIGHTS, monotone_choice, one_standard_error

SEQUENTIAL = {
    "train_neg_sample_args": None,
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
    "MAX_ITEM_LIST_LENGTH": 10,
}
BASES = {
    "BPR": {},
    "LightGCN": {},
    "NGCF": {},
    "NeuMF": {},
    "Pop": {},
    "ItemKNN": {},
    "EASE": {},
    "MultiVAE": {"train_neg_sample_args": None},
    "NCL": {"num_clusters": 5, "warm_up_step": 1},
    "SASRec": SEQUENTIAL,
    "GRU4Rec": SEQUENTIAL,
    "DeepFM": {
        "load_col": {"inter": ["user_id", "item_id"]},
        "metrics": ["NDCG"],
        "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": "user", "mode": "full"},
        "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
    },
    "CFKG": {
        "load_col": {
            "inter": ["user_id", "item_id"],
            "kg": ["head_id", "relation_id", "tail_id"],
            "link": ["item_id", "entity_id"],
        }
    },
}


@pytest.fixture
def keys(tiny, tmp_path) -> dict:
    """Config keys of a short run on the tiny dataset, which also has a knowledge graph."""
    folder = tmp_path / "data" / "tiny"
    triples = "".join(f"e{i}\tr\te{(i + 1) % 30}\n" for i in range(30))
    (folder / "tiny.kg").write_text("head_id:token\trelation_id:token\ttail_id:token\n" + triples)
    links = "".join(f"i{i}\te{i}\n" for i in range(30))
    (folder / "tiny.link").write_text("item_id:token\tentity_id:token\n" + links)
    return {**tiny, "epochs": 2, "show_progress": False, "gpu_id": "", "state": "ERROR", "valid_metric": "NDCG@10"}


@pytest.fixture
def one_thread():
    """Sums of several threads differ in the last bit between two runs of the same stock model."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def built(keys: dict, base: str, **extra):
    """A trainer with its model, and the loaders, of an interpolation."""
    settings = {**keys, "base_model": base, **BASES[base], **extra}
    config = Config("UniversalInterpolation", "tiny", config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    loaders = data_preparation(config, create_dataset(config))
    init_seed(config["seed"], config["reproducibility"])
    model = get_model(config["model"])(config, loaders[0]._dataset)
    return get_trainer(config["MODEL_TYPE"], config["model"])(config, model), loaders


def users_of(loader) -> Interaction:
    """Interactions of each user once, as full ranking gets them."""
    batch = next(iter(loader))
    return batch[0] if isinstance(batch, (tuple, list)) else batch


@pytest.mark.parametrize("base", list(BASES))
def test_every_kind_of_base_runs(keys, base):
    settings = {**keys, **BASES[base], "base_model": base}
    result = run_recbole("UniversalInterpolation", "tiny", config_dict=settings, saved=False)
    assert result["best_valid_result"]["ndcg@10"] > 0 and result["test_result"]["ndcg@10"] >= 0


@pytest.mark.parametrize("base", list(BASES))
def test_weight_zero_is_the_stock_model_to_the_last_bit(keys, base, one_thread):
    stock = run_recbole(base, "tiny", config_dict={**keys, **BASES[base], "eval_batch_size": 2**19}, saved=False)
    settings = {**keys, **BASES[base], "base_model": base, "interpolation_weight": 0, "eval_batch_size": 2**19}
    ours = run_recbole("UniversalInterpolation", "tiny", config_dict=settings, saved=False)
    assert ours["test_result"] == stock["test_result"]


def test_weight_zero_has_the_scores_of_the_stock_model(keys, tmp_path, one_thread):
    run_recbole("LightGCN", "tiny", config_dict=dict(keys))
    _, stock, _, _, _, loader = load_data_and_model(str(next((tmp_path / "saved").glob("LightGCN-*.pth"))))
    trainer, loaders = built(keys, "LightGCN", interpolation_weight=0.0)
    trainer.fit(*loaders[:2])
    ours = trainer.model.eval()
    batch = users_of(loader)
    assert torch.equal(ours.full_sort_predict(batch), stock.eval().full_sort_predict(batch))
    assert set(ours.state_dict()) == set(stock.state_dict())


def test_weight_one_is_the_universal_model(keys, one_thread):
    universal = run_recbole("UniversalMLP", "tiny", config_dict=dict(keys), saved=False)
    settings = {**keys, "base_model": "BPR", "interpolation_weight": 1}
    ours = run_recbole("UniversalInterpolation", "tiny", config_dict=settings, saved=False)
    assert ours["test_result"] == universal["test_result"]


@pytest.mark.parametrize("base", ["BPR", "NeuMF", "SASRec", "Pop", "DeepFM", "MultiVAE"])
@pytest.mark.parametrize("weight", [0.3, 1.0, "by_activity"])
def test_predict_equals_full_sort(keys, base, weight):
    trainer, (train, valid, test) = built(keys, base, interpolation_weight=weight)
    trainer.fit(train, valid, saved=False)
    model = trainer.model.eval()
    batch = users_of(test)
    n_items = train._dataset.item_num
    with torch.no_grad():
        full = model.full_sort_predict(batch).view(len(batch), n_items)
        pairs = batch.repeat_interleave(n_items)
        pairs.update(train._dataset.get_item_feature().repeat(len(batch)))
        torch.testing.assert_close(model.predict(pairs).view_as(full), full)
        one = batch[:1].repeat_interleave(n_items)
        one.update(train._dataset.get_item_feature())
        torch.testing.assert_close(model.predict(one), full[0], rtol=1e-4, atol=1e-5)
    assert full.isfinite().all()


def trained(keys, monkeypatch, falls_back: bool, weight):
    """A fitted model, whose universal model falls back to popularity or not, and a batch of users."""
    monkeypatch.setattr(RankingNetwork, "falls_back", lambda self: falls_back)
    trainer, (train, valid, test) = built(keys, "BPR", interpolation_weight=weight)
    trainer.fit(train, valid, saved=False)
    return trainer.model.eval(), users_of(test)


@torch.no_grad()
def scores_of(model, batch, *weights: float) -> torch.Tensor:
    """Scores of the items without padding, by the model's weights or by given ones, [n_users, n_items - 1]."""
    if weights:
        model.universal_weights = torch.tensor(weights)
    return model.full_sort_predict(batch).view(len(batch), -1)[:, 1:]


def test_scores_are_the_mixture_of_both_models(keys, monkeypatch):
    model, batch = trained(keys, monkeypatch, False, 0.25)
    mixed, base, universal = (scores_of(model, batch, *weights) for weights in ((), (0.0,), (1.0,)))
    lowest = torch.where(universal >= MIN_CANDIDATE_SCORE, universal, torch.inf).amin(dim=1, keepdim=True)
    expected = 0.75 * to_space(base, "z-score") + 0.25 * to_space(universal.maximum(lowest), "z-score")
    torch.testing.assert_close(mixed, expected)


def test_a_universal_model_that_falls_back_adds_nothing(keys, monkeypatch):
    model, batch = trained(keys, monkeypatch, True, 0.25)
    mixed, base = scores_of(model, batch), scores_of(model, batch, 0.0)
    torch.testing.assert_close(mixed, 0.75 * to_space(base, "z-score"))


@pytest.mark.parametrize("falls_back", [False, True])
def test_a_user_of_weight_one_sees_the_universal_lists(keys, monkeypatch, falls_back):
    model, batch = trained(keys, monkeypatch, falls_back, "by_activity")
    monkeypatch.setattr(model, "universal_bins", lambda users: users % 5)  # here all users are equally active
    bins = model.universal_bins(batch[model.USER_ID])
    universal, mixed = (scores_of(model, batch, 1.0, *[weight] * 4) for weight in (1.0, 0.5))
    assert (bins == 0).any() and (bins > 0).any()
    torch.testing.assert_close(mixed[bins == 0], universal[bins == 0])


def test_the_base_is_trained_as_it_would_be_alone(keys, one_thread):
    """Random numbers, loss and weights are the same, since the universal model takes no part in the training."""
    trainer, loaders = built(keys, "NGCF", interpolation_weight=0.5)
    trainer.fit(*loaders[:2], saved=False)
    config = Config("NGCF", "tiny", config_dict=dict(keys))
    init_seed(config["seed"], config["reproducibility"])
    stock_loaders = data_preparation(config, create_dataset(config))
    init_seed(config["seed"], config["reproducibility"])
    stock = get_model("NGCF")(config, stock_loaders[0]._dataset)
    get_trainer(config["MODEL_TYPE"], "NGCF")(config, stock).fit(*stock_loaders[:2], saved=False)
    for name, value in stock.state_dict().items():
        assert torch.equal(value, trainer.model.state_dict()[name]), name


def test_the_chosen_weight_is_nearly_the_best_on_validation(keys):
    trainer, (train, valid, _) = built(keys, "BPR")
    found, _ = trainer.fit(train, valid, saved=False)
    chosen = trainer.model.universal_weights.item()
    results = []
    for weight in WEIGHTS:
        trainer.model.universal_weights = torch.tensor([weight])
        results.append(trainer.evaluate(valid, load_best_model=False)["ndcg@10"])
    assert found == pytest.approx(results[WEIGHTS.index(round(chosen, 2))], abs=1e-4)
    assert max(results[0], results[-1]) - 0.02 <= found <= max(results)


def test_one_standard_error():
    rng = np.random.default_rng(0)
    counts = np.full(20, 50.0)
    noise = rng.normal(0, 0.1, (20, 1))  # an offset of each group, equal for all choices, changes nothing
    sure = np.array([0.1, 0.2, 0.3, 0.25]) + noise
    assert one_standard_error(sure * 50, counts) == 2
    unsure = sure + rng.normal(0, 0.5, (20, 4))
    assert one_standard_error((unsure - unsure.mean(axis=0) + [0.1, 0.2, 0.3, 0.25]) * 50, counts) == 3
    one_group = np.zeros_like(counts)
    one_group[0] = 50
    assert one_standard_error(np.where(one_group[:, None] > 0, sure * 50, 0.0), one_group) == 2


def test_by_activity_is_monotone_and_at_least_as_good(keys):
    trainer, (train, valid, _) = built(keys, "BPR")
    single, _ = trainer.fit(train, valid, saved=False)
    trainer, (train, valid, _) = built(keys, "BPR", interpolation_weight="by_activity")
    curve, _ = trainer.fit(train, valid, saved=False)
    weights = trainer.model.universal_weights
    assert weights.shape == (universal_interpolation.N_BINS,)
    assert (weights.diff() >= 0).all() or (weights.diff() <= 0).all()
    # Metrics are rounded to four digits. The single weight follows the one-standard-error rule and may not be the best.
    assert curve >= single - 1e-4
    degree = trainer.model.universal_degree
    bins = trainer.model.universal_bins(torch.arange(len(degree)))
    assert all(
        degree[bins == k].max() < degree[bins == k + 1].min() for k in bins.unique()[:-1] if (bins == k + 1).any()
    )


def test_monotone_choice_against_all_curves():
    import itertools

    rng = np.random.default_rng(0)
    for _ in range(20):
        gains = rng.normal(size=(3, 4))
        curves = [c for c in itertools.product(range(4), repeat=3) if list(c) in (sorted(c), sorted(c)[::-1])]
        best = max(curves, key=lambda c: sum(gains[k, c[k]] for k in range(3)))
        assert monotone_choice(gains) == list(best)


@pytest.mark.parametrize("metric", ["MRR@10", "GAUC", "AveragePopularity@10"])
def test_other_metrics_choose_too(keys, metric):
    name = metric.partition("@")[0]
    settings = {**keys, "base_model": "BPR", "metrics": [name], "valid_metric": metric}
    result = run_recbole("UniversalInterpolation", "tiny", config_dict=settings, saved=False)
    assert metric.lower() in result["best_valid_result"]


@pytest.mark.parametrize("base", ["BPR", "NeuMF", "SASRec"])
@pytest.mark.parametrize("weight", ["auto", "by_activity"])
def test_sampled_evaluation(keys, base, weight):
    settings = {**keys, **BASES[base], "base_model": base, "interpolation_weight": weight}
    settings["eval_args"] = {**settings.get("eval_args", {}), "mode": "uni20"}
    result = run_recbole("UniversalInterpolation", "tiny", config_dict=settings, saved=False)
    assert result["test_result"]["ndcg@10"] > 0


@pytest.mark.parametrize("base", ["BPR", "Pop", "MultiVAE", "SASRec"])
def test_a_saved_stock_model_is_improved_without_training(keys, base, tmp_path):
    settings = {**keys, **BASES[base]}
    stock = run_recbole(base, "tiny", config_dict=dict(settings))
    checkpoint = next((tmp_path / "saved").glob(f"{base}-*.pth"))
    # Only the file is named, since it contains the dataset, the split and the settings of the model.
    ours = {"base_checkpoint": str(checkpoint), "show_progress": False, "state": "ERROR", "gpu_id": ""}
    zero = run_recbole("UniversalInterpolation", config_dict={**ours, "interpolation_weight": 0}, saved=False)
    assert zero["test_result"] == stock["test_result"]
    auto = run_recbole("UniversalInterpolation", config_dict=dict(ours), saved=False)
    assert auto["best_valid_score"] >= stock["best_valid_score"]


def test_a_checkpoint_reloads_in_a_fresh_process(keys, tmp_path):
    settings = {**keys, "base_model": "LightGCN", "interpolation_weight": "by_activity"}
    result = run_recbole("UniversalInterpolation", "tiny", config_dict=settings)
    checkpoint = next((tmp_path / "saved").glob("UniversalInterpolation-*.pth"))
    script = """if True:
        import sys
        checkpoint, sys.argv = sys.argv[1], sys.argv[:1]
        import recbole_universal
        from recbole.quick_start import load_data_and_model
        from recbole.utils import get_trainer
        config, model, _, _, _, test = load_data_and_model(checkpoint)
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
        print(dict(trainer.evaluate(test, load_best_model=False))["ndcg@10"])
    """
    done = fresh.run("-c", script, checkpoint)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) == pytest.approx(result["test_result"]["ndcg@10"], abs=1e-9)


def test_two_processes(keys, tmp_path):
    file = tmp_path / "two.yaml"
    file.write_text(yaml.safe_dump({**keys, "base_model": "BPR"}))
    code = (
        "from recbole.quick_start import run\n"
        + fresh.PROCESSES_FORK
        + meet_in_a_file(tmp_path)
        + f"print(run('UniversalInterpolation', 'tiny', [{str(file)!r}], nproc=2)['test_result'])\n"
    )
    done = fresh.run("-c", code)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ndcg@10" in done.stdout


def test_hyper_tuning_over_the_weight(keys, tmp_path):
    pytest.importorskip("hyperopt")
    from recbole.quick_start import objective_function
    from recbole.trainer import HyperTuning

    fixed = tmp_path / "fixed.yaml"
    fixed.write_text(
        yaml.safe_dump({"model": "UniversalInterpolation", "dataset": "tiny", "base_model": "BPR", **keys})
    )
    params = tmp_path / "params.hyper"
    params.write_text("interpolation_weight choice [0.0,0.5,1.0]\n")
    tuning = HyperTuning(
        objective_function,
        algo="exhaustive",
        params_file=str(params),
        fixed_config_file_list=[str(fixed)],
        display_file=None,
    )
    tuning.run()
    assert tuning.best_params["interpolation_weight"] in (0.0, 0.5, 1.0) and len(tuning.params2result) == 3


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"base_model": None}, "base_model: UniversalInterpolation needs the name"),
        ({"base_model": "Foo"}, r"base_model: there is no RecBole model \[Foo\]"),
        ({"base_model": "UniversalMLP"}, "must be another RecBole model"),
        ({"base_model": "UniversalSASRec"}, "must be another RecBole model"),
        ({"base_model": "UniversalInterpolation"}, "must be another RecBole model"),
        ({"interpolation_weight": 1.5}, "interpolation_weight: must be a number from 0"),
        ({"interpolation_weight": "best"}, "interpolation_weight: must be a number from 0"),
        ({"interpolation_space": "log"}, "interpolation_space: must be one of"),
        ({"metrics": ["AUC"], "valid_metric": "AUC", "eval_args": {"mode": "labeled"}}, "ranking metrics"),
        ({"eval_args": {"split": {"RS": [0.8, 0.0, 0.2]}}}, "no validation data"),
    ],
)
def test_bad_settings(keys, extra, message):
    if "metrics" in extra:
        extra = {**extra, "threshold": {"rating": 3}}
    with pytest.raises(ValueError, match=message):
        run_recbole("UniversalInterpolation", "tiny", config_dict={**keys, "base_model": "BPR", **extra}, saved=False)


def test_a_fixed_weight_needs_no_validation_data(keys):
    settings = {**keys, "base_model": "BPR", "interpolation_weight": 0.5}
    settings["eval_args"] = {"split": {"RS": [0.8, 0.0, 0.2]}}
    assert run_recbole("UniversalInterpolation", "tiny", config_dict=settings, saved=False)["test_result"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 7}, "another split"),
        ({"eval_args": {"split": {"RS": [0.6, 0.2, 0.2]}}}, "another split"),
        ({"item_inter_num_interval": "[12,inf)"}, "other data"),
        ({"embedding_size": 8}, "another architecture"),
        ({"base_model": "LightGCN"}, "holds a model of the kind"),
    ],
)
def test_a_checkpoint_that_does_not_fit(keys, change, message, tmp_path):
    run_recbole("BPR", "tiny", config_dict=dict(keys))
    checkpoint = str(next((tmp_path / "saved").glob("BPR-*.pth")))
    with pytest.raises(ValueError, match=message):
        run_recbole(
            "UniversalInterpolation", "tiny", config_dict={**keys, "base_checkpoint": checkpoint, **change}, saved=False
        )


def test_data_of_the_same_name_and_other_content(keys, tmp_path):
    run_recbole("BPR", "tiny", config_dict=dict(keys))
    checkpoint = str(next((tmp_path / "saved").glob("BPR-*.pth")))
    file = tmp_path / "data" / "tiny" / "tiny.inter"
    kept = file.read_text()
    elsewhere = tmp_path / "elsewhere" / "tiny"
    elsewhere.mkdir(parents=True)
    lines = kept.splitlines()
    (elsewhere / "tiny.inter").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    settings = {**keys, "data_path": str(tmp_path / "elsewhere"), "base_checkpoint": checkpoint}
    run_recbole("BPR", "tiny", config_dict={**keys, "data_path": str(tmp_path / "elsewhere")}, saved=False)
    with pytest.raises(ValueError, match="base_checkpoint"):
        run_recbole("UniversalInterpolation", "tiny", config_dict=settings, saved=False)


def test_other_files_are_no_checkpoints(keys, tmp_path):
    with pytest.raises(FileNotFoundError, match="base_checkpoint: there is no file"):
        Config("UniversalInterpolation", "tiny", config_dict={**keys, "base_checkpoint": "nowhere.pth"})
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(ValueError, match="no checkpoint of a RecBole model"):
        Config("UniversalInterpolation", "tiny", config_dict={**keys, "base_checkpoint": str(tmp_path / "text.pth")})


def test_infinite_and_missing_scores_of_the_base(keys):
    trainer, (_, valid, _) = built(keys, "BPR", interpolation_weight=0.5)
    with torch.no_grad():
        trainer.model.user_embedding.weight[3] = float("nan")
    trainer.model.universal_mixing = True
    with pytest.raises(ValueError, match="BPR scores an item of user 3"):
        trainer.evaluate(valid, load_best_model=False)


def test_another_universal_model_under_the_same_name_is_refused(keys):
    trainer, _ = built(keys, "BPR", interpolation_weight=0.5)
    other, _ = built(keys, "BPR", interpolation_weight=0.5, pretrained="universal-paper")
    with pytest.raises(ValueError, match="another universal model"):
        other.model.load_other_parameter(trainer.model.other_parameter())


def test_a_base_that_reads_other_fields_scores_each_row_by_them(keys):
    """DeepFM reads the time of a positive, so two rows of one user have different scores."""
    config = {
        **keys,
        **BASES["DeepFM"],
        "base_model": "DeepFM",
        "interpolation_weight": 0.05,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "numerical_features": ["timestamp"],
        "eval_args": {"split": {"RS": [0.6, 0.2, 0.2]}, "order": "RO", "group_by": "user", "mode": "uni5"},
    }
    config = Config("UniversalInterpolation", "tiny", config_dict=config)
    init_seed(config["seed"], config["reproducibility"])
    train, valid, test = data_preparation(config, create_dataset(config))
    model = get_model(config["model"])(config, train._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.fit(train, valid, saved=False)
    batch = users_of(test)
    assert "timestamp" in batch.columns
    with torch.no_grad():
        whole = model.eval().predict(batch)
        single = torch.cat([model.predict(batch[k : k + 1]) for k in range(len(batch))])
    torch.testing.assert_close(whole, single, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("base", ["BPR", "SASRec"])
def test_cached_scores_are_those_of_the_rows(keys, base):
    trainer, (train, valid, test) = built(keys, base, interpolation_weight=0.3)
    trainer.fit(train, valid, saved=False)
    model, batch = trainer.model.eval(), users_of(test)
    pieces = [batch[:7], batch[7:20], batch[20:]]
    with torch.no_grad():
        plain = [model.full_sort_predict(piece) for piece in pieces]
        with model.universal_score_cache():
            for _ in range(2):
                held = [model.full_sort_predict(piece) for piece in pieces]
    for one, other in zip(plain, held, strict=True):
        assert torch.equal(one, other)


def test_the_universal_model_scores_validation_once_for_all_weights(keys, monkeypatch):
    trainer, (train, valid, _) = built(keys, "BPR", interpolation_weight="auto", eval_batch_size=600)
    calls = []
    score_all = RankingNetwork.score_all
    monkeypatch.setattr(
        RankingNetwork,
        "score_all",
        lambda self, users: calls.append(len(users)) or score_all(self, users),
    )
    # The evaluation scores the batch by the chosen weight.
    monkeypatch.setattr(type(trainer), "_valid_epoch", lambda *_, **__: (0.0, {}))
    trainer.fit(train, valid, saved=False)
    assert len(valid) > 1 and len(calls) == len(valid)


def test_a_history_without_a_user_id_gets_the_scores_of_the_base(keys):
    """The session of a new user has a history for the base, and no user id for the universal model."""
    trainer, loaders = built(keys, "SASRec", interpolation_weight=0.5)
    trainer.fit(*loaders[:2], saved=False)
    model = trainer.model.eval()
    batch = users_of(loaders[2])
    session = Interaction({field: batch[field] for field in ("item_id_list", "item_length", "item_id")})
    model.universal_mixing = False
    alone = model.full_sort_predict(batch), model.predict(batch)
    model.universal_mixing = True
    assert torch.equal(model.full_sort_predict(session), alone[0]) and torch.equal(model.predict(session), alone[1])
    assert not torch.equal(model.full_sort_predict(batch), alone[0])


def test_unknown_user_ids_are_refused(keys):
    trainer, loaders = built(keys, "BPR", interpolation_weight=0.5)
    trainer.fit(*loaders[:2], saved=False)
    model = trainer.model.eval()
    with pytest.raises(ValueError, match=r"lacks the field \[user_id\]"):
        model.full_sort_predict(Interaction({"item_id": torch.tensor([1])}))
    for user in (-1, 41):
        with pytest.raises(ValueError, match=f"user_id: internal ids go from 0 .* to 40, got {user}"):
            model.full_sort_predict(Interaction({"user_id": torch.tensor([user])}))


@pytest.mark.parametrize("base", [3, [], "", "Foo", int, "UniversalMLP"])
def test_an_unknown_base_is_named(keys, base):
    with pytest.raises(ValueError, match=r"^base_model: "):
        Config("UniversalInterpolation", "tiny", config_dict={**keys, "base_model": base})


@pytest.mark.parametrize("file", [3, ["a.pth"], ".", "nowhere.pth", {}])
def test_an_invalid_checkpoint_is_named(keys, file):
    with pytest.raises((ValueError, OSError), match=r"^base_checkpoint: "):
        Config("UniversalInterpolation", "tiny", config_dict={**keys, "base_checkpoint": file})
