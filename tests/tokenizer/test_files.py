"""The files: opened by transformers with equal ids, read back the same, refused when they ask for something else."""

import json

import pytest

from groundup.errors import ArtefactError
from groundup.tokenizer.files import FILES
from groundup.tokenizer.protocol import Tokenizer
from groundup.tokenizer.train import train

TEXT = "The cat's hat: 12 cats, 345 hats!  \n\n 你好，世界。狐狸说：你好。 naïve 😀👩‍👩‍👧 " * 4
ORDINARY = [
    "The cat sat on the mat; isn't it HE'S, they'll?",
    "  two spaces\n\n\n\tand tabs   \r\n 1234567 3.14",
    "狐狸看见乌鸦嘴里叼着一块奶酪，落在树枝上。日本語 한국어",
    "😀😃👩‍👩‍👧 🇩🇪 naïve café ½ … — “quotes”",
    "",
    " ",
]


@pytest.fixture(params=["gpt2", "cl100k", "llama3"])
def tokenizer(request):
    return train([TEXT], 310, pattern=request.param)


@pytest.mark.parametrize("model_type", [None, "llama", "gpt2"])
def test_auto_tokenizer_opens_the_folder_offline_with_equal_ids(tokenizer, model_type, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer.save(tmp_path)
    if model_type:
        # In a checkpoint the model's configuration lies beside; it must not bring another class of tokenizer.
        config = {"model_type": model_type, "vocab_size": 310, "bos_token_id": None, "eos_token_id": 0}
        (tmp_path / "config.json").write_text(json.dumps(config))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in ORDINARY:
        ids = tokenizer.encode(text).tolist()
        assert theirs.encode(text) == ids
        assert theirs.decode(ids) == text
    assert (theirs.eos_token_id, theirs.pad_token_id, theirs.bos_token_id) == (0, 3, None)
    assert set(theirs.all_special_tokens) == set(tokenizer.special_ids)
    assert len(theirs) == 310
    assert theirs.chat_template == tokenizer.chat_template
    assert theirs.decode([1, 68, 2], skip_special_tokens=True) == "a"


def test_what_is_read_back_is_the_same_and_saves_the_same_bytes(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "a")
    loaded = Tokenizer.load(tmp_path / "a")
    assert loaded.hash == tokenizer.hash
    assert loaded.encode(TEXT).tolist() == tokenizer.encode(TEXT).tolist()
    assert loaded.chat_template == tokenizer.chat_template
    loaded.save(tmp_path / "b")
    assert sorted(file.name for file in (tmp_path / "b").iterdir()) == sorted(FILES)
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_tokenizer_json_alone_is_enough(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert loaded.hash == tokenizer.hash
    assert loaded.chat_template is None


def test_what_transformers_saves_is_read(tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer.save(tmp_path / "ours")
    transformers.AutoTokenizer.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    assert Tokenizer.load(tmp_path / "theirs").hash == tokenizer.hash


def test_gpt2s_form_is_what_tokenizers_reads(tmp_path):
    from tokenizers import Tokenizer as Judge
    from tokenizers import models, pre_tokenizers

    tokenizer = train([TEXT], 310)
    tokenizer.save(tmp_path)
    judge = Judge(models.BPE.from_file(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt")))
    judge.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for text in ORDINARY:
        assert judge.encode(text).ids == tokenizer.encode(text).tolist()


def test_byte_level_alone_is_gpt2s_pattern(tmp_path):
    tokenizer = train([TEXT], 310)
    edited(tokenizer, tmp_path, lambda c: c.update(pre_tokenizer={"type": "ByteLevel", "add_prefix_space": False}))
    assert Tokenizer.load(tmp_path).hash == tokenizer.hash


def edited(tokenizer, folder, edit):
    tokenizer.save(folder)
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    edit(content)
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")


WRONG = {
    "a normalizer": lambda c: c.update(normalizer={"type": "NFC"}),
    "a model other than BPE": lambda c: c["model"].update(type="Unigram"),
    "ignore_merges": lambda c: c["model"].update(ignore_merges=True),
    "byte_fallback": lambda c: c["model"].update(byte_fallback=True),
    "dropout": lambda c: c["model"].update(dropout=0.1),
    "splits text in a way": lambda c: c.update(pre_tokenizer={"type": "Whitespace"}),
    "splits text": lambda c: c["pre_tokenizer"]["pretokenizers"][0].update(pattern={"Regex": r"\w+"}),
    "added tokens that are not special": lambda c: c["added_tokens"][0].update(special=False),
    "gaps": lambda c: c["model"]["vocab"].update(much=900),
    "of the 256 bytes": lambda c: c["model"]["vocab"].pop("z") and c["model"]["vocab"].update(zzzz=93),
    "not in the vocabulary": lambda c: c["model"]["merges"].append("zz qq"),
    "not a byte-level BPE tokenizer": lambda c: c.pop("model"),
    "not a byte-level BPE": lambda c: c["model"].update(merges=["a b c"]),
    "not a byte-level": lambda c: c["model"].update(vocab=[]),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_not_supported_or_damaged_is_refused_in_words(message, tmp_path):
    edited(train([TEXT], 310), tmp_path, WRONG[message])
    with pytest.raises(ArtefactError, match=message) as error:
        Tokenizer.load(tmp_path)
    assert "tokenizer.json" in str(error.value.where)


def test_missing_and_torn_files_are_told(tmp_path):
    with pytest.raises(ArtefactError, match="no tokenizer here"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", ')
    with pytest.raises(ArtefactError, match="JSON"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("[]")
    with pytest.raises(ArtefactError):
        Tokenizer.load(tmp_path)
