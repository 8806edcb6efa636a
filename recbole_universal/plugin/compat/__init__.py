"""Patches of RecBole 1.2: for new versions of NumPy, pandas, SciPy, PyTorch and Python, and for bugs of RecBole.

A patch is a list of small changes of text (:class:`Edit`), each inside one RecBole function. Each is the one-line
change that a pull request to RecBole would make. When RecBole's module is imported, the engine reads the source of the
function, changes the text, compiles the function again and exchanges its ``__code__``. Nothing outside that function
changes: NumPy, PyTorch and SciPy stay as they are, and ``torch.load`` keeps its safe default for all calls but the
RecBole calls that are named here. If a later RecBole release no longer contains the text of a needed patch, a warning
says so.

``apply()`` starts the patches, ``applied()`` reports on them. Each patch names the RecBole functions that it changes
(its edits), the upstream issues, and when it is needed.
"""

from recbole_universal.plugin.compat.engine import PATCHES, applied, apply, install, on_import, ray_runtime_env
from recbole_universal.plugin.compat.patch import Edit, Patch, PatchReport

__all__ = ["PATCHES", "Edit", "Patch", "PatchReport", "applied", "apply", "install", "on_import", "ray_runtime_env"]
