"""How the bytes of a piece were joined: step by step, and as a tree.

    t        id 116
    here     id 258    merge 2      step 3
    ├─ he    id 256    merge 0      step 1
    │  ├─ h  id 104
    │  └─ e  id 101
    └─ re    id 257    merge 1      step 2
       ├─ r  id 114
       └─ e  id 101

This is the joining of bpe.py once more, with a record of it; a test holds the two together.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from groundup.tokenizer.bpe import BPE, NO_RANK
from groundup.tokenizer.show import show
from groundup.tokenizer.split import as_bytes, as_text, pieces


@dataclass(frozen=True)
class Node:
    """A token and what it was joined from: a byte has no parts and no rank, nor has a piece that was taken whole."""

    id: int
    token: bytes
    rank: int | None = None
    step: int | None = None
    parts: "tuple[Node, ...]" = ()


@dataclass(frozen=True)
class Growth:
    """One piece of a text: its bytes, every join as (what it made, where in the row), and the tokens at the end."""

    data: bytes
    joins: tuple[tuple[Node, int], ...]
    tokens: tuple[Node, ...]


def grow(tokenizer: BPE, text: str | bytes) -> list[Growth]:
    """The growth of each piece of a text."""
    normalized = as_text(tokenizer._as_bytes(text))
    return [grow_piece(tokenizer, as_bytes(piece)) for piece in pieces(normalized, tokenizer.pattern)]


def grow_piece(tokenizer: BPE, data: bytes) -> Growth:
    """The growth of bytes that are one piece: the pair of lowest rank is joined first, of equal ones the leftmost."""
    if tokenizer.whole_first and data in tokenizer.id_by_token:
        return Growth(data, (), (Node(tokenizer.id_by_token[data], data),))
    row = _bytes_of(data, tokenizer)
    ranks = [tokenizer._ranks[left.id, right.id] for left, right in pairwise(row)]
    joins = []
    while ranks and (rank := min(ranks)) != NO_RANK:
        i = ranks.index(rank)
        parts = (row[i], row[i + 1])
        node = Node(tokenizer._results[rank], parts[0].token + parts[1].token, rank, len(joins) + 1, parts)
        row[i : i + 2] = [node]
        del ranks[i]
        if i > 0:
            ranks[i - 1] = tokenizer._ranks[row[i - 1].id, node.id]
        if i < len(ranks):
            ranks[i] = tokenizer._ranks[node.id, row[i + 1].id]
        joins.append((node, i))
    return Growth(data, tuple(joins), tuple(row))


def _bytes_of(data: bytes, tokenizer: BPE) -> list[Node]:
    return [Node(tokenizer.id_by_token[data[i : i + 1]], data[i : i + 1]) for i in range(len(data))]


def steps(growth: Growth) -> Iterator[str]:
    """A line for the bytes and one for each join, with what is left after it."""
    width = len(str(len(growth.joins)))
    row = [show(growth.data[i : i + 1]) for i in range(len(growth.data))]
    yield f"  {0:>{width}}  {' '.join(row)}"
    for node, i in growth.joins:
        row[i : i + 2] = [show(node.token)]
        yield f"  {node.step:>{width}}  {' '.join(row)}   merge {node.rank}"


def step_facts(growth: Growth) -> list[dict[str, int | None]]:
    """The joins for a program: rank, the id that was made, and the two it was made of."""
    return [
        {"rank": node.rank, "id": node.id, "left": node.parts[0].id, "right": node.parts[1].id}
        for node, _ in growth.joins
    ]


def drawn(tokens: Iterable[Node]) -> list[str]:
    """The trees of tokens as lines of text: parts hang under what they were joined to."""
    from rich.cells import cell_len

    lines = [line for node in tokens for line in _lines(node, "", "")]
    width = max(cell_len(label) for label, _ in lines)
    return [f"{label}{' ' * (width - cell_len(label))}  {facts}".rstrip() for label, facts in lines]


def _lines(node: Node, lead: str, below: str) -> Iterator[tuple[str, str]]:
    yield lead + show(node.token), facts(node)
    for part in node.parts:
        is_last = part is node.parts[-1]
        yield from _lines(part, below + ("└─ " if is_last else "├─ "), below + ("   " if is_last else "│  "))


def facts(node: Node) -> str:
    """Where a token comes from, in words."""
    if node.step is not None:
        return f"id {node.id:<6} merge {node.rank:<6} step {node.step}"
    return f"id {node.id:<6}" + ("" if len(node.token) == 1 else " taken whole: the piece is a token")
