"""Training's merges, compiled: the most frequent pair again and again, without ever looking through the text.

All distinct pieces lie one after the other in `symbols`, an id for each byte at first. Around each piece stands
`symbols[0]`, which is no id. A token of several bytes has its id at its first and last byte and no id between, so that
both neighbours of a token are found in one step. Ids are uint16 or uint32, as many as there are need.

For each pair the places where it stands are kept. A pair gains places only while one of its halves is being made, so
they lie together in `pool`, and those that have gone are noticed when they are looked at.
"""

import numpy as np

from groundup.tokenizer.bits_compiled import jit
from groundup.tokenizer.encode_compiled import MIX

KEY, COUNT, PLACES = range(3)
"""Columns of the table of pairs, (slots, 3) uint64: left << 32 | right, how often, first place in `pool` << 32 | how
many. KEY is NO_PAIR where nothing is."""

NO_PAIR = np.uint64(0xFFFFFFFFFFFFFFFF)

HUGGINGFACE, LEXICOGRAPHIC = range(2)
"""Among pairs of equal count: the lower ids first, or the greater bytes first."""

N_MERGES, N_PAIRS, POOLED, HEAPED, ARENA = range(5)
"""Of `state`, int64: merges done; slots, places, heap entries, bytes of tokens in use."""

FINISHED, EXHAUSTED, TABLE_FULL, POOL_FULL, HEAP_FULL, ARENA_FULL = range(6)

BLOCK = 6
"""Of 2**6 places the first knows the group of its piece. Pieces of equal count are a group and lie together."""


# --- the text ---


@jit
def lay_out(pieces, offsets, order, id_by_byte, symbols, at):
    """Write the pieces of `order` to `symbols` from place `at` on, no id behind each; returns where they end."""
    for piece in order:
        for i in range(offsets[piece], offsets[piece + 1]):
            symbols[at] = id_by_byte[pieces[i]]
            at += 1
        symbols[at] = symbols[0]
        at += 1
    return at


@jit
def count_at(place, groups):
    """The count of the piece at this place."""
    group_end, group_count, group_of_block = groups
    at = group_of_block[place >> BLOCK]
    while group_end[at] <= place:
        at += 1
    return group_count[at]


# --- pairs ---


@jit
def slot_of(key, table):
    """Where a pair is, or could be entered."""
    mask = np.uint64(len(table) - 1)
    slot = key * MIX
    slot = (slot ^ (slot >> np.uint64(32))) & mask
    while table[slot, KEY] != key and table[slot, KEY] != NO_PAIR:
        slot = (slot + np.uint64(1)) & mask
    return slot


@jit
def pack(left, right):
    return np.uint64(left) << np.uint64(32) | np.uint64(right)


@jit
def enter(left, right, count, first_place, n_places, table, state):
    key = pack(left, right)
    slot = slot_of(key, table)
    table[slot, KEY] = key
    table[slot, COUNT] = np.uint64(count)
    table[slot, PLACES] = pack(first_place, n_places)
    state[N_PAIRS] += 1


@jit
def count_kept(table, least):
    """How many pairs are of at least this count."""
    n = 0
    for slot in range(len(table)):
        n += table[slot, KEY] != NO_PAIR and table[slot, COUNT] >= np.uint64(least)
    return n


@jit
def move_pairs(table, larger, least):
    """Enter the pairs of at least this count in another table, which is empty; returns how many."""
    n = 0
    for old in range(len(table)):
        if table[old, KEY] != NO_PAIR and table[old, COUNT] >= np.uint64(least):
            slot = slot_of(table[old, KEY], larger)
            for column in range(3):
                larger[slot, column] = table[old, column]
            n += 1
    return n


@jit
def first_pairs(symbols, start, stop, groups, counts, n_places):
    """Add up how often each pair of bytes occurs from `start` to `stop`, and in how many places: (65536,) int64."""
    for place in range(max(start, 1), min(stop, len(symbols) - 1)):
        left, right = np.int64(symbols[place]), np.int64(symbols[place + 1])
        if left < 256 and right < 256:
            pair = left << 8 | right
            counts[pair] += count_at(place, groups)
            n_places[pair] += 1


