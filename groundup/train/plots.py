"""Pictures of a run, as files beside its numbers: plots/loss, lr, gradient_norm and throughput, as .png and as .svg.

`draw` may be called at any time, also while the run goes on; the same numbers give the same bytes. It needs
matplotlib (extra `plots`), which is imported only then; `report.html` needs none of this.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from groundup import artifact
from groundup.errors import EnvironmentFault
from groundup.train import canvas, curves
from groundup.train.card import Card, losses
from groundup.train.curves import Curve
from groundup.train.watch import quantity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BOTH = ("train_loss", "val_loss")
COLUMNS = (*BOTH, "val_bits_per_byte", "lr", "grad_norm", "tokens_per_second", "mfu")
Columns = dict[str, Curve]


def draw(run_dir: Path | str) -> list[Path]:
    """Draw what the run has so far and return the files; a run without a row yet has no pictures."""
    run_dir = Path(run_dir)
    columns = curves.read(run_dir / "metrics.jsonl", COLUMNS)
    if not columns:
        return []
    matplotlib = canvas.matplotlib()
    folder = run_dir / "plots"
    folder.mkdir(exist_ok=True)
    written: list[Path] = []
    with matplotlib.rc_context(canvas.STYLE):
        for name, (needs, picture) in PICTURES.items():
            if any(column in columns for column in needs):
                written += _save(picture(run_dir.name, columns), folder / name)
    return written


def draw_together(cards: Mapping[str, Card], files: Sequence[Path], by: str = "step") -> None:
    """The losses of several runs over each other, written as every one of `files`; by: "step" or "tokens"."""
    with canvas.matplotlib().rc_context(canvas.STYLE):
        figure = _draw_together(cards, by)
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            artifact.write_file(file, canvas.encode(figure, file.suffix[1:]))


def draw_lr(name: str, lr: Curve, files: Sequence[Path], remark: str = "") -> None:
    """A learning rate over the steps, of a run or of one to come, written as every one of `files`."""
    with canvas.matplotlib().rc_context(canvas.STYLE):
        figure = _draw_lr(name, {"lr": lr}, remark)
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            artifact.write_file(file, canvas.encode(figure, file.suffix[1:]))


def draw_if_possible(run_dir: Path | str) -> list[Path]:
    """`draw` for a program that goes on without pictures where matplotlib is not installed."""
    try:
        return draw(run_dir)
    except EnvironmentFault:
        return []


def _draw_loss(name: str, columns: Columns) -> Figure:
    figure, axes = canvas.new(height=4.4)
    ends: list[tuple[float, str, str]] = []
    shown: list[Curve] = []
    if "train_loss" in columns:
        raw = columns["train_loss"]
        smooth = curves.smooth(raw)
        thinned = curves.thin(raw)
        axes.plot(thinned.steps, thinned.values, color=canvas.TRAIN, alpha=0.22, linewidth=0.7)
        axes.plot(*canvas.points(curves.thin(smooth)), color=canvas.TRAIN, linewidth=2, solid_capstyle="round")
        ends.append((float(smooth.values[-1]), f"train {smooth.values[-1]:.3f}", canvas.TRAIN))
        shown.append(raw)
    if "val_loss" in columns:
        validation = columns["val_loss"]
        markers = "o" if len(validation) <= 40 else ""
        axes.plot(
            *canvas.points(validation),
            color=canvas.VALIDATION,
            linewidth=1.8,
            marker=markers,
            markersize=4,
            markeredgecolor="white",
        )
        ends.append((float(validation.values[-1]), f"validation {validation.values[-1]:.3f}", canvas.VALIDATION))
        shown.append(validation)
    axes.set_ylim(*curves.loss_limits(shown))
    last = max(int(curve.steps[-1]) for curve in shown)
    canvas.span(axes, min(int(curve.steps[0]) for curve in shown), last)
    canvas.label_ends(axes, last, ends)
    canvas.title(axes, f"{name}: loss per token", _best(columns))
    return figure


def _draw_lr(name: str, columns: Columns, remark: str = "") -> Figure:
    from matplotlib.ticker import FuncFormatter

    figure, axes = canvas.new(height=3.0)
    lr = columns["lr"]
    thinned = curves.thin(lr)
    axes.fill_between(*canvas.points(thinned), color=canvas.RATE, alpha=0.1, linewidth=0)
    axes.plot(*canvas.points(thinned), color=canvas.RATE, linewidth=2)
    axes.set_ylim(0, float(lr.values.max()) * 1.12 or 1.0)
    canvas.span(axes, int(lr.steps[0]), int(lr.steps[-1]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    canvas.label_ends(
        axes, int(lr.steps[-1]), [(float(lr.values[-1]), f"{lr.values[-1]:.1e}" if lr.values[-1] else "0", canvas.RATE)]
    )
    peak = int(lr.values.argmax())
    canvas.title(axes, f"{name}: learning rate", f"highest {lr.values[peak]:.1e}, at step {lr.steps[peak]:,}{remark}")
    return figure


def _draw_gradient_norm(name: str, columns: Columns) -> Figure:
    """On a logarithmic scale: a norm falls by powers of ten, and one spike must not press the rest flat."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    figure, axes = canvas.new(height=3.0)
    raw = columns["grad_norm"]
    above_zero = raw.values[raw.values > 0]
    raw = Curve(raw.steps, np.maximum(raw.values, above_zero.min() if len(above_zero) else 1.0))
    smooth = Curve(raw.steps, np.exp(curves.smooth(Curve(raw.steps, np.log(raw.values))).values))
    axes.plot(*canvas.points(curves.thin(raw)), color=canvas.NORM, alpha=0.3, linewidth=0.7)
    axes.plot(*canvas.points(curves.thin(smooth)), color=canvas.NORM, linewidth=2, solid_capstyle="round")
    axes.set_yscale("log")
    low, high = float(raw.values.min()), float(raw.values.max())
    axes.set_ylim(low / 1.25, high * 1.25)
    ticks = (1.0, 2.0, 5.0) if high / low < 100 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=ticks, numticks=8))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda norm, _: f"{norm:g}"))
    canvas.span(axes, int(raw.steps[0]), int(raw.steps[-1]))
    canvas.label_ends(axes, int(raw.steps[-1]), [(float(smooth.values[-1]), f"{smooth.values[-1]:.3g}", canvas.NORM)])
    peak = int(raw.values.argmax())
    canvas.title(axes, f"{name}: gradient norm", f"highest {raw.values[peak]:.3g}, at step {raw.steps[peak]:,}")
    return figure


