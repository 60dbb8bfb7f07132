"""How long each layer takes, forward and backward: the fused form beside the textbook form, in fp32 and in bf16.

    python benchmarks/layers.py              a table, in about a minute
    python benchmarks/layers.py --write      into BENCHMARK.md
    python benchmarks/layers.py --only "cross-entropy" attention --json

Both forms get the same weights and the same input. They are timed only if outputs and all gradients agree: within 1e-5
of their size in fp32, 2e-2 in bf16. Where a layer has one form only, it is timed beside what it should equal.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from harness import Row, in_turns, report, section, write_section
from torch import Tensor, nn

from groundup.layers.activations import ACTIVATIONS
from groundup.layers.attention import Attention, attention
from groundup.layers.dropout import dropout
from groundup.layers.embedding import Embedding
from groundup.layers.feed_forward import MLP, MixtureOfExperts, SwiGLU, hidden_size
from groundup.layers.kernels import Kernels
from groundup.layers.linear import Linear
from groundup.layers.loss import cross_entropy, linear_cross_entropy
from groundup.layers.masks import document_mask
from groundup.layers.norms import LayerNorm, RMSNorm
from groundup.layers.rope import RoPE, rotate
from groundup.layers.softmax import softmax

B, T, D_MODEL, N_HEADS, N_KV_HEADS, VOCAB_SIZE = 4, 256, 384, 6, 2, 4096
HEAD_DIM, D_FF = D_MODEL // N_HEADS, hidden_size(D_MODEL)
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16"}
LEAST_SECONDS = 0.02
"""A repetition runs a layer so often that it takes about this long."""


@dataclass
class Side:
    """A layer, or a function, and the tensors whose gradients are wanted beside those of its parameters."""

    compute: Callable[..., Tensor]
    inputs: list[Tensor]

    pull: Tensor | None = None
    """What the output's own gradient is; any will do, as long as it is not along the output."""

    def run(self) -> list[Tensor]:
        """The output and every gradient."""
        parameters = list(self.compute.parameters()) if isinstance(self.compute, nn.Module) else []
        y = self.compute(*self.inputs)
        if self.pull is None:
            self.pull = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).to(y)
        return [y, *torch.autograd.grad(y, self.inputs + parameters, self.pull)]


@dataclass
class Case:
    """`make` gives a layer in one of the kernels; `peer`, if given, is what the layer's only form is timed beside."""

    make: Callable[[Kernels], Callable[..., Tensor]]
    shapes: tuple[tuple[int, ...], ...] = ((B, T, D_MODEL),)
    peer: Callable[[Callable[..., Tensor]], Callable[..., Tensor]] | None = None
    peer_name: str = "textbook"
    is_random: bool = False
    note: str | None = None


def torch_linear(ours: Linear) -> nn.Module:
    theirs = nn.Linear(ours.in_features, ours.out_features, bias=False)
    theirs.weight = ours.weight
    return theirs


class OneHot(nn.Module):
    """The embedding as a product of one-hot vectors with its table."""

    def __init__(self, embedding: nn.Module):
        super().__init__()
        self.weight = embedding.table.weight
        self.ids = embedding.ids

    def forward(self) -> Tensor:
        return F.one_hot(self.ids, VOCAB_SIZE).to(self.weight.dtype) @ self.weight


class Lookup(nn.Module):
    """An embedding of the same ids each time: ids have no gradient, so they are no input here."""

    def __init__(self):
        super().__init__()
        self.table = Embedding(VOCAB_SIZE, D_MODEL)
        self.register_buffer("ids", ids())

    def forward(self) -> Tensor:
        return self.table(self.ids)


class Turned(nn.Module):
    """A layer with queries and keys turned by position, which are the same every time."""

    def __init__(self, layer: Attention):
        super().__init__()
        self.layer, self.rope = layer, RoPE(layer.head_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, rotation=self.rope.rotation(torch.arange(T, device=x.device), x.dtype))


def as_complex(x: Tensor) -> Tensor:
    """Rotation as a product of complex numbers, in fp32, from the half-split layout and back."""
    positions = torch.arange(x.shape[-2], device=x.device)
    cos, sin = RoPE(x.shape[-1]).rotation(positions)
    a, b = x.float().chunk(2, dim=-1)
    turned = torch.complex(a, b) * torch.complex(cos, sin)
    return torch.cat((turned.real, turned.imag), dim=-1).to(x.dtype)


