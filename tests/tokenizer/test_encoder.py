"""The compiled form gives the ids of the plain form, for any tokenizer and any bytes."""

import random
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.tokenizer import compiled, segments
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.split import FAMILIES, PATTERNS, as_bytes, as_text, pieces
from groundup.tokenizer.train import train

PIECES = ["a", "B", "é", "É", "ǅ", "ʰ", "字", "，", "\u0301", "5", "٣", "½", " ", "\n", "\r", "\t", "\u3000", "\xa0"]
PIECES += [
    "'",
    "s",
    "S",
    "ſ",
    "ll",
    "re",
    "ve",
    "'s",
    "/",
    ".",
    "“",
    "😀",
    "\x00",
    "\x85",
    "\u2028",
    "K",
    "the",
    " the",
]
BROKEN = [b"\xff", b"\xe5", b"\xe5\xad", b"\xed\xa0\x80", b"\xf0\x9f\x98", b"\xc0\x80", b"\xf4\x90\x80\x80"]
ANY_BYTES = st.lists(st.sampled_from([piece.encode() for piece in PIECES] + BROKEN), max_size=200).map(b"".join)

CORPUS = [
    "The cat's mat isn't the hat's, they'll say. We've 1234 reasons, 12 of them good!\n\n  Then: a  new line.\n" * 3,
    "我有一只猫，它叫咪咪。咪咪很可爱。\u3000\u3000她说：“你好！”" * 3,
    "def f(x):\n    return x / 2  # half\n\n\nclass A:\n\tpass\n" * 3,
]


@pytest.fixture(scope="module")
def encoder_of():
    assert compiled.ready()
    return compiled.load("encoder").Encoder


def encode(encoder, data: bytes) -> list[int]:
    ids = [part for part, _ in encoder.encode(segments.jobs([data]))]
    return np.concatenate([np.zeros(0, np.uint32), *ids]).tolist()


def random_merges(rng: random.Random, n_merges: int) -> tuple[list[bytes], list[tuple[int, int]]]:
    """Tokens and merges that no training gave: some cannot be reached, some make a token that is there."""
    tokens = [bytes([byte]) for byte in range(256)]
    few = [tokens.index(character.encode()) for character in "ab c1'"]
    merges = []
    for _ in range(n_merges):
        pool = few + list(range(256, len(tokens)))
        left, right = rng.choice(pool), rng.choice(pool)
        if len(joined := tokens[left] + tokens[right]) < 12 and (left, right) not in merges:
            merges.append((left, right))
            if joined not in tokens:
                tokens.append(joined)
    return tokens, merges


@pytest.mark.parametrize("pattern", [name for name in PATTERNS if name != "llama3"])
def test_splits_and_ids_are_those_of_the_plain_form(encoder_of, pattern):
    tokenizer = train(CORPUS, 340, pattern=pattern)
    encoder = encoder_of(tokenizer)
    bytes_alone = encoder_of(BPE([bytes([b]) for b in range(256)], [], {}, pattern))

    @settings(deadline=None, max_examples=150)
    @given(ANY_BYTES | st.binary() | st.text().map(str.encode))
    def same(data):
        assert encode(encoder, data) == tokenizer.encode_plainly([data])[0].tolist()
        assert bytes(encode(bytes_alone, data)) == data

    same()


@pytest.mark.parametrize("whole_first", [False, True])
@pytest.mark.parametrize("by_result", [False, True])
def test_merges_that_no_training_gave(encoder_of, by_result, whole_first):
    rng = random.Random(by_result)
    n_refused = 0
    for _ in range(200):
        tokens, merges = random_merges(rng, rng.choice([3, 10, 40]))
        if by_result and rng.random() < 0.5:  # a token may then come before its halves
            rest = tokens[256:]
            rng.shuffle(rest)
            tokens = tokens[:256] + rest
        tokenizer = BPE(tokens, None if by_result else merges, {}, whole_first=whole_first)
        try:
            encoder = encoder_of(tokenizer)
        except ValueError:
            n_refused += 1
            continue
        for length in [1, 2, 3, 5, 8, 13, 21, 200]:
            for alphabet in ("ab", "a", "abc", "ab c1'"):
                data = "".join(rng.choice(alphabet) for _ in range(length)).encode()
                assert encode(encoder, data) == tokenizer.encode_plainly([data])[0].tolist(), (tokens[256:], data)
    assert n_refused < 150


def test_merges_out_of_order_are_left_to_the_plain_form(encoder_of):
    tokens = [bytes([byte]) for byte in range(256)] + [b"ab", b"abc"]
    merges = [(256, ord("c")), (ord("a"), ord("b"))]
    with pytest.raises(ValueError):
        encoder_of(BPE(tokens, merges, {}))
    tokenizer = BPE(tokens, merges, {})
    assert tokenizer.encode("abc " * 500_000).tolist() == [257, 32] * 500_000


