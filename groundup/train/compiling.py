"""torch.compile for training: the passes over memory between the matrix products become one pass each.

Compiling takes about half a minute; what comes of it is kept in the user's cache folder, from where the next run of the
same model takes it in seconds. Only `hidden` is compiled, and only in training: validation and samples come in many
shapes and are few. Each shape gets a graph of its own, a function of the shape alone, so that a run that is resumed
computes the same bits as one that never stopped.
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from groundup.errors import EnvironmentFault
from groundup.tokenizer import compiled

MOST_GRAPHS = 16
"""Shapes that may be compiled: rows of one length make one graph, and a smaller micro-batch one more."""


def folder() -> Path:
    """Where compiled code is kept: `TORCHINDUCTOR_CACHE_DIR` if the user has set it, else beside our other code."""
    return Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR") or compiled.folder().parent / "torch")


def compile_model(model: nn.Module, notice: Callable[[str], object] = lambda text: None) -> bool:
    """Put the compiled form of `model.hidden` in its place, for training; says so, or why not, with `notice`.

    False where this machine has nothing to compile with: training goes on as it is, slower.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder()))
    try:
        check_compiler(next(model.parameters()).device)
    except EnvironmentFault as fault:
        notice(f"not compiled: {fault.what}; {fault.hint}")
        return False
    is_kept = (folder() / "fxgraph").is_dir()
    torch._dynamo.config.recompile_limit = max(MOST_GRAPHS, torch._dynamo.config.recompile_limit)

    plain: Callable[..., Any] = model.hidden  # pyright: ignore[reportAssignmentType]
    fast = torch.compile(plain, dynamic=False)
    has_run = False

    @functools.wraps(plain)
    def hidden(ids, *, cache=None, positions=None, mask=None):
        nonlocal has_run
        if not (model.training and torch.is_grad_enabled()) or cache is not None:
            return plain(ids, cache=cache, positions=positions, mask=mask)
        if not has_run:
            has_run = True
            wait = "a few seconds if an earlier run had this model" if is_kept else "about half a minute"
            notice(f"compiling the model: {wait}; it is kept for the next run in {folder()}")
        return fast(ids, positions=positions, mask=mask)

    model.hidden = hidden  # pyright: ignore[reportArgumentType]
    return True


def check_compiler(device: torch.device) -> None:
    """EnvironmentFault where torch.compile finds nothing to compile with: a C++ compiler, or triton on a GPU."""
    if device.type == "mps":
        raise EnvironmentFault("torch.compile is not for mps yet", hint="train without --compile")
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        if not has_triton():
            raise EnvironmentFault("torch.compile needs triton on a GPU", hint="pip install triton")
        return
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler as error:
        raise EnvironmentFault(
            "torch.compile needs a C++ compiler and finds none",
            hint="install g++ (Debian: apt install g++; macOS: xcode-select --install) or name one in CXX",
        ) from error