def turned(x: Tensor) -> Tensor:
    return rotate(x, *RoPE(x.shape[-1]).rotation(torch.arange(x.shape[-2], device=x.device), x.dtype))


def ids(last: int = VOCAB_SIZE) -> Tensor:
    return torch.randint(last, (B, T), generator=torch.Generator().manual_seed(1))


def attending(kernels: Kernels, how: Callable[[Tensor], dict]) -> Callable[..., Tensor]:
    return lambda q, k, v: attention(q, k, v, kernels=kernels, **how(q))


QKV = ((B, N_HEADS, T, HEAD_DIM),) * 3
GROUPED = (QKV[0], *(((B, N_KV_HEADS, T, HEAD_DIM),) * 2))
LOGITS = ((B, T, VOCAB_SIZE),)
HEAD = ((B, T, D_MODEL), (VOCAB_SIZE, D_MODEL))


def packed(q: Tensor) -> Tensor:
    """Four documents of equal length in a row."""
    return document_mask((torch.arange(T, device=q.device) // (T // 4)).expand(B, T))


def on(x: Tensor) -> Tensor:
    return ids().to(x.device)


CASES: dict[str, Case] = {
    "Linear": Case(lambda k: Linear(D_MODEL, D_FF), peer=torch_linear, peer_name="torch's"),
    "Embedding": Case(lambda k: Lookup(), (), peer=OneHot, peer_name="one-hot product"),
    "LayerNorm": Case(lambda k: LayerNorm(D_MODEL, kernels=k)),
    "RMSNorm": Case(lambda k: RMSNorm(D_MODEL, kernels=k)),
    "softmax": Case(
        lambda k: softmax,
        ((B, N_HEADS, T, T),),
        peer=lambda _: lambda x: torch.softmax(x, -1, dtype=torch.float32).to(x.dtype),
        peer_name="torch's",
        note="its only form, which fused attention has inside",
    ),
    **{
        f"activation {name}": Case(lambda k, name=name: lambda x: ACTIVATIONS[name](x, k), ((B, T, D_FF),))
        for name in ACTIVATIONS
    },
    "dropout": Case(lambda k: lambda x: dropout(x, 0.1, k), is_random=True),
    "MLP": Case(lambda k: MLP(D_MODEL, 4 * D_MODEL, kernels=k)),
    "SwiGLU": Case(lambda k: SwiGLU(D_MODEL, D_FF, kernels=k)),
    "MixtureOfExperts, 2 of 8": Case(lambda k: MixtureOfExperts(D_MODEL, D_FF // 2, 8, 2, k)),
    "RoPE": Case(lambda k: turned, QKV[:1], peer=lambda _: as_complex, peer_name="complex numbers"),
    "attention, causal": Case(lambda k: attending(k, lambda q: {"is_causal": True}), QKV),
    "attention, causal, grouped": Case(lambda k: attending(k, lambda q: {"is_causal": True}), GROUPED),
    "attention, window of 64": Case(lambda k: attending(k, lambda q: {"is_causal": True, "window": 64}), GROUPED),
    "attention, packed documents": Case(lambda k: attending(k, lambda q: {"mask": packed(q)}), GROUPED),
    "Attention with RoPE": Case(lambda k: Turned(Attention(D_MODEL, N_HEADS, N_KV_HEADS, kernels=k))),
    "Attention with RoPE and QK-norm": Case(
        lambda k: Turned(Attention(D_MODEL, N_HEADS, N_KV_HEADS, qk_norm_eps=1e-6, kernels=k))
    ),
    "cross-entropy": Case(lambda k: lambda x: cross_entropy(x, on(x), kernels=k)[0], LOGITS),
    "cross-entropy, z-loss and softcap": Case(
        lambda k: lambda x: cross_entropy(x, on(x), kernels=k, z_loss=1e-4, softcap=30.0)[0], LOGITS
    ),
    "linear cross-entropy in chunks": Case(
        lambda k: lambda x, w: linear_cross_entropy(x, w, on(x), kernels=k)[0], HEAD
    ),
    "linear cross-entropy in chunks, z-loss and softcap": Case(
        lambda k: lambda x, w: linear_cross_entropy(x, w, on(x), kernels=k, z_loss=1e-4, softcap=30.0)[0], HEAD
    ),
}


def sides(case: Case, dtype: torch.dtype, device: str) -> tuple[Side, Side]:
    """The fused form and its peer, from the same numbers."""
    torch.manual_seed(0)
    inputs = [torch.randn(*shape).to(device, dtype) for shape in case.shapes]
    # A weight matrix has smaller numbers than a hidden state.
    inputs = [x / math.sqrt(D_MODEL) if x.ndim == 2 else x for x in inputs]
    ours = case.make("fused")
    peer = case.make("textbook")
    if isinstance(ours, nn.Module):
        ours = ours.to(device, dtype)
        if case.peer is None and isinstance(peer, nn.Module):
            peer = peer.to(device, dtype)
            peer.load_state_dict(ours.state_dict())
    if case.peer is not None:
        peer = case.peer(ours)
    return (
        Side(ours, [x.clone().requires_grad_() for x in inputs]),
        Side(peer, [x.clone().requires_grad_() for x in inputs]),
    )


def difference(case: Case, ours: list[Tensor], theirs: list[Tensor], dtype: torch.dtype) -> str | None:
    """In words, where output or gradients of the two sides are too far apart; None if they agree."""
    if case.is_random:  # Both keep the same share, of other numbers.
        ours, theirs = ([(x != 0).float().mean() for x in side] for side in (ours, theirs))
    for index, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        apart = ((mine.double() - other.double()).norm() / other.double().norm().clamp(min=1e-12)).item()
        # A gradient has gone through twice as many roundings as an output. NaN is no agreement.
        allowed = 1e-2 if case.is_random else TOLERANCE[dtype] * (2 if index else 1)
        if not apart <= allowed:
            return f"{'gradient ' + str(index) if index else 'output'} is {apart:.1e} apart"
    return None


def layer_rows(only: list[str], repetitions: int, device: str = "cpu") -> Iterator[Row]:
    for name, case in CASES.items():
        if only and not any(word in name for word in only):
            continue
        for dtype, dtype_name in NAMES.items():
            row = Row(f"{name}, {dtype_name}", "ms", peer_name=case.peer_name, note=case.note)
            ours, theirs = sides(case, dtype, device)
            row.failed = difference(case, ours.run(), theirs.run(), dtype)
            if not row.failed:
                row.times = timed(ours, theirs, case.peer_name, repetitions, device)
                row.ours, row.peer = min(row.times["groundup"]), min(row.times[case.peer_name])
            yield row


def timed(ours: Side, theirs: Side, peer_name: str, repetitions: int, device: str) -> dict[str, list[float]]:
    """Milliseconds of one forward and backward, by side and repetition."""

    def often(side: Side, n: int) -> Callable[[], None]:
        def work() -> None:
            for _ in range(n):
                side.run()
            if device != "cpu":
                torch.cuda.synchronize()

        return work

    works, counts = {}, {}
    for name, side in (("groundup", ours), (peer_name, theirs)):
        first = in_turns({name: often(side, 1)}, 2)[name][-1]
        counts[name] = max(1, round(LEAST_SECONDS / first))
        works[name] = often(side, counts[name])
    seconds = in_turns(works, repetitions)
    return {name: [1000 * each / counts[name] for each in seconds[name]] for name in works}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one object a row instead of a table")
    parser.add_argument("--write", action="store_true", help="put the table into BENCHMARK.md")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="layers whose names have one of these")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N", help="of each side, in turns (5)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="on a CPU (1)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args(arguments)
    if options.only and not any(word in name for word in options.only for name in CASES):
        parser.error(f"no layer's name has any of these in it; the layers are: {'; '.join(CASES)}")
    torch.set_num_threads(options.threads)
    print(f"{len(CASES)} layers ...", file=sys.stderr)

    rows = list(layer_rows(options.only, options.repetitions, options.device))
    if options.write:
        where = torch.cuda.get_device_name() if options.device == "cuda" else f"CPU, {options.threads} threads"
        facts = [
            f"Shapes: {B} sequences of {T} ids, d_model {D_MODEL}, {N_HEADS} heads, {N_KV_HEADS} key-value heads where "
            f"grouped, d_ff {D_FF}, vocabulary {VOCAB_SIZE}",
            f"Device: {where}",
        ]
        write_section("layers", section("Layers: fused beside textbook, forward and backward", rows, ["torch"], facts))
    return report(rows, options.json)


if __name__ == "__main__":
    raise SystemExit(main())
