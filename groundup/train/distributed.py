"""Several processes that train one model: who I am, which rows are mine, and how the ranks agree.

    torchrun --nproc-per-node 2 -m groundup pretrain ...       or       groundup pretrain --devices 2 ...

Every rank runs the same command on the same data and makes the same decisions; it differs in the rows of each batch
that it sees. Rank 0 alone talks to people and writes: the others have a `SilentFolder` and are quiet. What the ranks
add up are sums, never means, so that N ranks make the update that one process makes of the same batch.

One process is the same code with nothing to agree on: `World` then costs nothing and imports nothing of
torch.distributed. How a model is shared stands in parallel.py, how a hung rank is found in heartbeat.py, how ranks are
started in launch.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groundup import config as configs
from groundup.errors import EnvironmentFault, GroundupError, Stopped, UsageError
from groundup.train.config import TrainConfig
from groundup.train.devices import device_for
from groundup.train.heartbeat import GRACE_SECONDS, Heartbeat
from groundup.train.launch import LOST, is_started
from groundup.train.parallel import Alone, Replicated, Sharded
from groundup.train.precision import Masters
from groundup.train.run_folder import RunFolder

JOIN_SECONDS = 60.0
"""How long ranks wait for each other when they start; they are started together."""
POLL_SECONDS = 0.02


class World:
    """All processes of a run. Every rank calls the same methods in the same order."""

    rank: int = 0
    world_size: int = 1

    def __init__(self, device: torch.device, is_sharded: bool = False):
        self.device = device
        self.is_sharded = is_sharded
        """Does each rank hold a part of the model only (`parallel = "fsdp"`)? Then weights are DTensors."""

    @property
    def is_main(self) -> bool:
        """Rank 0 talks to people and writes files."""
        return self.rank == 0

    def rows(self, batch_size: int) -> slice:
        """The rows of a global batch that are this rank's: neighbouring ones, the same number on each rank.

        Of 8 rows on 2 ranks, rank 1 has slice(4, 8).
        """
        n_rows = batch_size // self.world_size
        return slice(self.rank * n_rows, (self.rank + 1) * n_rows)

    def seed(self, seed: int) -> int:
        """The seed of this rank's dropout: rank 0 keeps the given one, and every rank has another."""
        return seed + 7_919 * self.rank

    def share(self, precise: Masters, loss: Callable[..., Any], dtype: torch.dtype) -> Alone:
        """The loss of a micro-batch as a call whose backward pass adds the gradients of all ranks up.

        To be called after `compile_model` and `recompute_activations`, before the optimizers are built. With
        `is_sharded`, `precise` must be Masters(model, torch.float32): FSDP itself computes in `dtype`.
        """
        return Alone(precise, loss)

    def sum(self, tensor: Tensor) -> Tensor:
        """The tensor summed over all ranks, in place."""
        return tensor

    def any(self, flag: bool) -> bool:
        """Is it true on any rank? The same answer everywhere."""
        return flag

    def from_main(self, value: Any) -> Any:
        """Rank 0's value, whatever was given here: numbers, texts, and lists and dicts of them, all exact."""
        return value

    def barrier(self) -> None:
        """Wait until every rank is here."""

    def beat(self, step: int) -> None:
        """Say that this rank has come to `step`: once a step, before its gradients. Free."""

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        """Rank 0 runs the block while the others wait, however long; then they run it and find its work done."""
        yield

    def open_run(self, run_dir: Path | str, **facts: Any) -> RunFolder:
        """`RunFolder.open(run_dir, **facts)` on rank 0; elsewhere, once that is open, a folder that writes nothing.

        Rank 0's `run_dir` counts, so that a name that was found free is the same for all: ask the folder for its path.
        """
        return RunFolder.open(run_dir, **facts)


