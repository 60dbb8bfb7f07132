"""What is in token data or in raw files, in numbers, and whether it is fit to train on.

Everything is read once, in stretches, whatever its size. Nothing is printed here; commands/data/inspect.py shows it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from groundup.data import schemas
from groundup.data.shards import Split, TokenData
from groundup.data.shuffling import key_of, mix
from groundup.data.token_files import Ids
from groundup.text import sources

if TYPE_CHECKING:
    from groundup.tokenizer.protocol import Tokenizer

STRETCH = 2**22
REPEAT_LENGTH, OVERLAP_LENGTH = 32, 8
MAX_HASHES = 2**21
N_PAIRS, BATCH_ROWS, ROW_IDS = 8, 16, 256

Span = tuple[str, bool]
"""A stretch of text, and whether a model learns to write it."""


@dataclass(frozen=True)
class Verdict:
    """One judgement: `level` is "good", "doubtful" or "unsuitable", `limit` what was asked for, in words."""

    name: str
    value: float
    level: str
    limit: str


def judge(name: str, value: float, *, doubtful: float, unsuitable: float | None = None) -> Verdict:
    """A verdict on a value that should be low: above `doubtful` it is doubtful, above `unsuitable` worse."""
    level = "good" if value <= doubtful else "doubtful"
    limit = f"at most {doubtful:g}"
    if unsuitable is not None:
        level = "unsuitable" if value > unsuitable else level
        limit += f", unsuitable above {unsuitable:g}"
    return Verdict(name, round(float(value), 4), level, limit)


# --- token data ---


def tokens(data: TokenData, tokenizer: "Tokenizer | None" = None, n_top: int = 20) -> dict[str, Any]:
    """Distribution of tokens, special tokens, repetition, and the verdicts on them."""
    split, val = data.split("train"), data.split("val")
    counts, n_outside = count_tokens(split.ids, data.vocab_size)
    n, special = int(counts.sum()), data.manifest["special_ids"]
    ordinary = np.ones(data.vocab_size, dtype=bool)
    ordinary[list(special.values())] = False
    order = np.argsort(-counts, kind="stable")[:n_top]
    lengths = np.diff(np.asarray(split.offsets).astype(np.int64))
    report: dict[str, Any] = {
        "path": str(data.path),
        "kind": data.manifest["kind"],
        "vocab_size": data.vocab_size,
        "counts": data.manifest["counts"],
        "left_out": data.manifest["left_out"],
        "shortened": data.manifest["shortened"],
        "tokens_per_document": {
            "mean": float(lengths.mean()),
            "shortest": int(lengths.min()),
            "longest": int(lengths.max()),
        },
        "bytes_per_token": data.manifest["counts"]["train"]["bytes"] / max(1, n),
        "top_tokens": [
            {"id": i, "token": _shown(tokenizer, i), "count": int(counts[i]), "share": int(counts[i]) / n}
            for i in order.tolist()
        ],
        "unused_ids": int((counts[ordinary] == 0).sum()),
        "entropy_bits": entropy(counts),
        "zipf_slope": zipf_slope(counts[ordinary]),
        "special_tokens": {
            name: {"count": int(counts[i]), "per_1000": 1000 * int(counts[i]) / n} for name, i in special.items()
        },
        "ids_outside_vocabulary": n_outside,
        "repeated_share": repeated_share(split.ids),
        "batch_overlap": batch_overlap(split.ids),
        "val_documents_in_train": shared_documents(split, val),
    }
    report["verdicts"] = [asdict(verdict) for verdict in _token_verdicts(report, int(ordinary.sum()))]
    return report


def _token_verdicts(report: dict[str, Any], n_ordinary: int) -> Iterator[Verdict]:
    counts = report["counts"]["train"]
    yield judge("ids outside the vocabulary", report["ids_outside_vocabulary"], doubtful=0, unsuitable=0)
    if report["kind"] == "documents":
        n_ends = report["special_tokens"].get("<|endoftext|>", {"count": 0})["count"]
        level = "good" if n_ends else "unsuitable"
        yield Verdict("end tokens", n_ends, level, "at least 1, or no model learns to stop")
    else:
        share = counts["targets"] / max(1, counts["tokens"])
        level = "unsuitable" if share == 0 else "doubtful" if share < 0.05 else "good"
        yield Verdict("share of tokens that are learned", round(share, 4), level, "at least 0.05, unsuitable at 0")
    entropy_bits = report["entropy_bits"]
    level = "unsuitable" if entropy_bits < 1 else "doubtful" if entropy_bits < 4 else "good"
    yield Verdict("entropy of a token in bits", round(entropy_bits, 3), level, "at least 4, unsuitable below 1")
    level = "good" if -2 <= report["zipf_slope"] <= -0.5 else "doubtful"
    yield Verdict(
        "slope of frequency over rank", round(report["zipf_slope"], 3), level, "-2 to -0.5, as in any language"
    )
    yield judge("share of ids never used", report["unused_ids"] / max(1, n_ordinary), doubtful=0.5)
    yield judge(f"repeated {REPEAT_LENGTH}-token stretches", report["repeated_share"], doubtful=0.1, unsuitable=0.5)
    yield judge(f"{OVERLAP_LENGTH}-grams shared by two batches", report["batch_overlap"], doubtful=0.3, unsuitable=0.8)
    yield judge("validation documents also in train", report["val_documents_in_train"], doubtful=0, unsuitable=0.5)


def _shown(tokenizer: "Tokenizer | None", i: int) -> str:
    return "" if tokenizer is None else tokenizer.decode([i])


def _stretches(ids: Ids | np.ndarray, overlap: int = 0) -> Iterator[np.ndarray]:
    for start in range(0, len(ids), STRETCH):
        yield np.asarray(ids[start : start + STRETCH + overlap])


def count_tokens(ids: Ids | np.ndarray, vocab_size: int) -> tuple[np.ndarray, int]:
    """How often each id of the vocabulary occurs, (vocab_size,), and how many ids lie outside it."""
    counts, n_outside = np.zeros(vocab_size, dtype=np.int64), 0
    for stretch in _stretches(ids):
        inside = stretch[stretch < vocab_size]
        n_outside += len(stretch) - len(inside)
        counts += np.bincount(inside, minlength=vocab_size)
    return counts, n_outside


def entropy(counts: np.ndarray) -> float:
    """Bits that a token carries if each is drawn by itself: -sum p log2 p."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log2(p)).sum())


