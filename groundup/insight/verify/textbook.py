"""A decoder written out once more, in plain tensor operations and with a switch for each way to get it wrong.

It takes the weights of a model by our names and computes what the equations say, whatever the model's own code does.
So it tells faults of code from faults of weights, and with a switch turned it shows what a fault would compute: the one
that gives the model's very numbers is the fault it has. Nothing here is borrowed from `layers`, which may be what is
wrong.

It knows the pieces of GPT-2, Llama, Qwen and Mixtral by the names of their weights. What else a model has, it does not
know, and then says so (`knows`).
"""

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from groundup.insight.verify.recording import Recording, Watch, next_token_loss

KNOWN = re.compile(
    r"(tok_embed|pos_embed|lm_head|final_norm"
    r"|blocks\.\d+\.(attn_norm|mlp_norm|attn\.(q|k|v|o)_proj|attn\.(q|k)_norm"
    r"|mlp\.(gate|up|down)_proj|mlp\.router|mlp\.experts\.\d+\.(gate|up|down)_proj))\.(weight|bias)"
)


ARCHITECTURES = (
    "GPT2LMHeadModel", "LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM", "MixtralForCausalLM",
)  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """What is computed otherwise than the equations say. The defaults are the equations."""

    scale: str = "sqrt(head_dim)"  # what scores are divided by: "1", "head_dim", "sqrt(d_model)"
    mask_shift: int = 0  # 1: each position sees one ahead; -1: none sees itself
    is_causal: bool = True
    window_shift: int | None = 0  # None: no window
    rotation: str = "half-split"  # "interleaved", "backwards", "none", "keys only"
    first_position: int = 0
    has_attention_factor: bool = True
    kv_order: str = "grouped"  # "tiled": heads a, b become a, b, a, b and not a, a, b, b
    qk_norm: str = "before"  # "after" the rotation, "none"
    activation: str = ""  # "" is the family's
    is_gate_up_swapped: bool = False
    norms: str = "before"  # "after" the sum, "of the output" before it is added
    norm_kind: str = ""  # "LayerNorm", "RMSNorm"; "" is the model's
    norm_offset: float = 0.0
    without: frozenset[str] = (
        frozenset()
    )  # of the pieces "attention residual", "mlp residual", "final norm", "bias" ...
    is_parallel: bool = False  # both halves of a block read the same input
    is_embedding_scaled: bool = False
    is_head_tied: bool | None = None  # None is the model's
    routing: str = "chosen"  # "all": shares by softmax over all experts, not summing to one


class Textbook:
    """`shape` is a Config of ours; `fields` replace values in it: {"norm_eps": 1e-6, "rope.theta": 1e6}."""

    def __init__(
        self, shape: Any, weights: Mapping[str, Tensor], layer_norms: frozenset[str], fields: Mapping[str, Any]
    ):
        self.weights = weights
        self.layer_norms = layer_norms
        self.fields = fields
        self.shape = shape
        self.n_layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))

    def of(self, name: str, default: Any = None) -> Any:
        """A value of the shape: "n_heads", "rope.theta"."""
        if name in self.fields:
            return self.fields[name]
        value = self.shape
        for part in name.split("."):
            value = getattr(value, part, None)
        return default if value is None else value

    def run(self, ids: Tensor, variant: Variant, *, backward: bool = False, watch: Watch | None = None) -> Recording:
        """As recording.record does for a model: (B, T) ids in, every tensor on the way out."""
        leaves = {name: tensor.detach().float().requires_grad_(backward) for name, tensor in self.weights.items()}
        with torch.set_grad_enabled(backward):
            forward = _Forward(self, leaves, variant, ids, watch)
            logits = forward.logits()
            gradients = {}
            if backward:
                loss = next_token_loss(logits, ids)
                found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
                pairs = zip(leaves.items(), found, strict=True)
                gradients = {name: torch.zeros_like(leaf) if g is None else g for (name, leaf), g in pairs}
        return Recording("the equations, written out", ids, forward.tensors, gradients)


