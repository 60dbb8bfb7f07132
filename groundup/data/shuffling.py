"""Order without memory: a hash, and a random permutation of 0..n-1 that is computed instead of stored.

A shuffled list of a billion windows would take eight gigabytes and could not be resumed from one integer. Here the
i-th element of the shuffled order is a function of (i, n, key), for any n, at the price of a few multiplications.
"""

import numpy as np

ROUNDS = 4


def mix(values: np.ndarray | int, key: int) -> np.ndarray:
    """Hash integers to 64 well-mixed bits: the finaliser of SplitMix64 (Steele, Lea and Flood 2014), keyed.

    Any shape in, the same shape of uint64 out.
    """
    x = np.asarray(values).astype(np.uint64)
    with np.errstate(over="ignore"):
        x = x + np.uint64((key * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def key_of(*numbers: int) -> int:
    """One key from several numbers, such as a seed and an epoch."""
    key = 0
    for number in numbers:
        key = int(mix(np.array(number % 2**64, dtype=np.uint64), key))
    return key


def permute(positions: np.ndarray, n: int, key: int) -> np.ndarray:
    """Element number `positions` of a random order of 0..n-1, chosen by `key`.

    A Feistel network permutes the numbers of an even count of bits: each round replaces (left, right) by
    (right, left XOR hash(right)), which can be undone whatever the hash is. Results of n or more are sent through
    again until they fall below n ("cycle walking", Black and Rogaway 2002); fewer than four rounds on average.

    >>> sorted(permute(np.arange(5), 5, key=1).tolist())
    [0, 1, 2, 3, 4]
    """
    half = np.uint64(max(1, ((n - 1).bit_length() + 1) // 2))
    low = (np.uint64(1) << half) - np.uint64(1)
    out = np.asarray(positions).astype(np.uint64)
    todo = np.ones(out.shape, dtype=bool)
    while todo.any():
        left, right = out[todo] >> half, out[todo] & low
        for i in range(ROUNDS):
            left, right = right, left ^ (mix(right, key + i) & low)
        out[todo] = (left << half) | right
        todo = out >= np.uint64(n)
    return out.astype(np.int64)
