"""Which wrong lines the tests notice: one-line mutants of the package, and the tests that should fail on each.

A mutant is a text that stands once in a file and what replaces it. The tree is copied to a temporary folder, and for
each mutant the related tests run there until the first fails. No library does it: mutmut and cosmic-ray mutate every
line, which at some minutes of tests a mutant takes days, and most of their mutants change messages and bounds of memory.
These here are wrong in what a number means.

    python benchmarks/mutations.py                  # all; some 40 minutes of one core
    python benchmarks/mutations.py --part 1/2       # one of two halves, which may run side by side
    python benchmarks/mutations.py --only M03 N12   # some
    python benchmarks/mutations.py --texts          # only whether each text is found once

Exit code 0 if all mutants are killed, 1 if any survives, 2 if a text is not found once or the tests fail without one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = (".git", ".venv", "shared", "saved", "log", "results", "site", "__pycache__", ".*_cache")


@dataclass(frozen=True)
class Mutant:
    """One wrong line.

    Attributes:
        name: M: of the review of 0.1.0; N: chosen later; R: of reading.
        file: path in the package.
        old: text that stands once in it.
        new: what replaces it.
        tests: paths of tests, in the order in which they run.
    """

    name: str
    file: str
    old: str
    new: str
    tests: str


SCORERS = "tests/graph/test_reference.py tests/graph/test_scorers.py tests/graph/test_item_models.py"
COLUMNS = "tests/features/test_reference.py tests/features/test_proximity.py"
FAMILIES = "tests/features/test_reference.py tests/features/test_families.py tests/features/test_binning.py"
KEYS = "tests/features/test_cache_key.py tests/features/test_cache.py"
MODEL = "tests/model/test_reference.py tests/model/test_ranker.py"
MIXING = "tests/model/test_reference.py tests/model/test_interpolation.py tests/model/test_universal_interpolation.py"
TRAINING = "tests/test_pretraining.py tests/test_universal_mlp.py"
READING = "tests/io tests/test_recommend.py tests/test_bad_input.py"
GRAPH, FEATURES = "graph/scorers.py", "features/proximity.py"

MUTANTS = [
    # The review's.
    Mutant("M01", "graph/item_models.py", "    scale = inverse_power(np.bincount(matrix.indices, minlength=n_items).astype(np.float32), 0.5)", "    scale = inverse_power(np.bincount(matrix.indices, minlength=n_items).astype(np.float32), 0.4)", SCORERS),
    Mutant("M02", "graph/item_models.py", "products.indices[places] != targets[rows]", "products.indices[places] >= 0", SCORERS),
    Mutant("M03", GRAPH, "similar.square_()", "similar", SCORERS),
    Mutant("M04", GRAPH, "second.mul_(user_one)", "second", SCORERS),
    Mutant("M05", GRAPH, "(1.0, 3.0, 10.0)", "(1.0, 5.0, 10.0)", SCORERS),
    Mutant("M06", GRAPH, "max(1, rank // 4)", "max(1, rank // 3)", SCORERS),
    Mutant("M07", FEATURES, "_SHARPNESS = 20.0", "_SHARPNESS = 5.0", COLUMNS),
    Mutant("M08", FEATURES, "_REFERENCE_RANK = 20", "_REFERENCE_RANK = 5", COLUMNS),
    Mutant("M09", FEATURES, "log_item - (log_item * mask)", "log_item + (log_item * mask)", COLUMNS),
    Mutant("M10", FEATURES, "unseen[:, rows, columns] = 0.0", "unseen[:, rows, columns] *= 1.0", COLUMNS),
    Mutant("M11", FEATURES, "self._mostly_single else lead < -1", "self._mostly_single else lead < 0", COLUMNS),
    Mutant("M12", FEATURES, "gain[:, 1 - half :: 2]", "gain[:, half::2]", COLUMNS),
    Mutant("M13", "data/dataset.py", "matrix = training_matrix(parts[0])", "matrix = training_matrix(parts[0]) + training_matrix(parts[1])", "tests/test_dataset.py"),
    Mutant("M14", "features/pipeline.py", 'key["device"] = self.pipeline.device.type', "pass", KEYS),
    Mutant("M15", "features/pipeline.py", 'key["libraries"] = ', "_ = ", KEYS),
    Mutant("M16", "pretrained/checkpoint.py", "if hashlib.sha256(weights).hexdigest() != digest:", "if False:", "tests/pretrained/test_checkpoint.py"),
    Mutant("M17", "model/interpolation.py", "(1 - weights) * base + weights * universal", "weights * base + (1 - weights) * universal", MIXING),
    Mutant("M18", "trainer.py", "mean[best] - mean <= error", "mean[best] - mean <= 0 * error", MIXING),
    Mutant("M19", "model/universal_mlp.py", "(log_share * label).sum(dim=1) / hidden", "(log_share * label).sum(dim=1)", TRAINING),
    Mutant("M20", "trainer.py", "0.5 * (1 + math.cos(", "0.5 * (1 - math.cos(", TRAINING),
    Mutant("M21", "trainer.py", "found / discount.cumsum(0)[number - 1]", "found", TRAINING),
    Mutant("M22", "quick_start.py", '"schema": pipeline.schema, "version"', '"version"', TRAINING),
    Mutant("M23", "model/scorer.py", ".log_softmax(dim=1).clamp(min=-BOUND)", ".log_softmax(dim=1)", f"{TRAINING} {MODEL}"),
    Mutant("M24", "data/support_query.py", "pipeline(support", "pipeline(matrix", TRAINING),
    Mutant("M25", "model/scorer.py", "(values - self.pair_mean) / self.pair_scale", "(values - self.pair_mean)", f"{MODEL} {TRAINING}"),
    Mutant("M26", FEATURES, "values *= 1 + 1e-5 * self._item_percentile", "values *= 1.0", COLUMNS),
    Mutant("M27", FEATURES, "self._weights[0] / best * len(drawn)", "self._weights[0]", COLUMNS),
    Mutant("M28", GRAPH, "to_users(None).mul_(user_half)", "to_users(None).mul_(user_one)", SCORERS),
    # Scorers.
    Mutant("N01", GRAPH, "walk * item_half", "walk * item_rest", SCORERS),
    Mutant("N02", GRAPH, "by_more).mul_(item_rest)", "by_more).mul_(item_half)", SCORERS),
    Mutant("N03", GRAPH, "(walk > 0)", "(walk >= 0)", SCORERS),
    Mutant("N04", GRAPH, "similar[self._place[users[drawn]], drawn] = 0.0", "pass", SCORERS),
    Mutant("N05", GRAPH, "max(1, rank // 2)", "max(1, 2 * rank // 3)", SCORERS),
    Mutant("N06", GRAPH, "torch.mul(total, self._item_root,", "torch.mul(total, 1.0,", SCORERS),
    Mutant("N07", "graph/item_models.py", "max(8, smaller // 8)", "max(8, smaller // 4)", SCORERS),
    Mutant("N08", "graph/item_models.py", "degree[degree > 0].mean()", "degree.mean()", SCORERS),
    Mutant("N09", GRAPH, "np.ascontiguousarray(weights.T)", "np.ascontiguousarray(weights)", SCORERS),
    Mutant("N10", GRAPH, 'np.argsort(-degree, kind="stable")[:max_regression_items]', 'np.argsort(degree, kind="stable")[:max_regression_items]', SCORERS),
    Mutant("N11", "graph/item_models.py", "user = inverse_power(np.diff(matrix.indptr).astype(np.float32), 0.5)", "user = inverse_power(np.diff(matrix.indptr).astype(np.float32), 1.0)", SCORERS),
    Mutant("N12", "graph/item_models.py", "_MOST_TIED = 4", "_MOST_TIED = 1", SCORERS),
    # Columns.
    Mutant("N13", FEATURES, ".clamp(max=4.0)", ".clamp(max=1.0)", COLUMNS),
    Mutant("N14", FEATURES, "torch.full_like(values, 400.0)", "torch.full_like(values, 300.0)", COLUMNS),
    Mutant("N15", FEATURES, "torch.log1p((values / reference)", "((values / reference)", COLUMNS),
    Mutant("N16", FEATURES, ".expand_as(percentile) / 5", ".expand_as(percentile) / 4", COLUMNS),
    Mutant("N17", FEATURES, "percentile - own_mean", "own_mean - percentile", COLUMNS),
    Mutant("N18", FEATURES, "rankdata(degree) - 0.5", "rankdata(degree) - 1.0", COLUMNS),
    Mutant("N19", FEATURES, "(trust == trust.max())", "(trust == trust.min())", COLUMNS),
    Mutant("N20", FEATURES, "rankdata(-degree,", "rankdata(degree,", f"{COLUMNS} {MODEL}"),
    Mutant("N21", FEATURES, "1e-6 * best, reference, best)", "1e-6 * best, reference, reference)", COLUMNS),
    # Bins and clusters.
    Mutant("N22", "graph/clusters.py", "np.maximum(n_users * n_items, 1)", "np.maximum(n_users + n_items, 1)", FAMILIES),
    Mutant("N23", "graph/clusters.py", "_distinct_per_cluster(users, labels, n_clusters) * ", "_distinct_per_cluster(users, labels, n_clusters) + ", FAMILIES),
    Mutant("N24", "features/binning.py", "(below + not_above) /", "(below + below) /", FAMILIES),
    Mutant("N25", "features/binning.py", "first=float(self.log_base**-self.n_bins)", "first=float(self.log_base ** (1 - self.n_bins))", FAMILIES),
    Mutant("N26", "graph/edge_operators.py", "return difference * difference", "return difference", FAMILIES),
    Mutant("N27", "features/interaction.py", "counts = sp.csr_matrix((np.ones(len(ids)), (ids, labels)), shape=shape)", "counts = sp.csr_matrix((np.ones(len(ids)), (ids, labels)), shape=shape).sign()", FAMILIES),
    # Keys of stored features.
    Mutant("N28", "features/pipeline.py", '"args": family.args}, family.needs_embedding', "}, family.needs_embedding", KEYS),
    Mutant("N29", "features/pipeline.py", 'key["seed"] = self.pipeline.seed', "pass", KEYS),
    Mutant("N30", "features/pipeline.py", '"weights": matrix.data.astype(np.float32),', "", KEYS),
    Mutant("N31", "features/pipeline.py", '"shape": [self.graph.n_users, self.graph.n_items], ', "", KEYS),
    Mutant("N32", "features/pipeline.py", "modules = (np, scipy, sklearn, torch)", "modules = (np, scipy, torch)", KEYS),
    # The self-check and the decision for popularity.
    Mutant("N33", FEATURES, "float(gain.std()) / len(gain) ** 0.5", "float(gain.std()) / (len(gain) - 1) ** 0.5", COLUMNS),
    Mutant("N34", FEATURES, "np.minimum(n_relevant, hits.shape[-1]) - 1", "np.minimum(n_relevant, 2) - 1", COLUMNS),
    Mutant("N35", FEATURES, "np.argsort(-pairs.scorers.item_degree,", "np.argsort(pairs.scorers.item_degree,", COLUMNS),
    Mutant("N36", FEATURES, "max(1, round(share * degree[user]))", "max(1, int(share * degree[user]))", COLUMNS),
    Mutant("N37", FEATURES, "(popularity, found[:0])", "(popularity, found[:1])", COLUMNS),
    Mutant("N38", FEATURES, "scores[:, rows.to(scores.device), columns.to(scores.device)] = -torch.inf", "pass", COLUMNS),
    # Mixing.
    Mutant("N39", "model/interpolation.py", "max(1, scores.shape[1] - 1)", "max(1, scores.shape[1])", MIXING),
    Mutant("N40", "model/interpolation.py", "centred.square().mean(dim=1, keepdim=True).sqrt()", "centred.abs().mean(dim=1, keepdim=True)", MIXING),
    Mutant("N41", "model/universal_interpolation.py", 'method="lower"', 'method="higher"', MIXING),
    Mutant("N42", "model/universal_interpolation.py", "self.universal_edges)", "self.universal_edges, right=True)", MIXING),
    Mutant("N43", "model/universal_interpolation.py", "torch.where(weights == 1, alone, mix(", "torch.where(weights == 2, alone, mix(", MIXING),
    Mutant("N44", "trainer.py", "for sign in (1, -1):", "for sign in (1,):", MIXING),
    Mutant("N45", "trainer.py", "ddof=1) / np.sqrt(present.sum())", "ddof=1) / present.sum()", MIXING),
    Mutant("N46", "trainer.py", "gains = gains if self.valid_metric_bigger else -gains", "gains = gains", MIXING),
    Mutant("N47", "model/scorer.py", "torch.where(lowest.isfinite(), lowest, 0.0)", "torch.where(lowest.isfinite(), 0.0, 0.0)", MIXING),
    # The network and its explanation.
    Mutant("N48", "model/scorer.py", "self.each_network(user, item, pair).mean(dim=-1)", "self.each_network(user, item, pair).amax(dim=-1)", MODEL),
    Mutant("N49", "model/scorer.py", "-BOUND - 1 - proximity.item_order", "-BOUND - 1 + proximity.item_order", MODEL),
    Mutant("N50", "model/scorer.py", "whole - self(*changed)", "self(*changed) - whole", MODEL),
    Mutant("N51", "model/scorer.py", "lists.mask.sum(dim=1).clamp(min=1)[:, None]", "lists.mask.shape[1]", MODEL),
    Mutant("N52", "model/ranker.py", "parts.abs().sum(dim=0)", "parts.sum(dim=0)", MODEL),
    Mutant("N53", "model/scorer.py", "sample.std(dim=0) + 1e-3", "sample.std(dim=0) + 1.0", TRAINING),
    # Training.
    Mutant("N54", "trainer.py", "warm = 0.1", "warm = 0.5", TRAINING),
    Mutant("N55", "model/universal_mlp.py", "other = mask & ~label", "other = mask", TRAINING),
    Mutant("N56", "trainer.py", "self.learning_rate * (0.04 + 0.96 * done / warm)", "self.learning_rate", TRAINING),
    Mutant("N57", "data/support_query.py", "length = max(int(row[LIST_MASK].sum()) for row in rows)", "length = min(int(row[LIST_MASK].sum()) for row in rows)", TRAINING),
    # Reading.
    Mutant("R01", "io/ids.py", "value.strip() if self._strip else value", "value", READING),
    Mutant("R02", "io/ids.py", "places[np.sort(first)]", "places[first]", READING),
    Mutant("R03", "io/ids.py", "return math.isnan(value)", "return False", READING),
    Mutant("R04", "io/bad_rows.py", "self.count += count", "self.count += 1", READING),
    Mutant("R05", "io/interactions.py", "sorted(range(len(text)), key=text.__getitem__)", "sorted(range(len(text)))", READING),
]  # fmt: skip


def found_once(mutant: Mutant, root: Path) -> str:
    """Empty if the text stands once in its file; else what is wrong."""
    file = root / "recbole_universal" / mutant.file
    if not file.is_file():
        return "there is no such file"
    count = file.read_text(encoding="utf-8").count(mutant.old)
    return "" if count == 1 else f"the text is found {count} times"


def run_tests(root: Path, tests: list[str]) -> tuple[int, str]:
    """Exit code of pytest and the test that failed, if any."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-o", "addopts=", "-m", "not slow"]
    settings = {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*command, *tests], cwd=root, env={**os.environ, **settings}, capture_output=True, text=True, check=False
    )
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return done.returncode, failed[0].split(" ", 2)[1] if failed else ""


