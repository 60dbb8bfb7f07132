"""What llama.cpp calls the tensors of a model, and how it keeps them.

Names are its own for all architectures, "blk.0.attn_q.weight". Shapes are ours, with three exceptions:

- "llama": the rows of queries and keys are in RoPE's interleaved layout (see layers/rope.py); qwen2, qwen3 are not.
- "gpt2": queries, keys and values stand in one tensor, one below the other.
- experts: those of a block stand in one tensor, (n_experts, out, in).

Source: `gguf.constants` (TENSOR_NAMES), llama.cpp's `conversion/llama.py` and `conversion/gpt2.py`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from groundup.layers.rope import to_half_split, to_interleaved
from groundup.weights import lazy
from groundup.weights.lazy import LazyTensor
from groundup.weights.stored_tensor import StoredTensor

MODULES = {
    "token_embd": "tok_embed",
    "position_embd": "pos_embed",
    "blk.{}.attn_norm": "blocks.{}.attn_norm",
    "blk.{}.attn_q": "blocks.{}.attn.q_proj",
    "blk.{}.attn_k": "blocks.{}.attn.k_proj",
    "blk.{}.attn_v": "blocks.{}.attn.v_proj",
    "blk.{}.attn_q_norm": "blocks.{}.attn.q_norm",
    "blk.{}.attn_k_norm": "blocks.{}.attn.k_norm",
    "blk.{}.attn_output": "blocks.{}.attn.o_proj",
    "blk.{}.ffn_norm": "blocks.{}.mlp_norm",
    "blk.{}.ffn_gate": "blocks.{}.mlp.gate_proj",
    "blk.{}.ffn_up": "blocks.{}.mlp.up_proj",
    "blk.{}.ffn_down": "blocks.{}.mlp.down_proj",
    "blk.{}.ffn_gate_inp": "blocks.{}.mlp.router",
    "blk.{}.ffn_gate_exps": "blocks.{}.mlp.experts.*.gate_proj",
    "blk.{}.ffn_up_exps": "blocks.{}.mlp.experts.*.up_proj",
    "blk.{}.ffn_down_exps": "blocks.{}.mlp.experts.*.down_proj",
    "output_norm": "final_norm",
    "output": "lm_head",
}
"""Theirs -> ours, "{}" is the number of the block, "*" stands for every expert of it."""

FUSED = {
    "blk.{}.attn_qkv": "blocks.{}.attn.q_proj blocks.{}.attn.k_proj blocks.{}.attn.v_proj",
}
"""What stands in their place for "gpt2"."""

ALWAYS_F32 = ("_norm", "position_embd", "ffn_gate_inp")
"""Ends of modules that llama.cpp wants in full precision, as every tensor with one dimension."""


@dataclass(frozen=True)
class Row:
    """One of their tensors, and the ones of ours that stand in it: one below the other, or one behind the other.

    n_heads: that many heads whose rows are interleaved, 0 for rows as ours. is_stack: there is a dimension for `ours`.
    """

    theirs: str
    ours: tuple[str, ...]
    n_heads: int = 0
    is_stack: bool = False

    def shape(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
        """The shape of theirs, from those of ours."""
        first = shapes[self.ours[0]]
        if self.is_stack:
            return (len(self.ours), *first)
        return (sum(shapes[name][0] for name in self.ours), *first[1:])

    @property
    def is_always_f32(self) -> bool:
        return self.theirs.rpartition(".")[0].endswith(ALWAYS_F32)

    def parts(self, tensors: Mapping[str, LazyTensor]) -> list[LazyTensor]:
        """Ours as they stand in theirs, in order."""
        found = [tensors[name] for name in self.ours]
        if not self.n_heads:
            return found
        return [part.mapped(lambda tensor: to_interleaved(tensor, self.n_heads)) for part in found]

    def cut(self, stored: StoredTensor) -> dict[str, LazyTensor]:
        """Ours out of theirs, each reading its own bytes only."""
        if self.is_stack:
            return {
                name: lazy.stored(stored.rows(i, i + 1)).mapped(lambda tensor: tensor[0], stored.shape[1:])
                for i, name in enumerate(self.ours)
            }
        size = stored.shape[0] // len(self.ours)  # of GPT-2's queries, keys and values, which are equally many
        parts = [lazy.stored(stored.rows(i * size, (i + 1) * size)) for i in range(len(self.ours))]
        if self.n_heads:
            parts = [part.mapped(lambda tensor: to_half_split(tensor, self.n_heads)) for part in parts]
        return dict(zip(self.ours, parts, strict=True))


def rows(architecture: str, config: Any, ours: Mapping[str, Any]) -> Iterator[Row]:
    """Every tensor of a model, for the names that the model has. `architecture` is llama.cpp's name of the family."""
    modules = MODULES | FUSED if architecture == "gpt2" else MODULES
    fused = set(" ".join(FUSED.values()).split()) if architecture == "gpt2" else set()
    for their_module, our_modules in modules.items():
        if our_modules in fused:
            continue
        for layer in range(config.n_layers if "{}" in their_module else 1):
            names = _names(our_modules, layer, config)
            for kind in ("weight", "bias"):
                theirs, found = f"{their_module.format(layer)}.{kind}", tuple(f"{name}.{kind}" for name in names)
                if found and found[0] in ours:
                    yield Row(theirs, found, _interleaved_heads(architecture, their_module, config), "*" in our_modules)


def _names(our_modules: str, layer: int, config: Any) -> list[str]:
    if "*" in our_modules:
        experts = range(getattr(config, "n_experts", 0))
        return [our_modules.format(layer).replace("*", str(expert)) for expert in experts]
    return [module.format(layer) for module in our_modules.split()]


def _interleaved_heads(architecture: str, their_module: str, config: Any) -> int:
    by_module = {"blk.{}.attn_q": "n_heads", "blk.{}.attn_k": "n_kv_heads"}
    if architecture != "llama" or their_module not in by_module:
        return 0
    return getattr(config, by_module[their_module])
