"""What a person sees while a run works: one line that redraws itself on a terminal, else a plain line now and then.

    pretrain ━━━━━━━━╸━━━━━━━ 1,240/3,000  loss 2.314  ~2.351  ETA 1:32  val 1.213 bits/byte  41.2k tok/s  MFU 71 %

The number after ~ is the loss smoothed over the last steps; memory, learning rate and gradient norm follow where there
is room: a narrow terminal shows less, from the right.
`Watch` is for a training run, `phase` for anything else that takes its time. Everything goes to stderr. Nothing here
writes files (except notes, which the run folder keeps too), decides anything or runs in a thread: a line is drawn
when somebody reports progress, which keeps forking worker processes safe.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.text import Text

from groundup.train.run_folder import RunFolder

REDRAW_EVERY = 0.1  # seconds, on a terminal
SAY_EVERY = 5.0  # seconds, elsewhere
SHOW_RATE_AFTER = 2.0  # seconds; before that a rate is a guess
SHORT = 160  # letters of a sample where there is no terminal to say how wide it is

CONTROL = {
    code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"
}  # a sample may hold escape sequences

Field = tuple[str, str]  # text, style


class Watch:
    """Shows a training run of `n_steps` updates. `step` and `evaluated` take the rows that `RunFolder.metric` takes.

    Rate and ETA are counted from the first reported step on: they speak of this attempt only, and not of its first
    step, which compiles kernels and warms caches up and would promise years to a run of ten million steps.
    """

    def __init__(self, run_folder: RunFolder | None, n_steps: int, quiet: bool = False, title: str | None = None):
        self.n_steps = n_steps
        self._run_folder = run_folder
        self._line = _Line(quiet)
        self._title = title or (run_folder.name if run_folder else "training")
        self._smoothed = _Smoothed()
        self._clock: _Clock | None = None
        self._val: Mapping[str, Any] = {}

    def start(self, n_steps: int, step: int = 0) -> None:
        """The length became known (a budget was turned into steps), or the run goes on from `step`."""
        self.n_steps = n_steps
        self._clock = None

    def step(self, metrics: Mapping[str, Any]) -> None:
        """After every update. Cheap: most calls draw nothing."""
        self._smoothed.add(metrics.get("train_loss"))
        if self._clock is None:
            self._clock = _Clock(first=metrics["step"])
        self._clock.done = metrics["step"]
        if self._line.is_due() or metrics["step"] >= self.n_steps:
            self._line.show(self._title, metrics["step"], self.n_steps, self._fields(metrics))

    def evaluated(self, metrics: Mapping[str, Any]) -> None:
        """After a validation: a line that stays."""
        self._val = metrics
        names = {"val_loss": "val loss", "val_bits_per_byte": "bits per byte", "train_loss": "train loss"}
        said = [f"{name} {_number(metrics[key])}" for key, name in names.items() if metrics.get(key) is not None]
        self._line.say(f"step {metrics['step']:,}: " + ", ".join(said))

    def sample(self, step: int, prompt: str, text: str) -> None:
        """What the model wrote after a prompt: one line that stays, cut to the screen; samples.jsonl has it all."""
        self._line.say_short(f"step {step:,} wrote: ", f"{prompt}{text}")

    def note(self, text: str) -> None:
        """A line that stays on the screen and in events.jsonl."""
        if self._run_folder is not None:
            self._run_folder.event("note", text=text)
        self._line.say(text)

    def close(self) -> None:
        """Leave the last state on the screen and the cursor below it."""
        self._line.end()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fields(self, metrics: Mapping[str, Any]) -> list[Field]:
        """What is told, the most important first: a narrow terminal drops from the end."""
        assert self._clock is not None
        fields = [(f"loss {_number(metrics.get('train_loss'))}", "bold"), (f"~{_number(self._smoothed.value)}", "bold")]
        seconds = self._clock.seconds_left(self.n_steps)
        if seconds is not None:
            fields.append((f"ETA {duration(seconds)}", "cyan"))
        if metrics.get("skipped"):
            fields.append((f"{metrics['skipped']:,} skipped", "yellow"))
        if self._val.get("val_bits_per_byte") is not None:
            fields.append((f"val {_number(self._val['val_bits_per_byte'])} bits/byte", "green"))
        elif self._val.get("val_loss") is not None:
            fields.append((f"val {_number(self._val['val_loss'])}", "green"))
        if metrics.get("tokens_per_second") is not None:
            fields.append((f"{quantity(metrics['tokens_per_second'])} tok/s", "cyan"))
        if metrics.get("mfu") is not None:
            fields.append((f"MFU {100 * metrics['mfu']:.0f} %", "cyan"))
        if metrics.get("memory_mb") is not None:
            fields.append((quantity(metrics["memory_mb"] * 1e6, "B"), "cyan"))
        if metrics.get("lr") is not None:
            fields.append((f"lr {metrics['lr']:.1e}", "dim"))
        if metrics.get("grad_norm") is not None:
            fields.append((f"grad {metrics['grad_norm']:.2f}", "dim"))
        return fields


class Phase:
    """Progress of anything that is not training; made by `phase`."""

    def __init__(self, title: str, total: float | None, unit: str, quiet: bool):
        self.title = title
        self.total = total
        self.done: float = 0
        self._unit = unit
        self._line = _Line(quiet)
        self._clock = _Clock(first=0)
        self._draw()

    def advance(self, n: float = 1) -> None:
        """n more units are done."""
        self.done += n
        if self._line.is_due():
            self._draw()

    def note(self, text: str) -> None:
        """A line that stays."""
        self._line.say(text)

    def finish(self, how: str = "") -> None:
        """Replace the bar by one line with the time it took."""
        seconds = self._clock.seconds()
        done = f"{quantity(self.done, self._unit)} in " if self.done and self._unit else ""
        self._line.end(f"{self.title}  … {how}{done}{duration(seconds)}")

    def _draw(self) -> None:
        seconds = self._clock.seconds()
        if not self._line.is_terminal and seconds < SHOW_RATE_AFTER:
            return
        fields: list[Field] = []
        if seconds >= SHOW_RATE_AFTER and self.done:
            self._clock.done = self.done
            left = self._clock.seconds_left(self.total) if self.total else None
            fields += [(f"ETA {duration(left)}", "cyan")] if left is not None else []
            fields += [(f"{quantity(self.done / seconds, self._unit)}/s", "cyan")]
        fields += [(duration(seconds), "dim")] if seconds >= SHOW_RATE_AFTER else []
        self._line.show(self.title, self.done, self.total, fields, self._unit)


@contextlib.contextmanager
def phase(title: str, total: float | None = None, unit: str = "", quiet: bool = False) -> Iterator[Phase]:
    """A phase with a bar (or without one, if `total` is unknown), ended by one line: `tokenizing  … 3.2 s`.

    unit: what is counted, for rates: "B" is shown as kB, MB, GB; a word such as "documents" stands after the number.
    """
    shown = Phase(title, total, unit, quiet)
    try:
        yield shown
    except BaseException:
        shown.finish("stopped after ")
        raise
    shown.finish()


def duration(seconds: float) -> str:
    """How long, at a glance: 0.4 s, 3.2 s, 1:32, 2:05:09, 3 d 04 h, 412 d."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours, days = int(seconds) // 60, int(seconds) // 3600, int(seconds) // 86400
    if hours == 0:
        return f"{minutes}:{int(seconds) % 60:02}"
    if days == 0:
        return f"{hours}:{minutes % 60:02}:{int(seconds) % 60:02}"
    return f"{days} d {hours % 24:02} h" if days < 100 else f"{days:,} d"


