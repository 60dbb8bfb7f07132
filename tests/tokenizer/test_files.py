"""The files: opened by transformers with equal ids, read back the same, refused when they ask for something else."""

import json
import pickle

import pytest

from groundup.errors import ArtefactError, UsageError
from groundup.tokenizer import gpt2_files
from groundup.tokenizer.bpe import BPE
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


def test_options_roles_and_shown_tokens_are_kept(tmp_path):
    small = train([TEXT], 300, pattern="qwen2", special_tokens=["<|endoftext|>", "<|im_end|>", "<think>", "<|start|>"])
    options = {"whole_first": True, "normalizer": "NFC", "shown": ["<think>"]}
    roles = {"eos": "<|im_end|>", "bos": "<|start|>", "unk": "<|endoftext|>"}
    tokens = [*small.token_bytes, b"unused", b""]
    for merges in (small.merges, None):
        for given in (roles, {}, None):
            ours = BPE(tokens, merges, small.special_ids, r"\w+|\W", "{{ hi }}", roles=given, **options)
            ours.save(tmp_path / "a")
            loaded = Tokenizer.load(tmp_path / "a")
            assert isinstance(loaded, BPE)
            assert (loaded.hash, loaded.roles, loaded.shown) == (ours.hash, ours.roles, ours.shown)
            assert (loaded.by_result, loaded.vocab_size, loaded.pattern) == (merges is None, 302, r"\w+|\W")
            assert loaded.decode([*loaded.encode("a"), 2, 0], skip_special=True) == "a<think>"
            loaded.save(tmp_path / "b")
            for name in FILES:
                assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_marker_that_belongs_to_other_merges_is_not_believed(tmp_path):
    small = train([TEXT], 300)
    ranked = BPE(small.token_bytes, None, small.special_ids)
    edited(ranked, tmp_path, lambda c: c["model"]["merges"].pop())
    loaded = Tokenizer.load(tmp_path)
    assert isinstance(loaded, BPE)
    assert not loaded.by_result
    assert len(loaded.merges) == len(small.merges) - 1


def test_what_cannot_be_told_apart_in_a_file_is_not_saved(tmp_path):
    small = train([TEXT], 300)
    with pytest.raises(UsageError, match="two tokens are spelled 'cat'"):
        BPE([*small.token_bytes, b"cat", b""], small.merges, {"cat": 301}).save(tmp_path)
    assert list(tmp_path.iterdir()) == []


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
    loaded = Tokenizer.load(tmp_path / "theirs")
    assert (loaded.hash, loaded.roles) == (tokenizer.hash, tokenizer.roles)
    assert loaded.chat_template == tokenizer.chat_template


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
    "the normalizer": lambda c: c.update(normalizer={"type": "NFKC"}),
    "a model other than BPE": lambda c: c["model"].update(type="Unigram"),
    "a model other": lambda c: c["model"].update(type="WordPiece"),
    "dropout": lambda c: c["model"].update(dropout=0.1),
    "a prefix or suffix": lambda c: c["model"].update(end_of_word_suffix="</w>"),
    "a decoder other": lambda c: c.update(decoder={"type": "BPEDecoder", "suffix": "</w>"}),
    "the post-processor": lambda c: c.update(post_processor={"type": "Mixer"}),
    "splits text in a way": lambda c: c.update(pre_tokenizer={"type": "Whitespace"}),
    "splits text in a": lambda c: c["pre_tokenizer"]["pretokenizers"][1].update(add_prefix_space=True),
    "splits text in": lambda c: c["pre_tokenizer"]["pretokenizers"][0].update(behavior="MergedWithNext"),
    "is no split pattern": lambda c: c["pre_tokenizer"]["pretokenizers"][0].update(pattern={"Regex": "(a"}),
    "too large": lambda c: c["pre_tokenizer"]["pretokenizers"][0].update(pattern={"Regex": "((a{999}){999}){999}"}),
    "gaps": lambda c: c["model"]["vocab"].update(much=900),
    "no id": lambda c: c["model"]["vocab"].update(much=-1),
    "is no id of": lambda c: c["model"]["vocab"].update(much=10**30),
    "gaps: 311 tokens": lambda c: c["model"]["vocab"].update(much=10**12),
    "no id of a token": lambda c: c["model"]["vocab"].update(much=True),
    "two tokens": lambda c: c["model"]["vocab"].update(much=100),
    "has two ids": lambda c: c["added_tokens"][0].update(id=5),
    "given to two tokens": lambda c: c["added_tokens"].append({**c["added_tokens"][0], "content": "<|x|>"}),
    "no added token": lambda c: c["added_tokens"][0].update(content=""),
    "not spelled in bytes": lambda c: c["model"]["vocab"].update({"your 你": 310}),
    "of the 256 bytes": lambda c: c["model"]["vocab"].pop("z") and c["model"]["vocab"].update(zzzz=93),
    "not in the vocabulary": lambda c: c["model"]["merges"].append("zz qq"),
    "the merge": lambda c: c["model"]["merges"].append("z q"),
    "not a tokenizer in a form": lambda c: c.pop("model"),
    "not a tokenizer in a": lambda c: c["model"].update(merges=["a b c"]),
    "not a tokenizer in": lambda c: c["model"].update(vocab=[]),
    "not a tokenizer": lambda c: c["model"].update(merges=5),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_not_supported_or_damaged_is_refused_in_words(message, tmp_path):
    edited(train([TEXT], 310), tmp_path, WRONG[message])
    with pytest.raises(ArtefactError, match=message) as error:
        Tokenizer.load(tmp_path)
    assert "tokenizer.json" in str(error.value.where)


