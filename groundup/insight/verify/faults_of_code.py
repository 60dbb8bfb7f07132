"""Faults of code: a model that reads the right weights and computes something else with them.

Each row is a switch of textbook.py. Turned, it shows what a model with that fault computes; a model whose every tensor
is just that has the fault.
"""

from collections.abc import Iterator
from typing import Any

from groundup.insight.verify.hypotheses import Case, Hypothesis

ATTENTION = "look where the attention of its Block makes scores of queries and keys"
ROTATION = "look where queries and keys are turned: groundup.layers.rope.rotate does it right"
MASK = "groundup.layers.masks.causal_mask makes the right one; for T queries and S keys it is tril(S - T)"
BLOCK = "a pre-norm block is x = x + attn(attn_norm(x)), then x = x + mlp(mlp_norm(x))"

# fault, what the code does, what helps, the switch
ROWS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("missing scale", "scores are not divided by sqrt(head_dim)", ATTENTION, {"scale": "1"}),
    ("wrong scale", "scores are divided by head_dim, not by its square root", ATTENTION, {"scale": "head_dim"}),
    (
        "wrong scale", "scores are divided by sqrt(d_model), the width of all heads, not of one",
        ATTENTION, {"scale": "sqrt(d_model)"},
    ),
    (
        "mask off by one", "each position also sees the one after it, which it is to predict",
        MASK, {"mask_shift": 1},
    ),
    ("mask off by one", "a position sees only those before it, and not itself", MASK, {"mask_shift": -1}),
    ("no causal mask", "every position sees all later ones", MASK, {"is_causal": False}),
    ("sliding window ignored", "every position sees all earlier ones", "pass `window` to Attention",
     {"window_shift": None}),
    ("sliding window off by one", "the window holds one position more", "query q sees key k if q - k < window",
     {"window_shift": 1}),
    ("sliding window off by one", "the window holds one position less", "query q sees key k if q - k < window",
     {"window_shift": -1}),
    (
        "wrong RoPE layout", "neighbouring numbers are turned as a pair (0, 1), (2, 3), and the weights are made for "
        "pairs from the two halves (0, n/2), (1, n/2 + 1)", ROTATION, {"rotation": "interleaved"},
    ),
    ("RoPE backwards", "queries and keys are turned the other way round", ROTATION, {"rotation": "backwards"}),
    ("missing RoPE", "queries and keys are not turned", ROTATION, {"rotation": "none"}),
    ("missing RoPE", "keys are turned and queries are not", ROTATION, {"rotation": "keys only"}),
    (
        "RoPE attention factor", "cos and sin are not multiplied by yarn's attention factor",
        "groundup.layers.rope.attention_factor(config) is it", {"has_attention_factor": False},
    ),
    (
        "positions off by one", "positions are counted from 1", "the first position is 0",
        {"first_position": 1},
    ),
    (
        "kv heads in the wrong order", "key-value heads a, b are given out as a, b, a, b, not as a, a, b, b",
        "repeat_interleave gives them out rightly, repeat and expand do not", {"kv_order": "tiled"},
    ),
    ("missing QK-norm", "queries and keys are not normed", ATTENTION, {"qk_norm": "none"}),
    ("QK-norm after RoPE", "queries and keys are normed after they are turned", ATTENTION, {"qk_norm": "after"}),
    (
        "missing attention bias", "the biases of attention are not added", "Attention(..., bias=True)",
        {"without": frozenset({"bias"})},
    ),
    ("GELU variant", "GELU is computed by erf, not by tanh", "GPT-2's gelu_new is gelu_tanh",
     {"activation": "gelu"}),
    ("GELU variant", "GELU is computed by tanh", "this family's activation is another", {"activation": "gelu_tanh"}),
    ("GELU variant", "GELU is computed as x · sigmoid(1.702 x)", "GPT-2's gelu_new is gelu_tanh",
     {"activation": "gelu_quick"}),
    ("wrong activation", "the activation is ReLU", "Llama's is silu, GPT-2's is gelu_tanh", {"activation": "relu"}),
    ("wrong activation", "the activation is ReLU squared", "Llama's is silu, GPT-2's is gelu_tanh",
     {"activation": "relu_squared"}),
    ("wrong activation", "the activation is SiLU", "GPT-2's is gelu_tanh", {"activation": "silu"}),
    (
        "swapped gate and up", "the activation is applied to up and not to gate",
        "SwiGLU is down(silu(gate(x)) · up(x))", {"is_gate_up_swapped": True},
    ),
    ("norm after instead of before", "each half of a block is normed after its sum", BLOCK, {"norms": "after"}),
    (
        "norm after instead of before", "the output of each half of a block is normed, and not its input",
        BLOCK, {"norms": "of the output"},
    ),
    ("parallel block", "the feed-forward reads what entered the block, not what attention made of it", BLOCK,
     {"is_parallel": True}),
    ("residual dropped", "attention replaces the residual stream and is not added to it", BLOCK,
     {"without": frozenset({"attention residual"})}),
    ("residual dropped", "the feed-forward replaces the residual stream and is not added to it", BLOCK,
     {"without": frozenset({"mlp residual"})}),
    ("missing final norm", "the head reads the residual stream without final_norm", "logits are of final_norm(x)",
     {"without": frozenset({"final norm"})}),
    ("wrong norm", "the mean is not taken out: RMSNorm in place of LayerNorm", "GPT-2 has LayerNorm, Llama RMSNorm",
     {"norm_kind": "RMSNorm"}),
    ("wrong norm", "the mean is taken out: LayerNorm in place of RMSNorm", "GPT-2 has LayerNorm, Llama RMSNorm",
     {"norm_kind": "LayerNorm"}),
    ("norm weight plus one", "norms multiply by 1 + weight, as Gemma's do", "multiply by weight", {"norm_offset": 1.0}),
    ("scaled embedding", "embeddings are multiplied by sqrt(d_model), as Gemma's are", "take them as they are",
     {"is_embedding_scaled": True}),
    ("tied head", "the embedding table is used as the head, and there is an lm_head", "use lm_head.weight",
     {"is_head_tied": True}),
    ("wrong routing", "the shares of the chosen experts do not sum to one: softmax was taken over all of them",
     "take softmax over the chosen scores alone", {"routing": "all"}),
]  # fmt: skip


def hypotheses(case: Case) -> Iterator[Hypothesis]:
    for fault, sentence, hint, variant in ROWS:
        yield Hypothesis(fault, sentence, hint, variant=variant)
