"""`groundup export single-file`."""

from dataclasses import dataclass, field

from groundup.commands.export import opening

KIND = "single-file"


@dataclass(frozen=True)
class SingleFileConfig:
    model: str = field(default="", metadata={"positional": True})
    """a run, a checkpoint, a Hugging Face folder or a GGUF file"""
    out: str = ""
    """folder to write"""
    force: bool = False
    """skip what does not fit, and say what"""
    replace: bool = False
    """replace an older one that is there"""
    dry_run: bool = False
    json: bool = False
    quiet: bool = False


def single_file(config: SingleFileConfig) -> None:
    """Write one readable file of Python with the weights beside it, that needs PyTorch and nothing else."""
    from groundup import artifact
    from groundup.weights import standalone

    source, path, skipped = opening.open_model(
        config.model, config.out, KIND, force=config.force, replace=config.replace
    )
    facts = {"out": str(path), "family": source.family, "parameters": source.n_parameters, "skipped": skipped}
    if not config.dry_run:
        with artifact.writing(path, {"kind": KIND}, replace=config.replace) as folder:
            standalone.write(folder, source)
    opening.tell(facts, config.json, config.quiet, config.dry_run)
