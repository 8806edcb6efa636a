"""Which stock RecBole models work after ``import recbole_universal``: trained, saved, reloaded, evaluated again.

    python benchmarks/recbole_models.py [--models BPR LightGCN ...] [--epochs 2]
    python benchmarks/recbole_models.py --report docs/recbole_models.md --stack "newest stack"

Prints the versions and a Markdown table; docs/recbole_models.md says what it shows. Exit status 1 if a model failed.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from report import fill, markdown

from recbole_universal.files import write_text

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("recbole", "numpy", "pandas", "scipy", "torch", "scikit-learn", "setuptools")
#: RecBole requires it of models that draw no negative items.
NO_NEGATIVES = {"train_neg_sample_args": None}
#: Shorter than RecBole's 50. Attention over 50 items takes minutes an epoch on one core.
SEQUENTIAL = {**NO_NEGATIVES, "MAX_ITEM_LIST_LENGTH": 20}
#: Config keys by model: what it needs to run on ml-100k, or to reach its special branch within two epochs.
MODELS: dict[str, dict] = {
    "BPR": {},
    "LightGCN": {},
    "NGCF": {},
    "NeuMF": {},
    "Pop": {},
    "ItemKNN": {},
    "EASE": {},
    "SLIMElastic": {},
    "MultiVAE": NO_NEGATIVES,
    "DMF": {},
    "SGL": {},
    "NCL": {"num_clusters": 100, "warm_up_step": 1},
    "SimpleX": {},
    "DiffRec": {},
    "SASRec": SEQUENTIAL,
    "GRU4Rec": SEQUENTIAL,
    "FM": {},
    "DeepFM": {},
    "CFKG": {},
    "CKE": {},
}
SHARED = {"show_progress": False, "state": "error", "gpu_id": "", "metric_decimal_place": 12}
#: RecBole's 4096 user-item pairs are two users a batch. The results do not depend on it.
FULL_RANKING = {"eval_batch_size": 200_000}


def train(model: str, epochs: int) -> dict[str, float]:
    """Train, save and test one model in the current folder; RecBole's own way."""
    sys.path.insert(0, str(ROOT))
    import recbole_universal  # noqa: F401, I001  patches RecBole
    from recbole.quick_start import run_recbole

    sys.argv = sys.argv[:1]  # RecBole reads its options from there
    config = {**SHARED, **FULL_RANKING, "epochs": epochs, **MODELS.get(model, {})}
    return run_recbole(model, "ml-100k", config_dict=config)["test_result"]


def reload(model: str, epochs: int) -> dict[str, float]:
    """Reload the best checkpoint of the current folder and test it again."""
    sys.path.insert(0, str(ROOT))
    import recbole_universal  # noqa: F401, I001
    from recbole.quick_start import load_data_and_model
    from recbole.utils import get_trainer

    sys.argv = sys.argv[:1]
    (file,) = Path("saved").glob(f"{model}-*.pth")
    config, network, _, _, _, test_data = load_data_and_model(str(file))
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, network)
    return trainer.evaluate(test_data, load_best_model=False)


def in_own_process(step: str, model: str, epochs: int, folder: Path) -> tuple[dict[str, float], str]:
    """Run one step of one model in a new process.

    Returns:
        The metrics, empty if it failed; and the last line of the error, empty if it did not.
    """
    result = folder / f"{step}.json"
    command = [sys.executable, "-W", "ignore", str(Path(__file__).resolve())]
    command += ["--step", step, "--models", model, "--epochs", str(epochs), "--output", str(result)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode == 0 and result.is_file():
        return json.loads(result.read_text()), ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return {}, lines[-1].strip() if lines else f"exit status {done.returncode}"


def check(model: str, epochs: int) -> dict[str, str]:
    """One row of the table."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trained, error = in_own_process("train", model, epochs, Path(folder))
        again, reload_error = in_own_process("reload", model, epochs, Path(folder)) if trained else ({}, "")
    metric = next((name for name in ("ndcg@10", "auc") if name in trained), "")
    if trained and again and trained != again:
        reload_error = f"{metric} after reloading: {again.get(metric)}"
    return {
        "model": model,
        "trained": "yes" if trained else "no",
        "reloaded": "yes, equal" if trained and trained == again else "no",
        "metric": f"{metric.upper()} {trained[metric]:.4f}" if metric else "",
        "seconds": f"{time.perf_counter() - start:.0f}",
        "error": (error or reload_error).replace("|", "/")[:160],
    }


def versions() -> str:
    """The versions with which the table is made."""
    parts = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            parts.append(f"no {package}")
    return ", ".join(parts)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="names of stock RecBole models")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of training")
    parser.add_argument("--report", type=Path, help="page that also gets the table")
    parser.add_argument("--stack", default="newest stack", help="name of the table in the page")
    parser.add_argument("--step", choices=("train", "reload"), help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)  # of one step
    args = parser.parse_args()
    if args.step:
        metrics = {"train": train, "reload": reload}[args.step](args.models[0], args.epochs)
        write_text(args.output, json.dumps({name: float(value) for name, value in metrics.items()}))
        return 0
    rows = []
    for model in args.models:
        rows.append(check(model, args.epochs))
        print(f"{model}: {rows[-1]}", file=sys.stderr, flush=True)
    table = markdown(list(rows[0]), [list(row.values()) for row in rows])
    text = f"{versions()}; {args.epochs} epochs, CPU\n\n{table}"
    print(text)
    if args.report:
        fill(args.report, {args.stack: text})
    return 0 if all(row["reloaded"].startswith("yes") for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