def present(mutant: Mutant, root: Path) -> list[str]:
    """Those of its tests that there are."""
    return [test for test in mutant.tests.split() if (root / test).exists()]


def judge(mutant: Mutant, root: Path) -> tuple[str, str]:
    """Verdict on a mutant, and the test that kills it or what is wrong."""
    wrong = found_once(mutant, root)
    if wrong:
        return "not run", wrong
    file = root / "recbole_universal" / mutant.file
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        # The cheapest file first, each in a process of its own: most mutants need but one.
        for test in present(mutant, root):
            code, failed = run_tests(root, [test])
            if code == 1:
                return "killed", failed
            if code not in (0, 5):
                return "killed", f"{test}: pytest ends with {code}"
        return "SURVIVES", mutant.tests
    finally:
        file.write_text(text, encoding="utf-8")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="names of mutants, or their first letters")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="the K-th of N parts")
    parser.add_argument("--texts", action="store_true", help="only look whether each text is found once")
    parser.add_argument("--unmutated", action="store_true", help="run the tests first without a mutant")
    options = parser.parse_args()
    part, n_parts = map(int, options.part.split("/"))
    chosen = [m for m in MUTANTS if not options.only or m.name.startswith(tuple(options.only))][part - 1 :: n_parts]
    if options.texts:
        wrong = [(mutant.name, mutant.file, found_once(mutant, ROOT)) for mutant in chosen]
        print(*(f"{name} {file}: {text}" for name, file, text in wrong if text), f"{len(chosen)} texts", sep="\n")
        return 2 if any(text for *_, text in wrong) else 0
    verdicts = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "tree"
        shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
        if options.unmutated:
            for test in sorted({test for mutant in chosen for test in present(mutant, root)}):
                code, failed = run_tests(root, [test])
                if code not in (0, 5):
                    print(f"{test} fails without a mutant: {failed}")
                    return 2
        print("| mutant | file | instead of | stands | verdict | by |\n|---|---|---|---|---|---|", flush=True)
        for mutant in chosen:
            verdict, by = judge(mutant, root)
            verdicts.append(verdict)
            old, new = (text.strip().replace("|", "\\|") or " " for text in (mutant.old, mutant.new))
            print(f"| {mutant.name} | {mutant.file} | `{old}` | `{new}` | {verdict} | {by} |", flush=True)
    counts = {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))}
    print("\n" + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return 2 if "not run" in counts else int("SURVIVES" in counts)


if __name__ == "__main__":
    sys.exit(main())