def test_what_is_there_twice_is_left_to_the_plain_form(encoder_of):
    tokens = [bytes([byte]) for byte in range(256)]
    twice = [
        BPE([*tokens, b"ab", b"bc"], [(97, 98), (98, 99), (97, 98)], {}),  # the later one counts, as in tokenizers
        BPE([*tokens, b"ab", b"ab"], [(97, 98)], {}, whole_first=True),
    ]
    assert twice[0].encode("abc").tolist() == [97, 257]
    for tokenizer in twice:
        with pytest.raises(ValueError):
            encoder_of(tokenizer)


def test_more_ids_than_fit_the_kernels_are_left_to_the_plain_form(monkeypatch):
    monkeypatch.setattr(compiled, "serves", lambda *n_bytes: True)
    names = {f"<|{i}|>": 256 + i for i in range(2**20 - 256 + 1)}
    tokenizer = BPE([*(bytes([byte]) for byte in range(256)), *[b""] * len(names)], [], names)
    assert tokenizer.encode("ab").tolist() == [97, 98]
    assert "_encoder" not in tokenizer.__dict__


def test_a_text_is_not_cut_where_a_pattern_of_ones_own_has_a_piece():
    tokenizer = BPE([*(bytes([byte]) for byte in range(256)), b"b "], [(98, 32)], {}, "[a-z ]+")
    text = "ab " * 100_000
    assert tokenizer.encode(text).tolist() == tokenizer.encode_plainly([text])[0].tolist() == [97, 256] * 100_000


@pytest.mark.parametrize("text", ["a", " ", "\n", "7", "，", "\xff"])
def test_long_runs_take_no_longer_than_they_are(encoder_of, text):
    tokenizer = train([text * 5000, *CORPUS], 300, pattern="cl100k")
    encoder = encoder_of(tokenizer)
    data = text.encode() * 20_000
    assert encode(encoder, data) == tokenizer.encode_plainly([data])[0].tolist()
    data = text.encode() * 1_000_000  # quadratic work would take hours
    assert tokenizer.decode_bytes(encode(encoder, data)) == data


def test_long_texts_and_short_ones_in_any_number_of_threads(encoder_of):
    tokenizer = train(CORPUS, 340, pattern="cl100k")
    rng = random.Random(3)
    texts = ["".join(rng.choices(PIECES, k=rng.choice([0, 1, 10, 1000, 300_000]))).encode() for _ in range(20)]
    expected, offsets = tokenizer.encode_plainly(texts)
    encoder = encoder_of(tokenizer)
    for threads in (1, 2, 5):
        parts = list(encoder.encode(segments.jobs(texts), threads))
        assert np.concatenate([ids for ids, _ in parts]).tolist() == expected.tolist()
        lengths = [n for ids, ends in parts for n in ends.tolist()]
        assert len(lengths) == len(texts) == len(offsets) - 1


def test_python_threads_that_call_at_once(encoder_of):
    tokenizer = train(CORPUS, 340, pattern="cl100k")
    tokenizer.__dict__["_encoder"] = encoder_of(tokenizer)
    texts = [text * 200 for text in CORPUS]
    expected = [tokenizer.encode_plainly([text])[0].tolist() for text in texts]
    wrong = []

    def work():
        for _ in range(20):
            wrong.extend(i for i, text in enumerate(texts) if tokenizer.encode(text).tolist() != expected[i])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_text_in_segments_splits_as_the_whole():
    for name in [name for name, pattern in PATTERNS.items() if pattern in FAMILIES]:
        for text in CORPUS:
            data = text.encode()
            whole = [as_bytes(piece) for piece in pieces(as_text(data), name)]
            parts = [data[a:b] for a, b in segments.segments(data, 20)]
            assert len(parts) > 1
            assert [as_bytes(piece) for part in parts for piece in pieces(as_text(part), name)] == whole


def test_the_tables_are_used_from_a_large_text_on(monkeypatch):
    tokenizer = train(CORPUS, 340)
    text = CORPUS[0] * 100
    asked = []
    monkeypatch.setattr(compiled, "serves", lambda *n_bytes: asked.append(n_bytes) or len(asked) > 2)
    for _ in range(3):
        assert tokenizer.encode(text).tolist() == tokenizer.encode_plainly([text])[0].tolist()
    assert "_encoder" in tokenizer.__dict__
    assert asked == [(n, n * i) for i, n in enumerate([len(text)] * 3, 1)]
