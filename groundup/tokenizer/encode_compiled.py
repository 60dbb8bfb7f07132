"""Pieces to ids, compiled.

A piece of at most 15 bytes is looked up in a cache that never grows: its bytes are its key, compared as two words, and
its ids lie beside them. What is not there is encoded without merging at all: the longest token, then the longest that
may follow it, with steps back where that fails (van Antwerpen and Neubeck, "So many tokens, so little time", GitHub
2024). It is linear, also for a million equal characters.
"""

import numpy as np

from groundup.tokenizer.bits_compiled import eight_bytes, jit, prefetch
from groundup.tokenizer.split_compiled import split

SHORT = 15
"""Bytes of a piece that is its own key."""

WORDS_PER_ENTRY = 4
"""uint64 of a cache entry: bytes 0 to 7; bytes 8 to 14 and the length; ids 0 to 2 and how many; ids 3 to 5."""

MOST_CACHED_IDS = 6

RANK, LEFT, RIGHT, SHORTER = range(4)
"""Columns of `made`, (vocabulary, 4) int32: the rank of the last merge of a token, the two it joins, and the longest
other token that this one begins with."""

TWO_BYTES = 2**16

FILTER_BITS = 22
"""Of a table of bits that tells quickly that a pair does not merge; it is small enough to stay near."""


STAGED = 64
"""Pieces."""

ID_BITS = np.uint64(20)
ID_MASK = np.uint64((1 << 20) - 1)

NONE = np.uint64(0xFFFFFFFFFFFFFFFF)
NO_RANK = np.int64(0xFFFFFFF)
MIX = np.uint64(0x9E3779B97F4A7C15)
"""2**64 over the golden ratio: multiplied by it, neighbouring numbers fall far apart (Knuth, TAOCP 3, 6.4)."""

AT_ONCE, NEVER = -1, -2
"""Instead of a rank: of a single byte, and of a token that merging never makes."""


# --- tables ---


@jit
def hash_pair(left, right):
    mixed = (np.uint64(left) << ID_BITS | np.uint64(right)) * MIX
    return mixed ^ (mixed >> np.uint64(32))


@jit
def enter_pair(left, right, rank, table, filter):
    """Enter a pair of ids with its rank, if it is not there; `table` begins as NONE, its size is a power of two."""
    mask = np.uint64(len(table) - 1)
    key = np.uint64(left) << ID_BITS | np.uint64(right)
    hashed = hash_pair(left, right)
    bit = hashed >> np.uint64(64 - FILTER_BITS)
    filter[bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))
    at = hashed & mask
    while table[at] != NONE and table[at] >> np.uint64(24) != key:
        at = (at + np.uint64(1)) & mask
    if table[at] == NONE:
        table[at] = key << np.uint64(24) | np.uint64(rank)


@jit
def rank_of(left, right, table, filter):
    """The rank of a pair, NO_RANK if it does not merge."""
    hashed = hash_pair(left, right)
    bit = hashed >> np.uint64(64 - FILTER_BITS)
    if filter[bit >> np.uint64(6)] >> (bit & np.uint64(63)) & np.uint64(1) == np.uint64(0):
        return NO_RANK
    mask = np.uint64(len(table) - 1)
    key = np.uint64(left) << ID_BITS | np.uint64(right)
    at = hashed & mask
    while True:
        entry = table[at]
        if entry >> np.uint64(24) == key:
            return np.int64(entry & np.uint64(0xFFFFFF))
        if entry == NONE:
            return NO_RANK
        at = (at + np.uint64(1)) & mask


@jit
def hash_bytes(data, start, stop):
    hashed = np.uint64(stop - start) * MIX
    for i in range(start, stop):
        hashed = (hashed ^ np.uint64(data[i])) * MIX
        hashed ^= hashed >> np.uint64(29)
    return hashed


@jit
def fill_tokens(arena, offsets, table):
    """Enter each token of at least one byte: its id, in a table of int32 that is all -1, its size a power of two."""
    mask = np.uint64(len(table) - 1)
    for token in range(len(offsets) - 1):
        if offsets[token + 1] > offsets[token]:
            at = hash_bytes(arena, offsets[token], offsets[token + 1]) & mask
            while table[at] >= 0:
                at = (at + np.uint64(1)) & mask
            table[at] = token


