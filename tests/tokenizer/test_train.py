"""Training: the same merges as Hugging Face tokenizers, and as counting everything anew after each merge."""

import json
import lzma
import random
import tarfile
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Judge

from groundup.errors import DataError, UsageError
from groundup.tokenizer import train as training
from groundup.tokenizer.alphabet import spell
from groundup.tokenizer.split import PATTERNS
from groundup.tokenizer.train import DEFAULT_SPECIALS, count, merge, train

FABLE = (
    "A fox once saw a crow fly off with a piece of cheese in its beak and settle on a branch of a tree. "
    '"That\'s for me, as I am a fox," said he, and he walked up to the foot of the tree. "Good day, Crow!"\n\n'
) * 3
CHINESE = "狐狸看见乌鸦嘴里叼着一块奶酪，落在树枝上。“这是我的，因为我是狐狸。”他走到树下，说：“你好，乌鸦！”\n" * 3
CODE = "def add(a, b):\n    return a + b\n\n\nfor i in range(100):\n    print(add(i, i + 1))  # 1234567\n" * 2
RUNS = "aaaa aaaaa aaaaaaa bbb bababab ababa   \n\n\n\n ----- =====\n" * 2
# Every pair of a shuffled alphabet comes once: all counts are ties.
TIES = " ".join("".join(random.Random(seed).sample("abcdefghijklmnop", 16)) for seed in range(8))
CORPORA = {"english": FABLE, "chinese": CHINESE, "code": CODE, "runs": RUNS, "ties": TIES}


def judge_for(texts, vocab_size, pattern, special_tokens=DEFAULT_SPECIALS):
    """What Hugging Face tokenizers learn from the same texts."""
    judge = Judge(models.BPE())
    judge.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERNS[pattern]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    judge.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    judge.train_from_iterator(texts, trainer)
    return judge


def spelled_merges(tokenizer):
    tokens = tokenizer.token_bytes
    return [[spell(tokens[left]), spell(tokens[right])] for left, right in tokenizer.merges.tolist()]


def merges_of(judge):
    return json.loads(judge.to_str())["model"]["merges"]


def n_possible(texts, pattern):
    return len(merge(count(texts, pattern), 10**6))


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k"])
@pytest.mark.parametrize("name", CORPORA)
def test_merges_and_ids_equal_those_of_tokenizers_to_the_last_merge(name, pattern):
    texts = [CORPORA[name], CORPORA[name][:50]]
    vocab_size = 260 + n_possible(texts, pattern)
    ours, judge = train(texts, vocab_size, pattern=pattern), judge_for(texts, vocab_size, pattern)
    assert spelled_merges(ours) == merges_of(judge)
    assert judge.get_vocab_size() == ours.vocab_size == vocab_size
    for text in CORPORA.values():
        assert ours.encode(text).tolist() == judge.encode(text).ids


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("ab \n", max_size=40), min_size=1, max_size=6).filter(lambda texts: any(texts)))
def test_merges_equal_those_of_tokenizers_on_small_alphabets(texts):
    n = n_possible(texts, "gpt2")
    assert spelled_merges(train(texts, 260 + n)) == merges_of(judge_for(texts, 260 + n, "gpt2"))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text("abcd", min_size=1, max_size=8).map(str.encode), st.integers(1, 5), min_size=1))
def test_incremental_counts_equal_counting_anew(count_by_piece):
    words = {piece: [training.BYTES_IN_ORDER.index(byte) for byte in piece] for piece in count_by_piece}
    for new_id, pair in enumerate(merge(count_by_piece, 30).tolist(), 256):
        count_by_pair = Counter()
        for piece, word in words.items():
            for neighbours in zip(word, word[1:], strict=False):
                count_by_pair[neighbours] += count_by_piece[piece]
        assert tuple(pair) == min(count_by_pair, key=lambda candidate: (-count_by_pair[candidate], candidate))
        words = {piece: joined(word, pair, new_id) for piece, word in words.items()}


def joined(word, pair, new_id):
    """The plainest way to join a pair from left to right."""
    result = []
    for i in word:
        result.append(i)
        if result[-2:] == pair:
            result[-2:] = [new_id]
    return result


def test_the_order_of_ids():
    tokenizer = train([FABLE], 300)
    assert tokenizer.special_ids == {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2, "<|pad|>": 3}
    assert tokenizer.token_bytes[:5] == [b"", b"", b"", b"", b"!"]
    assert sorted(tokenizer.token_bytes[4:260]) == [bytes([byte]) for byte in range(256)]
    assert tokenizer.vocab_size == len(tokenizer.token_bytes) == 300
    assert (tokenizer.eos_id, tokenizer.pad_id, tokenizer.stop_ids) == (0, 3, (0, 2))


