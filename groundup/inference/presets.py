"""Settings from a file: a TOML file whose keys are fields of `Settings`.

    # calm.toml
    temperature = 0.4
    top_p = 0.9
    repetition_penalty = 1.1
    stop = ["\\n\\n"]

What a person says beside the file (a flag, a keyword) beats the file.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from groundup import config
from groundup.inference.settings import Settings


def read(path: Path | str) -> dict[str, Any]:
    """The settings that a preset file sets. UsageError with the file and the line of what cannot be meant."""
    settings, origins, _ = config.load(Settings, file=Path(path))
    return {name: getattr(settings, name) for name, origin in origins.items() if origin != "default"}


def over(settings: Settings, path: Path | str, origins: Mapping[str, str]) -> Settings:
    """`settings` with what the preset sets in place of what nobody said; `origins` tell where each value came from.

    They are those of a command's Config, in which the settings are the table `sampling`. Without a preset, path is "".
    UsageError where two of the things that were said do not go together.
    """
    preset = read(path) if path else {}
    said = {name for dotted, origin in origins.items() if (name := _said(dotted, origin))}
    chosen = replace(settings, **{name: value for name, value in preset.items() if name not in said})
    chosen.check_said(said | preset.keys())
    return chosen


def _said(dotted: str, origin: str) -> str:
    """The name of a setting that somebody said, else nothing."""
    table, _, name = dotted.rpartition(".")
    return name if table == "sampling" and origin != "default" else ""