def zipf_slope(counts: np.ndarray) -> float:
    """Slope of log frequency over log rank, about -1 in natural language (Zipf 1949).

    Fitted by least squares at ranks evenly spread over the logarithm, so that the many rare tokens do not outvote
    the rest; ids that occur only once or twice are left out, for their ranks are chance.
    """
    ordered = np.sort(counts[counts > 2])[::-1]
    if len(ordered) < 3:
        return 0.0
    ranks = np.unique(np.geomspace(1, len(ordered), 100).round().astype(int))
    return float(np.polyfit(np.log(ranks), np.log(ordered[ranks - 1]), 1)[0])


def stretch_hashes(ids: np.ndarray, length: int) -> np.ndarray:
    """A 64-bit hash of the `length` ids from each position on; `length` is a power of two.

    Built by doubling: the hash of 2n ids is one of the hashes of its two halves.
    """
    hashes, n = mix(ids, 0), 1
    while n < length and len(hashes) > n:
        hashes = mix(hashes[:-n] + (hashes[n:] << np.uint64(1)), n)
        n *= 2
    return hashes if n == length else hashes[:0]


def repeated_share(ids: Ids | np.ndarray) -> float:
    """The share of stretches of `REPEAT_LENGTH` ids that have occurred before, estimated on a sample by content."""
    every = np.uint64(max(1, len(ids) // MAX_HASHES))
    kept = []
    for stretch in _stretches(ids, overlap=REPEAT_LENGTH - 1):
        hashes = stretch_hashes(stretch, REPEAT_LENGTH)
        # Chosen by their content, so that of a repeated stretch all or no occurrences are in the sample.
        kept.append(hashes[hashes % every == 0])
    sample = np.concatenate(kept) if kept else np.zeros(0, dtype=np.uint64)
    return 1 - len(np.unique(sample)) / len(sample) if len(sample) else 0.0


def batch_overlap(ids: Ids | np.ndarray, seed: int = 0) -> float:
    """The share of a batch's distinct `OVERLAP_LENGTH`-grams that another random batch has too, over a few pairs."""
    n_ids = min(ROW_IDS, len(ids) // (2 * BATCH_ROWS))
    if n_ids < 2 * OVERLAP_LENGTH:
        return 0.0
    shares = []
    # The two batches come from different rows of one grid, so that they never hold the same place of the text.
    n_rows = len(ids) // n_ids
    for pair in range(N_PAIRS):
        rows = np.argsort(mix(np.arange(min(n_rows, 4096)), key_of(seed, pair)))[: 2 * BATCH_ROWS]
        first, second = (
            np.unique(np.concatenate([stretch_hashes(_row(ids, row, n_ids, n_rows), OVERLAP_LENGTH) for row in half]))
            for half in (rows[:BATCH_ROWS].tolist(), rows[BATCH_ROWS:].tolist())
        )
        shares.append(len(np.intersect1d(first, second)) / min(len(first), len(second)))
    return float(np.mean(shares))


def _row(ids: Ids | np.ndarray, row: int, n_ids: int, n_rows: int) -> np.ndarray:
    start = row * n_rows // min(n_rows, 4096) * n_ids
    return np.asarray(ids[start : start + n_ids])


def shared_documents(train: Split, val: Split, most: int = 1_000_000) -> float:
    """The share of the held-out documents that, id for id, are also among the first `most` documents to train on."""
    if val.n_documents == 0:
        return 0.0
    held_out = [xxhash.xxh3_64_intdigest(val.document(i).tobytes()) for i in range(min(most, val.n_documents))]
    wanted = set(held_out)
    sizes = set(np.diff(np.asarray(val.offsets)).tolist())
    found = set()
    lengths = np.diff(np.asarray(train.offsets)).tolist()
    for i, length in enumerate(lengths[:most]):
        if length in sizes and (digest := xxhash.xxh3_64_intdigest(train.document(i).tobytes())) in wanted:
            found.add(digest)
    return sum(digest in found for digest in held_out) / len(held_out)


def spans(split: Split, i: int, tokenizer: "Tokenizer") -> list[Span]:
    """Document i as text in stretches that are learned and stretches that are not."""
    ids = split.document(i)
    if split.is_target is None:
        return [(tokenizer.decode(ids.tolist()), True)]
    is_target = split.is_target[int(split.offsets[i]) : int(split.offsets[i + 1])] != 0
    borders = [0, *(np.flatnonzero(np.diff(is_target)) + 1).tolist(), len(ids)]
    return [
        (tokenizer.decode(ids[start:stop].tolist()), bool(is_target[start]))
        for start, stop in zip(borders, borders[1:], strict=False)
        if stop > start
    ]


# --- raw files ---


def conversations(paths: Sequence[Path | str], n_shown: int = 3) -> dict[str, Any]:
    """Schemas, roles, sizes, and what could not be used and why, of raw conversation files; the first few as well."""
    counts: Counter[str] = Counter()
    roles: Counter[str] = Counter()
    n_turns, n_learned, shown, notices = 0, 0, [], []
    for conversation in schemas.conversations(
        paths, max_bad=float("inf"), notice=notices.append, count_by_schema=counts
    ):
        roles.update(message.role for message in conversation.messages)
        n_turns += len(conversation.messages)
        n_learned += sum(len(message.content) for message in conversation.messages if message.role == "assistant")
        if len(shown) < n_shown:
            shown.append(conversation.messages)
    return {
        "paths": [str(path) for path in paths],
        "kind": "raw conversations",
        "conversations": counts.total(),
        "schemas": dict(counts),
        "roles": dict(roles),
        "turns_per_conversation": n_turns / counts.total(),
        "learned_characters": n_learned,
        "notices": notices,
        "shown": [[asdict(message) for message in messages] for messages in shown],
        "verdicts": [],
    }


def documents(paths: Sequence[Path | str], field: str = "text", n_shown: int = 3) -> dict[str, Any]:
    """Number and sizes of the documents in raw text, how many are repeated, and the beginnings of the first few."""
    notices: list[str] = []
    seen: set[int] = set()
    n, n_bytes, longest, shown = 0, 0, 0, []
    for document in sources.documents(paths, field=field, max_bad=float("inf"), notice=notices.append):
        raw = document.text.encode("utf-8", "surrogatepass")
        n, n_bytes, longest = n + 1, n_bytes + len(raw), max(longest, len(raw))
        seen.add(xxhash.xxh3_64_intdigest(raw))
        if len(shown) < n_shown:
            shown.append({"source": document.source, "text": document.text[:300]})
    repeated = judge("share of documents that are repeated", 1 - len(seen) / n, doubtful=0.1, unsuitable=0.9)
    return {
        "paths": [str(path) for path in paths],
        "kind": "raw documents",
        "documents": n,
        "bytes": n_bytes,
        "bytes_per_document": n_bytes / n,
        "longest_bytes": longest,
        "notices": notices,
        "shown": shown,
        "verdicts": [asdict(repeated)],
    }
