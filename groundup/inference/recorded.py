"""A step of decoding as one recording: on a GPU, starting hundreds of small kernels takes longer than running them.

A CUDA graph plays back kernels as they were recorded, at the same addresses and with the same shapes. So ids and
lengths stand in tensors that are filled anew for each step, and shapes are rounded up: the number of rows to a power of
two, the positions looked at to a multiple of 256, with a mask for what is too much. A recording is made when a shape is
first met, and all are thrown away when the pool's tensors move. On a CPU there is nothing to gain; there the same step
runs without a recording, so that tests can look at it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from groundup.layers.cache_pool import STEP, CachePool, RecordedRows
from groundup.layers.feed_forward import MixtureOfExperts


def is_worth_it(model: nn.Module, weight: Tensor) -> bool:
    """On a GPU, for a model that talks. One in training may be compiled or spread over devices (its weights are no
    plain tensors then); and which experts run is known only while they run, which cannot be recorded."""
    is_plain = not model.training and type(weight) in (nn.Parameter, Tensor)
    return weight.is_cuda and is_plain and not any(isinstance(layer, MixtureOfExperts) for layer in model.modules())


class Steps:
    """The recordings of one model over one pool."""

    def __init__(self, model: nn.Module, pool: CachePool, reach: int | None):
        self.model: Any = model
        self.pool = pool
        self.reach = reach
        self._steps: dict[tuple[int, int, int], _Step] = {}
        self._version = -1

    def run(self, first: int, ids: Sequence[int], lengths: Sequence[int]) -> Tensor:
        """Logits (n, vocab_size) after one id for each of n rows, which it appends.

        lengths: of the rows from `first` on before it, as many as there are, also beyond the n that run. The result is
        written over by the next call.
        """
        n = len(ids)
        n_rows = 1 << (n - 1).bit_length()
        lengths = [*lengths[:n_rows], *[0] * (n_rows - len(lengths))]
        # A row that is there only to round up gets something written behind its end, where nothing is.
        self.pool.reserve(first + n_rows, max(lengths) + 1)
        if self._version != self.pool.version:
            self._steps, self._version = {}, self.pool.version
        end = -(-(max(lengths[:n]) + 1) // STEP) * STEP
        key = (first, n_rows, end)
        if key not in self._steps:
            self._steps[key] = _Step(self, *key)
        rounding = [0] * (n_rows - n)
        return self._steps[key].run([*ids, *rounding], lengths, positions=[*lengths[:n], *rounding])[:n]


class _Step:
    """One shape."""

    def __init__(self, steps: Steps, first: int, n_rows: int, end: int):
        self.steps, self.first, self.end = steps, first, end
        self.inputs = torch.zeros(3, n_rows, 1, dtype=torch.int64, device=steps.pool.ids.device)
        """Ids, lengths and positions, (3, B, 1)."""
        self.graph: torch.cuda.CUDAGraph | None = None
        self.logits = torch.empty(0)

    def run(self, ids: list[int], lengths: list[int], positions: list[int]) -> Tensor:
        self.inputs.copy_(torch.tensor([ids, lengths, positions])[:, :, None])
        if self.graph is not None:
            self.graph.replay()
        elif self.inputs.is_cuda:
            self.record()
        else:
            self.logits = self.forward()
        return self.logits

    def record(self) -> None:
        """Runs the step, with the inputs that are there, and keeps what it did."""
        # The first runs choose kernels and take memory, which is not to be recorded; they write what is written anyway.
        stream = torch.cuda.Stream(self.inputs.device)
        stream.wait_stream(torch.cuda.current_stream(self.inputs.device))
        with torch.cuda.stream(stream):
            for _ in range(2):
                self.forward()
        torch.cuda.current_stream(self.inputs.device).wait_stream(stream)

        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self.logits = self.forward()
        graph.replay()  # recording computes nothing
        self.graph = graph

    def forward(self) -> Tensor:
        ids, lengths, positions = self.inputs
        rows = RecordedRows(self.steps.pool, self.first, lengths, self.end, reach=self.steps.reach)
        model = self.steps.model
        hidden = model.hidden(ids, cache=rows, positions=positions, mask=rows.mask)
        return model.logits_of(hidden[:, -1]).float()