@jit
def token_of(data, start, stop, arena, offsets, table):
    """The id of the token with these bytes, -1 if there is none."""
    mask = np.uint64(len(table) - 1)
    at = hash_bytes(data, start, stop) & mask
    while table[at] >= 0:
        token = table[at]
        begin = offsets[token]
        if offsets[token + 1] - begin == stop - start:
            i = 0
            while i < stop - start and arena[begin + i] == data[start + i]:
                i += 1
            if i == stop - start:
                return np.int64(token)
        at = (at + np.uint64(1)) & mask
    return np.int64(-1)


# --- how tokens are made ---


@jit
def learn_merges(pairs, makes, table, filter, made):
    """Enter the merges of a list: pair i, (n, 2), has rank i and makes the token makes[i].

    The RANK of `made` begins as NEVER for all but the 256 bytes, which are made AT_ONCE.
    """
    for rank in range(len(pairs)):
        enter_pair(pairs[rank, 0], pairs[rank, 1], rank, table, filter)
    for rank in range(len(pairs)):
        left, right, token = pairs[rank, 0], pairs[rank, 1], makes[rank]
        if made[token, RANK] == NEVER and is_last_merge(left, right, rank, table, filter, made):
            made[token, RANK], made[token, LEFT], made[token, RIGHT] = rank, left, right


@jit
def learn_tokens(by_length, arena, offsets, tokens, table, filter, made):
    """As `learn_merges` where the rank of a pair is the token that it makes. by_length: ids, the shortest first."""
    for token in by_length:
        start, stop = offsets[token], offsets[token + 1]
        for cut in range(start + 1, stop):
            left = token_of(arena, start, cut, arena, offsets, tokens)
            if left >= 0:
                right = token_of(arena, cut, stop, arena, offsets, tokens)
                if right >= 0:
                    enter_pair(left, right, token, table, filter)
    for token in by_length:
        start, stop = offsets[token], offsets[token + 1]
        for cut in range(start + 1, stop):
            left = token_of(arena, start, cut, arena, offsets, tokens)
            if left >= 0 and made[token, RANK] == NEVER:
                right = token_of(arena, cut, stop, arena, offsets, tokens)
                if right >= 0 and is_last_merge(left, right, token, table, filter, made):
                    made[token, RANK], made[token, LEFT], made[token, RIGHT] = token, left, right


@jit
def count_pairs(arena, offsets, tokens):
    """How many pairs of tokens make a token."""
    n = 0
    for token in range(len(offsets) - 1):
        start, stop = offsets[token], offsets[token + 1]
        for cut in range(start + 1, stop):
            if token_of(arena, start, cut, arena, offsets, tokens) >= 0:
                n += token_of(arena, cut, stop, arena, offsets, tokens) >= 0
    return n


@jit
def is_last_merge(left, right, rank, table, filter, made):
    """Does merging the bytes of both end with these two side by side, until `rank` joins them?

    A merge of lower rank than one that made its half would take place at once, out of order: it makes no token here,
    and if it is the only one that does, encoder.py refuses the vocabulary.
    """
    if made[left, RANK] == NEVER or made[right, RANK] == NEVER or max(made[left, RANK], made[right, RANK]) > rank:
        return False
    return stay_apart(left, right, rank, table, filter, made)


@jit
def stay_apart(left, right, limit, table, filter, made):
    """Is no merge of a rank below `limit` across the border of two neighbours, at any time?

    The merges that made both are undone, the last first. While x ended the left one and y began the right one, merges
    of all ranks below that of the undone one took place; x with y must not be among them. Of equal ranks the one
    further left came first. (A sequence of tokens is the one that BPE makes if each two neighbours stay apart: a first
    merge across a border would happen between these two alone as well.)
    """
    x, y = left, right
    while True:
        if rank_of(x, y, table, filter) < limit:
            return False
        if made[x, RANK] > made[y, RANK]:
            limit = np.int64(made[x, RANK])
            x = made[x, RIGHT]
        elif made[y, RANK] == AT_ONCE:
            return True
        else:
            limit = np.int64(made[y, RANK]) + 1
            y = made[y, LEFT]


