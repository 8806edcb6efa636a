"""The docs do what they say: snippets run and print what stands below them, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list:
    found = []
    for page in PAGES:
        codes = re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        found += [pytest.param(code, id=f"{page.stem}-{k}") for k, code in enumerate(codes)]
    return found


@pytest.mark.parametrize("code", blocks("python"))
def test_snippets_run_and_print_what_stands_below(code, tmp_path, capsys):
    if '"ml-100k"' in code:  # minutes of training; tests/plugin/test_registration.py runs these ways in on small data
        compile(code, "snippet", "exec")
        return
    # Three groups of users, each of which likes most of a third of the items.
    pairs = [(user, item) for user in range(40) for item in range(30)]
    likes = [(user, item) for user, item in pairs if (user + item) % 3 == 0 and (user + 1) * item % 5]
    interactions = pd.DataFrame(likes, columns=["user", "item"])
    interactions["user"] = [{0: "alice", 1: "bob"}.get(user, str(user)) for user in interactions["user"]]
    interactions.to_csv("ratings.csv", index=False)
    if "parquet" in code:
        pytest.importorskip("pyarrow")
        interactions.to_parquet(tmp_path / "ratings.parquet")
    exec(compile(code, "snippet", "exec"), {"interactions": interactions})
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert printed == [line.removeprefix("# ") for line in code.splitlines() if line.startswith("# ")]


@pytest.mark.parametrize("code", blocks("yaml"))
def test_configurations_can_be_read(code):
    assert isinstance(yaml.safe_load(code), dict)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_name_files_that_exist(page):
    for script in re.findall(r"(?:benchmarks|properties)/[\w/.]+\.(?:py|yaml)", page.read_text(encoding="utf-8")):
        assert (ROOT / script).exists(), f"{page.name}: {script}"
