"""atomic_write: the old file or the new one, for nobody else's eyes, and nothing beside it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys

import pytest

from recbole_universal import files
from recbole_universal.files import atomic_write


@pytest.fixture(params=["nameless", "named"])
def temporary_kind(request, monkeypatch):
    if request.param == "named":
        monkeypatch.setattr(files, "_NAMELESS", None)
    return request.param


def mode(path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.mark.usefixtures("temporary_kind")
def test_the_file_is_replaced_whole_and_nothing_is_left(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.usefixtures("temporary_kind")
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(error), atomic_write(path) as file:
        file.write(b"new")
        raise error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.usefixtures("temporary_kind")
def test_permissions_are_the_umask_s_or_the_old_file_s(tmp_path):
    old = os.umask(0o077)
    try:
        with atomic_write(tmp_path / "new") as file:
            file.write(b"x")
    finally:
        os.umask(old)
    assert mode(tmp_path / "new") == 0o600
    (tmp_path / "mine").write_bytes(b"x")
    for permissions in (0o600, 0o640, 0o664):
        os.chmod(tmp_path / "mine", permissions)
        with atomic_write(tmp_path / "mine") as file:
            file.write(b"y")
        assert mode(tmp_path / "mine") == permissions


def test_a_write_protected_file_is_kept(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    os.chmod(path, 0o444)
    with pytest.raises(PermissionError, match="write-protected"), atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"


def test_links_tilde_and_what_is_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    with atomic_write("~/link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"
    for path, error in ((tmp_path, "not a regular file"), (tmp_path / "missing" / "a", "No such file")):
        with pytest.raises(OSError, match=error), atomic_write(path):
            pass


def test_a_named_temporary_file_follows_no_link(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_NAMELESS", None)
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: "0" * 2 * n)
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / f".a.bin.{'0' * 16}.tmp").symlink_to("victim")
    with pytest.raises(FileExistsError), atomic_write(tmp_path / "a.bin") as file:
        file.write(b"new")
    assert (tmp_path / "victim").read_bytes() == b"precious"


@pytest.mark.skipif(files._NAMELESS is None, reason="needs files without a name")
def test_a_killed_process_leaves_nothing(tmp_path):
    code = (
        "import sys, time\nfrom recbole_universal.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as file:\n    file.write(b'x' * 2**20); file.flush()\n"
        "    print('open', flush=True); time.sleep(1000)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while process.stdout.readline() != "open\n":
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert os.listdir(tmp_path) == []
