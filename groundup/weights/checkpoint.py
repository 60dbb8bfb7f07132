"""Checkpoints: a Hugging Face model folder that also knows how to go on training.

    config.json, generation_config.json, model.safetensors    the model in fp32, for transformers and the rest
    tokenizer.json and its companions                         if the model has a tokenizer
    groundup.json                                             the contract, see contract.py
    training/state.safetensors, training/state.json           optimizer and position, if it is to be resumed
    manifest.json                                             sizes and checksums, written last

A folder is whole or it is not there, see artifact.py. `load` opens these folders, and Hugging Face folders that other
programs wrote, without a contract. For a training loop and a module of one's own there is single_file.py.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from groundup import artifact, config
from groundup.errors import ArtefactError, GroundupError, UsageError
from groundup.layers.kernels import Kernels
from groundup.tokenizer.protocol import Tokenizer
from groundup.weights import contract, huggingface
from groundup.weights.contract import Contract

TENSORS, INDEX = "model.safetensors", "model.safetensors.index.json"
POINTERS = ("best", "latest")
"""Text files of a run folder that name one of its checkpoints; the first that exists counts."""


@dataclass
class Loaded:
    """A model as it lay on disk, in evaluation mode. `contract` is None for a folder that another program wrote."""

    model: nn.Module
    tokenizer: Tokenizer | None
    path: Path
    contract: Contract | None

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
    `facts`, such as the stage, go into the contract. Raises GroundupError if a weight is not finite: such a model is
    lost already, and must not take the place of a good one.
    """
    path = Path(path)
    _refuse_not_finite(model, path)
    contract.check_vocabulary(model, tokenizer, path)
    config_json, tensors = huggingface.to_hf(model)
    stop = {
        "eos_token_id": list(tokenizer.stop_ids) or None if tokenizer else None,
        "pad_token_id": tokenizer.pad_id if tokenizer else None,
    }
    promised = config.to_dict(contract.describe(model, tokenizer, facts))

    with artifact.writing(path, {"kind": "checkpoint"}, replace=replace) as folder:
        _write_tensors(folder / TENSORS, {name: tensor.float() for name, tensor in tensors.items()})
        _write_json(folder / "config.json", config_json | stop)
        _write_json(folder / "generation_config.json", {"bos_token_id": None} | stop)
        _write_json(folder / contract.FILE, promised)
        if tokenizer is not None:
            tokenizer.save(folder)
        if training is not None or state is not None:
            (folder / "training").mkdir()
            _write_tensors(folder / "training" / "state.safetensors", training or {})
            _write_json(folder / "training" / "state.json", dict(state or {}))


def _refuse_not_finite(model: nn.Module, path: Path) -> None:
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise GroundupError(
                f"{name} has values that are not finite, so the model was not saved",
                where=str(path),
                hint="go on from the last checkpoint with a lower learning rate",
            )


def _write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(plain, file, metadata={"format": "pt"})


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


# --- reading ---


def load(path: Path | str, device: str | torch.device = "cpu", kernels: Kernels = "fused") -> Loaded:
    """Open the model of a run folder, a checkpoint or a Hugging Face folder, and hold it to its contract.

    The weights become fp32, whatever they were. ArtefactError says what is damaged, unknown or does not fit.
    """
    folder = resolve(path)
    promised = contract.read(folder)
    if promised is not None:
        artifact.verify(folder)
    content, tensors = artifact.read_json(folder / "config.json"), _read_model_tensors(folder)
    model = huggingface.from_hf(content, tensors, device=device, kernels=kernels, where=str(folder)).eval()
    tokenizer = Tokenizer.load(folder) if (folder / "tokenizer.json").exists() else None
    if promised is not None:
        contract.check(promised, model, tokenizer, folder)
    contract.check_vocabulary(model, tokenizer, folder)
    return Loaded(model, tokenizer, folder, promised)


def load_weights(path: Path | str, model: nn.Module) -> None:
    """Put the weights of a checkpoint into a model that is there already, and must have the same configuration."""
    folder = resolve(path)
    _, saved = huggingface.from_config(artifact.read_json(folder / "config.json"), str(folder))
    if saved != model.config:
        raise ArtefactError(f"the checkpoint holds {saved}, not {model.config}", where=str(folder))
    huggingface.fill(model, _read_model_tensors(folder), str(folder))


def load_training(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, state) as they were given to `save`."""
    folder = resolve(path) / "training"
    if not folder.is_dir():
        raise ArtefactError(
            "the checkpoint has no training state to resume from",
            where=str(folder.parent),
            hint="start a new run from its weights with --init-from",
        )
    return _read_tensors(folder / "state.safetensors"), artifact.read_json(folder / "state.json")


def resolve(path: Path | str) -> Path:
    """The model folder that a path means: itself, or of a run folder its `best` checkpoint, else its `latest`."""
    path = Path(path)
    if (path / "config.json").is_file():
        return path
    for pointer in POINTERS:
        if (path / pointer).is_file():
            return _follow(path, pointer)
    if path.is_file():
        raise UsageError("a model is a folder, and this is a file", where=str(path), hint=f"give {path.parent}")
    raise UsageError(
        "this folder holds no model" if path.is_dir() else "there is no such folder",
        where=str(path),
        hint="groundup runs list shows what has been trained",
    )


def _follow(run_dir: Path, pointer: str) -> Path:
    named = (run_dir / pointer).read_text(encoding="utf-8", errors="replace").strip()
    folder = run_dir / named
    is_inside = folder.resolve().is_relative_to(run_dir.resolve())
    if not is_inside or not (folder / "config.json").is_file():
        raise ArtefactError(
            f"{pointer} names {named!r}, where there is no checkpoint",
            where=str(run_dir),
            hint=f"give one of the folders in {run_dir / 'checkpoints'}",
        )
    return folder


def _read_model_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of one file, or of several that an index lists, as large models have them."""
    if (folder / TENSORS).is_file():
        return _read_tensors(folder / TENSORS)
    if (folder / INDEX).is_file():
        index = artifact.read_json(folder / INDEX)
        by_tensor = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(by_tensor, dict):
            raise ArtefactError("the index lists no tensors", where=str(folder / INDEX))
        tensors = {}
        for name in sorted(set(map(str, by_tensor.values()))):
            tensors |= _read_tensors(folder / artifact.safe_name(name))
        return tensors
    pickled = next(folder.glob("pytorch_model*.bin"), None)
    raise ArtefactError(
        f"the weights are pickled ({pickled.name}), and a pickle can run any program" if pickled else f"no {TENSORS}",
        where=str(folder),
        hint="in transformers, save_pretrained writes safetensors" if pickled else None,
    )


def _read_tensors(file: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(file)
    except FileNotFoundError as error:
        raise ArtefactError(f"{file.name} is missing", where=str(file.parent)) from error
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise ArtefactError(f"{file.name} is damaged: {error}", where=str(file)) from error
