"""Opens a model for the compiled engine: weights, tokenizer and what its checkpoint says of itself. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from groundup import artifact
from groundup.errors import ArtefactError, EnvironmentFault
from groundup.inference.compiled import reading
from groundup.inference.compiled.code import CODE, compile_kind, load_runner
from groundup.inference.compiled.shape import NotCompiled
from groundup.inference.runner import Runner, Work
from groundup.tokenizer import files as tokenizer_files
from groundup.tokenizer.protocol import Tokenizer
from groundup.weights import contract, gguf_tokenizer, places, tensors

__all__ = ["NotCompiled", "NotReady", "Opened", "load"]


class NotReady(Exception):
    """The code for this kind of weights is not compiled yet.

    obstacle: why it cannot be, in words; None where a child process is at it.
    """

    def __init__(self, obstacle: str | None):
        super().__init__(obstacle)
        self.obstacle = obstacle


@dataclass(frozen=True)
class Opened:
    """What `load` gives back. `runner` is a CompiledRunner."""

    runner: Any
    tokenizer: Tokenizer
    path: Path
    facts: dict[str, Any]
    """What the run wanted to be remembered, such as its stage; empty for what another program wrote."""
    skipped: tuple[str, ...] = ()
    """How the model's answer to the probe differs from its contract, where that was forced."""


# A checkpoint holds fp32, and kept in fewer bits a sound model answers otherwise: by up to 0.001 (F16), 0.01 (BF16) and
# 0.05 (Q8_0) in those measured. There the probe finds only what is badly mixed up. By Q4_0 (0.4) it would find nothing.
TOLERANCES = {"F32": contract.PROBE_TOLERANCE, "F16": 0.02, "BF16": 0.1, "Q8_0": 0.2}
"""How far off a logit of the probe may be, as a share of the largest, by how weights are kept."""


def load(path: Path | str, weights: str = "auto", *, wait: bool = False, force: bool = False) -> Opened:
    """The model of a run folder, a checkpoint, a Hugging Face folder or a GGUF file.

    weights: how to keep them, a key of weights.NAMES, or "auto" for what the file has. wait: compile here and now if
    that was not done yet, EnvironmentFault where it cannot be; else NotReady. NotCompiled says why the torch engine has
    to take the model; UsageError and ArtefactError as `weights.checkpoint.load`. With `force`, a wrong answer to the
    probe is put into `skipped` instead.
    """
    where = places.resolve(path)
    files = tensors.open_model(where)
    promised = None if where.is_file() else contract.read(where)
    if promised is not None:
        artifact.verify(where)
    shape, model, is_interleaved = reading.read(files, weights)
    tokenizer = _tokenizer(where, files)
    if promised is not None and promised.tokenizer_hash not in (None, tokenizer.hash):
        what = "the checkpoint does not keep its contract: the tokenizer is not the one it was saved with"
        raise ArtefactError(what, where=str(where), hint="take the files that were saved together")
    contract.check_vocabulary(shape.vocab_size, tokenizer, where)

    part = f"-{model.layers[0].q.kind}"
    if not CODE.is_ready(part):
        obstacle = CODE.obstacle()
        if not wait:
            CODE.start(part)
            raise NotReady(obstacle)
        if obstacle:
            raise EnvironmentFault(f"the compiled engine cannot serve: {obstacle}", hint="--engine torch")
        compile_kind(part.removeprefix("-"))
    made = load_runner().CompiledRunner(shape, model, is_interleaved=is_interleaved)
    if promised is None:
        return Opened(made, tokenizer, where, {})
    skipped: list[str] | None = [] if force else None
    if tolerance := TOLERANCES.get(made.weights.layers[0].q.kind):
        contract.check_answer(promised, shape, lambda ids: answer(made, ids), tolerance, where, skipped)
    return Opened(made, tokenizer, where, promised.facts, tuple(skipped or ()))


def answer(runner: Runner, ids: Sequence[int]) -> np.ndarray:
    """The logits (vocab_size,) after these ids."""
    state = runner.open()
    try:
        return runner.run([Work(state, ids)])[0]
    finally:
        state.close()


def _tokenizer(where: Path, files: tensors.ModelFiles) -> Tokenizer:
    if files.format == "gguf":
        found = gguf_tokenizer.from_metadata(files.config, str(where))
    else:
        found = Tokenizer.load(where) if tokenizer_files.is_in(where) else None
    if found is None:
        hint = "put the tokenizer.json that it was trained with into this folder"
        raise ArtefactError("the model has no tokenizer, so it cannot read or write text", where=str(where), hint=hint)
    return found
