"""The metadata of the wheel."""

from __future__ import annotations

import ast
import re
import runpy
import sys
import warnings
from pathlib import Path

import pytest
import setuptools

import recbole_universal

ROOT = Path(__file__).parents[1]


@pytest.fixture
def described(monkeypatch) -> dict:
    """Arguments of ``setup()``."""
    if not (ROOT / "setup.py").is_file():
        pytest.skip("setup.py is part of the checkout, not of the wheel")
    found: dict = {}
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: found.update(arguments))
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / "setup.py"))
    return found


def test_the_package_alone_states_the_version(described):
    version = recbole_universal.__version__
    assert described["version"] == version
    assert not any(version in (ROOT / file).read_text() for file in ("setup.py", "pyproject.toml"))


def test_the_description_needs_no_file_of_the_repository(described):
    """PyPI shows it without them."""
    readme, text = (ROOT / "README.md").read_text(encoding="utf-8"), described["long_description"]
    code = re.findall(r"```.*?```", readme, re.DOTALL)
    assert code and re.findall(r"```.*?```", text, re.DOTALL) == code
    targets = re.findall(r"\]\(([^)\s]*)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    assert targets and all(target.startswith(("http", "#")) for target in targets)


def test_the_console_script_can_be_called(described):
    (script,) = described["entry_points"]["console_scripts"]
    name, module, function = re.fullmatch(r"(\S+) = (\S+):(\S+)", script).groups()
    assert name == "recbole-universal"
    assert callable(getattr(__import__(module, fromlist=[function]), function))


def test_imports_are_declared(described):
    """Each import of the package is of the standard library, of a requirement, or of an extra."""
    extras = described["extras_require"]
    required = [described["install_requires"], *extras.values()]
    names = [re.match(r"[\w-]+", one)[0] for requirements in required for one in requirements]
    known = {name.replace("-", "_") for name in names} | {"sklearn", "yaml", "recbole_universal", "__future__"}
    known |= {"ray", "kmeans_pytorch"}  # of RecBole, imported where RecBole asks for them
    for path in Path(recbole_universal.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in (one.partition(".")[0] for one in found):
                assert name in known or name in sys.stdlib_module_names, f"{path.name} imports {name}"


def test_a_deprecation_in_the_package_is_an_error_of_the_tests():
    where = {"category": DeprecationWarning, "filename": "x.py", "lineno": 1}
    with pytest.raises(DeprecationWarning):
        warnings.warn_explicit("old", module="recbole_universal.io.text", **where)
    warnings.warn_explicit("old", module="recbole.data", **where)