def test_a_hostile_file_is_refused_at_once(tmp_path):
    file = tmp_path / "tokenizer.json"
    for content in ('{"model": ' + "[" * 100_000, '{"model": ' * 2000, '{"model": {"vocab": {"a": 1e999}}}', "\xff"):
        file.write_text(content, encoding="latin-1")
        with pytest.raises(ArtefactError, match="JSON"):
            Tokenizer.load(tmp_path)


def test_a_file_too_large_for_a_tokenizer_is_not_read(tmp_path):
    for name in ("tokenizer.json", "some.tiktoken", "some.model"):
        with open(tmp_path / name, "wb") as file:
            file.truncate(1 << 40)
        with pytest.raises(ArtefactError, match="too many|SentencePiece"):
            Tokenizer.load(tmp_path / name)


def test_missing_and_torn_files_are_told(tmp_path):
    with pytest.raises(ArtefactError, match="no tokenizer here"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", ')
    with pytest.raises(ArtefactError, match="JSON"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("[]")
    with pytest.raises(ArtefactError, match="no object"):
        Tokenizer.load(tmp_path)
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(ArtefactError, match="no merges beside"):
        gpt2_files.read(tmp_path / "vocab.json")
    for name in ("a.tiktoken", "b.tiktoken"):
        (tmp_path / name).write_text("")
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ArtefactError, match=r"several tokenizers are here: a.tiktoken, b.tiktoken"):
        Tokenizer.load(tmp_path)


# --- BOS ---


def llama3_like():
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    made = train(["it was the best of times, it was the worst of times"] * 3, 280, special_tokens=names)
    made.adds_bos = True
    return made


def test_bos_before_a_text_travels_with_the_tokenizer(tmp_path):
    """As transformers understands it, and as transformers writes it again."""
    transformers = pytest.importorskip("transformers")
    ours = llama3_like()
    ours.save(tmp_path / "ours")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    plain = ours.encode("best times").tolist()
    assert theirs.encode("best times") == [ours.bos_id, *plain]
    assert theirs.encode("best times", add_special_tokens=False) == plain

    theirs.save_pretrained(tmp_path / "theirs")
    for folder in ("ours", "theirs"):
        back = Tokenizer.load(tmp_path / folder)
        assert back.adds_bos and back.bos_id == ours.bos_id
        assert back.encode("best times").tolist() == plain, "encode itself adds nothing"
    assert pickle.loads(pickle.dumps(back)).adds_bos
    assert back.with_tokens(back.token_bytes, back.merges).adds_bos


def test_what_the_configuration_says_of_bos_is_what_counts(tmp_path):
    llama3_like().save(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"add_bos_token": False}))
    assert not Tokenizer.load(tmp_path).adds_bos

    made = llama3_like()
    made.adds_bos = False
    made.save(tmp_path)
    assert json.loads((tmp_path / "tokenizer.json").read_text())["post_processor"] is None
    assert not Tokenizer.load(tmp_path).adds_bos
