"""A patch, and a report on its state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """One change of text inside one RecBole function.

    Attributes:
        module: Full name of the RecBole module.
        function: ``function`` or ``Class.method``; empty for the top level of the module, which can only be changed
            while the module has not been imported yet.
        old: The text of RecBole 1.2.0 and 1.2.1. Every occurrence in the function is replaced.
        new: The new text. It has as many lines as ``old``, so that line numbers in tracebacks stay right.
    """

    module: str
    function: str
    old: str
    new: str


@dataclass(frozen=True)
class Patch:
    """A named group of edits that fixes one thing.

    Attributes:
        name: Short name, unique.
        fixes: The fault without the patch, and where it occurs.
        upstream: Issues of github.com/RUCAIBox/RecBole that report the fault.
        edits: The changes.
        needed: Whether the installed libraries need it. Asked when a module of the patch is imported.
        sent: Full names of RecBole functions that are sent to other processes, as ``(module, name)``. They are pickled
            as functions of this package.
    """

    name: str
    fixes: str
    upstream: tuple[str, ...]
    edits: tuple[Edit, ...] = ()
    needed: Callable[[], bool] = lambda: True
    sent: tuple[tuple[str, str], ...] = ()

    def modules(self) -> set[str]:
        """Full names of the RecBole modules that the patch changes."""
        return {edit.module for edit in self.edits} | {module for module, _ in self.sent}


@dataclass(frozen=True)
class PatchReport:
    """State of one patch in this process.

    Attributes:
        name: The patch's name.
        state: ``applied``; ``partly applied`` (some texts were not found); ``waiting`` (none of its modules is imported
            yet); ``not needed`` (with the installed libraries); ``not found`` (this RecBole release has another text
            there, or its source cannot be read).
        fixes: As :attr:`Patch.fixes`.
        rests_on: The RecBole functions it rests on.
        upstream: The upstream issues it answers.
        detail: Functions changed so far, and texts that were not found.
    """

    name: str
    state: str
    fixes: str
    rests_on: tuple[str, ...]
    upstream: tuple[str, ...]
    detail: str
