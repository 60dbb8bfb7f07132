"""Our reader of safetensors: what the library wrote is read as the library reads it, and damage is named."""

import contextlib
import json
import os
import random
import time
import tracemalloc

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.errors import ArtefactError
from groundup.weights import safetensors_file
from tests.weights.changed import changed_at_random

ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def raw(header, data=bytes(8), length=None):
    """The bytes of a file with this header, an object or text, honest or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.safetensors"


# --- what is right ---


def test_every_dtype_as_the_library_reads_it(file):
    tensors = {
        str(dtype).removeprefix("torch."): torch.randint(0, 2, (3, 5)).to(dtype)
        for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
                      torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8, torch.bool)
    }  # fmt: skip
    tensors |= {"scalar": torch.tensor(1.5), "empty": torch.zeros(0, 7), "bf16": torch.randn(4, 2, 3).bfloat16()}
    safetensors.torch.save_file(tensors, file, metadata={"format": "pt", "名": "值"})
    ours, metadata = safetensors_file.read(file)

    assert metadata == {"format": "pt", "名": "值"}
    assert ours.keys() == tensors.keys()
    for name, theirs in safetensors.torch.load_file(file).items():
        assert ours[name].shape == tuple(theirs.shape)
        numbers = ours[name].numbers()
        assert numbers.shape == tuple(theirs.shape)
        assert numbers.dtype == (np.float32 if theirs.dtype == torch.bfloat16 else theirs.numpy().dtype)
        assert np.array_equal(numbers, theirs.float().numpy() if theirs.dtype == torch.bfloat16 else theirs.numpy())
        assert bytes(ours[name].raw()) == theirs.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def test_a_file_without_tensors(file):
    safetensors.torch.save_file({}, file)
    assert safetensors_file.read(file) == ({}, {})


def test_numbers_cannot_be_written_to(file):
    safetensors.torch.save_file({"a": torch.ones(3)}, file)
    tensor = safetensors_file.read(file)[0]["a"]
    for array in (tensor.raw(), tensor.numbers()):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_numbers_at_odd_addresses_are_copied(file):
    # A header of odd length, which the format allows.
    file.write_bytes(raw(json.dumps({"a": ENTRY}).encode() + b" " * (len(json.dumps({"a": ENTRY})) % 2 == 0),
                         np.array([1.5, -2], "<f4").tobytes()))  # fmt: skip
    tensor = safetensors_file.read(file)[0]["a"]
    assert tensor.offset % 2 == 1
    assert tensor.raw().flags.aligned and tensor.raw().ctypes.data % 4 == 0
    assert tensor.numbers().tolist() == [1.5, -2]
    assert safetensors.numpy.load_file(file)["a"].tolist() == [1.5, -2]


def test_rows_of_a_tensor(file):
    numbers = torch.randn(5, 2, 3)
    safetensors.torch.save_file({"a": numbers, "b": torch.tensor(1.0)}, file)
    tensors, _ = safetensors_file.read(file)
    assert np.array_equal(tensors["a"].rows(1, 4).numbers(), numbers[1:4])
    assert tensors["a"].rows(2, 2).numbers().shape == (0, 2, 3)
    for tensor, start, stop in [("a", 3, 6), ("a", -1, 2), ("a", 3, 2), ("b", 0, 1)]:
        with pytest.raises(IndexError):
            tensors[tensor].rows(start, stop)


def test_half_a_gigabyte_opens_at_once_and_takes_no_memory(file):
    # The file has a hole where its numbers would be, so it takes no disk either.
    size = 1_000_000
    header = {f"{i}": {"dtype": "F32", "shape": [size // 4], "data_offsets": [i * size, (i + 1) * size]}
              for i in range(500)}  # fmt: skip
    text = json.dumps(header).encode()
    with file.open("wb") as out:
        out.write(raw(text, b""))
        out.truncate(8 + len(text) + 500 * size)
    start = time.perf_counter()
    safetensors_file.read(file)
    assert time.perf_counter() - start < 1
    tracemalloc.start()
    tensors, _ = safetensors_file.read(file)
    assert sum(float(tensor.numbers()[-1]) for tensor in tensors.values()) == 0
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_the_file_was_cut_off_after_it_was_opened(file):
    safetensors.torch.save_file({"a": torch.ones(3)}, file)
    tensor = safetensors_file.read(file)[0]["a"]
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ArtefactError, match="changed after it was opened, so 'a'"):
        tensor.raw()
    file.unlink()
    with pytest.raises(ArtefactError, match="changed after it was opened, so 'a'"):
        tensor.numbers()


# --- what is wrong ---

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 538090408\n"
PAIR = {"a": ENTRY, "b": ENTRY | {"data_offsets": [8, 16]}}

DAMAGED = {
    "length 2^63": (raw({"a": ENTRY}, length=1 << 63), "would have 9,223,372,036,854,775,808 bytes"),
    "length 2^64-1": (b"\xff" * 64, "would have 18,446,744,073,709,551,615 bytes"),
    "more than 100 MB": (raw({"a": ENTRY}, length=100_000_001), "would have 100,000,001 bytes"),
    "length past the end": (raw({"a": ENTRY}, length=1000), "cut off: its header ends at byte 1,008, and the file has"),
    "seven bytes": (b"\x02" * 7, "only 7 bytes"),
    "empty": (b"", "is empty"),
    "no JSON": (raw(b"{'a': 1}"), "the header is damaged: not valid JSON"),
    "cut JSON": (raw(b'{"a":{"dtype":"F32"'), "the header is damaged: not valid JSON"),
    "not UTF-8": (raw(b'{"\xff\xfe": 1}'), "the header is damaged: not valid JSON"),
    "a list": (raw(b"[1, 2]"), "does not begin with {"),
    "two objects": (raw(b"{}{}"), "not valid JSON"),
    "NaN": (raw(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}'), "NaN is no number"),
    "deep": (raw(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "nested too deeply"),
    "many values": (raw(b'{"a":[' + b"1," * (1 << 20) + b"1]}"), "more values than any model"),
    "long number": (raw(b'{"a":' + b"9" * 5000 + b"}"), "not valid JSON"),
    "a name twice": (raw(b'{"a":%b,"b":1,"a":%b}' % ((json.dumps(ENTRY).encode(),) * 2)), "'a' stands there twice"),
    "a field twice": (raw(b'{"a":{"dtype":"F32","dtype":"F32"}}'), "'dtype' stands there twice"),
    "overlap": (raw({"a": ENTRY, "b": ENTRY}), "tensors 'b' and 'a' overlap"),
    "partial overlap": (raw(PAIR | {"b": ENTRY | {"data_offsets": [4, 12]}}, bytes(16)), "'b' and 'a' overlap"),
    "hole": (raw(PAIR | {"b": ENTRY | {"data_offsets": [12, 20]}}, bytes(20)), "4 bytes between 'a' and tensor 'b' b"),
    "hole at first": (raw({"a": ENTRY | {"data_offsets": [8, 16]}}, bytes(16)), "8 bytes between the header and"),
    "bytes at the end": (raw({"a": ENTRY}, bytes(9)), "1 bytes after 'a' belong to no tensor"),
    "negative offset": (raw({"a": ENTRY | {"data_offsets": [-8, 0]}}), r"'a' has data_offsets \[-8, 0\]"),
    "offsets swapped": (raw({"a": ENTRY | {"data_offsets": [8, 0]}}), r"'a' has data_offsets \[8, 0\]"),
    "three offsets": (raw({"a": ENTRY | {"data_offsets": [0, 8, 8]}}), "'a' has data_offsets"),
    "offset 2^64": (raw({"a": ENTRY | {"data_offsets": [1 << 64, (1 << 64) + 8]}}), "bytes between the header and"),
    "offset is text": (raw({"a": ENTRY | {"data_offsets": ["0", "8"]}}), "'a' has data_offsets"),
    "offset is a float": (raw({"a": ENTRY | {"data_offsets": [0, 8.0]}}), "'a' has data_offsets"),
    "shape is true": (raw({"a": ENTRY | {"shape": [True, 2]}}), r"'a' has shape \[True, 2\]"),
    "negative shape": (raw({"a": ENTRY | {"shape": [-2]}}), r"'a' has shape \[-2\]"),
    "shape overflows": (raw({"a": ENTRY | {"shape": [1 << 62, 4]}}), "'a' has shape .* too large"),
    "shape wraps to 8 bytes": (raw({"a": ENTRY | {"shape": [(1 << 62) + 1, 2]}}), "'a' has shape .* too large"),
    "zero hides it": (raw({"a": ENTRY | {"shape": [0, 1 << 63], "data_offsets": [0, 0]}}, b""), "shape .* too large"),
    "many dimensions": (raw({"a": ENTRY | {"shape": [1] * 33}}), "'a' has 33 dimensions"),
    "wrong size": (raw({"a": ENTRY | {"shape": [3]}}), r"'a' has 8 bytes; F32 of shape \[3\] takes 12"),
    "unknown dtype": (raw({"a": ENTRY | {"dtype": "F7"}}), "'a' has dtype 'F7', which is not read here; .*F64"),
    "dtype is a list": (raw({"a": ENTRY | {"dtype": [1]}}), "'a' has dtype"),
    "an 8-bit float": (raw({"a": ENTRY | {"dtype": "F8_E4M3", "shape": [8]}}), "'a' has dtype 'F8_E4M3', which"),
    "field missing": (raw({"a": {"dtype": "F32", "shape": [2]}}), "'a' has .* where dtype, shape and data_offsets"),
    "field unknown": (raw({"a": ENTRY | {"more": 1}}), "'a' has .* where dtype, shape and data_offsets"),
    "no entry": (raw({"a": None}), "'a' has None where dtype, shape and data_offsets"),
    "metadata of numbers": (raw({"__metadata__": {"a": 1}, "a": ENTRY}), "__metadata__ is not texts by name"),
    "name for a terminal": (raw({"\x1b[2J": ENTRY}), r"'\\x1b\[2J' has a name that cannot be printed"),
    "half a character": (raw(b'{"\\ud800":%b}' % json.dumps(ENTRY).encode()), r"'\\ud800' has a name"),
    "truncated": (raw(PAIR, bytes(15)), "cut off: tensor 'b' ends at byte .*, and the file has"),
    "LFS pointer": (LFS, "is not a safetensors file but the few lines that Git LFS leaves"),
    "HTML": (b"<!DOCTYPE html><html><head><title>404</title>", "but an HTML page, as a failed download leaves it"),
    "HTML after a line": (b"\n\n<html lang=en><body>Sign in", "but an HTML page"),
    "an error": (b'{"error":"Repository not found"}', "but an error message of the server"),
    "a pickle": (b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00cposix\nsystem\n", "but a pickle, which can run"),
    "a zip": (b"PK\x03\x04" + bytes(60), "but a zip archive, such as PyTorch writes"),
    "a GGUF file": (b"GGUF\x03\0\0\0" + bytes(60), "but a GGUF file"),
    "zeros": (bytes(1000), "but zeros, as an interrupted download leaves them"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_named(name, file):
    content, message = DAMAGED[name]
    file.write_bytes(content)
    with pytest.raises(ArtefactError, match=message) as caught:
        safetensors_file.read(file)
    assert file.name in str(caught.value) and len(caught.value.what) < 400


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_costs_neither_memory_nor_time(name, file):
    file.write_bytes(DAMAGED[name][0])
    tracemalloc.start()
    start = time.perf_counter()
    with contextlib.suppress(ArtefactError):
        safetensors_file.read(file)
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * len(DAMAGED[name][0]) + (1 << 20) and seconds < 1


# The library reads 8-bit floats, which no model here has; passes over what it does not know; and shows names to nobody.
REFUSED_HERE_ALONE = {"an 8-bit float", "field unknown", "name for a terminal"}


@pytest.mark.parametrize("name", DAMAGED)
def test_the_library_refuses_it_too(name, file):
    file.write_bytes(DAMAGED[name][0])
    try:
        safetensors.torch.load_file(file)
    except Exception:
        assert name not in REFUSED_HERE_ALONE
    else:
        assert name in REFUSED_HERE_ALONE


def test_no_file_folder_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    for name, message in [("none", "none is missing"), (".", "folder, not a file"), ("pipe", "a pipe or a device"),
                          ("link", "link is a link to nowhere")]:  # fmt: skip
        with pytest.raises(ArtefactError, match=message):
            safetensors_file.read(tmp_path / name)


def is_read_or_refused(file, content):
    file.write_bytes(content)
    try:
        tensors, _ = safetensors_file.read(file)
    except ArtefactError:
        return
    assert sum(tensor.n_bytes for tensor in tensors.values()) < len(content)
    for tensor in tensors.values():
        assert tensor.numbers().shape == tensor.shape


BF16 = {"dtype": "BF16", "shape": [2, 2], "data_offsets": [8, 16]}
GOOD = raw({"__metadata__": {"format": "pt"}, "a": ENTRY, "b": BF16}, bytes(range(16)))


def mutations(good):
    """A good file with a few stretches replaced, cut or repeated."""
    stretch = st.binary(max_size=12) | st.sampled_from([b"\xff" * 8, b"[", b"-1", b"9" * 20, b'"', b"\0" * 8, b"null"])
    edit = st.tuples(st.integers(0, len(good)), st.integers(0, 12), stretch)

    def edited(edits):
        content = good
        for start, length, new in edits:
            content = content[:start] + new + content[start + length :]
        return content

    return st.lists(edit, min_size=1, max_size=4).map(edited)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(content=mutations(GOOD))
def test_changed_files(content, tmp_path_factory):
    is_read_or_refused(tmp_path_factory.getbasetemp() / "changed.safetensors", content)


@pytest.mark.soak
def test_many_changed_files(file):
    generator = random.Random(0)
    pieces = [
        b"\xff" * 8,
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b'"',
        b"-1",
        b"9" * 20,
        b"\0" * 8,
        b"null",
        b"0",
        b"1",
        b'"a":',
    ]
    for _ in range(100_000):
        is_read_or_refused(file, changed_at_random(generator, GOOD, 0, len(GOOD), pieces))
