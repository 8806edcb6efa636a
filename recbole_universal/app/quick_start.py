"""Run an experiment: one model, and its baselines on the same split."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Any

from recbole.config import Config
from recbole.quick_start import quick_start as recbole_quick_start
from recbole.quick_start import run as run_processes

from recbole_universal.app.baselines import baseline_configs
from recbole_universal.app.checks import check_processes
from recbole_universal.app.results_table import table
from recbole_universal.plugin.atomic_file import reading_as_text
from recbole_universal.plugin.dataset_checks import checking_all_models
from recbole_universal.plugin.recbole_keys import check_run
from recbole_universal.plugin.swapped import swapped
from recbole_universal.plugin.user_values import recording_users

logger = logging.getLogger(__name__)


def run(
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    saved: bool = True,
    **distributed: Any,
) -> list[dict[str, Any]]:
    """Train and evaluate a model, then its baselines (key ``universal_baselines``) on the same split.

    A baseline gets the keys about data, split and evaluation. Its other keys keep their defaults.

    Args:
        model: Name or class of any RecBole model, or ``None`` to take it from the config files.
        dataset: Name of the dataset, or ``None`` to take it from the config files.
        config_file_list: Paths of yaml files, as for RecBole.
        config_dict: Parameters, as for RecBole. The dict is not changed.
        saved: Whether to save the best checkpoint.
        **distributed: ``nproc``, ``world_size``, ``ip``, ``port``, ``group_offset`` of RecBole's ``run``. Baselines run
            in one process.

    Returns:
        One dict per model, the chosen model first: ``model``, ``seconds`` (loading, training and evaluation) and the
        keys of RecBole's result (``best_valid_score``, ``valid_score_bigger``, ``best_valid_result``, ``test_result``).
        ``by_user`` has the test metrics of each user, as a frame, and ``test_hash`` names the test interactions; they
        are empty with several processes.
    """
    given = {
        "model": model,
        "dataset": dataset,
        "config_file_list": list(config_file_list) if config_file_list else None,
        "config_dict": dict(config_dict or {}),
    }
    config = Config(model, dataset, given["config_file_list"], dict(config_dict or {}))
    check_run(config.final_config_dict, config["model"])
    check_processes(distributed)
    return run_experiment(config, given, saved, **distributed)


def run_experiment(config: Config, given: dict[str, Any], saved: bool = True, **distributed: Any) -> list[dict]:
    """Train and evaluate the model of a config, then its baselines.

    Args:
        config: RecBole ``Config`` of the run. Nothing reads the settings again.
        given: Arguments that made the config: ``model``, ``dataset``, ``config_file_list``, ``config_dict``. The
            processes of ``nproc`` read them again.
        saved: As for :func:`run`.
        **distributed: As for :func:`run`.

    Returns:
        As :func:`run`.
    """
    baselines = baseline_configs(config)
    with checking_all_models():
        results = [_result(config, saved, given, distributed)]
    # A baseline reads the files as the model does. Otherwise it would get another split.
    as_text = config["universal_features"] or config["model"] == "UniversalSASRec"
    reader = reading_as_text if as_text else contextlib.nullcontext
    for name, baseline in baselines.items():
        try:
            with checking_all_models(), reader():
                results.append(_result(baseline, saved=False))
        except Exception:
            logger.warning("The baseline [%s] failed. Results until then:\n%s", name, table(results))
            raise
    return results


def _result(
    config: Config, saved: bool, given: dict[str, Any] | None = None, distributed: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Result of one model by RecBole's ``run``, in this process or in several."""
    start = time.perf_counter()
    kept: dict[str, Any] = {"by_user": None, "test_hash": ""}
    if distributed:
        result = run_processes(**(given or {}), saved=saved, **distributed)
    else:
        with recording_users() as users:
            result = run_recbole(config, saved)
        kept = {"by_user": users.by_user, "test_hash": users.test_hash}
    return {"model": config["model"], "seconds": time.perf_counter() - start, **kept, **(result or {})}


def run_recbole(config: Config, saved: bool) -> dict[str, Any]:
    """RecBole's ``run_recbole`` with a ``Config`` that is there.

    ``run_recbole`` takes no ``Config`` and makes one. For the length of the call it gets the given one instead.
    """
    with swapped(recbole_quick_start, "Config", lambda **_: config):
        return recbole_quick_start.run_recbole(model=config["model"], dataset=config["dataset"], saved=saved)
