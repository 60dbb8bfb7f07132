"""Checkpoints: a Hugging Face model folder that also knows how to go on training.

    config.json, generation_config.json, model.safetensors    the model in fp32, for transformers and the rest
    tokenizer.json and its companions                         if the model has a tokenizer
    groundup.json                                             the contract, see contract.py
    training/state.safetensors, training/state.json           optimizer and position, if it is to be resumed
    manifest.json                                             sizes and checksums, written last

A folder is whole or it is not there, see artifact.py. `load` opens these folders, and Hugging Face folders and GGUF
files that other programs wrote, without a contract. For a loop and a module of one's own there is single_file.py.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from groundup import artifact, config, models
from groundup.errors import ArtefactError, GroundupError
from groundup.layers.kernels import Kernels
from groundup.tokenizer.protocol import Tokenizer
from groundup.weights import contract, gguf, huggingface, lazy, portable, safetensors_file, safetensors_writer
from groundup.weights.contract import Contract
from groundup.weights.lazy import LazyTensor
from groundup.weights.places import resolve
from groundup.weights.portable import Portable

KIND = "checkpoint"
"""What manifest.json calls such a folder."""


@dataclass
class Loaded:
    """A model as it lay on disk, in evaluation mode. `contract` is None for what another program wrote."""

    model: nn.Module
    tokenizer: Tokenizer | None
    path: Path
    contract: Contract | None
    skipped: list[str] = field(default_factory=list)
    """What did not fit and was passed over, because it was forced."""

    def needed_tokenizer(self) -> Tokenizer:
        """The tokenizer, for what cannot be done without one; ArtefactError if the folder has none."""
        if self.tokenizer is None:
            raise ArtefactError(
                "the model has no tokenizer, so it cannot read or write text",
                where=str(self.path),
                hint="put the tokenizer.json that it was trained with into this folder"
                if self.contract is None
                else "save it again together with its tokenizer: checkpoint.save(path, model, tokenizer)",
            )
        return self.tokenizer


# --- writing ---


@dataclass(frozen=True)
class Snapshot:
    """All that a checkpoint will hold, as it was at one moment; made by `snapshot`, written by `write`."""

    source: Portable
    promised: Contract
    training: Mapping[str, LazyTensor] | None
    state: Mapping[str, Any] | None
    folders: Mapping[str, Path] = field(default_factory=dict)
    """Folders that are written already and only move, by their place in the checkpoint."""


def save(
    path: Path | str,
    model: nn.Module,
    tokenizer: Tokenizer | None = None,
    *,
    training: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    replace: bool = False,
) -> None:
    """Write a checkpoint folder.

    `training` are tensors (the optimizer's memory), `state` plain values (the step): what `load_training` gives back.
    `facts`, such as the stage, go into the contract. Raises GroundupError if a number is not finite: such a model is
    lost already, and must not take the place of a good one.
    """
    taken = snapshot(path, model, tokenizer, training=training, state=state, facts=facts, copy=False)
    write(path, taken, replace=replace)


def snapshot(
    path: Path | str,
    model: nn.Module,
    tokenizer: Tokenizer | None = None,
    *,
    training: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    folders: Mapping[str, Path] | None = None,
    copy: bool = True,
) -> Snapshot:
    """What `save` would write to that path, checked; with `copy` in memory of its own, so that training may go on.

    `path` is only told in errors. `weights` are saved in place of the model's own, by the same names. The copy takes as
    much memory as the model, the optimizer's state and the rest.
    """
    path = Path(path)
    own = dict(model.named_parameters())
    weights = own if weights is None else weights
    _refuse_not_finite({**weights, **(training or {})}, path)
    shape = models.shape_of(model)
    contract.check_vocabulary(shape.vocab_size, tokenizer, path)
    with _holding(own, weights) as can_answer:
        promised = contract.describe(shape, tokenizer, model if can_answer else None, facts)
    if not all(map(math.isfinite, promised.probe_logits)):
        raise GroundupError("the model's answers are not finite, so it was not saved", where=str(path))

    def keep(tensor: Tensor) -> LazyTensor:
        return lazy.of(tensor.detach().to("cpu", copy=True) if copy else tensor)

    source = Portable(models.name_of(shape), shape, {name: keep(one) for name, one in weights.items()}, tokenizer)
    kept = None if training is None else {name: keep(tensor) for name, tensor in training.items()}
    return Snapshot(source, promised, kept, state, folders or {})


@contextlib.contextmanager
def _holding(parameters: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Iterator[bool]:
    """Let a model have other weights for a moment, without a copy. False if it cannot: FSDP has sliced its own."""
    swapped = [(one, weights[name]) for name, one in parameters.items() if one is not weights[name]]
    can_swap = all(type(ours.data) is type(theirs.data) and ours.shape == theirs.shape for ours, theirs in swapped)
    before = [ours.data for ours, _ in swapped]
    try:
        for ours, theirs in swapped if can_swap else ():
            ours.data = theirs.data.to(ours.device, ours.dtype)
        yield can_swap
    finally:
        for (ours, _), data in zip(swapped, before, strict=True):
            ours.data = data


def write(
    path: Path | str, taken: Snapshot, *, replace: bool = False, go_on: Callable[[], object] = lambda: None
) -> None:
    """Write a checkpoint folder of what was taken. `go_on` is called before each tensor, and may raise to give up."""

    def asking(tensors: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
        return {name: tensor.mapped(lambda loaded: (go_on(), loaded)[1]) for name, tensor in tensors.items()}

    with artifact.writing(path, {"kind": KIND}, replace=replace) as folder:
        _write(folder, replace_fields(taken.source, tensors=asking(taken.source.tensors)), taken.promised)
        if taken.training is not None or taken.state is not None:
            (folder / "training").mkdir()
            safetensors_writer.write(folder / "training" / "state.safetensors", asking(taken.training or {}))
            huggingface.write_json(folder / "training" / "state.json", dict(taken.state or {}))
        for place, written in taken.folders.items():
            written.rename(folder / place)


def convert(
    path: Path | str, source: Portable, facts: Mapping[str, Any] | None = None, *, replace: bool = False
) -> None:
    """Write a checkpoint of a model of any format, tensor by tensor: it may be larger than memory.

    The contract then promises no answer to the probe.
    """
    path = Path(path)
    portable.check(source)
    contract.check_vocabulary(source.config.vocab_size, source.tokenizer, Path(source.where or path))
    source = portable.finite(source)
    model = portable.build(source, share=True).eval() if portable.fits_in_memory(source) else None
    promised = contract.describe(source.config, source.tokenizer, model, facts)
    if not all(map(math.isfinite, promised.probe_logits)):
        raise GroundupError("the model's answers are not finite, so it was not saved", where=str(path))
    with artifact.writing(path, {"kind": KIND}, replace=replace) as folder:
        _write(folder, source, promised)


def _write(folder: Path, source: Portable, promised: Contract) -> None:
    huggingface.write_tensors(folder, huggingface.to_theirs(source), torch.float32)
    huggingface.write_settings(folder, source.config, source.tokenizer, torch.float32)
    huggingface.write_json(folder / contract.FILE, config.to_dict(promised))


def _refuse_not_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    # A sum is finite only if all its numbers are. One look at all sums: on a GPU each answer has to be waited for.
    numbers = [one.detach() for one in tensors.values() if one.is_floating_point() and one.numel()]
    sums = [one.sum(dtype=torch.promote_types(one.dtype, torch.float32)).to(numbers[0].device) for one in numbers]
    if not sums or torch.isfinite(torch.stack(sums)).all():
        return
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise GroundupError(
                f"{name} has values that are not finite, so the model was not saved",
                where=str(path),
                hint="go on from the last checkpoint with a lower learning rate",
            )


# --- reading ---


def load(
    path: Path | str,
    device: str | torch.device = "cpu",
    kernels: Kernels = "fused",
    *,
    share: bool = False,
    force: bool = False,
) -> Loaded:
    """Open the model of a run folder, a checkpoint, a Hugging Face folder or a GGUF file, and hold it to its contract.

    The weights are fp32, whatever they were. ArtefactError says what is damaged, unknown or does not fit; with `force`,
    what can be passed over is listed in `skipped` instead. `share` leaves fp32 weights in their file, so that a model
    of any size is open at once.
    """
    skipped: list[str] | None = [] if force else None
    source = open_portable(path, skipped)
    where = Path(source.where or path)
    model = portable.build(source, device, kernels, share=share).eval()
    promised = contract.read(where)
    if promised is not None:
        contract.check(promised, model, source.tokenizer, where, skipped)
    contract.check_vocabulary(source.config.vocab_size, source.tokenizer, where)
    return Loaded(model, source.tokenizer, where, promised, skipped or [])


def open_portable(path: Path | str, skipped: list[str] | None = None) -> Portable:
    """The model that a path means, with nothing read but headers; `where` names its folder or file."""
    where = resolve(path)
    if where.is_file():
        return gguf.read(where)
    if contract.read(where) is not None or _was_checkpoint(where):
        artifact.verify(where)
    return huggingface.read(where, skipped)


def _was_checkpoint(folder: Path) -> bool:
    """Whether a manifest says so: then a contract that is not there was lost."""
    return artifact.kind_of(folder) == KIND


def load_weights(path: Path | str, model: nn.Module) -> None:
    """Put the weights of a checkpoint into a model that is there already, and must have the same configuration."""
    source = open_portable(path)
    if source.config != model.config:
        raise ArtefactError(f"the checkpoint holds {source.config}, not {model.config}", where=source.where)
    portable.fill(model, source.tensors, source.where)


def load_training(path: Path | str, *, is_verified: bool = False) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, state) as they were given to `save`. Reads every byte of the checkpoint, unless that was done: a run
    that goes on from a damaged one is lost."""
    folder = resolve(path) / "training"
    if not folder.is_dir():
        raise ArtefactError(
            "the checkpoint has no training state to resume from",
            where=str(folder.parent),
            hint="start a new run from its weights with --init-from",
        )
    artifact.verify(folder.parent, checksums=not is_verified)
    stored, _ = safetensors_file.read(folder / "state.safetensors")
    # Copies, because the optimizer goes on writing in them.
    return (
        {name: lazy.stored(tensor).load().clone() for name, tensor in stored.items()},
        artifact.read_json(folder / "state.json"),
    )
