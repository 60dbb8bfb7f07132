"""`groundup export gguf`."""

from dataclasses import dataclass, field

from groundup.commands.export import cost, opening
from groundup.errors import UsageError

QUANTISED = ("Q8_0", "Q4_0")
"""Numbers in blocks with a scale: what they cost is worth a measurement, also unasked."""


@dataclass(frozen=True)
class GgufConfig:
    model: str = field(default="", metadata={"positional": True})
    """a run, a checkpoint, a Hugging Face folder or a GGUF file"""
    out: str = ""
    """.gguf file to write"""
    weights: str = "fp16"
    """how to keep them: fp32, fp16, bf16, int8 or int4; GGUF's names will do, such as Q8_0"""
    measure: str = ""
    """text files, a folder, or prepared token data: what the rounding costs there, in bits per byte; int8 and int4 are
    measured on the held-out data of the model's run where it is still there"""
    modelfile: bool = True
    """also write Ollama's Modelfile beside it"""
    force: bool = False
    """skip what does not fit, and say what"""
    replace: bool = False
    """replace an older one that is there"""
    dry_run: bool = False
    json: bool = False
    quiet: bool = False


def gguf(config: GgufConfig) -> None:
    """Write a GGUF file with the tokenizer and the chat template inside: llama.cpp and Ollama open it."""
    from groundup import artifact
    from groundup.weights import gguf as gguf_format
    from groundup.weights import modelfile, read_back

    dtype = _dtype(config.model, config.weights)
    source, path, skipped = opening.open_model(config.model, config.out, force=config.force, replace=config.replace)
    gguf_format.refuse_elsewhere(source)
    if path.suffix != ".gguf":
        raise UsageError("--out must end in .gguf", where=config.out, hint=f"--out {path.with_suffix('.gguf')}")
    facts = {"out": str(path), "family": source.family, "parameters": source.n_parameters, "weights": dtype}
    facts["skipped"] = skipped
    if config.modelfile:
        beside = artifact.claim(path.with_name(f"{path.stem}.Modelfile"), replace=config.replace)
        facts["modelfile"] = str(beside)
    if config.dry_run:
        opening.tell(facts, config.json, config.quiet, dry_run=True)
        return
    text = cost.text_for(config, source, is_wanted=dtype in QUANTISED)
    path.parent.mkdir(parents=True, exist_ok=True)
    with artifact.writing_file(path) as temporary:
        gguf_format.write(temporary, source, dtype)
        facts |= opening.proven(source, gguf_format.read(temporary), read_back.ROUNDINGS[dtype])
    if config.modelfile:
        artifact.write_file(facts["modelfile"], modelfile.text(path.name, source))
    if text is not None:
        facts["bits_per_byte"] = cost.measured(text, config, path)
    opening.tell(facts, config.json, config.quiet)


def _dtype(model: str, weights: str) -> str:
    """GGUF's name for how weights are to be kept."""
    from groundup.inference.compiled.weights import NAMES
    from groundup.weights.gguf import ENCODERS

    dtype = NAMES.get(weights.lower(), weights.upper())
    if dtype in ENCODERS:
        return dtype
    valid = ", ".join(name for name, each in NAMES.items() if each in ENCODERS)
    hint = None
    if dtype in NAMES.values():
        hint = f"no file keeps {weights}, but an opened model does: groundup generate {model} --weights {weights}"
    raise UsageError(f"weights are {weights!r}; valid values are {valid}", where="--weights", hint=hint)
