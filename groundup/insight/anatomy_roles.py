"""What each part of a model does, in a line. The names are those that every architecture of ours has."""

import functools
import inspect
import textwrap
from typing import Any

ROLES = {
    "rope": "turns queries and keys by their position",
    "tok_embed": "a vector for each id",
    "pos_embed": "a vector for each position, added to it",
    "bigram_embed": "a vector for an id and the one before it",
    "trigram_embed": "a vector for an id and the two before it",
    "fourgram_embed": "a vector for an id and the three before it",
    "fivegram_embed": "a vector for an id and the four before it",
    "table": "the rows, found by a hash",
    "blocks": "each reads the stream and adds to it",
    "norm": "brings the stream to a common scale",
    "attn_norm": "brings the stream to a common scale",
    "attn": "gathers what is needed from before",
    "q_proj": "queries: what a position looks for",
    "k_proj": "keys: what it can be found by",
    "v_proj": "values: what it passes on",
    "o_proj": "puts what the heads found together",
    "q_norm": "brings every query to a common length",
    "k_norm": "brings every key to a common length",
    "mlp_norm": "brings the stream to a common scale",
    "mlp": "works on each position alone",
    "gate_proj": "says how much of each unit passes",
    "up_proj": "widens",
    "down_proj": "narrows again",
    "router": "scores the experts for each position",
    "experts": "each position uses the best few",
    "final_norm": "brings the result to a common scale",
    "lm_head": "a score for each id that may come next",
}


WIDTH = 50
"""Columns of a line that says what a part does."""


def role_of(name: str, module: Any) -> str:
    """What the part of this name does; of one that has no place above, how its class's docstring begins."""
    return ROLES.get(name) or textwrap.shorten(first_line(type(module)), WIDTH, placeholder=" …")


@functools.cache
def first_line(cls: type) -> str:
    """Of the docstring of a class."""
    return (inspect.getdoc(cls) or "").partition("\n")[0].rstrip(".")
