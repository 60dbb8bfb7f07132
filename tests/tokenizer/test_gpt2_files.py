"""GPT-2's pair of files: read under both names, written, and refused where they cannot say what they should."""

import json

import pytest
from tokenizers import Tokenizer as Judge
from tokenizers import models, pre_tokenizers

from groundup.errors import ArtefactError, UsageError
from groundup.tokenizer import files
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.gpt2_files import NAMES, write_gpt2
from groundup.tokenizer.protocol import Tokenizer
from groundup.tokenizer.train import train

TEXT = "The cat's hat: 12 cats, 345 hats!  \n\n 你好，世界。 naïve 😀 <a> [b] " * 4


@pytest.mark.parametrize("names", NAMES)
def test_what_is_written_is_read_back_and_is_what_tokenizers_reads(names, tmp_path):
    tokenizer = train([TEXT], 300)
    write_gpt2(tokenizer, tmp_path, names)
    assert {file.name for file in tmp_path.iterdir()} == set(names)
    for path in (tmp_path, tmp_path / names[0]):
        assert Tokenizer.load(path).hash == tokenizer.hash
    judge = Judge(models.BPE.from_file(*(str(tmp_path / name) for name in names)))
    judge.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert judge.encode(TEXT).ids == tokenizer.encode(TEXT).tolist()


def test_tokens_in_brackets_that_no_merge_makes_are_special(tmp_path):
    trained = train(["<a> <a> <a> [b] [b]"], 260, pattern=r"\S+|\s", special_tokens=())
    special_ids = {"<|x|>": 260, "[PAD 1]": 261}
    write_gpt2(BPE([*trained.token_bytes, b"", b""], trained.merges, special_ids), tmp_path)
    assert Tokenizer.load(tmp_path).special_ids == special_ids
    assert {b"<a>", b"[b]"} <= set(Tokenizer.load(tmp_path).token_bytes)


def test_the_neighbour_says_which_class_and_which_tokens(tmp_path):
    tokenizer = train([TEXT], 290, pattern="qwen2", special_tokens=())
    write_gpt2(BPE(tokenizer.token_bytes, tokenizer.merges, {}), tmp_path)
    config = {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": {"290": {"content": "<|im_end|>"}}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    loaded = Tokenizer.load(tmp_path)
    assert isinstance(loaded, BPE)
    assert (loaded.pattern, loaded.normalizer, loaded.special_ids) == ("qwen2", "NFC", {"<|im_end|>": 290})
    assert files.load(tmp_path, pattern="cl100k", special_tokens={}).pattern == "cl100k"
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BlenderbotTokenizer"}')
    with pytest.raises(ArtefactError, match="how 'BlenderbotTokenizer' splits text is not known"):
        Tokenizer.load(tmp_path)


def test_what_these_files_cannot_say_is_not_written(tmp_path):
    for other in (
        train([TEXT], 300, pattern="cl100k"),
        BPE(train([TEXT], 300).token_bytes, None, {}, whole_first=True),
    ):
        with pytest.raises(UsageError, match="another way than GPT-2's"):
            write_gpt2(other, tmp_path)


WRONG = {
    "not in the vocabulary": lambda vocab, merges: (vocab, merges + "zz qq\n"),
    "not a vocabulary of GPT-2's form": lambda vocab, merges: (vocab, merges + "a b c\n"),
    "no object": lambda vocab, merges: ([], merges),
    "no id": lambda vocab, merges: ({**vocab, "x y": "1"}, merges),
    "not spelled in bytes": lambda vocab, merges: ({**vocab, "x y": 300}, merges),
    "not UTF-8": lambda vocab, merges: (vocab, merges.encode() + b"\xff"),
}


@pytest.mark.parametrize("message", WRONG)
def test_damaged_files_are_refused(message, tmp_path):
    write_gpt2(train([TEXT], 300), tmp_path)
    vocab_file, merges_file = tmp_path / "vocab.json", tmp_path / "merges.txt"
    vocab, merges = WRONG[message](json.loads(vocab_file.read_text()), merges_file.read_text())
    vocab_file.write_text(json.dumps(vocab))
    merges_file.write_bytes(merges if isinstance(merges, bytes) else merges.encode())
    with pytest.raises(ArtefactError, match=message):
        Tokenizer.load(tmp_path)
    merges_file.unlink()
    with pytest.raises(ArtefactError):
        Tokenizer.load(tmp_path)
