"""Opens the model that a command talks with, by the engine that suits it, and says which."""

from dataclasses import dataclass, field
from typing import Any

from rich.console import Console


@dataclass(frozen=True)
class Opening:
    """What runs the model, for every command that talks."""

    engine: str = "auto"
    """auto, torch (any device) or compiled (CPU, without torch); auto takes the compiled one where it can"""
    weights: str = "auto"
    """how the compiled engine keeps them: auto (as in the file), fp32, bf16, fp16, int8, int8-row, int4"""
    device: str = "auto"
    """auto, cpu, cuda, mps"""
    draft: str = ""
    """a smaller model of the same tokenizer that guesses ahead; the text stays the same, and may come sooner"""
    prompt_lookup: bool = field(default=False, metadata={"alias": ("--lookup",)})
    """guess ahead that the text repeats itself, as where an answer quotes its question; the text stays the same"""
    force: bool = False
    """open a model that does not keep its contract, and say what is skipped"""


def opened(path: str, opening: Opening, people: Console) -> Any:
    """A LanguageModel; people are told what was skipped, and why the quick engine does not serve."""
    from groundup.inference import language_model

    def device() -> str:
        from groundup.train.devices import device_for  # takes torch, which the compiled engine does without

        return str(device_for(opening.device))

    def notice(text: str) -> None:
        people.print(text, style="dim", markup=False, soft_wrap=True)

    is_on_gpu = opening.device not in ("auto", "cpu")
    engine = "torch" if is_on_gpu and opening.engine == "auto" else opening.engine
    speaker = language_model.load(
        path, device, force=opening.force, engine=engine, weights=opening.weights, notice=notice,
        draft=opening.draft, prompt_lookup=opening.prompt_lookup,
    )  # fmt: skip
    for line in speaker.skipped:
        people.print(f"skipped: {line}", style="yellow", markup=False)
    return speaker
