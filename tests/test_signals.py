"""Signals: one line, the right status, no temporary file."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import duckdb
import pytest

from recbole_universal import files, signals
from recbole_universal.files import atomic_write
from recbole_universal.io.duck import connection

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:  # a shell starts what runs in the background with SIGINT ignored, nohup with SIGHUP
        if before[number] is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("named", [False, True])
def test_a_signal_removes_temporary_files_and_says_one_line(tmp_path, monkeypatch, capsys, number, named):
    if named:
        monkeypatch.setattr(files, "_NAMELESS", None)
    (tmp_path / "a").write_bytes(b"old")
    before = [signal.getsignal(other) for other in SIGNALS]
    with pytest.raises(SystemExit) as stop, signals.one_line_when_stopped("recommend"):
        with atomic_write(tmp_path / "a") as file:
            file.write(b"new")
            os.kill(os.getpid(), number)
            time.sleep(60)  # never to its end
    assert stop.value.code == 128 + number
    assert capsys.readouterr().err == "recommend: stopped.\n"
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"old"
    assert [signal.getsignal(other) for other in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("words", [RuntimeError("Query interrupted"), duckdb.InterruptException("INTERRUPT Error")])
def test_a_signal_while_duckdb_computes(capsys, number, words):
    """DuckDB handles signals itself and raises another error."""
    with pytest.raises(SystemExit) as stop, signals.one_line_when_stopped("recommend"), connection([], "unread"):
        try:
            os.kill(os.getpid(), number)
            time.sleep(60)
        except KeyboardInterrupt:
            raise words from None
    assert stop.value.code == 128 + number
    assert capsys.readouterr().err == "recommend: stopped.\n"


def test_a_signal_that_is_ignored_stays_so(capsys):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    with signals.one_line_when_stopped("recommend"):
        os.kill(os.getpid(), signal.SIGHUP)
    assert capsys.readouterr().err == ""


def test_processes_of_a_run_end_with_it(capsys):
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,), daemon=True)
    child.start()
    with pytest.raises(SystemExit), signals.one_line_when_stopped("run"):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    child.join(60)
    assert child.exitcode == -signal.SIGTERM


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_pytorch_is_imported(tmp_path, number):
    (tmp_path / "torch.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(1000)\n")
    (tmp_path / "recbole.py").write_text("import torch\n")
    paths = [str(tmp_path), *(path for path in sys.path if path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "recbole_universal", "recommend", "x.csv", "--output", "out.csv"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "importing\n"
    process.send_signal(number)
    _, message = process.communicate()
    assert process.returncode == 128 + number
    assert message == "recommend: stopped.\n"


@pytest.mark.parametrize(
    ("words", "argv", "name"),
    [
        (["python", "-m", "recbole_universal", "analyze"], ["-m"], "analyze"),
        (["python", "-m", "recbole_universal"], ["-m"], "recbole_universal"),
        (["python", "./run_recbole_universal.py"], ["./run_recbole_universal.py"], "run_recbole_universal.py"),
        (["python", "-c", "from multiprocessing.spawn import spawn_main"], ["./run_recbole_universal.py"], None),
        (["python", "/bin/recbole-universal", "doctor"], ["/bin/recbole-universal", "doctor"], "doctor"),
        (["python", "recbole-universal.exe"], ["recbole-universal.exe"], "recbole-universal"),
        (["python", "-c", "from multiprocessing.spawn import spawn_main"], ["/bin/recbole-universal"], None),
        (["python", "-m", "pytest", "recbole_universal"], ["-m"], None),
        (["python", "mine.py"], ["mine.py"], None),
        (["python"], [""], None),
    ],
)
def test_only_commands_of_the_package_change_signals(monkeypatch, words, argv, name):
    monkeypatch.setattr(sys, "orig_argv", words)
    monkeypatch.setattr(sys, "argv", argv)
    assert signals._command() == name
    before = [signal.getsignal(number) for number in SIGNALS]
    signals.stop_while_importing()
    changed = [signal.getsignal(number) for number in SIGNALS]
    assert (changed == before) == (name is None)
    signals.default_signals()  # before a script of the user
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["python", "-X", "utf8", "-m", "recbole_universal", "doctor"], "doctor"),
        (["python", "-W", "ignore", "-m", "recbole_universal"], "recbole_universal"),
        (["python", "my.py", "-m", "recbole_universal"], None),
        (["python", "-c", "import recbole_universal", "-m", "recbole_universal"], None),
        (["python", "-m", "pytest", "-m", "recbole_universal"], None),
    ],
)
def test_another_program_keeps_its_signals(monkeypatch, words, command):
    monkeypatch.setattr(sys, "orig_argv", words)
    monkeypatch.setattr(sys, "argv", ["my.py"])
    assert signals._command() == command
