"""Encoding and decoding: nothing is lost, nothing becomes special, no character is broken."""

import json
import lzma
import pickle
import random
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Judge
from tokenizers import models, pre_tokenizers

from groundup.errors import DataError
from groundup.tokenizer import bpe
from groundup.tokenizer.alphabet import unspell
from groundup.tokenizer.bpe import BPE, join_long, join_short
from groundup.tokenizer.train import DEFAULT_SPECIALS, train

TEXT = "The cat's hat: 12 cats, 345 hats!  \n\n 你好，世界。 naïve 😀👩‍👩‍👧 " * 4
ANY_STRING = st.text(st.characters(codec=None), max_size=80) | st.text(
    "the cat's 你好😀\n\ud83d\ude00\udc80", max_size=40
)


@pytest.fixture(scope="module")
def tokenizer():
    return train([TEXT], 310)


TOKENIZERS = {pattern: train([TEXT], 310, pattern=pattern) for pattern in ("gpt2", "cl100k")}


@settings(deadline=None)
@given(ANY_STRING, st.sampled_from(list(TOKENIZERS)))
def test_every_string_comes_back_lone_surrogates_included(text, pattern):
    tokenizer = TOKENIZERS[pattern]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode(text.encode("utf-8", "surrogatepass")).tolist() == ids.tolist()


@settings(deadline=None)
@given(st.binary(max_size=80) | st.binary(max_size=10).map(lambda data: data + "你😀".encode()[:5] + data))
def test_all_bytes_come_back(data):
    for tokenizer in TOKENIZERS.values():
        assert tokenizer.decode_bytes(tokenizer.encode(data)) == data


@settings(deadline=None)
@given(st.lists(st.sampled_from(["<|endoftext|>", "<|im_", "end|>", "<|im_start|>", "<|pad|>", "|>", "<", " ", "a"])))
def test_text_never_becomes_a_special_token(parts):
    tokenizer = TOKENIZERS["gpt2"]
    ids = tokenizer.encode("".join(parts))
    assert not set(ids.tolist()) & set(tokenizer.special_ids.values())
    assert tokenizer.decode(ids) == "".join(parts)


def test_special_tokens_are_shown_or_left_out(tokenizer):
    ids = [1, *tokenizer.encode("cat").tolist(), 2, 0]
    assert tokenizer.decode(ids) == "<|im_start|>cat<|im_end|><|endoftext|>"
    assert tokenizer.decode(ids, skip_special=True) == "cat"
    assert tokenizer.decode_bytes(ids) == b"cat"
    assert [tokenizer.token_bytes[i] for i in tokenizer.special_ids.values()] == [b""] * 4


def test_bytes_that_are_not_text_are_decoded_as_replacement_characters(tokenizer):
    assert tokenizer.decode(tokenizer.encode(b"a\xffb\xe4\xbd")) == "a\ufffdb\ufffd"


def test_an_id_outside_the_vocabulary_is_an_error(tokenizer):
    for wrong in (310, -1):
        with pytest.raises(DataError, match=f"{wrong} is outside the vocabulary of 310"):
            tokenizer.decode([65, wrong])


def test_a_batch_is_its_texts_one_after_the_other(tokenizer):
    texts = ["The cat", "", b"\xff", "你好"]
    ids, offsets = tokenizer.encode_batch(texts)
    assert (ids.dtype, offsets.dtype) == (np.uint32, np.uint64)
    assert len(offsets) == 5
    for i, text in enumerate(texts):
        assert ids[int(offsets[i]) : int(offsets[i + 1])].tolist() == tokenizer.encode(text).tolist()
    assert [array.tolist() for array in tokenizer.encode_batch([])] == [[], [0]]
    assert tokenizer.encode("").dtype == np.uint32


# --- streaming ---


@settings(deadline=None)
@given(ANY_STRING.filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text)), st.booleans())
def test_a_stream_gives_whole_characters_and_the_same_text(text, skip_special):
    tokenizer = TOKENIZERS["gpt2"]
    stream = tokenizer.stream(skip_special)
    parts = [stream.push(i) for i in tokenizer.encode(text).tolist()]
    assert "".join(parts) == text
    assert all("\ufffd" not in part or "\ufffd" in text for part in parts)
    assert stream.flush() == ""


def test_a_character_comes_with_its_last_byte(tokenizer):
    family = "👩‍👩‍👧".encode()
    ids = [tokenizer.token_bytes.index(bytes([byte])) for byte in family]
    stream = tokenizer.stream()
    assert [stream.push(i) for i in ids] == ["", "", "", "👩", "", "", "\u200d"] * 2 + ["", "", "", "👧"]


