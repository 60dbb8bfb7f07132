"""What every picture of a run has in common: paper, letters, colours, the title, the names where the curves end.

No pyplot: a figure drawn here changes no state of the program it is drawn in. matplotlib (extra `plots`) is imported
only when something is drawn.
"""

from __future__ import annotations

import io
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from groundup.errors import EnvironmentFault
from groundup.train.curves import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GREY, FAINT = "#1f2328", "#6b7280", "#e5e7eb"
TRAIN, VALIDATION, RATE, NORM, SPEED = "#2563a8", "#d9601a", "#2f8560", "#7a4fa3", "#0f7a8a"
SEVERAL = (TRAIN, VALIDATION, RATE, NORM, "#a8322f", "#0f7a8a", "#8a6d1a", "#4b5563")
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


def matplotlib() -> Any:
    """The library, or an EnvironmentFault that says how to get it."""
    try:
        import matplotlib as library
    except ImportError as error:
        raise EnvironmentFault("pictures need matplotlib", hint="pip install 'groundup[plots]'") from error
    return library


def new(height: float) -> tuple[Figure, Axes]:
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


def span(axes: Axes, first: int, last: int) -> None:
    """From the first to the last step, with room for the last marker."""
    axes.set_xlim(first, last + max((last - first) * 0.008, 0.5))


def title(axes: Axes, text: str, subtitle: str) -> None:
    """Two lines above the picture, at its left."""
    axes.annotate(text, (0, 1), (0, 24), xycoords="axes fraction", textcoords="offset points", size=13, weight="bold")
    axes.annotate(subtitle, (0, 1), (0, 9), xycoords="axes fraction", textcoords="offset points", size=10, color=GREY)


def label_ends(axes: Axes, last: int, ends: list[tuple[float, str, str]]) -> None:
    """The name of each curve at the right, where all of them end."""
    label_apart(axes, [(last, value, text, color) for value, text, color in ends])


def label_apart(axes: Axes, ends: list[tuple[float, float, str, str]]) -> None:
    """(x, y, text, colour) of every curve's end; the texts are moved up and down until no two overlap."""
    low, high = axes.transData.transform([(0, y) for y in axes.get_ylim()])[:, 1]
    line = 1.35 * 10.5 * axes.figure.dpi / 72  # pixels between two lines of text
    at = [float(axes.transData.transform((x, y))[1]) for x, y, _, _ in ends]
    order = sorted(range(len(at)), key=at.__getitem__)
    for _ in range(100):
        for below, above in itertools.pairwise(order):
            overlap = line - (at[above] - at[below])
            if overlap > 0:
                at[above] += overlap / 2
                at[below] -= overlap / 2
    for y, (x, _, text, color) in zip(at, ends, strict=True):
        axes.annotate(
            text,
            (x, min(max(y, low), high)),
            (8, 0),
            xycoords=("data", "figure pixels"),
            textcoords="offset points",
            va="center",
            color=color,
            weight="bold",
            annotation_clip=False,
        )


def points(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """As matplotlib takes them: x, y."""
    return curve.steps, curve.values


def encode(figure: Figure, kind: str) -> bytes:
    """Without dates and program names, so that equal numbers give equal bytes."""
    data = io.BytesIO()
    nothing = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    figure.savefig(data, format=kind, metadata=nothing)
    return data.getvalue()
