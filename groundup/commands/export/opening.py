"""What every export begins and ends with: the model is opened, and what was written is held to it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundup.commands.export import cost
from groundup.errors import UsageError

if TYPE_CHECKING:
    from groundup.weights.portable import Portable
    from groundup.weights.read_back import Rounding


def open_model(
    model: str, out: str, kind: str = "", *, force: bool, replace: bool
) -> "tuple[Portable, Path, list[str]]":
    """The model to export, with every byte of a checkpoint checked; the place of a new folder of that kind, or a file;
    and what is skipped by force, which is said too."""
    from groundup import artifact
    from groundup.weights import checkpoint, contract, portable

    if not model or not out:
        hint = "groundup export hf RUN --out FOLDER, or: groundup export gguf RUN --out FILE.gguf"
        raise UsageError("a model and --out must be named", hint=hint)
    skipped: list[str] = []
    source = checkpoint.open_portable(model, skipped if force else None)
    folder = Path(source.where or model)
    path = artifact.claim(out, kind, replace=replace, source=folder)
    if contract.read(folder):
        artifact.verify(folder, checksums=True)
        # The probe too, where the model fits: a checkpoint that was edited must not travel on.
        skipped = checkpoint.load(folder, share=True, force=force).skipped
    for line in skipped:
        print(f"skipped: {line}", file=sys.stderr)
    return portable.finite(source), path, skipped


def proven(source: "Portable", written: "Portable", rounding: "Rounding") -> dict[str, Any]:
    """Read back what was written and compare it with its source: what is reported of it."""
    from groundup.weights import read_back

    proof = read_back.check(source, written, rounding)
    return {
        "tensors": proof.n_tensors,
        "largest_rounding": proof.rounding,
        "logit_difference": proof.logits,
        "same_choices": proof.same_choices,
    }


def tell(facts: dict[str, Any], as_json: bool, quiet: bool, dry_run: bool = False) -> None:
    """What was written and how it compares, as one JSON object or as a few lines."""
    import orjson

    if as_json:
        print(orjson.dumps(facts).decode())
        return
    print(facts["out"])
    if quiet:
        return
    if dry_run:
        print(f"would write {facts['family']}, {facts['parameters']:,} parameters", file=sys.stderr)
    if "tensors" not in facts:
        return
    rounding = facts["largest_rounding"]
    exact = "bit for bit the same" if not rounding else f"at most {rounding:.2g} of a tensor lost in rounding"
    print(f"read back: {facts['tensors']} tensors, {exact}", file=sys.stderr)
    if facts["logit_difference"] is None:
        print("the model is too large for this machine's memory to compare answers", file=sys.stderr)
    else:
        difference, same = facts["logit_difference"], facts["same_choices"]
        print(f"answers: logits differ by {difference:.2g}, {same:.0%} the same choices", file=sys.stderr)
    if "bits_per_byte" in facts:
        print(cost.line(facts["bits_per_byte"]), file=sys.stderr)
