"""How often each piece occurs, compiled: a hash table whose keys are the pieces themselves.

A piece of at most 15 bytes is its own key, two words; of a longer one the key is a hash and where its bytes are kept.
"""

import numpy as np

from groundup.tokenizer.bits_compiled import eight_bytes, jit, prefetch
from groundup.tokenizer.encode_compiled import MIX, SHORT, STAGED, key_at_the_end
from groundup.tokenizer.split_compiled import split

LOW, HIGH, COUNT = range(3)
"""Columns of a table: (slots, 3) uint64, slots a power of two; COUNT is 0 where nothing is.

LOW: bytes 0 to 7, or the hash. HIGH: bytes 8 to 14 and the length in the highest byte; or LONG and a place in `store`,
where the length stands in eight bytes and the piece behind it.
"""

LONG = np.uint64(1 << 63)

USED, STORED, TEXT, PIECE = range(4)
"""Of `state`, int64: slots and bytes of `store` in use; text and piece to go on with."""

FINISHED, FULL, STORE_FULL = range(3)


@jit
def mix(low, high):
    mixed = (low ^ (high * MIX)) * MIX
    return mixed ^ (mixed >> np.uint64(32))


@jit
def hash_long(data, start, stop):
    """A hash of more than SHORT bytes, eight at a time; the last eight may overlap those before."""
    hashed = np.uint64(stop - start) * MIX
    at = start
    while at + 8 <= stop:
        hashed = (hashed ^ eight_bytes(data, at)) * MIX
        hashed ^= hashed >> np.uint64(29)
        at += 8
    hashed = (hashed ^ eight_bytes(data, stop - 8)) * MIX
    return hashed ^ (hashed >> np.uint64(29))


@jit
def add_short(low, high, n, table, state):
    mask = np.uint64(len(table) - 1)
    slot = mix(low, high) & mask
    while table[slot, COUNT] != np.uint64(0):
        if table[slot, LOW] == low and table[slot, HIGH] == high:
            table[slot, COUNT] += n
            return
        slot = (slot + np.uint64(1)) & mask
    table[slot, LOW] = low
    table[slot, HIGH] = high
    table[slot, COUNT] = n
    state[USED] += 1


@jit
def add_long(data, start, stop, n, table, store, state):
    """Returns False if there is no room in `store`."""
    length = stop - start
    low = hash_long(data, start, stop)
    mask = np.uint64(len(table) - 1)
    slot = mix(low, LONG) & mask
    while table[slot, COUNT] != np.uint64(0):
        if table[slot, LOW] == low and table[slot, HIGH] & LONG != np.uint64(0):
            place = np.int64(table[slot, HIGH] & ~LONG)
            if np.int64(eight_bytes(store, place)) == length:
                i = 0
                while i < length and store[place + 8 + i] == data[start + i]:
                    i += 1
                if i == length:
                    table[slot, COUNT] += n
                    return True
        slot = (slot + np.uint64(1)) & mask
    place = state[STORED]
    if place + 8 + length > len(store):
        return False
    for i in range(8):
        store[place + i] = np.uint8(length >> (8 * i) & 255)
    for i in range(length):
        store[place + 8 + i] = data[start + i]
    table[slot, LOW] = low
    table[slot, HIGH] = LONG | np.uint64(place)
    table[slot, COUNT] = n
    state[USED] += 1
    state[STORED] = place + 8 + length
    return True


