"""Which model is meant: the name of a preset, or a path. Only settings are read, never weights."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

from groundup.errors import ArtefactError, UsageError

MAX_PARAMETERS, MAX_BLOCKS = 10**15, 20_000
"""What a file may claim before it is laid out; experts count as blocks. Nothing that exists comes near."""


class Named(NamedTuple):
    name: str
    family: str
    config: Any
    skipped: list[str]
    """Settings of another program's file that are not known here."""


def find(name: str) -> Named:
    """A preset in any of its spellings, a run, a checkpoint, a Hugging Face folder or a GGUF file."""
    from groundup import models

    path = Path(name)
    if path.exists() or path.suffix == ".gguf" or "/" in name.rstrip("/"):
        return _read(path)
    try:
        family, config = models.find(name)
    except ValueError as error:
        raise _unknown(name) from error
    return Named(preset_name(family, config), family, config, [])


def _unknown(name: str) -> UsageError:
    from groundup import config as configs
    from groundup import models

    known = [preset_name(each, config) for each in models.names() for config in models.family(each).PRESETS.values()]
    meant = [each for each in known if each.endswith(f"-{name.lower()}")]
    if len(meant) > 1:
        return UsageError(f"several models are called {name}", hint=f"say which: {', '.join(meant)}")
    near = configs.nearest(name, known)
    hint = f"did you mean {near}?" if near else "groundup model info lists all that have a name"
    return UsageError(f"no model is called {name}, and no file or folder", hint=hint)


def preset_name(family: str, config: Any) -> str:
    """What a preset is called in tables: "gpt2-124m", "smollm2-135m"."""
    from groundup import models

    sizes = [size for size, preset in models.family(family).PRESETS.items() if preset is config]
    # A published model has a name of its own; other sizes are called by their family.
    return sizes[0] if "-" in sizes[0] else f"{family}-{sizes[0]}"


def _read(path: Path) -> Named:
    from groundup import models
    from groundup.weights import checkpoint, hf_config, tensors

    path = path.parent if path.name == tensors.CONFIG else path
    where = checkpoint.resolve(path)
    if where.is_file():
        from groundup.weights import gguf

        source = gguf.read(where)
        return Named(str(path), source.family, source.config, [])
    skipped: list[str] = []
    family, config = hf_config.read(tensors.read_config(where), str(where), skipped)
    n_parameters = models.family(family).count_parameters(config)
    n_blocks = config.n_layers * getattr(config, "n_experts", 1)
    if n_parameters > MAX_PARAMETERS or n_blocks > MAX_BLOCKS:
        what = f"config.json describes {config.n_layers:,} layers with {n_parameters:,} parameters"
        raise ArtefactError(f"{what}, which cannot be meant", where=str(where))
    return Named(str(path), family, config, skipped)


def warn(skipped: list[str], quiet: bool) -> None:
    for line in [] if quiet else skipped:
        print(f"not known here, and left out of account: {line}", file=sys.stderr)
