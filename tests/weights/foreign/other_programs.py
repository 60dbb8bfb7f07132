"""What other programs compute, written anew from their descriptions, in float64: the judges of the readers.

Each model is a state dictionary with that program's names, filled at random, and a function from ids to logits.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor


def filled(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Random numbers; those of norms lie around 1, as after training."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        is_scale = len(shape) == 1 and "bias" not in name and "shift" not in name
        state[name] = torch.randn(shape, generator=generator) * 0.3 + is_scale
    return state


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of (n_heads, T, head_dim), a query at a time."""
    rows = []
    for t in range(q.shape[1]):
        scores = torch.einsum("hd,hsd->hs", q[:, t], k[:, : t + 1]) / math.sqrt(q.shape[-1])
        rows.append(torch.einsum("hs,hsd->hd", scores.softmax(-1), v[:, : t + 1]))
    return torch.stack(rows, dim=1)


def in_heads(x: Tensor, n_heads: int) -> Tensor:
    return x.reshape(len(x), n_heads, -1).transpose(0, 1)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight + bias


def gelu(x: Tensor, kind: str) -> Tensor:
    if kind == "erf":
        return x * (1 + torch.erf(x / math.sqrt(2))) / 2
    return x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


# --- llama2.c, happy-llm ---


def meta_llama(vocab_size=20, d=16, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=24, tied=True) -> dict[str, Tensor]:
    kv_width = d // n_heads * n_kv_heads
    shapes: dict[str, tuple[int, ...]] = {"tok_embeddings.weight": (vocab_size, d), "norm.weight": (d,)}
    for layer in range(n_layers):
        for name, shape in {
            "attention.wq": (d, d), "attention.wk": (kv_width, d), "attention.wv": (kv_width, d),
            "attention.wo": (d, d), "feed_forward.w1": (d_ff, d), "feed_forward.w2": (d, d_ff),
            "feed_forward.w3": (d_ff, d), "attention_norm": (d,), "ffn_norm": (d,),
        }.items():  # fmt: skip
            shapes[f"layers.{layer}.{name}.weight"] = shape
    state = filled(shapes | {"output.weight": (vocab_size, d)})
    if tied:
        state["output.weight"] = state["tok_embeddings.weight"]
    return state


def meta_llama_logits(state: Mapping[str, Tensor], ids: list[int], n_heads: int) -> Tensor:
    w = {name: tensor.double() for name, tensor in state.items()}
    x = w["tok_embeddings.weight"][ids]
    head_dim = x.shape[-1] // n_heads

    # A pair of neighbours is a complex number, and the position turns it.
    speed = 10000.0 ** (-torch.arange(0, head_dim, 2).double() / head_dim)
    turn = torch.polar(torch.ones(1).double(), torch.arange(len(ids)).double()[:, None] * speed)

    def norm(x, name):
        return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * w[f"{name}.weight"]

    def turned(x):
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2).contiguous())
        return torch.view_as_real(pairs * turn).flatten(-2)

    n_layers = 1 + max(int(name.split(".")[1]) for name in w if name.startswith("layers."))
    for at in (f"layers.{layer}." for layer in range(n_layers)):
        h = norm(x, f"{at}attention_norm")
        q, k, v = (h @ w[f"{at}attention.{name}.weight"].T for name in ("wq", "wk", "wv"))
        n_kv_heads = k.shape[-1] // head_dim
        k, v = (in_heads(each, n_kv_heads).repeat_interleave(n_heads // n_kv_heads, dim=0) for each in (k, v))
        mixed = attend(turned(in_heads(q, n_heads)), turned(k), v)
        x = x + mixed.transpose(0, 1).flatten(1) @ w[f"{at}attention.wo.weight"].T
        h = norm(x, f"{at}ffn_norm")
        gate, up = h @ w[f"{at}feed_forward.w1.weight"].T, h @ w[f"{at}feed_forward.w3.weight"].T
        x = x + (gate * gate.sigmoid() * up) @ w[f"{at}feed_forward.w2.weight"].T
    return norm(x, "norm") @ w["output.weight"].T


# --- nanoGPT ---


def nanogpt(vocab_size=20, context_length=10, d=12, n_layers=2, bias=True) -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (vocab_size, d),
        "transformer.wpe.weight": (context_length, d),
    }
    for layer in range(n_layers):
        for name, shape in {
            "ln_1": (d,), "attn.c_attn": (3 * d, d), "attn.c_proj": (d, d),
            "ln_2": (d,), "mlp.c_fc": (4 * d, d), "mlp.c_proj": (d, 4 * d),
        }.items():  # fmt: skip
            shapes[f"transformer.h.{layer}.{name}.weight"] = shape
            if bias:
                shapes[f"transformer.h.{layer}.{name}.bias"] = shape[:1]
    shapes |= {"transformer.ln_f.weight": (d,)} | ({"transformer.ln_f.bias": (d,)} if bias else {})
    state = filled(shapes)
    return state | {"lm_head.weight": state["transformer.wte.weight"]}


def nanogpt_logits(state: Mapping[str, Tensor], ids: list[int], n_heads: int, gelu_kind: str) -> Tensor:
    w = {name: tensor.double() for name, tensor in state.items()}

    def norm(x, name):
        return layer_norm(x, w[f"{name}.weight"], w.get(f"{name}.bias", 0.0))

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)

    x = w["transformer.wte.weight"][ids] + w["transformer.wpe.weight"][: len(ids)]
    n_layers = sum(name.endswith("mlp.c_fc.weight") for name in w)
    for at in (f"transformer.h.{layer}." for layer in range(n_layers)):
        q, k, v = linear(norm(x, f"{at}ln_1"), f"{at}attn.c_attn").chunk(3, dim=-1)
        mixed = attend(*(in_heads(each, n_heads) for each in (q, k, v)))
        x = x + linear(mixed.transpose(0, 1).flatten(1), f"{at}attn.c_proj")
        wide = gelu(linear(norm(x, f"{at}ln_2"), f"{at}mlp.c_fc"), gelu_kind)
        x = x + linear(wide, f"{at}mlp.c_proj")
    return norm(x, "transformer.ln_f") @ w["lm_head.weight"].T


