"""Whether the tests notice wrong lines: one-line mutants of the package, and the tests that should fail on each.

A mutant replaces a text that occurs once in a file; ``mutations.tsv`` lists the mutants. The tree is copied to a
temporary folder, and for each mutant the related tests run there until the first fails. A mutation library (mutmut,
cosmic-ray) is not used, because it mutates every line. With some minutes of tests per mutant that takes days, and most
of its mutants change messages and memory limits. These mutants change results.

    python benchmarks/mutations.py                  # all; some 40 minutes of one core
    python benchmarks/mutations.py --part 1/2       # one of two halves, which may run at the same time
    python benchmarks/mutations.py --only M03 N12   # some
    python benchmarks/mutations.py --texts          # check only that each text occurs once

Exit code 0 if all mutants are killed, 1 if any survives, 2 if a text does not occur once or a test fails by itself.
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
    """A mutant.

    Attributes:
        name: M, from the review of 0.1.0; N, chosen later; R, about reading; O, about order; B, about the build; I,
            about new items; with a number.
        file: path in the package.
        old: text that occurs once in the file.
        new: the replacement.
        tests: paths of tests, in the order in which they run.
    """

    name: str
    file: str
    old: str
    new: str
    tests: str


#: Tests by the name that the table gives them, the cheapest and most likely first.
TESTS = {
    "GRAPH": "tests/graph/test_interaction_graph.py tests/graph/test_popularity.py",
    "SCORERS": "tests/graph/test_scorers_by_formula.py tests/graph/test_scorers.py tests/graph/test_item_models.py "
    "tests/graph/test_sums.py",
    "COLUMNS": "tests/features/test_columns_by_formula.py tests/features/test_proximity.py",
    "FAMILIES": "tests/features/test_columns_by_formula.py tests/features/test_families.py "
    "tests/features/test_binning.py tests/features/test_pairs.py",
    "KEYS": "tests/features/test_cache_key.py tests/features/test_cache.py",
    "MODEL": "tests/ranking/test_scores_by_formula.py tests/ranking/test_ranker.py",
    "MIXING": "tests/ranking/test_scores_by_formula.py tests/ranking/test_mixing.py "
    "tests/plugin/test_universal_interpolation.py",
    "TRAINING": "tests/ranking/test_candidate_lists.py tests/ranking/test_pretrainer.py tests/test_pretraining.py "
    "tests/plugin/test_universal_mlp.py",
    "SEQUENCE": "tests/graph/test_histories.py tests/graph/test_transitions.py tests/graph/test_prefixes.py "
    "tests/graph/test_recent_popularity.py tests/graph/test_sequence_scorers.py tests/features/test_sequence.py "
    "tests/ranking/test_sequence_ranker.py tests/plugin/test_universal_sequential.py tests/app/test_order.py",
    "ENGINES": "tests/graph/test_shards.py tests/app/test_recommendation_parts.py tests/app/test_arrow_lists.py",
    "READING": "tests/io tests/app/test_recommend.py tests/test_bad_input.py",
}


def read_mutants() -> list[Mutant]:
    """The table in the folder of this file."""
    rows = (ROOT / "benchmarks" / "mutations.tsv").read_text(encoding="utf-8").splitlines()[1:]
    found = []
    for row in rows:
        name, file, old, new, tests = row.split("\t")
        found.append(Mutant(name, file, old, new, " ".join(TESTS.get(test, test) for test in tests.split())))
    return found


def problem_of(mutant: Mutant, root: Path) -> str:
    """Empty if the text occurs once in its file; otherwise the problem."""
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
    """The existing files among its tests."""
    return [test for test in mutant.tests.split() if (root / test).exists()]


def judge(mutant: Mutant, root: Path) -> tuple[str, str]:
    """Verdict on a mutant, and the test that kills it or the problem."""
    wrong = problem_of(mutant, root)
    if wrong:
        return "not run", wrong
    file = root / "recbole_universal" / mutant.file
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        # Each file runs in a new process, the fastest first, since most mutants need only one.
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
    parser.add_argument("--texts", action="store_true", help="check only that each text occurs once")
    parser.add_argument("--unmutated", action="store_true", help="run the tests first without a mutant")
    options = parser.parse_args()
    part, n_parts = map(int, options.part.split("/"))
    chosen = [m for m in read_mutants() if not options.only or m.name.startswith(tuple(options.only))][
        part - 1 :: n_parts
    ]
    if options.texts:
        wrong = [(mutant.name, mutant.file, problem_of(mutant, ROOT)) for mutant in chosen]
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
