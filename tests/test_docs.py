"""The docs are correct: snippets run and print the shown output, link targets and config keys exist."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from recbole_universal import recommend

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FILES_OF_A_READER = re.compile(r"# (\w+\.py)\n")


def likes() -> list[tuple[int, int]]:
    """Three groups of users, each of which likes most of a third of the items; each user lacks a fifth of these."""
    pairs = [(user, item) for user in range(40) for item in range(30)]
    return [(user, item) for user, item in pairs if (user + item) % 3 == 0 and (user + item) % 5]


def blocks(language: str) -> list:
    found = []
    for page in PAGES:
        codes = re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        found += [pytest.param(code, id=f"{page.stem}-{k}") for k, code in enumerate(codes)]
    return found


def shown_output(code: str) -> list[str]:
    """The comment lines of a snippet with its output; the first line may name a file."""
    lines = FILES_OF_A_READER.sub("", code, count=1).splitlines()
    return [line.removeprefix("# ") for line in lines if line.startswith("# ")]


@pytest.mark.parametrize("code", [block for block in blocks("python") if not FILES_OF_A_READER.match(block.values[0])])
def test_snippets_run_and_print_the_shown_output(code, tmp_path, capsys):
    if '"ml-100k"' in code:  # minutes of training; tests/plugin/test_registration.py runs these ways in on small data
        compile(code, "snippet", "exec")
        return
    if "pyspark" in code or "recommend_on_ray" in code:  # tests/app/test_ray.py and test_arrow_lists.py start engines
        compile(code, "snippet", "exec")
        return
    interactions = pd.DataFrame(likes(), columns=["user", "item"])
    interactions["user"] = [{0: "alice", 1: "bob"}.get(user, str(user)) for user in interactions["user"]]
    interactions.to_csv("ratings.csv", index=False)
    if "parquet" in code:
        pytest.importorskip("pyarrow")
        interactions.to_parquet(tmp_path / "ratings.parquet")
    exec(compile(code, "snippet", "exec"), {"interactions": interactions})
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == shown_output(code)


def test_a_family_from_a_file_of_the_reader(tmp_path):
    """Each file of docs/extend.md runs in a fresh process, since a family is registered in one process."""
    text = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
    files = {FILES_OF_A_READER.match(code)[1]: code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)}
    assert list(files) == ["mainstream.py", "features.py", "train.py", "load.py"]
    rows = "".join(f"{user}\t{item}\n" for user, item in likes())
    (tmp_path / "dataset" / "shop").mkdir(parents=True)
    (tmp_path / "dataset" / "shop" / "shop.inter").write_text(f"user_id:token\titem_id:token\n{rows}")
    for name, code in files.items():
        (tmp_path / name).write_text(code)
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        done = subprocess.run(
            [sys.executable, name], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-len(shown_output(code)) or None :] == shown_output(code), name


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial_shop.md"])
def test_recommendations_that_a_page_shows(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    shown = re.search(r"<!-- output: recs\.csv -->\n```text\n(.*?)```", text, re.DOTALL)[1].splitlines()
    top_k = int(re.search(r"recommend docs/orders\.csv --top-k (\d+)", text)[1])
    recs = recommend(ROOT / "docs" / "orders.csv", top_k=top_k, show_progress=False)
    assert shown[0].split(",") == list(recs)
    shown_rows = [line.split(",") for line in shown[1:]]
    assert [[row[0], row[1], int(row[3])] for row in shown_rows] == recs[
        ["customer", "product", "rank"]
    ].values.tolist()
    assert [float(row[2]) for row in shown_rows] == pytest.approx(recs["score"], abs=1e-3)


def test_every_config_key_is_explained():
    """``docs/config.md`` has each key of ``properties/`` with its section, and no other."""
    text = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))
    rows = {name: set(re.findall(r"`(\w+)`", " ".join(cells(part)))) for name, part in sections.items()}
    files = {"For every model": "overall_universal", "UniversalMLP": "model/UniversalMLP"}
    files["UniversalSASRec"] = "model/UniversalSASRec"
    files["UniversalInterpolation"] = "model/UniversalInterpolation"
    for section, file in files.items():
        keys = set(yaml.safe_load((ROOT / "properties" / f"{file}.yaml").read_text(encoding="utf-8")))
        assert keys <= set(re.findall(r"`(\w+)`", sections[section])), section
        assert rows[section] <= keys | {"transform"}, section


def cells(part: str) -> list[str]:
    """The first cell of each row of the tables."""
    return re.findall(r"^\| (`.*?) \|", part, re.MULTILINE)


@pytest.mark.parametrize("code", blocks("yaml"))
def test_configurations_can_be_read(code):
    assert isinstance(yaml.safe_load(code), dict)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_link_targets_exist(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", text):
        if target.startswith(("http:", "https:")):
            continue
        file = page.parent / target if target else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page.name}: {target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_name_files_that_exist(page):
    for script in re.findall(r"(?:benchmarks|properties)/[\w/.]+\.(?:py|yaml)", page.read_text(encoding="utf-8")):
        assert (ROOT / script).exists(), f"{page.name}: {script}"


def test_every_page_is_in_the_navigation():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    entries = re.findall(r"[\w]+\.md", str(nav))
    assert sorted(entries) == sorted(page.name for page in PAGES[1:])


@pytest.fixture
def hooks():
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "theme" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_roles_of_docstrings_become_code(hooks):
    html = "<p>See :meth:<code>top_k</code>, :class:`~a.B` and :data: of <code>:ref:</code>.</p>"
    shown = "<p>See <code>top_k</code>, <code>a.B</code> and :data: of <code>:ref:</code>.</p>"
    assert hooks.on_page_content(html) == shown


def test_code_in_tables_may_break_after_an_underscore(hooks):
    html = "<td><code>a_b/c</code></td><p><code>a_b</code></p>"
    assert hooks.on_page_content(html) == "<td><code>a_<wbr>b/<wbr>c</code></td><p><code>a_b</code></p>"


def test_plots_of_the_site_read_plotly_from_the_site(hooks, tmp_path):
    plots = sorted((ROOT / "docs").glob("*.html"))
    assert plots
    for plot in plots:
        (tmp_path / plot.name).write_text(plot.read_text(encoding="utf-8"), encoding="utf-8")
    hooks.on_post_build({"site_dir": str(tmp_path)})
    assert (tmp_path / "plotly.min.js").stat().st_size > 10**6
    for plot in plots:
        text = (tmp_path / plot.name).read_text(encoding="utf-8")
        assert 'src="plotly.min.js"' in text and not re.search(r"""(?:src|href)=["']https?:""", text), plot.name
