"""How fast text is encoded with GPT-4's vocabulary, beside toktok-rs, quicktok-v1 and tiktoken.

Real text, hard text, the first text of a process. From documents in memory to ids in memory. Run by tokenizer.py.
"""

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import tokenizer_peers as peers
from corpus import KINDS, Corpus
from harness import Row, first_difference, in_child, in_turns, number
from tokenizer_peers import Missing, is_installed

DOCUMENT = 2**17
"""Bytes of a document to encode, about."""

GOALS = {"toktok-rs": dict.fromkeys(KINDS, 1.0), "tiktoken": {"en": 12, "code": 10, "zh": 6}}
SCALING_GOAL = 1.7
MAX_PATHOLOGICAL_S = 0.25
MAX_START_S, MAX_FIRST_S, MAX_COLD_S = 0.3, 1.0, 25

NOT_COMPILED = "the compiled form does not take this vocabulary"
SENTENCES = "Every beginning is easy. 万事开头难，中间更难。 def first(items): return items[0]  # 1,234.5"


# --- encoding ---


def encoding_rows(corpora: Sequence[Corpus], repetitions: int) -> Iterator[Row]:
    for corpus in corpora:
        text = KINDS[corpus.kind]
        try:
            found = in_child("tokenizer_encoding:timed_encoding", str(corpus.path), repetitions)
        except RuntimeError as error:
            yield Row(f"encoding {text}, cl100k, one thread", "MB/s", failed=str(error))
            continue
        speeds = {name: [found["n_bytes"] / 1e6 / s for s in seconds] for name, seconds in found["seconds"].items()}
        for name in peers.ENCODERS:
            if name == "groundup":
                continue
            row = Row(f"encoding {text}, cl100k, one thread", "MB/s", peer_name=name)
            if name == "toktok-rs":
                row.note = f"ours {number(found['n_bytes'] / 1e6 / found['first_pass'])} MB/s the first time"
            row.least_ratio = GOALS.get(name, {}).get(corpus.kind)
            row.failed = found["failed"].get("groundup") or found["failed"].get(name)
            if not row.failed:
                row.times = {side: speeds[side] for side in ("groundup", name)}
                row.ours, row.peer = max(speeds["groundup"]), max(speeds[name])
            yield row
        row = Row(f"encoding {text}, cl100k, two threads", "MB/s", peer_name="one thread", least_ratio=SCALING_GOAL)
        row.failed = found["failed"].get("groundup")
        if not row.failed:
            row.times = {side: speeds[side] for side in ("groundup, two threads", "groundup")}
            row.ours, row.peer = max(speeds["groundup, two threads"]), max(speeds["groundup"])
        yield row


def timed_encoding(path: str, repetitions: int) -> dict[str, Any]:
    """Seconds of every encoder, all in this process, in turns; before that, all ids are compared with tiktoken's.

    `first_pass` is ours before it has seen any of the text: what it remembers of pieces is empty then.
    """
    peers.make_ready()
    data = list(peers.documents(path, DOCUMENT))
    texts = [document.decode() for document in data]
    failed: dict[str, str] = {}
    encoders: dict[str, peers.Encoder] = {}
    for name, (module, make) in peers.ENCODERS.items():
        if is_installed(module):
            encoders[name] = make()
        else:
            failed[name] = f"{name.partition(',')[0]} is not installed"

    def given(name: str) -> Sequence[Any]:
        return texts if encoders[name].takes_text else data

    if not peers.is_compiled(peers.ours("cl100k")):
        raise Missing(NOT_COMPILED)
    start = time.perf_counter()
    encoders["groundup"].encode(data, 1)
    first_pass = time.perf_counter() - start

    failed |= _differing(encoders, given)
    sides: dict[str, Callable[[], Any]] = {
        name: partial(encoder.encode, given(name), 1) for name, encoder in encoders.items() if name not in failed
    }
    if "groundup" in sides:
        sides["groundup, two threads"] = partial(encoders["groundup"].encode, data, 2)
    slow = {name: work for name, work in sides.items() if name.startswith("tiktoken")}
    quick = {name: work for name, work in sides.items() if name not in slow}
    seconds = in_turns(sides, 1)
    for name, more in in_turns(quick, repetitions - 1).items():
        seconds[name] += more
    for name, more in in_turns(slow, min(1, repetitions - 1)).items():
        seconds[name] += more
    return {"n_bytes": sum(map(len, data)), "seconds": seconds, "failed": failed, "first_pass": first_pass}


