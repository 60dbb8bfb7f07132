"""Checkpoints of the book "Build a Large Language Model (From Scratch)": https://github.com/rasbt/LLMs-from-scratch.

A state dictionary, `model.pth`, alone or as {"model_state_dict": ..., "optimizer_state_dict": ...}, of the GPT-2 of
chapters 4 to 7: `trf_blocks.0.att.W_query.weight`, `ff.layers.0`, `norm1.scale`, `out_head.weight`. Queries, keys and
values have no biases unless `qkv_bias` was set; the head is a matrix of its own. The number of heads shows nowhere: it
is GPT-2's for GPT-2's widths, or is given as `n_heads`.

The book's bonus Llama has other names and is not read: RoPE's settings, which its versions differ in, are not in it.
"""

import re
from pathlib import Path
from typing import Any

from groundup.errors import ArtefactError, UsageError
from groundup.weights.foreign import pickled, placing
from groundup.weights.foreign.placing import Place
from groundup.weights.portable import Portable
from groundup.weights.stored_tensor import quoted

TITLE = "a GPT of LLMs-from-scratch (.pth)"
OPTIONS: dict[str, type] = {"n_heads": int}

N_HEADS = {768: 12, 1024: 16, 1280: 20, 1600: 25}
"""By width: the book's sizes, which are GPT-2's."""

EMBEDDING, POSITIONS, HEAD = "tok_emb.weight", "pos_emb.weight", "out_head.weight"
MASK = re.compile(r"trf_blocks\.\d+\.att\.mask")
LINEAR = {
    "att.W_query": "attn.q_proj",
    "att.W_key": "attn.k_proj",
    "att.W_value": "attn.v_proj",
    "att.out_proj": "attn.o_proj",
    "ff.layers.0": "mlp.up_proj",
    "ff.layers.2": "mlp.down_proj",
}
NORMS = {"norm1": "attn_norm", "norm2": "mlp_norm"}
SCALE_AND_SHIFT = {"scale": "weight", "shift": "bias"}


def recognises(path: Path) -> bool:
    """The book's names."""
    return pickled.is_pickled(path) and any(".att.W_query." in text for text in pickled.strings(path))


def read(path: Path, *, n_heads: int = 0) -> Portable:
    """The model, a gpt2. ArtefactError if the file is damaged; UsageError if the number of heads is not known."""
    content = pickled.load(path)
    state = content.get("model_state_dict", content) if isinstance(content, dict) else None
    found = pickled.tensors(state, path)
    theirs = {name: tensor for name, tensor in found.items() if not MASK.fullmatch(name)}
    if any(name.endswith(".ff.fc1.weight") for name in theirs):
        raise ArtefactError(
            "this is the book's Llama, and how its RoPE was set is not in the file",
            where=str(path),
            hint="take the Hugging Face folder of the model that it was made from",
        )
    (vocab_size, d_model), (context_length, _) = (_shape(theirs, name, path) for name in (EMBEDDING, POSITIONS))
    if HEAD in theirs and theirs[HEAD].shape != theirs[EMBEDDING].shape:
        raise ArtefactError(
            f"{HEAD} has shape {theirs[HEAD].shape}, so this is the classifier of chapter 6, not a language model",
            where=str(path),
        )
    is_tied = placing.is_tied(theirs, EMBEDDING, HEAD)
    if is_tied:
        theirs.pop(HEAD, None)
    layers = [int(match[1]) for name in theirs if (match := re.match(r"trf_blocks\.(\d{1,6})\.", name))]
    config = placing.configure(
        "gpt2", theirs, path,
        vocab_size=vocab_size,
        context_length=context_length,
        n_layers=1 + max(layers, default=-1),
        d_model=d_model,
        n_heads=n_heads or _n_heads(d_model, path),
        tie_embeddings=is_tied,
    )  # fmt: skip

    has_qkv_biases = any(re.search(r"\.att\.W_(query|key|value)\.bias$", name) for name in theirs)
    ours = placing.place("gpt2", config, theirs, _places(config, has_qkv_biases), path)
    facts: dict[str, Any] = {"source": TITLE, "n_heads": "as given" if n_heads else "GPT-2's for this width"}
    if not has_qkv_biases:
        ours |= placing.zeros("gpt2", config, ours)
        facts["biases"] = "queries, keys and values have none; theirs are zeros here, which is the same"
    return Portable("gpt2", config, ours, None, str(path), facts)


def _shape(theirs: Any, name: str, path: Path) -> tuple[int, int]:
    if name not in theirs:
        raise ArtefactError(f"{name} is missing", where=str(path))
    if len(shape := theirs[name].shape) != 2:
        raise ArtefactError(f"{name} has shape {quoted(shape)}, and should be a matrix", where=str(path))
    return shape


def _n_heads(d_model: int, path: Path) -> int:
    if d_model not in N_HEADS:
        known = ", ".join(map(str, N_HEADS))
        raise UsageError(
            f"the width {d_model} is none of {known}, so the number of heads is not known",
            where=str(path),
            hint="say it: --set n_heads=12",
        )
    return N_HEADS[d_model]


def _places(config: Any, has_qkv_biases: bool) -> dict[str, Place]:
    places = {EMBEDDING: Place(("tok_embed.weight",)), POSITIONS: Place(("pos_embed.weight",))}
    norms = {"final_norm": "final_norm"}
    if not config.tie_embeddings:
        places[HEAD] = Place(("lm_head.weight",))
    for layer in range(config.n_layers):
        norms |= {f"trf_blocks.{layer}.{name}": f"blocks.{layer}.{ours}" for name, ours in NORMS.items()}
        for name, ours in LINEAR.items():
            has_bias = has_qkv_biases or "W_" not in name
            for kind in ("weight", "bias") if has_bias else ("weight",):
                places[f"trf_blocks.{layer}.{name}.{kind}"] = Place((f"blocks.{layer}.{ours}.{kind}",))
    for name, ours in norms.items():
        places |= {f"{name}.{theirs}": Place((f"{ours}.{kind}",)) for theirs, kind in SCALE_AND_SHIFT.items()}
    return places
