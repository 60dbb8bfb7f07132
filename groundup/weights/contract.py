"""`groundup.json`: what a checkpoint promises about itself, so that parts that do not belong together never run.

`config.json` and `model.safetensors` are in other people's terms and may be edited by other people's programs. The
contract beside them says what this model is in ours: its configuration, the tokenizer and the chat template it learned
with, how RoPE pairs its numbers, and what it answers to a fixed prompt. A weight that was changed, or read under the
wrong name or in the wrong layout, shows in that answer.

Reading it takes no torch, which is imported where a model is asked.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groundup import artifact, config
from groundup.errors import ArtefactError, UsageError
from groundup.tokenizer.protocol import Tokenizer

FILE = "groundup.json"
FORMAT_VERSION = 1
PROBE_LENGTH = 16
PROBE_TOLERANCE = 1e-3
"""Of the largest logit. Other machines and kernels add in another order, which moves a logit by about 1e-6 of that."""


@dataclass(frozen=True)
class Contract:
    """The content of `groundup.json`."""

    format_version: int
    family: str
    config: dict[str, Any]
    rope_layout: str
    tokenizer_hash: str | None
    template_hash: str | None
    probe_ids: list[int]
    probe_logits: list[float]
    """At the last position of the probe, for 16 ids spread over the vocabulary; none of a model larger than memory."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the run wants to be remembered, such as its stage."""


def describe(
    shape: Any, tokenizer: Tokenizer | None, model: Any = None, facts: Mapping[str, Any] | None = None
) -> Contract:
    """The contract of a model of this shape (its Config) as it is now.

    Without the `model` itself, which may be larger than memory, it promises no answer to the probe.
    """
    from groundup import models

    ids = _probe_ids(shape)
    return Contract(
        format_version=FORMAT_VERSION,
        family=models.name_of(shape),
        config=config.to_dict(shape),
        rope_layout="half-split" if hasattr(shape, "rope") else "none",
        tokenizer_hash=tokenizer.hash if tokenizer else None,
        template_hash=_template_hash(tokenizer),
        probe_ids=ids,
        probe_logits=_probe(model, ids) if model is not None else [],
        facts=dict(facts or {}),
    )


def read(folder: Path) -> Contract | None:
    """The contract of a folder; None where there is none, as in folders that other programs wrote."""
    file = folder / FILE
    if not file.exists():
        return None
    content = artifact.read_json(file)
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise ArtefactError(
            f"the checkpoint has format {version!r}, and this groundup reads {FORMAT_VERSION}",
            where=str(file),
            hint="pip install --upgrade groundup" if type(version) is int else None,
        )
    try:
        return config.from_dict(Contract, content, str(file))
    except UsageError as error:
        raise ArtefactError(error.what, where=error.where) from error


def check(
    promised: Contract,
    model: Any,
    tokenizer: Tokenizer | None,
    folder: Path,
    skipped: list[str] | None = None,
) -> None:
    """Compare a loaded model with its contract; ArtefactError lists every field that differs.

    With `skipped`, they are put there and not refused.
    """
    from groundup import models

    shape = models.shape_of(model)
    found = describe(shape, tokenizer, model if promised.probe_logits else None)
    _refuse(list(_differences(promised, found, shape, str(folder))), folder, skipped)


def check_answer(
    promised: Contract,
    shape: Any,
    answer: Callable[[list[int]], Any],
    tolerance: float,
    folder: Path,
    skipped: list[str] | None = None,
) -> None:
    """As `check`, but of the probe alone and for any engine: `answer` gives the logits (vocab_size,) after these ids.

    `shape` tells the model's vocab_size and context_length; tolerance: how far off a logit may be, as a share of the
    largest.
    """
    if not promised.probe_logits:
        return
    ids = _probe_ids(shape)
    if promised.probe_ids != ids:
        differing = [_differing("probe_ids", promised.probe_ids, ids)]
    else:
        differing = list(_off(promised, _spread(answer(ids)), tolerance))
    _refuse(differing, folder, skipped)


