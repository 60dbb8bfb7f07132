"""`groundup export gguf`."""

from dataclasses import dataclass, field
from pathlib import Path

from groundup.commands.export import opening
from groundup.errors import UsageError

# The share of a tensor's length that each may lose.
DTYPES = {"F32": 0.0, "F16": 0.0005, "BF16": 0.004, "Q8_0": 0.01}


@dataclass(frozen=True)
class GgufConfig:
    model: str = field(default="", metadata={"positional": True})
    """a run, a checkpoint, a Hugging Face folder or a GGUF file"""
    out: str = ""
    """.gguf file to write"""
    dtype: str = "F16"
    """F32, F16, BF16 or Q8_0 (8 bits)"""
    modelfile: bool = True
    """also write Ollama's Modelfile beside it"""
    force: bool = False
    """skip what does not fit, and say what"""
    overwrite: bool = False
    """replace what is there"""
    dry_run: bool = False
    json: bool = False
    quiet: bool = False


def gguf(config: GgufConfig) -> None:
    """Write a GGUF file with the tokenizer and the chat template inside: llama.cpp and Ollama open it."""
    from groundup import artifact
    from groundup.weights import gguf as gguf_format
    from groundup.weights import modelfile

    dtype = config.dtype.upper()
    if dtype not in DTYPES:
        raise UsageError(f"dtype is {config.dtype!r}; valid values are {', '.join(DTYPES)}", where="--dtype")
    source = opening.open_model(config.model, config.out, config.force, config.quiet)
    gguf_format.refuse_elsewhere(source)
    path = opening.refuse_existing(config.out, config.overwrite)
    if path.suffix != ".gguf":
        raise UsageError("--out must end in .gguf", where=config.out, hint=f"--out {path.with_suffix('.gguf')}")
    facts = {"out": str(path), "family": source.family, "parameters": source.n_parameters, "dtype": dtype}
    if config.dry_run:
        opening.tell(facts, config.json, config.quiet)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with artifact.writing_file(path) as temporary:
        gguf_format.write(temporary, source, dtype)
        facts |= opening.proven(source, gguf_format.read(temporary), DTYPES[dtype])
    if config.modelfile:
        beside = _beside(path)
        artifact.write_file(beside, modelfile.text(path.name, source))
        facts["modelfile"] = str(beside)
    opening.tell(facts, config.json, config.quiet)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}.Modelfile")
