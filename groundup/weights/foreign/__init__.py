"""Checkpoints of other programs, read and never written: one file for each program.

    read("out/ckpt.pt")                                    recognised by what is in it
    read("model.pth", "happy_llm", {"n_heads": 12})        named, with what the file does not say

Such a file has TITLE, OPTIONS (the kind of each thing that it can be told), recognises(path), which runs nothing, and
read(path, **options) -> Portable. The format of a file is never guessed by trying to read it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from groundup.errors import ArtefactError, UsageError
from groundup.weights import disguise
from groundup.weights.foreign import gpt2_tensorflow, happy_llm, llama2c, llms_from_scratch, nanogpt, pickled
from groundup.weights.hf_config import LARGEST
from groundup.weights.portable import Portable
from groundup.weights.stored_tensor import quoted, read_bytes, size_of

FORMATS: dict[str, Any] = {
    "nanogpt": nanogpt,
    "llama2c": llama2c,
    "happy_llm": happy_llm,
    "llms_from_scratch": llms_from_scratch,
    "gpt2_tensorflow": gpt2_tensorflow,
}


def recognise(path: Path | str) -> str | None:
    """The name of the format that a file or folder is in, None if it is none of these. Nothing of it is run.

    ArtefactError for a damaged file of torch.save, and for one that asks to run what no tensor needs.
    """
    return next((name for name, module in FORMATS.items() if module.recognises(Path(path))), None)


def read(path: Path | str, format: str | None = None, fields: Mapping[str, Any] | None = None) -> Portable:
    """The model of a file or folder of another program, with nothing read yet but names and shapes.

    `format` is one of FORMATS, needed where a file is not recognised. `fields` is what the file does not say, see
    OPTIONS of each format. UsageError: nothing there, or an option that is none. ArtefactError: what is there is
    damaged, or is none of these formats.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError("there is no such file or folder", where=str(path))
    name = format or recognise(path)
    if name is None:
        raise _unknown(path)
    if name not in FORMATS:
        raise UsageError(f"{name!r} is no format that is known here", hint=_known())
    return FORMATS[name].read(path, **_checked(name, FORMATS[name].OPTIONS, fields or {}))


def _checked(name: str, options: Mapping[str, type], fields: Mapping[str, Any]) -> dict[str, Any]:
    for field, value in fields.items():
        if field not in options:
            known = f"it can be told {', '.join(options)}" if options else "there is nothing to tell it"
            raise UsageError(f"{field} is nothing that {name} asks for; {known}")
        if type(value) is not options[field]:
            raise UsageError(f"{field} is {value!r}; valid values are of the kind {options[field].__name__}")
        if options[field] is int and not 1 <= value <= LARGEST:
            raise UsageError(f"{field} is {value}; valid values are whole numbers from 1 to {LARGEST}")
    return dict(fields)


def _unknown(path: Path) -> ArtefactError:
    """What to say of a file or folder that no format recognises."""
    if (path.parent / "config.json").is_file():
        what = f"{path.name} is a part of the model in its folder"
        return ArtefactError(what, where=str(path), hint=f"give {path.parent}")
    if path.is_file():
        size_of(path)
        if pickled.is_pickled(path):
            names = sorted(text for text in pickled.strings(path) if text.endswith(("weight", "bias")))
            has = f"its tensors are {', '.join(map(quoted, names[:3]))} ..." if names else "it names no tensors"
            return ArtefactError(
                f"a file of torch.save of no program known here: {has}", where=str(path), hint=_known()
            )
        kind = disguise.recognise(read_bytes(path, 0, 64))
        if kind is not None and "pickle" in kind[0]:
            pickled.strings(path)  # says what it is, and what to do with it
        if kind is not None:
            return ArtefactError(f"{path.name} is {kind[0]}", where=str(path), hint=kind[1])
    return ArtefactError(f"{path.name} is in no format that is known here", where=str(path), hint=_known())


def _known() -> str:
    return "known are " + "; ".join(f"{name}: {module.TITLE}" for name, module in FORMATS.items())
