"""Mends RecBole 1.2 for today's NumPy, pandas, SciPy, PyTorch and Python. The only file that does.

How it works. A patch is a list of small changes of text (:class:`Edit`), each inside one RecBole function: the same
one-line change that a pull request to RecBole would make. When the module is imported, the function's own source is
read, the text changed, the function compiled again and its ``__code__`` exchanged. Nothing outside that function sees
a difference: NumPy, PyTorch and SciPy themselves are left as they are, ``torch.load`` keeps its safe default for
everyone but the RecBole calls that are named here. A module that is never imported is never touched, and a text that a
later RecBole release no longer contains is left alone, with a warning.

``apply()`` starts it, ``applied()`` says what was done. Every patch names the RecBole functions it rests on (its
edits), the upstream issues it answers and when it is needed.
"""

from recbole_universal.plugin.compat.engine import PATCHES, applied, apply, on_import, ray_runtime_env
from recbole_universal.plugin.compat.patch import Edit, Patch, PatchReport

__all__ = ["PATCHES", "Edit", "Patch", "PatchReport", "applied", "apply", "on_import", "ray_runtime_env"]
