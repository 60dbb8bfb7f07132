"""Who says what is right: transformers' model of a folder, another folder of ours, or tensors that were stored."""

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from groundup.errors import EnvironmentFault
from groundup.insight.verify import names
from groundup.insight.verify.recording import Recording, record


def has_transformers() -> bool:
    return importlib.util.find_spec("transformers") is not None


def open_transformers(path: Path) -> nn.Module:
    """transformers' own model of a folder or a GGUF file, in fp32. EnvironmentFault where it is absent or cannot."""
    if not has_transformers():
        raise EnvironmentFault("transformers is not installed", hint="pip install transformers")
    with _quiet():
        import transformers

        file = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
        try:
            model = transformers.AutoModelForCausalLM.from_pretrained(
                path.parent if file else path,
                dtype=torch.float32,
                attn_implementation="sdpa",
                local_files_only=True,
                trust_remote_code=False,
                **file,
            )
        except Exception as error:  # whatever it raises of what it cannot read
            reason = " ".join(str(error).split())
            raise EnvironmentFault(
                f"transformers cannot open it: {type(error).__name__}: {reason:.200}", where=str(path)
            ) from error
    return model.eval()


def name_of_transformers() -> str:
    import transformers

    return f"transformers {transformers.__version__}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without progress bars and advice, which are about the other program and not about this model."""
    from transformers.utils import logging as theirs

    level, has_bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    theirs.set_verbosity(logging.CRITICAL)
    theirs.disable_progress_bar()
    try:
        # Not all of its bars can be asked to be silent.
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        theirs.set_verbosity(level)
        if has_bars:
            theirs.enable_progress_bar()


def is_transformers(model: nn.Module) -> bool:
    return type(model).__module__.startswith("transformers.")


def record_judge(
    judge: nn.Module, ours: nn.Module, ids: torch.Tensor, pairs: list[names.Pair], who: str, *, backward: bool = True
) -> Recording:
    """What the judge computes, under our names. A judge whose modules are named as ours needs no `pairs`."""
    own = {name: parameter.detach() for name, parameter in ours.named_parameters()}
    if not pairs or not _is_named_after(judge, pairs):
        found = record(judge, ids, names.own_modules(judge), who=who, backward=backward)
        found.weights = {name: parameter.detach() for name, parameter in judge.named_parameters()}
        return found
    live = names.live_paths(judge) if is_transformers(judge) else {}
    with _quiet() if is_transformers(judge) else contextlib.nullcontext():
        widths = {name.removesuffix(".weight"): len(tensor) for name, tensor in own.items()}
        paths = names.modules_by_path(pairs, live)
        found = record(judge, ids, paths, who=who, backward=backward, widths=widths)
        weights: Any = {name: parameter.detach() for name, parameter in judge.named_parameters()}
        gradients: Any = found.gradients
        if is_transformers(judge):
            weights, gradients = names.as_in_files(judge, weights), names.as_in_files(judge, gradients)
    found.weights = names.to_our_names(pairs, weights, own)
    found.gradients = names.to_our_names(pairs, gradients, own)
    found.config = our_config(judge) if is_transformers(judge) else found.config
    return found


def _is_named_after(judge: nn.Module, pairs: list[names.Pair]) -> bool:
    has = {path for path, _ in judge.named_modules()}
    return any(pair.theirs in has for pair in pairs)


def our_config(judge: Any) -> Any:
    """A transformers model's configuration as a Config of ours; None where it is none that we have."""
    from groundup.errors import GroundupError
    from groundup.weights import hf_config

    try:
        return hf_config.read(judge.config.to_dict(), skipped=[])[1]
    except GroundupError:
        return None
