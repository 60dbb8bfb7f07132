"""Charts for the report as plain SVG text, without a library, a script or an inline style.

A chart is three boxes in a row: tick labels, the plot, the names at the ends of the curves. Only the curves are
stretched to the width of the page (`preserveAspectRatio="none"`, strokes excepted); text, dots and grid stand at
percentages, so a phone and a wide screen both show letters of the same size. Colours are classes of the page's style
sheet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from groundup.train.curves import Curve

N_HOVER = 80  # strips that show the values under the pointer


@dataclass(frozen=True, slots=True)
class Line:
    """A curve of a chart. `behind` is drawn thin under it: the raw values of a smoothed curve."""

    name: str
    css_class: str
    curve: Curve
    behind: Curve | None = None
    has_dots: bool = False


def chart(
    title: str, lines: Sequence[Line], limits: tuple[float, float], write: Callable[[float], str], n_ticks: int = 6
) -> str:
    """A figure with the lines over their steps. limits: lowest and highest value shown; write: a value as text."""
    low, high = limits
    first = min(int(line.curve.steps[0]) for line in lines)
    last = max(first + 1, *(int(line.curve.steps[-1]) for line in lines))
    frame = _Frame(first, last, low, high)
    digits = _digits(ticks(low, high, n_ticks))
    values = [tick for tick in ticks(low, high, n_ticks) if low <= tick <= high]
    steps = [int(tick) for tick in ticks(first, last, n_ticks) if first < tick <= last and tick == int(tick)]
    y_labels = "".join(
        f'<text x="100%" y="{frame.y(v)}" dx="-8" dy="4" class="end">{_tick(v, digits)}</text>' for v in values
    )
    grid = "".join(
        f'<line x1="0" x2="100%" y1="{frame.y(value)}" y2="{frame.y(value)}" class="grid"/>' for value in values
    )
    x_labels = "".join(
        f'<text x="{frame.x(s)}" y="100%" dy="20" class="{_anchor(s, first, last)}">{s:,}</text>' for s in steps
    )
    curves = "".join(_curve(line, frame) for line in lines)
    dots = "".join(_dots(line, frame) for line in lines if line.has_dots)
    ends = [float(line.curve.values[-1]) for line in lines]
    said = [escape(f"{line.name} {write(end)}".strip()) for line, end in zip(lines, ends, strict=True)]
    names = "".join(
        f'<text x="8" y="{y}%" dy="4" class="{line.css_class}">{name}</text>'
        for line, name, y in zip(lines, said, _apart([frame.percent(end) for end in ends]), strict=True)
    )
    legend = "".join(f'<span class="{line.css_class}">{name}</span>' for line, name in zip(lines, said, strict=True))
    return (
        f'<figure class="chart"><figcaption>{escape(title)} <span class="legend">{legend}</span></figcaption>'
        '<div class="plot">'
        f'<svg class="ticks" aria-hidden="true">{y_labels}</svg>'
        f'<svg class="area" role="img" aria-label="{escape(title)}">{grid}'
        f'<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" width="100%" height="100%">{curves}</svg>'
        f"{dots}{x_labels}{_hover(lines, frame, write)}</svg>"
        f'<svg class="names" aria-hidden="true">{names}</svg></div></figure>'
    )


def bar(share: float, css_class: str = "good") -> str:
    """A horizontal bar filled to `share` (0 to 1)."""
    percent = 100 * min(max(share, 0.0), 1.0)
    return (
        '<svg class="bar" aria-hidden="true"><rect class="track" width="100%" height="100%" rx="3"/>'
        f'<rect class="{css_class}" width="{percent:.2f}%" height="100%" rx="3"/></svg>'
    )


def ticks(low: float, high: float, n: int) -> list[float]:
    """About n round numbers from low to high: steps of 1, 2 or 5 times a power of ten.

    >>> ticks(0, 1200, 5)
    [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0, 1200.0]
    """
    rough = (high - low) / n
    if not math.isfinite(rough) or rough <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((1, 2, 5, 10), key=lambda factor: abs(factor * power - rough)) * power
    digits = max(0, 2 - math.floor(math.log10(step)))
    return [round(i * step, digits) for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where a step and a value lie in the plot."""

    first: int
    last: int
    low: float
    high: float

    def x(self, step: float) -> str:
        return f"{100 * (step - self.first) / (self.last - self.first):.2f}%"

    def percent(self, value: float) -> float:
        """From the top, kept within the plot."""
        return min(max(100 * (self.high - value) / (self.high - self.low), 0), 100)

    def y(self, value: float) -> str:
        return f"{self.percent(value):.2f}%"

    def path(self, curve: Curve) -> str:
        """Points in the thousandths of the stretched box; what is above or below the limits runs out of the picture."""
        x = 1000 * (curve.steps - self.first) / (self.last - self.first)
        y = (1000 * (self.high - curve.values) / (self.high - self.low)).clip(-3000, 4000)
        return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))


