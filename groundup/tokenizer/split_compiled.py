"""Text into pieces, compiled: the named patterns of split.py by hand.

First every byte gets its class, 64 at a time, as bits: is it of a letter, a number, a space. Then the pieces are walked
alternative by alternative, as the regular expression would; the end of a run is the next bit that is not set. A byte
that is not part of valid UTF-8 is a character of no class, as in the plain form.
"""

import numpy as np

from groundup.tokenizer.bits_compiled import first_bit, jit, last_bit, mask_between

LETTER, NUMBER, SPACE, UPPER, LOWER, LATER, BLANK, GAP, QUOTE, START = range(10)
"""Rows of `classes`. UPPER is Lu, Lt, Lm, Lo, M, and LOWER Ll, Lm, Lo, M. LATER: second to fourth byte of a character.
GAP: a space that ends no line. QUOTE: an apostrophe. START: a piece begins."""

N_CLASSES = 10

GPT2, CL100K, O200K = range(3)

APOSTROPHE, BLANK_BYTE, NEWLINE, RETURN, SLASH = b"' \n\r/"

ALL_BITS = np.uint64(0xFFFFFFFFFFFFFFFF)
NO_BITS = np.uint64(0)


# --- classes ---


@jit
def classify(data, start, stop, class_by_character, classes, scratch, with_case):
    """Fill `classes`, (N_CLASSES, at least n // 64 + 2) uint64, for `data[start:stop]`; bit 0 is byte `start`.

    scratch: at least 64 bytes.

    class_by_character: for each code point, bit LETTER, NUMBER, SPACE, UPPER, LOWER: uint8.
    """
    n_words = (stop - start) // 64
    carry = classes[:, n_words + 1]  # of the next 64 bytes, kept where nothing is yet
    carry[:] = 0
    n_carried = 0
    for word in range(n_words):
        n_carried = _classify_word(
            data, start + 64 * word, stop, class_by_character, classes, word, carry, n_carried, with_case
        )
    # The last bytes are copied to where 64 can be read.
    n_left = stop - start - 64 * n_words
    scratch[:64] = 0
    for i in range(n_left):
        scratch[i] = data[start + 64 * n_words + i]
    _classify_word(scratch, 0, n_left, class_by_character, classes, n_words, carry, n_carried, with_case)
    classes[:, n_words + 1] = 0


@jit
def _classify_word(data, at, stop, class_by_character, classes, word, carry, n_carried, with_case):
    """64 bytes. Returns how many bytes of the next 64 belong to a character that began here; `carry` has their bits."""
    ascii_upper = mask_between(data, at, 0, 65, 90)
    ascii_letter = mask_between(data, at, 0x20, 97, 122)
    blank = mask_between(data, at, 0, 32, 32)
    newline = mask_between(data, at, 0, 10, 10) | mask_between(data, at, 0, 13, 13)
    letter = ascii_letter | carry[LETTER]
    number = mask_between(data, at, 0, 48, 57) | carry[NUMBER]
    space = mask_between(data, at, 0, 9, 13) | blank | carry[SPACE]
    later = carry[LATER]
    classes[BLANK, word] = blank
    classes[QUOTE, word] = mask_between(data, at, 0, 39, 39)
    upper = ascii_upper | carry[UPPER]
    lower = (ascii_letter & ~ascii_upper) | carry[LOWER]

    if n_carried:
        carry[:] = 0
        n_carried = 0
    first_bytes = mask_between(data, at, 0, 0xC2, 0xF4)
    while first_bytes != NO_BITS:
        i = first_bit(first_bytes)
        first_bytes &= first_bytes - np.uint64(1)
        character, length = decode_at(data, at + i, stop)
        if length > 1:
            bits = ((np.uint64(1) << np.uint64(length)) - np.uint64(1)) << np.uint64(i)
            flags = np.uint64(class_by_character[character])
            later |= bits & ~(np.uint64(1) << np.uint64(i))
            letter |= bits & where(flags, LETTER)
            number |= bits & where(flags, NUMBER)
            space |= bits & where(flags, SPACE)
            if with_case:
                upper |= bits & where(flags, UPPER)
                lower |= bits & where(flags, LOWER)
            if i + length > 64:
                n_carried = i + length - 64
                rest = (np.uint64(1) << np.uint64(n_carried)) - np.uint64(1)
                carry[LATER] = rest
                for row in range(LATER):
                    carry[row] = rest & where(flags, row)
    classes[LETTER, word] = letter
    classes[NUMBER, word] = number
    classes[SPACE, word] = space
    classes[GAP, word] = space & ~newline
    classes[LATER, word] = later
    if with_case:
        classes[UPPER, word] = upper
        classes[LOWER, word] = lower
    return n_carried


