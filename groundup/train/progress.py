"""What besides weights and optimizer must survive a crash: the position of a run, as JSON that loses nothing.

A run that was killed makes the same decisions again, so everything that decides something stands here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from groundup.errors import ArtefactError

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""Numbers that JSON does not have, by the texts that stand for them."""


@dataclass
class Progress:
    """Where a run stands. `seconds` is for people and is not saved: it would make equal checkpoints differ."""

    step: int = 0
    n_steps: int = 0
    n_tokens: int = 0
    best_step: int = -1
    best_val_loss: float = math.inf
    metrics: dict[str, float] = field(default_factory=dict)
    """of the last evaluation"""
    guard: dict[str, Any] = field(default_factory=dict)
    """what the guard against broken numbers remembers (guard.state())"""
    n_bad_evaluations: int = 0
    """evaluations in a row without a better one"""
    n_skips: int = 0
    """steps passed over so far"""
    evaluated_step: int = -1
    """the last step that was evaluated: an evaluation that a signal broke off is made again"""
    micro_rows: int = 0
    """sequences in a forward pass, where memory was too short for what was asked; 0: as asked"""
    loss_scale: list[float] = field(default_factory=list)
    """of fp16, see precision.LossScale"""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values, a copy; floats come back to the last bit, NaN and infinities too."""
        return {one.name: _plain(getattr(self, one.name)) for one in fields(self) if one.name != "seconds"}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any], where: str = "") -> "Progress":
        """The other way; ArtefactError where a newer groundup saved what this one does not know."""
        known = {one.name for one in fields(cls)}
        if unknown := [name for name in saved if name not in known]:
            hint = "pip install --upgrade groundup"
            raise ArtefactError(
                f"the checkpoint's state has unknown parts: {', '.join(unknown)}", where=where, hint=hint
            )
        values = {name: _number(value) for name, value in saved.items()}
        if values.get("best_val_loss", 0.0) is None:  # as it was written once
            values["best_val_loss"] = math.inf
        return cls(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _number(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _number(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_number(one) for one in value]
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value
