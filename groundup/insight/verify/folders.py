"""A model on disk, opened beside its judge and compared; with the contract and the checksums, which only disks have."""

from pathlib import Path
from typing import Any

import psutil
from torch import nn

from groundup import artifact, models
from groundup.errors import ArtefactError, EnvironmentFault
from groundup.insight.verify import golden, judges, names
from groundup.insight.verify.checks import Check
from groundup.insight.verify.comparison import compare, ids_for
from groundup.insight.verify.recording import Recording
from groundup.insight.verify.report import Report
from groundup.weights import checkpoint, tensors
from groundup.weights.checkpoint import Loaded

Judge = tuple[nn.Module | Recording, str]
"""And who it is."""


def verify(path: Path, against: Path | None = None, *, checksums: bool = False, backward: bool = True) -> Report:
    """Compare the model at `path` with transformers' of the same folder, or with what lies at `against`.

    The best judge that there is takes the seat, and the report says which: transformers' model of that folder, else
    golden tensors beside it, else ours of another folder, or the equations. ArtefactError where the model cannot be
    opened at all.
    """
    _refuse_too_large(path, against, backward)
    loaded, broken = _open(path)
    notes: list[str] = []
    judge, who = _judge(loaded, against, notes) or (None, "")
    is_fp16 = _is_fp16(loaded.path)
    report = compare(loaded.model, judge, who=who, backward=backward, model_name=str(path), is_fp16=is_fp16)
    report.notes += notes
    if broken is not None:
        report.checks.append(broken)
    elif loaded.contract is not None:
        report.checks.append(Check("contract", True))
    if checksums:
        report.checks.append(_checksums(loaded.path))
    return report


def n_parameters(path: Path) -> int:
    """How large a model is; nothing but headers is read."""
    return checkpoint.open_portable(path, []).n_parameters


def _refuse_too_large(path: Path, against: Path | None, backward: bool) -> None:
    """Two models in fp32, and the gradients of both: what that takes is known before it is begun."""
    copies = (1 if against is not None and golden.is_golden(against) else 2) * (2 if backward else 1)
    needed, free = 4 * copies * n_parameters(path), psutil.virtual_memory().available
    if needed > free:
        raise EnvironmentFault(
            f"comparing takes {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free",
            where=str(path),
            hint="--no-backward takes half; golden tensors, written on a larger machine, need no second model",
        )


def write_golden(path: Path, file: Path, against: Path | None = None) -> Recording:
    """Store what the judge of `path` computes. EnvironmentFault where there is none but ourselves."""
    loaded, _ = _open(path)
    found = _judge(loaded, against, [])
    if found is None or not isinstance(found[0], nn.Module):
        raise EnvironmentFault(
            "golden tensors are another program's, and none is here that can run this model",
            where=str(path),
            hint="pip install transformers, or name another folder with --against",
        )
    judge, who = found[0], found[1]
    ids = ids_for(loaded.model, judge)
    recording = judges.record_judge(judge.eval(), loaded.model, ids, names.pairs(loaded.model), who)
    recording.config = recording.config or loaded.model.config
    golden.write(file, recording)
    return recording


def _open(path: Path) -> tuple[Loaded, Check | None]:
    """The model, and the check that fails where it does not keep its contract: it is looked at all the same."""
    try:
        return checkpoint.load(path, share=True), None
    except ArtefactError as error:
        try:
            loaded = checkpoint.load(path, share=True, force=True)
        except ArtefactError:
            raise error from None
        fault = "unknown settings or tensors" if loaded.contract is None else "contract broken"
        return loaded, Check("contract", False, error.what.replace("\n  ", " "), fault, error.hint or "")


def _judge(loaded: Loaded, against: Path | None, notes: list[str]) -> Judge | None:
    if against is not None:
        return _named_judge(against, notes)
    reason = getattr(models.family(models.name_of(loaded.model.config)), "NOT_ELSEWHERE", None)
    if reason is not None:
        notes.append(f"no other program can run it: {reason}")
        return None
    try:
        return judges.open_transformers(loaded.path), f"{judges.name_of_transformers()}, of the same files"
    except EnvironmentFault as error:
        notes.append(error.what)
    beside = (loaded.path if loaded.path.is_dir() else loaded.path.parent) / golden.NAME
    if beside.is_file():
        return _golden(beside)
    notes.append(f"{golden.NAME} in its folder, or --against FILE, would take the place of transformers")
    return None


def _named_judge(against: Path, notes: list[str]) -> Judge:
    if golden.is_golden(against):
        return _golden(against)
    where = checkpoint.resolve(against)
    try:
        return judges.open_transformers(where), f"{judges.name_of_transformers()}, {against}"
    except EnvironmentFault as error:
        notes.append(f"{error.what}; so the judge is our own model of it, and shares our code")
        return checkpoint.load(against, share=True, force=True).model, f"groundup, {against}"


def _golden(file: Path) -> Judge:
    recording = golden.read(file)
    recording.who = f"golden tensors of {recording.who}, {file.name}"
    return recording, recording.who


def _is_fp16(path: Path) -> bool:
    """Whether the matrices are stored in fp16, so that whoever runs it as it is stored computes in fp16."""
    stored: Any = tensors.open_model(path).tensors.values()
    return all(tensor.dtype == "F16" for tensor in stored if len(tensor.shape) > 1)


def _checksums(path: Path) -> Check:
    name = "checksums"
    if not (path / artifact.MANIFEST).is_file():
        return Check(name, None, "not asked: the folder has no manifest, which only groundup writes")
    try:
        artifact.verify(path, checksums=True)
    except ArtefactError as error:
        return Check(name, False, error.what, "damaged file", "take the file from a copy, or the checkpoint before it")
    return Check(name, True)
