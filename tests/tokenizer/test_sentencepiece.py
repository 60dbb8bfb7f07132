"""SentencePiece BPE: ids of the `sentencepiece` package, every text comes back, files in both forms."""

import pickle
import random
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.errors import ArtefactError, UsageError
from groundup.tokenizer.protocol import Tokenizer
from groundup.tokenizer.sentencepiece import SPACE, SentencePieceBPE
from groundup.tokenizer.sentencepiece_joins import join

sentencepiece = pytest.importorskip("sentencepiece")

TEXT = [
    "The cat's hat: 12 cats, 345 hats!   你好，世界。naïve 😀 aaaaaaa",
    "  the cat sat on the mat      with    the hat",
    "你好你好世界世界 ababab abab ab",
] * 4
SAMPLES = [
    "",
    " ",
    "  ",
    " a",
    "a ",
    "the cat\n\nthe\tcat\r\n",
    " " * 50,
    "a" * 100,
    "狐狸 한국어 😀👩‍👩‍👧 \u0301 \x00 <0x41> <s",
    *TEXT,
]
TEXTS = st.lists(st.sampled_from([*"abth 12\n你😀é", "the", " cat", "  "]) | st.characters(codec="utf-8")).map("".join)
ANY = TEXTS | st.text(st.characters(codec=None)) | st.text("a ▁<0x41>\udc80\ud800", max_size=20)


def trained(**options):
    """What the package trains: its own processor and the bytes of the file."""
    writer = BytesIO()
    settings = {
        "model_type": "bpe",
        "vocab_size": 330,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "hard_vocab_limit": False,
        "minloglevel": 2,
    }
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(TEXT), model_writer=writer, **(settings | options))
    return sentencepiece.SentencePieceProcessor(model_proto=writer.getvalue()), writer.getvalue()


MODELS = {
    "as Llama 2": trained(),
    "no dummy prefix": trained(add_dummy_prefix=False),
    "spaces inside pieces": trained(split_by_whitespace=False, vocab_size=350),
    "spaces alone": trained(allow_whitespace_only_pieces=True, split_digits=True),
    "symbols": trained(user_defined_symbols=["<think>", "->"], control_symbols=["[INST]"], pad_id=3, vocab_size=335),
}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    read = {}
    for name, (_, data) in MODELS.items():
        file = tmp_path_factory.mktemp("sp") / "tokenizer.model"
        file.write_bytes(data)
        read[name] = Tokenizer.load(file)
    return read


@pytest.mark.parametrize("name", MODELS)
def test_ids_are_those_of_the_package(name, ours):
    theirs = MODELS[name][0]
    assert ours[name].vocab_size == theirs.vocab_size()
    for text in SAMPLES:
        ids = ours[name].encode(text).tolist()
        assert ids == theirs.encode(text)
        assert ours[name].decode(ids) == text == theirs.decode(ids)


@settings(deadline=None, max_examples=150)
@given(TEXTS)
def test_ids_of_any_text_are_those_of_the_package(ours, text):
    for name, (theirs, _) in MODELS.items():
        if SPACE not in text and not ("->" in text and name == "symbols"):
            assert ours[name].encode(text).tolist() == theirs.encode(text)


@settings(deadline=None, max_examples=150)
@given(ANY)
def test_every_text_comes_back_lone_surrogates_and_the_sign_of_the_space_included(ours, text):
    for tokenizer in ours.values():
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert tokenizer.encode(text.encode("utf-8", "surrogatepass")).tolist() == ids.tolist()


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_all_bytes_come_back(ours, data):
    for tokenizer in ours.values():
        assert tokenizer.decode_bytes(tokenizer.encode(data)) == data


def test_the_sign_of_the_space_is_kept_apart_from_the_space(ours):
    """The package reads U+2581 as a space; here it is the bytes it consists of, so that it comes back."""
    theirs, tokenizer = MODELS["as Llama 2"][0], ours["as Llama 2"]
    assert theirs.decode(theirs.encode(f"a{SPACE}b")) == "a b"
    ids = tokenizer.encode(f"a{SPACE}b").tolist()
    assert ids[-4:-1] == [theirs.piece_to_id(f"<0x{byte:02X}>") for byte in SPACE.encode()]
    assert tokenizer.decode(ids) == f"a{SPACE}b"


@settings(deadline=None, max_examples=100)
@given(ANY)
def test_a_stream_gives_the_same_text(ours, text):
    tokenizer = ours["as Llama 2"]
    stream = tokenizer.stream()
    for _ in range(2):  # a stream can be used anew
        parts = [stream.push(i) for i in tokenizer.encode(text).tolist()]
        assert "".join(parts) + stream.flush() == tokenizer.decode_bytes(tokenizer.encode(text)).decode(
            errors="replace"
        )


