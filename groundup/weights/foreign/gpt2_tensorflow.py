"""OpenAI's own files of GPT-2, as its `download_model.py` fetches them: https://github.com/openai/gpt-2.

    hparams.json                      n_vocab, n_ctx, n_embd, n_head, n_layer
    checkpoint                        the name of what follows, "model.ckpt"
    model.ckpt.index, .data-...       the tensors, a bundle of TensorFlow's: see tensor_bundle.py
    encoder.json, vocab.bpe           the tokenizer, if it is there

Linear layers keep (1, in, out); queries, keys and values are one of them. The same files come from programs that tune
GPT-2 in TensorFlow, such as gpt-2-simple.
"""

import re
from pathlib import Path
from typing import Any

from groundup.errors import ArtefactError
from groundup.tokenizer import gpt2_files
from groundup.weights import strict_json
from groundup.weights.foreign import placing, tensor_bundle
from groundup.weights.foreign.placing import Place, setting
from groundup.weights.lazy import LazyTensor
from groundup.weights.portable import Portable
from groundup.weights.stored_tensor import quoted, read_bytes, size_of

TITLE = "OpenAI's GPT-2 for TensorFlow (a folder with hparams.json and model.ckpt.index)"
OPTIONS: dict[str, type] = {}

HPARAMS, CHECKPOINT, ENCODER = "hparams.json", "checkpoint", "encoder.json"
QKV = "blocks.{0}.attn.q_proj blocks.{0}.attn.k_proj blocks.{0}.attn.v_proj"
LINEAR = {
    "attn/c_attn": QKV,
    "attn/c_proj": "blocks.{0}.attn.o_proj",
    "mlp/c_fc": "blocks.{0}.mlp.up_proj",
    "mlp/c_proj": "blocks.{0}.mlp.down_proj",
}
NORMS = {"ln_1": "blocks.{0}.attn_norm", "ln_2": "blocks.{0}.mlp_norm"}


def recognises(path: Path) -> bool:
    """A folder with its settings and a bundle, or the bundle's index in such a folder."""
    folder = path.parent if path.suffix == ".index" else path
    return folder.is_dir() and (folder / HPARAMS).is_file() and any(folder.glob("*.index"))


def read(path: Path) -> Portable:
    """The model, a gpt2, and its tokenizer. ArtefactError if a file is missing or damaged."""
    folder = path.parent if path.suffix == ".index" else path
    prefix = path.with_suffix("") if path.suffix == ".index" else _prefix(folder)
    file = prefix.with_name(prefix.name + ".index")
    theirs = {name: _without_one(tensor) for name, tensor in tensor_bundle.read(prefix).items()}
    hparams = strict_json.read(folder / HPARAMS)
    config = placing.configure(
        "gpt2", theirs, file,
        vocab_size=setting(hparams, "n_vocab", int, folder / HPARAMS),
        context_length=setting(hparams, "n_ctx", int, folder / HPARAMS),
        n_layers=setting(hparams, "n_layer", int, folder / HPARAMS),
        d_model=setting(hparams, "n_embd", int, folder / HPARAMS),
        n_heads=setting(hparams, "n_head", int, folder / HPARAMS),
    )  # fmt: skip
    ours = placing.place("gpt2", config, theirs, _places(config.n_layers), file)
    tokenizer = gpt2_files.read(folder / ENCODER) if (folder / ENCODER).is_file() else None
    return Portable("gpt2", config, ours, tokenizer, str(folder), {"source": TITLE})


def _prefix(folder: Path) -> Path:
    """The checkpoint that the file `checkpoint` names, which may be a path of the machine that wrote it; else the only
    one that is here."""
    found = sorted(file.with_suffix("") for file in folder.glob("*.index"))
    named = folder / CHECKPOINT
    if named.is_file():
        if size_of(named) > 1 << 16:
            raise ArtefactError("this is no list of TensorFlow's checkpoints", where=str(named))
        text = read_bytes(named, 0, 1 << 16).decode("utf-8", "replace")
        match = re.search(r'^model_checkpoint_path: "([^"\n]*)"', text, re.MULTILINE)
        name = re.split(r"[/\\]", match[1])[-1] if match else ""
        if folder / name not in found:
            raise ArtefactError(f"{CHECKPOINT} names {quoted(name)}, and {name}.index is not here", where=str(folder))
        return folder / name
    if not found:
        raise ArtefactError("no checkpoint of TensorFlow is here: model.ckpt.index is missing", where=str(folder))
    if len(found) > 1:
        listed = ", ".join(file.name + ".index" for file in found[:4])
        raise ArtefactError(f"several checkpoints are here: {listed}", where=str(folder), hint="name one of them")
    return found[0]


def _without_one(tensor: LazyTensor) -> LazyTensor:
    """(in, out) for (1, in, out), as a convolution of width 1 keeps it."""
    if len(tensor.shape) != 3 or tensor.shape[0] != 1:
        return tensor
    return tensor.mapped(lambda stored: stored[0], tensor.shape[1:])


def _places(n_layers: int) -> dict[str, Place]:
    places = {"model/wte": Place(("tok_embed.weight",)), "model/wpe": Place(("pos_embed.weight",))}
    norms: dict[str, Any] = {"model/ln_f": "final_norm"}
    for layer in range(n_layers):
        norms |= {f"model/h{layer}/{name}": ours.format(layer) for name, ours in NORMS.items()}
        for name, modules in LINEAR.items():
            for theirs, kind in (("w", "weight"), ("b", "bias")):
                ours = tuple(f"{module.format(layer)}.{kind}" for module in modules.split())
                places[f"model/h{layer}/{name}/{theirs}"] = Place(ours, is_transposed=kind == "weight")
    for name, ours in norms.items():
        places |= {f"{name}/g": Place((f"{ours}.weight",)), f"{name}/b": Place((f"{ours}.bias",))}
    return places
