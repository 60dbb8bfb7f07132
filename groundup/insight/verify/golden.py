"""Golden tensors: what a judge computed once, kept in one safetensors file, for where there is no judge.

    activation/blocks.0.attn.q_proj    gradient/blocks.0.attn.q_proj.weight    weight/blocks.0.attn_norm.weight    ids

The header says who the judge was and how the model is configured. Of the weights only norms and biases are kept; the
gradients make the file as large as the model.
"""

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from groundup import artifact, models
from groundup import config as configs
from groundup.errors import ArtefactError, UsageError
from groundup.insight.verify.recording import Recording

FORMAT = "groundup golden 1"
NAME = "golden.safetensors"
"""Beside a model, such a file is found without being named."""
KINDS = ("activation", "gradient", "weight")


def write(file: Path, recording: Recording) -> None:
    """Store a recording whole. What was at `file` is replaced in one step."""
    kept = {name: tensor for name, tensor in recording.weights.items() if tensor.ndim == 1}
    tensors = {"ids": recording.ids}
    for kind, by_name in zip(KINDS, (recording.activations, recording.gradients, kept), strict=True):
        tensors |= {f"{kind}/{name}": tensor.detach().cpu().contiguous() for name, tensor in by_name.items()}
    header = {
        "format": FORMAT,
        "judge": recording.who,
        "order": json.dumps(list(recording.activations)),
        "family": models.name_of(recording.config) if recording.config is not None else "",
        "config": json.dumps(configs.to_dict(recording.config)) if recording.config is not None else "",
    }
    # A copy each: weights may share memory, which the format does not have.
    data = safetensors.torch.save({name: tensor.clone() for name, tensor in tensors.items()}, metadata=header)
    artifact.write_file(file, data)


def is_golden(path: Path) -> bool:
    """Whether a path can only mean such a file."""
    return path.suffix == ".safetensors" and path.is_file()


def read(file: Path) -> Recording:
    """A stored recording; ArtefactError where the file is damaged or something else."""
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            header = opened.metadata() or {}
            if header.get("format") != FORMAT:
                hint = "groundup verify MODEL --write-golden FILE writes them"
                raise ArtefactError("this file holds no golden tensors", where=str(file), hint=hint)
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no dict
        order, ids = json.loads(header["order"]), tensors["ids"]
        by_kind: dict[str, dict[str, torch.Tensor]] = {kind: {} for kind in KINDS}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition("/")
            if kind in by_kind:
                by_kind[kind][rest] = tensor
        activations = {name: by_kind["activation"][name] for name in order}
        config = _config(header.get("family", ""), header.get("config", ""))
    except (safetensors.SafetensorError, OSError, KeyError, ValueError, TypeError, UsageError) as error:
        raise ArtefactError(f"{file.name} is damaged: {error}", where=str(file)) from error
    if ids.ndim != 2 or "logits" not in activations:
        raise ArtefactError(f"{file.name} is damaged: it holds no ids or no logits", where=str(file))
    return Recording(header.get("judge", "?"), ids, activations, by_kind["gradient"], by_kind["weight"], config)


def _config(family: str, content: str) -> Any:
    """The configuration of the judge; None of a family that is not known here."""
    if family not in models.names() or not content:
        return None
    return configs.from_dict(models.family(family).Config, json.loads(content), "golden tensors")
