"""atomic_write: readers see the old file or the new one, permissions stay, and no other file remains."""

from __future__ import annotations

import os
import re
import signal
import stat
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_universal import files
from recbole_universal.files import atomic_write, locked_folder, would_replace, write_text


@pytest.fixture(params=["nameless", "named"])
def temporary_kind(request, monkeypatch):
    if request.param == "named":
        monkeypatch.setattr(files, "_NAMELESS", None)
    return request.param


def mode(path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.mark.usefixtures("temporary_kind")
def test_the_file_is_replaced_and_no_other_file_remains(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.usefixtures("temporary_kind")
@pytest.mark.parametrize("name", ["x" * 255, "推" * 85], ids=["ASCII", "three bytes a character"])
def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path, name):
    write_text(tmp_path / name, "new")
    assert (tmp_path / name).read_bytes() == b"new" and os.listdir(tmp_path) == [name]


@pytest.mark.skipif(files._NAMELESS is None, reason="needs files without a name")
def test_a_file_without_a_name_is_copied_where_it_cannot_get_one(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "old").touch()
    os.chmod(tmp_path / "old", 0o640)
    (tmp_path / "link").symlink_to("old")
    for name in ("link", "new"):
        with atomic_write(tmp_path / name) as file:
            file.write(b"x" * 10**6)
        assert (tmp_path / name).read_bytes() == b"x" * 10**6
    assert sorted(os.listdir(tmp_path)) == ["link", "new", "old"]
    assert (tmp_path / "link").is_symlink() and mode(tmp_path / "old") == 0o640
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError), atomic_write(tmp_path / "new") as file:
        file.write(b"newer")
    assert sorted(os.listdir(tmp_path)) == ["link", "new", "old"]


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


@pytest.mark.usefixtures("temporary_kind")
def test_the_content_is_private_while_a_private_file_is_replaced(tmp_path):
    (tmp_path / "a").touch(0o600)
    with atomic_write(tmp_path / "a") as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600


@pytest.mark.usefixtures("temporary_kind")
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_owner_and_group_stay(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.touch()
    os.chown(path, 1234, 4321)
    os.chmod(path, 0o640)
    with atomic_write(path) as file:
        file.write(b"new")
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (1234, 4321, 0o640)

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "fchown", refuse)
    with atomic_write(path) as file:
        file.write(b"newer")
    assert mode(path) == 0o600  # the group is another one now


def access_list(*entries: tuple[int, int, int]) -> bytes:
    """An access list in the format of Linux, from entries of (tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@pytest.mark.usefixtures("temporary_kind")
@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="needs access lists")
def test_an_access_list_stays(tmp_path):
    nobody = 2**32 - 1
    # Its owner and the user 1234 read the file, the group does not. The mode, 640, does not show this.
    only_1234 = access_list((1, 6, nobody), (2, 4, 1234), (4, 0, nobody), (16, 4, nobody), (32, 0, nobody))
    name, path = "system.posix_acl_access", tmp_path / "a"
    path.touch()
    try:
        os.setxattr(path, name, only_1234)
    except OSError:
        pytest.skip("this file system has no access lists")
    with atomic_write(path) as file:
        file.write(b"new")
    assert os.getxattr(path, name) == only_1234
    # What a folder gives to its new files is no right on a file that had none.
    os.setxattr(tmp_path, "system.posix_acl_default", only_1234)
    (tmp_path / "b").touch()
    os.removexattr(tmp_path / "b", name)
    os.chmod(tmp_path / "b", 0o640)
    with atomic_write(tmp_path / "b") as file:
        file.write(b"new")
    assert name not in os.listxattr(tmp_path / "b") and mode(tmp_path / "b") == 0o640


def test_a_write_protected_file_is_not_replaced(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    os.chmod(path, 0o444)
    with pytest.raises(PermissionError, match="write-protected"), atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"


def test_links_tilde_and_paths_that_are_no_file(tmp_path, monkeypatch):
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
    (tmp_path / f".recbole_universal-{'0' * 16}.tmp").symlink_to("victim")
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


def test_text_is_utf_8(tmp_path):
    write_text(tmp_path / "a", "é\n")
    assert (tmp_path / "a").read_bytes() == "é\n".encode()


def test_files_that_a_write_would_replace(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").touch()
    (tmp_path / "b").touch()
    (tmp_path / "loop").symlink_to("loop")
    assert would_replace(tmp_path / "in" / "new", tmp_path / "in")
    assert would_replace(tmp_path / "in" / "a", tmp_path / "in" / "a")
    assert not would_replace(tmp_path / "b", tmp_path / "in")
    assert not would_replace(tmp_path / "in" / "a", tmp_path / "b")
    for missing in ("nowhere", "loop", "x" * 5000, "~nobody/x", "a\0b"):  # a list of users may look like anything
        assert not would_replace(tmp_path / "b", missing)


@pytest.mark.skipif(files.fcntl is None, reason="needs locks")
def test_one_process_locks_a_folder(tmp_path):
    with locked_folder(tmp_path):
        with pytest.raises(BlockingIOError, match="another process works in this folder"), locked_folder(tmp_path):
            pass
        assert os.listdir(tmp_path) == []
    with locked_folder(tmp_path), locked_folder(tmp_path.parent):
        pass


def test_nothing_else_writes_files():
    """Other ways have a guessable name, widen permissions, or leave a partial file."""
    other = re.compile(
        r"\.write_text\(|\.write_bytes\(|mkstemp|umask|os\.replace|open\([^)]*[\"'][wax]b?[\"']|savefig\(file"
    )
    package = Path(files.__file__).parent
    benchmarks = package.parent / "benchmarks"
    found = [
        f"{path.name}: {line.strip()}"
        for path in sorted([*package.rglob("*.py"), *benchmarks.glob("*.py")])
        for line in path.read_text(encoding="utf-8").splitlines()
        if other.search(line) and path.name not in ("files.py", "bug_fixes.py")
    ]
    assert set(found) <= {
        'harness.py: with file.open("a", encoding="utf-8") as stream:',  # one more line
        'speed.py: (Path(folder) / "yelp2018" / "yelp2018.inter").write_bytes(source.read_bytes())',  # temporary
        'reading.py: with open(path, "w", encoding="utf-8") as file:',  # the input of the measurement
        'atomic_dataset.py: with open(new / f"{name}.{kind}", "xb") as file:',  # in a folder that is swapped in whole
        'service.py: (folder / "users.json").write_text(json.dumps(known.tolist()))',  # temporary
        # In a copy of the tree, which is temporary.
        'mutations.py: file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")',
        'mutations.py: file.write_text(text, encoding="utf-8")',
    }
