from __future__ import annotations

import pytest

from recbole_universal.content.wordpiece import WordPiece, words_of

VOCABULARY = ["[UNK]", "toy", "story", "##s", "un", "##like", "##ly", ",", "東", "cafe"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Toy Story, 2", ["toy", "story", ",", "2"]),
        ("Café\tDÉJÀ", ["cafe", "deja"]),
        ("東京a", ["東", "京", "a"]),
        ("zero\u200bwidth\x00", ["zerowidth"]),
        ("a_b-c", ["a", "_", "b", "-", "c"]),
        ("©foo", ["©foo"]),  # a symbol, which is no punctuation
        ("", []),
    ],
)
def test_words(text, words):
    assert words_of(text) == words


def test_longest_pieces_first():
    tokenizer = WordPiece(VOCABULARY)
    assert [VOCABULARY[index] for index in tokenizer.pieces("Unlikely storys, Café")] == [
        *("un", "##like", "##ly"),
        *("story", "##s", ",", "cafe"),
    ]


def test_a_word_with_an_unknown_part_is_unknown_as_a_whole():
    tokenizer = WordPiece(VOCABULARY)
    assert tokenizer.pieces("toyx toy") == [0, 1]
    assert tokenizer.pieces("toy" + "s" * 98) == [0]  # 101 characters


def test_a_text_is_cut_after_the_given_number_of_pieces():
    tokenizer = WordPiece(VOCABULARY)
    assert tokenizer.all_pieces(["unlikely toy", "toy"], most=2) == [[4, 5], [1]]


@pytest.mark.parametrize("vocabulary", [["a"], ["[UNK]", "a", "a"]])
def test_vocabularies_that_are_none(vocabulary):
    with pytest.raises(ValueError, match="UNK"):
        WordPiece(vocabulary)
