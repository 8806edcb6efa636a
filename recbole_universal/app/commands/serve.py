"""The command ``serve``."""

from __future__ import annotations

import argparse
import importlib.util
import ipaddress
import tempfile
from pathlib import Path

from recbole_universal.app.commands import fitted

SUMMARY = "answer requests over HTTP from folders that fit wrote, with a page to try"
DESCRIPTION = """Answer requests over HTTP from folders that fit wrote. The first folder is the default
model, and its subfolder [appended] takes new interactions. A page to try the lists is at /.
The environment variable RECBOLE_UNIVERSAL_TOKEN holds the token that requests need."""
EXAMPLES = """examples:
  {program} shop
  {program} shop other --items items.csv --workers 2
  RECBOLE_UNIVERSAL_TOKEN=secret {program} shop --host 0.0.0.0
"""
TAKES_KEYS = False
# Seconds without an answer after which a worker is replaced. A worker is silent while it loads libraries.
_PATIENCE = 120


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("folders", nargs="+", metavar="FOLDER", help="folder that fit wrote; its last part is the name of the model")
    add("--items", metavar="FILE", help="item table, with titles and columns for rules (default: that of fit)")
    add("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, this machine alone)")
    add("--port", type=int, default=8000, help="port to listen at (default: 8000)")
    add("--workers", type=int, default=1, metavar="N", help="worker processes, which share the files (default: 1)")
    add("--fast", action="store_true", help="rank by the item-item matrix: less time, less accurate")


def run(options: argparse.Namespace, _: list[str]) -> int:
    """Serve until a signal comes; returns the exit status."""
    return fitted.explained(options, _serve)


def _serve(options: argparse.Namespace) -> None:
    if any(importlib.util.find_spec(name) is None for name in ("fastapi", "uvicorn")):
        raise ImportError("needs FastAPI and uvicorn: pip install 'recbole-universal[serve]'.")
    import uvicorn

    from recbole_universal.app.service.models import model_names
    from recbole_universal.app.service.settings import TOKEN, ServiceSettings, token

    for name, least, most in (("workers", 1, 256), ("port", 1, 65535)):
        if not least <= getattr(options, name) <= most:
            raise ValueError(f"--{name}: must be from {least} to {most}, got {getattr(options, name)}.")
    if not token() and not _is_loopback(options.host):
        raise ValueError(
            f"--host: [{options.host}] can be reached from other machines, so set a token in the environment variable "
            f"{TOKEN}, or leave --host out."
        )
    _check(options)
    with tempfile.TemporaryDirectory(prefix="recbole_universal-") as folder:
        settings = ServiceSettings(
            folders=tuple(options.folders),
            items=options.items,
            fast=options.fast,
            counters=str(Path(folder) / "counters"),
            workers=options.workers,
        )
        settings.to_environment()
        names = ", ".join(model_names(settings.folders))
        print(f"Serving {names} at http://{_in_address(options.host)}:{options.port} (stop with Ctrl-C).", flush=True)
        uvicorn.run(
            "recbole_universal.app.service.app:from_environment",
            factory=True,
            host=options.host,
            port=options.port,
            workers=options.workers,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_worker_healthcheck=_PATIENCE,
        )


def _check(options: argparse.Namespace) -> None:
    """Read all files once and make the database, so that an error is said before a worker starts."""
    from recbole_universal.app.service.appended import AppendedInteractions
    from recbole_universal.app.service.models import loaded_state, model_names

    model_names(tuple(options.folders))
    for folder in options.folders:
        loaded_state(folder, options.items)
    AppendedInteractions(options.folders[0]).close()  # workers that make it at the same time could lock each other out


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host
