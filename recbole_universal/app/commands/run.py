"""The command ``run``: one model of RecBole or of this package, and a table with baselines."""

from __future__ import annotations

import argparse
from typing import Any

from recbole_universal.app.commands import config_keys

SUMMARY = "train and evaluate a model with RecBole, and print a table with baselines"
DESCRIPTION = """Train and evaluate a model with RecBole, with the universal features and models of
recbole_universal registered, and print a table with baselines. Takes all arguments of
RecBole's run_recbole.py."""
EXAMPLES = (
    config_keys.HELP
    + """
examples:
  {program}                                      the shipped model, zero-shot, and two baselines
  {program} --train_stage=in_domain              the same model, trained on ml-100k itself
  {program} -d yelp2018 --data_path=../data      on a dataset of yours, as RecBole atomic files
  {program} -m LightGCN                          a stock model
  {program} -m DeepFM --config_files=fm.yaml     a stock model with universal columns
  {program} --universal_baselines="['EASE']"     other baselines; [] for none
  {program} --seeds 2020 2021 2022               three seeds: mean and standard deviation
  {program} -m EASE --output ease.json           results with the values of each user, for the command compare
  {program} --nproc=2                            two processes
"""
)
TAKES_KEYS = True


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of RecBole's ``run_recbole.py``."""
    add = parser.add_argument
    add(
        "--model",
        "-m",
        help="UniversalMLP, UniversalSequential, UniversalSASRec, UniversalInterpolation or any RecBole model "
        "(default: UniversalMLP, unless a config file names one)",
    )
    add("--dataset", "-d", help="a dataset in data_path (default: ml-100k, which RecBole ships)")
    config_keys.add_config_files(parser)
    add("--output", metavar="FILE", help="file for the results: .csv, .tex, .html, or .json, which compare reads")
    add("--seeds", type=int, nargs="+", metavar="SEED", help="run with each seed; mean and standard deviation")
    add("--nproc", type=int, default=1, help="processes on this machine (default: 1); without a GPU they use gloo")
    add("--ip", default="localhost", help="address of the master node (default: localhost)")
    add("--port", default="5678", help="port of the master node (default: 5678)")
    add("--world_size", type=int, default=-1, help="processes on all machines (default: nproc)")
    add("--group_offset", type=int, default=0, help="rank of this machine's first process (default: 0)")


def run(options: argparse.Namespace, words: list[str]) -> int:
    """Run the experiment; returns the exit status."""
    files = config_keys.give_to_recbole(options, words)
    return config_keys.explained(options.name, lambda: _run(options, files))


def _run(options: argparse.Namespace, files: list[str] | None) -> None:
    import contextlib
    import logging
    import sys

    from recbole.config import Config

    from recbole_universal.app import checks
    from recbole_universal.app.output_files import open_form
    from recbole_universal.app.pretrain import pretrain_by_config
    from recbole_universal.app.quick_start import run_experiment
    from recbole_universal.app.results_table import by_model, table
    from recbole_universal.app.run_results import FORMS, RunResults
    from recbole_universal.plugin.recbole_keys import check_run
    from recbole_universal.plugin.universal_model import UNIVERSAL_MODELS

    for name in ("model", "dataset"):
        if getattr(options, name) == "":
            raise ValueError(f"--{name}: is empty; give a name, or leave the option out.")
    distributed = _distributed(options)
    named = checks.keys_in_files(files)
    model = options.model or (None if "model" in named else "UniversalMLP")
    named |= {word.partition("=")[0].removeprefix("--") for word in sys.argv[1:]}
    comes_with_a_checkpoint = "base_checkpoint" in named
    dataset = options.dataset or (None if comes_with_a_checkpoint or "dataset" in named else "ml-100k")
    checks.check_names(model, dataset)
    checks.check_processes(distributed)
    if options.seeds and "seed" in {word.partition("=")[0].removeprefix("--") for word in sys.argv[1:]}:
        raise ValueError("--seeds: comes in the place of the key seed; leave out --seed.")
    with open_form(options.output, FORMS) if options.output else contextlib.nullcontext() as write:
        results: list[dict[str, Any]] = []
        for seed in options.seeds or [None]:
            keys = {} if seed is None else {"seed": seed}
            config = Config(model, dataset, files, dict(keys))
            check_run(config.final_config_dict, config["model"])
            checks.check_writable(config)
            if config["model"] in (*UNIVERSAL_MODELS, "UniversalSASRec") and config["train_stage"] == "pretrain":
                if options.output or options.seeds:
                    raise ValueError("--output, --seeds: belong to runs with results, and pretrain has none.")
                folder = pretrain_by_config(config, files)
                print(f"\nThe model is in [{folder}]; give this folder to the key pretrained.")
                return
            checks.check_folder(config)
            given: dict[str, Any] = {"model": model, "dataset": dataset, "config_file_list": files, "config_dict": keys}
            results += run_experiment(config, given, **distributed)
        logging.getLogger().handlers.clear()  # so that the table is the last output
        print("\n" + table(results))
        if write:
            if not by_model(results):
                raise ValueError("--output: the run made no evaluation in this process, so there are no results.")
            seeds = options.seeds or [config["seed"]]
            write(RunResults(config["dataset"], config["eval_args"], seeds, results))
    if options.output:
        print(f"Wrote {options.output}.", flush=True)


def _distributed(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments of RecBole's ``run`` about processes; none for one process."""
    if options.nproc == 1 and options.world_size <= 0:
        return {}
    return {name: getattr(options, name) for name in ("nproc", "world_size", "ip", "port", "group_offset")}