@pytest.mark.parametrize("special_tokens", [(), ("<|end|>",), DEFAULT_SPECIALS])
def test_the_vocabulary_has_exactly_the_size_asked_for(special_tokens):
    assert train([FABLE], 300, special_tokens=special_tokens).vocab_size == 300
    assert train([FABLE], 256 + len(special_tokens), special_tokens=special_tokens).vocab_size == 256 + len(
        special_tokens
    )


def test_the_order_of_texts_and_their_type_make_no_difference():
    texts = [FABLE, CHINESE, CODE]
    expected = train(texts, 400).hash
    assert train(reversed(texts), 400).hash == expected
    assert train([text.encode() for text in texts], 400).hash == expected


def test_child_processes_count_the_same(monkeypatch):
    monkeypatch.setattr(training, "BATCH_CHARACTERS", 500)
    texts = [FABLE, CHINESE, CODE, RUNS] * 4
    assert count(texts, processes=2) == count(texts)


def test_bytes_that_are_not_text_are_learned_too():
    tokenizer = train([b"\xff\xfe\xff\xfe\xff\xfe " * 10], 262)
    assert tokenizer.decode_bytes(tokenizer.encode(b"\xff\xfe\xff")) == b"\xff\xfe\xff"
    assert b"\xff\xfe" in tokenizer.token_bytes or b"\xfe\xff" in tokenizer.token_bytes


def test_progress_is_told_in_bytes_and_merges():
    told = []
    train([FABLE, CHINESE], 400, progress=lambda what, n: told.append((what, n)))
    n_bytes = len((FABLE + CHINESE).encode())
    assert ("bytes", n_bytes) in told
    assert told[-1] == ("merges", 140)


def test_memory_of_counting_is_bounded():
    words = [f"w{i:x}".translate(str.maketrans("0123456789", "ghijklmnop")) for i in range(5000)]
    texts = ["frequent "] * 50 + words
    counted = training.Counter()
    for start in range(0, len(texts), 500):
        counted.update(texts[start : start + 500])
        training._forget_rarest(counted, 1000)
        assert len(counted) <= 1000
    assert counted["frequent "] == 50
    assert len(count(["a b c d " * 3 + "x y z"], max_pieces=5)) <= 5


def test_an_endless_word_is_cut_and_does_not_slow_training_down():
    started = time.monotonic()
    train(["中文" * 200_000, FABLE], 300)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("special_tokens", [("<|a|>", "<|a|>"), ("pad",), ("||",), ("",)])
def test_special_tokens_that_text_could_spell_are_refused(special_tokens):
    with pytest.raises(UsageError):
        train([FABLE], 300, special_tokens=special_tokens)


def test_bad_input_is_told_in_one_sentence():
    with pytest.raises(UsageError, match="vocabulary of 200 is too small") as too_small:
        train([FABLE], 200)
    assert "260" in str(too_small.value.hint)
    with pytest.raises(UsageError, match="too large"):
        train([FABLE], 2_000_000)
    with pytest.raises(DataError, match="only 3 merges are possible") as too_little:
        train(["abcd"], 4096)
    assert "--vocab-size 263" in str(too_little.value.hint)
    for nothing in ([], [""], [b""]):
        with pytest.raises(DataError, match="no text"):
            train(nothing, 300)


def test_a_single_character_is_enough_for_no_merges():
    assert train(["a"], 260).encode("a").tolist() == [68]


def test_ten_megabytes_of_english_to_4096_tokens_take_seconds_and_equal_tokenizers(shared_data):
    file = shared_data / "pretrain" / "en" / "classic_books.tar.xz"
    text = ""
    with lzma.open(file) as opened, tarfile.open(fileobj=opened, mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member)
            text += content.read().decode("utf-8", "replace") if content else ""
            if len(text) > 10_000_000:
                break
    texts = [text[start : start + 1_000_000] for start in range(0, 10_000_000, 1_000_000)]
    started = time.monotonic()
    tokenizer = train(texts, 4096)
    assert time.monotonic() - started < 30
    assert spelled_merges(tokenizer) == merges_of(judge_for(texts, 4096, "gpt2"))
    started = time.monotonic()
    ids, _ = tokenizer.encode_batch(texts)
    assert time.monotonic() - started < 10
    assert tokenizer.decode(ids) == "".join(texts)
