"""Generated text files against the slow reference: the same pairs and the same rows left out, or one clear sentence."""

from __future__ import annotations

import gzip
import json
import random
import re

import pytest
from fuzz_reference import read_reference

import recbole_universal.io.streams as streams
from recbole_universal.io.interactions import read_interactions

N_FILES = 600
N_JSON = 100
pytestmark = pytest.mark.slow

LETTERS = [*"abc019 _-#é'|;,:\\\"", "üß", "東", "%", "NA", "007", "\u00a0"]
HEADERS = [("user_id", "item_id"), ("userId", "movieId"), ("customer_id", "sku"), ("uid", "iid"), ("User-ID", "ISBN")]
OTHERS = ["rating", "timestamp", "comment", "price", "event_type"]


def word(rng, letters=LETTERS, most=6):
    return "".join(rng.choice(letters) for _ in range(rng.randint(1, most)))


def encoded(rng, value, separator, style):
    """A field as a writer of some style writes it."""
    if style == "plain":
        return value
    if style == "backslash":
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if style == "all" or separator in value or '"' in value or "\n" in value or rng.random() < 0.1:
        return '"' + value.replace('"', '""') + '"'
    return value


def junk(rng, row, separator, header):
    """A row that is damaged in some way."""
    kind = rng.randrange(10)
    line = separator.join(row)
    if kind == 0:
        return separator.join(row[: rng.randint(0, len(row))])
    if kind == 1:
        return line + separator + word(rng)
    if kind == 2:
        return line + separator * rng.randint(1, 3)
    if kind == 3:
        return separator.join("" if rng.random() < 0.4 else field for field in row)
    if kind == 4:
        return separator.join(header)
    if kind == 5:
        at = rng.randint(0, len(line))
        return line[:at] + '"' + line[at:]
    if kind == 6:
        return word(rng, [*LETTERS, separator], 20)
    if kind == 7:
        return rng.choice(["", "  ", separator, '"', '""', '","'])
    if kind == 8:
        at = rng.randint(0, len(line))
        return line[:at] + "\udcff\udce9" + line[at:]
    return line.replace('"', "")


def generated(rng):
    """Bytes of a file, arguments to read it, and the result of the reference."""
    separator = rng.choice([",", ",", "\t", ";", "|", "::", " "])
    quoting = separator in ",;\t|" and rng.random() < 0.8
    style = rng.choice(["plain", "backslash", "all", "some", "some"]) if quoting else "plain"
    user, item = rng.choice(HEADERS)
    header = [user, item, *rng.sample(OTHERS, rng.randint(0, 3))]
    if rng.random() < 0.5:
        rng.shuffle(header)
    places = header.index(user), header.index(item)
    safe = [letter for letter in LETTERS if style != "plain" or (letter not in '"\\' and letter not in separator)]
    safe = [letter for letter in safe if separator != " " or not letter.isspace()]
    if style == "plain" and separator == "::":
        safe.remove(":") if ":" in safe else None
    texts = [*safe, "\n", "\n"] if style != "plain" else safe
    ids = [word(rng, safe).strip() or "x" for _ in range(14)]
    body = []
    share = rng.choice([0, 0, 0.05, 0.2, 0.6, 0.95])
    for _ in range(rng.randint(3, 60)):
        row = [rng.choice(ids) if name in (user, item) else word(rng, texts, 12) for name in header]
        row = [encoded(rng, value, separator, style) for value in row]
        body.append(junk(rng, row, separator, header) if rng.random() < share else separator.join(row))
    # Without header, a file with rows of every width has no recognisable layout. A first row that begins with # and a
    # blank is a comment, and a first row with the names of the columns is the header.
    clear = separator != " " and share <= 0.2 and not re.match("\\s*[#%]", body[0]) and user not in "".join(body[:5])
    has_header = not clear or rng.random() < 0.6
    text = "\n".join(body)
    if rng.random() < 0.03:
        text += "\n" + "z" * (2**20 + 5)
    comments = "".join(f"{mark} {word(rng, list('abc 12'))}\n" for mark in "#" for _ in range(rng.choice([0, 0, 0, 2])))
    head = separator.join(header) + "\n" if has_header else ""
    if comments and not has_header:
        comments = ""
    quoting = separator in ",;\t|"
    reference = read_reference(
        text.split("\n"),
        "blanks" if separator == " " else separator,
        len(header),
        *places,
        quoting,
        header if has_header else None,
    )
    whole = comments + head + text + rng.choice(["", "\n", "\n\n"])
    whole = whole.replace("\n", rng.choice(["\n", "\n", "\r\n", "\r"]))
    encoding = rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16"])
    if "\udcff" in whole:
        encoding = "utf-8"
    content = whole.encode(encoding, "surrogateescape")
    columns = (None, None) if has_header else (places[0] + 1, places[1] + 1)
    return content, columns, reference


