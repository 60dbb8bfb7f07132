"""What it costs to keep weights in fewer bits: bits per byte of a text before and after, by the engine that talks."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundup.errors import UsageError

if TYPE_CHECKING:
    from groundup.data.batches import Batch
    from groundup.tokenizer.protocol import Tokenizer
    from groundup.weights.portable import Portable

N_TOKENS = 16_384
"""About so many are looked at: both models see the same ones, so that small differences show."""
LONGEST = 1024
"""Tokens of a window."""

# An export's Config has these fields: model, weights, measure, force, quiet, json.


@dataclass(frozen=True)
class Text:
    """Windows of ids, and where they are from."""

    where: str
    windows: "list[Batch]"
    tokenizer: "Tokenizer"


def text_for(config: Any, source: "Portable", *, is_wanted: bool) -> Text | None:
    """What to measure on: the text that is named, else, if it is wanted, what the model's run held out and is there.

    UsageError and DataError where the text that is named cannot be used.
    """
    from groundup.evaluate import held_out

    if not config.measure and (not is_wanted or (config.quiet and not config.json)):
        return None
    tokenizer = source.tokenizer
    if config.measure and not Path(config.measure).exists():
        raise UsageError("there is no such text", where=f"--measure {config.measure}")
    if tokenizer is None:
        if config.measure:
            raise UsageError(
                "the model has no tokenizer, so no text can be measured", where=f"--measure {config.measure}"
            )
        return None
    run = held_out.of_run(Path(source.where or ""), tokenizer)
    path = Path(config.measure) if config.measure else run.data
    if path is None:
        if not config.quiet:
            print("what it costs in bits per byte is not known: --measure TEXT would measure it", file=sys.stderr)
        return None
    # Beyond the rows it was trained on a model is worse, and that would be no news about its weights.
    length = min(source.config.context_length, run.context_length or LONGEST, LONGEST)
    windows = held_out.windows(held_out.split_of(path, tokenizer), length, max(1, N_TOKENS // length))
    return Text(str(path), windows, tokenizer)


def measured(text: Text, config: Any, written: Path) -> dict[str, Any]:
    """Bits per byte of the model that was exported and of what was written, and who counted them on what."""
    before, kept_before, _ = _bits_per_byte(text, config.model, config.force)
    after, _, engine = _bits_per_byte(text, str(written), force=False)
    return {
        "before": before, "after": after, "weights_before": kept_before, "weights_after": config.weights,
        "n_tokens": sum(batch.n_targets for batch in text.windows), "text": text.where, "engine": engine,
    }  # fmt: skip


def line(found: dict[str, Any]) -> str:
    """For people: "int8: 1.2034 bits per byte, fp32: 1.2031 (+0.03 %), ..."."""
    before, after = found["before"], found["after"]
    return (
        f"{found['weights_after']}: {after:.4f} bits per byte, {found['weights_before']}: {before:.4f} "
        f"({after / before - 1:+.2%}), on {found['n_tokens']:,} tokens of {found['text']}, by {found['engine']}"
    )


def _bits_per_byte(text: Text, model: str, force: bool) -> tuple[float, str, str]:
    """Also how the engine keeps the weights, and which one it is."""
    from groundup.evaluate.loss import byte_lengths, held_out_loss
    from groundup.inference import language_model
    from groundup.train.devices import device_for

    speaker = language_model.load(model, lambda: str(device_for("auto")), engine="auto", wait=True, force=force)
    found = held_out_loss(speaker.model, text.windows, byte_lengths(text.tokenizer))
    return found["bits_per_byte"], getattr(speaker.model, "kept_as", "fp32"), speaker.engine
