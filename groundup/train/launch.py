"""`--devices N`: start N processes of the same command, watch over them, and start them anew when one died or hung.

    groundup pretrain --devices 2          this file: passes signals on, counts attempts, leaves nobody behind
      └─ torchrun                          one per attempt, in a session of its own; its own restarts are not used:
           ├─ rank 0                       they hang now and then after a rank was killed
           └─ rank 1

A rank that says what is wrong (a flag, bad data) ends everything with its exit code, as it would alone. One that is
killed, or that is lost because another one is, leads to the next attempt, which goes on from the last checkpoint.
No torch here: the watching process stays small. Under a plain `torchrun -m groundup pretrain` nothing of this happens.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from groundup.errors import GroundupError
from groundup.train.config import TrainConfig

LOST = 76
"""Exit code of a rank that cannot go on because another one died or hung: worth another attempt."""
POLL_SECONDS = 0.2
GRACE_SECONDS = 15.0
"""How long the other ranks may take to end after the first one has."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def is_started() -> bool:
    """Has torchrun (or another launcher with its variables) started this process?"""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def is_needed(config: TrainConfig) -> bool:
    """Are several processes asked for, and not there yet?"""
    return config.devices > 1 and not is_started()


def supervise(
    argv: Sequence[str],
    devices: int,
    max_restarts: int,
    notice: Callable[[str], object] = lambda text: None,
    module: str = "groundup",
) -> int:
    """Run `python -m MODULE ARGV` as so many processes of this machine until it ends; returns its exit code.

    SIGTERM and Ctrl-C are passed on to every rank. GroundupError after `max_restarts` attempts more than the first.
    """
    ranks = _Ranks()
    with ranks.receiving_signals():
        for attempt in range(max_restarts + 1):
            code = ranks.run([module, *argv], devices)
            if ranks.told is not None and code == LOST:
                return 128 + ranks.told
            if code != LOST:
                return code
            if attempt < max_restarts:
                notice(f"a process died or hung: starting all {devices} again, attempt {attempt + 2}")
    raise GroundupError(
        f"gave up after {max_restarts + 1} attempts, in each of which a process died or hung",
        hint="the same command goes on from the last checkpoint; --max-restarts allows more",
    )


class _Ranks:
    """The processes of one attempt after the other."""

    def __init__(self) -> None:
        self.told: int | None = None
        """The signal that was passed on to them."""
        self._ranks: set[Any] = set()
        self._family: set[Any] = set()

    @contextlib.contextmanager
    def receiving_signals(self) -> Iterator[None]:
        """Signals to this process go to the ranks, which agree on what to do."""
        if threading.current_thread() is not threading.main_thread():  # where Python takes no handlers
            yield
            return
        before = {number: signal.signal(number, self._pass_on) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _pass_on(self, number: int, frame: Any) -> None:
        import psutil

        self.told = number
        for rank in self._ranks:
            with contextlib.suppress(psutil.NoSuchProcess):
                rank.send_signal(number)

    def run(self, program: Sequence[str], devices: int) -> int:
        """One attempt; when it returns, nothing of it runs any more."""
        launcher = subprocess.Popen(
            [
                sys.executable, "-m", __name__,
                "--standalone", "--local-addr=127.0.0.1", "--monitor-interval=0.1", f"--nproc-per-node={devices}",
                "-m", *program,
            ],
            env=_environment(devices),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        self._ranks, self._family = set(), set()
        try:
            return self._watch(launcher, devices)
        finally:
            self._end(launcher)

    def _watch(self, launcher: subprocess.Popen[bytes], devices: int) -> int:
        import psutil

        process = psutil.Process(launcher.pid)
        n_most, first_ended_at = 0, None
        while (code := launcher.poll()) is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._ranks = {child for child in process.children() if child.status() != psutil.STATUS_ZOMBIE}
                self._family |= set(process.children(recursive=True))
            n_most = max(n_most, len(self._ranks))
            if len(self._ranks) < n_most == devices:
                first_ended_at = first_ended_at or time.monotonic()
                if time.monotonic() - first_ended_at > GRACE_SECONDS:
                    return LOST  # a rank that neither works nor ends
            time.sleep(POLL_SECONDS)
        return code if code >= 0 else LOST

    def _end(self, launcher: subprocess.Popen[bytes]) -> None:
        """Kill what is left, also what the ranks have started."""
        import psutil

        with contextlib.suppress(psutil.NoSuchProcess):
            self._family |= set(psutil.Process(launcher.pid).children(recursive=True))
        launcher.kill()
        launcher.wait()
        for process in self._family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(self._family, timeout=GRACE_SECONDS)


def _environment(devices: int) -> dict[str, str]:
    """The ranks share the processor's cores, and talk over this machine's own network only."""
    n_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    return {
        "OMP_NUM_THREADS": str(max(1, n_cpus // devices)),
        **({} if os.name == "nt" else {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}),
        **os.environ,
    }


# --- inside the started process ---


def launch(argv: Sequence[str]) -> int:
    """torchrun, without the page it prints when a rank fails: the rank has said what is wrong. Returns the exit code.

    That is the code of a rank that said what is wrong; LOST where one was killed, or lost the others.
    """
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    try:
        run.run(run.parse_args(argv))
    except ChildFailedError as error:
        codes = [failure.exitcode for failure in error.failures.values()]
        told = [code for code in codes if code > 0 and code != LOST]
        # A plain 1 beside a killed rank is how that looked from the other side.
        return LOST if not told or (max(told) == 1 and min(codes) < 0) else max(told)
    return 0


def _end_with_parent(parent: int) -> None:
    """Nobody watches any more: the ranks see that this process is gone, and end as well."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(LOST)


if __name__ == "__main__":
    sys.exit(launch(sys.argv[1:]))
