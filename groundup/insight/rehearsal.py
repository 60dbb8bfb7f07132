"""A training step rehearsed: the very code of a run, played with tensors that have shapes and no numbers.

PyTorch's "meta" tensors cost nothing, whatever their size. Where every tensor is one of them, the model, the loss and
the optimizer of a run can be called as the run will call them, and it can be written down what they ask for: how many
bytes are alive at one time, how many operations there are, and how many FLOPs and bytes each means. So a plan follows
the code, and no formula has to be mended when a layer changes.

    rehearsed = rehearse(shape, train, rows=32, context_length=256, precision="bf16")
    rehearsed.peak, rehearsed.gradients.flops, rehearsed.update.n_operations

Layers of one kind cost the same, so two short models say what a deep one takes: all counts are linear in the layers.
"""

import dataclasses
import math
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from groundup import models
from groundup.data.batches import Batch
from groundup.insight import allocator
from groundup.insight.allocator import Event
from groundup.train import losses
from groundup.train.config import TrainConfig
from groundup.train.devices import DTYPES, dtype_for
from groundup.train.distributed import World
from groundup.train.step import Stepper
from groundup.weights import portable

FEW_LAYERS = (2, 4)
"""Models so deep are rehearsed; what deeper ones take lies on the line through both."""

DEFAULT = dataclasses.asdict(TrainConfig())
WITHOUT_EFFECT = (
    "n_steps", "minutes", "lr", "matrix_lr", "warmup_steps", "seed", "eval_every", "save_every", "save_minutes", "keep",
    "log",
)  # fmt: skip
"""What does not change a step's costs. So runs that differ in no more are rehearsed once."""

META = torch.device("meta")
Product = tuple[str, int, int, int, int]
"""dtype, how many of them, and rows, inner and columns of a product of matrices."""


@dataclass
class Work:
    """What a part of a step asks for. `moved` are the bytes that operations without a product read and write."""

    peak: float = 0.0
    """Most bytes alive at one time."""
    end: float = 0.0
    """Bytes alive when it is over."""
    n_operations: float = 0.0
    moved: float = 0.0
    products: Counter[Product] = field(default_factory=Counter)

    @property
    def flops(self) -> float:
        return sum(n * flops_of(product) for product, n in self.products.items())


def flops_of(product: Product) -> int:
    _, n, rows, inner, columns = product
    return 2 * n * rows * inner * columns


@dataclass(frozen=True)
class Rehearsal:
    """Two steps in their parts, and an evaluation of one batch."""

    start: Work
    """Weights alone: `end` is what they take."""
    gradients: Work
    """Forward and backward of all micro-batches that were played, and clipping."""
    update: Work
    """The optimizer, with the state it makes."""
    evaluation: Work
    """A forward pass of the masters over a batch, without gradients."""
    n_micro_batches: int
    """How many were played in a step: two stand for any number above."""
    peak: float
    """Most bytes of tensors alive at one time."""
    resident: float
    """Most bytes that malloc holds for them; the same as `peak` where it is not glibc's."""


def rehearse(
    shape: Any, train: TrainConfig, *, rows: int, context_length: int, precision: str = "", device: str = "cpu",
    n_micro_batches: int = 1, is_packed: bool = False, evaluation_rows: int = 0,
) -> Rehearsal:  # fmt: skip
    """The rehearsal of micro-batches of `rows` sequences, of a model of the Config `shape`.

    `precision` is fp32, bf16 or fp16; "" stands for that of `train` (auto: what this machine takes on its CPU).
    """
    n = min(n_micro_batches, 2)
    dtype = dtype_for(precision or train.precision, torch.device("cpu"))
    name = next(name for name, each in DTYPES.items() if each == dtype)
    played = dataclasses.replace(
        train, precision=name, batch_size=n * rows, micro_batch_size=rows, gradient_accumulation_steps=0,
        devices=1, compile=False, device="auto", **{name: DEFAULT[name] for name in WITHOUT_EFFECT},
    )  # fmt: skip
    return rehearsed(shape, played, context_length, device, is_packed, evaluation_rows or rows, FEW_LAYERS)


