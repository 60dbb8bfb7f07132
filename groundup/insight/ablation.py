"""Change one part at a time: train every combination of some choices with several seeds, and compare where they end.

    runs/compare-1/
        norm-rms/seed-0/ ...     one run each, an ordinary run folder
        ablation.json            every outcome, and mean and spread of each combination
        ablation.txt             the table
        ablation.png, .svg       the picture: a dot a run, mean and standard deviation

A run that ended is not made again and one that was interrupted goes on, so the same command continues where it was
stopped. Knows no command: whoever calls says how one run is made.
"""

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from groundup import artifact
from groundup.errors import EnvironmentFault, UsageError
from groundup.insight.text_table import text_table
from groundup.train import canvas

Fields = dict[str, Any]
Run = Callable[[Fields, int, Path], Mapping[str, Any]]
"""run(fields, seed, run_dir) -> outcome with `val_loss`, and `seconds` if known."""

EXAMPLE = "--compare norm=rms,layer position=rope,learned"
MOST_RUNS = 500


@dataclass(frozen=True)
class Result:
    """A combination and how its runs ended: final validation losses in order of the seeds, and seconds."""

    name: str
    fields: Fields
    val_losses: list[float]
    seconds: list[float]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.val_losses)

    @property
    def deviation(self) -> float:
        """Standard deviation over seeds; NaN of a single one."""
        return statistics.stdev(self.val_losses) if len(self.val_losses) > 1 else math.nan


