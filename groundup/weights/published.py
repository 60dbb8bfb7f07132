"""Models that others published, by the names people call them: where they are on this machine, or how to get them.

Nothing is downloaded here. A model is found as a folder of that name, or in the cache that Hugging Face's own programs
keep; else the error says which command fetches it, and how much that is.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from groundup import models
from groundup.errors import EnvironmentFault

FILES = '--include "*.safetensors" --include "*.json"'
"""What of a repository is read here: many hold the same weights a second time, as a pickle or as Meta's own files."""


@dataclass(frozen=True)
class Published:
    """Where it is published, what it is here, and the bytes that one parameter takes in its file."""

    repository: str
    family: str
    size: str
    bytes_per_parameter: int = 2

    @property
    def n_bytes(self) -> int:
        family = models.family(self.family)
        return self.bytes_per_parameter * family.count_parameters(models.preset(self.family, self.size))


PUBLISHED = {
    "gpt2": Published("openai-community/gpt2", "gpt2", "124m", 4),
    "gpt2-medium": Published("openai-community/gpt2-medium", "gpt2", "355m", 4),
    "gpt2-large": Published("openai-community/gpt2-large", "gpt2", "774m", 4),
    "gpt2-xl": Published("openai-community/gpt2-xl", "gpt2", "1558m", 4),
    "smollm2-135m": Published("HuggingFaceTB/SmolLM2-135M", "llama", "smollm2-135m"),
    "smollm2-135m-instruct": Published("HuggingFaceTB/SmolLM2-135M-Instruct", "llama", "smollm2-135m"),
    "smollm2-360m": Published("HuggingFaceTB/SmolLM2-360M", "llama", "smollm2-360m"),
    "smollm2-360m-instruct": Published("HuggingFaceTB/SmolLM2-360M-Instruct", "llama", "smollm2-360m"),
    "llama-2-7b": Published("meta-llama/Llama-2-7b-hf", "llama", "llama2-7b"),
    "llama-3-8b": Published("meta-llama/Meta-Llama-3-8B", "llama", "llama3-8b"),
    "llama-3.1-8b": Published("meta-llama/Llama-3.1-8B", "llama", "llama3.1-8b"),
    "llama-3.2-1b": Published("meta-llama/Llama-3.2-1B", "llama", "llama3.2-1b"),
    "llama-3.2-3b": Published("meta-llama/Llama-3.2-3B", "llama", "llama3.2-3b"),
    "qwen3-0.6b": Published("Qwen/Qwen3-0.6B", "qwen3", "0.6b"),
}


def find(name: str) -> Path:
    """The folder of a published model, by its name or its repository's. EnvironmentFault where it is not on disk."""
    by_repository = {published.repository.lower(): published for published in PUBLISHED.values()}
    found = (PUBLISHED | by_repository).get(name.lower())
    repository = found.repository if found else name
    for folder in _snapshots(repository):
        if (folder / "config.json").is_file():
            return folder
    if found is None:
        raise EnvironmentFault(
            f"there is no folder {name!r}, and no published model of that name is known here",
            hint=f"known: {', '.join(PUBLISHED)}; others by: hf download OWNER/NAME {FILES} --local-dir OWNER/NAME",
        )
    raise EnvironmentFault(
        f"{name} is not on this machine; it is {_readable(found.n_bytes)} to download",
        hint=f"pip install huggingface_hub && hf download {repository} {FILES} --local-dir {name}",
    )


def _snapshots(repository: str) -> list[Path]:
    """The versions of a repository in Hugging Face's cache, newest first."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    snapshots = cache / f"models--{repository.replace('/', '--')}" / "snapshots"
    if not snapshots.is_dir():
        return []
    return sorted(snapshots.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)


def _readable(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"
