"""Token data on disk: a folder of shards with a manifest, written once from documents or conversations, then read.

    manifest.json            what this is, from which tokenizer and sources, how it was split, counts, checksums
    tokenizer/               the tokenizer that made it
    train-00000.bin, ...     ids, one document after the other (uint16 or uint32, little-endian)
    train-00000.targets.bin  conversations only: 1 for each id that is learned (uint8)
    train.offsets.bin        where each document begins, and the end (uint64)
    val-00000.bin, ...       the same for what is held out

Batches are made from it in batches.py; other people's `.npy` and `.bin` are read in token_files.py.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from groundup import artifact
from groundup.data import encoding
from groundup.data.encoding import Encoded
from groundup.data.splitting import SPLITS, as_named, divide
from groundup.data.token_files import Ids, dtype_for, read_ids, write_ids
from groundup.errors import ArtefactError, DataError, UsageError
from groundup.text.files import Notice, ignore
from groundup.text.records import Conversation, Document

if TYPE_CHECKING:
    from groundup.tokenizer.protocol import Tokenizer

__all__ = ["Split", "TokenData", "prepare", "prepare_conversations", "prepare_ids", "read_ids", "write_ids"]

FORMAT, VERSION = "groundup token data", 1
SHARD_TOKENS = 2**28
MAX_SOURCES = 1000


# --- reading ---


@dataclass(frozen=True)
class Split:
    """The documents of one split: document i is `ids[offsets[i]:offsets[i + 1]]`; `is_target` goes with `ids`."""

    name: str
    ids: Ids | np.ndarray
    offsets: np.ndarray
    is_target: Ids | np.ndarray | None = None

    @staticmethod
    def of_documents(documents: Iterable[np.ndarray], eos_id: int, name: str = "val") -> "Split":
        """Documents that are only in memory, each with an end token behind it."""
        parts = [np.append(np.asarray(ids, dtype=np.uint32), np.uint32(eos_id)) for ids in documents]
        ends = np.cumsum([len(part) for part in parts], dtype=np.uint64)
        ids = np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint32)
        return Split(name, ids, np.concatenate([np.zeros(1, dtype=np.uint64), ends]))

    @property
    def n_documents(self) -> int:
        return len(self.offsets) - 1

    def document(self, i: int) -> np.ndarray:
        return self.ids[int(self.offsets[i]) : int(self.offsets[i + 1])]


@dataclass(frozen=True)
class TokenData:
    """A folder of token data, opened. Files are looked at when a split is asked for."""

    path: Path
    manifest: Mapping[str, Any]

    @staticmethod
    def open(path: Path | str, *, checksums: bool = False) -> "TokenData":
        """Check that everything the manifest lists is there, and with `checksums` that no byte has changed."""
        manifest = artifact.verify(path, checksums=checksums)
        if manifest.get("format") != FORMAT:
            raise ArtefactError(
                "this folder holds no token data", where=str(path), hint="make some with `groundup data prepare`"
            )
        if manifest["version"] > VERSION:
            raise ArtefactError(
                f"the data was written by a newer groundup (format {manifest['version']}, known is {VERSION})",
                where=str(path),
                hint="pip install --upgrade groundup",
            )
        return TokenData(Path(path), manifest)

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.manifest["dtype"])

    @property
    def vocab_size(self) -> int:
        return self.manifest["vocab_size"]

    @property
    def tokenizer_hash(self) -> str:
        return self.manifest["tokenizer_hash"]

    def split(self, name: str) -> Split:
        """The split "train" or "val"; it may be empty."""
        if name not in SPLITS:
            raise UsageError(f"there is no split {name!r}", hint="train or val")
        shards = [self.path / shard for shard in self.manifest["shards"][name]]
        targets = [shard.with_suffix(".targets.bin") for shard in shards]
        return Split(
            name,
            Ids(shards, self.dtype),
            np.memmap(self.path / f"{name}.offsets.bin", dtype="<u8", mode="r"),
            Ids(targets, "u1") if self.manifest["kind"] == "conversations" else None,
        )


# --- writing ---


def prepare(
    documents: Iterable[Document],
    tokenizer: "Tokenizer",
    out_dir: Path | str,
    *,
    val_fraction: float = 0.05,
    seed: int = 0,
    processes: int = 1,
    notice: Notice = ignore,
    replace: bool = False,
    shard_tokens: int = SHARD_TOKENS,
    held_out: Iterable[Document] | None = None,
) -> dict[str, Any]:
    """Write documents as token data and return its manifest. The bytes do not depend on `processes`.

    About `val_fraction` of the documents are held out, chosen by a hash of their number and the seed. Of few
    documents those are held out that come nearest to that share; a text that cannot be divided by documents gives its
    end, from a pause on. Where `held_out` is given, these documents are the validation split, and no others.
    DataError if there is no text.
    """
    kind = _Kind("documents", tokenizer, shard_tokens)
    encoded = encoding.documents(documents, tokenizer, processes)
    named = None if held_out is None else encoding.documents(held_out, tokenizer, processes)
    return _write(encoded, kind, out_dir, val_fraction, seed, replace, notice, {}, named)


def prepare_ids(
    files: Iterable[Path | str],
    tokenizer: "Tokenizer",
    out_dir: Path | str,
    *,
    val_fraction: float = 0.05,
    seed: int = 0,
    notice: Notice = ignore,
    replace: bool = False,
    shard_tokens: int = SHARD_TOKENS,
) -> dict[str, Any]:
    """The same from `.npy` and raw `.bin` files of this tokenizer's ids, whose documents end with its end token."""
    kind = _Kind("documents", tokenizer, shard_tokens)
    dtype = dtype_for(tokenizer.vocab_size)
    encoded = chain.from_iterable(
        encoding.from_ids(read_ids(file, dtype=dtype), tokenizer, str(file)) for file in files
    )
    return _write(encoded, kind, out_dir, val_fraction, seed, replace, notice, {})


