"""Training: the same merges as Hugging Face tokenizers, and as counting everything anew after each merge."""

import errno
import json
import lzma
import random
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Judge

from groundup.errors import ArtefactError, DataError, EnvironmentFault, UsageError
from groundup.tokenizer import compiled, counts, merges, segments
from groundup.tokenizer import train as training
from groundup.tokenizer.alphabet import BYTES_IN_ORDER, spell
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.counts import Counts
from groundup.tokenizer.merges import TIES
from groundup.tokenizer.split import PATTERNS, as_bytes, as_text, pieces
from groundup.tokenizer.train import DEFAULT_SPECIALS, count, extend, join, learn, merge, train

FABLE = (
    "A fox once saw a crow fly off with a piece of cheese in its beak and settle on a branch of a tree. "
    '"That\'s for me, as I am a fox," said he, and he walked up to the foot of the tree. "Good day, Crow!"\n\n'
) * 3
CHINESE = "狐狸看见乌鸦嘴里叼着一块奶酪，落在树枝上。“这是我的，因为我是狐狸。”他走到树下，说：“你好，乌鸦！”\n" * 3
CODE = "def add(a, b):\n    return a + b\n\n\nfor i in range(100):\n    print(add(i, i + 1))  # 1234567\n" * 2
RUNS = "aaaa aaaaa aaaaaaa bbb bababab ababa   \n\n\n\n ----- =====\n" * 2
# Every pair of a shuffled alphabet comes once: all counts are ties.
TIED = " ".join("".join(random.Random(seed).sample("abcdefghijklmnop", 16)) for seed in range(8))
CORPORA = {"english": FABLE, "chinese": CHINESE, "code": CODE, "runs": RUNS, "ties": TIED}


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
    words = {piece: [BYTES_IN_ORDER.index(byte) for byte in piece] for piece in count_by_piece}
    for new_id, pair in enumerate(merges.merge(count_by_piece, 30).tolist(), 256):
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


@pytest.fixture
def always_compiled(monkeypatch):
    assert compiled.ready()
    monkeypatch.setattr(compiled, "serves", lambda *n_bytes: True)
    monkeypatch.setattr(training, "WORTH_COMPILING", 0)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_the_compiled_form_counts_the_same(always_compiled, pattern, threads):
    texts = [FABLE, CHINESE, CODE, RUNS, "long" * 1000, b"\xff\xfe broken"] * 3
    plain = Counter(map_of(texts, pattern))
    counted = count(texts, pattern, threads=threads)
    assert dict(counted.items()) == plain
    assert len(counted) == len(plain)
    assert counted.n_bytes == sum(len(text) if isinstance(text, bytes) else len(text.encode()) for text in texts)


def map_of(texts, pattern):
    return [as_bytes(piece) for text in texts for piece in pieces(as_text(text), pattern)]


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("name", CORPORA)
def test_the_compiled_form_merges_the_same(always_compiled, name, ties):
    counted = count([CORPORA[name]])
    plain = merges.merge(dict(counted.items()), 10**5, ties=merges.TIES[ties])
    assert merge(counted, 10**5, ties=ties).tolist() == plain.tolist()
    assert merge(counted, len(plain) // 2, ties=ties).tolist() == plain[: len(plain) // 2].tolist()


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.text("abcd", min_size=1, max_size=20).map(str.encode), st.integers(1, 9), min_size=1),
    st.sampled_from(list(TIES)),
)
def test_the_compiled_form_merges_any_pieces_the_same(count_by_piece, ties):
    assert compiled.ready()
    rule = merges.TIES[ties]
    id_by_byte = np.array([rule.byte_order.index(byte) for byte in range(256)], np.int32)
    found = compiled.load("merger").merge(
        counts.from_items(count_by_piece.items(), "gpt2"),
        1000,
        id_by_byte=id_by_byte,
        lexicographic=rule.greatest_bytes,
    )
    assert found.tolist() == merges.merge(count_by_piece, 1000, ties=rule).tolist()


def test_the_compiled_form_makes_room_when_it_has_none(always_compiled, monkeypatch):
    rng = random.Random(5)
    texts = [" ".join("".join(rng.choices("abcdefgh", k=rng.randint(1, 9))) for _ in range(20_000))]
    counted = count(texts)
    plain = merges.merge(dict(counted.items()), 3000)
    merger = compiled.load("merger")
    monkeypatch.setattr(merger, "IN_MEMORY", 1000)  # all of it in files
    monkeypatch.setattr(merger, "FIRST_PAIRS", 2**8)
    monkeypatch.setattr(merger, "POOL", 1.0)
    assert merge(counted, 3000).tolist() == plain.tolist()


