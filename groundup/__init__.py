"""groundup: from a folder of text to a chat model that its owner understands."""

import importlib
from typing import Any

__version__ = "0.1.0"

_FACES = ("GPT", "load", "generate", "Trainer", "Predictor")


def __getattr__(name: str) -> Any:
    """The Python faces, from api.py and only when used: `import groundup` must not wait for torch."""
    if name in _FACES:
        return getattr(importlib.import_module("groundup.api"), name)
    raise AttributeError(f"module 'groundup' has no attribute {name!r}")
