"""What every export begins and ends with: the model is opened, and what was written is held to it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundup.errors import UsageError

if TYPE_CHECKING:
    from groundup.weights.portable import Portable


def open_model(model: str, out: str, force: bool, quiet: bool) -> "Portable":
    """The model to export, with every byte of a checkpoint checked; what is skipped by force is said."""
    from groundup import artifact
    from groundup.weights import checkpoint, contract

    if not model or not out:
        raise UsageError("a model and --out must be named", hint="groundup export hf RUN --out FOLDER")
    skipped: list[str] | None = [] if force else None
    source = checkpoint.open_portable(model, skipped)
    folder = Path(source.where or model)
    if contract.read(folder):
        artifact.verify(folder, checksums=True)
        # The probe too, where the model fits: a checkpoint that was edited must not travel on.
        skipped = checkpoint.load(folder, share=True, force=force).skipped
    for line in [] if quiet else skipped or []:
        print(f"skipped: {line}", file=sys.stderr)
    return source


def refuse_existing(out: str, overwrite: bool) -> Path:
    """`out` as a path at which something new may be written."""
    path = Path(out)
    if not overwrite and path.exists():
        raise UsageError(f"{path.name} exists already", where=str(path), hint="choose another --out, or --overwrite")
    return path


def describe(source: "Portable") -> str:
    """One line for people: what is exported."""
    return f"{source.family}, {source.n_parameters:,} parameters, from {source.where}"


def proven(source: "Portable", written: "Portable", allowed: float) -> dict[str, Any]:
    """Read back what was written and compare it with its source: what is reported of it."""
    from groundup.weights import read_back

    proof = read_back.check(source, written, allowed=allowed)
    return {
        "tensors": proof.n_tensors,
        "largest_rounding": proof.rounding,
        "logit_difference": proof.logits,
        "same_choices": proof.same_choices,
    }


def tell(facts: dict[str, Any], as_json: bool, quiet: bool) -> None:
    """What was written and how it compares, as one JSON object or as a few lines."""
    import orjson

    if as_json:
        print(orjson.dumps(facts).decode())
        return
    print(facts["out"])
    if quiet or "tensors" not in facts:
        return
    rounding = facts["largest_rounding"]
    exact = "bit for bit the same" if not rounding else f"at most {rounding:.2g} of a tensor lost in rounding"
    print(f"read back: {facts['tensors']} tensors, {exact}", file=sys.stderr)
    if facts["logit_difference"] is None:
        print("the model is too large for this machine's memory to compare answers", file=sys.stderr)
    else:
        difference, same = facts["logit_difference"], facts["same_choices"]
        print(f"answers: logits differ by {difference:.2g}, {same:.0%} the same choices", file=sys.stderr)