def test_the_compiled_form_makes_room_in_a_heap_of_any_size(always_compiled, monkeypatch):
    rng = random.Random(6)
    counted = count([" ".join("".join(rng.choices("abcd", k=rng.randint(1, 9))) for _ in range(300))])
    plain = merges.merge(dict(counted.items()), 300)
    merger = compiled.load("merger")
    for size in range(30, 600):  # in one of them the room is just what a merge may need
        monkeypatch.setattr(merger, "FIRST_HEAP", size)
        assert merge(counted, 300).tolist() == plain.tolist()


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.text("abcdef", min_size=2, max_size=8).map(str.encode), st.integers(1, 9), min_size=5),
    st.sampled_from(list(TIES)),
    st.integers(1, 60),
    st.integers(0, 9),
)
def test_pairs_that_are_too_rare_to_be_kept_are_not_merged_before_others(count_by_piece, ties, n_merges, least):
    assert compiled.ready()
    n_bytes = least * compiled.load("merger").RARE * n_merges
    counted = counts.from_items(count_by_piece.items(), "gpt2", n_bytes=n_bytes)
    found = compiled_merge(counted, n_merges, ties)
    assert found.tolist() == merges.merge(count_by_piece, n_merges, ties=TIES[ties]).tolist()


def compiled_merge(counted, n_merges, ties="bytes"):
    id_by_byte = np.array([TIES[ties].byte_order.index(byte) for byte in range(256)], np.int32)
    merge = compiled.load("merger").merge
    return merge(counted, n_merges, id_by_byte=id_by_byte, lexicographic=TIES[ties].greatest_bytes)


def test_counts_above_32_bits():
    count_by_piece = {b"abc": 2**40, b"abd": 2**40 + 1, b"bc": 2**41}
    counted = counts.from_items(count_by_piece.items(), "gpt2")
    assert compiled.ready()
    assert compiled_merge(counted, 4).tolist() == merges.merge(count_by_piece, 4, ties=TIES["bytes"]).tolist()


def test_a_pair_in_more_places_than_the_table_has_room_for(monkeypatch):
    assert compiled.ready()
    monkeypatch.setattr(compiled.load("merger"), "FIRST_PAIRS", 2**6)
    counted = counts.from_items([(b"xy" * 40, 5)], "gpt2")  # looked for room for ever
    assert compiled_merge(counted, 3).tolist() == [[120, 121], [256, 256], [257, 257]]


@pytest.mark.parametrize("judge", ["rustbpe", "CS336"])
def test_ties_of_others(judge):
    """rustbpe numbers bytes by their value; the naive way to break ties by bytes is written out here."""
    count_by_piece = dict(count([CORPORA["ties"]]).items())
    words = {piece: [bytes([byte]) for byte in piece] for piece in count_by_piece}
    ties = {"rustbpe": "bytes", "CS336": "lexicographic"}[judge]
    tokens = [bytes([byte]) for byte in range(256)]
    for left, right in merges.merge(count_by_piece, 200, ties=merges.TIES[ties]).tolist():
        count_by_pair = Counter()
        for piece, word in words.items():
            for pair in zip(word, word[1:], strict=False):
                count_by_pair[pair] += count_by_piece[piece]
        most = max(count_by_pair.values())
        equal = [pair for pair, n in count_by_pair.items() if n == most]
        pick = min(equal, key=lambda pair: [tokens.index(t) for t in pair]) if judge == "rustbpe" else max(equal)
        assert (tokens[left], tokens[right]) == pick
        tokens.append(tokens[left] + tokens[right])
        words = {piece: joined(word, list(pick), b"".join(pick)) for piece, word in words.items()}


def test_rustbpe_learns_the_same():
    rustbpe = pytest.importorskip("rustbpe")
    texts = list(CORPORA.values())
    judge = rustbpe.Tokenizer()
    judge.train_from_iterator(iter(texts), 600, pattern=PATTERNS["cl100k"])
    ours = train(texts, 600, pattern="cl100k", special_tokens=(), ties="bytes")
    ranks = dict((bytes(token), rank) for token, rank in judge.get_mergeable_ranks())
    assert ours.id_by_token == ranks


# --- what is too much for memory ---


def test_plain_counts_that_outgrow_memory_are_spilled_and_nothing_is_lost(monkeypatch):
    words = [f"w{i:x}".translate(str.maketrans("0123456789", "ghijklmnop")) for i in range(5000)] * 2
    expected = dict(count([" ".join(words)]).items())
    monkeypatch.setattr(training, "MOST_PIECES", 300)
    monkeypatch.setattr("groundup.tokenizer.segments.SEGMENT", 1000)
    assert dict(count([" ".join(words)]).items()) == expected


@pytest.mark.parametrize("threads", [1, 3])
def test_compiled_counts_that_outgrow_memory_are_spilled_and_nothing_is_lost(threads):
    assert compiled.ready()
    rng = random.Random(1)
    texts = [" ".join("".join(rng.choices("abcdef", k=rng.choice([2, 5, 30]))) for _ in range(9000)) for _ in range(12)]
    counter = compiled.load("counter").Counter("gpt2", most_slots=2**14, most_store=2**17)
    counter.count(segments.jobs(text.encode() for text in texts), threads)
    assert counter._spilled is not None
    assert Counter(dict(counter.result().items())) == Counter(map_of(texts, "gpt2"))


def test_few_pieces_that_are_very_long_are_joined_on_disk(monkeypatch):
    assert compiled.ready()
    monkeypatch.setattr(compiled.load("counter"), "LARGE", 0)
    counter = compiled.load("counter").Counter("gpt2")
    counter.count(segments.jobs([b"a" * 100_000, b"b" * 70_000]))
    assert dict(counter.result().items()) == {b"a" * 100_000: 1, b"b" * 70_000: 1}


