"""Strange files: whatever is done to one, a tokenizer comes out of it or an error in words; never anything else."""

import base64
import copy
import json
import random

import pytest

from groundup.errors import GroundupError
from groundup.tokenizer import files
from groundup.tokenizer.character import CharacterTokenizer
from groundup.tokenizer.gpt2_files import write_gpt2
from groundup.tokenizer.protocol import Tokenizer
from groundup.tokenizer.sentencepiece import SentencePieceBPE
from groundup.tokenizer.tiktoken_file import write_tiktoken
from groundup.tokenizer.train import train
from groundup.tokenizer.word import WordTokenizer
from tests.tokenizer.test_sentencepiece import model_of, pieces_with

TEXT = "the cat's hat 12 你好 <a> "
BPE_TOKENIZER = train([TEXT], 268, special_tokens=["<|endoftext|>", "<|im_end|>"])
LLAMA_PIECES = pieces_with("ab", "▁a", "▁ab")
LLAMA_SCORES = [0.0] * 260 + [-1.0, -2.0, -3.0]

JUNK = [
    None,
    True,
    -1,
    0,
    1,
    7,
    10**12,
    10**30,
    1.5,
    "",
    "a",
    "Ġ",
    "\u0000",
    "你",
    [],
    {},
    [[]],
    {"a": 1},
    "x" * 100_000,
]
JUNK_BYTES = [b"", b"\x00", b"\xff" * 12, b"\n", b" ", b"9" * 30, b"=", b"{", b"\x0a\xff\xff\xff\xff\x7f", b"\x80" * 40]


def try_to_load(path, **options):
    try:
        tokenizer = files.load(path, **options)
        text = "the cat ab 你好\udc80"
        assert tokenizer.vocab_size < 2_000
        if tokenizer.kind in ("bpe", "sentencepiece"):
            assert tokenizer.decode_bytes(tokenizer.encode(text)) == text.encode("utf-8", "surrogatepass")
        tokenizer.save(path.parent / "saved")
    except GroundupError as error:
        assert len(str(error)) < 2_000
        return False
    return True


def places(thing, path=()):
    """The way to each value in some JSON."""
    yield path
    for key, value in thing.items() if isinstance(thing, dict) else enumerate(thing) if isinstance(thing, list) else ():
        yield from places(value, (*path, key))


def broken(content, generator):
    """A copy with one to three values replaced, removed, doubled, or swapped with another."""
    content = copy.deepcopy(content)
    for _ in range(generator.randrange(1, 4)):
        # Of thousands of places nearly all are tokens and merges; half of the time take one of the others.
        all_places = [path for path in places(content) if path]
        if not all_places:
            break
        few = [path for path in all_places if "vocab" not in path[:-1] and "merges" not in path[:-1]]
        *above, key = generator.choice(few if generator.random() < 0.5 and few else all_places)
        at = content
        for step in above:
            at = at[step]
        kind = generator.randrange(4)
        if kind == 0:
            at[key] = generator.choice(JUNK)
        elif kind == 1:
            del at[key]
        elif kind == 2 and isinstance(at, dict):
            at[generator.choice(["", "zz", "Ġt", "type", "<|x|>", "你"])] = at[key]
        else:
            at[key] = generator.choice([at[other] for other in (at if isinstance(at, dict) else range(len(at)))])
    return content


TOKENIZERS = {
    "bpe": BPE_TOKENIZER,
    "character": CharacterTokenizer.train([TEXT]),
    "word": WordTokenizer.train([TEXT], 9),
    "llama": SentencePieceBPE(LLAMA_PIECES, {"<unk>": 0}, merges=[(258, 259), (257, 258), (257, 260)]),
}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_broken_tokenizer_json(kind, tmp_path):
    generator = random.Random(kind)
    TOKENIZERS[kind].save(tmp_path / "good")
    names = ["tokenizer.json"] * 4 + ["tokenizer_config.json", "special_tokens_map.json"]
    content = {name: json.loads((tmp_path / "good" / name).read_text(encoding="utf-8")) for name in set(names)}
    folder = tmp_path / "broken"
    folder.mkdir()
    n_loaded = 0
    for _ in range(150):
        name = generator.choice(names)
        for each, good in content.items():
            data = json.dumps(broken(good, generator) if each == name else good)
            (folder / each).write_text(data, encoding="utf-8")
        n_loaded += try_to_load(folder)
    assert 0 < n_loaded < 150


