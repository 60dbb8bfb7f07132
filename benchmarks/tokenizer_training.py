"""How fast a tokenizer is trained, and in how much memory, beside gigabpe, rustbpe and tokenizers.

A training is timed in a process of its own, from a file on disk (in the system's cache) to merges. Run by tokenizer.py.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import harness
import many_pieces
import tokenizer_peers as peers
from corpus import KINDS, Corpus
from harness import Row, first_difference, in_child
from tokenizer_peers import is_installed

VOCAB_SIZE = 32_000
THREADS = 2
ENVIRONMENT = {"RAYON_NUM_THREADS": str(THREADS), "TOKENIZERS_PARALLELISM": "true"}
SLICE, N_COMPARED = 5_000_000, 20_000
"""Bytes on which merges are compared before anything is timed, and how many; so many are in any real text of that size.
"""

GOALS = {"gigabpe": 1.5, "rustbpe": 6, "tokenizers": 25}
MAX_MB = 300
MAX_SMALL_S, MAX_SMALL_PLAIN_S = 0.3, 1.5


# --- training ---


def training_rows(corpora: Sequence[Corpus], vocab_size: int, repetitions: int, skip_slow: bool) -> Iterator[Row]:
    names = [name for name in ("gigabpe", "rustbpe", "tokenizers") if not (skip_slow and name == "tokenizers")]
    for corpus in corpora:
        path, n_merges = str(corpus.path), vocab_size - 256
        measured: dict[str, list[dict[str, float]]] = {name: [] for name in ("groundup", "groundup, cl100k", *names)}
        try:
            failed = in_child(
                "tokenizer_training:differing_merges", path, min(n_merges, N_COMPARED), names, environment=ENVIRONMENT
            )
        except RuntimeError as error:
            failed = dict.fromkeys(measured, str(error))
        for repetition in range(repetitions):
            for name, runs in measured.items():
                if name in failed or (name == "tokenizers" and repetition > 0):
                    continue
                try:
                    runs.append(
                        in_child("tokenizer_training:timed_training", name, path, n_merges, environment=ENVIRONMENT)
                    )
                except RuntimeError as error:
                    failed[name] = str(error)
        yield from _training_rows(f"{vocab_size // 1000}k, {KINDS[corpus.kind]}", names, measured, failed)


def _training_rows(
    text: str, names: Sequence[str], measured: dict[str, list[dict[str, float]]], failed: dict[str, str]
) -> Iterator[Row]:
    """Times first, then memory. rustbpe splits as GPT-4 does, so it stands beside ours with that pattern."""
    for unit, key, kind in (("s", "seconds", "two threads"), ("MB", "peak_mb", "peak memory")):
        for name in names:
            mine = "groundup, cl100k" if name == "rustbpe" else "groundup"
            values = {side: [run[key] for run in measured[side]] for side in (mine, name)}
            row = Row(f"training {text}, {kind}", unit, peer_name=name, times=values)
            row.failed = failed.get(mine) or failed.get(name)
            if not row.failed:
                row.ours, row.peer = min(values[mine]), min(values[name])
            if unit == "s":
                row.least_ratio = GOALS[name]
                row.note = "GPT-4's split" if name == "rustbpe" else "GPT-2's split"
            else:
                row.limit = MAX_MB
            yield row


def timed_training(name: str, path: str, n_merges: int) -> dict[str, float]:
    """In a process of its own. What is compiled or imported once is there before the clock runs.

    The peak is the whole process's: about 60 MB of it are Python, numpy and this benchmark, on either side.
    """
    pattern = "cl100k" if name in ("groundup, cl100k", "rustbpe") else "gpt2"
    train = peers.TRAINERS[name.partition(",")[0]]
    if train is peers.train_ours:
        peers.make_ready()
    else:
        __import__(name)
        if name == "gigabpe":
            peers.n_distinct_bytes(path)  # remembered: counting them is not its work
    start = time.perf_counter()
    train(path, n_merges, pattern, THREADS)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_mb": harness.peak_mb()}


def differing_merges(path: str, n_merges: int, names: Sequence[str]) -> dict[str, str]:
    """Peers whose merges on the first megabytes are not ours, and how. Each is given the texts in its own way."""
    peers.make_ready()
    failed = {}
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder, "part.txt")
        part.write_bytes(next(peers.documents(path, SLICE)))
        sides: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            "gigabpe": (
                lambda: peers.train_ours(str(part), n_merges, "gpt2", THREADS, texts=peers.lines),
                lambda: peers.train_gigabpe(str(part), n_merges, "gpt2", THREADS),
            ),
            "rustbpe": (
                lambda: peers.train_ours(str(part), n_merges, "cl100k", THREADS, ties="bytes"),
                lambda: peers.train_rustbpe(str(part), n_merges, "cl100k", THREADS),
            ),
            "tokenizers": (
                lambda: peers.train_ours(str(part), n_merges, "gpt2", THREADS),
                lambda: peers.train_tokenizers(str(part), n_merges, "gpt2", THREADS, texts=peers.documents),
            ),
        }
        for name in names:
            mine, theirs = sides[name]
            if not is_installed(name):
                failed[name] = f"{name} is not installed"
            elif difference := first_difference(mine()(), theirs()()):
                failed[name] = f"the merges differ: {difference}"
    return failed


# --- small things ---


def small_rows(corpora: Sequence[Corpus], repetitions: int) -> Iterator[Row]:
    """130 KB to 500 tokens, the size of a first exercise; each time in a fresh process."""
    corpus = next((corpus for corpus in corpora if corpus.kind == "en"), corpora[0])
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder, "part.txt")
        part.write_bytes(next(peers.documents(corpus.path, 130_000)))
        for form, limit in (("as it comes", MAX_SMALL_S), ("compiled", MAX_SMALL_S), ("plain", MAX_SMALL_PLAIN_S)):
            row = Row(f"training 130 KB to 500 tokens, {form}", "s", limit=limit)
            try:
                sides: dict[str, list[float]] = {"groundup": [], "tokenizers": []}
                for _ in range(repetitions):
                    sides["groundup"].append(in_child("tokenizer_training:timed_small", "groundup", str(part), form))
                    if is_installed("tokenizers"):
                        sides["tokenizers"].append(
                            in_child("tokenizer_training:timed_small", "tokenizers", str(part), form)
                        )
                row.ours, row.times = min(sides["groundup"]), sides
                if sides["tokenizers"]:
                    row.peer, row.peer_name = min(sides["tokenizers"]), "tokenizers"
            except RuntimeError as error:
                row.failed = str(error)
            yield row


def timed_small(name: str, path: str, form: str) -> float:
    if name == "groundup":
        peers.make_ready(form)
    else:
        __import__(name)
    start = time.perf_counter()
    peers.TRAINERS[name](path, 500 - 256, "gpt2", 1)
    return time.perf_counter() - start


# --- memory ---


def memory_rows(gigabytes: float, n_distinct: int) -> Iterator[Row]:
    """Text made as it is read, of so many distinct pieces that their counts do not fit into the memory allowed."""
    name = f"training 32k on {gigabytes:g} GB with up to {n_distinct / 1e6:g} million distinct pieces, peak memory"
    row = Row(name, "MB", limit=MAX_MB)
    try:
        run = in_child("tokenizer_training:timed_many", int(gigabytes * 1e9), n_distinct, timeout=24 * 3600)
        row.ours, row.note = run["peak_mb"], f"{run['seconds']:.0f} s"
    except RuntimeError as error:
        row.failed = str(error)
    yield row


def timed_many(n_bytes: int, n_distinct: int) -> dict[str, float]:
    peers.make_ready()
    start = time.perf_counter()
    peers.train_ours("", VOCAB_SIZE - 256, "gpt2", THREADS, texts=lambda _: many_pieces.stream(n_bytes, n_distinct))
    return {"seconds": time.perf_counter() - start, "peak_mb": harness.peak_mb()}