def test_a_full_disk_is_said_to_be_full(monkeypatch, tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no device that is always full")
    assert compiled.ready()
    (tmp_path / "pieces").symlink_to("/dev/full")
    with pytest.raises(EnvironmentFault, match="disk is full"):
        compiled.load("counter")._append(tmp_path, pieces=np.zeros(10**6, np.uint8))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    monkeypatch.setattr(compiled.load("merger"), "IN_MEMORY", 10)
    with pytest.raises(EnvironmentFault, match="disk is full"):
        compiled_merge(count([FABLE]), 10)


def test_more_places_than_the_kernels_can_tell_apart(monkeypatch):
    assert compiled.ready()
    monkeypatch.setattr(compiled.load("merger"), "MOST", 1000)
    with pytest.raises(DataError, match="too many distinct pieces"):
        compiled_merge(count([FABLE, CODE, CHINESE]), 10)


def test_a_pattern_of_ones_own_is_never_cut():
    text = "ab " * 100_000
    assert dict(count([text], "[a-z ]+").items()) == {text.encode(): 1}


# --- counts that are kept ---


def test_counts_are_saved_joined_and_trained_on(tmp_path):
    whole = train([FABLE, CODE, CHINESE], 400)
    for name, texts in {"a": [FABLE, CODE], "b": [CHINESE]}.items():
        count(texts, special_tokens=DEFAULT_SPECIALS).save(tmp_path / name)
    parts = [Counts.load(tmp_path / name) for name in "ab"]
    assert learn(join(parts), 400).hash == whole.hash
    assert join(parts).n_bytes == len((FABLE + CODE + CHINESE).encode())
    with pytest.raises(DataError, match="differ in pattern"):
        join([parts[0], count([FABLE], "cl100k")])


def test_damaged_counts_are_refused(tmp_path):
    count([FABLE]).save(tmp_path / "a")
    (tmp_path / "a" / "counts.bin").write_bytes(b"12345678")
    with pytest.raises(ArtefactError):
        Counts.load(tmp_path / "a")
    with pytest.raises(ArtefactError):
        Counts.load(tmp_path / "nothing")


@pytest.mark.parametrize("compile_it", [False, True])
def test_going_on_to_a_larger_vocabulary(compile_it, request):
    if compile_it:
        request.getfixturevalue("always_compiled")
    counted = count([FABLE, CODE, CHINESE], special_tokens=DEFAULT_SPECIALS)
    small = learn(counted, 300)
    assert extend(small, counted, 420).hash == learn(counted, 420).hash
    on_new_text = extend(small, count([RUNS], special_tokens=DEFAULT_SPECIALS), 310)
    assert on_new_text.token_bytes[:300] == small.token_bytes
    assert on_new_text.vocab_size == 310
    with pytest.raises(UsageError, match="has 300 tokens already"):
        extend(small, counted, 300)
    with pytest.raises(DataError, match="split by 'cl100k'"):
        extend(small, count([FABLE], "cl100k"), 400)
    with pytest.raises(DataError, match="merges are possible"):
        extend(small, counted, 40_000)


def test_what_cannot_be_extended_is_told_in_one_sentence():
    counted = count([FABLE])
    tokens = [bytes([byte]) for byte in range(256)]
    for kept, merges_there, why in [
        ([*tokens[1:], b"ab"], [(96, 97)], "no token for some bytes"),
        ([*tokens, b"abc", b"ab"], [(257, 99), (97, 98)], "before they are made"),
        ([*tokens, b"abc", b"ab"], [(257, 99)], "before they are made"),
    ]:
        with pytest.raises(DataError, match=why):
            extend(BPE(kept, merges_there, {}), counted, 300)


def test_special_tokens_in_the_text_are_cut_out_the_longest_first():
    text = "ab<|a|><|a|>x<|a|>cd<|a|>" * 5
    counted = count([text], special_tokens=("<|a|>", "<|a|>x"))
    assert dict(counted.items()) == {b"ab": 5, b"cd": 5}


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


def test_an_endless_word_does_not_slow_training_down(always_compiled):
    train(["中文" * 200_000, FABLE], 300)  # quadratic work would take minutes


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


def test_ten_megabytes_of_english_to_4096_tokens_equal_tokenizers(shared_data):
    file = shared_data / "pretrain" / "en" / "classic_books.tar.xz"
    text = ""
    with lzma.open(file) as opened, tarfile.open(fileobj=opened, mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member)
            text += content.read().decode("utf-8", "replace") if content else ""
            if len(text) > 10_000_000:
                break
    texts = [text[start : start + 1_000_000] for start in range(0, 10_000_000, 1_000_000)]
    tokenizer = train(texts, 4096, threads=2)
    assert spelled_merges(tokenizer) == merges_of(judge_for(texts, 4096, "gpt2"))
    ids, _ = tokenizer.encode_batch(texts)
    assert tokenizer.decode(ids) == "".join(texts)