# --- LLMs-from-scratch ---


def book_gpt(vocab_size=20, context_length=10, d=12, n_layers=2, qkv_bias=False) -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {"tok_emb.weight": (vocab_size, d), "pos_emb.weight": (context_length, d)}
    for layer in range(n_layers):
        at = f"trf_blocks.{layer}."
        for name, shape in {
            "att.W_query": (d, d), "att.W_key": (d, d), "att.W_value": (d, d), "att.out_proj": (d, d),
            "ff.layers.0": (4 * d, d), "ff.layers.2": (d, 4 * d),
        }.items():  # fmt: skip
            shapes[f"{at}{name}.weight"] = shape
            if qkv_bias or "W_" not in name:
                shapes[f"{at}{name}.bias"] = shape[:1]
        shapes |= {f"{at}{norm}.{kind}": (d,) for norm in ("norm1", "norm2") for kind in ("scale", "shift")}
    shapes |= {"final_norm.scale": (d,), "final_norm.shift": (d,), "out_head.weight": (vocab_size, d)}
    state = filled(shapes)
    mask = torch.ones(context_length, context_length).triu(1)
    return state | {f"trf_blocks.{layer}.att.mask": mask for layer in range(n_layers)}


def book_gpt_logits(state: Mapping[str, Tensor], ids: list[int], n_heads: int) -> Tensor:
    w = {name: tensor.double() for name, tensor in state.items()}

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)

    x = w["tok_emb.weight"][ids] + w["pos_emb.weight"][: len(ids)]
    n_layers = sum(name.endswith(".att.mask") for name in w)
    for at in (f"trf_blocks.{layer}." for layer in range(n_layers)):
        h = layer_norm(x, w[f"{at}norm1.scale"], w[f"{at}norm1.shift"])
        q, k, v = (in_heads(linear(h, f"{at}att.W_{name}"), n_heads) for name in ("query", "key", "value"))
        x = x + linear(attend(q, k, v).transpose(0, 1).flatten(1), f"{at}att.out_proj")
        h = layer_norm(x, w[f"{at}norm2.scale"], w[f"{at}norm2.shift"])
        x = x + linear(gelu(linear(h, f"{at}ff.layers.0"), "tanh"), f"{at}ff.layers.2")
    return layer_norm(x, w["final_norm.scale"], w["final_norm.shift"]) @ w["out_head.weight"].T