class Ranks(World):
    """One of several processes, joined through torch.distributed. Made by `joined`."""

    def __init__(self, device: torch.device, is_sharded: bool, hang_timeout: float):
        super().__init__(device, is_sharded)
        import torch.distributed as dist
        from torch.distributed.rendezvous import rendezvous

        self._dist = dist
        joining = timedelta(seconds=JOIN_SECONDS)
        store, self.rank, self.world_size = next(rendezvous("env://", timeout=joining))
        self._store: Any = dist.PrefixStore("groundup", store)  # pyright: ignore[reportPrivateImportUsage]
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=store,
            rank=self.rank,
            world_size=self.world_size,
            timeout=joining,
            device_id=device if device.type == "cuda" else None,
        )
        # The heartbeat names a hung rank after hang_timeout; this is for what it cannot see.
        dist.distributed_c10d._set_pg_timeout(timedelta(seconds=30.0 + (hang_timeout or 86_400.0)))
        self._n_said = 0
        self.heartbeat = Heartbeat(self._store, self.rank, self.world_size, hang_timeout, self.record_failure)

    def share(self, precise: Masters, loss: Callable[..., Any], dtype: torch.dtype) -> Alone:
        return (Sharded if self.is_sharded else Replicated)(precise, loss, dtype, self.heartbeat.moved)

    def sum(self, tensor: Tensor) -> Tensor:
        self.heartbeat.moved()
        self._dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        return bool(self.sum(torch.tensor(float(flag), device=self.device)).item())

    def from_main(self, value: Any) -> Any:
        key = self._next_key("value")
        if self.is_main:
            self._store.set(key, json.dumps(value))
            return value
        self._wait_for(key)
        return json.loads(self._store.get(key))

    def barrier(self) -> None:
        self.any(False)

    def beat(self, step: int) -> None:
        self.heartbeat.step = step
        self.heartbeat.moved()

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        key = self._next_key("done")
        if not self.is_main:
            self._wait_for(key)
        yield
        if self.is_main:
            self._store.set(key, "")

    def open_run(self, run_dir: Path | str, **facts: Any) -> RunFolder:
        run_dir = Path(self.from_main(str(run_dir)))
        with self.main_first():
            return RunFolder.open(run_dir, **facts) if self.is_main else SilentFolder(run_dir)

    def record_failure(self, code: int, what: str) -> bool:
        """Note why the run ends, for the other ranks. True for the first who does: it tells people."""
        said = json.dumps({"rank": self.rank, "code": code, "what": what})
        return self._store.compare_set("failure", "", said).decode() == said

    def failure(self) -> dict[str, Any] | None:
        """Why another rank ended the run: rank, code, what."""
        return json.loads(self._store.get("failure")) if self._store.check(["failure"]) else None

    def leave(self) -> None:
        """Wait for rank 0's last work, and part. A rank that fails meanwhile ends this one too."""
        if self.is_main:
            self._store.set("left", "")
        self._wait_for("left")
        self.heartbeat.stop()
        self._dist.destroy_process_group()

    def let_main_end(self, seconds: float) -> None:
        """After an error: rank 0 says that it has closed its files, the others wait for that before they end.

        The first process that ends makes torchrun end all others.
        """
        if self.is_main:
            self._store.set("left", "")
        deadline = time.monotonic() + seconds
        while not self._store.check(["left"]) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

    def _next_key(self, kind: str) -> str:
        """A new name on every call, the same on every rank."""
        self._n_said += 1
        return f"{kind}-{self._n_said}"

    def _wait_for(self, key: str) -> None:
        """Until rank 0 has set it, or any rank has failed. Rank 0 may work for hours, so no timeout counts here."""
        while not self._store.check([key]):
            if (failed := self.failure()) is not None:
                raise _Ended(failed["code"])
            time.sleep(POLL_SECONDS)


# --- joining ---

_joined: World | None = None


def world(config: TrainConfig) -> World:
    """The ranks this process has joined, or else this process alone."""
    return _joined or World(device_for(config.device))


def as_rank(config: Any) -> Any:
    """A command's Config as this rank is to follow it: `train.devices` is what was started; rank > 0 is quiet."""
    if not is_started():
        return config
    try:
        train = dataclasses.replace(config.train, devices=int(os.environ["WORLD_SIZE"]))
    except ValueError as error:
        raise UsageError(str(error), hint="--batch-size must be a multiple of the number of processes") from error
    changes = {} if os.environ["RANK"] == "0" else {"quiet": True, "json": False}
    return configs.replace(config, "torchrun", train=train, **changes)


