"""nanoGPT's checkpoints, `ckpt.pt`: https://github.com/karpathy/nanoGPT.

    {"model_args": {"n_layer", "n_head", "n_embd", "block_size", "bias", "vocab_size", "dropout"},
     "model": {"transformer.h.0.attn.c_attn.weight": ..., ...}, "optimizer", "iter_num", "best_val_loss", "config"}

The names are those of Hugging Face's GPT-2, without its transposition. In two things it is not always a GPT-2:

- Biases may be absent (`bias=False`, the default of its training). Biases of zeros are exactly the same.
- GELU: its first versions had GPT-2's tanh form; since June 2023 it is the exact one, with erf, also where a GPT-2 is
  tuned further. They differ by up to 5e-4, which shows in every logit, and the file does not say which it was. `gelu`
  says it; without, a file from before nanoGPT knew `bias` is taken for "tanh", and every other for "erf".

`meta.pkl`, where the characters of a character model stand, is a pickle of any objects and is never read: the tokenizer
has to be given apart. `vocab_size` is often 50304 there, GPT-2's 50257 and rows that nothing ever used.
"""

import re
from pathlib import Path
from typing import Any

from groundup import models
from groundup.errors import UsageError
from groundup.weights.foreign import pickled, placing
from groundup.weights.foreign.placing import Place, setting
from groundup.weights.portable import Portable

TITLE = "a nanoGPT checkpoint (ckpt.pt)"
OPTIONS: dict[str, type] = {"gelu": str}
ACTIVATIONS = {"erf": "gelu", "tanh": "gelu_tanh"}

EMBEDDING, HEAD = "transformer.wte.weight", "lm_head.weight"
MASK = re.compile(r"transformer\.h\.\d+\.attn\.bias")
"""The causal mask, which attention without PyTorch's fused kernel keeps beside the weights."""


def recognises(path: Path) -> bool:
    """GPT-2's names with nanoGPT's settings beside them."""
    if not pickled.is_pickled(path):
        return False
    found = pickled.strings(path)
    return "model_args" in found and any(text.endswith(EMBEDDING) for text in found)


def read(path: Path, *, gelu: str = "") -> Portable:
    """The model, a gpt2. `gelu` is "erf" or "tanh". ArtefactError if the file is damaged."""
    content = pickled.load(path)
    content = content if isinstance(content, dict) else {}
    theirs = {
        name: tensor for name, tensor in pickled.tensors(content.get("model"), path).items() if not MASK.fullmatch(name)
    }
    is_tied = placing.is_tied(theirs, EMBEDDING, HEAD)
    if is_tied:
        theirs.pop(HEAD, None)
    args = content.get("model_args")
    has_biases = setting(args, "bias", bool, path, True)
    gelu = gelu or ("erf" if isinstance(args, dict) and "bias" in args else "tanh")
    if gelu not in ACTIVATIONS:
        raise UsageError(f"gelu is {gelu!r}; valid values are {', '.join(ACTIVATIONS)}", where=str(path))
    config = placing.configure(
        "gpt2", theirs, path,
        vocab_size=setting(args, "vocab_size", int, path),
        context_length=setting(args, "block_size", int, path),
        n_layers=setting(args, "n_layer", int, path),
        d_model=setting(args, "n_embd", int, path),
        n_heads=setting(args, "n_head", int, path),
        dropout=setting(args, "dropout", float, path, 0.0),
        tie_embeddings=is_tied,
        activation=ACTIVATIONS[gelu],
    )  # fmt: skip

    ours = placing.place("gpt2", config, theirs, _places(config, has_biases), path)
    facts: dict[str, Any] = {"source": TITLE, "gelu": gelu}
    if type(step := content.get("iter_num")) is int:
        facts["step"] = step
    if not has_biases:
        ours |= placing.zeros("gpt2", config, ours)
        facts["biases"] = "it has none; those that a model has here are zeros, which is the same"
    return Portable("gpt2", config, ours, None, str(path), facts)


def _places(config: Any, has_biases: bool) -> dict[str, Place]:
    places = {}
    for module, ours in models.family("gpt2").HF_MODULES.items():
        is_linear = module.endswith(("c_attn", "c_proj", "c_fc"))
        is_head, is_norm = module == "lm_head", ".ln_" in module
        kinds = ("weight", "bias") if has_biases and (is_linear or is_norm) else ("weight",)
        if is_head and config.tie_embeddings:
            continue
        for layer in range(config.n_layers) if "{}" in module else [0]:
            for kind in kinds:
                names = tuple(f"{name.format(layer)}.{kind}" for name in ours.split())
                places[f"{module.format(layer)}.{kind}"] = Place(names)
    return places