def _refuse(differing: list[str], folder: Path, skipped: list[str] | None) -> None:
    if skipped is not None:
        skipped += differing
    elif differing:
        lines = "\n  ".join(["the checkpoint does not keep its contract:", *differing])
        hint = "take the files that were saved together; groundup verify --checksums names those that were changed"
        raise ArtefactError(lines, where=str(folder), hint=f"{hint}; --force opens it all the same")


def _differences(promised: Contract, found: Contract, shape: Any, where: str) -> Iterator[str]:
    """A line for each field that is not as promised, or one for the answer to the probe if all fields are."""
    fields = [
        ("family", promised.family, found.family),
        *differing_values(_filled_in(promised, shape, where), found.config),
        *(
            (name, getattr(promised, name), getattr(found, name))
            for name in ("rope_layout", "tokenizer_hash", "template_hash", "probe_ids")
        ),
    ]
    differing = [_differing(*each) for each in fields if each[1] != each[2]]
    yield from differing
    if promised.probe_logits and not differing:
        yield from _off(promised, found.probe_logits, PROBE_TOLERANCE)


def _differing(name: str, ours: Any, theirs: Any) -> str:
    return f"{name} is {theirs!r}, and was {ours!r} when it was saved"


def _off(promised: Contract, logits: list[float], tolerance: float) -> Iterator[str]:
    """A line if the answer to the probe is not the one that was promised."""
    if len(logits) != len(promised.probe_logits):
        yield f"the probe has {len(logits)} logits, and had {len(promised.probe_logits)} when it was saved"
        return
    error = max(abs(a - b) for a, b in zip(logits, promised.probe_logits, strict=True))
    if not error <= tolerance * max(map(abs, promised.probe_logits)):  # so written, NaN fails too
        yield f"a logit of the probe is off by {error:.2g}: the model does not answer as it did when it was saved"


def _filled_in(promised: Contract, shape: Any, where: str) -> dict[str, Any]:
    """The promised configuration with the defaults of fields that are newer than the checkpoint."""
    from groundup import models

    if promised.family != models.name_of(shape):
        return config.to_dict(shape)  # another family has other fields; that it is another is said already
    try:
        return config.to_dict(config.from_dict(type(shape), promised.config, FILE))
    except (UsageError, ValueError) as error:
        raise ArtefactError(f"{FILE} describes no {promised.family}: {error}", where=where) from error


def check_vocabulary(vocab_size: int, tokenizer: Tokenizer | None, folder: Path) -> None:
    """A tokenizer must not produce an id that the model has no row for."""
    if tokenizer is not None and tokenizer.vocab_size > vocab_size:
        raise ArtefactError(
            f"the tokenizer has {tokenizer.vocab_size} ids, the model's vocab_size is {vocab_size}",
            where=str(folder),
            hint="use the tokenizer that the model was trained with",
        )


def _probe_ids(shape: Any) -> list[int]:
    return [7919 * i % shape.vocab_size for i in range(min(PROBE_LENGTH, shape.context_length))]


def _spread(logits: Any) -> list[float]:
    """Of the logits (vocab_size,), those that are kept; of torch or numpy."""
    return logits[:: max(1, len(logits) // PROBE_LENGTH)][:PROBE_LENGTH].tolist()


def _probe(model: Any, ids: list[int]) -> list[float]:
    import torch

    was_training, device = model.training, next(model.parameters()).device
    with torch.no_grad():
        logits = model.eval()(torch.tensor([ids], device=device))[0, -1].float()
    model.train(was_training)
    return _spread(logits)


def _template_hash(tokenizer: Tokenizer | None) -> str | None:
    template = tokenizer.chat_template if tokenizer else None
    return hashlib.sha256(template.encode()).hexdigest() if template is not None else None


def differing_values(ours: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str = "") -> Iterator[tuple]:
    """(dotted name, ours, theirs) of every value of two nested configurations."""
    for name in {**ours, **theirs}:
        one, other = ours.get(name), theirs.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from differing_values(one, other, f"{prefix}{name}.")
        else:
            yield prefix + name, one, other
