"""Opening and converting large model folders: time beside transformers, and memory beside the largest file.

The folder is a Llama of random weights, a little over 500 MB in bf16 or fp32, in shards of 100 MB. Every measurement is
made in a process of its own, after the imports.
"""

import tempfile
import time
from pathlib import Path

import harness
from harness import Row

SHAPE = {"vocab_size": 32000, "context_length": 1024, "d_model": 768, "n_heads": 12, "tie_embeddings": False}
SHARD = 100_000_000
N_LAYERS = {"float32": 11, "bfloat16": 30}
"""Either way the folder has 500 MB."""


def rows(repetitions: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        files = {dtype: Path(folder, dtype) for dtype in N_LAYERS}
        for dtype, path in files.items():
            harness.in_child("models_files:write", str(path), dtype)
        found = [opening(files["float32"], repetitions)]
        found += [converting(files["bfloat16"], kind) for kind in ("hf bfloat16", "gguf F16", "gguf Q8_0", "import")]
        return found


def write(path: str, dtype: str) -> None:
    import torch

    from groundup import models
    from groundup.weights import huggingface, portable

    model = models.build("llama", "nano", SHAPE | {"n_layers": N_LAYERS[dtype]}, seed=0)
    Path(path).mkdir()
    huggingface.write(Path(path), portable.of(model), getattr(torch, dtype), SHARD)


def opening(folder: Path, repetitions: int) -> Row:
    megabytes = sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e6
    result = Row(f"opening a folder of {megabytes:.0f} MB, fp32", "s", peer_name="transformers", limit=1.0)
    times: dict[str, list[float]] = {"ours": [], "transformers": []}
    answers = {}
    try:
        for _ in range(repetitions):
            for side in times:
                seconds, answers[side] = harness.in_child("models_files:open_once", str(folder), side)
                times[side].append(seconds)
    except RuntimeError as error:
        result.failed = str(error)
        return result
    if abs(answers["ours"] - answers["transformers"]) > 1e-4:
        result.failed = f"the models answer {answers['ours']:.6f} here and {answers['transformers']:.6f} there"
        return result
    result.times = times
    result.ours, result.peer = min(times["ours"]), min(times["transformers"])
    return result


def open_once(folder: str, side: str) -> tuple[float, float]:
    """Seconds from the folder to a model, and one of its logits."""
    import torch

    ids = torch.tensor([[1]])
    with torch.inference_mode():
        if side == "ours":
            from groundup.weights import checkpoint

            start = time.perf_counter()
            model = checkpoint.load(folder, share=True).model
            seconds = time.perf_counter() - start
            logits = model(ids)
        else:
            import transformers

            start = time.perf_counter()
            model = transformers.AutoModelForCausalLM.from_pretrained(folder)
            seconds = time.perf_counter() - start
            logits = model(ids).logits
    return seconds, logits[0, 0, 7].item()


def converting(folder: Path, kind: str) -> Row:
    largest = max(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e6
    result = Row(f"memory to convert 500 MB in shards, {kind}", "MB", limit=1.2 * largest)
    result.note = f"the largest shard has {largest:.0f} MB"
    try:
        result.ours = harness.in_child("models_files:convert", str(folder), kind)
    except RuntimeError as error:
        result.failed = str(error)
    return result


def convert(folder: str, kind: str) -> float:
    """The most memory beyond what the process has after it converted a tiny model, in MB."""
    from groundup import models
    from groundup.weights import huggingface, portable

    with tempfile.TemporaryDirectory() as out:
        tiny = Path(out, "tiny")
        tiny.mkdir()
        huggingface.write(tiny, portable.of(models.build("llama", "nano", {"vocab_size": 64}, seed=0)))
        _convert(tiny, Path(out, "first"), kind)  # imports, and what libraries set up when they are first used
        before = harness.peak_mb()
        _convert(Path(folder), Path(out, "second"), kind)
        return harness.peak_mb() - before


def _convert(folder: Path, out: Path, kind: str) -> None:
    import torch

    from groundup.weights import checkpoint, gguf, huggingface, portable

    source = checkpoint.open_portable(folder)
    form, _, dtype = kind.partition(" ")
    if form == "gguf":
        gguf.write(out.with_suffix(".gguf"), source, dtype)
    elif form == "import":
        fits = portable.fits_in_memory
        portable.fits_in_memory = lambda *_, **__: False  # as it is for a model larger than memory
        checkpoint.convert(out, source)
        portable.fits_in_memory = fits
    else:
        out.mkdir()
        huggingface.write(out, source, getattr(torch, dtype), SHARD)
