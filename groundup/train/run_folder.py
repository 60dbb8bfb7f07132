"""The folder of one run: what was asked for, what happened, and the numbers of every step, as files a person can open.

    config.toml     the resolved configuration, with where each value came from
    run.json        verb, state, versions, machine, command line, and the caller's facts (seed, data hashes, parent)
    metrics.jsonl   one row per step; metrics.csv is the same table for spreadsheets
    events.jsonl    what happened when: opened, resumed, notes, a failure with its traceback
    samples.jsonl   step, prompt, text

A row is one write at the end of its file (see `tables`), so a killed process loses at most the row it was writing.
This file does not know what is trained, draws nothing and prints nothing (see `watch` and `plots`).
"""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import sys
import tomllib
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from groundup import artifact
from groundup.errors import ArtefactError, EnvironmentFault, Stopped, UsageError
from groundup.train import tables
from groundup.train.tables import Row

TABLES = ("metrics.jsonl", "events.jsonl", "samples.jsonl")


class RunFolder:
    """A run that is being written; made by `open`, best used in a `with` block, which records how it ended.

    Left normally, the state becomes "finished"; by `Stopped` or Ctrl-C "stopped"; by any other exception "failed",
    with the traceback in events.jsonl. A killed process leaves "running" behind, which `state` reads as
    "interrupted".
    """

    def __init__(self, path: Path, run: dict[str, Any], lock: contextlib.ExitStack):
        self.path = path
        self.name = path.name
        self.run = run
        self._lock = lock
        self._tables = {name: tables.JsonLines(path / name) for name in TABLES}
        self._csv = tables.CsvCopy(path / "metrics.csv", path / "metrics.jsonl")
        self.forgives = False
        """Go on where the disk refuses a row? It is lost then; the first one is an event, if that can be written."""
        self.n_lost_rows = 0

    @classmethod
    def open(
        cls,
        run_dir: Path | str,
        *,
        verb: str,
        config_toml: str,
        config_hash: str,
        facts: Mapping[str, Any],
        resume: bool,
    ) -> RunFolder:
        """Create the folder, or with `resume` go on with the run of the same configuration that is already there.

        `resume=True` on a new folder simply starts. A run of another configuration, or any run when `resume` is
        false, is a `UsageError` and nothing is changed; a folder that another process holds is an `EnvironmentFault`.
        """
        path = Path(run_dir)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentFault(f"the run folder cannot be made: {error.strerror}", where=str(path)) from error
        with contextlib.ExitStack() as stack:
            stack.enter_context(artifact.lock(path))
            if (path / "run.json").exists():
                _check_same_run(path, config_toml, config_hash, resume)
                run = artifact.read_json(path / "run.json")
                run |= {"state": "running", "ended": None, "facts": {**run["facts"], **facts}}
            else:
                _check_no_orphans(path)
                run = _new_run(verb, config_hash, facts)
                artifact.write_file(path / "config.toml", config_toml)
            for place in (path, path / "checkpoints"):
                artifact.sweep(place, is_mine=True)  # nobody else writes here while the lock is held
            for name in TABLES:
                tables.cut_torn(path / name)
            folder = cls(path, run, stack.pop_all())
        folder._save()
        folder.event("opened", command=run["command"], process=os.getpid())
        return folder

    def metric(self, row: Mapping[str, Any]) -> None:
        """Append a row; `step` is required, every other key is a column."""
        with self._forgiving():
            written = self._tables["metrics.jsonl"].append({"step": int(row["step"]), **row})
            self._csv.append(written)

    def event(self, kind: str, **facts: Any) -> None:
        """Append what happened now."""
        with self._forgiving():
            self._tables["events.jsonl"].append({"time": now(), "kind": kind, **facts})

    def sample(self, step: int, prompt: str, text: str) -> None:
        """Append a text that the model wrote after `step` updates."""
        with self._forgiving():
            self._tables["samples.jsonl"].append({"step": step, "prompt": prompt, "text": text})

    @contextlib.contextmanager
    def _forgiving(self) -> Iterator[None]:
        """A row that the disk refuses is an EnvironmentFault, or one row less."""
        try:
            with artifact.reporting_disk(self.path / "metrics.jsonl"):
                yield
        except EnvironmentFault as error:
            if not self.forgives:
                raise
            self.n_lost_rows += 1
            if self.n_lost_rows == 1:
                self.event("lost_row", reason=str(error))

    def remember(self, **facts: Any) -> None:
        """Add facts that became known on the way (a calibrated number of steps, the best loss) to run.json."""
        self.run["facts"].update(facts)
        self._save()

    def forget_after(self, step: int, is_evaluated: bool = True) -> None:
        """Drop what was recorded after `step`: resumed from that checkpoint, the run writes those rows again.

        Where the checkpoint does not know the evaluation at `step`, its samples and its row are written again, too.
        """
        tables.cut_end(self.path / "samples.jsonl", lambda row: row["step"] >= step + is_evaluated)
        tables.cut_end(
            self.path / "metrics.jsonl",
            lambda row: row["step"] > step or (not is_evaluated and row["step"] == step and "seconds" not in row),
        )
        self._csv.cut_end()
        self.event("resumed", step=step)

    def metrics(self) -> list[Row]:
        """Every row written so far."""
        return list(tables.read(self.path / "metrics.jsonl"))

    def last_known(self, key: str, default: Any = None) -> Any:
        """The newest value of a column, found from the end of the table."""
        return next((row[key] for row in tables.backwards(self.path / "metrics.jsonl") if key in row), default)

    def sync(self) -> None:
        """Force what was appended to the disk, so that a power cut cannot lose the rows that led to a checkpoint."""
        with artifact.reporting_disk(self.path / "metrics.jsonl"):
            for table in (*self._tables.values(), self._csv):
                table.sync()

    def close(self, state: str = "finished") -> None:
        """Write the final state and give the folder back. A second call does nothing."""
        if self.run["state"] != "running":
            return
        self.run |= {"state": state, "ended": now()}
        with self._lock:
            try:
                self.sync()
                self._save()
            finally:
                for table in (*self._tables.values(), self._csv):
                    table.close()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        elif isinstance(error, Stopped | KeyboardInterrupt):
            with contextlib.suppress(OSError):
                self.close("stopped")
        else:
            # The failure itself must reach the caller: a disk too full to note it must not hide it.
            with contextlib.suppress(OSError):
                self.event("failed", error=str(error), traceback="".join(traceback.format_exception(error)))
            with contextlib.suppress(OSError):
                self.close("failed")

    def _save(self) -> None:
        options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
        artifact.write_file(self.path / "run.json", orjson.dumps(self.run, default=str, option=options))


