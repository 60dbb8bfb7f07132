"""GGUF files byte by byte, so that tests can write what no honest writer would."""

import struct

STRING, ARRAY = 8, 9
U32, I32, F32, BOOL, U64 = 4, 5, 6, 7, 10


def u32(value):
    return struct.pack("<I", value)


def u64(value):
    return struct.pack("<Q", value)


def text(content):
    content = content.encode() if isinstance(content, str) else content
    return u64(len(content)) + content


def key(name, type_, value):
    """A key with its value, which is the bytes after the type."""
    return text(name) + u32(type_) + value


def array(type_, items, count=None):
    return u32(type_) + u64(len(items) if count is None else count) + b"".join(items)


def tensor(name, dims=(8,), type_=0, offset=0, n_dims=None):
    """The entry of a tensor; `dims` in the order of the file, fastest first."""
    n_dims = len(dims) if n_dims is None else n_dims
    return text(name) + u32(n_dims) + b"".join(map(u64, dims)) + u32(type_) + u64(offset)


def gguf(keys=(), tensors=(), data=b"", *, version=3, n_keys=None, n_tensors=None, alignment=32):
    counts = u64(len(tensors) if n_tensors is None else n_tensors) + u64(len(keys) if n_keys is None else n_keys)
    header = b"GGUF" + u32(version) + counts + b"".join(keys) + b"".join(tensors)
    return header + b"\0" * (-len(header) % alignment) + data
