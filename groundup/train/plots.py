"""Pictures of a run, as files beside its numbers: plots/loss.png, plots/loss.svg, plots/lr.png.

`draw` may be called at any time, also while the run goes on; the same numbers give the same bytes. It needs
matplotlib (extra `plots`), which is imported only then; `report.html` needs none of this.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from groundup import artifact
from groundup.errors import EnvironmentFault
from groundup.train import curves
from groundup.train.curves import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GREY, FAINT = "#1f2328", "#6b7280", "#e5e7eb"
TRAIN, VALIDATION, RATE = "#2563a8", "#d9601a", "#2f8560"
STYLE: Any = {
    "svg.hashsalt": "groundup",
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "text.color": INK,
    "axes.labelcolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "path.simplify": True,
}


def draw(run_dir: Path | str) -> list[Path]:
    """Draw what the run has so far and return the files; a run without a row yet has no pictures."""
    run_dir = Path(run_dir)
    columns = curves.read(run_dir / "metrics.jsonl", ("train_loss", "val_loss", "val_bits_per_byte", "lr"))
    if not columns:
        return []
    try:
        import matplotlib
    except ImportError as error:
        raise EnvironmentFault("pictures need matplotlib", hint="pip install 'groundup[plots]'") from error
    folder = run_dir / "plots"
    folder.mkdir(exist_ok=True)
    written: list[Path] = []
    with matplotlib.rc_context(STYLE):
        if "train_loss" in columns or "val_loss" in columns:
            figure = _draw_loss(run_dir.name, columns)
            written += [_save(figure, folder / "loss.png"), _save(figure, folder / "loss.svg")]
        if "lr" in columns:
            written.append(_save(_draw_lr(run_dir.name, columns["lr"]), folder / "lr.png"))
    return written


def draw_if_possible(run_dir: Path | str) -> list[Path]:
    """`draw` for a program that goes on without pictures where matplotlib is not installed."""
    try:
        return draw(run_dir)
    except EnvironmentFault:
        return []


def _draw_loss(name: str, columns: dict[str, Curve]) -> Figure:
    figure, axes = _canvas(height=4.4)
    ends: list[tuple[float, str, str]] = []
    shown: list[Curve] = []
    if "train_loss" in columns:
        raw = columns["train_loss"]
        smooth = curves.smooth(raw)
        thinned = curves.thin(raw)
        axes.plot(thinned.steps, thinned.values, color=TRAIN, alpha=0.22, linewidth=0.7)
        axes.plot(*_points(curves.thin(smooth)), color=TRAIN, linewidth=2, solid_capstyle="round")
        ends.append((float(smooth.values[-1]), f"train {smooth.values[-1]:.3f}", TRAIN))
        shown.append(raw)
    if "val_loss" in columns:
        validation = columns["val_loss"]
        markers = "o" if len(validation) <= 40 else ""
        axes.plot(
            *_points(validation), color=VALIDATION, linewidth=1.8, marker=markers, markersize=4, markeredgecolor="white"
        )
        ends.append((float(validation.values[-1]), f"validation {validation.values[-1]:.3f}", VALIDATION))
        shown.append(validation)
    axes.set_ylim(*curves.loss_limits(shown))
    last = max(int(curve.steps[-1]) for curve in shown)
    _span(axes, min(int(curve.steps[0]) for curve in shown), last)
    _label_ends(axes, last, ends)
    _title(axes, f"{name}: loss per token", _best(columns))
    return figure


def _draw_lr(name: str, lr: Curve) -> Figure:
    from matplotlib.ticker import FuncFormatter

    figure, axes = _canvas(height=3.0)
    thinned = curves.thin(lr)
    axes.fill_between(*_points(thinned), color=RATE, alpha=0.1, linewidth=0)
    axes.plot(*_points(thinned), color=RATE, linewidth=2)
    axes.set_ylim(0, float(lr.values.max()) * 1.12 or 1.0)
    _span(axes, int(lr.steps[0]), int(lr.steps[-1]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    _label_ends(axes, int(lr.steps[-1]), [(float(lr.values[-1]), f"{lr.values[-1]:.1e}", RATE)])
    peak = int(lr.values.argmax())
    _title(axes, f"{name}: learning rate", f"highest {lr.values[peak]:.1e}, at step {lr.steps[peak]:,}")
    return figure


def _canvas(height: float) -> tuple[Figure, Axes]:
    """A figure without pyplot, so that drawing changes no state of the program it runs in."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    figure = Figure(figsize=(8, height), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0.085, right=0.8, top=1 - 0.75 / height, bottom=0.52 / height)
    axes = figure.add_subplot()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=9.5)
    axes.set_xlabel("step", labelpad=2)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    return figure, axes


def _span(axes: Axes, first: int, last: int) -> None:
    """From the first to the last step, with room for the last marker."""
    axes.set_xlim(first, last + max((last - first) * 0.008, 0.5))


def _title(axes: Axes, title: str, subtitle: str) -> None:
    axes.annotate(title, (0, 1), (0, 24), xycoords="axes fraction", textcoords="offset points", size=13, weight="bold")
    axes.annotate(subtitle, (0, 1), (0, 9), xycoords="axes fraction", textcoords="offset points", size=10, color=GREY)


def _label_ends(axes: Axes, last: int, ends: list[tuple[float, str, str]]) -> None:
    """The name of each curve where it ends, moved apart so that two names never overlap."""
    low, high = axes.get_ylim()
    gap = (high - low) * 0.062
    at = [value for value, _, _ in ends]
    if len(ends) == 2 and abs(at[0] - at[1]) < gap:
        upper = int(np.argmax(at))
        middle = sum(at) / 2
        at[upper], at[1 - upper] = middle + gap / 2, middle - gap / 2
    for y, (_, text, color) in zip(at, ends, strict=True):
        axes.annotate(
            text,
            (last, y),
            (8, 0),
            textcoords="offset points",
            va="center",
            color=color,
            weight="bold",
            annotation_clip=False,
        )


def _best(columns: dict[str, Curve]) -> str:
    for column, name in (("val_bits_per_byte", "bits per byte"), ("val_loss", "nats per token")):
        if column in columns:
            curve = columns[column]
            best = int(curve.values.argmin())
            return f"best validation {curve.values[best]:.3f} {name}, at step {curve.steps[best]:,}"
    return "thin: every step, thick: smoothed"


def _points(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    return curve.steps, curve.values


def _save(figure: Figure, path: Path) -> Path:
    """Without dates and program names, so that equal numbers give equal bytes."""
    data = io.BytesIO()
    nothing = {"Date": None, "Creator": None} if path.suffix == ".svg" else {"Software": None}
    figure.savefig(data, format=path.suffix[1:], metadata=nothing)
    artifact.write_file(path, data.getvalue())
    return path
