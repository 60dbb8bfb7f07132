"""TensorFlow's tensor bundles: a writer of tables, small and ours, and whatever it can write wrong."""

import random
import struct
import time

import numpy as np
import pytest
import torch

from groundup.errors import ArtefactError
from groundup.weights.foreign import tensor_bundle
from groundup.weights.foreign.crc32c import crc32c, mask
from tests.weights.foreign.test_gpt2_tensorflow import FIXTURE

DTYPES = {torch.float32: 1, torch.float64: 2, torch.int64: 9, torch.bfloat16: 14, torch.float16: 19}


def checksum(data: bytes) -> bytes:
    return struct.pack("<I", mask(crc32c(np.frombuffer(data, np.uint8))))


def varint(number: int) -> bytes:
    groups = [number & 0x7F]
    while number := number >> 7:
        groups[-1] |= 0x80
        groups.append(number & 0x7F)
    return bytes(groups)


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def entry(dtype=1, shape=(2,), shard=0, offset=0, size=8, crc=b"\0\0\0\0", more=b"") -> bytes:
    dimensions = b"".join(field(2, field(1, length)) for length in shape)
    fixed = varint(6 << 3 | 5) + crc
    return field(1, dtype) + field(2, dimensions) + field(3, shard) + field(4, offset) + field(5, size) + fixed + more


def header(n_shards=1, big_endian=0) -> bytes:
    return field(1, n_shards) + field(2, big_endian) + field(3, field(1, 1))


def block(entries, kind=b"\0") -> bytes:
    """Names share what they have in common with the one before, but every third begins anew."""
    content, places, previous = b"", [], b""
    for i, (name, value) in enumerate(entries):
        n_shared = 0
        if i % 3 == 0:
            places.append(len(content))
        else:
            while n_shared < min(len(name), len(previous)) and name[n_shared] == previous[n_shared]:
                n_shared += 1
        content += varint(n_shared) + varint(len(name) - n_shared) + varint(len(value)) + name[n_shared:] + value
        previous = name
    content += struct.pack(f"<{len(places) + 1}I", *places, len(places)) + kind
    return content + checksum(content)


def table(entries, per_block=2, kind=b"\0", handles=None) -> bytes:
    content, found = b"", []
    for start in range(0, len(entries), per_block):
        part = entries[start : start + per_block]
        written = block(part, kind)
        found.append((part[-1][0], varint(len(content)) + varint(len(written) - 5)))
        content += written
    written = block(found if handles is None else handles(found))
    footer = varint(0) + varint(0) + varint(len(content)) + varint(len(written) - 5)
    return content + written + footer.ljust(40, b"\0") + tensor_bundle.MAGIC


def write(folder, entries, data=(b"\0" * 8,), **more):
    (folder / "x.index").write_bytes(table(entries, **more))
    for shard, content in enumerate(data):
        (folder / f"x.data-{shard:05d}-of-{len(data):05d}").write_bytes(content)
    return folder / "x"


def test_blocks_shards_and_dtypes(tmp_path):
    tensors = {
        f"model/h{i}/{'w' * (i % 4)}": (torch.randn(3, 2 + i) * 10).to(dtype)
        for i, dtype in enumerate(list(DTYPES) * 3)
    } | {"step": torch.tensor(7)}
    shards, entries = [b"", b"-"], {b"": header(2)}
    for i, (name, tensor) in enumerate(tensors.items()):
        data = tensor.view(torch.uint8).numpy().tobytes() if tensor.ndim else struct.pack("<q", int(tensor))
        place = {"shard": i % 2, "offset": len(shards[i % 2]), "size": len(data), "crc": checksum(data)}
        entries[name.encode()] = entry(DTYPES[tensor.dtype], tuple(tensor.shape), **place)
        shards[i % 2] += data
    read = tensor_bundle.read(write(tmp_path, sorted(entries.items()), shards))

    assert set(read) == set(tensors)
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name].load(), tensor)