@jit
def count_texts(data, borders, splitting, keys, key_masks, table, store, state):
    """Count the pieces of `data[borders[i]:borders[i + 1]]` from where `state` says. FINISHED, or what is full.

    splitting: see `encode_texts`. keys: scratch, (3, STAGED) uint64.
    """
    family, numbers_per_piece, class_by_character, classes, tail, ends = splitting
    most = len(table) // 8 * 5 - STAGED
    while state[TEXT] < len(borders) - 1:
        start, stop = borders[state[TEXT]], borders[state[TEXT] + 1]
        n_pieces = split(data, start, stop, family, numbers_per_piece, class_by_character, classes, tail, ends)
        while state[PIECE] < n_pieces:
            if state[USED] > most:
                return FULL
            done = state[PIECE]
            staged = min(STAGED, n_pieces - done)
            begin = start + ends[done - 1] if done > 0 else start
            mask = np.uint64(len(table) - 1)
            for j in range(staged):
                end = start + ends[done + j]
                if begin + 16 <= len(data):
                    kind = min(end - begin, SHORT + 1)
                    low = eight_bytes(data, begin) & key_masks[0, kind]
                    high = eight_bytes(data, begin + 8) & key_masks[1, kind] | np.uint64(kind) << np.uint64(56)
                else:
                    low, high = key_at_the_end(data, begin, end)
                keys[0, j] = low
                keys[1, j] = high
                prefetch(table, np.int64(mix(low, high) & mask))
                begin = end
            begin = start + ends[done - 1] if done > 0 else start
            for j in range(staged):
                end = start + ends[done + j]
                if end - begin <= SHORT:
                    add_short(keys[0, j], keys[1, j], np.uint64(1), table, state)
                elif not add_long(data, begin, end, np.uint64(1), table, store, state):
                    return STORE_FULL
                state[PIECE] += 1
                begin = end
        state[PIECE] = 0
        state[TEXT] += 1
    return FINISHED


@jit
def add_pieces(pieces, offsets, counts, table, store, state):
    """Add counted pieces, `pieces[offsets[i]:offsets[i + 1]]` and their counts, from state[PIECE] on."""
    most = len(table) // 8 * 5
    while state[PIECE] < len(counts):
        if state[USED] > most:
            return FULL
        i = state[PIECE]
        start, stop = offsets[i], offsets[i + 1]
        if stop - start <= SHORT:
            low, high = key_at_the_end(pieces, start, stop)
            add_short(low, high, np.uint64(counts[i]), table, state)
        elif not add_long(pieces, start, stop, np.uint64(counts[i]), table, store, state):
            return STORE_FULL
        state[PIECE] += 1
    return FINISHED


@jit
def grow(table, larger):
    """Move every entry to a larger table, which is empty."""
    mask = np.uint64(len(larger) - 1)
    for old in range(len(table)):
        if table[old, COUNT] != np.uint64(0):
            high = table[old, HIGH]
            slot = mix(table[old, LOW], LONG if high & LONG != np.uint64(0) else high) & mask
            while larger[slot, COUNT] != np.uint64(0):
                slot = (slot + np.uint64(1)) & mask
            for column in range(3):
                larger[slot, column] = table[old, column]


@jit
def sizes(table, store, part, n_parts):
    """Of one of `n_parts` parts of the pieces (the same for equal pieces in every table): how many, and their bytes."""
    n = n_bytes = 0
    for slot in range(len(table)):
        if table[slot, COUNT] != np.uint64(0) and is_of_part(table, slot, part, n_parts):
            n += 1
            high = table[slot, HIGH]
            if high & LONG != np.uint64(0):
                n_bytes += np.int64(eight_bytes(store, np.int64(high & ~LONG)))
            else:
                n_bytes += np.int64(high >> np.uint64(56))
    return n, n_bytes


@jit
def is_of_part(table, slot, part, n_parts):
    high = table[slot, HIGH]
    hashed = mix(table[slot, LOW], LONG if high & LONG != np.uint64(0) else high)
    return np.int64(hashed >> np.uint64(40) & np.uint64(0xFFFF)) % n_parts == part


@jit
def gather(table, store, part, n_parts, pieces, offsets, counts):
    """The pieces of one part, flat, and their counts; arrays of the `sizes`, offsets one longer."""
    n = at = 0
    offsets[0] = 0
    for slot in range(len(table)):
        if table[slot, COUNT] != np.uint64(0) and is_of_part(table, slot, part, n_parts):
            high = table[slot, HIGH]
            if high & LONG != np.uint64(0):
                place = np.int64(high & ~LONG)
                for i in range(np.int64(eight_bytes(store, place))):
                    pieces[at] = store[place + 8 + i]
                    at += 1
            else:
                for i in range(np.int64(high >> np.uint64(56))):
                    word = table[slot, LOW] if i < 8 else high
                    pieces[at] = np.uint8(word >> np.uint64(8 * (i & 7)) & np.uint64(255))
                    at += 1
            counts[n] = np.int64(table[slot, COUNT])
            n += 1
            offsets[n] = at
