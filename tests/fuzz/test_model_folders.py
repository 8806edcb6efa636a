"""Hostile and damaged model folders: each is one clear error or ranks with finite scores, within bounds.

As a script it tries a number of folders and prints the results: ``python test_model_folders.py SEED COUNT``.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
import shutil
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

_CPU_SECONDS = 120  # of one folder, not of the clock
_MOST_MEMORY = 2**31
_ODD = [None, True, 0, -1, 1, 2, 3, 7, 2.5, -0.0, 1e-300, 1e300, 10**9, 2**31, 2**63, 10**30, "", "x", "a" * 10_000]
_ODD += ["../x", "\x00", "\ud800", [], [[]], [1, 2], ["a"], {}, {"a": 1}, [[[[[]]]]], [10**6, 10**6], [1] * 5000]
_CLEAR = ("Pre-trained model [", "pretrained: ", "The scores of the model are NaN or infinite")
_RAW = ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "[" * 100_000, '{"a":' * 100_000, "01", "'x'", "\\u0000"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_hostile_folders_are_clear_errors_or_work(seed):
    done = subprocess.run([sys.executable, __file__, str(seed), "120"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    print(report)
    assert report["wrong"] == [] and sum(report["counts"].values()) == 120
    assert report["peak"] < _MOST_MEMORY


def _paths(value: Any, way: tuple = ()) -> list[tuple]:
    """Paths to all entries of a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, entry in inner for path in [(*way, key), *_paths(entry, (*way, key))]]


def _at(value: Any, way: tuple) -> Any:
    for key in way:
        value = value[key]
    return value


