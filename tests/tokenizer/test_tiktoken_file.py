"""tiktoken's files and `Encoding`: equal ids both ways, and a sentence where ranks cannot say how text is merged."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.errors import ArtefactError, UsageError
from groundup.tokenizer import files, merge_order
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.protocol import Tokenizer
from groundup.tokenizer.tiktoken_file import to_tiktoken, write_tiktoken
from groundup.tokenizer.train import train

tiktoken = pytest.importorskip("tiktoken")

TEXT = "The cat's hat: 12 cats, 345 hats!  \n\n 你好，世界。 naïve 😀 aaaaaaa abababab " * 4
SPECIAL = ["<|endoftext|>", "<|im_end|>"]
TRAINED = {name: train([TEXT], 308, pattern=name, special_tokens=SPECIAL) for name in ("gpt2", "cl100k", "o200k")}


@settings(deadline=None, max_examples=60)
@given(st.text(st.sampled_from("abct's 12\n你😀") | st.characters(codec="utf-8"), max_size=60))
def test_tiktoken_built_from_our_tables_gives_our_ids(text):
    for tokenizer, encoding in ENCODINGS:
        assert encoding.encode_ordinary(text) == tokenizer.encode(text).tolist()


ENCODINGS = [(tokenizer, to_tiktoken(tokenizer)) for tokenizer in TRAINED.values()]


def test_where_text_spells_special_tokens_tiktoken_raises_and_ours_does_not():
    tokenizer, encoding = ENCODINGS[0]
    text = "cat<|im_end|>"
    with pytest.raises(ValueError, match="disallowed special token"):
        encoding.encode(text)
    ids = tokenizer.encode(text).tolist()
    assert ids == encoding.encode_ordinary(text)
    assert 1 not in ids
    assert encoding.encode(text, allowed_special="all") == tokenizer.encode(text, allow_special="all").tolist()


def test_what_is_written_is_read_back(tmp_path):
    tokenizer = TRAINED["cl100k"]
    file = tmp_path / "ours.tiktoken"
    write_tiktoken(tokenizer, file)
    with pytest.raises(ArtefactError, match="does not say how text is split") as error:
        Tokenizer.load(file)
    assert "pattern=" in str(error.value.hint)
    loaded = files.load(tmp_path, pattern="cl100k", special_tokens=tokenizer.special_ids)
    assert isinstance(loaded, BPE)
    assert loaded.by_result
    assert (loaded.token_bytes, loaded.special_ids) == (tokenizer.token_bytes, tokenizer.special_ids)
    assert loaded.encode(TEXT).tolist() == tokenizer.encode(TEXT).tolist()
    assert merge_order.as_list(loaded) == [tuple(pair) for pair in tokenizer.merges.tolist()]
    loaded.save(tmp_path / "saved")
    again = Tokenizer.load(tmp_path / "saved")
    assert again.hash == loaded.hash


def test_tiktoken_reads_what_is_written(tmp_path):
    from tiktoken.load import load_tiktoken_bpe

    write_tiktoken(TRAINED["gpt2"], tmp_path / "ours.tiktoken")
    ranks = load_tiktoken_bpe(str(tmp_path / "ours.tiktoken"))
    assert ranks == {token: i for i, token in enumerate(TRAINED["gpt2"].token_bytes) if token}


def test_llama_3_and_qwen_are_known_by_name_and_size(tmp_path):
    def write(name, n):
        tokens = [bytes([i]) for i in range(256)] + [b"%d " % i for i in range(10, n - 246)]
        lines = [b"%s %d" % (base64.b64encode(token), i) for i, token in enumerate(tokens)]
        (tmp_path / name).write_bytes(b"\n".join(lines))
        return Tokenizer.load(tmp_path / name)

    llama = write("tokenizer.model", 128_000)
    assert isinstance(llama, BPE)
    assert (llama.pattern, llama.vocab_size) == ("llama3", 128_256)
    assert [llama.special_ids[f"<|{name}|>"] for name in ("begin_of_text", "eot_id", "reserved_special_token_245")] == [
        128_000,
        128_009,
        128_255,
    ]
    assert (llama.bos_id, llama.eos_id, llama.pad_id) == (128_000, 128_001, 128_004)
    qwen = write("qwen.tiktoken", 151_643)
    assert isinstance(qwen, BPE)
    assert (qwen.pattern, qwen.normalizer, qwen.vocab_size) == ("qwen2", "NFC", 151_851)


def test_what_ranks_cannot_say_is_not_written(tmp_path):
    gpt2 = TRAINED["gpt2"]
    tokens, merges = gpt2.token_bytes, gpt2.merges.tolist()
    swapped = [*tokens[:-2], tokens[-1], tokens[-2]]
    with pytest.raises(UsageError, match="not in the order of its merges"):
        write_tiktoken(BPE(swapped, merges, gpt2.special_ids), tmp_path / "x.tiktoken")
    with pytest.raises(UsageError, match="text cannot become the token"):
        to_tiktoken(BPE([*tokens, b"xyzxyz"], merges, gpt2.special_ids))
    with pytest.raises(UsageError, match="into the form NFC first"):
        to_tiktoken(BPE(tokens, merges, gpt2.special_ids, normalizer="NFC"))


WRONG = {
    "not a token in base64": [b"IHRoZQ= 5", b"!!!! 5", b"IHRoZQ==", b"IHRoZQ== x", b"IHRoZQ== -1", b"IHRoZQ== 5 6"],
    "base64 and its rank": [b"IHRoZQ== 1000000000000", b" 5", b"=== 5"],
    "two tokens": [b"IHRoZQ== 5"],
    "comes twice": [b"YQ== 9999"],
    "gaps": [b"IHRoZQ== 99999"],
}


@pytest.mark.parametrize("message", WRONG)
def test_damaged_files_are_refused(message, tmp_path):
    file = tmp_path / "x.tiktoken"
    write_tiktoken(TRAINED["gpt2"], file)
    good = file.read_bytes()
    for line in WRONG[message]:
        file.write_bytes(good + line + b"\n")
        with pytest.raises(ArtefactError, match=message):
            files.load(file, pattern="gpt2")
    file.write_bytes(b"")
    with pytest.raises(ArtefactError, match="empty"):
        files.load(file, pattern="gpt2")
    file.write_bytes(good[:1000] + b"\n")
    with pytest.raises(ArtefactError, match="256 bytes|base64"):
        files.load(file, pattern="gpt2")


def test_a_special_token_on_an_ordinary_id_is_refused(tmp_path):
    write_tiktoken(TRAINED["gpt2"], tmp_path / "x.tiktoken")
    with pytest.raises(ArtefactError, match="'<|x|>' has the id of an ordinary token"):
        files.load(tmp_path, pattern="gpt2", special_tokens={"<|x|>": 5})
