"""Patterns for the browser: that they match the same is tested in test_play.py; here, what is written and refused."""

import pytest
import regex

from groundup.errors import UsageError
from groundup.insight.javascript_pattern import runs, translate


def members(found):
    end, points = 0, set()
    for gap, length in zip(found[::2], found[1::2], strict=True):
        points |= set(range(end + gap, end + gap + length))
        end += gap + length
    return points


@pytest.mark.parametrize("atom", [r"\p{L}", r"\s", r"[^\s\p{L}\p{N}]", r"[a-c]", "."])
def test_the_list_of_characters_is_what_regex_finds(atom):
    listed = members(runs(atom, False))
    for point in [*range(0x3100), *range(0xD7F0, 0xE010), *range(0x1F5F0, 0x1F700), 0x10FFFF]:
        assert (point in listed) == bool(regex.fullmatch(atom, chr(point))), hex(point)


def test_letters_of_either_case_are_listed():
    assert members(runs("s", True)) == {ord(c) for c in "sSſ"}
    assert members(runs("k", True)) == {ord(c) for c in "kK\u212a"}


@pytest.mark.parametrize(
    ("pattern", "source"),
    [
        ("abc|'d", "abc|'d"),
        ("(ab)?(?:c)+?", "(?:ab)?(?:c)+?"),
        (r"a{,3}(?!b)", "a{0,3}(?!b)"),
        ("a++", r"(?:(?=(?<a1>a+))\k<a1>)"),
        ("(?>ab|a)b", r"(?:(?=(?<a1>ab|a))\k<a1>)b"),
        ("(?P<word>x)(?<=x)^", "(?:x)(?<=x)^"),
        (r"\p{N}{1,3}-", "#0#{1,3}#1#"),
    ],
)
def test_how_a_pattern_is_written(pattern, source):
    assert translate(pattern).source == source


@pytest.mark.parametrize(
    "pattern", [r"(a)\1", r"\X", "(?x) a", r"(?:ab){e<=1}", r"(?|a|b)", r"(?R)?a", r"\Ka", "(?s:.)"]
)
def test_what_has_no_words_is_refused(pattern):
    with pytest.raises(UsageError, match="a page cannot show this split pattern"):
        translate(pattern)


@pytest.mark.parametrize("pattern", ["gpt9", "(", "a**"])
def test_a_wrong_pattern_is_told_as_everywhere(pattern):
    with pytest.raises(UsageError, match="pattern"):
        translate(pattern)
