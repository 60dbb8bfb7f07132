"""No cut inside a character, and the longest beginning that allows it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from groundup.data.cutting import cut, pause_after, pieces, unfinished
from groundup.tokenizer import train

TOKENIZER = train.train(["天气 café"], 262)  # almost single bytes, so that most characters take several ids


@given(st.text(max_size=40), st.integers(1, 30))
def test_cut_is_the_longest_whole_beginning(text: str, n: int) -> None:
    ids = TOKENIZER.encode(text)
    kept = cut(ids, n, TOKENIZER)

    def is_whole(count: int) -> bool:
        try:
            TOKENIZER.decode_bytes(ids[:count].tolist()).decode()
        except UnicodeDecodeError:
            return False
        return True

    encodable = text.encode("utf-8", "replace").decode() == text
    if encodable:
        assert len(kept) == max(count for count in range(min(n, len(ids)) + 1) if is_whole(count))


@given(st.binary(max_size=60), st.integers(4, 20))
def test_pieces_of_any_bytes_are_all_of_them(raw: bytes, n: int) -> None:
    ids = TOKENIZER.encode(raw)
    parts = list(pieces(ids, n, TOKENIZER))
    assert all(0 < len(part) <= n for part in parts)
    assert b"".join(TOKENIZER.decode_bytes(part.tolist()) for part in parts) == raw


@given(st.characters(exclude_categories=["Cs"]))
def test_unfinished_counts_the_bytes_of_each_beginning(character: str) -> None:
    raw = character.encode()
    assert [unfinished(b"x" + raw[:i]) for i in range(len(raw) + 1)] == [*range(len(raw)), 0]


def test_pause_prefers_blank_lines_then_lines_then_sentences() -> None:
    def divided(text: str) -> str:
        ids = TOKENIZER.encode(text)
        return TOKENIZER.decode(ids[: pause_after(ids, round(0.8 * len(ids)), TOKENIZER)].tolist())

    start = "word " * 78
    assert divided(start + "a. b\nc\n\nd" + " word" * 20) == start + "a. b\nc\n\n"
    assert divided(start + "a. b\nc d" + " word" * 20) == start + "a. b\n"
    assert divided(start + "a. b c" + " word" * 20) == start + "a."
    assert np.isclose(len(divided("天" * 500)), 400, atol=1)
