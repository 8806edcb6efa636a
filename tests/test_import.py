"""The import of the package: its time, its order, and a core without RecBole."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import recbole_universal

PACKAGE = Path(recbole_universal.__file__).parent
CORE = ("io", "graph", "content", "sequential", "features", "ranking")
CORE_FILES = ("arguments", "array_store", "checkpoint", "files", "metrics", "model_json", "signals")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_alone_loads_nothing_large():
    """Without these libraries the import takes less than half a second."""
    loaded = python(
        """
        import sys
        import recbole_universal
        print(*sorted({name.partition(".")[0] for name in sys.modules}))
        """
    ).split()
    assert not {"recbole", "torch", "numpy", "pandas", "scipy", "sklearn", "duckdb", "ray", "yaml"} & set(loaded)


def test_the_core_works_without_recbole():
    names = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for room in CORE
        for path in sorted((PACKAGE / room).rglob("*.py"))
        if path.name not in ("__init__.py", "compiled_sums.py")  # which needs Numba, and is imported where that is
    ]
    names += [f"recbole_universal.{room}" for room in (*CORE, *CORE_FILES)]
    python(
        f"""
        import importlib, sys
        for name in ("recbole", "ray", "plotly", "torch_geometric"):
            sys.modules[name] = None  # importing it is an error
        for name in {names!r}:
            importlib.import_module(name)
        import numpy as np
        import scipy.sparse as sp
        from recbole_universal import UniversalRanker, recommend
        matrix = sp.csr_matrix((np.random.default_rng(0).random((30, 20)) < 0.3).astype(np.float32))
        items, _ = UniversalRanker(matrix, cache_dir=None).top_k(np.arange(30), 5)
        assert (items[:, 0] >= 0).all()
        import tempfile
        from recbole_universal import FeaturePipeline
        from recbole_universal.ranking.candidate_lists import CandidateLists, make_candidate_lists
        from recbole_universal.ranking.network import UniversalNetwork
        from recbole_universal.ranking.pretraining import Pretrainer
        pipeline = FeaturePipeline(["activity"])
        lists = CandidateLists(make_candidate_lists(matrix, pipeline, 20, 0.5, seed=0))
        network = UniversalNetwork(pipeline.dims, [4], 4, 0.0, "concatenation")
        settings = dict(seed=0, learning_rate=0.01, epochs=2, stopping_step=2, batch_size=8)
        with tempfile.TemporaryDirectory() as folder:
            assert Pretrainer(network, folder, **settings).fit(lists, {{"held-out": lists}})["held-out"] > 0
        import pandas as pd
        users, items = matrix.nonzero()
        assert len(recommend(pd.DataFrame({{"user_id": users, "item_id": items}}), top_k=3)) > 80
        """
    )


def test_arrows_between_rooms_point_one_way():
    """Each room imports only earlier rooms."""
    order = ["io", "graph", "content", "sequential", "features", "ranking", "plugin", "app"]
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0]
        if room not in order:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                other = name.split(".")[1] if name.startswith("recbole_universal.") else room
                if other in order:
                    assert order.index(other) <= order.index(room), f"{path.name} imports {name}"


def test_no_circle_of_imports():
    files = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }
    imports, modules = {}, set(files)
    for name, path in files.items():
        found = set()
        for node in ast.parse(path.read_text()).body:  # imports inside functions run later
            if isinstance(node, ast.ImportFrom):
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= names & modules or {node.module or ""}
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
        imports[name] = found
    edges = {name: found & modules for name, found in imports.items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for other in edges[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in edges:
        visit(name, ())


@pytest.mark.parametrize("first", ["import recbole_universal", "from recbole.data import create_dataset"])
def test_it_registers_whichever_comes_first(first):
    second = (
        "from recbole.data import create_dataset" if first == "import recbole_universal" else "import recbole_universal"
    )
    out = python(
        f"""
        import sys
        sys.argv = ["x"]
        {first}
        {second}
        from recbole.config import Config
        config = Config("FM", "ml-100k", config_dict={{
            "universal_features": ["activity"], "numerical_features": ["user_activity"], "show_progress": False,
        }})
        from recbole.utils import init_seed
        init_seed(2020, True)
        dataset = create_dataset(config)
        print("user_activity" in dataset.field2type)
        """
    )
    assert out.split()[-1] == "True"


HOOKED = """
from recbole.config import Config
from recbole.data.utils import create_dataset
from recbole.utils import get_model, get_trainer
assert get_model("UniversalMLP").__name__ == "UniversalMLP"
config = Config("FM", "ml-100k", config_dict={"universal_features": ["activity"], "show_progress": False})
assert "user_activity" in create_dataset(config).field2type
"""


def test_it_waits_for_a_thread_that_imports_recbole():
    python(
        """
        import sys, threading, time
        sys.argv = ["x"]
        thread = threading.Thread(target=lambda: __import__("recbole.data"))
        thread.start()
        while "recbole.data.utils" not in sys.modules:
            time.sleep(0.0005)
        import recbole_universal
        thread.join()
        """
        + textwrap.indent(HOOKED, " " * 8)
    )


def test_it_may_be_imported_amid_an_import_of_recbole():
    python(
        """
        import builtins, sys
        sys.argv = ["x"]
        stock = builtins.__import__

        def import_amid(name, *rest):
            if name.startswith("recbole.data.interaction"):
                builtins.__import__ = stock
                import recbole_universal
            return stock(name, *rest)

        builtins.__import__ = import_amid
        import recbole.data.utils
        """
        + textwrap.indent(HOOKED, " " * 8)
    )


def test_the_package_can_be_imported_again():
    python(
        """
        import sys
        sys.argv = ["x"]
        import recbole_universal
        import recbole.data, recbole.config
        for name in [name for name in sys.modules if name.split(".")[0] == "recbole_universal"]:
            del sys.modules[name]
        import recbole_universal
        finders = [type(finder).__qualname__ for finder in sys.meta_path]
        assert finders.count("_Finder") == finders.count("_ModelFinder") == 1
        """
        + textwrap.indent(HOOKED, " " * 8)
    )


def test_recbole_may_come_from_another_finder():
    python(
        """
        import importlib.machinery, sys, types, warnings
        sys.argv = ["x"]

        class Other:
            @staticmethod
            def find_spec(name, path=None, target=None):
                spec = importlib.machinery.PathFinder.find_spec(name, path, target)
                if name.split(".")[0] == "recbole" and spec is not None:
                    spec.loader = type("Loader", (type(spec.loader),), {})(name, spec.origin)
                return spec

        sys.meta_path.insert(sys.meta_path.index(importlib.machinery.PathFinder), Other)
        sys.modules["ray"] = types.ModuleType("ray")  # an old one cannot be imported with a new setuptools
        sys.modules["ray"].tune = sys.modules["ray.tune"] = types.ModuleType("ray.tune")
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            import recbole_universal, recbole.quick_start
        assert any("patch [ray]" in str(each.message) for each in warned)
        """
        + textwrap.indent(HOOKED, " " * 8)
    )
