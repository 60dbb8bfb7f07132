"""Opens the model that a command talks with, by the engine that suits it, and says which."""

from typing import Any

from rich.console import Console

# A command's Config has these fields: model, engine, weights, device, force.


def opened(config: Any, people: Console) -> Any:
    """A LanguageModel; people are told what was skipped, and why the quick engine does not serve."""
    from groundup.inference import language_model

    def device() -> str:
        from groundup.train.devices import device_for  # takes torch, which the compiled engine does without

        return str(device_for(config.device))

    def notice(text: str) -> None:
        people.print(text, style="dim", markup=False, soft_wrap=True)

    is_on_gpu = config.device not in ("auto", "cpu")
    engine = "torch" if is_on_gpu and config.engine == "auto" else config.engine
    speaker = language_model.load(
        config.model, device, force=config.force, engine=engine, weights=config.weights, notice=notice
    )
    for line in speaker.skipped:
        people.print(f"skipped: {line}", style="yellow", markup=False)
    return speaker
