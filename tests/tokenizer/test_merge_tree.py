"""The record of joins ends in the ids of the encoder, and is drawn as it happened."""

import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.tokenizer import merge_tree
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.merge_tree import Node, drawn, grow, grow_piece, step_facts, steps
from groundup.tokenizer.train import train

TEXT = "the here there where unbelievable tables 你好，世界 naïve 😀 aaaa " * 3
TRAINED = train([TEXT], 305)
KINDS = {
    "by the list": TRAINED,
    "by result": BPE(TRAINED.token_bytes, None, TRAINED.special_ids, "cl100k"),
    "whole first": BPE([*TRAINED.token_bytes, b"zz"], TRAINED.merges, TRAINED.special_ids, whole_first=True),
    "normalized": BPE(TRAINED.token_bytes, TRAINED.merges, TRAINED.special_ids, normalizer="NFC"),
}


def check(tokenizer, text):
    growths = grow(tokenizer, text)
    assert [node.id for growth in growths for node in growth.tokens] == tokenizer.encode(text).tolist()
    for growth in growths:
        row = [growth.data[i : i + 1] for i in range(len(growth.data))]
        for step, (node, at) in enumerate(growth.joins, start=1):
            left, right = (part.token for part in node.parts)
            assert row[at : at + 2] == [left, right]
            assert (node.token, node.step) == (left + right, step)
            assert tokenizer.token_bytes[node.id] == node.token
            row[at : at + 2] = [node.token]
        if growth.joins:
            assert row == [node.token for node in growth.tokens]


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.one_of(st.text(st.sampled_from("thereuablw 你好é\u0301z\n"), max_size=30), st.text(), st.binary()))
@settings(deadline=None, max_examples=60)
def test_the_tokens_are_those_of_the_encoder(kind, text):
    check(KINDS[kind], text)


def test_a_long_piece_is_joined_too():
    check(TRAINED, "a" * 3000)


def test_the_picture_in_the_docstring_is_true():
    tokens = [*(bytes([b]) for b in range(256)), b"he", b"re", b"here"]
    (growth,) = grow(BPE(tokens, [(104, 101), (114, 101), (256, 257)], {}), "there")
    lines = "\n".join(drawn(growth.tokens))
    assert textwrap.indent(lines, "    ") in (merge_tree.__doc__ or "")
    assert list(steps(growth)) == [
        "  0  t h e r e",
        "  1  t he r e   merge 0",
        "  2  t he re   merge 1",
        "  3  t here   merge 2",
    ]
    assert step_facts(growth)[2] == {"rank": 2, "id": 258, "left": 256, "right": 257}


def test_a_piece_that_is_taken_whole_says_so():
    growth = grow_piece(KINDS["whole first"], b"zz")
    assert growth.tokens == (Node(305, b"zz"),)
    assert drawn(growth.tokens) == ["zz  id 305    taken whole: the piece is a token"]


def test_wide_characters_keep_the_columns():
    lines = drawn((Node(7, "你".encode(), 3, 1, (Node(1, b"\xe4"), Node(2, b"\xbd\xa0"))),))
    assert [line.index("id") + line.count("你") for line in lines] == [13, 13, 13]