# --- the longest token at a place: a trie in a hash table ---


@jit
def hash_step(node, byte):
    mixed = (np.uint64(node) << np.uint64(8) | np.uint64(byte)) * MIX
    return mixed ^ (mixed >> np.uint64(32))


@jit
def fill_trie(arena, offsets, made, trie, starts):
    """Enter every token that merging can make. A node is the place of its entry, the root a place behind the table.

    An entry: node above and byte << 24, token + 1 (0: none) << 1, whether there is more below. Then fills `starts`, and
    SHORTER of `made`, -1 where there is none.
    """
    mask = np.uint64(len(trie) - 1)
    for token in range(len(offsets) - 1):
        if made[token, RANK] == NEVER:
            continue
        node = np.uint64(len(trie))
        for i in range(offsets[token], offsets[token + 1]):
            if node < np.uint64(len(trie)):
                trie[node] |= np.uint64(1)
            key = node << np.uint64(8) | np.uint64(arena[i])
            at = hash_step(node, arena[i]) & mask
            while trie[at] != NONE and trie[at] >> np.uint64(24) != key:
                at = (at + np.uint64(1)) & mask
            if trie[at] == NONE:
                trie[at] = key << np.uint64(24)
            node = at
        trie[node] |= np.uint64(token + 1) << np.uint64(1)
    for first in range(256):
        starts[2 * TWO_BYTES + first] = start_with(first, 0, 0, 1, trie)
        for second in range(256):
            starts[first << 8 | second] = start_with(first, second, 0, 2, trie)
    for character in range(TWO_BYTES):
        first, second, third = 0xE0 | character >> 12, 0x80 | character >> 6 & 63, 0x80 | character & 63
        starts[TWO_BYTES + character] = start_with(first, second, third, 3, trie)
    for token in range(len(offsets) - 1):
        made[token, SHORTER] = -1
        if made[token, RANK] != NEVER:
            start, stop = offsets[token], offsets[token + 1]
            made[token, SHORTER], _ = longest_token(arena, start, stop - 1, trie, starts)


@jit
def start_with(first, second, third, length, trie):
    """What the trie says of these one to three bytes, in one word: the node << 32, the longest token that they begin
    with + 1 << 8, its length << 1, and whether there is more below the node."""
    mask = np.uint64(len(trie) - 1)
    node = np.uint64(len(trie))
    found = np.uint64(0)
    for i in range(length):
        byte = first if i == 0 else (second if i == 1 else third)
        key = node << np.uint64(8) | np.uint64(byte)
        at = hash_step(node, byte) & mask
        while trie[at] != NONE and trie[at] >> np.uint64(24) != key:
            at = (at + np.uint64(1)) & mask
        if trie[at] == NONE:
            return found
        token = trie[at] >> np.uint64(1) & np.uint64(0x7FFFFF)
        if token > np.uint64(0):
            found = token << np.uint64(8) | np.uint64((i + 1) << 1)
        node = at
    return node << np.uint64(32) | found | (trie[node] & np.uint64(1))


