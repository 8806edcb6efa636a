"""Fresh processes by fork, since PyTorch and RecBole take seconds to import.

One process imports the plugin, does nothing else, and forks for each command. The code of a test finds the plugin
imported there, and no effect of another test. Processes that start others by "spawn" need a ``subprocess`` instead.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PLUGIN = "import recbole_universal"
_SERVER = """
import atexit, json, os, runpy, sys, traceback
PREAMBLE
import torch._dynamo  # which the first optimizer imports, in a second

def run(kind, what, arguments):
    sys.argv = [what if kind == "script" else kind, *arguments]
    if kind == "-m":
        sys.path[0] = os.getcwd()
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.path[0] = ""
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(what))
        runpy.run_path(what, run_name="__main__")

def child(task):
    for stream, file in ((1, task["stdout"]), (2, task["stderr"])):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(task["cwd"])
    code = 0
    try:
        run(task["kind"], task["what"], task["arguments"])
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

print("ready", flush=True)
for line in sys.stdin:
    process = os.fork()
    if not process:
        child(json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""
#: Code after which RecBole's processes are forks of this one, which need no import; with "spawn" each imports all anew.
PROCESSES_FORK = """
import torch.multiprocessing
_start = torch.multiprocessing.start_processes
torch.multiprocessing.spawn = lambda *args, **settings: _start(*args, **settings, start_method="fork")
"""
_servers: dict[str, subprocess.Popen] = {}


def run(*command: str | Path, cwd: str | Path | None = None, preamble: str = PLUGIN) -> subprocess.CompletedProcess:
    """Run ``python COMMAND`` in a new process that has run ``preamble``.

    Args:
        *command: ``-c`` and code, ``-m`` and a module, or a script; then arguments.
        cwd: folder to run in; ``None``: the present one.
        preamble: code that runs once for all commands, before them.
    """
    words = list(map(str, command))
    if not hasattr(os, "fork"):
        raise RuntimeError("needs a system that forks")
    kind, what, arguments = (
        (words[0], words[1], words[2:]) if words[0] in ("-c", "-m") else ("script", words[0], words[1:])
    )
    if preamble not in _servers:
        code = _SERVER.replace("PREAMBLE", preamble)
        _servers[preamble] = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert _servers[preamble].stdout.readline() == "ready\n"
    server = _servers[preamble]
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "stdout", Path(folder) / "stderr"
        task = {"kind": kind, "what": what, "arguments": arguments, "stdout": str(out), "stderr": str(err)}
        server.stdin.write(json.dumps({**task, "cwd": str(cwd or os.getcwd())}) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())
