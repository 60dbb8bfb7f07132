"""What every benchmark here shares: rows, fair timing, child processes, a section of BENCHMARK.md.

A benchmark checks first that both sides did the same work, then times them in turns (ours, peer, ours, peer) in one run
and takes the best of each: on a machine that others use too, the best is what the code can do. A comparison whose sides
differ is not timed; its row says so, and the benchmark ends with exit code 1.
"""

import importlib
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
HEAD = """# Benchmarks

Every figure was measured by a script in `benchmarks/`, ours and the peer's side by side in one run; nothing is typed in
by hand. Each section names the command that writes it. A ratio above 1 means that groundup is better.
"""


@dataclass
class Row:
    """One comparison, or one figure of ours with a limit.

    ours, peer: best of the run in `unit`; None where there is none. Seconds, bytes, bits and distances ("apart") are
    better small, all else big.
    least_ratio: what `ratio` should reach. limit: what `ours` should not exceed (or, where more is better, reach).
    failed: why there are no figures: the two sides differ, something is missing. times: all repetitions, by side.
    """

    row: str
    unit: str
    ours: float | None = None
    peer: float | None = None
    peer_name: str | None = None
    least_ratio: float | None = None
    limit: float | None = None
    failed: str | None = None
    note: str | None = None
    times: dict[str, list[float]] = field(default_factory=dict)

    @property
    def is_better_small(self) -> bool:
        return self.unit in ("s", "ms", "MB", "apart", "bits per byte")

    @property
    def ratio(self) -> float | None:
        """How many times better than the peer, or than the limit where there is no peer."""
        other = self.limit if self.peer is None else self.peer
        if not self.ours or not other:
            return None
        return other / self.ours if self.is_better_small else self.ours / other

    @property
    def goal(self) -> str:
        goals = [f"{self.least_ratio:g}x"] if self.least_ratio else []
        if self.limit is not None:
            goals.append(f"{'<=' if self.is_better_small else '>='} {self.limit:g} {self.unit}")
        return ", ".join(goals)

    @property
    def is_reached(self) -> bool | None:
        """None where there is no goal."""
        if not self.goal:
            return None
        if self.failed or self.ours is None:
            return False
        is_enough = self.least_ratio is None or (self.ratio or 0) >= self.least_ratio
        if self.limit is not None:
            is_enough &= self.ours <= self.limit if self.is_better_small else self.ours >= self.limit
        return is_enough

    def as_json(self) -> dict[str, Any]:
        keys = ("row", "ours", "peer", "peer_name", "unit", "ratio", "goal", "is_reached", "failed", "note", "times")
        known = asdict(self) | {"ratio": self.ratio, "goal": self.goal, "is_reached": self.is_reached}
        return {key: known[key] for key in keys}


def table(rows: Iterable[Row]) -> str:
    """Markdown that also reads well in a terminal."""
    lines = [("", "groundup", "peer", "", "ratio", "goal", "")]
    for row in rows:
        verdict = {None: "", True: "reached", False: "missed"}[row.is_reached]
        ratio = "" if row.ratio is None or row.peer is None else f"{row.ratio:.2f}x"
        ours = "" if row.ours is None else f"{number(row.ours)} {row.unit}"
        peer = "" if row.peer is None else f"{number(row.peer)} {row.unit}"
        name = row.row + (f" ({row.note})" if row.note else "")
        lines.append((name, row.failed or ours, peer, row.peer_name or "", ratio, row.goal, verdict))
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(lines[0]))]
    rule = [
        "-" * widths[0],
        *("-" * (width - 1) + (":" if i in (0, 1, 3) else "-") for i, width in enumerate(widths[1:])),
    ]
    texts = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    return "\n".join([texts[0], "| " + " | ".join(rule) + " |", *texts[1:]])


def number(value: float) -> str:
    """Three digits that mean something: 0.0120, 1.23, 12.3, 123, 1,234."""
    if value and abs(value) < 1:
        return f"{value:#.3g}"
    return f"{value:,.{max(0, 3 - len(str(int(abs(value)))))}f}"


# --- the same work ---


def first_difference(ours: Sequence[Any] | np.ndarray, theirs: Sequence[Any] | np.ndarray) -> str | None:
    """Where two sequences part, in words; None if they are equal."""
    shortest = min(len(ours), len(theirs))
    if isinstance(ours, np.ndarray) and isinstance(theirs, np.ndarray):
        unequal = np.flatnonzero(ours[:shortest] != theirs[:shortest])
        index = int(unequal[0]) if len(unequal) else shortest
    else:
        index = next(
            (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs))
        )
    if index == len(ours) == len(theirs):
        return None
    here = [str(side[index]) if index < len(side) else "nothing" for side in (ours, theirs)]
    return f"number {index:,} is {here[0]} here and {here[1]} there"