def _differing(encoders: Mapping[str, peers.Encoder], given: Callable[[str], Sequence[Any]]) -> dict[str, str]:
    """Encoders whose ids are not tiktoken's, and where they part."""
    judge = "tiktoken, numpy" if "tiktoken, numpy" in encoders else "groundup"
    right = encoders[judge].flat(encoders[judge].encode(given(judge), 1))
    failed = {}
    for name, encoder in encoders.items():
        for threads in (1, 2) if name == "groundup" else (1,):
            if name != judge and (found := first_difference(encoder.flat(encoder.encode(given(name), threads)), right)):
                failed[name] = f"ids differ from {judge}: {found}"
    return failed


# --- hard texts ---


def pathological_texts(n: int) -> dict[str, str]:
    """A million characters that are one piece, or pieces that no table holds."""
    chance = random.Random(0)
    return {
        "equal letters": "a" * n,
        "spaces": " " * n,
        "newlines": "\n" * n,
        "random letters": "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=n)),
        "digits": "".join(chance.choices("0123456789", k=n)),
    }


def pathological_rows(repetitions: int) -> Iterator[Row]:
    for vocabulary in ("cl100k", "gpt2"):
        try:
            found = in_child("tokenizer_encoding:timed_pathological", vocabulary, repetitions)
        except RuntimeError as error:
            yield Row(f"a million hard characters, {vocabulary}", "s", limit=MAX_PATHOLOGICAL_S, failed=str(error))
            continue
        for text, sides in found.items():
            row = Row(f"a million {text}, {vocabulary}", "s", limit=MAX_PATHOLOGICAL_S, times=sides["seconds"])
            row.failed = sides["failed"]
            row.ours = min(sides["seconds"]["groundup"])
            if "toktok-rs" in sides["seconds"]:
                row.peer, row.peer_name = min(sides["seconds"]["toktok-rs"]), "toktok-rs"
            row.note = f"a quarter of it in {min(sides['seconds']['a quarter']):.3g} s"
            yield row


