"""Uses every kernel once, which makes numba compile it."""

import numpy as np

from groundup.tokenizer import merger
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.counter import Counter
from groundup.tokenizer.decoder import Decoder
from groundup.tokenizer.encoder import Encoder
from groundup.tokenizer.segments import jobs

TEXT = "I've 1234 cats, 我有一只猫。".encode()


def run() -> None:
    """Encode a little text with each way of knowing the merges; count it, spill, join, and merge."""
    tokens = [bytes([byte]) for byte in range(256)] + [b"ca", b"cat"]
    for merges in (None, np.array([[99, 97], [256, 116]])):
        for pattern in ("gpt2", "cl100k", "o200k"):
            list(Encoder(BPE(tokens, merges, {}, pattern, whole_first=True)).encode(jobs([TEXT])))

    Decoder(tokens).decode(np.arange(3))
    counter = Counter("gpt2", most_slots=2**14, most_store=2**16)
    counter.count(jobs([TEXT, b"a" * 2**17]))
    counts = counter.result()
    counter.add(counts)
    for n_merges in (5, 2**16):  # ids of 16 and of 32 bits
        merging = merger.Merger(counts, n_merges, np.arange(256, dtype=np.int32), lexicographic=True)
        merging.run(np.zeros((0, 2), np.int32))
        merging.make_room(merger.kernels.POOL_FULL)
        merging.make_room(merger.kernels.TABLE_FULL)
