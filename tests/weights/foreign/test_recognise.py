"""Which program a file is of, told by what is in it, and what is said of a file that is of none."""

import pytest
import torch

from groundup.errors import ArtefactError, UsageError
from groundup.weights import foreign
from tests.weights.foreign.other_programs import book_gpt, meta_llama, nanogpt
from tests.weights.foreign.test_gpt2_tensorflow import FIXTURE
from tests.weights.foreign.test_llama2c import version_0, version_1, version_2


def as_torch(content):
    return lambda path: torch.save(content, path)


FILES = {
    "nanogpt": ("ckpt.pt", as_torch({"model": nanogpt(), "model_args": {"n_layer": 2}})),
    "nanogpt compiled": (
        "x.pth",
        as_torch({"model": {"_orig_mod." + k: v for k, v in nanogpt().items()}, "model_args": {}}),
    ),
    "llama2c": ("ckpt.pt", as_torch({"model": meta_llama(), "model_args": {"dim": 16}})),
    "llama2c 0": ("stories15M.bin", lambda path: path.write_bytes(version_0(meta_llama()))),
    "llama2c 1": ("stories15M.bin", lambda path: path.write_bytes(version_1(meta_llama()))),
    "llama2c 2": ("stories15M.bin", lambda path: path.write_bytes(version_2(meta_llama()))),
    "happy_llm": ("pretrain_16_2_20.pth", as_torch(meta_llama())),
    "happy_llm compiled": ("x.pt", as_torch({"_orig_mod." + k: v for k, v in meta_llama().items()})),
    "llms_from_scratch": ("model.pth", as_torch(book_gpt())),
    "llms_from_scratch with optimizer": ("model.bin", as_torch({"model_state_dict": book_gpt()})),
}


@pytest.mark.parametrize("case", FILES)
def test_each_is_recognised_and_taken_for_no_other(case, tmp_path):
    name, write = FILES[case]
    write(tmp_path / name)
    assert [known for known, module in foreign.FORMATS.items() if module.recognises(tmp_path / name)] == [
        case.split()[0]
    ]
    assert foreign.recognise(str(tmp_path / name)) == case.split()[0]


def test_a_folder():
    assert foreign.recognise(FIXTURE) == foreign.recognise(FIXTURE / "model.ckpt.index") == "gpt2_tensorflow"


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("pytorch_model.bin", as_torch({"model.norm.weight": torch.ones(2)}), "its tensors are 'model.norm.weight'"),
        ("x.pt", as_torch([1, 2, 3]), "it names no tensors"),
        ("x.pt", lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "Git LFS"),
        ("x.bin", lambda path: path.write_bytes(b"<!doctype html>" + b" " * 50), "HTML page"),
        ("x.bin", lambda path: path.write_bytes(b""), "is empty"),
        ("x.txt", lambda path: path.write_text("hello"), "is in no format that is known here"),
        ("folder", lambda path: path.mkdir(), "is in no format that is known here"),
        ("meta.pkl", lambda path: path.write_bytes(b"\x80\x04N."), "a pickle, which can run any program"),
    ],
)
def test_what_is_said_of_a_file_of_no_program(name, write, message, tmp_path):
    write(tmp_path / name)
    assert foreign.recognise(tmp_path / name) is None
    with pytest.raises(ArtefactError, match=message):
        foreign.read(tmp_path / name)


def test_the_formats_are_listed():
    with pytest.raises(UsageError, match="'keras' is no format that is known here") as error:
        foreign.read(FIXTURE, "keras")
    assert all(name in str(error.value.hint) for name in foreign.FORMATS)
    with pytest.raises(UsageError, match="there is no such file or folder"):
        foreign.read("nowhere.pt")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_head": 3}, "n_head is nothing that llms_from_scratch asks for; it can be told n_heads"),
        ({"n_heads": "3"}, "n_heads is '3'; valid values are of the kind int"),
        ({"n_heads": True}, "n_heads is True; valid values are of the kind int"),
        ({"n_heads": 0}, "n_heads is 0; valid values are whole numbers from 1"),
    ],
)
def test_options_that_cannot_be(fields, message, tmp_path):
    torch.save(book_gpt(), tmp_path / "model.pth")
    with pytest.raises(UsageError, match=message):
        foreign.read(tmp_path / "model.pth", fields=fields)
    with pytest.raises(UsageError, match="there is nothing to tell it"):
        foreign.read(FIXTURE, fields={"n_heads": 2})


@pytest.mark.parametrize("name", foreign.FORMATS)
def test_each_format_says_what_it_is(name):
    module = foreign.FORMATS[name]
    assert module.__name__.endswith(name) and module.TITLE and isinstance(module.OPTIONS, dict)
