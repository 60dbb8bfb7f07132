"""Ids to bytes, compiled."""

import numpy as np

from groundup.tokenizer.bits_compiled import jit


@jit
def decoded_length(ids, offsets):
    """How many bytes the ids stand for; -1 minus the place of the first one outside the vocabulary."""
    length = 0
    for i in range(len(ids)):
        if ids[i] >= len(offsets) - 1:
            return -1 - i
        length += offsets[ids[i] + np.uint32(1)] - offsets[ids[i]]
    return length


@jit
def decode(ids, tokens, offsets, out):
    """The bytes of the ids, of token t `tokens[offsets[t]:offsets[t + 1]]`, into `out`."""
    at = 0
    for i in range(len(ids)):
        for place in range(offsets[ids[i]], offsets[ids[i] + np.uint32(1)]):
            out[at] = tokens[place]
            at += 1
