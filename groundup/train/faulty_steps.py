"""Steps whose numbers were not finite: the batch kept as a bundle that anyone can open, and its documents named.

    faults/step-00000012/           the 12th update of metrics.jsonl, that is `batches.batch(11)`
        batch.safetensors           ids and targets (B, T) int32, segments where there are some
        step.json                   loss, gradient norm, the loop's settings, and where each document stood

Steps are counted from 0, as `batches.batch` does, but in names and words for people from 1, as in metrics.jsonl.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from groundup import artifact
from groundup.data import ledger
from groundup.data.batches import Packed, Windows
from groundup.errors import GroundupError
from groundup.train.config import TrainConfig
from groundup.weights import huggingface, lazy, safetensors_writer

MOST_BUNDLES = 32
"""A run keeps the first ones: a fault that comes again and again must not fill the disk."""
MOST_NAMED = 20


def save(run_dir: Path, step: int, batches: Any, config: TrainConfig, loss: float, grad_norm: float) -> Path | None:
    """Write the bundle of a step and return its folder; None when the run has `MOST_BUNDLES` already.

    The same step gives the same bytes, however often and by whomever it is written. Only the main rank may call it.
    """
    folder = run_dir / "faults" / f"step-{step + 1:08d}"
    if not folder.exists() and len(list((run_dir / "faults").glob("step-*"))) >= MOST_BUNDLES:
        return None
    batch = batches.batch(step)
    tensors = {"ids": batch.ids, "targets": batch.targets}
    if batch.segments is not None:
        tensors["segments"] = batch.segments
    facts = {
        "step": step + 1,
        "loss": loss if math.isfinite(loss) else str(loss),
        "grad_norm": grad_norm if math.isfinite(grad_norm) else str(grad_norm),
        "train": asdict(config),
        "data": _files(batches),
        "spans": [asdict(span) for span in ledger.spans(batches, step)] if _has_ledger(batches) else None,
    }
    with artifact.writing(folder, {"kind": "faulty step"}, replace=True) as temporary:
        narrow = {name: lazy.of(tensor.to(torch.int32)) for name, tensor in tensors.items()}
        safetensors_writer.write(temporary / "batch.safetensors", narrow)
        huggingface.write_json(temporary / "step.json", facts)
    return folder


def documents(batches: Any, steps: Sequence[int]) -> list[int]:
    """The numbers of all documents in the batches of these steps; none where the batches have no documents."""
    return ledger.documents(batches, list(steps)) if _has_ledger(batches) else []


def given_up(batches: Any, steps: Sequence[int], run_dir: Path, last_good: int | None) -> GroundupError:
    """The error that ends a run whose loss is no number, whatever was tried: names the steps and their documents."""
    found = documents(batches, steps)
    named = " ".join(map(str, found[:MOST_NAMED])) + (
        f" and {len(found) - MOST_NAMED} more" * (len(found) > MOST_NAMED)
    )
    first, last = steps[0] + 1, steps[-1] + 1
    tried = "there is no earlier checkpoint" if last_good is None else f"going back to step {last_good} did not help"
    what = f"the loss is not a number in the steps {first} to {last}, and {tried}"
    if found:
        what += f"; their documents are {named}"
    hint = "lower --lr and --matrix-lr, or train with --precision fp32; their batches are in faults/"
    if found:
        hint += "; a document that is at fault is left out with --ban NUMBER"
    return GroundupError(what, where=str(run_dir), hint=hint)


def _has_ledger(batches: Any) -> bool:
    return isinstance(batches, Windows | Packed)


def _files(batches: Any) -> list[str]:
    """The files of ids that the batches are read from; none where they are only in memory."""
    ids = getattr(getattr(batches, "split", None), "ids", None)
    return [str(path) for path in getattr(ids, "paths", [])]