@jit
def where(flags, row):
    """All bits if this flag is set, else none."""
    return NO_BITS - (flags >> np.uint64(row) & np.uint64(1))


@jit
def decode_at(data, at, stop):
    """The character at `at`, a byte above 127, and its length; (0, 1) where no valid UTF-8 begins (RFC 3629)."""
    first = np.int64(data[at])
    if 0xE0 <= first < 0xF0 and at + 3 <= stop:
        second, third = np.int64(data[at + 1]), np.int64(data[at + 2])
        if second & 0xC0 == 0x80 and third & 0xC0 == 0x80:
            character = (first & 0x0F) << 12 | (second & 0x3F) << 6 | (third & 0x3F)
            if character >= 0x800 and not (0xD800 <= character < 0xE000):
                return character, 3
    elif 0xC2 <= first < 0xE0 and at + 2 <= stop:
        second = np.int64(data[at + 1])
        if second & 0xC0 == 0x80:
            return (first & 0x1F) << 6 | (second & 0x3F), 2
    elif 0xF0 <= first < 0xF5 and at + 4 <= stop:
        second, third, fourth = np.int64(data[at + 1]), np.int64(data[at + 2]), np.int64(data[at + 3])
        if second & 0xC0 == 0x80 and third & 0xC0 == 0x80 and fourth & 0xC0 == 0x80:
            character = (first & 0x07) << 18 | (second & 0x3F) << 12 | (third & 0x3F) << 6 | (fourth & 0x3F)
            if 0x10000 <= character < 0x110000:
                return character, 4
    return np.int64(0), 1


# --- runs ---


@jit
def has(classes, row, at):
    """Is the byte of this class?"""
    return classes[row, at >> 6] >> np.uint64(at & 63) & np.uint64(1) != NO_BITS


@jit
def run_end(classes, row, at):
    """The first byte from `at` on that is not of this class."""
    word = at >> 6
    others = ~classes[row, word] >> np.uint64(at & 63)
    if others != NO_BITS:
        return at + first_bit(others)
    word += 1
    while classes[row, word] == ALL_BITS:
        word += 1
    return (word << 6) + first_bit(~classes[row, word])


@jit
def run_start(classes, row, at):
    """The first byte of the run of this class that ends with byte `at`."""
    word = at >> 6
    others = ~classes[row, word] << np.uint64(63 - (at & 63))
    if others != NO_BITS:
        return at - (63 - last_bit(others)) + 1
    word -= 1
    while word >= 0 and classes[row, word] == ALL_BITS:
        word -= 1
    return (word << 6) + last_bit(~classes[row, word]) + 1 if word >= 0 else 0


@jit
def set_start(classes, at):
    classes[START, at >> 6] |= np.uint64(1) << np.uint64(at & 63)


@jit
def clear_start(classes, at):
    classes[START, at >> 6] &= ~(np.uint64(1) << np.uint64(at & 63))


@jit
def others_end(classes, at, stop):
    """The first byte from `at` on that is of a letter, number or space, or `stop`."""
    word = at >> 6
    found = (classes[LETTER, word] | classes[NUMBER, word] | classes[SPACE, word]) >> np.uint64(at & 63)
    if found != NO_BITS:
        return min(at + first_bit(found), stop)
    word += 1
    last = stop >> 6
    while word <= last:
        found = classes[LETTER, word] | classes[NUMBER, word] | classes[SPACE, word]
        if found != NO_BITS:
            return min((word << 6) + first_bit(found), stop)
        word += 1
    return stop


