"""Tokens for the eye: nothing that moves a cursor, nothing unseen."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.tokenizer import show as module
from groundup.tokenizer.show import show

SHOWN = {
    b" the": "␣the",
    b"\r\n\t": "␍↵⇥",
    "你".encode()[1:]: "<BD><A0>",
    b"\x1b[31m": "<U+001B>[31m",
    "\u0301".encode(): "◌\u0301",
    "\u202e".encode(): "<U+202E>",
    b"": "(empty)",
}


@pytest.mark.parametrize("token", SHOWN)
def test_what_is_shown(token):
    assert show(token) == SHOWN[token]


@given(st.binary())
def test_anything_can_be_printed(token):
    assert show(token).isprintable()
    show(token).encode()


def test_the_example():
    assert doctest.testmod(module).failed == 0
