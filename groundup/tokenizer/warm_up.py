"""Uses every kernel once, which makes numba compile it."""

import numpy as np

from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.encoder import Encoder
from groundup.tokenizer.segments import jobs

TEXT = "I've 1234 cats, 我有一只猫。".encode()


def run() -> None:
    """Encode a little text with each way of knowing the merges."""
    tokens = [bytes([byte]) for byte in range(256)] + [b"ca", b"cat"]
    for merges in (None, np.array([[99, 97], [256, 116]])):
        for pattern in ("gpt2", "cl100k", "o200k"):
            list(Encoder(BPE(tokens, merges, {}, pattern, whole_first=True)).encode(jobs([TEXT])))
