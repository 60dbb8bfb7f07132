"""JSON from strangers: bounded before it is parsed, and never two values for one key.

Python's parser takes the last of several equal keys, turns NaN into a number, and makes a hundred bytes of objects out
of three characters. Here the characters that make objects are counted first.
"""

import json
from pathlib import Path
from typing import Any, NoReturn

from groundup.errors import ArtefactError
from groundup.weights import disguise
from groundup.weights.stored_tensor import quoted, read_bytes, size_of

MOST_BYTES = 1 << 25
"""32 MB. The headers and indexes of models with a hundred thousand tensors are a third of that."""
MOST_VALUES = 1 << 20
"""Values that are not in quotes, brackets and commas. A tensor in a header takes about a dozen."""


def parse(text: bytes, where: str) -> dict[str, Any]:
    """The object that `text` is. ArtefactError, naming `where`, for anything else."""
    if len(text) > MOST_BYTES:
        raise ArtefactError(f"the JSON has more than {MOST_BYTES:,} bytes, as no model's has", where=where)
    if sum(text.count(character) for character in (b",", b"[", b"{")) > MOST_VALUES:
        raise ArtefactError("the JSON has more values than any model has", where=where)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            twice = next(name for name, _ in pairs if name in seen or seen.add(name))
            raise ArtefactError(f"{quoted(twice)} stands there twice", where=where)
        return found

    def not_a_number(constant: str) -> NoReturn:
        raise ArtefactError(f"not valid JSON: {constant} is no number there", where=where)

    try:
        content = json.loads(text.decode("utf-8"), object_pairs_hook=unique, parse_constant=not_a_number)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise ArtefactError(f"not valid JSON: {reason}", where=where) from error
    if not isinstance(content, dict):
        raise ArtefactError(f"not a JSON object but {quoted(content)}", where=where)
    return content


def read(file: Path) -> dict[str, Any]:
    """The object that a JSON file is; one that is something else in disguise is called by its name."""
    size = size_of(file)
    text = read_bytes(file, 0, min(size, MOST_BYTES + 1))
    try:
        return parse(text, str(file))
    except ArtefactError as error:
        other = disguise.recognise(text[:64])
        if other is None:
            raise
        raise ArtefactError(f"{file.name} is not JSON but {other[0]}", where=str(file), hint=other[1]) from error
