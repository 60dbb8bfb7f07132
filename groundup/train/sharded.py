"""What FSDP has sliced, in a checkpoint: every rank writes and reads its own slices, and no rank holds all of it.

    training/shards/shard-00001-model-00001-of-00001.safetensors      slices of rank 0: its rows of each tensor
    training/shards/shard-00002-model-00001-of-00001.safetensors      of rank 1; each file says where its rows begin

Written and read by torch.distributed.checkpoint with its safetensors format, which knows how to cut for another number
of ranks, or for one process alone; its own format holds a pickle, which is never opened here.

The weights themselves are no part of this: model.safetensors has them whole, for everybody else's programs.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from groundup import artifact
from groundup.errors import ArtefactError, GroundupError
from groundup.optim.shards import is_spread, local

PLACE = "training/shards"
"""Where they lie in a checkpoint."""
_STAGED = ".shards-"


def split(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(those that are sliced, those that every rank has whole)"""
    sliced = {name: tensor for name, tensor in tensors.items() if is_spread(tensor)}
    return sliced, {name: tensor for name, tensor in tensors.items() if name not in sliced}


def write(step_dir: Path, tensors: Mapping[str, Tensor], is_main: bool) -> Path:
    """Write the slices of all ranks, which must all call this; returns the folder that they lie in.

    It stands beside `step_dir` under a name of its own, until rank 0 moves it into the checkpoint, where checksums are
    taken and everything is synced; what a crash leaves there is cleared by the next call.
    """
    for name, tensor in tensors.items():
        if not torch.isfinite(local(tensor)).all():
            raise GroundupError(f"{name} has values that are not finite, so it was not saved", where=str(step_dir))
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    staged = step_dir.parent / f"{_STAGED}{step_dir.name}"
    if is_main:
        for stale in step_dir.parent.glob(f"{_STAGED}*"):
            artifact.remove(stale)
        with artifact.reporting_disk(staged):
            staged.mkdir(parents=True)
    # No rank writes before rank 0 has made the plan for all, and so the folder.
    writer = HuggingFaceStorageWriter(str(staged), save_distributed=True)
    try:
        save(dict(tensors), storage_writer=writer)
    except CheckpointException as error:
        cause = next(iter(error.failures.values()))[0]
        with artifact.reporting_disk(step_dir):
            raise cause from error
    return staged


def read(step_dir: Path, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under `step_dir`, each cut as the parameter that its name tells of is cut now; {} if there are none.

    All ranks must call this. A name is `<anything>.<parameter>.<entry>` or `<anything>.<parameter>`. ArtefactError
    where a tensor belongs to no parameter of this model.
    """
    folder = step_dir / PLACE
    if not folder.is_dir():
        return {}
    from torch import distributed as dist
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    reader = HuggingFaceStorageReader(str(folder))
    places: dict[str, Tensor] = {}
    for name, stored in reader.read_metadata().state_dict_metadata.items():
        parameter = _parameter_of(name, parameters)
        if parameter is None or parameter.shape != getattr(stored, "size", None):
            raise ArtefactError(f"{name} belongs to no parameter of this model", where=str(folder))
        places[name] = torch.zeros_like(parameter)
    is_alone = not dist.is_initialized()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*assuming the intent is to load in a single process")  # it is
        load(places, storage_reader=reader, no_dist=is_alone)
    return places


def _parameter_of(name: str, parameters: Mapping[str, Tensor]) -> Tensor | None:
    rest = name.partition(".")[2]
    found = parameters.get(rest)
    return parameters.get(rest.rpartition(".")[0]) if found is None else found
