"""How groundup and each other tokenizer are asked for the same work: training and encoding.

Nothing is imported before it is used: a peer that is not installed costs its own rows only.
"""

import base64
import importlib.util
import json
import lzma
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from groundup.tokenizer.alphabet import BYTES_IN_ORDER, unspell
from groundup.tokenizer.split import expression

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "tokenizers"

Merges = list[tuple[bytes, bytes]]
"""In the order they were learned, each the two byte strings joined."""


class Missing(Exception):
    """Something that a row needs is not on this machine."""


def is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def documents(path: str | Path, size: int = 2**20) -> Iterator[bytes]:
    """A file in blocks of about `size` bytes that end at a line's end."""
    with open(path, "rb") as file:
        while block := file.read(size):
            yield block + file.readline()


def lines(path: str | Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        yield from file


def make_ready(form: str = "compiled") -> None:
    """Which of groundup's two forms works in this process from here on; "as it comes" leaves it to the engine."""
    from groundup import compiled_code
    from groundup.tokenizer import compiled

    if form == "plain":
        os.environ[compiled_code.OFF] = "1"
    elif form == "compiled":
        if not compiled.ready(wait=True):
            raise Missing("the compiled form is not to be had: numba or a cache folder is missing")
        compiled.load("warm_up").run()


# --- training: (path, n_merges, pattern, threads) -> a function that gives the merges, which is not timed ---

Trainer = Callable[[str, int, str, int], Callable[[], Merges]]


def train_ours(
    path: str,
    n_merges: int,
    pattern: str,
    threads: int,
    ties: str = "huggingface",
    texts: Callable[[str], Iterable[bytes]] = documents,
) -> Callable[[], Merges]:
    from groundup.tokenizer.train import train

    tokenizer = train(texts(path), 256 + n_merges, pattern=pattern, ties=ties, special_tokens=(), threads=threads)

    def merges() -> Merges:
        tokens = tokenizer.token_bytes
        return [(tokens[left], tokens[right]) for left, right in tokenizer.merges.tolist()]

    return merges


def train_gigabpe(path: str, n_merges: int, pattern: str, threads: int) -> Callable[[], Merges]:
    """`train_bpe(files, ...)`, "bytelevel" being GPT-2's split; it reads lines. Its alphabet is the bytes it saw."""
    import gigabpe

    if pattern != "gpt2":
        raise Missing("gigabpe knows GPT-2's pattern only")
    _, merges = gigabpe.train_bpe(
        [path], n_merges + n_distinct_bytes(path), pretokenizer="bytelevel", special_tokens=[], threads=threads
    )
    return lambda: [(unspell(left), unspell(right)) for left, right in merges]


def train_rustbpe(path: str, n_merges: int, pattern: str, threads: int) -> Callable[[], Merges]:
    """`train_from_iterator(texts, ...)`, given blocks of a megabyte. Threads: RAYON_NUM_THREADS."""
    import rustbpe

    tokenizer = rustbpe.Tokenizer()
    texts = (block.decode() for block in documents(path))
    tokenizer.train_from_iterator(texts, 256 + n_merges, pattern=expression(pattern))
    return lambda: merges_of_ranks({bytes(token): rank for token, rank in tokenizer.get_mergeable_ranks()})


def train_tokenizers(
    path: str, n_merges: int, pattern: str, threads: int, texts: Callable[[str], Iterable[bytes]] | None = None
) -> Callable[[], Merges]:
    """`train(files, BpeTrainer)`, its fastest way, or from `texts`. Threads: RAYON_NUM_THREADS."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern == "gpt2")
    tokenizer = Tokenizer(models.BPE())
    if pattern == "gpt2":
        tokenizer.pre_tokenizer = byte_level
    else:
        split = pre_tokenizers.Split(Regex(expression(pattern)), "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    trainer = trainers.BpeTrainer(
        vocab_size=256 + n_merges, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    if texts is None:
        tokenizer.train([path], trainer)
    else:
        tokenizer.train_from_iterator((text.decode() for text in texts(path)), trainer)

    def merges() -> Merges:
        pairs = json.loads(tokenizer.to_str())["model"]["merges"]
        return [(unspell(left), unspell(right)) for left, right in pairs]

    return merges


TRAINERS: dict[str, Trainer] = {
    "groundup": train_ours,
    "gigabpe": train_gigabpe,
    "rustbpe": train_rustbpe,
    "tokenizers": train_tokenizers,
}


@cache
def n_distinct_bytes(path: str) -> int:
    unseen = {bytes([byte]) for byte in range(256)}
    for block in documents(path):
        unseen -= {byte for byte in unseen if byte in block}
    return 256 - len(unseen)


def merges_of_ranks(ranks: dict[bytes, int]) -> Merges:
    """tiktoken's table as merges: a token is made of the two parts into which the tokens before it join its bytes."""
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) > 1:
            parts = [bytes([byte]) for byte in token]
            while len(parts) > 2:
                pairs = [ranks.get(left + right, rank) for left, right in zip(parts, parts[1:], strict=False)]
                first = min(range(len(pairs)), key=pairs.__getitem__)
                parts[first : first + 2] = [parts[first] + parts[first + 1]]
            merges.append((parts[0], parts[1]))
    return merges


# --- vocabularies ---