def broken_bytes(data, generator):
    for _ in range(generator.randrange(1, 4)):
        at = generator.randrange(len(data) + 1)
        kind = generator.randrange(5)
        if kind == 0:
            data = data[:at]
        elif kind == 1:
            data = data[:at] + generator.choice(JUNK_BYTES) + data[at:]
        elif kind == 2:
            data = data[:at] + bytes([generator.randrange(256)]) + data[at + 1 :]
        elif kind == 3:
            data = data[:at] + data[at + generator.randrange(1, 50) :]
        else:
            data = data[:at] + data[max(0, at - generator.randrange(1, 50)) :]
    return data


def test_broken_tiktoken_files(tmp_path):
    generator = random.Random(1)
    write_tiktoken(BPE_TOKENIZER, tmp_path / "good.tiktoken")
    good = (tmp_path / "good.tiktoken").read_bytes()
    for _ in range(300):
        (tmp_path / "x.tiktoken").write_bytes(broken_bytes(good, generator))
        try_to_load(tmp_path / "x.tiktoken", pattern="gpt2", special_tokens={"<|endoftext|>": 0})


def test_broken_sentencepiece_models(tmp_path):
    generator = random.Random(2)
    good = model_of(LLAMA_PIECES, LLAMA_SCORES)
    (tmp_path / "x.model").write_bytes(good)
    assert try_to_load(tmp_path / "x.model")
    for _ in range(300):
        (tmp_path / "x.model").write_bytes(broken_bytes(good, generator))
        try_to_load(tmp_path / "x.model")


def test_broken_pairs_of_gpt2s_form(tmp_path):
    generator = random.Random(3)
    write_gpt2(BPE_TOKENIZER, tmp_path)
    files_and_good = [(tmp_path / name, (tmp_path / name).read_bytes()) for name in ("vocab.json", "merges.txt")]
    for _ in range(200):
        for file, good in files_and_good:
            file.write_bytes(broken_bytes(good, generator) if generator.random() < 0.6 else good)
        try_to_load(tmp_path / "vocab.json")


def test_truncated_anywhere_every_file_is_refused(tmp_path):
    generator = random.Random(4)
    TOKENIZERS["bpe"].save(tmp_path)
    good = (tmp_path / "tokenizer.json").read_bytes()
    for at in generator.sample(range(len(good) - 2), 60):
        (tmp_path / "tokenizer.json").write_bytes(good[:at])
        assert not try_to_load(tmp_path)


def test_folders_and_links_where_files_should_be(tmp_path):
    (tmp_path / "tokenizer.json").mkdir()
    assert not try_to_load(tmp_path)
    assert not try_to_load(tmp_path / "nothing" / "x.model")
    (tmp_path / "x.tiktoken").symlink_to(tmp_path / "x.tiktoken")
    assert not try_to_load(tmp_path / "x.tiktoken")
    rank = base64.b64encode(b"a" * 1000).decode()
    (tmp_path / "y.tiktoken").write_text(f"{rank} 0\n" * 3)
    assert not try_to_load(tmp_path / "y.tiktoken", pattern="gpt2")


def test_the_good_ones_load(tmp_path):
    for kind, tokenizer in TOKENIZERS.items():
        tokenizer.save(tmp_path / kind)
        assert Tokenizer.load(tmp_path / kind).hash == tokenizer.hash
