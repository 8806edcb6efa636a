"""The text of a file, block by block in bounded memory, whatever its encoding, compression and line ends."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

LONGEST_LINE = 2**20
TOO_LONG = "\0"  # replaces a line that is too long; no text holds this character
NOT_UTF_8 = "\ufdd0"  # replaces a byte that is not UTF-8; Unicode assigns this character to nothing
PIECE = 2**21

codecs.register_error(
    "recbole_universal.not_utf_8",
    lambda error: (NOT_UTF_8 * (error.end - error.start), error.end),  # type: ignore[attr-defined]
)


class TextFile:
    """An open text file.

    Attributes:
        path: the file.
        read_bytes: bytes of the file that have been read.
    """

    def __init__(self, path: Path, raw: BinaryIO, text: io.TextIOWrapper) -> None:
        self.path = path
        self._raw = raw
        self._text = text

    @property
    def read_bytes(self) -> int:
        """Bytes of the file that have been read."""
        return self._raw.tell()

    def pieces(self) -> Iterator[str]:
        """The text in pieces of any length.

        Raises:
            ValueError: if the file is damaged or no text.
        """
        with _damage_named(self.path):
            while piece := self._text.read(PIECE):
                if "\0" in piece:
                    raise ValueError(f"{self.path} is no text file: it holds NUL characters.")
                yield piece

    def start(self) -> str:
        """The first piece, of the whole file if it is small."""
        text = ""
        for piece in self.pieces():
            text += piece
            if len(text) > LONGEST_LINE:
                break
        return text

    def blocks(self) -> Iterator[str]:
        """Whole lines, joined by newlines; the last newline is left out."""
        rest, skipping = "", False
        for piece in self.pieces():
            if skipping:
                end = piece.find("\n")
                if end < 0:
                    continue
                piece, skipping = piece[end:], False
            text = rest + piece
            end = text.rfind("\n")
            rest = text[end + 1 :]
            if end >= 0:
                yield text[:end]
            if len(rest) > LONGEST_LINE:
                rest, skipping = TOO_LONG, True
        if rest:
            yield rest


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Errors of unpacking and decoding become a ``ValueError`` that names the file."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is a damaged gzip file: {error}") from error
    except OSError as error:
        raise ValueError(f"{path} is a damaged file: {error}") from error
    except UnicodeError as error:
        raise ValueError(f"{path} is no UTF-16 text: {error}") from error


@contextmanager
def open_text(path: Path) -> Iterator[TextFile]:
    """Open a text file: UTF-8 or UTF-16 with a byte order mark, plain, gzip or zstd, by its content.

    Raises:
        ValueError: if it is no text file.
        OSError: if it cannot be read.
    """
    with open(path, "rb") as raw:
        start = raw.read(4)
        raw.seek(0)
        if start[:2] == b"PK":
            raise ValueError(f"{path} is a zip archive or an Excel workbook: unpack it, or save the sheet as CSV.")
        if start[:3] == b"BZh" or start == b"\xfd7zX":
            raise ValueError(f"{path} is compressed with bzip2 or xz: unpack it, or use gzip or zstd.")
        binary: BinaryIO = raw
        if start[:2] == b"\x1f\x8b":
            binary = gzip.GzipFile(fileobj=raw)  # type: ignore[assignment]
        elif start == b"\x28\xb5\x2f\xfd":
            binary = io.BufferedReader(_zstd(path), 2**20)  # type: ignore[type-var]
        with _damage_named(path):
            start = binary.peek(2)[:2]  # type: ignore[attr-defined]
        if start in (b"\xff\xfe", b"\xfe\xff"):
            text = io.TextIOWrapper(binary, encoding="utf-16")
        else:
            text = io.TextIOWrapper(binary, encoding="utf-8-sig", errors="recbole_universal.not_utf_8")
        yield TextFile(path, raw, text)


def _zstd(path: Path) -> BinaryIO:
    """The bytes of a zstd file; DuckDB could unpack it, but drops a line beyond its limit without a warning."""
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(f"{path} is compressed with zstd: pip install pyarrow, or unpack it with zstd -d.") from error
    return pyarrow.input_stream(str(path), compression="zstd", buffer_size=2**20)
