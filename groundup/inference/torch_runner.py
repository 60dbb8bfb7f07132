"""TorchRunner: any model of models/, on any device, as the engine wants it run: many sequences, each as long as it is.

Sequences are rows of one pool (layers/cache_pool.py), each from position 0 on. Those that run together are brought
side by side, so that a forward reads them as one view; as long as the same ones run step after step, nothing moves.

Prompts of one call share a forward where that wastes little: on a CPU a forward over a few hundred ids is bound by
arithmetic, padding included, and a GPU is filled by a thousand. Longer prompts run alone, in chunks.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from groundup.inference.recorded import Steps, is_worth_it
from groundup.inference.runner import Work
from groundup.layers.attention import Attention
from groundup.layers.cache_pool import CachePool, CacheRows

CHUNK = 1024
"""Ids, padding included, of one forward: more make it no faster, and take memory."""
FEW = 16
"""So few ids take about as long as reading the weights does, so padding among them costs little."""
PADDING = 1.25
"""How many ids, padding included, may run for each real one."""
EVERYTHING = 2**62
"""The reach of a layer that has no window."""


class TorchState:
    """One sequence: a row of its runner's pool. See runner.State."""

    def __init__(self, runner: "TorchRunner", row: int):
        self.runner = runner
        self.row = row
        self.length = 0

    def truncate(self, length: int) -> None:
        if not 0 <= length <= self.length:
            raise ValueError(f"length is {length}; valid values are from 0 to {self.length}, which the state holds")
        self.length = length

    def fork(self) -> "TorchState":
        return self.runner.fork(self)

    def close(self) -> None:
        self.runner.close(self)


class _Part(NamedTuple):
    """What a state is given in one forward."""

    state: TorchState
    ids: Sequence[int]
    every: bool


