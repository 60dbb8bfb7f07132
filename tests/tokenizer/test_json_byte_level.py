"""Strangers' tokenizer.json: each form trained by `tokenizers` itself, read by us with equal ids, and saved again."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Judge

from groundup.errors import ArtefactError, UsageError
from groundup.tokenizer.alphabet import spell
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.merge_order import as_ranks
from groundup.tokenizer.protocol import Tokenizer
from groundup.tokenizer.split import CL100K, O200K, QWEN2

TEXT = [
    "The cat's hat: 12 cats, 345 hats!  \n\n 你好，世界。狐狸说：你好。 naïve 😀👩‍👩‍👧 " * 4,
    "def f(x):\n    return x[0] + 12345\n\t# HTTPServer's camelCase ÉCOLE\r\n" * 4,
]
SAMPLES = [
    *TEXT,
    "  two spaces\n\n\n\tand tabs   \r\n 1234567 3.14 ½ ²३ Ⅷ",
    "HE'S they'll I'VE don’t x's'S",
    "e\u0301 \u212b \ufb01 \u1e9b\u0323 각",
    "",
    " ",
    "cats" * 100,
    "</s>[INST] <unk> <|end|x",
]
TEXTS = st.lists(
    st.sampled_from([*"abc 12\n\r\t'你😀éÉ\u0301.", "the", " cat", "'s", "  "]) | st.characters(codec="utf-8")
)


def byte_level(use_regex=True):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def split(pattern, behavior="isolated", invert=False):
    step = pre_tokenizers.Split(Regex(pattern), behavior, invert=invert)
    return pre_tokenizers.Sequence([step, byte_level(use_regex=False)])


def judge(pre_tokenizer, special=("<|end|>",), *, normalizer=None, ignore_merges=False, behind=(), shown=()):
    made = Judge(models.BPE(ignore_merges=ignore_merges))
    made.pre_tokenizer, made.decoder = pre_tokenizer, decoders.ByteLevel()
    if normalizer:
        made.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(TEXT, trainer)
    made.add_special_tokens([AddedToken(name, normalized=False) for name in behind])
    made.add_tokens([AddedToken(name, normalized=False, special=False) for name in shown])
    return made


def bos(name, id):
    return processors.TemplateProcessing(single=f"{name} $A", special_tokens=[(name, id)])


def llama3():
    made = judge(split(CL100K), (), ignore_merges=True, behind=["<|begin_of_text|>", "<|eot_id|>"])
    made.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), bos("<|begin_of_text|>", 340)])
    return made


FORMS = {
    "gpt2": judge(byte_level()),
    "cl100k": llama3(),
    "qwen2": judge(
        split(QWEN2), (), normalizer=normalizers.NFC(), behind=["<|endoftext|>", "<|im_end|>"], shown=["<think>"]
    ),
    "o200k": judge(split(O200K, "removed", invert=True), normalizer=normalizers.Sequence([])),
    "smollm": judge(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()])),
    r"\p{L}+|\d": judge(split(r"\p{L}+|\d"), normalizer=normalizers.Sequence([normalizers.NFC()])),
}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    read = {}
    for name, made in FORMS.items():
        file = tmp_path_factory.mktemp("form") / "tokenizer.json"
        made.save(str(file))
        read[name] = Tokenizer.load(file)
    return read


@pytest.mark.parametrize("form", FORMS)
def test_ids_are_those_of_tokenizers(form, ours):
    assert ours[form].pattern == form
    assert ours[form].vocab_size == FORMS[form].get_vocab_size()
    for text in SAMPLES:
        ids = ours[form].encode(text).tolist()
        assert ids == FORMS[form].encode(text, add_special_tokens=False).ids
        assert ours[form].decode(ids) == FORMS[form].decode(ids, skip_special_tokens=False)


@settings(deadline=None, max_examples=60)
@given(TEXTS.map("".join))
def test_ids_of_any_text_are_those_of_tokenizers(ours, text):
    for form, made in FORMS.items():
        assert ours[form].encode(text).tolist() == made.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("form", FORMS)
def test_what_is_saved_again_gives_the_same_ids_in_transformers(form, ours, tmp_path):
    transformers = pytest.importorskip("transformers")
    ours[form].save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert (again.hash, again.shown, again.roles) == (ours[form].hash, ours[form].shown, ours[form].roles)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in SAMPLES:
        ids = ours[form].encode(text).tolist()
        assert theirs.encode(text, add_special_tokens=False) == ids
        assert theirs.decode(ids) == ours[form].decode(ids)


def test_roles_and_shown_tokens_are_read(ours):
    qwen = ours["qwen2"]
    assert (qwen.shown, qwen.normalizer, qwen.eos_id) == ({"<think>"}, "NFC", 340)
    assert qwen.special_ids == {"<|endoftext|>": 340, "<|im_end|>": 341, "<think>": 342}
    assert qwen.decode([342, 341], skip_special=True) == "<think>"
    assert ours["cl100k"].whole_first
    assert ours["cl100k"].bos_id == 340


def test_where_text_spells_special_tokens_ours_differs_on_purpose(ours):
    """Text of a user is text: `tokenizers` makes the special id of it, we make ordinary tokens, unless asked."""
    text = "cat<|im_end|> <think>cat"
    theirs, qwen = FORMS["qwen2"], ours["qwen2"]
    made = theirs.encode(text, add_special_tokens=False).ids
    assert {341, 342} <= set(made)
    ids = qwen.encode(text).tolist()
    assert not {341, 342} & set(ids)
    assert qwen.decode(ids) == text
    assert qwen.encode(text, allow_special="all").tolist() == made
    assert 342 in qwen.encode(text, allow_special=qwen.shown)
    assert 341 not in qwen.encode(text, allow_special=qwen.shown)
    theirs.encode_special_tokens = True  # their way not to; added tokens that are not special are made all the same
    try:
        assert 341 not in theirs.encode(text, add_special_tokens=False).ids
    finally:
        theirs.encode_special_tokens = False


def test_merges_are_read_in_both_spellings(ours, tmp_path):
    content = json.loads(FORMS["gpt2"].to_str())
    assert isinstance(content["model"]["merges"][0], list)
    content["model"]["merges"] = [" ".join(merge) for merge in content["model"]["merges"]]
    del content["model"]["type"]  # older files leave it out
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert Tokenizer.load(tmp_path).hash == ours["gpt2"].hash


def test_tokens_that_no_text_becomes_and_gaps_are_kept(ours, tmp_path):
    content = json.loads(FORMS["cl100k"].to_str())
    content["model"]["vocab"] |= {"catcatcat": 345, "neverseen": 350}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with_gaps = Tokenizer.load(tmp_path)
    assert isinstance(with_gaps, BPE)
    assert (with_gaps.vocab_size, with_gaps.token_bytes[342:346]) == (351, [b"", b"", b"", b"catcatcat"])
    theirs = Judge.from_file(str(tmp_path / "tokenizer.json"))
    for text in [*SAMPLES, "catcatcat", "neverseen"]:  # taken whole, as the file says ignore_merges
        assert with_gaps.encode(text).tolist() == theirs.encode(text, add_special_tokens=False).ids
    assert with_gaps.encode("neverseen").tolist() == [350]
    with_gaps.save(tmp_path / "again")
    assert Tokenizer.load(tmp_path / "again").hash == with_gaps.hash


def test_bytes_that_the_vocabulary_lacks_are_lost_as_in_tokenizers(tmp_path):
    content = json.loads(FORMS["gpt2"].to_str())
    lacking = [b"\x04", b"\xc0", b"\xf2"]
    for byte in lacking:
        content["model"]["vocab"].pop(spell(byte))
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with_gaps = Tokenizer.load(tmp_path)
    assert isinstance(with_gaps, BPE)
    assert with_gaps.missing_bytes == b"".join(lacking)
    theirs = Judge.from_file(str(tmp_path / "tokenizer.json"))
    for text in [*SAMPLES, "t\x04he c\x04at", "\U00080000 \U000f0000"]:
        assert with_gaps.encode(text).tolist() == theirs.encode(text).ids
    assert with_gaps.decode(with_gaps.encode("t\x04he")) == "the"
    with_gaps.save(tmp_path / "again")
    assert Tokenizer.load(tmp_path / "again").hash == with_gaps.hash
    with pytest.raises(UsageError, match="3 of the 256 bytes"):
        as_ranks(with_gaps)
    content["model"]["vocab"].pop("z")
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ArtefactError, match="1 of the 256 bytes are not in the vocabulary"):
        Tokenizer.load(tmp_path)


def test_models_of_other_kinds_are_refused_by_name(tmp_path):
    others = {
        "WordPiece": models.WordPiece({"a": 0, "[UNK]": 1}, unk_token="[UNK]"),
        "Unigram": models.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0),
    }
    for kind, model in others.items():
        Judge(model).save(str(tmp_path / "tokenizer.json"))
        with pytest.raises(ArtefactError, match="a model other than BPE") as error:
            Tokenizer.load(tmp_path)
        assert kind in str(error.value.hint)
    Judge(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ArtefactError, match="cuts in a way"):
        Tokenizer.load(tmp_path)
