"""What kind of character each of Unicode's code points is, as `regex` sees it: the table of the compiled splitters."""

from pathlib import Path

import numpy as np
import regex

from groundup import artifact

KINDS = (r"\p{L}", r"\p{N}", r"\s", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]")
"""Bit i of the table stands for KINDS[i]: letter, number, space, and what may begin and continue a word in O200K."""

N_CODE_POINTS = 0x110000
SURROGATES = range(0xD800, 0xE000)


def kinds_by_code_point() -> np.ndarray:
    """For each code point the bits of its kinds, uint8 (0x110000,)."""
    kinds = np.zeros(N_CODE_POINTS, np.uint8)
    for stretch in (range(SURROGATES.start), range(SURROGATES.stop, N_CODE_POINTS)):
        text = "".join(map(chr, stretch))
        for bit, kind in enumerate(KINDS):
            for run in regex.finditer(f"{kind}+", text):
                kinds[stretch.start + run.start() : stretch.start + run.end()] |= 1 << bit
    return kinds


def saved_kinds(folder: Path) -> np.ndarray:
    """`kinds_by_code_point` from a file in this folder, which is written if it is not there."""
    file = folder / "kinds.bin"
    try:
        kinds = np.frombuffer(file.read_bytes(), np.uint8)
    except OSError:
        kinds = np.zeros(0, np.uint8)
    if len(kinds) == N_CODE_POINTS:
        return kinds
    kinds = kinds_by_code_point()
    artifact.write_file(file, kinds.tobytes())
    kinds.flags.writeable = False
    return kinds