@jit
def longest_token(data, start, stop, trie, starts):
    """The longest token that `data[start:stop]` begins with and where it ends; -1 if there is none.

    starts: `start_with` of each two bytes, then of each character of three, then of each single byte.
    """
    n = stop - start
    if n <= 0:
        return np.int64(-1), start
    first = np.int64(data[start])
    if n == 1:
        known = starts[2 * TWO_BYTES + first]
        return np.int64(known >> np.uint64(8) & np.uint64(0xFFFFFF)) - 1, stop
    second = np.int64(data[start + 1])
    if n >= 3 and first & 0xF0 == 0xE0 and second & 0xC0 == 0x80 and data[start + 2] & 0xC0 == 0x80:
        known = starts[TWO_BYTES + ((first & 15) << 12 | (second & 63) << 6 | np.int64(data[start + 2]) & 63)]
        at = start + 3
    else:
        known = starts[first << 8 | second]
        at = start + 2
    token = np.int64(known >> np.uint64(8) & np.uint64(0xFFFFFF)) - 1
    end = start + np.int64(known >> np.uint64(1) & np.uint64(3))
    if known & np.uint64(1) == np.uint64(0):
        return token, end
    mask = np.uint64(len(trie) - 1)
    node = known >> np.uint64(32)
    for i in range(at, stop):
        key = node << np.uint64(8) | np.uint64(data[i])
        slot = hash_step(node, data[i]) & mask
        entry = trie[slot]
        while entry >> np.uint64(24) != key:
            if entry == NONE:
                return token, end
            slot = (slot + np.uint64(1)) & mask
            entry = trie[slot]
        found = np.int64(entry >> np.uint64(1) & np.uint64(0x7FFFFF))
        if found > 0:
            token, end = found - 1, i + 1
        if entry & np.uint64(1) == np.uint64(0):
            break
        node = slot
    return token, end


# --- pieces ---


@jit
def encode_piece(data, start, stop, merging, whole, apart, dead, out, n_out):
    """The ids of one piece into `out` from `n_out` on; returns where they end.

    From left to right the longest token that may stand behind the one before; where none may, the one before is made
    shorter. There is only one way to reach a place (that which BPE takes to there), so a place that led nowhere is
    dead for good, and the work is linear.

    merging: pair table and filter, made, trie, starts. whole: token arena, offsets, table of tokens, empty
    unless whole tokens come first. apart: known neighbours, uint64. dead: a bit for each byte of the piece and one.
    """
    table, filter, made, trie, starts = merging
    arena, offsets, tokens = whole
    if len(tokens) > 0:
        token = token_of(data, start, stop, arena, offsets, tokens)
        if token >= 0:
            out[n_out] = token
            return n_out + 1
    for word in range((stop - start >> 6) + 1):
        dead[word] = 0
    first = n_out
    at = start
    token, end = longest_token(data, start, stop, trie, starts)
    while at < stop:
        if token < 0:
            # Nothing may stand here: take back the last token and look for a shorter one.
            dead[at - start >> 6] |= np.uint64(1) << np.uint64(at - start & 63)
            n_out -= 1
            token = np.int64(out[n_out])
            at -= offsets[token + 1] - offsets[token]
            token = np.int64(made[token, SHORTER])
        elif dead[end - start >> 6] >> np.uint64(end - start & 63) & np.uint64(1) != np.uint64(0) or (
            n_out > first and not may_follow(np.int64(out[n_out - 1]), token, merging, apart)
        ):
            token = np.int64(made[token, SHORTER])
        else:
            out[n_out] = token
            n_out += 1
            at = end
            token, end = longest_token(data, at, stop, trie, starts)
            continue
        end = at + offsets[token + 1] - offsets[token] if token >= 0 else at
    return n_out


@jit
def may_follow(left, right, merging, apart):
    """`stay_apart`, remembered in a table that never grows."""
    table, filter, made, _, _ = merging
    key = np.uint64(left) << ID_BITS | np.uint64(right)
    at = hash_pair(left, right) & np.uint64(len(apart) - 1)
    if apart[at] >> np.uint64(1) == key:
        return apart[at] & np.uint64(1) != np.uint64(0)
    is_apart = stay_apart(left, right, NO_RANK, table, filter, made)
    apart[at] = key << np.uint64(1) | np.uint64(is_apart)
    return is_apart


# --- texts ---


