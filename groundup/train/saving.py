"""Checkpoints of a running training: written whole, beside the training, and gone on from.

    with saving.Saver(run, model, optimizers, keep=2, tokenizer=tokenizer, notice=watch.note) as saver:
        saver.preflight(n_saves=10)                  # refuses a disk that is too small before an hour was spent
        progress = saver.resume()                    # the newest checkpoint that is whole, or step 0
        ...
        saver.save(progress, extra)                  # returns when the state is copied; a thread writes
        ...
        saver.wait()                                 # written, or the error that kept it from being written

The order of a save is: the folder is complete on disk, `latest` names it, `best` does if it is, and only then are
older ones removed. So there is a whole checkpoint at every instant, whatever happens.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import psutil
import torch
from torch import Tensor, nn

from groundup import artifact
from groundup.errors import ArtefactError, EnvironmentFault, UsageError
from groundup.optim import state
from groundup.optim.shards import is_spread, whole
from groundup.tokenizer.protocol import Tokenizer
from groundup.train import sharded, step_dirs
from groundup.train.progress import Progress
from groundup.train.run_folder import RunFolder
from groundup.train.step_writer import StepWriter
from groundup.weights import checkpoint, lazy, portable

__all__ = ["Progress", "Saver", "last_metrics"]

WEIGHTS, MEAN = "weights.", "ema."
"""Before the names of the trained weights, and of their running mean, where both are kept."""


class Saver:
    """Saves the state of one run and brings it back.

    `identity` are hashes by name, such as {"data": ...}, that must be the same when the run goes on; those of the
    configuration and the tokenizer are added here. `on_error` says what a disk that refuses does: "stop" raises its
    EnvironmentFault at the next call, "warn" notes it and lets the training go on. `notice` is told, in a line for
    people, whatever they should know. With `is_main` false nothing is written: another process does.

    Use it in a `with` block: leaving it waits for the last save, or gives it up on Ctrl-C.
    """

    def __init__(
        self,
        run: RunFolder,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        keep: int = 2,
        tokenizer: Tokenizer | None = None,
        facts: Mapping[str, Any] | None = None,
        on_error: Literal["stop", "warn"] = "stop",
        *,
        identity: Mapping[str, str] | None = None,
        allow_mismatch: bool = False,
        notice: Callable[[str], None] = lambda line: None,
        is_main: bool = True,
    ):
        self.extra: dict[str, Tensor] = {}
        """After `resume` or `load`: the extra tensors of that checkpoint, by the names they were saved under."""
        self.step_dir: Path | None = None
        """The newest checkpoint that is known to be whole: resumed from, or written (after `wait`)."""
        self.has_failed = False
        """Was the last save refused by the disk, and forgiven? Known after `wait`."""
        self._run = run
        self._model = model
        self._optimizers = list(optimizers)
        self._keep = keep
        self._tokenizer = tokenizer
        self._facts = dict(facts or {})
        self._on_error = on_error
        self._identity = {"config": run.run.get("config_hash", ""), **(identity or {})}
        if tokenizer is not None:
            self._identity["tokenizer"] = tokenizer.hash
        self._allow_mismatch = allow_mismatch
        self._notice = notice
        self._is_main = is_main
        self._saved: dict[str, Any] | None = None  # the state that was saved last
        self._writing: StepWriter | None = None
        run.forgives = on_error == "warn"

    # --- saving ---

    def preflight(self, n_saves: int = 1) -> None:
        """EnvironmentFault if the disk has no room for the checkpoints to come; asked before the work begins.

        At most `keep` of them, the best, and the one that is being written are there at once.
        """
        if self._is_main:
            n_there = len(step_dirs.all_of(self._run.path))
            n_to_come = min(n_saves, max(1, self._keep + 2 - n_there))
            what = "a checkpoint" if n_to_come == 1 else f"what will be saved ({n_to_come} checkpoints at once)"
            hint = "free some space there, write to another disk with --run-dir, or keep fewer with --keep"
            artifact.need_room(self._run.path, n_to_come * self._estimated_bytes(), what, hint)

    def save(self, progress: Progress, extra: Mapping[str, Tensor] | None = None) -> Path:
        """Save the state of now; returns the folder that the checkpoint will have, as soon as the state is copied.

        `extra` are tensors by names of the caller's, such as "scaler.scale". If there is an "ema.<name>" for every
        parameter, these are the model of the checkpoint (and `extra` again when it is resumed), and the trained
        weights travel beside the optimizer's memory.

        The copy takes as much memory as the model and the optimizer's state; where that is not free, the state is
        written at once, without one. One save is written at a time: the next one waits. What went wrong in the last
        one is raised here (on_error). GroundupError if a number is not finite: nothing is written then.
        """
        self.wait()
        step_dir = step_dirs.path_of(self._run.path, progress.step)
        saved = progress.to_json() | {"identity": self._identity}
        if step_dir == self.step_dir and saved == self._saved:
            return step_dir
        tensors, weights = self._tensors(extra or {})  # of all ranks: slices of weights are gathered
        sliced, tensors = sharded.split(tensors)
        folders = {sharded.PLACE: sharded.write(step_dir, sliced, self._is_main)} if sliced else {}
        if not self._is_main:
            self.step_dir, self._saved = step_dir, saved
            return step_dir
        try:
            n_bytes = _n_bytes(tensors.values()) + _n_bytes((weights or dict(self._model.named_parameters())).values())
            artifact.need_room(step_dir, n_bytes, f"the checkpoint of step {progress.step}")
            has_memory = 1.25 * n_bytes < psutil.virtual_memory().available
            taken = checkpoint.snapshot(
                step_dir, self._model, self._tokenizer,
                training=tensors, state=saved, facts=self._facts, weights=weights, folders=folders,
                copy=has_memory,
            )  # fmt: skip
        except EnvironmentFault as error:
            self._failed(step_dir, error)
            return step_dir
        is_best = progress.best_step == progress.step
        kept = {step for step in (progress.guard.get("last_good"),) if step is not None}
        self._writing = StepWriter(self._run, step_dir, taken, is_best, self._keep, kept)
        self._saved = saved
        if not has_memory:
            self.wait()
        return step_dir

    def check(self) -> None:
        """Raise what went wrong in a save that has ended meanwhile; costs nothing, so it may be asked at every step."""
        if self._writing is not None and self._writing.is_over:
            self.wait()

    def wait(self) -> None:
        """Wait until what was saved is on disk; raises what went wrong (on_error). A second call does nothing."""
        if self._writing is None:
            return
        self._writing.wait()
        ended, self._writing = self._writing, None
        if ended.error is None and ended.is_over:
            self.step_dir, self.has_failed = ended.step_dir, False
        elif ended.error is not None:
            self._failed(ended.step_dir, ended.error)

    def _failed(self, step_dir: Path, error: BaseException) -> None:
        self._saved, self.has_failed = None, True
        if self._on_error != "warn" or not isinstance(error, EnvironmentFault | OSError):
            raise error
        self._run.event("save_failed", path=step_dir.name, reason=str(error))
        self._notice(f"{step_dir.name} could not be saved, and the training goes on: {error}")

    def _tensors(self, extra: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        """(what is kept for the training, the weights of the model that others see, if they are not the model's)"""
        if wrong := [name for name in extra if name.startswith(WEIGHTS) or name[:1].isdecimal()]:
            raise ValueError(f"an extra tensor cannot be named {wrong[0]!r}")
        tensors = state.to_tensors(self._optimizers, self._model)
        own = dict(self._model.named_parameters())
        weights = {name: whole(one) for name, one in own.items()}
        is_sliced = any(weights[name] is not own[name] for name in own)
        mean = {name: whole(extra[MEAN + name]) for name in own if MEAN + name in extra}
        if len(mean) < len(own):
            return {**tensors, **extra}, weights if is_sliced else None
        tensors |= {name: one for name, one in extra.items() if name.removeprefix(MEAN) not in mean}
        return tensors | {WEIGHTS + name: one.detach() for name, one in own.items()}, mean

    def _estimated_bytes(self) -> int:
        """Of one checkpoint. Before the first step an optimizer has no memory yet: Adam's is two numbers a weight."""
        weights = list(self._model.parameters())
        n_bytes = 4 * sum(weight.numel() for weight in weights)
        known = _n_bytes(state.to_tensors(self._optimizers, self._model).values())
        for optimizer in self._optimizers if not known else ():
            n_copies = 2 if "betas" in optimizer.defaults else 1 if optimizer.defaults.get("momentum") else 0
            n_weights = sum(weight.numel() for group in optimizer.param_groups for weight in group["params"])
            known += 4 * n_copies * n_weights
        return n_bytes + known

    # --- going on ---

    def resume(self, resume_from: Path | str | None = None) -> Progress:
        """Take weights, optimizers and position from the newest checkpoint that verifies, or begin at step 0.

        A damaged one is passed over with an event, a line for people, and a new name, under which it is kept. The
        checkpoint `resume_from` is taken or refused, without another in its place (ArtefactError). Refused is also
        one of another configuration, tokenizer or data, unless that is allowed.
        """
        return self.load(self.find(resume_from))

    def find(self, resume_from: Path | str | None = None) -> Path | None:
        """The checkpoint that `resume` goes on from, checked; with several processes the main one finds it for all."""
        self.wait()
        if resume_from is not None:
            found = _meant(Path(resume_from))
            self._check(found)
            step = artifact.read_json(found / "training" / "state.json")["step"]
            for later in step_dirs.all_of(self._run.path):
                if step_dirs.step_of(later) > step:
                    self._set_aside(later, f"it is later than {found.name}, which was asked for")
            return found
        for step_dir in reversed(step_dirs.all_of(self._run.path)):
            try:
                step_dirs.check(step_dir)
            except ArtefactError as damage:
                self._set_aside(step_dir, str(damage))
                continue
            self._check(step_dir)
            return step_dir
        return None

    def load(self, step_dir: Path | None) -> Progress:
        """Take everything from a checkpoint that `find` found; rows after it are forgotten. None begins at step 0."""
        self.extra = {}
        self.step_dir, self._saved = step_dir, None
        if step_dir is None:
            self._run.forget_after(-1)
            return Progress()
        tensors, saved = checkpoint.load_training(step_dir, is_verified=True)
        tensors |= sharded.read(step_dir, dict(self._model.named_parameters()))
        self._load_weights(step_dir, tensors)
        of_optimizers = {name: tensors.pop(name) for name in list(tensors) if name[:1].isdecimal()}
        parameters = dict(self._model.named_parameters())
        for name, tensor in of_optimizers.items():
            parameter = parameters.get(name.partition(".")[2].rpartition(".")[0])
            if parameter is not None and tensor.ndim:
                of_optimizers[name] = _sliced_as(parameter, tensor)
        for optimizer in self._optimizers:
            optimizer.state.clear()
        try:
            state.from_tensors(of_optimizers, self._optimizers, self._model)
        except ValueError as error:
            raise ArtefactError(str(error), where=str(step_dir)) from error
        self.extra |= tensors
        self._saved = dict(saved)
        saved.pop("identity", None)
        progress = Progress.from_json(saved, where=str(step_dir))
        self._run.forget_after(progress.step, is_evaluated=progress.evaluated_step == progress.step)
        progress.seconds = self._run.last_known("seconds", 0.0)
        if self._is_main:
            self._point_at(step_dir, progress)
        return progress

    def _check(self, step_dir: Path) -> None:
        """ArtefactError if it is damaged or belongs to another run; a file that is nobody's is only told."""
        for name in step_dirs.check(step_dir):
            self._notice(f"{step_dir.name} holds {name}, which is not of it and is passed over")
        if not (step_dir / "training" / "state.json").is_file():
            what = "the checkpoint has no training state to resume from"
            raise ArtefactError(what, where=str(step_dir), hint="start a new run from its weights with --init-from")
        then = artifact.read_json(step_dir / "training" / "state.json").get("identity", {})
        other = [name for name, now in self._identity.items() if then.get(name, now) != now]
        if other and not self._allow_mismatch:
            what = f"the checkpoint is of another {' and '.join(other)}, so the run cannot go on from it"
            hint = "take what it was trained with, or start a new run from its weights with --init-from"
            raise ArtefactError(what, where=str(step_dir), hint=hint)
        if other:
            self._notice(f"{step_dir.name} is of another {' and '.join(other)}; going on all the same")

    def _set_aside(self, step_dir: Path, reason: str) -> None:
        place = step_dirs.set_aside(step_dir)
        self._run.event("passed_over", path=step_dir.name, reason=reason, kept_as=place and place.name)
        kept = f"; it is kept as {place.name}" if place else ""
        self._notice(f"{step_dir.name} is passed over: {reason}{kept}")

    def _load_weights(self, step_dir: Path, tensors: dict[str, Tensor]) -> None:
        """The trained weights into the model; if the checkpoint's model is their mean, that into `extra`."""
        source = checkpoint.open_portable(step_dir)
        if source.config != self._model.config:
            raise ArtefactError(f"the checkpoint holds {source.config}, not {self._model.config}", where=source.where)
        weights, own = dict(source.tensors), dict(self._model.named_parameters())
        if any(name.startswith(WEIGHTS) for name in tensors):
            self.extra |= {MEAN + name: _sliced_as(own[name], one.load().clone()) for name, one in weights.items()}
            weights = {name: lazy.of(tensors.pop(WEIGHTS + name)) for name in weights}
        cut = {name: one.mapped(partial(_sliced_as, own[name])) for name, one in weights.items()}
        portable.fill(self._model, cut, source.where)

    def _point_at(self, step_dir: Path, progress: Progress) -> None:
        """Mend `latest` and `best`, which a crash or a damaged checkpoint may have left behind or pointing nowhere."""
        if step_dir.parent != self._run.path / step_dirs.FOLDER:
            return
        step_dirs.point(self._run.path, "latest", step_dir)
        best = step_dirs.path_of(self._run.path, progress.best_step)
        if step_dirs.pointed(self._run.path, "best") is None:
            step_dirs.point(self._run.path, "best", best if best.exists() else step_dir)

    def __enter__(self) -> "Saver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.wait()
        elif self._writing is not None:
            if isinstance(error, KeyboardInterrupt):
                self._writing.give_up()
            # What ended the run must reach the caller; that the last save failed too is only noted.
            with contextlib.suppress(Exception, KeyboardInterrupt):
                self.wait()


def last_metrics(run_dir: Path) -> dict[str, float]:
    """The metrics of the last evaluation that a run's newest checkpoint remembers; empty when there is none."""
    for step_dir in reversed(step_dirs.all_of(run_dir)):
        with contextlib.suppress(ArtefactError):
            artifact.verify(step_dir)
            saved = artifact.read_json(step_dir / "training" / "state.json")
            saved.pop("identity", None)
            return Progress.from_json(saved).metrics
    return {}


def _meant(path: Path) -> Path:
    """The checkpoint that a path means: itself, or the newest of a run folder."""
    found = step_dirs.all_of(path)
    if not found and not (path / artifact.MANIFEST).exists():
        raise UsageError("there is no checkpoint to resume from", where=str(path))
    return found[-1] if found else path


def _sliced_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    """This rank's slice of a tensor, where FSDP has sliced the parameter; else all of it."""
    if not is_spread(parameter) or is_spread(tensor):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = parameter.device_mesh, parameter.placements  # pyright: ignore[reportAttributeAccessIssue]
    return distribute_tensor(tensor.to(parameter.device), mesh, placements)


def _n_bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