@jit
def enter_first_pairs(counts, n_places, next_place, table, heap, tokens, state):
    """Enter the pairs of bytes, with room in the pool from `next_place` on, (65536,) int64, which is filled."""
    for pair in range(65536):
        next_place[pair] = state[POOLED]
        if counts[pair] > 0:
            enter(pair >> 8, pair & 255, counts[pair], state[POOLED], n_places[pair], table, state)
            push(counts[pair], pack(pair >> 8, pair & 255), heap, tokens, state)
            state[POOLED] += n_places[pair]


@jit
def fill_pool(symbols, start, stop, next_place, pool):
    """Write the places of the pairs of bytes, of places from `start` to `stop`."""
    for place in range(max(start, 1), min(stop, len(symbols) - 1)):
        left, right = np.int64(symbols[place]), np.int64(symbols[place + 1])
        if left < 256 and right < 256:
            pair = left << 8 | right
            pool[next_place[pair]] = place
            next_place[pair] += 1


@jit
def compact_pool(table, start, stop, least, symbols, tokens, pool, other, n):
    """Copy to `other`, which holds n, the places that still hold their pair, of the pairs in slots `start` to `stop`.

    Only those of pairs of at least this count. Returns how many it holds now.
    """
    length = tokens[0]
    for slot in range(start, min(stop, len(table))):
        if table[slot, KEY] == NO_PAIR or table[slot, COUNT] < np.uint64(least):
            continue
        left, right = unpack(table[slot, KEY])
        first, n_places = unpack(table[slot, PLACES])
        begin = n
        for i in range(first, first + n_places):
            place = np.int64(pool[i])
            if symbols[place] == left and symbols[place + length[left]] == right:
                other[n] = place
                n += 1
        table[slot, PLACES] = pack(begin, n - begin)
    return n


@jit
def unpack(packed):
    return np.int64(packed >> np.uint64(32)), np.int64(packed & np.uint64(0xFFFFFFFF))


# --- the heap: the pair to merge next on top ---


@jit
def comes_first(count, pair, other_count, other_pair, tokens):
    """Is this pair merged before the other?"""
    if count != other_count:
        return count > other_count
    length, begins, arena, ties = tokens
    if ties == HUGGINGFACE:
        return pair < other_pair
    left, right = unpack(pair)
    other_left, other_right = unpack(other_pair)
    if left != other_left:
        return is_greater(left, other_left, tokens)
    return right != other_right and is_greater(right, other_right, tokens)


@jit
def is_greater(token, other, tokens):
    """Do its bytes come later in a dictionary?"""
    length, begins, arena, _ = tokens
    for i in range(min(length[token], length[other])):
        byte, other_byte = arena[begins[token] + i], arena[begins[other] + i]
        if byte != other_byte:
            return byte > other_byte
    return length[token] > length[other]


@jit
def push(count, pair, heap, tokens, state):
    heap_counts, heap_pairs = heap
    at = state[HEAPED]
    state[HEAPED] += 1
    while at > 0:
        above = (at - 1) >> 1
        if not comes_first(count, pair, heap_counts[above], heap_pairs[above], tokens):
            break
        heap_counts[at], heap_pairs[at] = heap_counts[above], heap_pairs[above]
        at = above
    heap_counts[at], heap_pairs[at] = count, pair


@jit
def pop(heap, tokens, state):
    """Take the top off; the last one fills the gap."""
    heap_counts, heap_pairs = heap
    top_count, top_pair = heap_counts[0], heap_pairs[0]
    state[HEAPED] -= 1
    n = state[HEAPED]
    count, pair = heap_counts[n], heap_pairs[n]
    at = 0
    while True:
        below = 2 * at + 1
        if below >= n:
            break
        if below + 1 < n and comes_first(
            heap_counts[below + 1], heap_pairs[below + 1], heap_counts[below], heap_pairs[below], tokens
        ):
            below += 1
        if not comes_first(heap_counts[below], heap_pairs[below], count, pair, tokens):
            break
        heap_counts[at], heap_pairs[at] = heap_counts[below], heap_pairs[below]
        at = below
    heap_counts[at], heap_pairs[at] = count, pair
    return top_count, top_pair