@cache
def rehearsed(
    shape: Any, train: TrainConfig, context_length: int, device: str, is_packed: bool, evaluation_rows: int,
    few_layers: tuple[int, int],
) -> Rehearsal:  # fmt: skip
    """The same of a `train` in which all is said."""

    def at(n_layers: int) -> tuple[list[Work], float]:
        stage = Stage(device)
        with warnings.catch_warnings(), stage, stage.ledger:
            warnings.simplefilter("ignore")
            few = dataclasses.replace(shape, n_layers=n_layers)
            works = play(stage, few, train, context_length, is_packed, evaluation_rows)
        if device != "cpu" or not allocator.is_in_use():
            return works, 0.0
        return works, allocator.resident_bytes(stage.ledger.events)

    low, high = few_layers
    if shape.n_layers <= high:
        works, resident = at(shape.n_layers)
    else:
        (at_low, less), (at_high, more) = at(low), at(high)
        share = (shape.n_layers - low) / (high - low)
        works = [between(a, b, share) for a, b in zip(at_low, at_high, strict=True)]
        resident = less + share * (more - less)
    peak = max(work.peak for work in works)
    start, _, _, gradients, update, evaluation = works
    n = train.batch_size // train.micro_batch_size
    return Rehearsal(start, gradients, update, evaluation, n, peak, max(peak, resident))


def play(
    stage: "Stage", shape: Any, train: TrainConfig, context_length: int, is_packed: bool, evaluation_rows: int
) -> list[Work]:
    """The weights, two steps of two parts each, an evaluation: what a run does, by the run's own Stepper."""
    works: list[Work] = []

    @contextmanager
    def part() -> Iterator[None]:
        stage.begin()
        yield
        works.append(stage.finish())

    with part():
        model = portable.outline(models.name_of(shape), shape, train.kernels)
        stepper = Stepper(
            model, EmptyRows(train.batch_size, context_length, is_packed), losses.next_token, train,
            World(stage.shown_device),
        )  # fmt: skip
        if train.activation_checkpointing:
            # Which device a tensor says it is on depends on who asks.
            for block in stepper.precise.working.blocks:  # pyright: ignore[reportGeneralTypeIssues]
                block.forward = partial(block.forward, determinism_check="none")
    for step in range(2):  # in the second one, the optimizer's state is there from the beginning
        with part():
            stepper.gradients(step)
        with part():
            stepper.update(float(step), 10)
    with part(), torch.no_grad():
        losses.next_token(model.eval(), EmptyRows(evaluation_rows, context_length, is_packed).batch(0))
    return works


@dataclass(frozen=True)
class EmptyRows:
    """Batches without contents; each position is trained on."""

    batch_size: int
    context_length: int
    is_packed: bool

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        shape = (len(range(self.batch_size)[rows]), self.context_length)
        ids, targets = (torch.empty(shape, dtype=torch.int64) for _ in range(2))
        segments = torch.empty(shape, dtype=torch.int64) if self.is_packed else None
        return Batch(ids, targets, segments, math.prod(shape))


def between(low: Work, high: Work, share: float) -> Work:
    """The point at `share` on the line through two Works; shares above 1 lie beyond the second."""

    def point(a: float, b: float) -> float:
        return a + share * (b - a)

    products = Counter(
        {key: point(low.products[key], high.products[key]) for key in low.products.keys() | high.products.keys()}
    )
    return Work(
        peak=point(low.peak, high.peak),
        end=point(low.end, high.end),
        n_operations=point(low.n_operations, high.n_operations),
        moved=point(low.moved, high.moved),
        products=products,
    )


# --- where it is played ---


class Stage(TorchFunctionMode):
    """Inside, every tensor is made without numbers and says that it is on `device`; what is asked for is counted."""

    def __init__(self, device: str):
        super().__init__()
        self.shown_device = torch.device(device)
        self.ledger = Ledger()

    def begin(self) -> None:
        self.ledger.work = Work(peak=self.ledger.alive)

    def finish(self) -> Work:
        self.ledger.work.end = self.ledger.alive
        return self.ledger.work

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in ANSWERS:
            return ANSWERS[func](self, *args, **kwargs)
        if getattr(func, "__name__", "") == ATTENTION_CALL:
            return _attention(self, *args, **kwargs)
        if func is Tensor.backward:
            # PyTorch takes a mode away while it answers, and here the whole backward pass is the answer.
            (total,) = args
            with self:
                engine = torch.autograd.Variable._execution_engine
                return engine.run_backward((total,), (torch.ones_like(total),), False, False, (), True, True)
        if func in MAKERS or "device" in kwargs:
            kwargs["device"] = META
        return func(*(META if isinstance(one, torch.device) else one for one in args), **kwargs)