@jit
def is_other(classes, at):
    """Is the byte of no letter, number or space?"""
    return not (has(classes, LETTER, at) or has(classes, NUMBER, at) or has(classes, SPACE, at))


@jit
def character_end(classes, at):
    return run_end(classes, LATER, at + 1)


@jit
def character_start(classes, at):
    while has(classes, LATER, at):
        at -= 1
    return at


# --- GPT2 and CL100K: the beginnings of pieces, 64 bytes at a time ---


@jit
def mark_gpt2(data, start, length, classes, numbers_per_piece):
    """Fill START: GPT2 of split.py, and with numbers_per_piece = 1 SMOLLM.

    A piece begins where the class changes, or at the blank before; and the last of several spaces stands alone.
    """
    n_words = (length >> 6) + 1
    was_letter = was_number = was_space = was_other = was_blank = was_later = NO_BITS
    for word in range(n_words):
        letter, number, space = classes[LETTER, word], classes[NUMBER, word], classes[SPACE, word]
        other = ~(letter | number | space) & inside(length, word)
        after_space = space << np.uint64(1) | was_space
        after_blank = classes[BLANK, word] << np.uint64(1) | was_blank
        later = classes[LATER, word]
        new = letter & ~(letter << np.uint64(1) | was_letter) | other & ~(other << np.uint64(1) | was_other)
        numbers = number & ~later if numbers_per_piece else NO_BITS
        if not numbers_per_piece:
            new |= number & ~(number << np.uint64(1) | was_number)
        leading = new & after_space
        classes[START, word] = new & ~after_blank | numbers | leading >> np.uint64(1) | space & ~after_space
        if word > 0:
            classes[START, word - 1] |= leading << np.uint64(63)
        long_leading = leading & (later << np.uint64(1) | was_later)
        if long_leading != NO_BITS:
            mark_long_spaces(classes, word, long_leading)
        top = np.uint64(63)
        was_letter, was_number, was_space, was_other = letter >> top, number >> top, space >> top, other >> top
        was_blank, was_later = classes[BLANK, word] >> top, later >> top
    mark_contractions(data, start, length, classes, n_words, False)


@jit
def mark_cl100k(data, start, length, classes, numbers_per_piece):
    """Fill START: CL100K of split.py, and with numbers_per_piece = 1 QWEN2.

    A word takes in the character before it if that is a gap, or a single mark that no blank has taken. Marks take the
    ends of lines behind them. Spaces are cut behind their last end of line and before their last gap.
    """
    n_words = (length >> 6) + 1
    one, top = np.uint64(1), np.uint64(63)
    was_letter = was_number = was_space = was_other = was_blank = was_gap = was_single = was_taken = NO_BITS
    was_later = NO_BITS
    for word in range(n_words):
        letter, number, space = classes[LETTER, word], classes[NUMBER, word], classes[SPACE, word]
        gap, later, blank = classes[GAP, word], classes[LATER, word], classes[BLANK, word]
        other = ~(letter | number | space) & inside(length, word)
        newline = space & ~gap
        after_other = other << one | was_other
        after_gap = gap << one | was_gap
        after_later = later << one | was_later

        new_letter = letter & ~(letter << one | was_letter)
        new_other = other & ~after_other
        new_number = number & ~later if numbers_per_piece == 1 else number & ~(number << one | was_number)
        first_taken = newline & (after_other | was_taken)
        taken = newline & ~(newline + first_taken)
        free = space & ~taken
        single = new_other & ~(blank << one | was_blank)
        leading = (new_letter | new_other | new_number) & after_gap
        classes[START, word] = (
            new_letter & ~after_gap & ~(single << one | was_single)
            | single
            | new_number
            | leading >> one
            | free & ~(free << one | was_space)
        )
        if word > 0:
            classes[START, word - 1] |= leading << top

        if leading & after_later != NO_BITS:
            mark_long_spaces(classes, word, leading & after_later)
        mark_tails(classes, word, leading & (space << np.uint64(2) | np.uint64(3)))
        attached = new_letter & after_other & after_later
        while attached != NO_BITS:
            detach_long_mark(classes, (word << 6) + first_bit(attached))
            attached &= attached - one
        was_letter, was_number, was_space, was_other = letter >> top, number >> top, free >> top, other >> top
        was_blank, was_gap, was_later, was_single, was_taken = (
            blank >> top, gap >> top, later >> top, single >> top, taken >> top,
        )  # fmt: skip
    if has(classes, GAP, length - 1):
        mark_behind_newline(classes, length - 1)
    if numbers_per_piece > 1:
        mark_long_numbers(classes, n_words, numbers_per_piece)
    mark_contractions(data, start, length, classes, n_words, True)