@pytest.mark.parametrize(
    ("entries", "options", "message"),
    [
        ([(b"a", entry())], {}, "it has no header"),
        ([(b"", header(n_shards=0))], {}, "it has 0 files of numbers"),
        ([(b"", header(n_shards=10**6))], {}, "it has 1000000 files of numbers"),
        ([(b"", header(big_endian=1))], {}, "big-endian"),
        ([(b"", header()), (b"a", entry(dtype=7))], {}, "'a' has the dtype 7, which no weight has"),
        ([(b"", header()), (b"a", entry(more=field(7, b"x")))], {}, "'a' is cut into slices"),
        ([(b"", header()), (b"a", entry(shard=1))], {}, "'a' lies in file 1 of 1"),
        ([(b"", header()), (b"a", entry(size=9))], {}, r"'a' has shape \(2,\) and 9 bytes"),
        ([(b"", header()), (b"a", entry(shape=(1 << 62, 1 << 62)))], {}, "'a' has shape"),
        ([(b"", header()), (b"a", entry(shape=((1 << 64) - 2,)))], {}, "'a' has shape"),
        ([(b"", header()), (b"a", entry(offset=1))], {}, "x.data-00000-of-00001 has 8 bytes, and 'a' ends at 9"),
        ([(b"", header()), (b"a", entry(shape=(1 << 40,), size=1 << 42))], {}, "'a' ends at 4,398,046,511,104"),
        ([(b"", header()), (b"b", entry()), (b"a", entry())], {}, "b'a' comes after b'b'"),
        ([(b"", header()), (b"a", entry()), (b"a", entry())], {}, "b'a' comes after b'a'"),
        ([(b"", header()), (b"a" * 300, entry())], {}, "an entry goes beyond its block"),
        ([(b"", header()), (b"\xff", entry())], {}, "codec can't decode"),
        ([(b"", header()), (b"a", b"\x0b")], {}, "a field of the kind 3"),
        ([(b"", header()), (b"a", b"\xff" * 12)], {}, "more than 64 bits"),
        ([(b"", header()), (b"a", field(2, b"abc")[:-1])], {}, "it ends too early"),
        ([(b"", header())], {"kind": b"\1"}, "it is compressed"),
        ([(b"", header())], {"handles": lambda found: found * 60_000}, "b'' comes after b''"),
        ([(b"", header())], {"handles": lambda found: [(b"", varint(1 << 40) + varint(8))]}, "goes beyond the end"),
        ([(b"", header())], {"handles": lambda found: [(b"", varint(0) + varint(0))]}, "goes beyond the end"),
    ],
)
def test_tables_that_cannot_be(entries, options, message, tmp_path):
    prefix = write(tmp_path, entries, **options)
    start = time.perf_counter()
    with pytest.raises(ArtefactError, match=message):
        tensor_bundle.read(prefix)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"<html>", "HTML page"),
        (b"\0" * 100, "zeros"),
        (b"x" * 100, "its last bytes are not those of a table"),
        (b"x" * ((1 << 20) + 1), "too many for the index"),
        (b"\xff" * 92 + tensor_bundle.MAGIC, "more than 64 bits"),
    ],
)
def test_other_files_under_this_name(content, message, tmp_path):
    (tmp_path / "x.index").write_bytes(content)
    with pytest.raises(ArtefactError, match=message):
        tensor_bundle.read(tmp_path / "x")


def test_every_cut_and_every_changed_byte(tmp_path):
    """Of the index that TensorFlow wrote, as far as a few hundred show it. Only bytes that mean nothing may differ."""
    content, random_numbers = (FIXTURE / "model.ckpt.index").read_bytes(), random.Random(0)
    for file in FIXTURE.glob("model.ckpt.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    expected = {name: tensor.shape for name, tensor in tensor_bundle.read(tmp_path / "model.ckpt").items()}
    for at in range(0, len(content), 4):
        (tmp_path / "model.ckpt.index").write_bytes(content[:at])
        with pytest.raises(ArtefactError):
            tensor_bundle.read(tmp_path / "model.ckpt")
        damaged = bytearray(content)
        damaged[at] = random_numbers.randrange(256)
        (tmp_path / "model.ckpt.index").write_bytes(damaged)
        try:
            read = tensor_bundle.read(tmp_path / "model.ckpt")
        except ArtefactError:
            continue
        assert {name: tensor.shape for name, tensor in read.items()} == expected