def quantity(number: float, unit: str = "") -> str:
    """Three digits and a decimal prefix: 812, 41.2k, 3.05M; with unit "B" 10.4 MB; with a word 41.2k documents."""
    scaled, prefix = float(number), ""
    for prefix in ("", "k", "M", "G", "T"):  # noqa: B007 - the prefix that fits is used after the loop
        if abs(scaled) < 999.5:
            break
        scaled /= 1000
    whole = prefix == "" and float(number).is_integer()
    digits = (
        f"{scaled:.0f}"
        if whole or abs(scaled) >= 99.95
        else f"{scaled:.1f}"
        if abs(scaled) >= 9.995
        else f"{scaled:.2f}"
    )
    if unit == "B":
        return f"{digits} {prefix}B"
    return f"{digits}{prefix} {unit.removesuffix('s') if number == 1 else unit}".rstrip()


def _number(value: float | None) -> str:
    return "nan" if value is None or not math.isfinite(value) else f"{value:.3f}"


class _Smoothed:
    """Exponential mean of the last ~50 values, unbiased from the first on; a loss that is not finite is passed over."""

    def __init__(self, keep: float = 0.98):
        self._keep = keep
        self._sum = self._weight = 0.0

    def add(self, value: float | None) -> None:
        if value is not None and math.isfinite(value):
            self._sum = self._keep * self._sum + (1 - self._keep) * value
            self._weight = self._keep * self._weight + (1 - self._keep)

    @property
    def value(self) -> float | None:
        return self._sum / self._weight if self._weight else None