def next_run_dir(verb: str, root: Path = Path("runs")) -> Path:
    """`<root>/<verb>-<n>` with n one above the highest there is; nothing is created."""
    numbers = [path.name.removeprefix(f"{verb}-") for path in root.glob(f"{verb}-*")]
    return root / f"{verb}-{1 + max((int(n) for n in numbers if n.isdecimal()), default=0)}"


def read_state(run_dir: Path) -> str:
    """running, finished, stopped or failed; "interrupted" where it says running but no process holds the folder."""
    said = artifact.read_json(run_dir / "run.json").get("state", "unknown")
    if said != "running":
        return said
    try:
        with artifact.lock(run_dir):
            return "interrupted"
    except (EnvironmentFault, OSError):
        return "running"


def now() -> str:
    """Local time with its offset, to the second: 2025-03-01T14:05:09+01:00."""
    return datetime.now(UTC).astimezone().isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of what can change a result, without importing any of it."""
    found = {"python": platform.python_version()}
    for name in ("groundup", "torch", "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def machine() -> dict[str, Any]:
    """What the run stands on. Threads and GPU are torch's, where the program has loaded it."""
    torch = sys.modules.get("torch")
    n_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "n_cpus": n_cpus,
        "n_threads": torch.get_num_threads() if torch else n_cpus,
        "gpu": torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None,
    }


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _new_run(verb: str, config_hash: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "verb": verb,
        "state": "running",
        "started": now(),
        "ended": None,
        "command": shlex.join(["groundup", *sys.argv[1:]]),
        "config_hash": config_hash,
        "versions": versions(),
        "machine": machine(),
        "facts": dict(facts),
    }


def _check_same_run(path: Path, config_toml: str, config_hash: str, resume: bool) -> None:
    if artifact.read_json(path / "run.json").get("config_hash") != config_hash:
        differences = _differences((path / "config.toml").read_text(encoding="utf-8"), config_toml)
        raise UsageError(
            "the run folder holds a run of another configuration: "
            + "; ".join(differences or ["its data or tokenizer differ"]),
            where=str(path),
            hint="choose another --run-dir, or give the same values again to go on with this run",
        )
    if not resume:
        raise UsageError(
            "the run folder already holds a run", where=str(path), hint="resume it, or choose another --run-dir"
        )


def _check_no_orphans(path: Path) -> None:
    orphans = [name for name in (*TABLES, "checkpoints") if (path / name).exists()]
    if orphans:
        raise ArtefactError(
            f"the folder holds {', '.join(orphans)} but no run.json",
            where=str(path),
            hint="choose another --run-dir or empty it",
        )


def _differences(old_toml: str, new_toml: str) -> list[str]:
    """`lr was 0.001, is now 0.002` for every field that differs."""
    old, new = dict(_leaves(tomllib.loads(old_toml))), dict(_leaves(tomllib.loads(new_toml)))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return [f"{name} was {old.get(name, 'not set')}, is now {new.get(name, 'not set')}" for name in names]


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