def of_model(model: nn.Module, fields: Mapping[str, Any]) -> Textbook:
    """The equations with the weights and the configuration of a model."""
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    return Textbook(model.config, weights, layer_norms(model), fields)


def is_equations_of(model: nn.Module) -> bool:
    """Whether what is written here is all that a model of this family is, so that it may judge one."""
    family = sys.modules[type(model).__module__]
    return getattr(family, "HF_ARCHITECTURE", "") in ARCHITECTURES and knows(model)


def knows(model: nn.Module) -> bool:
    """Whether every weight of a model has a name whose meaning is known here, and its Config says how many heads."""
    names = [name for name, _ in model.named_parameters()]
    config = getattr(model, "config", None)
    has_shape = all(isinstance(getattr(config, name, None), int) for name in ("n_heads", "n_kv_heads", "head_dim"))
    is_bent = bool(getattr(model, "softcap", 0.0))
    return has_shape and not is_bent and "tok_embed.weight" in names and all(map(KNOWN.fullmatch, names))


def layer_norms(model: nn.Module) -> frozenset[str]:
    """The names of the norms that also take out the mean."""
    return frozenset(name for name, module in model.named_modules() if "LayerNorm" in type(module).__name__)


class _Forward:
    """One forward pass; `tensors` are the activations by the names that recording.py gives them."""

    def __init__(
        self, book: Textbook, weights: Mapping[str, Tensor], variant: Variant, ids: Tensor, watch: Watch | None
    ):
        self.book, self.weights, self.variant, self.ids = book, weights, variant, ids
        self.tensors: dict[str, Tensor] = {}
        self.watch = watch
        self.head_dim = book.of("head_dim")
        self.positions = torch.arange(ids.shape[1]) + variant.first_position

    def keep(self, name: str, tensor: Tensor) -> Tensor:
        self.tensors[name] = tensor.detach()
        if self.watch is not None:
            self.watch(name, self.tensors[name])
        return tensor

    # --- the whole ---

    def logits(self) -> Tensor:
        v, w = self.variant, self.weights
        x = self.keep("tok_embed", w["tok_embed.weight"][self.ids])
        if v.is_embedding_scaled:
            x = x * math.sqrt(x.shape[-1])
        if "pos_embed.weight" in w:
            x = x + self.keep("pos_embed", w["pos_embed.weight"][self.positions % len(w["pos_embed.weight"])])
        self.keep("blocks.0 (input)", x)
        for layer in range(self.book.n_layers):
            x = self.keep(f"blocks.{layer}", self.block(f"blocks.{layer}", x))
        if "final norm" not in v.without:
            x = self.norm("final_norm", x)
        is_tied = "lm_head.weight" not in w if v.is_head_tied is None else v.is_head_tied
        return self.keep("logits", x @ (w["tok_embed.weight"] if is_tied else w["lm_head.weight"]).T)

    def block(self, name: str, x: Tensor) -> Tensor:
        v = self.variant
        first, second = f"{name}.attn_norm", f"{name}.mlp_norm"
        x_of_block = x
        y = self.attention(f"{name}.attn", self.norm(first, x) if v.norms == "before" else x)
        y = self.norm(first, y) if v.norms == "of the output" else y
        x = y if "attention residual" in v.without else x + y
        x = self.norm(first, x) if v.norms == "after" else x

        entering = x_of_block if v.is_parallel else x
        y = self.feed_forward(f"{name}.mlp", self.norm(second, entering) if v.norms == "before" else entering)
        y = self.norm(second, y) if v.norms == "of the output" else y
        x = y if "mlp residual" in v.without else x + y
        return self.norm(second, x) if v.norms == "after" else x

    # --- attention ---

    def attention(self, name: str, x: Tensor) -> Tensor:
        v = self.variant
        q, k, value = (self.heads(self.linear(f"{name}.{each}_proj", x)) for each in "qkv")
        if v.qk_norm == "before":
            q, k = self.norm(f"{name}.q_norm", q), self.norm(f"{name}.k_norm", k)
        k = self.turned(k)
        q = q if v.rotation == "keys only" else self.turned(q)
        if v.qk_norm == "after":
            q, k = self.norm(f"{name}.q_norm", q), self.norm(f"{name}.k_norm", k)
        n = q.shape[1] // k.shape[1]
        k, value = (self.given_out(each, n) for each in (k, value))
        for letter, tensor in (("q", q), ("k", k), ("v", value)):
            self.keep(f"{name}.{letter}", tensor)

        divisor = {"1": 1.0, "head_dim": self.head_dim, "sqrt(d_model)": math.sqrt(x.shape[-1])}
        scores = q @ k.mT / divisor.get(v.scale, math.sqrt(self.head_dim))
        visible = self.mask(x.shape[1])
        scores = scores.masked_fill(~visible, -math.inf)
        # A position that sees nothing gets nothing.
        shares = torch.exp(scores - scores.logsumexp(-1, keepdim=True)).where(visible.any(-1, keepdim=True), 0)
        mixed = self.keep(f"{name}.o_proj (input)", (shares @ value).transpose(1, 2).flatten(2))
        return self.keep(name, self.linear(f"{name}.o_proj", mixed))

    def heads(self, x: Tensor) -> Tensor:
        """(B, T, n_heads * head_dim) -> (B, n_heads, T, head_dim)."""
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

    def given_out(self, x: Tensor, n: int) -> Tensor:
        return x.repeat(1, n, 1, 1) if self.variant.kv_order == "tiled" else x.repeat_interleave(n, 1)

    def mask(self, T: int) -> Tensor:
        """True where the query of a row sees the key of a column."""
        back = torch.arange(T)[:, None] - torch.arange(T)
        visible = (
            back >= -self.variant.mask_shift if self.variant.is_causal else torch.ones_like(back, dtype=torch.bool)
        )
        window = self.book.of("window")
        if window and self.variant.window_shift is not None:
            visible = visible & (back < window + self.variant.window_shift)
        return visible

    def turned(self, x: Tensor) -> Tensor:
        v = self.variant
        if self.book.of("rope.theta") is None or v.rotation == "none":
            return x
        frequencies, factor = rope_frequencies(self.book, self.head_dim)
        angles = self.positions[:, None].float() * frequencies * (-1 if v.rotation == "backwards" else 1)
        factor = factor if v.has_attention_factor else 1.0
        cos, sin = angles.cos() * factor, angles.sin() * factor
        half = self.head_dim // 2
        is_interleaved = v.rotation == "interleaved"
        a, b = (x[..., 0::2], x[..., 1::2]) if is_interleaved else (x[..., :half], x[..., half:])
        a, b = a * cos - b * sin, a * sin + b * cos
        return torch.stack((a, b), -1).flatten(-2) if is_interleaved else torch.cat((a, b), -1)

    # --- feed-forward ---

    def feed_forward(self, name: str, x: Tensor) -> Tensor:
        if f"{name}.router.weight" not in self.weights:
            return self.keep(name, self.mlp(name, x))
        scores = self.linear(f"{name}.router", x)
        best, chosen = scores.topk(self.book.of("n_active"), -1)
        shares = torch.exp(best - (scores if self.variant.routing == "all" else best).logsumexp(-1, keepdim=True))
        y = torch.zeros_like(x)
        for expert in range(scores.shape[-1]):
            share = (shares * (chosen == expert)).sum(-1, keepdim=True)
            y = y + share * self.mlp(f"{name}.experts.{expert}", x)
        return self.keep(name, y)

    def mlp(self, name: str, x: Tensor) -> Tensor:
        up = self.linear(f"{name}.up_proj", x)
        if f"{name}.gate_proj.weight" in self.weights:
            gate = self.linear(f"{name}.gate_proj", x)
            gate, up = (up, gate) if self.variant.is_gate_up_swapped else (gate, up)
            inside = ACTIVATIONS[self.variant.activation or "silu"](gate) * up
        else:
            inside = ACTIVATIONS[self.variant.activation or self.book.of("activation", "gelu_tanh")](up)
        return self.linear(f"{name}.down_proj", self.keep(f"{name}.down_proj (input)", inside))

    # --- leaves ---

    def linear(self, name: str, x: Tensor) -> Tensor:
        y = x @ self.weights[f"{name}.weight"].T
        bias = self.weights.get(f"{name}.bias")
        is_left_out = "bias" in self.variant.without and ".attn." in name
        return self.keep(name, y if bias is None or is_left_out else y + bias)

    def norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.weights.get(f"{name}.weight"), self.weights.get(f"{name}.bias")
        if weight is None:
            return x
        self.keep(f"{name} (input)", x)
        kind = self.variant.norm_kind or ("LayerNorm" if name in self.book.layer_norms else "RMSNorm")
        x = x - x.mean(-1, keepdim=True) if kind == "LayerNorm" else x
        y = x / torch.sqrt(x.square().mean(-1, keepdim=True) + self.book.of("norm_eps", 1e-5))
        y = y * (weight + self.variant.norm_offset)
        return self.keep(name, y if bias is None else y + bias)


