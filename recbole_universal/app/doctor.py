"""The report of the command ``doctor``: installed versions, patches of RecBole, and a self-test of ten seconds."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import platform
import sys
import time

LIBRARIES = (
    "recbole",
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "safetensors",
    "pyarrow",
)


def report() -> int:
    """Print the report.

    Returns:
        0, or 1 if the self-test failed.
    """
    print(f"Python {platform.python_version()} on {platform.platform()}, {sys.executable}")
    for name in ("recbole-universal", *LIBRARIES):
        print(f"  {name:20} {_version(name)}")
    import torch

    from recbole_universal.checkpoint import load_pretrained, shipped
    from recbole_universal.plugin import compat

    devices = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    print(f"Devices: cpu ({torch.get_num_threads()} threads)" + "".join(f", cuda ({name})" for name in devices))
    for module in sorted(set().union(*(patch.modules() for patch in compat.PATCHES))):
        with contextlib.suppress(ImportError):  # a model may need a library that is not installed
            importlib.import_module(module)
    print("Patches of RecBole (details: recbole_universal/plugin/compat):")
    for patch in compat.applied():
        issues = f" ({', '.join(patch.upstream)})" if patch.upstream else ""
        detail = f" [{patch.detail}]" if "not found" in patch.detail else ""
        print(f"  {patch.name}, {patch.state}: {patch.fixes}{issues}{detail}")
    print("Shipped models:")
    for name in shipped():
        print(f"  {name}: {len(load_pretrained(name).card['sources'])} sources")
    return _self_test()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _self_test() -> int:
    """Rank a small matrix with two communities. All users should get items of their community."""
    import numpy as np
    import scipy.sparse as sp

    from recbole_universal import UniversalRanker

    start = time.perf_counter()
    rng = np.random.default_rng(0)
    community = rng.integers(0, 2, 200)
    likes = rng.random((200, 60)) < np.where(community[:, None] == np.arange(60) % 2, 0.3, 0.02)
    items, _ = UniversalRanker(sp.csr_matrix(likes.astype(np.float32))).top_k(np.arange(200), 5)
    share = float((items % 2 == community[:, None]).mean())
    passed = share > 0.95
    outcome = "passed" if passed else "FAILED"
    print(f"Self-test: {share:.0%} of recommended items are of the user's community: {outcome}", end=" ")
    print(f"({time.perf_counter() - start:.1f} s)")
    return 0 if passed else 1