# --- time and memory ---


def in_turns(sides: Mapping[str, Callable[[], Any]], repetitions: int) -> dict[str, list[float]]:
    """Seconds of each side, repetition by repetition: a, b, c, a, b, c, ..."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repetitions):
        for name, work in sides.items():
            start = time.perf_counter()
            result = work()
            seconds[name].append(time.perf_counter() - start)
            del result  # freed between the sides, not inside the next one's time
    return seconds


def peak_mb() -> float:
    """The most memory this process ever held, in MB (10^6 bytes), and that of its largest child, if it had any."""
    import resource  # not on Windows, which needs no peak

    unit = 1 if sys.platform == "darwin" else 1024
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    # ru_maxrss of a fresh process is that of the one it was started from, if that is larger; the kernel's file is not.
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    own = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return ((own[0] if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit) + children) / 1e6


def in_child(
    function: str, *arguments: Any, environment: Mapping[str, str] | None = None, timeout: float = 3600
) -> Any:
    """What `module:function(*arguments)` of this folder returns in a fresh process; arguments and result are JSON.

    RuntimeError with the last line of what it said, if it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer.json")
        command = [sys.executable, __file__, function, json.dumps(arguments), str(answer)]
        environment = {**os.environ, **(environment or {})}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
        )
        if done.returncode or not answer.is_file():
            said = done.stderr.strip().splitlines()
            raise RuntimeError(said[-1] if said else f"the process ended with {done.returncode}")
        return json.loads(answer.read_text())


def child(function: str, arguments: str, answer: str) -> None:
    module, name = function.split(":")
    result = getattr(importlib.import_module(module), name)(*json.loads(arguments))
    Path(answer).write_text(json.dumps(result))


# --- where it was measured, and the page ---


def machine() -> str:
    """Processor, cores, memory, system, Python; nothing that names a computer or a person."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = models[0] if models else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else 0
    system = f"{platform.system()} {platform.machine()}"
    return f"{model}, {cores} cores, {memory:.0f} GiB, {system}, Python {platform.python_version()}"


def versions(packages: Sequence[str]) -> str:
    found = []
    for package in packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{package} absent")
    return ", ".join(found)


def section(title: str, rows: Sequence[Row], packages: Sequence[str], facts: Sequence[str] = ()) -> str:
    """The part of BENCHMARK.md that this run stands for."""
    script, *options = sys.argv
    script = Path(script).resolve()
    shown = script.relative_to(ROOT).as_posix() if script.is_relative_to(ROOT) else script.name
    options = [f".../{Path(option).name}" if Path(option).is_absolute() else option for option in options]
    lines = [f"## {title}", "", table(rows), ""]
    lines += [
        f"- Command: `python {shlex.join([shown, *options])}`",
        f"- Machine: {machine()}",
        f"- Versions: {versions(['groundup', *packages])}",
        *(f"- {fact}" for fact in facts),
        f"- Date: {datetime.now(UTC):%Y-%m-%d}",
    ]
    return "\n".join(lines) + "\n"


def write_section(name: str, text: str, page: Path = ROOT / "BENCHMARK.md") -> None:
    """Put `text` between the marks of section `name`, which are added at the end if they are not there."""
    begin, end = f"<!-- {name}: begin, written by its benchmark -->\n", f"<!-- {name}: end -->\n"
    content = page.read_text(encoding="utf-8") if page.is_file() else HEAD
    before, found, rest = content.partition(begin)
    if found:
        _, closed, after = rest.partition(end)
        if not closed:
            raise ValueError(f"{page.name}: section {name!r} begins and has no end")
    else:
        before, after = before.rstrip("\n") + "\n\n", ""
    temporary = page.with_name(page.name + ".part")
    temporary.write_text(f"{before}{begin}{text}{end}{after}", encoding="utf-8")
    temporary.replace(page)


def report(rows: Sequence[Row], as_json: bool) -> int:
    """Print the rows, one JSON object a line or a table; the exit code: 1 if any comparison failed."""
    print("\n".join(json.dumps(row.as_json(), ensure_ascii=False) for row in rows) if as_json else table(rows))
    return int(any(row.failed for row in rows))


if __name__ == "__main__":  # this file in a child process
    child(*sys.argv[1:])
