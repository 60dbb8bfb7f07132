"""Text of any length to ids, in constant memory: a chunk at a time, or a file to shards.

A text can be cut where no piece can be (segments.py), so the ids are those of the whole. Of a pattern that is not known
by name no such place is known: its text is held until the end.
"""

import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from groundup import artifact
from groundup.errors import DataError, UsageError
from groundup.tokenizer.segments import cut, last_border
from groundup.tokenizer.split import compiled_family

if TYPE_CHECKING:
    from groundup.tokenizer.protocol import Tokenizer

CHUNK = 2**20
"""Bytes."""


def encode_chunks(
    tokenizer: "Tokenizer", chunks: Iterable[str | bytes], allow_special: Iterable[str] | str = ()
) -> Iterator[np.ndarray]:
    """The ids of the chunks joined, in arrays of uint32."""
    names = _names(tokenizer, allow_special)
    held = bytearray()
    enough = CHUNK
    for chunk in chunks:
        held += chunk if isinstance(chunk, bytes) else chunk.encode("utf-8", "surrogatepass")
        if len(held) < enough:
            continue
        border = _last_border(tokenizer, bytes(held), names)
        # Where there is none, looking again soon would be work for nothing.
        enough = CHUNK if border else 2 * len(held)
        if border:
            yield tokenizer.encode(bytes(held[:border]), allow_special=allow_special)
            del held[:border]
    yield tokenizer.encode(bytes(held), allow_special=allow_special)


def _names(tokenizer: "Tokenizer", allow_special: Iterable[str] | str) -> list[bytes]:
    names = tokenizer.special_ids if allow_special == "all" else allow_special
    return [name.encode() for name in names]


def _last_border(tokenizer: "Tokenizer", text: bytes, names: list[bytes]) -> int:
    """Where to cut: not in a special token, nor in what may become one."""
    if tokenizer.pattern and not compiled_family(tokenizer.pattern):
        return 0
    border = last_border(text)
    spans_it = True
    while border and spans_it:
        longest = max(map(len, names), default=0)
        around = text[max(0, border - longest + 1) : border + longest - 1]
        inside = min(border, longest - 1)
        spans_it = any(
            around.startswith(name[: len(around) - start], start)
            for name in names
            for start in range(max(0, inside - len(name) + 1), inside)
        )
        if spans_it:
            border = last_border(text[: border - 1])
    return border


def encode_file(
    tokenizer: "Tokenizer",
    source: Path | str,
    out: Path | str,
    *,
    ids_per_shard: int = 100_000_000,
    allow_special: Iterable[str] | str = (),
    threads: int = 1,
) -> list[Path]:
    """Write the ids of a file's bytes into the new folder `out`: `ids-00000.bin` and so on, little-endian.

    They are uint16 up to 65,536 tokens, else uint32, as the folder's manifest says. Returns the shards.
    """
    if ids_per_shard < 1:
        raise UsageError(f"a shard of {ids_per_shard} ids is none", hint="use ids_per_shard=1 or more")
    dtype = np.dtype("<u2" if tokenizer.vocab_size <= 2**16 else "<u4")
    facts = {"kind": "token ids", "tokenizer": tokenizer.hash, "dtype": dtype.name, "n_ids": 0}
    with artifact.writing(out, facts) as folder:
        shard, room = -1, 0
        for ids in _ids_of_file(tokenizer, Path(source), allow_special, threads):
            facts["n_ids"] += len(ids)
            while len(ids):
                if not room:
                    shard, room = shard + 1, ids_per_shard
                with open(folder / f"ids-{shard:05}.bin", "ab") as file:
                    file.write(ids[:room].astype(dtype).data)
                ids, room = ids[room:], max(0, room - len(ids))
    return sorted(Path(out).glob("ids-*.bin"))


def _ids_of_file(
    tokenizer: "Tokenizer", source: Path, allow_special: Iterable[str] | str, threads: int
) -> Iterator[np.ndarray]:
    from groundup.tokenizer.bpe import BPE

    try:
        with open(source, "rb") as file:
            if (
                not isinstance(tokenizer, BPE)
                or tokenizer.normalizer
                or allow_special
                or not compiled_family(tokenizer.pattern)
                or not source.stat().st_size
            ):
                yield from encode_chunks(tokenizer, iter(lambda: file.read(CHUNK), b""), allow_special)
                return
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            for ids, _ in tokenizer.encode_jobs(cut(mapped), threads):
                yield ids
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror}", where=str(source)) from error
