"""happy-llm's checkpoints, `.pth`: https://github.com/datawhalechina/happy-llm, chapter 5.

A bare state dictionary, with no word on the shape of the model but in the name of the file:

    pretrain_1024_18_6144.pth                       d_model, n_layers, vocab_size
    sft_dim1024_layers18_vocab_size6144.pth         the same
    ..._step20000.pth                               saved on the way

What both the name and the tensors say must agree. The number of heads shows in neither: it is happy-llm's default, 16
heads and 8 for keys and values, where that fits the tensors; else `n_heads` must be given.
"""

import re
from pathlib import Path
from typing import Any

from groundup.errors import ArtefactError, UsageError
from groundup.weights.foreign import meta_names, pickled, placing
from groundup.weights.portable import Portable

TITLE = "a happy-llm checkpoint (.pth)"
OPTIONS: dict[str, type] = {"n_heads": int, "context_length": int}

NAME = re.compile(
    r"(?:pretrain_(?P<d>\d{1,9})_(?P<n>\d{1,9})_(?P<v>\d{1,9})"
    r"|\w+?_dim(?P<d2>\d{1,9})_layers(?P<n2>\d{1,9})_vocab_size(?P<v2>\d{1,9}))(?:_step(?P<step>\d{1,12}))?"
)
N_HEADS, N_KV_HEADS, CONTEXT_LENGTH = 16, 8, 512
"""happy-llm's defaults."""


def recognises(path: Path) -> bool:
    """Meta's names without settings beside them."""
    if not pickled.is_pickled(path):
        return False
    found = {pickled.PREFIXES.sub("", text) for text in pickled.strings(path)}
    return "tok_embeddings.weight" in found and "model_args" not in found


def read(path: Path, *, n_heads: int = 0, context_length: int = CONTEXT_LENGTH) -> Portable:
    """The model. ArtefactError if the file is damaged, or its name and its tensors disagree.

    `n_heads` is for models of other than 16 heads. `context_length` changes nothing but what is warned of.
    """
    if re.fullmatch(r"consolidated\.\d+\.pth", path.name) or (path.parent / "params.json").is_file():
        what = "this is Meta's own release of a Llama, whose heads and RoPE stand in params.json"
        raise ArtefactError(what, where=str(path), hint="take its Hugging Face folder")
    theirs = meta_names.learned(pickled.tensors(pickled.load(path), path))
    sizes = meta_names.sizes(theirs, path)
    step = _check_name(path, sizes)
    n_heads, n_kv_heads, source = _heads(n_heads, sizes, path)
    config = placing.configure(
        "llama", theirs, path,
        vocab_size=sizes["vocab_size"],
        context_length=context_length,
        n_layers=sizes["n_layers"],
        d_model=sizes["d_model"],
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        d_ff=sizes["d_ff"],
        tie_embeddings=meta_names.HEAD not in theirs,
    )  # fmt: skip
    facts: dict[str, Any] = {"source": TITLE, "heads": f"{n_heads}, and {n_kv_heads} for keys and values: {source}"}
    facts |= {"step": step} if step is not None else {}
    return Portable("llama", config, meta_names.place(config, theirs, path), None, str(path), facts)


def _check_name(path: Path, sizes: dict[str, int]) -> int | None:
    """The step that the name tells, if any, after its other numbers were compared with the tensors."""
    found = NAME.fullmatch(path.stem)
    if found is None:
        return None
    faults = [
        f"{field} is {said} in the name and {sizes[field]} in the tensors"
        for field, one, other in (("d_model", "d", "d2"), ("n_layers", "n", "n2"), ("vocab_size", "v", "v2"))
        if (said := int(found[one] or found[other])) != sizes[field]
    ]
    if faults:
        raise ArtefactError(
            "; ".join(faults), where=str(path), hint="if the tensors are right, give the file another name"
        )
    return int(found["step"]) if found["step"] else None


def _heads(n_heads: int, sizes: dict[str, int], path: Path) -> tuple[int, int, str]:
    """(n_heads, n_kv_heads, where that is known from)"""
    q_width, kv_width = sizes["q_width"], sizes["kv_width"]
    source = "as given" if n_heads else "happy-llm's default"
    if not n_heads:
        if q_width % (2 * N_HEADS) or kv_width * N_HEADS != q_width * N_KV_HEADS:
            raise UsageError(
                f"queries of {q_width} and keys of {kv_width} numbers are not those of happy-llm's default, {N_HEADS} "
                f"heads and {N_KV_HEADS} for keys and values",
                where=str(path),
                hint="say how many heads it was trained with: --set n_heads=12",
            )
        n_heads = N_HEADS
    head_dim = q_width // n_heads if n_heads > 0 and q_width % n_heads == 0 else 0
    if head_dim < 1 or kv_width % head_dim:
        raise UsageError(
            f"n_heads is {n_heads}; valid values divide the {q_width} numbers of the queries into heads that also "
            f"divide the {kv_width} of the keys",
            where=str(path),
        )
    return n_heads, kv_width // head_dim, source