class TorchRunner:
    """A model that runs. See runner.Runner; dropout is off while it runs, and afterwards as it was."""

    name = "torch"

    def __init__(self, model: nn.Module, recorded: bool | None = None):
        """`recorded`: whether single ids run as in recorded.py; None where that is worth it."""
        self.model: Any = model
        config, weight = self.model.config, self.model.lm_head_weight
        self.vocab_size: int = config.vocab_size
        self.context_length: int = config.context_length
        shape = (config.n_layers, config.n_kv_heads, config.head_dim)
        self.bytes_per_position: int = 2 * shape[0] * shape[1] * shape[2] * weight.element_size()
        self._pool = CachePool(*shape, dtype=weight.dtype, device=weight.device)
        self._reach = reach(model)
        is_recorded = is_worth_it(model, weight) if recorded is None else recorded
        self._steps = Steps(model, self._pool, self._reach) if is_recorded else None
        self._states: list[TorchState | None] = []
        """Whose each row of the pool is."""

    def open(self) -> TorchState:
        row = self._states.index(None) if None in self._states else len(self._states)
        state = TorchState(self, row)
        self._states[row : row + 1] = [state]
        return state

    def fork(self, state: TorchState) -> TorchState:
        new = self.open()
        if state.length:
            self._pool.reserve(len(self._states), state.length)
            self._pool.copy(state.row, new.row, state.length)
            new.length = state.length
        return new

    def close(self, state: TorchState) -> None:
        if not self._has(state):
            return
        self._states[state.row] = None
        while self._states and self._states[-1] is None:
            self._states.pop()
        if not self._states:
            self._pool.release()

    @torch.no_grad()  # inference_mode would leave weights that FSDP gathers here unusable for training
    def run(self, work: Sequence[Work]) -> list[np.ndarray]:
        parts = [self._checked(item) for item in work]
        if len({part.state.row for part in parts}) < len(parts):
            raise ValueError("a state stands twice in the work, and what comes first is not said")
        logits: list[np.ndarray] = [np.empty(0)] * len(parts)
        with evaluating(self.model):
            for group in groups([len(part.ids) for part in parts]):
                made = self._chunked(parts[group[0]]) if len(group) == 1 else self._forward([parts[i] for i in group])
                for index, each in zip(group, made, strict=True):
                    logits[index] = each if parts[index].every else each[-1]
        return logits

    def _checked(self, item: Work) -> _Part:
        state = item.state
        if not isinstance(state, TorchState) or not self._has(state):
            raise ValueError("the state is closed, or another runner's")
        if not item.ids:
            raise ValueError("there are no ids to run")
        end = state.length + len(item.ids)
        if end > self.context_length:
            self.model.past_the_end(end)  # raises where nothing is beyond the context, and else warns
        return _Part(state, item.ids, item.every)

    def _has(self, state: TorchState) -> bool:
        return state.row < len(self._states) and self._states[state.row] is state

    def _chunked(self, part: _Part) -> list[np.ndarray]:
        """One sequence alone, a chunk after the other."""
        state, ids, every = part
        chunks = [self._forward([_Part(state, ids[i : i + CHUNK], every)])[0] for i in range(0, len(ids), CHUNK)]
        return [np.concatenate(chunks) if every and len(chunks) > 1 else chunks[-1]]

    def _forward(self, parts: Sequence[_Part]) -> list[np.ndarray]:
        """Logits (n, vocab_size) of each part, n = 1 where only the last is asked for, from one forward."""
        first = self._side_by_side([part.state for part in parts])
        in_order = sorted(range(len(parts)), key=lambda index: parts[index].state.row)
        parts = [parts[index] for index in in_order]
        lengths, n_new = [part.state.length for part in parts], [len(part.ids) for part in parts]
        asked = [range(0 if part.every else n - 1, n) for part, n in zip(parts, n_new, strict=True)]
        if self._steps is not None and max(n_new) == 1:
            around = [self._length(row) for row in range(first, len(self._states))]
            logits = self._steps.run(first, [part.ids[0] for part in parts], around).cpu().numpy()
        else:
            logits = self._padded(first, [part.ids for part in parts], lengths, asked)

        made: list[np.ndarray] = [logits] * len(parts)
        start = 0
        for index, part, n, some in zip(in_order, parts, n_new, asked, strict=True):
            part.state.length += n
            made[index] = logits[start : start + len(some)]
            start += len(some)
        return made

    def _padded(
        self, first: int, ids: Sequence[Sequence[int]], lengths: list[int], asked: Sequence[range]
    ) -> np.ndarray:
        """The ids of neighbouring rows, padded on the right; logits at the places asked for, row after row."""
        n_new = [len(row) for row in ids]
        T, device = max(n_new), self._pool.ids.device
        self._pool.reserve(len(self._states), max(lengths) + T)
        rows = CacheRows(self._pool, first, lengths, n_new, reach=self._reach)
        padded = torch.tensor([[*row, *[0] * (T - n)] for row, n in zip(ids, n_new, strict=True)], device=device)
        hidden = self.model.hidden(padded, cache=rows, positions=rows.positions, mask=rows.mask)

        # The head of a large vocabulary is a good part of the work: it runs where somebody asks for it.
        places = torch.tensor([row * T + t for row, some in enumerate(asked) for t in some], device=device)
        return self.model.logits_of(hidden.flatten(0, 1)[places]).float().cpu().numpy()

    def _side_by_side(self, states: Sequence[TorchState]) -> int:
        """Sees to it that these states, in any order, fill neighbouring rows; returns the first of these."""
        rows = {state.row for state in states}
        n = len(rows)
        if max(rows) - min(rows) == n - 1:
            return min(rows)

        def cost(first: int) -> int:
            """Positions that have to be moved if they are to begin here."""
            wanted = range(first, first + n)
            moving = [row for row in rows if row not in wanted] + [row for row in wanted if row not in rows]
            return sum(self._length(row) for row in moving)

        first = min(range(len(self._states) - n + 1), key=cost)
        wanted = range(first, first + n)
        for row, place in zip(
            [row for row in sorted(rows) if row not in wanted], [row for row in wanted if row not in rows], strict=True
        ):
            self._exchange(row, place)
        return first

    def _length(self, row: int) -> int:
        state = self._states[row]
        return state.length if state else 0

    def _exchange(self, one: int, other: int) -> None:
        """Two rows change places, with the states they belong to."""
        length, other_length = self._length(one), self._length(other)
        states = list(self._states)
        states[one], states[other] = states[other], states[one]
        try:
            if length and other_length:
                self._pool.swap(one, other, max(length, other_length))
            elif length or other_length:
                self._pool.reserve(len(states), length or other_length)
                self._pool.copy(*((one, other) if length else (other, one)), length or other_length)
            self._states = states
        except BaseException:  # Ctrl-C, or no memory: half of it may have moved, so neither holds anything any more
            for state in (states[one], states[other]):
                if state is not None:
                    state.length = 0
            raise
        finally:
            for row in (one, other):
                if (state := self._states[row]) is not None:
                    state.row = row


def groups(n_ids: Sequence[int]) -> Iterator[list[int]]:
    """Which sequences share a forward, by how many ids each has: their places, from the fewest ids on.

    groups([1, 300, 1, 290, 4]) gives [0, 2, 4], [3, 1]: three times 4 are few, and 290 are nearly 300.
    """
    group: list[int] = []
    n_real = 0
    for index in sorted(range(len(n_ids)), key=lambda index: n_ids[index]):
        n_padded = n_ids[index] * (len(group) + 1)
        if group and n_padded > FEW and n_padded > min(CHUNK, PADDING * (n_real + n_ids[index])):
            yield group
            group, n_real = [], 0
        group.append(index)
        n_real += n_ids[index]
    if group:
        yield group


def reach(model: nn.Module) -> int | None:
    """How many positions back the layers look at most, if one of them has a window; None if none has."""
    windows = {layer.window for layer in model.modules() if isinstance(layer, Attention)}
    return None if windows <= {None} else max(EVERYTHING if window is None else window for window in windows)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off, and afterwards as it was: samples are also drawn in the middle of training."""
    if not model.training:  # looking is quicker than telling hundreds of layers what they know
        yield
        return
    model.eval()
    try:
        yield
    finally:
        model.train()