@jit
def most_frequent(table, heap, tokens, least, state):
    """Take the pair to merge next off the heap: its slot, -1 if none of at least this count is left.

    An entry keeps the count of when it was pushed, and counts only fall. So an outdated one comes up too early, never
    too late, and is put back with the count of now.
    """
    while state[HEAPED] > 0:
        count, pair = pop(heap, tokens, state)
        slot = np.int64(slot_of(pair, table))
        if table[slot, KEY] != pair:
            continue  # it had become too rare to be kept
        present = np.int64(table[slot, COUNT])
        if present < least:
            continue
        if present == count:
            return slot
        push(present, pair, heap, tokens, state)
    return -1


# --- merging ---


@jit
def merge(first, n_merges, merges, symbols, groups, tokens, table, pool, heap, neighbours, least, state):
    """Go on until `n_merges` merges are done, or something has no room: then the call can be repeated with more.

    first: merges to begin with, (n, 2) int32. merges: (n_merges, 2) int32, filled. least: pairs that begin with a lower
    count are not kept. Returns FINISHED, EXHAUSTED, or what is full.
    """
    length, begins, arena, _ = tokens
    while state[N_MERGES] < n_merges:
        done = state[N_MERGES]
        heap_room = np.int64(len(heap[0])) - state[HEAPED]
        table_room = np.int64(len(table)) // 8 * 5 - state[N_PAIRS]
        if done < len(first):
            slot = np.int64(slot_of(pack(first[done, 0], first[done, 1]), table))
            key = pack(first[done, 0], first[done, 1])
        else:
            slot = most_frequent(table, heap, tokens, least, state)
            if slot < 0:
                return EXHAUSTED
            key = table[slot, KEY]
        left, right = unpack(key)
        is_there = table[slot, KEY] == key and table[slot, COUNT] != np.uint64(0)
        first_place, n_places = unpack(table[slot, PLACES]) if is_there else (np.int64(0), np.int64(0))
        lacking = FINISHED
        most_new = 2 * min(n_places, 256 + done + 1)
        if most_new + 1 > table_room:
            lacking = TABLE_FULL
        elif most_new + 1 > heap_room:
            lacking = HEAP_FULL
        elif state[POOLED] + 2 * n_places > len(pool):
            lacking = POOL_FULL
        elif state[ARENA] + length[left] + length[right] > len(arena):
            lacking = ARENA_FULL
        if lacking != FINISHED:
            if done >= len(first):
                push(np.int64(table[slot, COUNT]), key, heap, tokens, state)
            return lacking

        new = 256 + done
        merges[done, 0], merges[done, 1] = left, right
        begins[new] = state[ARENA]
        length[new] = length[left] + length[right]
        for i in range(length[left]):
            arena[state[ARENA] + i] = arena[begins[left] + i]
        for i in range(length[right]):
            arena[state[ARENA] + length[left] + i] = arena[begins[right] + i]
        state[ARENA] += length[new]
        if is_there:
            table[slot, COUNT] = np.uint64(0)
            n_joined = join(left, right, new, first_place, n_places, symbols, groups, length, pool, neighbours)
            forget_old_pairs(left, right, neighbours, table)
            enter_new_pairs(
                new, first_place, n_joined, symbols, groups, tokens, table, pool, heap, neighbours, least, state
            )
        state[N_MERGES] += 1
    return FINISHED


LOST_LEFT, LOST_RIGHT, GAINED_LEFT, GAINED_RIGHT, PLACES_LEFT, PLACES_RIGHT, SEEN_LEFT, SEEN_RIGHT = range(8)
"""Rows of `neighbours`, (8, vocabulary + 2) int64: by token what a pair with it on this side lost and gained, and its
places; then the tokens seen on this side, how many of them in the last column."""


@jit
def see(token, side, neighbours):
    seen = SEEN_LEFT + side
    last = neighbours.shape[1] - 1
    neighbours[seen, neighbours[seen, last]] = token
    neighbours[seen, last] += 1