class _Clock:
    """Time since the start, and time to the end at the pace so far."""

    def __init__(self, first: float):
        self._first = first
        self._start = time.monotonic()
        self.done = first

    def seconds(self) -> float:
        return time.monotonic() - self._start

    def seconds_left(self, total: float) -> float | None:
        """None before the first unit is done."""
        if self.done <= self._first:
            return None
        return self.seconds() / (self.done - self._first) * max(total - self.done, 0)


class _Line:
    """One line at the bottom of the terminal and lines that stay above it; plain lines where stderr is no terminal."""

    def __init__(self, quiet: bool):
        self._console = Console(stderr=True, quiet=quiet, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._quiet = quiet
        self.is_terminal = (
            self._console.is_terminal and not self._console.is_dumb_terminal and not self._console.legacy_windows
        )
        self._ascii = not (self._console.encoding or "").lower().startswith("utf")
        self._line: Text | None = None
        self._is_drawn = False
        self._last = -math.inf

    def is_due(self) -> bool:
        """Is it time to show something again?"""
        return not self._quiet and time.monotonic() - self._last >= (REDRAW_EVERY if self.is_terminal else SAY_EVERY)

    def show(self, title: str, done: float, total: float | None, fields: list[Field], unit: str = "") -> None:
        """Draw the line anew, or say it."""
        if self._quiet:
            return
        self._last = time.monotonic()
        count = _count(done, total, unit)
        if not self.is_terminal:
            self._print(Text("  ".join([title, count, *(text for text, _ in fields)])))
            return
        line = Text(no_wrap=True)
        line.append(title, "bold blue")
        room = self._console.width - 1 - line.cell_len - len(count) - 2
        if fields and room < len(fields[0][0]) + 2:  # the first number is worth more than the last digits of the count
            count = _count(done, total, unit, is_short=True)
            room = self._console.width - 1 - line.cell_len - len(count) - 2
        kept, n_bar = _fit(fields, room, has_bar=bool(total))
        line.append(" ")
        if total and n_bar:
            bar = ProgressBar(total=total, completed=min(done, total), width=n_bar)
            for segment in self._console.render(bar):
                line.append(segment.text, segment.style)
            line.append(" ")
        line.append(count)
        for text, style in kept:
            line.append("  ").append(text, style)
        line.truncate(self._console.width - 1)
        self._draw(line)

    def _draw(self, line: Text) -> None:
        self._erase()
        self._print(line, end="")
        self._line, self._is_drawn = line, True

    def say(self, text: str) -> None:
        """A line that stays; the moving line comes back with the next progress."""
        if not self._quiet:
            self._erase()
            self._print(Text(text.translate(CONTROL)))
            self._last = -math.inf if self.is_terminal else self._last

    def say_short(self, head: str, text: str) -> None:
        """As `say`, on one line: white space is joined, and what does not fit is cut."""
        line = Text(head + " ".join(text.translate(CONTROL).split()), no_wrap=True)
        line.truncate(self._console.width - 1 if self.is_terminal else SHORT, overflow="ellipsis")
        self.say(line.plain)

    def end(self, text: str | None = None) -> None:
        """Put `text` in place of the moving line, or leave that line as it last was, and go below it."""
        if text is not None:
            self.say(text)
        elif self._line is not None:
            self._draw(self._line)
            self._console.line()
        self._line, self._is_drawn = None, False

    def _erase(self) -> None:
        if self._is_drawn:
            self._console.file.write("\r\x1b[2K")
            self._is_drawn = False

    def _print(self, text: Text, end: str = "\n") -> None:
        if self._ascii:
            text = Text(text.plain.replace("…", "..."))
        self._console.print(text, end=end)
        self._console.file.flush()


def _count(done: float, total: float | None, unit: str, is_short: bool = False) -> str:
    if unit == "B" or is_short:
        return quantity(done, unit) + (f"/{quantity(total, unit)}" if total else "")
    if total:
        return f"{done:,.0f}/{total:,.0f}"
    return f"{done:,.0f} {unit}".rstrip() if done else ""


def _fit(fields: list[Field], room: int, has_bar: bool) -> tuple[list[Field], int]:
    """(the first fields that fit, width of the bar): no bar where 8 cells of it would leave no room for a field."""
    kept: list[Field] = []
    has_bar = has_bar and room >= 9 + (len(fields[0][0]) + 2 if fields else 0)
    room -= 9 if has_bar else 0
    for text, style in fields:
        if room < len(text) + 2:
            break
        kept.append((text, style))
        room -= len(text) + 2
    return kept, min(8 + room, 40) if has_bar else 0
