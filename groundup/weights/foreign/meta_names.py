"""A Llama under the names that Meta gave its tensors, which llama2.c and happy-llm kept:

    tok_embeddings, layers.0.attention.{wq,wk,wv,wo}, layers.0.feed_forward.{w1,w2,w3},
    layers.0.{attention_norm,ffn_norm}, norm, output

w1 is the gate, w3 the way up, w2 the way down. RoPE turns neighbours there (interleaved), so the rows of wq and wk are
put into another order; see layers/rope.py.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from groundup.errors import ArtefactError
from groundup.weights.foreign import placing
from groundup.weights.foreign.placing import Place
from groundup.weights.lazy import LazyTensor
from groundup.weights.stored_tensor import quoted

EMBEDDING, HEAD = "tok_embeddings.weight", "output.weight"
COMPUTED = re.compile(r"freqs_(cos|sin|cis)|layers\.\d+\.attention\.mask")
"""Tables that some versions saved beside the weights, and that hold no learned number."""

LAYER = {
    "attention_norm": "attn_norm",
    "attention.wq": "attn.q_proj",
    "attention.wk": "attn.k_proj",
    "attention.wv": "attn.v_proj",
    "attention.wo": "attn.o_proj",
    "ffn_norm": "mlp_norm",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
}


def learned(theirs: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """Without the computed tables, and without the head if it is the embedding again."""
    kept = {name: tensor for name, tensor in theirs.items() if not COMPUTED.fullmatch(name)}
    if placing.is_tied(kept, EMBEDDING, HEAD):
        kept.pop(HEAD, None)
    return kept


def sizes(theirs: Mapping[str, LazyTensor], file: Path) -> dict[str, int]:
    """vocab_size, d_model, n_layers, d_ff, and the widths of all queries and of all keys, as the shapes show them."""
    shapes = [
        _matrix(theirs, name, file)
        for name in (EMBEDDING, "layers.0.feed_forward.w1.weight", "layers.0.attention.wq.weight")
    ]
    (vocab_size, d_model), (d_ff, _), (q_width, _) = shapes
    kv_width, _ = _matrix(theirs, "layers.0.attention.wk.weight", file)
    numbers = [int(found[1]) for name in theirs if (found := re.match(r"layers\.(\d{1,6})\.", name))]
    return {
        "vocab_size": vocab_size, "d_model": d_model, "n_layers": 1 + max(numbers), "d_ff": d_ff,
        "q_width": q_width, "kv_width": kv_width,
    }  # fmt: skip


def _matrix(theirs: Mapping[str, LazyTensor], name: str, file: Path) -> tuple[int, int]:
    if name not in theirs:
        raise ArtefactError(f"{name} is missing", where=str(file))
    if len(shape := theirs[name].shape) != 2:
        raise ArtefactError(f"{name} has shape {quoted(shape)}, and should be a matrix", where=str(file))
    return shape[0], shape[1]


def place(config: Any, theirs: Mapping[str, LazyTensor], file: Path) -> dict[str, LazyTensor]:
    """The tensors of a llama of ours."""
    places = {EMBEDDING: Place(("tok_embed.weight",)), "norm.weight": Place(("final_norm.weight",))}
    if not config.tie_embeddings:
        places[HEAD] = Place(("lm_head.weight",))
    n_interleaved = {"attention.wq": config.n_heads, "attention.wk": config.n_kv_heads}
    for layer in range(config.n_layers):
        for name, ours in LAYER.items():
            target = Place((f"blocks.{layer}.{ours}.weight",), n_interleaved=n_interleaved.get(name, 0))
            places[f"layers.{layer}.{name}.weight"] = target
    return placing.place("llama", config, theirs, places, file)
