"""The columns of metrics.jsonl as curves: read in one pass, smoothed without lag, thinned without losing a spike.

Used by `plots` and by the report, so that both show the same picture. Draws nothing.
"""

from __future__ import annotations

import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from groundup.train import tables


@dataclass(frozen=True, slots=True)
class Curve:
    """Values at steps, in order; only finite values are kept."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.steps)


def read(metrics: Path, columns: Sequence[str]) -> dict[str, Curve]:
    """One curve per column that has any finite number; 16 bytes a point in memory, however long the run."""
    steps = {column: array.array("q") for column in columns}
    values = {column: array.array("d") for column in columns}
    for row in tables.read(metrics):
        for column in columns:
            if isinstance(row.get(column), int | float):
                steps[column].append(row["step"])
                values[column].append(row[column])
    curves = {column: Curve(np.array(steps[column]), np.array(values[column])) for column in columns}
    return {column: curve for column, curve in curves.items() if len(curve)}


def smooth(curve: Curve, share: float = 0.03) -> Curve:
    """Mean over a centred window of `share` of all points, cut off at both ends; a running mean would lag behind."""
    n = len(curve)
    middle = np.arange(n)
    start = np.maximum(middle - int(n * share / 2), 0)
    end = np.minimum(middle + int(n * share / 2) + 1, n)
    total = np.concatenate([[0.0], np.cumsum(curve.values)])
    return Curve(curve.steps, (total[end] - total[start]) / (end - start))


def thin(curve: Curve, n_points: int = 1200) -> Curve:
    """At most n_points: the lowest and the highest of every bin, so that a spike of one step is still seen."""
    n_bins = n_points // 2
    if len(curve) <= 2 * n_bins:
        return curve
    edges = np.linspace(0, len(curve), n_bins + 1).astype(int)
    kept: list[int] = []
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        part = curve.values[start:end]
        kept += sorted({start + int(part.argmin()), start + int(part.argmax())})
    return Curve(curve.steps[kept], curve.values[kept])


def loss_limits(curves: Sequence[Curve]) -> tuple[float, float]:
    """Lowest and highest loss to show.

    The first steps lie far above all others and would press them flat, so they may begin outside the picture.
    """
    low = min(float(curve.values.min()) for curve in curves)
    high = float(np.quantile(max(curves, key=len).values, 0.985))
    high = max(high, *(float(curve.values[-1]) for curve in curves))
    margin = (high - low or abs(high) or 1.0) * 0.06
    return low - margin, high + margin
