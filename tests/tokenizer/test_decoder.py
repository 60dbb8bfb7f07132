"""The compiled form decodes to the bytes of the plain form."""

import numpy as np
import pytest

from groundup.errors import DataError
from groundup.tokenizer import compiled
from groundup.tokenizer.protocol import Tokenizer


@pytest.fixture
def tokenizer(monkeypatch):
    assert compiled.ready()
    monkeypatch.setattr(compiled, "serves", lambda *n_bytes: True)
    return Tokenizer.load("en-zh-8k")


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint32, np.int64])
@pytest.mark.parametrize("skip_special", [False, True])
def test_bytes_are_those_of_the_plain_form(tokenizer, dtype, skip_special):
    rng = np.random.default_rng(0)
    for n in (0, 1, 5000):
        ids = rng.integers(0, tokenizer.vocab_size, n).astype(dtype)
        assert tokenizer.decode_bytes(ids, skip_special) == tokenizer.decode_plainly(ids, skip_special)
    some = rng.integers(0, tokenizer.vocab_size, 200).astype(dtype)[::2]  # not contiguous
    assert tokenizer.decode_bytes(some, skip_special) == tokenizer.decode_plainly(some, skip_special)
    assert tokenizer.decode(np.array([0], dtype)) == "<|endoftext|>"


@pytest.mark.parametrize("id", [-1, 8192, 2**31, 2**40])
def test_ids_outside_the_vocabulary_are_named(tokenizer, id):
    with pytest.raises(DataError, match=f"token id {id} is outside the vocabulary of 8192"):
        tokenizer.decode_bytes(np.array([5, id, 7], np.int64))
