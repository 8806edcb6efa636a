"""Results of benchmarks: one a line of a file, so that a run which is started again goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path


def read_results(file: Path) -> list[dict]:
    """What is there; nothing if there is no file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []


def add_result(file: Path, result: dict) -> None:
    """Write one result at the end of the file, and print it."""
    line = json.dumps(result, default=str)
    with file.open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    print(line, flush=True)