def prepare_conversations(
    conversations: Iterable[Conversation],
    tokenizer: "Tokenizer",
    out_dir: Path | str,
    *,
    template: str | None = None,
    val_fraction: float = 0.05,
    context_length: int | None = None,
    seed: int = 0,
    processes: int = 1,
    max_bad: int = 0,
    notice: Notice = ignore,
    replace: bool = False,
    shard_tokens: int = SHARD_TOKENS,
) -> dict[str, Any]:
    """Write conversations as token data with the marks of what is learned, and return its manifest.

    One that is longer than `context_length` loses its oldest turns, then the end of its last answer, and is left out
    if no answer remains; `notice` and the manifest say how many. DataError if more than `max_bad` conversations have
    nothing to learn. `template` is a name of `chat.TEMPLATES`, or None for the tokenizer's own.
    """
    from groundup.tokenizer import chat

    template = template or chat.name_for(tokenizer)
    kind = _Kind("conversations", tokenizer, shard_tokens)
    # A row of T positions holds T + 1 ids, for the last one is only predicted.
    rendering = encoding.Rendering(template, None if context_length is None else context_length + 1)
    encoded = encoding.conversations(conversations, tokenizer, rendering, processes)
    facts = {"template": template, "context_length": context_length}
    learned = _with_something_to_learn(encoded, max_bad, kind.changes)
    return _write(learned, kind, out_dir, val_fraction, seed, replace, notice, facts)


def _with_something_to_learn(encoded: Iterable[Encoded], max_bad: int, changes: Counter[str]) -> Iterator[Encoded]:
    """Leave out conversations without a trained token; complain when all were seen, so that the number is known."""
    n, bad = 0, []
    for n, conversation in enumerate(encoded, start=1):  # noqa: B007 - the count is used after the loop
        if len(conversation.ids) == 0 and conversation.change:
            yield conversation
        elif conversation.is_target is None or not conversation.is_target[1:].any():
            bad.append(n)
        else:
            yield conversation
    if len(bad) > max_bad:
        raise DataError(
            f"{len(bad)} of {n} conversations have no token to learn; the first is number {bad[0]}",
            hint="every conversation needs an assistant's turn with text; --max-bad N leaves out up to N",
        )
    if bad:
        changes["nothing_to_learn"] = len(bad)


class _Kind:
    """What the two kinds of token data differ in, and what was done to records on the way."""

    def __init__(self, name: str, tokenizer: "Tokenizer", shard_tokens: int):
        self.name, self.tokenizer, self.shard_tokens = name, tokenizer, shard_tokens
        self.changes: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()

    def kept(self, encoded: Iterable[Encoded]) -> Iterator[Encoded]:
        """Records that have ids; of all of them it is counted where they came from and what happened to them."""
        for record in encoded:
            if len(record.ids) == 0:
                self.changes["too_long" if record.change else "empty"] += 1
                continue
            if record.change:
                self.changes[{"turns": "lost_oldest_turns", "end": "lost_end_of_answer"}[record.change]] += 1
            place = record.source if len(self.sources) < MAX_SOURCES or record.source in self.sources else "(others)"
            self.sources[place] += 1
            yield record