MAKERS = {torch.empty, torch.zeros, torch.ones, torch.full, torch.arange, torch.tensor, torch.rand, torch.randn}
"""They make a tensor of nothing but numbers; told no device, they would make one with contents."""


def _device(stage: Stage, tensor: Tensor) -> torch.device:
    return stage.shown_device


def _every_row(stage: Stage, tensor: Tensor) -> Tensor:
    """`nonzero` where nothing is zero: every position is trained on."""
    return torch.empty(tensor.numel(), tensor.ndim, dtype=torch.int64, device=META)


def _shared_evenly(stage: Stage, tensor: Tensor, minlength: int) -> "_Counts":
    """`bincount` where all are as frequent: every expert has as many positions."""
    share, left = divmod(tensor.numel(), minlength)
    return _Counts([share + (i < left) for i in range(minlength)])


class _Counts(list):
    def tolist(self) -> list[int]:
        return list(self)


class _Flash(torch.autograd.Function):
    """What a GPU's fused attention keeps: queries, keys, values, their mean, one number for each query."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = q.new_empty(*q.shape[:-1], v.shape[-1])
        ctx.save_for_backward(q, k, v, out, q.new_empty(q.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return tuple(torch.empty_like(x) for x in ctx.saved_tensors[:3])


def _attention(
    stage: Stage, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, dropout: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    if stage.shown_device.type == "cuda":
        return _Flash.apply(q, k, v)  # pyright: ignore[reportReturnType]
    if enable_gqa:
        n_groups = q.shape[-3] // k.shape[-3]
        k, v = k.repeat_interleave(n_groups, -3), v.repeat_interleave(n_groups, -3)
    if dropout:  # PyTorch's kernel for CPUs knows none: it takes the formula
        scores = q @ k.mT
        return F.dropout(scores.softmax(-1), dropout) @ v
    if mask is not None:
        mask = torch.empty(mask.shape, dtype=q.dtype, device=META)
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return kernel(q, k, v, 0.0, is_causal, attn_mask=mask)[0]


ANSWERS: dict[Any, Callable[..., Any]] = {
    Tensor.device.__get__: _device,  # pyright: ignore[reportAttributeAccessIssue]
    Tensor.nonzero: _every_row,
    Tensor.bincount: _shared_evenly,
    Tensor.__bool__: lambda stage, tensor: True,
    Tensor.__int__: lambda stage, tensor: 1,
    Tensor.item: lambda stage, tensor: 1.0,
    Tensor.tolist: lambda stage, tensor: [1.0] * tensor.numel(),
}
"""What a tensor without numbers cannot say by itself."""
ATTENTION_CALL = "scaled_dot_product_attention"
"""PyTorch chooses its kernel by the device, which here is none; so it is chosen by `_attention`."""


class Ledger(TorchDispatchMode):
    """Writes down what reaches PyTorch's kernels: bytes alive, operations, products, bytes moved by the others."""

    def __init__(self):
        super().__init__()
        self.work = Work()
        self.alive = 0
        self._n_noted = 0
        self.events: list[Event] = []
        self._known: dict[int, weakref.ref] = {}
        self._answers: dict[Any, list[Kind]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = self._answer(func, args, kwargs or {})
        outs = [each for each in _tensors(out)]
        is_new = [self._note(each) for each in outs]
        name = func.overloadpacket.__name__
        if name in PRODUCTS:
            self.work.products[PRODUCTS[name](*args)] += 1
        if name in ATTENTION:
            for product in ATTENTION[name](*args):
                self.work.products[product] += 1
        is_view = outs and not any(is_new) and not func._schema.is_mutable
        if not is_view:
            self.work.n_operations += 1
            if name not in PRODUCTS:
                self.work.moved += sum(each.numel() * each.itemsize for each in (*_tensors(args), *outs))
        return out

    def _answer(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What the operation returns.

        The layers of a model ask for the same again and again, and PyTorch takes its time to say which shape comes out.
        So an answer that shares no memory with what was given is remembered.
        """
        if is_in_place(func):
            return args[0]  # nothing is written where nothing is
        if func._schema.is_mutable or any(each.alias_info for each in func._schema.returns):
            return func(*args, **kwargs)
        asked = (func, _kinds(args), _kinds(tuple(kwargs.items())))
        known = self._answers.get(asked)
        if known is None:
            out = func(*args, **kwargs)
            outs = out if isinstance(out, tuple) else (out,)
            if all(type(each) is Tensor and each.device.type == "meta" for each in outs):
                inputs = {each.untyped_storage()._cdata for each in _tensors((*args, *kwargs.values()))}
                if not any(each.untyped_storage()._cdata in inputs for each in outs):
                    self._answers[asked] = [_kind(each) for each in outs]
            return out
        made = tuple(torch.empty_strided(size, stride, dtype=dtype, device=META) for size, stride, dtype in known)
        return made if len(func._schema.returns) > 1 else made[0]

    def _note(self, tensor: Tensor) -> bool:
        """Count the memory behind a tensor until it is freed; False if it was known."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return False
        n_bytes = storage.nbytes()
        self._n_noted += 1
        number = self._n_noted
        if n_bytes:
            self.events.append((number, n_bytes))
        self.alive += n_bytes
        self.work.peak = max(self.work.peak, self.alive)

        def freed(_: Any) -> None:
            del self._known[key]
            self.alive -= n_bytes
            if n_bytes:
                self.events.append((number, 0))

        self._known[key] = weakref.ref(storage, freed)
        return True


def is_in_place(func: Any) -> bool:
    """Does it give back what it was given first, with other numbers and the same shape?"""
    returns, arguments = func._schema.returns, func._schema.arguments
    if len(returns) != 1 or torch.Tag.inplace_view in func.tags or func.overloadpacket.__name__ == "resize_":
        return False
    alias = returns[0].alias_info
    return bool(alias and alias.is_write and arguments[0].alias_info and arguments[0].alias_info.is_write)


Kind = tuple[torch.Size, tuple[int, ...], torch.dtype]
"""All there is to know of a tensor without numbers."""


def _kind(tensor: Tensor) -> Kind:
    return tensor.shape, tensor.stride(), tensor.dtype


def _kinds(value: Any) -> Any:
    """The same for what an operation is given: tensors by their kind, all else with its type, for 1 is not 1.0."""
    if isinstance(value, Tensor):
        return _kind(value)
    if isinstance(value, tuple | list):
        return tuple(_kinds(each) for each in value)
    return type(value), value


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, tuple | list):
        for value in values:
            yield from _tensors(value)


def _dtype(tensor: Tensor) -> str:
    return {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}.get(tensor.dtype, "fp32")


def _mm(a: Tensor, b: Tensor, *_: Any) -> Product:
    return (_dtype(a), math.prod(a.shape[:-2]), a.shape[-2], a.shape[-1], b.shape[-1])


def _flash(q: Tensor, k: Tensor, v: Tensor, *_: Any) -> list[Product]:
    n, (T, S, width) = math.prod(q.shape[:-2]), (q.shape[-2], k.shape[-2], q.shape[-1])
    return [(_dtype(q), n, T, width, S), (_dtype(q), n, T, S, v.shape[-1])]


def _flash_backward(d_out: Tensor, q: Tensor, k: Tensor, v: Tensor, *_: Any) -> list[Product]:
    """The scores again, and two products for each of the two."""
    return [*_flash(q, k, v), *_flash(q, k, v), _flash(q, k, v)[0]]


PRODUCTS: dict[str, Callable[..., Product]] = {
    "mm": _mm,
    "bmm": _mm,
    "addmm": lambda _, a, b, *rest: _mm(a, b),
    "baddbmm": lambda _, a, b, *rest: _mm(a, b),
}
ATTENTION: dict[str, Callable[..., list[Product]]] = {
    "_scaled_dot_product_flash_attention_for_cpu": _flash,
    "_scaled_dot_product_flash_attention_for_cpu_backward": _flash_backward,
}
