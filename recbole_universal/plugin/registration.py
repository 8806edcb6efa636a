"""Makes the plugin visible to stock RecBole, module by module, as RecBole is imported.

Every place where the plugin meets RecBole 1.2, and why it is needed, with RecBole's issues about it:

=====================================  =====================================================  =========================
RecBole                                what it does                                           answers
=====================================  =====================================================  =========================
``utils.get_model``                    looks a model up as the module                         RecBole has no entry
                                       ``recbole.model.<kind>.<name in lower case>``          points: #489, #1975
``utils.get_trainer``                  prefers ``<Model>Trainer`` on ``recbole.trainer``      zero-shot has no epoch to
                                                                                              train
``data.utils.create_dataset``          chooses the dataset class by model                     float columns without
                                                                                              writing a model: #1150,
                                                                                              #1306, #2043
``data.utils.get_dataloader``          chooses the loader by model                            candidate lists are no
                                                                                              pairs
``data.utils.create_samplers``         refuses users who interacted with all items            a run may draw no
                                                                                              negative items
``data.transform.construct_transform`` knows a closed list of names                           one open slot for the
                                                                                              whole process
                                                                                              (``user_defined``)
``Config._update_internal_...``        reads the stock yaml files, ``overall.yaml`` first     keys without a default are
                                                                                              ``None``
``Config._load_internal_...``,         model and defaults                                     a wrapped model keeps its
``Config._get_model_and_dataset``                                                             own defaults and kind
``Config._convert_config_dict``        evaluates every text                                   a name or a path is no
                                                                                              Python code
``Config._get_final_config_dict``      merges all settings                                    RecBole takes any key and
                                                                                              any value
``utils.argument_list``                ``dataset_arguments``: whether a saved dataset fits    a changed key would load
                                                                                              the old dataset
=====================================  =====================================================  =========================

A hook exchanges the code of RecBole's function in place, so it does not matter whether a name was imported before this
package or after it. ``get_model`` is no hook: it finds our modules by import. ``get_trainer`` finds our names in
``recbole.trainer``. The list ``dataset_arguments`` gets further keys. With no universal key set, a config only holds
our keys with their defaults in addition. This file imports no RecBole: the module of our function is imported when
RecBole first calls it. The patches of RecBole's bugs are in :mod:`recbole_universal.plugin.compat`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import types
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from typing import Any

from recbole_universal.plugin import compat

_HERE = __package__

#: RecBole's functions, and our module that replaces each. Our function has the same name without a leading underscore,
#: and gets RecBole's own function as its first argument ``stock``.
HOOKS = {
    "recbole.config.configurator": (
        "config_hooks",
        (
            "Config._update_internal_config_dict",
            "Config._load_internal_config_dict",
            "Config._convert_config_dict",
            "Config._get_model_and_dataset",
            "Config._get_final_config_dict",
        ),
    ),
    "recbole.data.utils": ("dataset_hooks", ("create_dataset", "get_dataloader", "create_samplers")),
    "recbole.data.transform": ("dataset_hooks", ("construct_transform",)),
}
#: Names that RecBole looks up in its modules, and our module and name for each.
NAMES = {
    "recbole.trainer": {
        "UniversalMLPTrainer": ("mlp_trainer", "UniversalMLPTrainer"),
        "UniversalSequentialTrainer": ("mlp_trainer", "UniversalMLPTrainer"),
        "UniversalSASRecTrainer": ("sasrec_trainer", "UniversalSASRecTrainer"),
        "UniversalInterpolationTrainer": ("interpolation_trainer", "make_interpolation_trainer"),
    },
    "recbole.data.dataset": {
        "UniversalMLPDataset": ("dataset", "UniversalDataset"),
        "UniversalSequentialDataset": ("dataset", "UniversalSequentialDataset"),
    },
}
#: Modules that RecBole looks up, and our module and class for each. General recommenders are searched first; after the
#: last kind RecBole reports an unrelated import error.
MODELS = {
    "recbole.model.general_recommender.universalmlp": ("universal_mlp", "UniversalMLP"),
    "recbole.model.general_recommender.universalsequential": ("universal_sequential", "UniversalSequential"),
    "recbole.model.general_recommender.universalsasrec": ("universal_sasrec", "UniversalSASRec"),
    "recbole.model.general_recommender.universalinterpolation": ("universal_interpolation", "UniversalInterpolation"),
}


_is_registered = False


def register() -> None:
    """Register the plugin with the imported modules of RecBole, and with the others when they are imported.

    Calling it again does nothing.
    """
    global _is_registered
    compat.apply()
    if _is_registered:
        return
    compat.install(_ModelFinder())
    for module in HOOKS:
        compat.on_import(module, _hook)
    for module in NAMES:
        compat.on_import(module, _add_names)
    _is_registered = True


class _ModelFinder:
    """Finds the plugin's models under the names of modules that RecBole looks for."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in MODELS:
            return None
        module, _ = MODELS[fullname]
        return importlib.util.spec_from_loader(fullname, self, origin=f"{_HERE}.{module}")  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Python makes an empty module."""

    def exec_module(self, module: types.ModuleType) -> None:
        ours, name = MODELS[module.__name__]
        setattr(module, name, _import_ours(ours, name))


def _import_ours(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"{_HERE}.{module}"), name)


def _add_names(module: types.ModuleType) -> None:
    names = NAMES[module.__name__]

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        return _import_ours(*names[name])

    module.__getattr__ = find  # type: ignore[method-assign]


#: The stock code of each RecBole function that is hooked, as a function, and the module of ours, by its full name.
STOCK_FUNCTIONS: dict[str, tuple[Callable, str]] = {}


def call_hook(name: str, *args: Any, **kwargs: Any) -> Any:
    """Call our function in place of RecBole's of that full name."""
    stock, module = STOCK_FUNCTIONS[name]
    return _import_ours(module, stock.__name__.lstrip("_"))(stock, *args, **kwargs)


def _hook(module: types.ModuleType) -> None:
    ours, functions = HOOKS[module.__name__]
    for path in functions:
        try:
            function: Any = functools.reduce(getattr, path.split("."), module)
        except AttributeError:
            raise ImportError(
                f"recbole_universal cannot be used with this release of RecBole: [{module.__name__}] has no {path}. "
                "Install recbole>=1.2,<1.3."
            ) from None
        _replace_code(function, ours)


def _replace_code(function: types.FunctionType, module: str) -> None:
    """Make a RecBole function call the function of ours that has its name. ``stock`` keeps the code of RecBole."""
    name = f"{function.__module__}.{function.__qualname__}"
    stock = getattr(function, "__wrapped__", None)  # the code is ours already if this package was imported before
    if stock is None:
        stock = types.FunctionType(
            function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
        )
        stock.__kwdefaults__ = function.__kwdefaults__
    STOCK_FUNCTIONS[name] = stock, module
    source = (
        f"def {function.__name__}(*args, **kwargs):\n"
        f"    from {__name__} import call_hook\n"
        f"    return call_hook({name!r}, *args, **kwargs)\n"
    )
    code = compile(source, f"<{__name__}: {name}>", "exec", dont_inherit=True)
    function.__wrapped__ = stock  # type: ignore[attr-defined]  # so that inspect shows RecBole's signature and source
    function.__code__ = next(constant for constant in code.co_consts if isinstance(constant, types.CodeType))