def _rehash(content: dict) -> None:
    """Replace the hash of the features by the hash of the changed features, as an attacker would."""
    features = content["schema"]["features"]
    rest = {name: value for name, value in features.items() if name != "schema_hash"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    features["schema_hash"] = hashlib.sha256(text.encode()).hexdigest()


def _json_value(folder: Path, rng: random.Random) -> None:
    content = json.loads((folder / "model.json").read_text())
    inside = rng.choice([(), ("schema",), ("schema", "features"), ("schema", "network"), ("weights",)])
    way = inside + rng.choice(_paths(_at(content, inside)))
    value = _at(content, way)
    choices = [*_ODD]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        choices += [value * 2, value + 1, -value, value * 1000, 99_999] * 3
    _at(content, way[:-1])[way[-1]] = copy.deepcopy(rng.choice(choices))
    if rng.random() < 0.6:
        try:
            _rehash(content)
        except (TypeError, KeyError, AttributeError, UnicodeEncodeError):
            pass
    (folder / "model.json").write_text(json.dumps(content))


def _json_structure(folder: Path, rng: random.Random) -> None:
    content = json.loads((folder / "model.json").read_text())
    way = rng.choice(_paths(content))
    outer, key = _at(content, way[:-1]), way[-1]
    if isinstance(outer, list):
        outer.pop(key) if rng.random() < 0.5 else outer.append(copy.deepcopy(outer[key]))
    else:
        value = outer.pop(key)
        if rng.random() < 0.5:
            outer[str(key) + rng.choice("s_x")] = value
    text = json.dumps(content)
    if rng.random() < 0.3:
        other = json.dumps(rng.choice(["format", "weights", "schema", "n_networks"]))
        text = text.replace(other, f"{other}: {rng.choice(['1', '[]', '{}'])}, {other}", 1)
    (folder / "model.json").write_text(text)


def _json_bytes(folder: Path, rng: random.Random) -> None:
    data = bytearray((folder / "model.json").read_bytes())
    way = rng.randrange(6)
    if way == 0:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif way == 1:
        del data[rng.randrange(len(data)) :]
    elif way == 2:
        place = rng.randrange(len(data))
        data[place:place] = rng.randbytes(rng.randrange(1, 20))
    elif way == 3:
        numbers = [place for place in range(len(data)) if chr(data[place]).isdigit() and chr(data[place - 1]) == " "]
        place = rng.choice(numbers)
        data[place : place + 1] = rng.choice(_RAW).encode()
    elif way == 4:
        data[:] = rng.choice([b"", b"\xef\xbb\xbf" + data, data.decode().encode("utf-16"), b" " * 2**21, b"null"])
    else:
        data[:] = rng.choice(_RAW).encode()
    (folder / "model.json").write_bytes(data)


def _weights(folder: Path) -> Path:
    return folder / json.loads((folder / "model.json").read_text())["weights"]["file"]


def _put(folder: Path, data: bytes) -> None:
    """Other weights, with the right hash."""
    _weights(folder).write_bytes(data)
    content = json.loads((folder / "model.json").read_text())
    content["weights"]["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / "model.json").write_text(json.dumps(content))


def _weight_bytes(folder: Path, rng: random.Random) -> None:
    data = bytearray(_weights(folder).read_bytes())
    for _ in range(rng.choice([1, 1, 5, 100])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    if rng.random() < 0.3:
        del data[rng.randrange(len(data)) :]
    if rng.random() < 0.2:
        data += rng.randbytes(100)
    _put(folder, bytes(data)) if rng.random() < 0.7 else _weights(folder).write_bytes(data)


def _header(folder: Path, rng: random.Random) -> None:
    data = _weights(folder).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    name = rng.choice([name for name in header if name != "__metadata__"])
    way = rng.randrange(7)
    if way == 0:
        header[name]["dtype"] = rng.choice(["F64", "I32", "BF16", "F16", "BOOL", "F8_E4M3", "F4", "X", "", 5, None])
    elif way == 1:
        header[name]["shape"] = rng.choice([[], [0], [1], [2**40], [2**63], [-1], [10**30], ["a"], None, [2] * 300])
    elif way == 2:
        header[name]["data_offsets"] = rng.choice([[0, 0], [0, 2**40], [2**63, 2**64], [-1, 1], [5], None, [4, 0]])
    elif way == 3:
        header[rng.choice(["x", "", "a" * 5000, "\x00", "scorers.0.pair_mean.x"])] = header.pop(name)
    elif way == 4:
        del header[name]
    elif way == 5:
        header = {f"t{k}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for k in range(100_000)}
    text = json.dumps(header).encode()
    size = rng.choice([2**64 - 1, 2**40, 0, len(text) + 1]) if way == 6 else len(text)
    _put(folder, struct.pack("<Q", size) + text + body)


def _tensors(folder: Path, rng: random.Random) -> None:
    import torch
    from safetensors.torch import load, save

    weights = load(_weights(folder).read_bytes())
    names = rng.sample(sorted(weights), rng.choice([1, 1, 1, len(weights) // 2, len(weights)]))
    value = rng.choice(
        [torch.nan, torch.inf, 3e38, -3e38, 1e30, 1e20, 1e-40, 0.0, -1.0, "double", "int", "flat", "gone"]
    )
    for name in names:
        tensor = weights[name]
        if value == "double":
            weights[name] = tensor.double()
        elif value == "int":
            weights[name] = tensor.int()
        elif value == "flat":
            weights[name] = tensor.flatten()[None]
        elif value == "gone":
            del weights[name]
        elif rng.random() < 0.5:
            weights[name] = torch.full_like(tensor, value)
        else:
            weights[name].view(-1)[rng.randrange(tensor.numel())] = value
    _put(folder, save(weights))


def _files(folder: Path, rng: random.Random) -> None:
    weights = _weights(folder)
    way = rng.randrange(8)
    if way == 0:
        outside = folder.parent / "outside"
        weights.rename(outside)
        weights.symlink_to(outside)
    elif way == 1:
        weights.unlink()
        weights.symlink_to(rng.choice(["/dev/zero", "/dev/stdin", weights.name, "/proc/self/mem"]))
    elif way == 2:
        weights.unlink()
        weights.mkdir()
    elif way == 3:
        (folder / "model.json").unlink()
        if rng.random() < 0.5:
            (folder / "model.json").mkdir()
    elif way == 4:
        with open(weights, "r+b") as file:
            file.truncate(2 ** rng.choice([0, 3, 20, 40]))
    else:
        content = json.loads((folder / "model.json").read_text())
        names = [
            "/etc/passwd",
            "../model.json",
            "model.json",
            ".",
            "..",
            "",
            "a/b",
            "a\x00",
            "\ud800",
            "x" * 5000,
            " ",
            "~",
        ]
        content["weights"]["file"] = rng.choice(names)
        (folder / "model.json").write_text(json.dumps(content))


_KINDS = (_json_value, _json_value, _json_structure, _json_bytes, _weight_bytes, _header, _tensors, _files)


def _try(folder: Path) -> str:
    """Load, build and rank: "error" or "lists"; anything else is raised."""
    import numpy as np
    import scipy.sparse as sp

    from recbole_universal import UniversalRanker
    from recbole_universal.checkpoint import load_pretrained

    matrix = sp.csr_matrix((np.random.default_rng(0).random((24, 16)) < 0.3).astype(np.float32))
    try:
        pretrained = load_pretrained(folder)
        items, scores = UniversalRanker(matrix, pretrained, cache_dir=None).top_k(np.arange(24), 3)
    except (ValueError, OSError) as error:
        if not str(error).startswith(_CLEAR):
            raise AssertionError(f"{type(error).__name__} from inside: {str(error)[:150]}") from error
        return "error"
    if (items[:, 0] < 0).any() or not np.isfinite(scores[items >= 0]).all():
        raise AssertionError("lists are empty or scores are not finite")
    return "lists"


def _main(seed: int, count: int) -> None:
    import resource
    import signal
    import warnings

    from recbole_universal.checkpoint import shipped

    class Hang(BaseException):
        pass

    def hangs(*_):
        raise Hang(f"more than {_CPU_SECONDS} seconds of CPU time")

    warnings.simplefilter("ignore")
    signal.signal(signal.SIGPROF, hangs)
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY, _MOST_MEMORY))
    source = Path(sys.modules["recbole_universal.checkpoint"].__file__ or "").parent / "pretrained"
    counts: Counter[str] = Counter()
    wrong = []
    for case in range(count):
        rng = random.Random(f"{seed} {case}")
        with tempfile.TemporaryDirectory() as place:
            name = rng.choice(shipped())
            folder = Path(shutil.copytree(source / name, Path(place) / "model"))
            kind = _KINDS[case % len(_KINDS)]
            kind(folder, rng)
            signal.setitimer(signal.ITIMER_PROF, _CPU_SECONDS)
            try:
                counts[_try(folder)] += 1
            except BaseException as error:  # the script looks for such errors
                wrong.append([case, kind.__name__, name, type(error).__name__, str(error)[:200]])
                counts["wrong"] += 1
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"counts": counts, "peak": peak, "wrong": wrong}))


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]))