def combinations(compare: Sequence[str]) -> list[Fields]:
    """Every combination of the values named; UsageError for what cannot be read.

    >>> combinations(["norm=rms,layer", "n_layers=2,4"])[1]
    {'norm': 'rms', 'n_layers': 4}
    """
    axes: dict[str, list[Any]] = {}
    for part in itertools.chain.from_iterable(text.split(",") for text in compare):
        # A comma may have divided "norm=rms,layer" before: what has no name goes with the one before it.
        name, equals, value = part.strip().rpartition("=")
        name = name.strip().replace("-", "_") if equals else next(reversed(axes), "")
        if not name or not value.strip() or (equals and name in axes):
            raise UsageError(f"{part!r} is no field with its values", where="--compare", hint=EXAMPLE)
        axes.setdefault(name, []).append(_value(value.strip()))
    for name, values in axes.items():
        if len(values) < 2 or len(set(map(str, values))) < len(values):
            raise UsageError(f"{name} needs at least two different values", where="--compare", hint=EXAMPLE)
    if not axes:
        raise UsageError("nothing was named to compare", where="--compare", hint=EXAMPLE)
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _value(text: str) -> Any:
    """A number, true or false, or else the word itself."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def name_of(fields: Fields) -> str:
    """`norm=rms position=rope`"""
    return " ".join(f"{name}={value}" for name, value in fields.items())


def compare(
    choices: Sequence[Fields],
    n_seeds: int,
    run_dir: Path | str,
    run: Run,
    notice: Callable[[str], object] = lambda text: None,
) -> list[Result]:
    """Make the runs that are still missing, and return (and write) a result for each of the `choices`.

    Seed by seed, so that a comparison that was stopped has seen all choices equally often.
    """
    run_dir = Path(run_dir)
    if n_seeds < 1 or len(choices) * n_seeds > MOST_RUNS:
        what = f"{len(choices)} combinations with {n_seeds} seeds are {len(choices) * n_seeds} runs"
        raise UsageError(f"{what}; between 1 and {MOST_RUNS} can be made", hint="fewer values or --seeds 3")
    outcomes: dict[tuple[str, int], Mapping[str, Any]] = {}
    for number, (seed, fields) in enumerate(itertools.product(range(n_seeds), choices), start=1):
        folder = run_dir / _folder_name(fields) / f"seed-{seed}"
        if not (folder / "outcome.json").exists():
            notice(f"run {number} of {len(choices) * n_seeds}: {name_of(fields)}, seed {seed}")
            outcome = dict(run(fields, seed, folder))
            if not isinstance(outcome.get("val_loss"), float) or not math.isfinite(outcome["val_loss"]):
                hint = "hold text out with --val-fraction"
                raise UsageError("a run without a validation loss cannot be compared", where=str(folder), hint=hint)
            artifact.write_json(folder / "outcome.json", outcome)
        outcomes[name_of(fields), seed] = artifact.read_json(folder / "outcome.json")
    results = []
    for fields in choices:
        name = name_of(fields)
        mine = [outcomes[name, seed] for seed in range(n_seeds)]
        seconds = [float(outcome.get("seconds", math.nan)) for outcome in mine]
        results.append(Result(name, dict(fields), [float(outcome["val_loss"]) for outcome in mine], seconds))
    _write(run_dir, results)
    return results


def _folder_name(fields: Fields) -> str:
    return artifact.safe_name("_".join(f"{name}-{value}" for name, value in fields.items()))


# --- what is shown ---


def table(results: Sequence[Result]) -> str:
    """One line a combination, the best first: mean and deviation of the loss, how far from the best, seconds."""
    best = min(result.mean for result in results)
    rows = [
        (
            result.name,
            f"{result.mean:.4f}",
            "" if math.isnan(result.deviation) else f"±{result.deviation:.4f}",
            f"+{result.mean - best:.4f}",
            str(len(result.val_losses)),
            f"{statistics.fmean(result.seconds):.1f} s",
        )
        for result in sorted(results, key=lambda result: result.mean)
    ]
    return text_table(("", "validation loss", "deviation", "from the best", "seeds", "a run"), rows)


def _write(run_dir: Path, results: Sequence[Result]) -> None:
    rows = [
        asdict(result) | {"mean": result.mean, "deviation": None if math.isnan(result.deviation) else result.deviation}
        for result in results
    ]
    artifact.write_json(run_dir / "ablation.json", {"results": rows})
    artifact.write_file(run_dir / "ablation.txt", table(results) + "\n")


def draw(run_dir: Path | str, results: Sequence[Result]) -> list[Path]:
    """ablation.png and ablation.svg in the run folder. EnvironmentFault where matplotlib is missing."""
    with canvas.matplotlib().rc_context(canvas.STYLE):
        return list(_pictures(Path(run_dir), sorted(results, key=lambda result: result.mean, reverse=True)))


def draw_if_possible(run_dir: Path | str, results: Sequence[Result]) -> list[Path]:
    """`draw`, or nothing where matplotlib is not installed."""
    try:
        return draw(run_dir, results)
    except EnvironmentFault:
        return []


def _pictures(run_dir: Path, results: Sequence[Result]) -> Iterator[Path]:
    """The best on top."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    longest = max(len(result.name) for result in results)
    figure = Figure(figsize=(8, 1.3 + 0.42 * len(results)), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, result in enumerate(results):
        axes.plot(result.val_losses, [place] * len(result.val_losses), "o", color=canvas.GREY, alpha=0.5, markersize=4)
        error = None if math.isnan(result.deviation) else result.deviation
        axes.errorbar(result.mean, place, xerr=error, fmt="o", color=canvas.TRAIN, capsize=4, linewidth=2, markersize=7)
    axes.set_yticks(range(len(results)), [result.name for result in results], fontsize=10.5 if longest < 40 else 8)
    axes.set_ylim(-0.6, len(results) - 0.4)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", color=canvas.FAINT)
    axes.tick_params(length=0)
    n_seeds = len(results[0].val_losses)
    axes.set_xlabel(f"validation loss, nats per token: {n_seeds} seeds, mean ± deviation")
    for kind in ("png", "svg"):
        artifact.write_file(run_dir / f"ablation.{kind}", canvas.encode(figure, kind))
        yield run_dir / f"ablation.{kind}"
