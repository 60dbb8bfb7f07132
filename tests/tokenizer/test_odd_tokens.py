"""Odd tokens are found, each for its reason, and ordinary ones are not."""

import lzma
from base64 import b64decode

from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.odd_tokens import REASONS, odd_tokens, unreachable_ids
from groundup.tokenizer.train import train

BYTES = [bytes([b]) for b in range(256)]


def reasons(tokenizer):
    found = {}
    for odd in odd_tokens(tokenizer):
        found.setdefault(odd.token, []).append(odd.reason)
    return found


def test_each_reason_is_found():
    made = {
        b"ab": [],
        b" the": [],
        b"zq": ["unreachable"],
        b"a b": ["unreachable"],  # the pattern cuts it, although its merges are there
        b"\xe4\xbd": ["part of a character"],
        b"\x01\x02": ["control"],
        "\ufffd".encode(): ["unassigned"],
        b"  ": ["only space"],
        b"\n\n": ["only space"],
        b"======": [],
        b"========": ["long run"],
    }
    tokens = [*BYTES]
    for token in made:  # every prefix of a token is a token too, so that merges can make it
        tokens += [token[:n] for n in range(2, len(token) + 1) if token[:n] not in tokens]
    id_by_token = {token: i for i, token in enumerate(tokens)}
    cuts = {b"====": 2, b"======": 4, b"========": 4, b"zq": 0}
    halves = [(t[: cuts.get(t, -1)], t[cuts.get(t, -1) :]) for t in tokens[256:]]
    merges = [(id_by_token[left], id_by_token[right]) for left, right in halves if left]
    tokenizer = BPE([*tokens, b"", b""], merges, {"<|endoftext|>": len(tokens)})
    found = reasons(tokenizer)
    assert {token: found.get(token, []) for token in made} == made
    assert found[b""] == ["empty"]
    assert {reason for some in found.values() for reason in some} <= set(REASONS)


def test_two_tokens_of_the_same_bytes():
    tokenizer = BPE([*BYTES, b"ab", b"ab"], [(97, 98)], {})
    assert [(odd.id, odd.reason) for odd in odd_tokens(tokenizer)] == [(256, "unreachable"), (257, "double")]


def test_a_trained_tokenizer_reaches_all_its_tokens():
    tokenizer = train(["The cat sat on the mat. 你好，世界。 123 \n\n  x" * 5], 290)
    assert unreachable_ids(tokenizer) == []


def test_all_of_a_large_vocabulary_is_reached(shared_data):
    lines = lzma.decompress((shared_data / "tokenizers/cl100k_base.tiktoken.xz").read_bytes()).split()
    tokens = [b64decode(token) for token in lines[:60_000:2]]
    assert unreachable_ids(BPE(tokens, None, {}, "cl100k")) == []