def test_a_stream_that_ends_inside_a_character_says_so_and_can_go_on(tokenizer):
    stream = tokenizer.stream()
    assert stream.push(tokenizer.token_bytes.index(b"\xe4")) == ""
    assert stream.flush() == "\ufffd"
    assert stream.push(tokenizer.token_bytes.index(b"a")) == "a"
    assert stream.push(tokenizer.special_ids["<|im_end|>"]) == "<|im_end|>"
    assert tokenizer.stream(skip_special=True).push(2) == ""


# --- joining ---


def assert_joined_alike(tokenizer, data):
    ids = [tokenizer._byte_ids[byte] for byte in data]
    tables = tokenizer._ranks, tokenizer._results
    assert join_short(list(ids), *tables) == join_long(list(ids), *tables)


@settings(deadline=None)
@given(st.text("abc 你", max_size=60))
def test_scanning_and_the_heap_join_alike(text):
    assert_joined_alike(TOKENIZERS["gpt2"], text.encode())


def test_scanning_and_the_heap_join_runs_alike():
    tokenizer = train(["aaaa aaaaaaa ababab bababa aabb"], 268, special_tokens=())
    for n in range(200):
        assert_joined_alike(tokenizer, random.Random(n).choices(b"ab", k=n))


@pytest.mark.parametrize("character", [" ", "a", "'", "你", "😀", "1", "\n", "\u200d"])
def test_endless_runs_of_one_character_take_no_endless_time(character):
    tokenizer = train([character * 64 + " " + TEXT], 300)
    text = character * 100_000
    started = time.monotonic()
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert time.monotonic() - started < 10


def test_the_cache_is_bounded(monkeypatch, tokenizer):
    monkeypatch.setattr(bpe, "MAX_CACHED_PIECES", 10)
    monkeypatch.setattr(bpe, "MAX_CACHED_LENGTH", 8)
    fresh = pickle.loads(pickle.dumps(tokenizer))
    text = " ".join(f"{'abcdefghij'[i % 10]}{i}x" for i in range(200)) + " " + "y" * 100
    assert fresh.encode(text).tolist() == tokenizer.encode(text).tolist()
    assert len(fresh._cache) <= 10
    assert max(map(len, fresh._cache)) <= 8


# --- identity ---


def test_a_pickled_tokenizer_is_small_and_the_same(tokenizer):
    tokenizer.encode(TEXT)
    pickled = pickle.dumps(tokenizer)
    assert len(pickled) < 10_000
    copy = pickle.loads(pickled)
    assert copy.hash == tokenizer.hash
    assert copy.encode(TEXT).tolist() == tokenizer.encode(TEXT).tolist()
    assert copy.chat_template == tokenizer.chat_template


def test_the_hash_is_of_all_that_decides_ids(tokenizer):
    def changed(**parts):
        given_parts = {
            "tokens": tokenizer.token_bytes,
            "merges": tokenizer.merges,
            "special_ids": tokenizer.special_ids,
            "pattern": "gpt2",
        }
        return BPE(**(given_parts | parts)).hash

    assert tokenizer.hash == train([TEXT], 310).hash == changed() == changed(chat_template="{{ other }}")
    others = {
        changed(pattern="cl100k"),
        changed(merges=tokenizer.merges[:-1]),
        changed(special_ids={"<|other|>": 0}),
        changed(tokens=[*tokenizer.token_bytes, b"new"]),
    }
    assert len(others | {tokenizer.hash}) == 5
    assert len(tokenizer.hash) == 64


def unpacked(file):
    return lzma.decompress(file.read_bytes()).decode()


def test_gpt2s_own_vocabulary_gives_the_ids_of_tokenizers(shared_data):
    folder = shared_data / "tokenizers" / "gpt2"
    vocab = json.loads(unpacked(folder / "encoder.json.xz"))
    merges = [tuple(line.split(" ")) for line in unpacked(folder / "vocab.bpe.xz").splitlines()[1:]]
    spelled = sorted(vocab, key=vocab.get)
    ours = BPE(
        [b"" if token == "<|endoftext|>" else unspell(token) for token in spelled],
        [(vocab[left], vocab[right]) for left, right in merges],
        {"<|endoftext|>": 50256},
    )
    judge = Judge(models.BPE(vocab, merges))
    judge.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    books = unpacked(shared_data / "pretrain" / "en" / "tinyshakespeare.txt.xz")[:200_000]
    for text in ("Hello, I'm a language model,", TEXT, books, "x" * 1000, " " * 300):
        assert ours.encode(text).tolist() == judge.encode(text).ids
    assert ours.encode("Hello, I'm a language model,").tolist() == [15496, 11, 314, 1101, 257, 3303, 2746, 11]
    assert (ours.eos_id, ours.pad_id, ours.stop_ids) == (50256, None, (50256,))


def test_without_special_tokens_there_is_no_end(tokenizer):
    plain = train([TEXT], 300, special_tokens=())
    assert (plain.eos_id, plain.pad_id, plain.stop_ids, plain.chat_template) == (None, None, (), None)
    assert set(tokenizer.special_ids) == set(DEFAULT_SPECIALS)
