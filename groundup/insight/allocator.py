"""What glibc's malloc makes of the tensors of a run: more, for it keeps what is given back and cannot always fill it.

On Linux, PyTorch asks malloc for the memory of every tensor on a CPU. Large blocks are mapped, and are gone when they
are freed. But each block that is freed raises the size from which blocks are mapped, up to 32 MiB (mallopt(3), "dynamic
mmap threshold"), and smaller ones lie on a heap that falls to pieces: a gap of 9 MB serves no tensor of 10 MB. So a
process holds 15 to 60 % more than its tensors. The order of its requests is known from a rehearsal, and the rules from
glibc's malloc.c; this plays them.
"""

import platform
from bisect import bisect_left, insort

KIB, MIB = 1024, 1024**2
FIRST_THRESHOLD, LAST_THRESHOLD = 128 * KIB, 32 * MIB
PAD = 128 * KIB
"""What the heap grows by beyond what was asked for, and what stays at its top."""
HEADER, SMALLEST, ALIGNMENT = 16, 32, 64
"""What a block costs beside its content, the smallest block, and what PyTorch asks addresses to be a multiple of."""
MARGIN = ALIGNMENT + SMALLEST
"""What posix_memalign looks for beyond a block, to have room to move it to an aligned address. So the gap that a block
leaves is too small for the next of its size."""

Event = tuple[int, int]
"""(name of a block, bytes) where one is asked for; (name, 0) where it is given back."""


class Heap:
    """glibc's main arena: best fit, neighbours joined, the top given back when it is large."""

    def __init__(self) -> None:
        self.peak = 0
        self._threshold, self._trim = FIRST_THRESHOLD, FIRST_THRESHOLD
        self._mapped = 0
        self._end = 0  # of the heap
        self._top = 0  # where its last, free part begins
        self._blocks: dict[int, tuple[int, int]] = {}  # name: (address or -1 if mapped, bytes)
        self._gaps: list[tuple[int, int]] = []  # (bytes, address), the smallest first
        self._gap_from: dict[int, int] = {}
        self._gap_until: dict[int, int] = {}

    @property
    def resident(self) -> int:
        return self._end + self._mapped

    def take(self, name: int, n_bytes: int, aligned: bool = True) -> None:
        """posix_memalign, or malloc for what need not be aligned."""
        size = (n_bytes + HEADER + 15) // 16 * 16
        wanted = size + MARGIN * aligned
        fitting = bisect_left(self._gaps, (wanted, -1))
        if fitting < len(self._gaps):
            room, address = self._gaps[fitting]
            self._fill(address, room)
            address = self._cut(address, size, address + room, aligned)
        elif self._end - self._top < wanted and wanted >= self._threshold:
            address, size = -1, (wanted + 4095) // 4096 * 4096
            self._mapped += size
        else:
            begin, self._top = self._top, self._top + wanted
            self._end = max(self._end, self._top + PAD if self._top > self._end else 0)
            address = self._cut(begin, size, self._top, aligned)
        self._blocks[name] = address, size
        self.peak = max(self.peak, self.resident)

    def give_back(self, name: int) -> None:
        """free"""
        address, size = self._blocks.pop(name)
        if address < 0:
            self._mapped -= size
            if self._threshold < size <= LAST_THRESHOLD:
                self._threshold, self._trim = size, 2 * size
            return
        if (before := self._gap_until.get(address)) is not None:
            size += address - before
            self._fill(before, address - before)
            address = before
        if (room := self._gap_from.get(address + size)) is not None:
            self._fill(address + size, room)
            size += room
        if address + size == self._top:
            self._top = address
            if self._end - self._top > self._trim:
                self._end = self._top + PAD
        else:
            self._leave(address, size)

    def _cut(self, begin: int, size: int, end: int, aligned: bool) -> int:
        """Place a block so that its content is aligned, and leave what is before and behind it."""
        lead = (ALIGNMENT - HEADER - begin) % ALIGNMENT if aligned else 0
        lead += ALIGNMENT * (0 < lead < SMALLEST)
        address = begin + lead
        if lead:
            self._leave(begin, lead)
        if end - address - size >= SMALLEST:
            if end == self._top:
                self._top = address + size
            else:
                self._leave(address + size, end - address - size)
        return address

    def _leave(self, address: int, size: int) -> None:
        insort(self._gaps, (size, address))
        self._gap_from[address] = size
        self._gap_until[address + size] = address

    def _fill(self, address: int, size: int) -> None:
        del self._gaps[bisect_left(self._gaps, (size, address))]
        del self._gap_from[address], self._gap_until[address + size]


def is_in_use() -> bool:
    """Is this process's malloc glibc's, as far as Python knows?"""
    return platform.libc_ver()[0] == "glibc"


SMALL = (32, 48, 64, 80, 80)
"""Bytes of what comes with every tensor: its shape, its place in the graph. They settle in the gaps beside blocks, and
these can then not be joined again."""
STAYS = 10
"""One in so many of them outlives its tensor: what PyTorch and Python keep for later."""


def resident_bytes(events: list[Event]) -> int:
    """The most that a process holds for these requests, made in this order."""
    heap = Heap()
    for name, n_bytes in events:
        if n_bytes:
            heap.take(name, n_bytes)
            for i, size in enumerate(SMALL):
                heap.take(-(name * len(SMALL) + i), size, aligned=False)
        else:
            heap.give_back(name)
            for i in range(len(SMALL)):
                if (small := name * len(SMALL) + i) % STAYS:
                    heap.give_back(-small)
    return heap.peak