@contextlib.contextmanager
def joined(config: TrainConfig) -> Iterator[World]:
    """The world of a whole command: joined on entering, left together.

    An error on any rank ends every rank with its exit code, and is raised on the rank where it happened first, so that
    people read it once; the others leave silently. Raises EnvironmentFault when the ranks cannot find each other.
    """
    global _joined
    if not is_started():
        yield World(device_for(config.device))
        return
    device = _device_of_rank(config.device)
    ranks = _joined = _meet(device, config)
    try:
        yield ranks
        ranks.leave()
    except _Ended as ended:
        ranks.heartbeat.stop()
        raise SystemExit(ended.code) from None
    except (Exception, KeyboardInterrupt) as error:
        _end_all(ranks, error)
    finally:
        _joined = None


def _meet(device: torch.device, config: TrainConfig) -> Ranks:
    try:
        return Ranks(device, config.parallel == "fsdp", config.hang_timeout)
    except RuntimeError as error:  # torch.distributed's errors are RuntimeErrors
        first_line = str(error).strip().partition("\n")[0]
        sys.stderr.write(f"rank {os.environ['RANK']} could not join the others: {first_line}\n")
        raise SystemExit(LOST) from error


def _device_of_rank(wanted: str) -> torch.device:
    """One GPU for each rank of this machine, or the CPU, which they share."""
    device = device_for(wanted)
    if device.type == "mps":
        raise UsageError("Apple's GPU is one device and takes one process", hint="--devices 1, or --device cpu")
    if device.type != "cuda":
        return device
    local_rank, n_gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local_rank >= n_gpus:
        raise EnvironmentFault(
            f"process {local_rank + 1} has no GPU: this machine has {n_gpus}",
            hint=f"--devices {n_gpus}, or --device cpu",
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


class _Ended(Exception):
    """Another rank has failed, and says why; this one leaves with its exit code."""

    def __init__(self, code: int):
        super().__init__(code)
        self.code = code


def _end_all(ranks: Ranks, error: BaseException) -> None:
    """Raise `error` if people are to hear it from this rank, else leave silently with the code of the first."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, because another rank has ended: so does this one
    if isinstance(error, Stopped | KeyboardInterrupt):  # all ranks have agreed on it
        ranks.let_main_end(math.inf if isinstance(error, Stopped) else GRACE_SECONDS)
        ranks.heartbeat.stop()
        if ranks.is_main:
            raise error
        raise SystemExit(error.exit_code if isinstance(error, Stopped) else 130) from None

    is_lost = not isinstance(error, GroundupError) and _is_about_others(error)
    code = LOST if is_lost else getattr(error, "exit_code", 1)
    ranks.heartbeat.end_within(GRACE_SECONDS, code)
    try:
        is_first = ranks.record_failure(code, str(error))
        failed = ranks.failure() or {}
        ranks.let_main_end(GRACE_SECONDS / 4)
    except RuntimeError:  # the store is gone, and with it the process that kept it
        is_first, failed = False, {}
    ranks.heartbeat.stop()
    if is_first and not is_lost:
        raise error
    if is_first:
        first_line = str(error).strip().partition("\n")[0]
        sys.stderr.write(f"rank {ranks.rank} lost the others at step {ranks.heartbeat.step}: {first_line}\n")
    raise SystemExit(failed.get("code", code)) from None


def _is_about_others(error: BaseException) -> bool:
    """Is it a failed exchange with another rank? Gloo raises plain RuntimeErrors that tell where they come from."""
    import torch.distributed as dist

    if isinstance(error, dist.DistError):
        return True
    words = ("gloo", "connection", "nccl", "timed out")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)


class SilentFolder(RunFolder):
    """What a rank > 0 has for a run folder: the same path to read from, and nothing is written."""

    def __init__(self, path: Path):
        self.path = path
        self.name = path.name
        self.run: dict[str, Any] = {"state": "running", "facts": {}}

    def metric(self, row: Mapping[str, Any]) -> None: ...

    def event(self, kind: str, **facts: Any) -> None: ...

    def sample(self, step: int, prompt: str, text: str) -> None: ...

    def remember(self, **facts: Any) -> None: ...

    def forget_after(self, step: int, is_evaluated: bool = True) -> None: ...

    def sync(self) -> None: ...

    def close(self, state: str = "finished") -> None: ...