def _write(
    encoded: Iterable[Encoded],
    kind: _Kind,
    out_dir: Path | str,
    val_fraction: float,
    seed: int,
    replace: bool,
    notice: Notice,
    facts: dict[str, Any],
    held_out: Iterable[Encoded] | None = None,
) -> dict[str, Any]:
    if not 0 <= val_fraction < 1:
        raise UsageError(f"val_fraction is {val_fraction}; it is a share from 0 to below 1")
    tokenizer, manifest = kind.tokenizer, {}
    with artifact.writing(out_dir, manifest, replace=replace) as folder:
        writers = {name: _SplitWriter(folder, name, kind) for name in SPLITS}
        rule = ""
        try:
            divisible_by = tokenizer if kind.name == "documents" else None
            divided = (
                divide(kind.kept(encoded), divisible_by, val_fraction, seed)
                if held_out is None
                else as_named(kind.kept(encoded), kind.kept(held_out))
            )
            for name, rule, record in divided:  # noqa: B007 - the rule is used after the loop
                writers[name].add(record)
        finally:
            for writer in writers.values():
                writer.close()
        if writers["train"].counts["documents"] == 0:
            raise DataError(f"there are no {kind.name} to write", hint="name files with text in them")
        if held_out is not None and writers["val"].counts["documents"] == 0:
            raise DataError(f"there are no {kind.name} to hold out", hint="name files with text in them")
        tokenizer.save(folder / "tokenizer")
        manifest.update(
            {
                "format": FORMAT,
                "version": VERSION,
                "kind": kind.name,
                "tokenizer_hash": tokenizer.hash,
                "vocab_size": tokenizer.vocab_size,
                "dtype": dtype_for(tokenizer.vocab_size).str,
                "eos_id": tokenizer.eos_id,
                "special_ids": tokenizer.special_ids,
                "counts": {name: writer.counts for name, writer in writers.items()},
                "left_out": {k: n for k, n in sorted(kind.changes.items()) if not k.startswith("lost")},
                "shortened": {k: n for k, n in sorted(kind.changes.items()) if k.startswith("lost")},
                "sources": {source: n for source, n in sorted(kind.sources.items()) if source},
                "split": {"rule": rule, "val_fraction": val_fraction, "seed": seed},
                "shards": {name: writer.shards for name, writer in writers.items()},
                **facts,
            }
        )
    for what, n in sorted(kind.changes.items()):
        if what != "empty":
            notice(f"{n} {kind.name} {WORDS[what]}")
    if writers["val"].counts["documents"] == 0 and val_fraction > 0:
        notice(f"nothing could be held out for validation: there is one of the {kind.name}, and it is not divided")
    return artifact.read_json(Path(out_dir) / artifact.MANIFEST)


WORDS = {
    "too_long": "left out: no answer fits into the context length",
    "nothing_to_learn": "left out: nothing to learn",
    "lost_oldest_turns": "shortened: the oldest turns left out",
    "lost_end_of_answer": "shortened: the end of the last answer cut off",
}


class _SplitWriter:
    """Writes records one after the other into numbered shards; a new one begins when the last is full."""

    def __init__(self, folder: Path, name: str, kind: _Kind):
        self.folder, self.name, self.kind = folder, name, kind
        self.shards: list[str] = []
        self.counts = {"documents": 0, "tokens": 0, "bytes": 0}
        if kind.name == "conversations":
            self.counts |= {"targets": 0, "target_bytes": 0}
        self._room = 0
        self._files: list[Any] = []
        self._offsets = open(folder / f"{name}.offsets.bin", "wb")  # noqa: SIM115 - close() closes it
        self._offsets.write(np.uint64(0).tobytes())

    def add(self, record: Encoded) -> None:
        if self._room <= 0:
            self._next_shard()
        self._room -= len(record.ids)
        self._files[0].write(record.ids.tobytes())
        self.counts["documents"] += 1
        self.counts["tokens"] += len(record.ids)
        self.counts["bytes"] += record.n_bytes
        if record.is_target is not None:
            self._files[1].write(record.is_target.tobytes())
            # The first id of a row is given, never predicted.
            self.counts["targets"] += int(record.is_target[1:].sum())
            self.counts["target_bytes"] += record.n_target_bytes
        self._offsets.write(np.uint64(self.counts["tokens"]).tobytes())

    def _next_shard(self) -> None:
        for file in self._files:
            file.close()
        shard = self.folder / f"{self.name}-{len(self.shards):05}.bin"
        paths = [shard] if self.kind.name == "documents" else [shard, shard.with_suffix(".targets.bin")]
        self._files = [open(path, "wb") for path in paths]  # noqa: SIM115 - close() closes them
        self.shards.append(shard.name)
        self._room = self.kind.shard_tokens

    def close(self) -> None:
        for file in [*self._files, self._offsets]:
            file.close()
