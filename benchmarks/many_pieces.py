"""Text without end, with as many distinct pieces as asked for: what a trainer's memory has to be measured on.

    python benchmarks/many_pieces.py --gigabytes 5 --distinct 300000000 > many.txt

The same numbers give the same bytes on every machine. Half of the words are from a thousand common ones, so that there
is something to merge; the others are drawn evenly from `--distinct` words of six to nine letters, each of them one
piece by every pattern. 5 GB are about 590 million words, of which 295 million are drawn evenly: of 300 million possible
ones about 188 million are seen.
"""

import argparse
import sys
from collections.abc import Iterator

import numpy as np

N_COMMON = 1000
WORDS = 1 << 16
"""Words of one block, half a megabyte."""
MAX_DISTINCT = 26**6
"""With six letters that spell a number; more than these would need longer words."""

LETTERS = 6
SCRAMBLE = 198_491_329
"""A prime that does not divide 26**6: words whose numbers are neighbours look nothing alike."""


def stream(n_bytes: int, n_distinct: int, seed: int = 0) -> Iterator[bytes]:
    """Blocks of whole words, in all at least `n_bytes`. Memory: one block."""
    if not N_COMMON <= n_distinct <= MAX_DISTINCT:
        raise ValueError(f"distinct pieces are {N_COMMON} to {MAX_DISTINCT:,}")
    generator = np.random.Generator(np.random.PCG64(seed))
    while n_bytes > 0:
        numbers = np.empty(WORDS, dtype=np.int64)
        numbers[0::2] = generator.integers(0, N_COMMON, WORDS // 2)
        numbers[1::2] = generator.integers(0, n_distinct, WORDS // 2)
        block = spelled(numbers)
        n_bytes -= len(block)
        yield block


def spelled(numbers: np.ndarray) -> bytes:
    """Each number as a space and a word; equal numbers give equal words, different ones different words."""
    rest = numbers * SCRAMBLE % MAX_DISTINCT
    # The length hangs on the number too; what is beyond the six letters that tell the number repeats its beginning.
    lengths = LETTERS + rest % 4
    text = np.empty((len(numbers), 1 + LETTERS + 3), dtype=np.uint8)
    text[:, 0] = ord(" ")
    for column in range(1, 1 + LETTERS):
        text[:, column] = ord("a") + rest % 26
        rest //= 26
    text[:, 1 + LETTERS :] = text[:, 1:4]
    return text[np.arange(text.shape[1]) <= lengths[:, None]].tobytes()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=5)
    parser.add_argument("--distinct", type=int, default=300_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for block in stream(int(options.gigabytes * 1e9), options.distinct, options.seed):
        sys.stdout.buffer.write(block)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
