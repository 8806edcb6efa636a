"""Applies patches: exchanges the code of single RecBole functions when their module is imported."""

from __future__ import annotations

import importlib
import inspect
import sys
import textwrap
import types
import warnings
import weakref
from collections.abc import Callable, Iterable, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from typing import Any

from recbole_universal.plugin.compat import bug_fixes, library_patches
from recbole_universal.plugin.compat.patch import Edit, Patch, PatchReport
from recbole_universal.plugin.compat.versions import recbole_version

#: All patches.
PATCHES = library_patches.PATCHES + bug_fixes.PATCHES

# The patches, and the full names of their modules.
_names: tuple[tuple[Patch, ...], frozenset[str]] = (), frozenset()
# Patch name -> changed function -> whether the text was found in it.
_done: dict[str, dict[str, bool]] = {}
_not_needed: set[str] = set()
# Further actions after the import of a module, by its full name.
_actions: dict[str, list[Callable[[types.ModuleType], None]]] = {}
# Modules whose import had begun without us.
_pending: set[str] = set()
_patched: weakref.WeakSet[types.ModuleType] = weakref.WeakSet()


def apply() -> list[PatchReport]:
    """Patch the imported modules of RecBole now, and the others when they are imported. A second call changes nothing.

    Returns:
        One report per patch, as of now. :func:`applied` gives later ones.
    """
    install(_Finder())
    for name in _modules():
        module = imported(name)
        if module is not None:
            _patch_module(module)
    return applied()


def install(finder: Any) -> None:
    """Put a finder first, in the place of one of the same class, also of another import of this package."""
    kind = type(finder)

    def is_same(other: Any) -> bool:
        return (type(other).__module__, type(other).__qualname__) == (kind.__module__, kind.__qualname__)

    sys.meta_path[:] = [finder, *(other for other in sys.meta_path if not is_same(other))]


def imported(name: str) -> types.ModuleType | None:
    """A module whose import has ended; ``None`` if it is not imported.

    It waits for another thread that imports the module. A module that this thread is importing gets its patches and
    hooks when the next module of RecBole is imported.
    """
    module = sys.modules.get(name)
    if module is not None and _is_initializing(module):
        module = importlib.import_module(name)  # it waits for the other thread
        if _is_initializing(module):
            _pending.add(name)
            return None
    return module


def _is_initializing(module: types.ModuleType) -> bool:
    return bool(getattr(module.__spec__, "_initializing", False))


def applied() -> list[PatchReport]:
    """State of each patch in this process, in the order of :data:`PATCHES`."""
    return [_report(patch) for patch in PATCHES]


def on_import(name: str, action: Callable[[types.ModuleType], None]) -> None:
    """Call ``action`` with a module of RecBole after each import of it, and now if it is imported already."""
    _actions.setdefault(name, []).append(action)
    module = imported(name)
    if module is not None:
        action(module)


def ray_runtime_env() -> dict[str, Any]:
    """Argument ``runtime_env`` for ``ray.init`` when the objective is your own function: workers import the plugin."""
    return {"worker_process_setup_hook": apply}


def _modules() -> frozenset[str]:
    """Full names of all patched modules. The finder asks for them at each import of the process."""
    global _names
    if _names[0] is not PATCHES:
        _names = PATCHES, frozenset(name for patch in PATCHES for name in patch.modules())
    return _names[1]


def _is_needed(patch: Patch) -> bool:
    needed = patch.needed()
    if not needed:
        _not_needed.add(patch.name)
    return needed


def _record(patch: Patch, what: str, found: bool) -> None:
    done = _done.setdefault(patch.name, {})
    if not found and done.get(what, True):
        warnings.warn(
            f"[{what}] of recbole {recbole_version()} does not hold the text that the patch [{patch.name}] changes. "
            f"So this is not fixed: {patch.fixes} python -m recbole_universal doctor lists all patches; install "
            "recbole>=1.2,<1.3.",
            UserWarning,
            stacklevel=2,
        )
    done[what] = done.get(what, True) and found


class _Loader(SourceFileLoader):
    """Loads a RecBole module from source as Python does, and patches it."""

    def get_code(self, fullname: str) -> types.CodeType | None:
        edits = [(p, e) for p in PATCHES for e in p.edits if e.module == fullname and not e.function]
        edits = [(patch, edit) for patch, edit in edits if _is_needed(patch)]
        source = self.get_source(fullname) if edits else None
        if source is None:
            return super().get_code(fullname)
        return compile(_change(source, edits), self.get_filename(fullname), "exec", dont_inherit=True)

    def exec_module(self, module: types.ModuleType) -> None:
        super().exec_module(module)
        _after_import(module)