def timed_pathological(vocabulary: str, repetitions: int) -> dict[str, Any]:
    peers.make_ready()
    tokenizer = peers.ours(vocabulary)
    peer = peers.toktok_flat() if vocabulary == "cl100k" and is_installed("toktok") else None
    if not peers.is_compiled(tokenizer):
        raise Missing(NOT_COMPILED)
    found = {}
    for name, text in pathological_texts(1_000_000).items():
        data = text.encode()
        ids = tokenizer.encode_batch([data])[0]
        failed = None if tokenizer.decode_bytes(ids.tolist()) == data else "decoding does not give the text back"
        if peer and (difference := first_difference(ids, peer.flat(peer.encode([text], 1)))):
            failed = f"ids differ from toktok-rs: {difference}"
        sides: dict[str, Callable[[], Any]] = {
            "groundup": lambda data=data: tokenizer.encode_batch([data]),
            "a quarter": lambda data=data: tokenizer.encode_batch([data[: len(data) // 4]]),
        }
        if peer:
            sides["toktok-rs"] = lambda text=text: peer.encode([text], 1)
        found[name] = {"seconds": in_turns(sides, repetitions), "failed": failed}
    return found


# --- starting up ---

A_FEW_SENTENCES = {
    "groundup": (
        "from groundup.tokenizer.protocol import Tokenizer; print(len(Tokenizer.load(sys.argv[1]).encode({text!r})))"
    ),
    "tiktoken": (
        "import tiktoken, tiktoken.load; ranks = tiktoken.load.load_tiktoken_bpe(sys.argv[1]);"
        "encoding = tiktoken.Encoding('cl100k', pat_str={pattern!r}, mergeable_ranks=ranks, special_tokens={{}});"
        "print(len(encoding.encode_ordinary({text!r})))"
    ),
}
"""Whole programs; the vocabulary's file is their argument."""


def start_rows(corpora: Sequence[Corpus], repetitions: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "cl100k.tiktoken")
        yield _few_sentences(path, repetitions)
        corpus = next((corpus for corpus in corpora if corpus.kind == "en"), corpora[0])
        paths = (str(corpus.path), str(path))
        row = Row("first 10 MB, warm cache, beyond the encoding itself", "s", limit=MAX_FIRST_S)
        try:
            in_child("tokenizer_encoding:first_encoding", *paths, 0.0)  # fills the cache of compiled code
            runs = [in_child("tokenizer_encoding:first_encoding", *paths, time.time()) for _ in range(repetitions)]
            row.times = {key: [run[key] for run in runs] for key in ("first", "again")}
            row.ours = min(row.times["first"]) - min(row.times["again"])
            n_mb = runs[0]["n_bytes"] / 1e6
            row.note = (
                f"{n_mb:.1f} MB, {min(row.times['first']):.2f} s in all, {min(row.times['again']):.2f} s when warm"
            )
        except RuntimeError as error:
            row.failed = str(error)
        yield row
        row = Row("everything compiled, cold cache", "s", limit=MAX_COLD_S)
        try:
            row.ours = in_child("tokenizer_encoding:timed_compiling", environment={"XDG_CACHE_HOME": folder})
        except RuntimeError as error:
            row.failed = str(error)
        yield row


def _few_sentences(path: Path, repetitions: int) -> Row:
    row = Row("a process that encodes a few sentences, cl100k", "s", limit=MAX_START_S)
    try:
        peers.write_cl100k(path)
        sides: dict[str, Callable[[], Any]] = {}
        for name, code in A_FEW_SENTENCES.items():
            if is_installed(name):
                program = "import sys; " + code.format(text=SENTENCES, pattern=peers.TIKTOKEN_CL100K)
                sides[name] = lambda program=program: _said([sys.executable, "-c", program, str(path)])
        answers = {name: work() for name, work in sides.items()}
        if len(set(answers.values())) > 1:
            row.failed = f"the numbers of ids differ: {answers}"
            return row
        row.times = in_turns(sides, repetitions)
        row.ours = min(row.times["groundup"])
        if "tiktoken" in sides:
            row.peer, row.peer_name = min(row.times["tiktoken"]), "tiktoken"
    except (Missing, RuntimeError) as error:
        row.failed = str(error)
    return row


def _said(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1])
    return done.stdout.strip()


def first_encoding(path: str, vocabulary: str, started: float) -> dict[str, float]:
    """Seconds from the start of the process to the ids of 10 MB, and of the same again when everything is warm."""
    from groundup.tokenizer.protocol import Tokenizer

    tokenizer = Tokenizer.load(vocabulary)
    data = list(islice(peers.documents(path, 2**17), 76))
    tokenizer.encode_batch(data)
    first = time.time() - started
    peers.make_ready()
    again = min(in_turns({"": lambda: tokenizer.encode_batch(data)}, 5)[""])
    return {"first": first, "again": again, "n_bytes": sum(map(len, data))}


def timed_compiling() -> float:
    from groundup.tokenizer import compiled

    if compiled.is_ready():
        raise Missing("the cache is not cold: on this system it does not hang on XDG_CACHE_HOME")
    start = time.perf_counter()
    if not compiled.ready(wait=True):
        raise Missing("nothing was compiled: numba or a cache folder is missing")
    return time.perf_counter() - start