def test_special_tokens_and_symbols_are_made_by_id_only(ours):
    theirs, tokenizer = MODELS["symbols"][0], ours["symbols"]
    ids = {name: theirs.piece_to_id(name) for name in ("<unk>", "<s>", "</s>", "<pad>", "[INST]", "<think>", "->")}
    assert tokenizer.special_ids == ids
    assert tokenizer.shown == {"<think>", "->"}
    assert (tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (0, 1, 2, 3)
    text = "a</s>[INST]<think>b->c<0x41>"
    assert not set(ids.values()) & set(tokenizer.encode(text).tolist())
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert ids["->"] in theirs.encode(text)  # the package makes symbols, never control tokens
    assert ids["</s>"] not in theirs.encode(text)
    allowed = tokenizer.encode(text, allow_special="all").tolist()
    assert [i for i in allowed if i in ids.values()] == [ids[n] for n in ("</s>", "[INST]", "<think>", "->")]
    shown = [1, *tokenizer.encode("the cat").tolist(), ids["<think>"], 2]
    assert tokenizer.decode(shown) == "<s>the cat<think></s>"
    assert tokenizer.decode(shown, skip_special=True) == "the cat<think>"


@pytest.mark.parametrize("name", MODELS)
def test_the_saved_folder_opens_in_transformers_with_equal_ids(name, ours, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer = ours[name]
    tokenizer.save(tmp_path / "a")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "a")
    generator = random.Random(0)
    mixed = [
        "".join(generator.choices(["the", " ", "  ", "ab", "a", "你好", "é", "\n", "😀"], k=12)) for _ in range(300)
    ]
    for text in [*SAMPLES, *mixed, *(" " * n for n in range(80)), *("a" * n for n in range(80))]:
        if "<s" not in text:
            ids = tokenizer.encode(text).tolist()
            assert theirs.encode(text, add_special_tokens=False) == ids
            assert theirs.decode(ids) == text
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.unk_token_id) == (1, 2, 0)
    loaded = Tokenizer.load(tmp_path / "a")
    assert isinstance(loaded, SentencePieceBPE)
    assert (loaded.hash, loaded.shown, loaded.roles) == (tokenizer.hash, tokenizer.shown, tokenizer.roles)
    loaded.save(tmp_path / "b")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


@settings(deadline=None, max_examples=150)
@given(st.lists(ANY | st.sampled_from([" ", "\n", "</", "s>", "<s>", "a  ", "  b"]), max_size=8))
def test_chunks_give_the_ids_of_the_text(ours, chunks):
    text = "".join(chunks)
    for tokenizer in ours.values():
        assert list(tokenizer.encode_iterable(chunks)) == tokenizer.encode(text).tolist()
        allowed = list(tokenizer.encode_iterable(iter(chunks), allow_special="all"))
        assert allowed == tokenizer.encode(text, allow_special="all").tolist()


def test_chunks_are_encoded_as_they_come(ours):
    def words():
        for _ in range(1000):
            yield "the cat"
        raise AssertionError("all of the text was asked for")

    ids = ours["as Llama 2"].encode_iterable(words())
    assert ours["as Llama 2"].decode([next(ids) for _ in range(100)]).startswith("the catthe cat")


def pieces_with(*words):
    return ["", *(f"<0x{byte:02X}>" for byte in range(256)), SPACE, "a", "b", *words]


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.tuples(st.text("ab▁", min_size=2, max_size=4), st.integers(-4, 0)), unique_by=lambda w: w[0], max_size=8
    ),
    st.text("ab ", max_size=25),
)
def test_pieces_of_equal_score_join_as_in_the_package(words, text):
    pieces = pieces_with(*(word for word, _ in words))
    scores = [0.0] * 260 + [float(score) for _, score in words]
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model_of(pieces, scores))
    tokenizer = SentencePieceBPE(pieces, {"<unk>": 0}, scores=scores)
    assert tokenizer.encode(text).tolist() == theirs.encode(text)


def model_of(pieces, scores):
    """The few fields of a file, written by hand."""
    import struct

    def field(number, data):
        size = len(data)
        varint = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
        return bytes([number << 3 | 2]) + varint + data

    data = b""
    for piece, score in zip(pieces, scores, strict=True):
        kind = 2 if not piece else 6 if piece.startswith("<0x") else 1
        data += field(1, field(1, (piece or "<unk>").encode()) + b"\x15" + struct.pack("<f", score) + bytes([24, kind]))
    trainer = b"\x18\x02" + b"\x98\x02\x01" + b"\xc0\x02\x00" + b"\xc8\x02" + MINUS_ONE + b"\xd0\x02" + MINUS_ONE
    return data + field(2, trainer) + field(3, b"\x18\x01\x20\x00\x28\x01")


MINUS_ONE = b"\xff" * 9 + b"\x01"


def test_pieces_of_equal_score_are_read_and_not_saved(tmp_path):
    pieces = pieces_with("ab", "ba", "aba")
    scores = [0.0] * 260 + [-1.0, -1.0, -2.0]
    (tmp_path / "x.model").write_bytes(model_of(pieces, scores))
    tokenizer = Tokenizer.load(tmp_path)
    assert isinstance(tokenizer, SentencePieceBPE)
    assert tokenizer.merges is None
    assert tokenizer.decode(tokenizer.encode("abab")) == "abab"
    assert pickle.loads(pickle.dumps(tokenizer)).hash == tokenizer.hash
    with pytest.raises(UsageError, match="equal scores"):
        tokenizer.save(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_byte_that_is_missing_is_told():
    with pytest.raises(ArtefactError, match="1 of the 256 bytes"):
        SentencePieceBPE(pieces_with()[:-4], {"<unk>": 0}, merges=[])


def test_a_pickled_tokenizer_is_the_same(ours):
    tokenizer = ours["as Llama 2"]
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.hash == tokenizer.hash
    assert copy.encode(TEXT[0]).tolist() == tokenizer.encode(TEXT[0]).tolist()


def test_a_long_run_without_a_space_is_joined_in_n_log_n_steps(ours):
    """Each join looks at two new neighbours at most, so look-ups are a small multiple of the characters."""

    class Counting(dict):
        looked_up = 0

        def __getitem__(self, pair):
            Counting.looked_up += 1
            return ours["as Llama 2"]._joins[pair]

    for text in ("a" * 20_000, "ab" * 10_000, SPACE * 20_000):
        Counting.looked_up = 0
        join(ours["as Llama 2"]._symbols(text), Counting())
        assert Counting.looked_up < 4 * 20_000