@jit
def join(left, right, new, first_place, n_places, symbols, groups, length, pool, neighbours):
    """Make `new` of every left with right behind it; what the pairs around them lose goes to `neighbours`.

    The places where it now stands take those of the pair in `pool`; returns how many there are.
    """
    n = 0
    for i in range(first_place, first_place + n_places):
        place = np.int64(pool[i])
        middle = place + length[left]
        if symbols[place] != left or symbols[middle] != right:
            continue
        count = count_at(place, groups)
        before, behind = np.int64(symbols[place - 1]), np.int64(symbols[middle + length[right]])
        if before < len(length) and before != new:  # if it is new, its right half lost this left one already
            if neighbours[LOST_LEFT, before] == 0:
                see(before, 0, neighbours)
            neighbours[LOST_LEFT, before] += count
        if behind < len(length):
            if neighbours[LOST_RIGHT, behind] == 0:
                see(behind, 1, neighbours)
            neighbours[LOST_RIGHT, behind] += count
        symbols[middle - 1] = symbols[0]
        symbols[middle] = symbols[0]
        symbols[place] = new
        symbols[middle + length[right] - 1] = new
        pool[first_place + n] = place
        n += 1
    return n


@jit
def forget_old_pairs(left, right, neighbours, table):
    """Subtract what was lost from the pairs (x, left) and (right, x)."""
    last = neighbours.shape[1] - 1
    for side in range(2):
        for i in range(neighbours[SEEN_LEFT + side, last]):
            token = neighbours[SEEN_LEFT + side, i]
            key = pack(token, left) if side == 0 else pack(right, token)
            slot = slot_of(key, table)
            if table[slot, KEY] == key:
                lost = np.uint64(neighbours[LOST_LEFT + side, token])
                table[slot, COUNT] -= min(lost, table[slot, COUNT])
            neighbours[LOST_LEFT + side, token] = 0
        neighbours[SEEN_LEFT + side, last] = 0


@jit
def enter_new_pairs(new, first_place, n_joined, symbols, groups, tokens, table, pool, heap, neighbours, least, state):
    """Enter the pairs (x, new) and (new, x) with their places."""
    length = tokens[0]
    last = neighbours.shape[1] - 1
    for i in range(first_place, first_place + n_joined):
        place = np.int64(pool[i])
        count = count_at(place, groups)
        for side in range(2):
            token = np.int64(symbols[place - 1] if side == 0 else symbols[place + length[new]])
            if token < len(length) and (
                side == 0 or token != new
            ):  # two of the new side by side are seen from the right one
                if neighbours[GAINED_LEFT + side, token] == 0:
                    see(token, side, neighbours)
                neighbours[GAINED_LEFT + side, token] += count
                neighbours[PLACES_LEFT + side, token] += 1
    for side in range(2):
        for i in range(neighbours[SEEN_LEFT + side, last]):
            token = neighbours[SEEN_LEFT + side, i]
            count, n_places = neighbours[GAINED_LEFT + side, token], neighbours[PLACES_LEFT + side, token]
            neighbours[PLACES_LEFT + side, token] = -1
            if count >= least:
                left, right = (token, new) if side == 0 else (new, token)
                enter(left, right, count, state[POOLED], n_places, table, state)
                push(count, pack(left, right), heap, tokens, state)
                neighbours[PLACES_LEFT + side, token] = state[POOLED]
                state[POOLED] += n_places
    for i in range(first_place, first_place + n_joined):
        place = np.int64(pool[i])
        for side in range(2):
            token = np.int64(symbols[place - 1] if side == 0 else symbols[place + length[new]])
            if token < len(length) and (side == 0 or token != new):
                at = neighbours[PLACES_LEFT + side, token]
                if at >= 0:
                    pool[at] = place - length[token] if side == 0 else place
                    neighbours[PLACES_LEFT + side, token] += 1
    for side in range(2):
        for i in range(neighbours[SEEN_LEFT + side, last]):
            token = neighbours[SEEN_LEFT + side, i]
            neighbours[GAINED_LEFT + side, token] = 0
            neighbours[PLACES_LEFT + side, token] = 0
        neighbours[SEEN_LEFT + side, last] = 0
