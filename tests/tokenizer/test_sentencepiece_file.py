"""SentencePiece's files: the fields that are read, models that are refused and why."""

from io import BytesIO

import pytest

from groundup.errors import ArtefactError
from groundup.tokenizer.protocol import Tokenizer
from groundup.tokenizer.sentencepiece_file import fields, parse

sentencepiece = pytest.importorskip("sentencepiece")

TEXT = ["The cat's hat: 12 cats, 345 hats!   你好，世界。", "the cat sat on the mat with the hat"] * 4


def trained(**options):
    writer = BytesIO()
    settings = {
        "model_type": "bpe",
        "vocab_size": 320,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "hard_vocab_limit": False,
        "minloglevel": 2,
    }
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(TEXT), model_writer=writer, **(settings | options))
    return writer.getvalue()


def test_the_fields_are_those_that_the_package_reads():
    data = trained(user_defined_symbols=["<think>"], pad_id=3)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=data)
    model = parse(data)
    assert len(model.pieces) == theirs.vocab_size()
    for i, (piece, score, kind) in enumerate(model.pieces):
        assert (piece, score) == (theirs.id_to_piece(i), theirs.get_score(i))
        assert (kind == 6, kind == 3, kind == 2) == (theirs.is_byte(i), theirs.is_control(i), theirs.is_unknown(i))
    assert dict(model.name_of_role) == {"unk": 0, "bos": 1, "eos": 2, "pad": 3}
    assert (model.model_type, model.byte_fallback, model.add_dummy_prefix) == (2, True, True)
    assert (model.charsmap, model.remove_extra_whitespaces, model.escape_whitespaces) == (b"", False, True)
    assert dict(parse(trained(bos_id=-1, add_dummy_prefix=False)).name_of_role)["bos"] == -1
    assert not parse(trained(add_dummy_prefix=False)).add_dummy_prefix


REFUSED = {
    "is of the type Unigram": {"model_type": "unigram"},
    "is of the type words": {"model_type": "word"},
    "has no byte fallback": {"byte_fallback": False},
    "normalises text": {"normalization_rule_name": "nmt_nfkc"},
    "removes extra spaces": {"remove_extra_whitespaces": True},
    "puts spaces behind words": {"treat_whitespace_as_suffix": True},
    "has a space": {"user_defined_symbols": ["a b"]},
}


@pytest.mark.parametrize("message", REFUSED)
def test_other_models_are_refused_in_words(message, tmp_path):
    (tmp_path / "x.model").write_bytes(trained(**REFUSED[message]))
    with pytest.raises(ArtefactError, match=message) as error:
        Tokenizer.load(tmp_path)
    assert "x.model" in str(error.value.where)


def test_fields_are_told_apart_by_number_and_wire_type():
    message = b"\x08\x96\x01" + b"\x12\x02hi" + b"\x1d\x00\x00\x80\x3f" + b"\x21" + bytes(8)
    assert list(fields(message)) == [(1, 150), (2, b"hi"), (3, b"\x00\x00\x80\x3f"), (4, bytes(8))]
    long = b"\xff" * 9 + b"\x01"
    for broken in (b"\x08", b"\x12\x05hi", b"\x0b", b"\x12" + long, b"\x08" + b"\xff" * 11, b"\x1d\x00"):
        with pytest.raises(ValueError, match="ends inside|wire type"):
            list(fields(broken))


def test_what_is_no_model_is_refused(tmp_path):
    for data in (b"", b"version https://git-lfs.github.com/spec/v1\n", b"<html>", b"\x0a\x00", b"\x0a\x02\x08\x01"):
        (tmp_path / "x.model").write_bytes(data)
        with pytest.raises(ArtefactError, match="not a SentencePiece model|is of the type"):
            Tokenizer.load(tmp_path)
