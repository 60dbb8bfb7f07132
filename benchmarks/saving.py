"""Saving a checkpoint: ours with checksums, beside safetensors' own `save_file` and `torch.save`.

    python benchmarks/saving.py [--json] [--write] [--megabytes 128] [--folder DIR]

All three write the same tensors (a Llama's weights in fp32 and AdamW's memory of them) into a new file or folder, and
sync what they wrote to the disk: the same policy, fsync of every file and of its folder, since neither of the two
does so by itself. Each is timed five times in turn, and the median counts. Beside it stands how long a training waits
when the state is copied first and a thread writes.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import harness
import torch
from harness import Row
from safetensors.torch import load_file, save_file

from groundup import artifact, models
from groundup.weights import checkpoint

N_TIMES = 5


def sync(path: Path) -> None:
    """fsync of a file and of the folder it is in."""
    for one in (path, path.parent):
        descriptor = os.open(one, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def state(megabytes: int) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """A model and what AdamW remembers of it, together so many megabytes (a third each)."""
    n_weights = megabytes * 1_000_000 // 12
    shape = {"vocab_size": 4096, "context_length": 64, "d_model": 256, "n_heads": 4, "n_kv_heads": 4, "d_ff": 1024}
    sizes = [
        models.family("llama").count_parameters(models.change(models.preset("llama", "nano"), {**shape, "n_layers": n}))
        for n in (1, 2)
    ]
    n_layers = max(1, round((n_weights - sizes[0]) / (sizes[1] - sizes[0])) + 1)
    model = models.build("llama", "nano", {**shape, "n_layers": n_layers}, seed=0)
    names = [name for name, _ in model.named_parameters()]
    memory = {
        f"0.{name}.{entry}": torch.randn_like(weight)
        for entry in ("exp_avg", "exp_avg_sq")
        for name, weight in zip(names, model.parameters(), strict=True)
    }
    return model, memory


def rows(megabytes: int, folder: Path) -> list[Row]:
    """One object per row of BENCHMARK.md."""
    model, memory = state(megabytes)
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    everything = {**weights, **memory}
    n_bytes = sum(one.numel() * one.element_size() for one in everything.values())

    def ours(place: Path) -> None:
        checkpoint.save(place, model, training=memory, state={"step": 1})

    def safetensors(place: Path) -> None:
        place.mkdir()
        save_file(everything, place / "all.safetensors")
        sync(place / "all.safetensors")

    def pickled(place: Path) -> None:
        place.mkdir()
        torch.save(everything, place / "all.pt")
        sync(place / "all.pt")

    def copied(place: Path) -> None:
        checkpoint.snapshot(place, model, training=memory, state={"step": 1})

    _check_same(ours, safetensors, folder, everything)
    writers: dict[str, Callable[[Path], None]] = {
        "ours": ours,
        "safetensors": safetensors,
        "torch": pickled,
        "copy": copied,
    }
    seconds: dict[str, list[float]] = {name: [] for name in writers}
    for number in range(N_TIMES):
        for name, write in writers.items():
            place = folder / f"{name}-{number}"
            began = time.perf_counter()
            write(place)
            seconds[name].append(time.perf_counter() - began)
            shutil.rmtree(place, ignore_errors=True)
    what = f"a checkpoint of {n_bytes / 1e6:.0f} MB"

    def row(name: str, mine: str, peer: str, peer_name: str, least_ratio: float) -> Row:
        middle = {side: statistics.median(seconds[side]) for side in (mine, peer)}
        times = {side: seconds[side] for side in (mine, peer)}
        return Row(f"{what}: {name}", "s", middle[mine], middle[peer], peer_name, least_ratio, times=times)

    return [
        row("written with checksums, and synced", "ours", "safetensors", "safetensors save_file + fsync", 1 / 1.5),
        row("written with checksums, and synced", "ours", "torch", "torch.save + fsync", 1.0),
        row("how long the training waits", "copy", "safetensors", "safetensors save_file + fsync", 1.0),
    ]


def _check_same(ours: Callable, theirs: Callable, folder: Path, everything: dict[str, torch.Tensor]) -> None:
    """Both sides keep all numbers, and ours keeps its checksums."""
    ours(folder / "a")
    theirs(folder / "b")
    artifact.verify(folder / "a", checksums=True)
    kept, _ = checkpoint.load_training(folder / "a")
    loaded = load_file(folder / "b" / "all.safetensors")
    assert all(torch.equal(loaded[name], one) for name, one in everything.items())
    assert all(torch.equal(one, everything[name]) for name, one in kept.items())
    for place in (folder / "a", folder / "b"):
        shutil.rmtree(place)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one object a row instead of a table")
    parser.add_argument("--write", action="store_true", help="put the table into BENCHMARK.md")
    parser.add_argument("--megabytes", type=int, default=128)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk that is to be measured")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as place:
        measured = rows(asked.megabytes, Path(place))
    code = harness.report(measured, asked.json)
    if asked.write:
        facts = [f"The median of {N_TIMES}, each side in turn; every file and its folder synced"]
        section = harness.section("Saving a checkpoint", measured, ("torch", "safetensors"), facts)
        harness.write_section("saving", section)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