def rope_frequencies(book: Textbook, head_dim: int) -> tuple[Tensor, float]:
    """Radians per position of each pair, and by how much queries and keys grow. RoPE, and its three scalings."""
    theta, factor, trained = book.of("rope.theta"), book.of("rope.factor", 1.0), book.of("rope.trained_context", 0)
    pair = torch.arange(0, head_dim, 2, dtype=torch.float32)
    plain = 1.0 / theta ** (pair / head_dim)
    slow = plain / factor
    scaling = book.of("rope.scaling", "none")
    if scaling == "linear":
        return slow, 1.0
    if scaling == "llama3":
        low, high = book.of("rope.low_freq_factor", 1.0), book.of("rope.high_freq_factor", 4.0)
        wavelength = 2 * math.pi / plain
        share = (trained / wavelength - low) / (high - low)
        mixed = (1 - share) * slow + share * plain
        mixed = torch.where(wavelength > trained / low, slow, mixed)
        return torch.where(wavelength < trained / high, plain, mixed), 1.0
    if scaling == "yarn":
        ends = [
            head_dim * math.log(trained / (turns * 2 * math.pi)) / (2 * math.log(theta))
            for turns in (book.of("rope.beta_fast", 32.0), book.of("rope.beta_slow", 1.0))
        ]
        if book.of("rope.truncate", True):
            ends = [math.floor(ends[0]), math.ceil(ends[1])]
        start, end = max(ends[0], 0), min(ends[1], head_dim - 1)
        ramp = ((pair / 2 - start) / ((end - start) or 0.001)).clamp(0, 1)
        weights = [book.of("rope.mscale", 0.0), book.of("rope.mscale_all_dim", 0.0)]
        one, other = weights if all(weights) else (1.0, 0.0)
        by_rule = (0.1 * one * math.log(factor) + 1) / (0.1 * other * math.log(factor) + 1)
        return slow * ramp + plain * (1 - ramp), book.of("rope.attention_factor", 0.0) or by_rule
    return plain, 1.0


def _gelu_tanh(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


ACTIVATIONS = {
    "silu": lambda x: x * torch.sigmoid(x),
    "gelu_tanh": _gelu_tanh,
    "gelu": lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
    "gelu_quick": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": lambda x: x.clamp(min=0),
    "relu_squared": lambda x: x.clamp(min=0).square(),
}