def _curve(line: Line, frame: _Frame) -> str:
    behind = f'<path class="{line.css_class} raw" d="{frame.path(line.behind)}"/>' if line.behind is not None else ""
    return behind + f'<path class="{line.css_class}" d="{frame.path(line.curve)}"/>'


def _dots(line: Line, frame: _Frame) -> str:
    inside = [
        (int(step), float(value))
        for step, value in zip(line.curve.steps, line.curve.values, strict=True)
        if frame.low <= value <= frame.high
    ]
    return "".join(f'<circle class="{line.css_class}" cx="{frame.x(s)}" cy="{frame.y(v)}" r="3.2"/>' for s, v in inside)


def _hover(lines: Sequence[Line], frame: _Frame, write: Callable[[float], str]) -> str:
    """Strips that are empty until the pointer is over them; no script is needed."""
    n = min(N_HOVER, frame.last - frame.first)
    strips = []
    for i in range(n):
        step = round(frame.first + (i + 0.5) * (frame.last - frame.first) / n)
        near = [(line, abs(line.curve.steps - step).argmin()) for line in lines]
        said = "  ".join(f"{line.name} {write(float(line.curve.values[at]))}" for line, at in near)
        side = "start" if i < n / 2 else "end"
        strips.append(
            f'<g class="hover"><rect x="{100 * i / n:.2f}%" width="{100 / n:.2f}%" height="100%"/>'
            f'<line x1="{frame.x(step)}" x2="{frame.x(step)}" y1="0" y2="100%"/>'
            f'<text x="{frame.x(step)}" y="0" dx="{6 if side == "start" else -6}" dy="12" class="{side}">'
            f"step {step:,}  {escape(said)}</text></g>"
        )
    return "".join(strips)


def _apart(positions: Sequence[float], gap: float = 8.0) -> list[float]:
    """The positions, in percent, moved apart where two names would overlap."""
    placed = list(positions)
    order = sorted(range(len(placed)), key=lambda i: placed[i])
    for upper, lower in zip(order[:-1], order[1:], strict=True):
        lack = gap - (placed[lower] - placed[upper])
        if lack > 0:
            placed[upper] -= lack / 2
            placed[lower] += lack / 2
    return [round(min(max(y, 2), 98), 2) for y in placed]


def _anchor(step: int, first: int, last: int) -> str:
    return "end" if step > first + 0.97 * (last - first) else "middle"


def _digits(values: Sequence[float]) -> int:
    """Decimals that tell neighbouring ticks apart."""
    return max(0, -math.floor(math.log10(values[1] - values[0]) + 1e-9)) if len(values) > 1 else 2


def _tick(value: float, digits: int) -> str:
    return f"{value / 1000:,.0f}k" if abs(value) >= 10_000 else f"{value:,.{min(digits, 6)}f}"