@jit
def inside(length, word):
    """The bits of this word that stand for bytes of the text."""
    left = length - (word << 6)
    return ALL_BITS if left >= 64 else (np.uint64(1) << np.uint64(left)) - np.uint64(1)


@jit
def mark_long_spaces(classes, word, places):
    """A space of several bytes before each place: its piece begins at its first byte, not its last."""
    while places != NO_BITS:
        last = (word << 6) + first_bit(places) - 1
        clear_start(classes, last)
        set_start(classes, character_start(classes, last))
        places &= places - np.uint64(1)


@jit
def mark_tails(classes, word, places):
    """Behind the last end of line of the spaces before each place, a piece begins."""
    while places != NO_BITS:
        mark_behind_newline(classes, (word << 6) + first_bit(places) - 1)
        places &= places - np.uint64(1)


@jit
def mark_behind_newline(classes, last_gap):
    gaps = run_start(classes, GAP, last_gap)
    if gaps > 0 and has(classes, SPACE, gaps - 1):
        set_start(classes, gaps)


@jit
def detach_long_mark(classes, word_start):
    """A mark of several bytes before a word: if it is single and not taken by a blank, the word begins with it."""
    mark = character_start(classes, word_start - 1)
    if mark == 0 or not (is_other(classes, mark - 1) or has(classes, BLANK, mark - 1)):
        clear_start(classes, word_start)


@jit
def mark_long_numbers(classes, n_words, numbers_per_piece):
    """In a run of more bytes than a piece has numbers, a piece begins behind so many."""
    was_number = NO_BITS
    for word in range(n_words):
        number = classes[NUMBER, word]
        long = number & ~(number << np.uint64(1) | was_number)
        for i in range(1, numbers_per_piece + 1):
            long &= number >> np.uint64(i) | ~(ALL_BITS >> np.uint64(i))
        while long != NO_BITS:
            at = numbers_end(classes, (word << 6) + first_bit(long), numbers_per_piece)
            while has(classes, NUMBER, at):
                set_start(classes, at)
                at = numbers_end(classes, at, numbers_per_piece)
            long &= long - np.uint64(1)
        was_number = number >> np.uint64(63)


@jit
def mark_contractions(data, start, length, classes, n_words, any_case):
    """Where a piece begins with a contraction, it ends behind it."""
    for word in range(n_words):
        quotes = classes[START, word] & classes[QUOTE, word]
        while quotes != NO_BITS:
            at = (word << 6) + first_bit(quotes)
            end = contraction_end(data, start + at, start + length, any_case) - start
            if end > at:
                clear_start(classes, at + 1)
                set_start(classes, end)
            quotes &= quotes - np.uint64(1)


@jit
def starts_to_ends(classes, length, ends):
    """Where each piece ends; returns how many there are."""
    n = 0
    for word in range((length + 63) >> 6):
        bits = classes[START, word]
        while bits != NO_BITS:
            ends[n] = (word << 6) + first_bit(bits)
            n += 1
            bits &= bits - np.uint64(1)
    # Each piece ends where the next begins.
    while n > 0 and ends[n - 1] >= length:
        n -= 1
    for piece in range(1, n):
        ends[piece - 1] = ends[piece]
    ends[n - 1] = length
    return n


# --- O200K: one piece after the other ---


@jit
def contraction_end(data, at, stop, any_case):
    """Behind `'s 't 're 've 'm 'll 'd` at the apostrophe `at`, or `at` if there is none."""
    if at + 1 >= stop:
        return at
    first = np.int64(data[at + 1])
    if any_case and 65 <= first <= 90:
        first |= 0x20
    if first == 115 or first == 116 or first == 109 or first == 100:  # s t m d
        return at + 2
    if at + 2 >= stop:
        return at
    second = np.int64(data[at + 2])
    if any_case and first == 0xC5 and second == 0xBF:  # the long s, which is an s to a pattern that ignores case
        return at + 3
    if any_case and 65 <= second <= 90:
        second |= 0x20
    if (second == 101 and (first == 114 or first == 118)) or (second == 108 and first == 108):  # re ve ll
        return at + 3
    return at