def compressed(rng, content):
    kind = rng.choice(["plain", "plain", "gzip", "zstd"])
    if kind == "gzip":
        return gzip.compress(content)
    if kind == "zstd":
        pa = pytest.importorskip("pyarrow")
        return pa.compress(content, "zstd", asbytes=True) if content else content
    return content


def read(path, columns):
    """Pairs and rows left out, or the error."""
    said: list[str] = []
    try:
        table = read_interactions(path, *columns, said.append)
    except (ValueError, OSError, ImportError) as error:
        return None, str(error)
    pairs = set(zip(table.users.take(table.user_codes), table.items.take(table.item_codes), strict=True))
    bad = [int(found[1]) for each in said if (found := re.search(r"(\d+) of \d+ rows? (?:is|are) unreadable", each))]
    return pairs, bad[0] if bad else 0


def test_text_files(tmp_path, monkeypatch):
    counts = {"read": 0, "error": 0}
    path = tmp_path / "x[1]*.txt"
    for seed in range(N_FILES):
        rng = random.Random(seed)
        content, columns, (pairs, bad, n_rows) = generated(rng)
        path.write_bytes(compressed(rng, content))
        monkeypatch.setattr(streams, "PIECE", rng.choice([17, 100, 1000, 2**22]))
        found, said = read(path, columns)
        good = bool(pairs) and 2 * bad <= n_rows
        if found is None:
            assert "\n" not in said[:-1] and str(path) in said, (seed, said)
            assert not good, (seed, said, content)
            counts["error"] += 1
        else:
            assert good, (seed, bad, n_rows, found, content)
            assert found == pairs, (seed, found ^ pairs, content)
            assert said == bad, (seed, said, bad, content)
            counts["read"] += 1
    print(counts)
    assert counts["read"] > N_FILES / 2 and counts["error"] > N_FILES / 30


def test_json_files(tmp_path, monkeypatch):
    path = tmp_path / "x.txt"
    for seed in range(N_JSON):
        rng = random.Random(seed)
        ids = [*(word(rng) for _ in range(8)), 7, 7.5, True, None, "", 10**20]
        records = [{"user_id": rng.choice(ids), "item": rng.choice(ids), "n": [1]} for _ in range(rng.randint(1, 40))]
        for record in records:
            if rng.random() < 0.1:
                del record[rng.choice(["user_id", "item"])]
        form = rng.choice(["lines", "array", "pretty"])
        text = json.dumps(records, indent=1 if form == "pretty" else None, ensure_ascii=rng.random() < 0.5)
        text = "\n".join(map(json.dumps, records)) if form == "lines" else text
        monkeypatch.setattr(streams, "PIECE", rng.choice([17, 100, 2**22]))
        path.write_bytes(compressed(rng, text.encode(rng.choice(["utf-8", "utf-16"]))))

        def name(value):
            return json.dumps(value) if isinstance(value, (bool, int, float)) else (value or "").strip()

        pairs = [(name(record.get("user_id")), name(record.get("item"))) for record in records]
        good = [pair for pair in pairs if all(pair)]
        found, said = read(path, ("user_id", "item"))
        if found is None:
            assert not good or 2 * len(good) < len(pairs) or "no column [" in said, (seed, said)
        else:
            assert found == set(good) and said == len(pairs) - len(good), (seed, text)