def cl100k() -> dict[bytes, int]:
    """GPT-4's table, from the shared data or out of toktok-rs, which carries it."""
    path = SHARED / "cl100k_base.tiktoken.xz"
    if path.is_file():
        rows = (line.split() for line in lzma.decompress(path.read_bytes()).splitlines() if line)
        return {base64.b64decode(token): int(rank) for token, rank in rows}
    if is_installed("toktok"):
        import toktok

        return {bytes(token): rank for rank, token in enumerate(toktok._encoding("cl100k_base").token_byte_values())}
    raise Missing("no cl100k_base.tiktoken.xz in the shared data, and toktok-rs is not installed")


def write_cl100k(path: Path) -> None:
    """GPT-4's table as tiktoken's file, byte for byte OpenAI's."""
    rows = (base64.b64encode(token) + b" %d\n" % rank for token, rank in cl100k().items())
    path.write_bytes(b"".join(rows))


def gpt2() -> dict[bytes, int]:
    """GPT-2's tokens by rank. Its merges are in the order of what they make."""
    path = SHARED / "gpt2" / "vocab.bpe.xz"
    if not path.is_file():
        raise Missing("no GPT-2 vocabulary in the shared data")
    tokens = [bytes([byte]) for byte in BYTES_IN_ORDER]
    for line in lzma.decompress(path.read_bytes()).decode().splitlines()[1:]:
        left, right = line.split()
        tokens.append(unspell(left) + unspell(right))
    return {token: rank for rank, token in enumerate(tokens)}


def ours(vocabulary: str) -> Any:
    """groundup's tokenizer of a vocabulary named "cl100k" or "gpt2"."""
    from groundup.tokenizer.bpe import BPE

    ranks = {"cl100k": cl100k, "gpt2": gpt2}[vocabulary]()
    merges = None
    if vocabulary == "gpt2":
        merges = [(ranks[left], ranks[right]) for left, right in merges_of_ranks(ranks)]
    return BPE(sorted(ranks, key=ranks.__getitem__), merges, {}, vocabulary)


def is_compiled(tokenizer: Any) -> bool:
    """Do the kernels take this vocabulary? Where they do not, the plain form serves without a word."""
    return getattr(tokenizer, "_encoder", None) is not None


# --- encoding: () -> Encoder ---


class Encoder(NamedTuple):
    """encode(documents, threads): ids of all documents in the form that the peer gives; `flat` makes one array of it.

    Documents are given as bytes, or as str where `takes_text`: neither pays for the other's form.
    """

    encode: Callable[[Sequence[Any], int], Any]
    flat: Callable[[Any], np.ndarray]
    takes_text: bool = True


def joined(parts: Iterable[Any]) -> np.ndarray:
    return np.concatenate([np.asarray(part, dtype=np.uint32) for part in parts])


def groundup() -> Encoder:
    """`encode_batch(documents, threads)`, which gives ids and offsets."""
    tokenizer = ours("cl100k")
    return Encoder(lambda texts, n: tokenizer.encode_batch(texts, threads=n), lambda pair: pair[0], takes_text=False)


def toktok_flat() -> Encoder:
    """The private flat batch: `toktok._encoding(name).encode_batch_to_numpy(texts, threads)`: ids and offsets."""
    import toktok

    tokenizer = toktok._encoding("cl100k_base")
    return Encoder(lambda texts, n: tokenizer.encode_batch_to_numpy(texts, n), lambda pair: np.asarray(pair[0]))


def toktok_each() -> Encoder:
    """The same encoder asked document by document, on one thread: its results are written once and not gathered."""
    import toktok

    encode = toktok._encoding("cl100k_base").encode_to_numpy
    return Encoder(lambda texts, n: [encode(text, disallowed_special=()) for text in texts], joined)


def quicktok() -> Encoder:
    """`encode_batch(texts, threads)`: ids and offsets."""
    import quicktok

    tokenizer = quicktok.get_encoding("cl100k_base")
    return Encoder(lambda texts, n: tokenizer.encode_batch(texts, n), lambda pair: np.asarray(pair[0]))


TIKTOKEN_CL100K = (
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"""
    r"""|\s+(?!\S)|\s"""
)
"""As tiktoken writes it, with possessive quantifiers, which are faster there."""


def _tiktoken() -> Any:
    """Built from the table: by a name it would download it."""
    import tiktoken

    return tiktoken.Encoding("cl100k", pat_str=TIKTOKEN_CL100K, mergeable_ranks=cl100k(), special_tokens={})


def tiktoken_lists() -> Encoder:
    """`encode_ordinary`, which gives lists; with more threads `encode_ordinary_batch`."""
    tokenizer = _tiktoken()

    def encode(texts: Sequence[str], threads: int) -> list[list[int]]:
        if threads > 1:
            return tokenizer.encode_ordinary_batch(list(texts), num_threads=threads)
        return [tokenizer.encode_ordinary(text) for text in texts]

    return Encoder(encode, joined)


def tiktoken_numpy() -> Encoder:
    """`encode_to_numpy`, which gives an array; it has to be told that no special token is meant."""
    encode = _tiktoken().encode_to_numpy
    return Encoder(lambda texts, n: [encode(text, disallowed_special=()) for text in texts], joined)


ENCODERS: dict[str, tuple[str, Callable[[], Encoder]]] = {
    "groundup": ("groundup", groundup),
    "toktok-rs": ("toktok", toktok_flat),
    "toktok-rs, each": ("toktok", toktok_each),
    "quicktok-v1": ("quicktok", quicktok),
    "tiktoken": ("tiktoken", tiktoken_lists),
    "tiktoken, numpy": ("tiktoken", tiktoken_numpy),
}
"""By name: the module that it needs, and how it is made."""