@jit
def numbers_end(classes, at, most):
    """Behind at most `most` numbers."""
    for _ in range(most):
        if has(classes, NUMBER, at):
            at = character_end(classes, at)
    return at


@jit
def spaces_end(classes, at, stop):
    r"""`\s+(?!\S)|\s+`: all spaces to the end of the text, all but the last before something else."""
    end = run_end(classes, SPACE, at)
    if end == stop:
        return end
    last = character_start(classes, end - 1)
    return last if last > at else end


@jit
def marks_or_spaces_end(data, start, stop, classes, at):
    r"""` ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`, where `at` is neither letter nor number."""
    body = at + 1 if data[start + at] == BLANK_BYTE else at
    if body < stop and is_other(classes, body):
        end = others_end(classes, body, stop)
        while end < stop:
            byte = data[start + end]
            if not (byte == NEWLINE or byte == RETURN or byte == SLASH):
                break
            end += 1
        return end
    end = run_end(classes, SPACE, at)
    last = end - 1
    while last >= at:
        if data[start + last] == NEWLINE or data[start + last] == RETURN:
            return last + 1
        last -= 1
    return spaces_end(classes, at, stop)


@jit
def o200k_end(data, start, stop, classes, at):
    """Behind the piece at `at`: O200K of split.py."""
    first = data[start + at]
    is_letter, is_number = has(classes, LETTER, at), has(classes, NUMBER, at)
    body = at
    if not (is_letter or is_number or first == NEWLINE or first == RETURN):
        body = at + 1 if first < 128 else character_end(classes, at)
    end = lower_word_end(classes, body, stop)
    if end < 0 and body > at:
        end = lower_word_end(classes, at, stop)
    if end < 0:
        end = upper_word_end(classes, body, stop)
    if end < 0 and body > at:
        end = upper_word_end(classes, at, stop)
    if end >= 0:
        if end < stop and data[start + end] == APOSTROPHE:
            end = contraction_end(data, start + end, start + stop, True) - start
        return end
    if is_number:
        return numbers_end(classes, at, 3)
    return marks_or_spaces_end(data, start, stop, classes, at)


@jit
def lower_word_end(classes, at, stop):
    """Behind `UPPER*LOWER+` at `at`, -1 if it is not there. Letters and marks without case are both."""
    if at >= stop:
        return -1
    upper_end = run_end(classes, UPPER, at)
    lower_end = run_end(classes, LOWER, upper_end)
    if lower_end > upper_end:
        return lower_end
    # UPPER* took all there is: it gives back until what it gave back begins with a LOWER.
    last = upper_end
    while last > at:
        last = character_start(classes, last - 1)
        if has(classes, LOWER, last):
            return character_end(classes, last)
    return -1


@jit
def upper_word_end(classes, at, stop):
    """Behind `UPPER+LOWER*` where `lower_word_end` found nothing, so no LOWER follows; -1 if it is not there."""
    end = run_end(classes, UPPER, at) if at < stop else at
    return end if end > at else -1


@jit
def split(data, start, stop, family, numbers_per_piece, class_by_character, classes, scratch, ends):
    """The pieces of `data[start:stop]`: how many, and in `ends` (at least stop - start) where each ends."""
    length = stop - start
    if length == 0:
        return 0
    classify(data, start, stop, class_by_character, classes, scratch, family == O200K)
    if family == GPT2:
        mark_gpt2(data, start, length, classes, numbers_per_piece)
        return starts_to_ends(classes, length, ends)
    if family == CL100K:
        mark_cl100k(data, start, length, classes, numbers_per_piece)
        return starts_to_ends(classes, length, ends)
    n = at = 0
    while at < length:
        at = o200k_end(data, start, length, classes, at)
        ends[n] = at
        n += 1
    return n