def _draw_throughput(name: str, columns: Columns) -> Figure:
    from matplotlib.ticker import FuncFormatter

    figure, axes = canvas.new(height=3.0)
    raw = columns["tokens_per_second"]
    smooth = curves.smooth(raw)
    axes.plot(*canvas.points(curves.thin(raw)), color=canvas.SPEED, alpha=0.25, linewidth=0.7)
    axes.plot(*canvas.points(curves.thin(smooth)), color=canvas.SPEED, linewidth=2, solid_capstyle="round")
    # A step that was quicker than all others by chance, or slow because it compiled, does not set the scale.
    axes.set_ylim(0, 1.15 * float(np.quantile(raw.values, 0.98)) or 1.0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: quantity(rate)))
    canvas.span(axes, int(raw.steps[0]), int(raw.steps[-1]))
    canvas.label_ends(
        axes, int(raw.steps[-1]), [(float(smooth.values[-1]), quantity(float(smooth.values[-1])), canvas.SPEED)]
    )
    said = f"median {quantity(float(np.median(raw.values)))}"
    if "mfu" in columns:
        said += f", {100 * float(np.median(columns['mfu'].values)):.0f} % of what the machine can multiply (MFU)"
    canvas.title(axes, f"{name}: tokens per second", said)
    return figure