class _OtherLoader:
    """Another loader of a RecBole module, for example from a zip file, whose source is not changed."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: types.ModuleType) -> None:
        self._loader.exec_module(module)
        for patch in PATCHES:
            if any(e.module == module.__name__ and not e.function for e in patch.edits) and _is_needed(patch):
                _record(patch, module.__name__, False)
        _after_import(module)


class _Finder:
    """Finds the RecBole modules that have patches or hooks, and gives them :class:`_Loader`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        for name in [name for name in _pending if not _is_initializing(sys.modules[name])]:
            _pending.discard(name)
            _after_import(sys.modules[name])
        if fullname not in _actions and fullname not in _modules():
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is None or spec.loader is None:
            return spec
        is_source = type(spec.loader) is SourceFileLoader
        spec.loader = _Loader(spec.loader.name, spec.loader.path) if is_source else _OtherLoader(spec.loader)  # type: ignore[assignment, attr-defined]
        return spec


def _after_import(module: types.ModuleType) -> None:
    _patched.discard(module)  # importlib.reload brings the stock functions back
    _patch_module(module)
    for action in _actions.get(module.__name__, ()):
        action(module)


def _patch_module(module: types.ModuleType) -> None:
    """Apply all patches of an imported module, once."""
    if module in _patched:
        return
    name = module.__name__
    by_function: dict[str, list[tuple[Patch, Edit]]] = {}
    for patch in PATCHES:
        if name not in patch.modules() or not _is_needed(patch):
            continue
        for edit in patch.edits:
            if edit.module == name and edit.function:
                by_function.setdefault(edit.function, []).append((patch, edit))
    for function, edits in by_function.items():
        _edit_function(module, function, edits)
    for patch in PATCHES:
        for _, function in (pair for pair in patch.sent if pair[0] == name):
            _pickle_as_ours(patch, module, function)
    _patched.add(module)


def _pickle_as_ours(patch: Patch, module: types.ModuleType, name: str) -> None:
    """Let a function of RecBole be pickled by the name of this package, in which it is from now on."""
    function = getattr(module, name, None)
    if function is not None:
        function.__module__ = bug_fixes.__name__
        setattr(bug_fixes, name, function)
    _record(patch, f"{module.__name__}.{name}", function is not None)


def _change(source: str, edits: Iterable[tuple[Patch, Edit]]) -> str:
    for patch, edit in edits:
        found = edit.old in source
        _record(patch, f"{edit.module}.{edit.function}" if edit.function else edit.module, found)
        source = source.replace(edit.old, edit.new)
    return source


def _edit_function(module: types.ModuleType, name: str, edits: list[tuple[Patch, Edit]]) -> None:
    """Replace the code of one function by its source with the edits made."""
    try:
        function: Any = module
        for part in name.split("."):
            function = inspect.getattr_static(function, part)
        function = inspect.unwrap(function)
        lines, first = inspect.getsourcelines(function)
    except (AttributeError, OSError, TypeError):
        lines, first = [], 1
    source = "".join(lines)
    changed = _change(source, edits)
    if changed != source:
        function.__code__ = _compile(changed, function, first)


def _compile(source: str, function: types.FunctionType, first: int) -> types.CodeType:
    """Code of one function from its source, with the file name, line numbers and closure of the original."""
    owner = function.__qualname__.rpartition(".")[0]
    if owner:  # inside a class of that name, so that super() and private names compile as they did
        source = f"class {owner}:\n{source}"
    else:
        source = textwrap.dedent(source)
    blank = "\n" * (first - (2 if owner else 1))
    code = compile(blank + source, function.__code__.co_filename, "exec", dont_inherit=True)
    scope = next(part for part in code.co_consts if isinstance(part, types.CodeType)) if owner else code
    return next(
        part
        for part in scope.co_consts
        if isinstance(part, types.CodeType) and part.co_name == function.__code__.co_name
    )


def _report(patch: Patch) -> PatchReport:
    done = _done.get(patch.name, {})
    found = [what for what, was_there in done.items() if was_there]
    missing = [what for what, was_there in done.items() if not was_there]
    if found:
        state = "partly applied" if missing else "applied"
    elif missing:
        state = "not found"
    else:
        state = "not needed" if patch.name in _not_needed else "waiting"
    detail = ", ".join(found) + ("; not found: " + ", ".join(missing) if missing else "")
    rests_on = [f"{e.module}.{e.function}" if e.function else e.module for e in patch.edits]
    rests_on += [f"{module}.{name}" for module, name in patch.sent]
    return PatchReport(
        patch.name, state, patch.fixes, tuple(dict.fromkeys(rests_on)), patch.upstream, detail.lstrip("; ")
    )