@jit
def encode_pieces(data, start, ends, n_pieces, merging, whole, memory, out, n_out):
    """The ids of `n_pieces` pieces, the first at `start`, ends counted from there.

    In two passes over STAGED pieces at a time: while the first makes keys, the entries that they ask for are loaded.
    """
    cache, keys, key_masks, apart, dead = memory
    slots = np.uint64(len(cache) // WORDS_PER_ENTRY // 2 - 1)
    n_bytes = len(data)
    begin = start
    done = 0
    while done < n_pieces:
        staged = min(STAGED, n_pieces - done)
        at_piece = begin
        for j in range(staged):
            stop = start + ends[done + j]
            length = stop - at_piece
            if at_piece + 16 <= n_bytes:
                kind = min(length, SHORT + 1)
                low = eight_bytes(data, at_piece) & key_masks[0, kind]
                high = eight_bytes(data, at_piece + 8) & key_masks[1, kind] | np.uint64(kind) << np.uint64(56)
            else:
                low, high = key_at_the_end(data, at_piece, stop)
            mixed = (low ^ (high * MIX)) * MIX
            mixed ^= mixed >> np.uint64(32)
            slot = (mixed & slots) * np.uint64(2 * WORDS_PER_ENTRY)
            keys[0, j] = low
            keys[1, j] = high
            keys[2, j] = slot
            prefetch(cache, np.int64(slot))
            at_piece = stop
        for j in range(staged):
            stop = start + ends[done + j]
            low = keys[0, j]
            high = keys[1, j]
            at = np.int64(keys[2, j])
            if cache[at] != low or cache[at + 1] != high:
                other = at + WORDS_PER_ENTRY
                if cache[other] == low and cache[other + 1] == high:
                    at = other
                else:
                    end = encode_piece(data, begin, stop, merging, whole, apart, dead, out, n_out)
                    if stop - begin <= SHORT and end - n_out <= MOST_CACHED_IDS:
                        # The older of the two entries of this slot makes room.
                        for i in range(WORDS_PER_ENTRY):
                            cache[other + i] = cache[at + i]
                        remember(cache, at, low, high, out, n_out, end)
                    n_out = end
                    begin = stop
                    continue
            first = cache[at + 2]
            n_ids = np.int64(first >> np.uint64(60))
            out[n_out] = np.uint32(first & ID_MASK)
            out[n_out + 1] = np.uint32(first >> ID_BITS & ID_MASK)
            out[n_out + 2] = np.uint32(first >> (ID_BITS + ID_BITS) & ID_MASK)
            if n_ids > 3:
                second = cache[at + 3]
                out[n_out + 3] = np.uint32(second & ID_MASK)
                out[n_out + 4] = np.uint32(second >> ID_BITS & ID_MASK)
                out[n_out + 5] = np.uint32(second >> (ID_BITS + ID_BITS) & ID_MASK)
            n_out += n_ids
            begin = stop
        done += staged
    return n_out


@jit
def key_at_the_end(data, start, stop):
    """The key of a piece so near the end of the buffer that 16 bytes cannot be read."""
    low = high = np.uint64(0)
    length = min(stop - start, SHORT + 1)
    for i in range(length if length <= SHORT else 0):
        byte = np.uint64(data[start + i])
        if i < 8:
            low |= byte << np.uint64(8 * i)
        else:
            high |= byte << np.uint64(8 * (i - 8))
    return low, high | np.uint64(length) << np.uint64(56)


@jit
def remember(cache, at, low, high, out, n_out, end):
    """Put `out[n_out:end]` into an entry."""
    n_ids = end - n_out
    cache[at] = low
    cache[at + 1] = high
    for word in range(2):
        packed = np.uint64(0)
        for i in range(3):
            if 3 * word + i < n_ids:
                packed |= np.uint64(out[n_out + 3 * word + i]) << (ID_BITS * np.uint64(i))
        cache[at + 2 + word] = packed
    cache[at + 2] |= np.uint64(n_ids) << np.uint64(60)


@jit
def encode_texts(data, borders, splitting, merging, whole, memory, out, offsets):
    """The ids of the texts `data[borders[i]:borders[i + 1]]` into `out`, and where each ends into `offsets[i + 1]`.

    splitting: family, numbers per piece, class_by_character, classes, tail, ends (see split).
    """
    family, numbers_per_piece, class_by_character, classes, tail, ends = splitting
    n_out = 0
    offsets[0] = 0
    for text in range(len(borders) - 1):
        start, stop = borders[text], borders[text + 1]
        n = split(data, start, stop, family, numbers_per_piece, class_by_character, classes, tail, ends)
        n_out = encode_pieces(data, start, ends, n, merging, whole, memory, out, n_out)
        offsets[text + 1] = n_out
