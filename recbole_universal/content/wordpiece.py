"""WordPiece, the tokenizer of BERT (Devlin et al., NAACL 2019), for vocabularies of lower-case text.

The package needs it for one vocabulary and without training, so it does not depend on a library for it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

# A longer word is unknown, as in BERT.
_LONGEST_WORD = 100
# Words whose pieces are remembered. A catalogue repeats its words.
_MOST_REMEMBERED = 2**18
# Ranges of Chinese characters, each of which is a word.
_CHINESE = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class _Characters(dict):
    """By code point of decomposed text, what stands in its place; filled when a character is met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if character in "\t\n\r" or category == "Zs":
            shown = " "
        elif category[0] == "C" or category == "Mn" or code == 0xFFFD:  # control characters and accents
            shown = ""
        elif _is_punctuation(character, category) or any(first <= code <= last for first, last in _CHINESE):
            shown = f" {character} "
        else:
            shown = character.lower()
        self[code] = shown
        return shown


_CHARACTERS = _Characters()


def _is_punctuation(character: str, category: str) -> bool:
    return category[0] == "P" or (character.isascii() and character.isprintable() and not character.isalnum())


def words_of(text: str) -> list[str]:
    """The words and punctuation marks of a text, in lower case and without accents."""
    return unicodedata.normalize("NFD", text).translate(_CHARACTERS).split()


class WordPiece:
    """Splits texts into the longest pieces that a vocabulary has, from the left.

    Args:
        vocabulary: the pieces by index. A piece within a word begins with ``##``. ``[UNK]`` is the unknown word.

    Raises:
        ValueError: if ``[UNK]`` is missing or a piece occurs twice.
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._index = {piece: index for index, piece in enumerate(vocabulary)}
        if "[UNK]" not in self._index or len(self._index) < len(vocabulary):
            raise ValueError("the vocabulary has no [UNK], or a piece twice")
        self._longest = max(map(len, vocabulary))
        self._unknown = [self._index["[UNK]"]]
        self._known: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return len(self._index)

    def index(self, piece: str) -> int:
        """Index of a piece of the vocabulary."""
        return self._index[piece]

    def pieces(self, text: str, most: int | None = None) -> list[int]:
        """Indices of the pieces of a text.

        Args:
            text: any text.
            most: number of pieces after which the text is cut; ``None``: it is not.
        """
        found: list[int] = []
        for word in words_of(text):
            found += self._of_word(word)
            if most is not None and len(found) >= most:
                return found[:most]
        return found

    def all_pieces(self, texts: Iterable[str], most: int | None = None) -> list[list[int]]:
        """The pieces of each text, see :meth:`pieces`."""
        return [self.pieces(text, most) for text in texts]

    def _of_word(self, word: str) -> list[int]:
        found = self._known.get(word)
        if found is None:
            found = self._split(word)
            if len(self._known) < _MOST_REMEMBERED:
                self._known[word] = found
        return found

    def _split(self, word: str) -> list[int]:
        if len(word) > _LONGEST_WORD:
            return self._unknown
        found, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            for stop in range(min(len(word), start + self._longest), start, -1):
                index = self._index.get(prefix + word[start:stop])
                if index is not None:
                    break
            else:
                return self._unknown
            found.append(index)
            start = stop
        return found