def _draw_together(cards: Mapping[str, Card], by: str) -> Figure:
    """Validation thick, where every run has some; the smoothed training loss thin, or thick where it stands alone."""
    from matplotlib.ticker import FuncFormatter

    figure, axes = canvas.new(height=4.4)
    curves_of = {name: {column: _of_card(card, column, by) for column in BOTH} for name, card in cards.items()}
    has_validation = all(len(found["val_loss"]) > 1 for found in curves_of.values())
    ends: list[tuple[float, float, str, str]] = []
    shown: list[Curve] = []
    for (name, found), color in zip(curves_of.items(), itertools.cycle(canvas.SEVERAL)):  # noqa: B905 - endless colours
        train, validation = found["train_loss"], found["val_loss"]
        last = validation if has_validation else train
        if not len(last):
            continue
        if len(train):
            alpha, width = (0.4, 1.0) if has_validation else (1.0, 2.0)
            axes.plot(*canvas.points(curves.thin(curves.smooth(train))), color=color, alpha=alpha, linewidth=width)
        if has_validation:
            marker = "o" if len(validation) <= 40 else ""
            axes.plot(
                *canvas.points(validation), color=color, linewidth=2, marker=marker, markersize=4, markeredgecolor="w"
            )
        end = float((last if has_validation else curves.smooth(last)).values[-1])
        ends.append((float(last.steps[-1]), end, f"{name} {end:.3f}", color))
        shown += [curve for curve in found.values() if len(curve)]
    if shown:
        axes.set_ylim(*curves.loss_limits(shown))
        canvas.span(axes, min(int(curve.steps[0]) for curve in shown), max(int(curve.steps[-1]) for curve in shown))
    canvas.label_apart(axes, ends)
    longest = max((len(text) for _, _, text, _ in ends), default=0)
    figure.subplots_adjust(right=max(0.5, 1 - (0.25 + 0.095 * longest) / 8))  # inches of bold letters, of 8
    if by == "tokens":
        axes.set_xlabel("tokens", labelpad=2)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda tokens, _: quantity(tokens)))
    kind = "validation loss; thin: training, smoothed" if has_validation else "training loss, smoothed"
    canvas.title(axes, "Loss per token", kind)
    return figure


def _of_card(card: Card, column: str, by: str) -> Curve:
    """A card's losses as a curve; every step of a run reads equally many tokens."""
    known = {step: value for step, value in losses(card, column).items() if value is not None}
    scale = 1.0
    if by == "tokens":
        last = card["results"]
        scale = last["tokens"] / last["step"] if last.get("tokens") and last.get("step") else 1.0
    steps = np.round(np.fromiter(known, dtype=np.float64, count=len(known)) * scale).astype(np.int64)
    return Curve(steps, np.array(list(known.values()), dtype=np.float64))


def _best(columns: Columns) -> str:
    for column, name in (("val_bits_per_byte", "bits per byte"), ("val_loss", "nats per token")):
        if column in columns:
            curve = columns[column]
            best = int(curve.values.argmin())
            return f"best validation {curve.values[best]:.3f} {name}, at step {curve.steps[best]:,}"
    return "thin: every step, thick: smoothed"


def _save(figure: Figure, stem: Path) -> list[Path]:
    """As stem.png and stem.svg."""
    files = [stem.with_suffix(".png"), stem.with_suffix(".svg")]
    for file in files:
        artifact.write_file(file, canvas.encode(figure, file.suffix[1:]))
    return files


# A picture by its file's name: the columns of which it needs one, and who draws it.
PICTURES: dict[str, tuple[tuple[str, ...], Callable[[str, Columns], Figure]]] = {
    "loss": (("train_loss", "val_loss"), _draw_loss),
    "lr": (("lr",), _draw_lr),
    "gradient_norm": (("grad_norm",), _draw_gradient_norm),
    "throughput": (("tokens_per_second",), _draw_throughput),
}
