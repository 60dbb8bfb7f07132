"""The pictures of a run: files that open, the same bytes for the same numbers, curves that tell the truth."""

import builtins
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from groundup.errors import EnvironmentFault
from groundup.train import curves, plots


def write_metrics(run_dir: Path, n_steps: int = 300) -> Path:
    run_dir.mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = [{"step": 0, "val_loss": 8.0, "val_bits_per_byte": 3.4}]
    for step in range(1, n_steps + 1):
        row = {"step": step, "train_loss": 2 + 6 / step + 0.1 * (step % 3), "lr": 1e-3 * (1 - step / n_steps)}
        rows.append({**row, "grad_norm": 50.0 if step == 99 else 1 / step, "tokens_per_second": 41e3 + step % 7})
        if step % 50 == 0:
            rows.append({"step": step, "val_loss": 2.2 + 6 / step, "val_bits_per_byte": 0.9})
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run_dir


def test_pictures_are_written_and_deterministic(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run_dir = write_metrics(tmp_path / "pretrain-1")
    written = plots.draw(run_dir)
    names = [f"{name}.{kind}" for name in ("loss", "lr", "gradient_norm", "throughput") for kind in ("png", "svg")]
    assert [path.name for path in written] == names
    first = [path.read_bytes() for path in written]
    for png, svg in zip(first[::2], first[1::2], strict=True):
        assert png.startswith(b"\x89PNG") and len(png) > 10_000
        assert ElementTree.fromstring(svg).tag.endswith("svg") and b"<dc:date" not in svg
    assert [path.read_bytes() for path in plots.draw(run_dir)] == first
    assert sorted(path.name for path in (run_dir / "plots").iterdir()) == sorted(names)


@pytest.mark.parametrize(
    "rows",
    [
        [{"step": 1, "train_loss": 3.0, "lr": 0.0, "grad_norm": 0.0, "tokens_per_second": 0}],
        [{"step": 1, "train_loss": 3.0, "grad_norm": 1e30}, {"step": 2, "train_loss": 3.0, "grad_norm": 1e-30}],
        [{"step": 1, "train_loss": None}, {"step": 2, "train_loss": 3.0}],
        [{"step": 0, "val_loss": 8.0}],
        [{"step": 10**10, "train_loss": 1e30, "lr": 1e-12}, {"step": 10**10 + 1, "train_loss": -2.0, "lr": 1e-12}],
    ],
)
def test_runs_of_a_few_odd_rows(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert (tmp_path / "plots" / "loss.png") in plots.draw(tmp_path)


def test_curves_over_each_other(tmp_path: Path) -> None:
    """Labels that would lie on each other stand apart, whatever the number and the length of the runs."""
    pytest.importorskip("matplotlib")
    from groundup.train import card

    cards = {}
    for n, steps in enumerate((300, 300, 100, 300)):
        run_dir = write_metrics(tmp_path / f"pretrain-{n}", steps)
        (run_dir / "run.json").write_text("{}")
        (run_dir / "config.toml").write_text("")
        cards[f"pretrain-{n}"] = card.of(run_dir)
    for by in ("step", "tokens"):
        files = [tmp_path / "out" / f"{by}.png", tmp_path / "out" / f"{by}.svg"]
        plots.draw_together(cards, files, by=by)
        first = [file.read_bytes() for file in files]
        assert first[0].startswith(b"\x89PNG") and ElementTree.fromstring(first[1]).tag.endswith("svg")
        plots.draw_together(cards, files, by=by)
        assert [file.read_bytes() for file in files] == first
    heights = label_heights(cards)
    assert len(heights) == 4 and min(np.diff(sorted(heights))) > 12, "points between two names"


def label_heights(cards: dict[str, Any]) -> list[float]:
    """Where the names of the runs stand, in points."""
    figure = plots._draw_together(cards, "step")
    [axes] = figure.axes
    return [text.xy[1] * 72 / figure.dpi for text in axes.texts if text.get_text().startswith("pretrain")]


def test_nothing_to_draw_over_each_other(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    curve = {"steps": [], "values": []}
    empty = {"curves": {"train_loss": curve, "val_loss": curve}, "results": {}}
    plots.draw_together({"a": empty, "b": empty}, [tmp_path / "x.png"])
    assert (tmp_path / "x.png").stat().st_size > 0


def test_no_rows_no_pictures(tmp_path: Path) -> None:
    assert plots.draw(tmp_path) == [] and not (tmp_path / "plots").exists()


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", absent)
    run_dir = write_metrics(tmp_path / "run")
    with pytest.raises(EnvironmentFault) as missing:
        plots.draw(run_dir)
    assert missing.value.hint and "groundup[plots]" in missing.value.hint
    assert plots.draw_if_possible(run_dir) == []


def test_smoothing_equals_the_plain_mean() -> None:
    values = np.random.default_rng(0).normal(size=97)
    smooth = curves.smooth(curves.Curve(np.arange(97), values), share=0.1)
    plain = [values[max(i - 4, 0) : i + 5].mean() for i in range(97)]
    np.testing.assert_allclose(smooth.values, plain)


def test_thinning_keeps_spikes_and_order() -> None:
    values = np.zeros(100_000)
    values[54_321] = 9.0
    values[77] = -3.0
    thin = curves.thin(curves.Curve(np.arange(100_000), values), 1000)
    assert len(thin) <= 1000 and thin.values.max() == 9.0 and thin.values.min() == -3.0
    assert (np.diff(thin.steps) > 0).all()
    assert curves.thin(thin, 1000) is thin
