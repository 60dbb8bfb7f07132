"""The floor lets prose pass and stops each kind of degenerate text."""

import random

import pytest

from groundup.evaluate import quality

PROSE = (
    "Once there was a small fox who lived under an old tree. Every morning he went to the river to drink, and there he "
    "met a duck. The duck was sad because her egg had rolled away. The fox ran along the water until he saw something "
    "white between two stones. He carried it home in his mouth, very softly, and the duck danced with joy. From then "
    "on they had their breakfast together."
)
KNOWN = quality.vocabulary([PROSE, "The cat and the dog. It's here."])


def failed(text: str, **options) -> str:
    verdict = quality.floor(text, KNOWN, **options)
    assert not verdict.is_ok
    return " ".join(verdict.reasons)


def test_prose_passes():
    verdict = quality.floor(PROSE, KNOWN, min_sentences=5)
    assert verdict.is_ok, verdict.reasons
    assert verdict.reasons == ()
    assert verdict.numbers["known_words"] == 1.0
    assert verdict.numbers["distinct_bigrams"] > 0.9
    assert verdict.numbers["n_sentences"] == 6


def test_one_word_over_and_over_fails():
    reasons = failed("the " * 60)
    assert "distinct pairs" in reasons
    assert "second time" in reasons


def test_a_loop_fails_although_its_pairs_are_distinct_enough():
    reasons = failed(PROSE + " " + PROSE[:200])
    assert "second time" in reasons
    assert "distinct" not in reasons


def test_nonsense_words_fail():
    noise = random.Random(0)
    text = " ".join("".join(noise.choices("bcdfgaeiou", k=6)) for _ in range(60)) + "."
    assert "known words" in failed(text)


@pytest.mark.parametrize(("share", "is_ok"), [(0.92, True), (0.88, False)])
def test_the_share_of_known_words_is_at_least_nine_tenths(share, is_ok):
    said = quality.words(PROSE)[:50]
    n_wrong = round(50 * (1 - share))
    assert (
        quality.floor(
            " ".join(["zzqx"] * 0 + [f"zz{'abcdef'[i]}q" for i in range(n_wrong)] + said[n_wrong:]), KNOWN
        ).is_ok
        == is_ok
    )


@pytest.mark.parametrize("text", ["", "...", "The fox.", "12 34 56"])
def test_a_text_too_short_to_judge_fails(text):
    assert "fewer than 20" in failed(text)


def test_a_text_without_sentences_fails_where_sentences_are_asked_for():
    text = " ".join(quality.words(PROSE))
    assert quality.floor(text, KNOWN).is_ok
    assert "sentences" in failed(text, min_sentences=3)


def test_words():
    assert quality.words("Tom’s cat -- it's 3 o'clock! 你好。") == ["tom's", "cat", "it's", "o'clock", "你", "好"]
