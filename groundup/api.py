"""The Python faces: what people type in a notebook. Thin: everything they do is done elsewhere.

    import groundup

    model = groundup.load("runs/demo")
    groundup.generate(model, "Once upon a time", max_tokens=100)

    groundup.Predictor.load("runs/demo").generate(["One.", "Two."], temperature=0)

    gpt = groundup.GPT.from_pretrained("gpt2")     # a name, or any folder or file that holds a model
    small = groundup.GPT(dataclasses.replace(gpt.config, n_layers=4))

`import groundup` hands these on when they are first used, so that importing it stays quick.
"""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from groundup import config, models
from groundup.errors import UsageError
from groundup.inference import presets
from groundup.inference.completing import complete
from groundup.inference.language_model import LanguageModel, load
from groundup.inference.settings import Settings
from groundup.inference.text_stream import Completion, TextStream
from groundup.layers.kernels import Kernels
from groundup.text.records import Message
from groundup.weights import checkpoint, published

__all__ = ["GPT", "LanguageModel", "Predictor", "Trainer", "generate", "load"]

Messages = Sequence[Mapping[str, str] | Message]


def generate(
    model: Any,
    prompt: str = "",
    max_new_tokens: int | None = None,
    max_tokens: int | None = None,
    tokenizer: Any = None,
    messages: Messages | None = None,
    **settings: Any,
) -> str:
    """The text with which the model goes on after `prompt`; or, with `messages`, what the assistant answers.

    model: what `load` gave back, or a bare model together with its `tokenizer`.
    max_tokens: another name for max_new_tokens.
    messages: `[{"role": "user", "content": "Who are you?"}]`; `prompt` is then left out.
    settings: the fields of `inference.settings.Settings`, such as temperature, top_p, seed and stop.

    A model that was tuned on conversations also continues a plain prompt plainly. The text is the one that
    `groundup generate` prints for the same settings and seed.
    """
    speaker = _speaker(model, tokenizer)
    chosen = _settings(settings, max_new_tokens, max_tokens)
    ids = _ids(speaker, prompt, messages)
    [completion] = complete(speaker.model, speaker.tokenizer, [ids], chosen, draft=speaker.draft)
    return completion.text


class Predictor:
    """A loaded model that generates, one prompt or many, at once or as a stream: the texts of `groundup generate`.

        predictor = Predictor.load("runs/demo")
        predictor.generate(["One.", "Two."], temperature=0)
        for piece in predictor.stream("Once upon a time", preset="calm.toml", seed=1):
            print(piece, end="")

    Every call takes, beside `prompt` or `messages`, the fields of `inference.settings.Settings`; `preset`, a TOML file
    of them, which the others beat; and trim, show_special and shift, as the command has them.
    """

    def __init__(self, model: Any, tokenizer: Any = None):
        self.speaker = _speaker(model, tokenizer)

    @classmethod
    def load(
        cls, path: Path | str, device: str = "cpu", *, draft: Path | str = "", prompt_lookup: bool = False
    ) -> "Predictor":
        """Open a run folder, a checkpoint, a Hugging Face folder or a GGUF file.

        draft, prompt_lookup: what guesses ahead, as the command's --draft and --prompt-lookup; texts stay the same.
        """
        return cls(load(path, device, draft=draft, prompt_lookup=prompt_lookup))

    @overload
    def generate(self, prompt: str, **settings: Any) -> str: ...
    @overload
    def generate(self, prompt: Sequence[str], **settings: Any) -> list[str]: ...
    def generate(self, prompt: str | Sequence[str] = "", *, messages: Messages | None = None, **settings: Any) -> Any:
        """A string for a string; for a list of prompts a list, computed in batches."""
        done = self.complete(prompt, messages=messages, **settings)
        return [each.text for each in done] if isinstance(done, list) else done.text

    @overload
    def complete(self, prompt: str, **settings: Any) -> Completion: ...
    @overload
    def complete(self, prompt: Sequence[str], **settings: Any) -> list[Completion]: ...
    def complete(self, prompt: str | Sequence[str] = "", *, messages: Messages | None = None, **settings: Any) -> Any:
        """As `generate`, but with what is known about each text: how it ended, its ids, the time it took."""
        chosen, options = _split(settings)
        is_one = isinstance(prompt, str)
        ids = [_ids(self.speaker, text, messages) for text in ([prompt] if is_one else prompt)]
        done = complete(self.speaker.model, self.speaker.tokenizer, ids, chosen, draft=self.speaker.draft, **options)
        return done[0] if is_one else done

    def stream(self, prompt: str = "", *, messages: Messages | None = None, **settings: Any) -> Iterator[str]:
        """The same text as `generate` gives, in pieces as they come."""
        chosen, options = _split(settings)
        ids = _ids(self.speaker, prompt, messages)
        return iter(
            TextStream(self.speaker.model, self.speaker.tokenizer, ids, chosen, draft=self.speaker.draft, **options)
        )


class GPT:
    """A bare model, as an `nn.Module`: with fresh weights from a Config of any family, or with trained ones."""

    def __new__(cls, model_config: Any, *, seed: int | None = None, kernels: Kernels = "fused") -> Any:
        """GPT(groundup.models.gpt2.Config(n_layers=4)): the same weights for the same seed."""
        return models.fresh(model_config, seed=seed, kernels=kernels)

    @staticmethod
    def from_pretrained(name_or_path: Path | str, device: str = "cpu") -> Any:
        """The model of a folder, a GGUF file, or a published name such as "gpt2" that is on this machine.

        It has `.config`, and `.tokenizer` if there is one, so that `groundup.generate(model, "Once")` works. A name
        that is not on disk is an EnvironmentFault with the command that downloads it, and its size.
        """
        path = Path(name_or_path)
        loaded = checkpoint.load(path if path.exists() else published.find(str(name_or_path)), device=device)
        loaded.model.tokenizer = loaded.tokenizer  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
        return loaded.model


class Trainer:
    """A stage of training as an object.

        from groundup.commands import pretrain

        Trainer(pretrain.Config(data=("books",))).fit()

    The configuration's class decides which stage runs. `fit` gives back what the command reports.
    """

    def __init__(self, stage_config: Any):
        folder, _, stage = type(stage_config).__module__.rpartition(".")
        if folder != "groundup.commands" or stage not in STAGES:
            raise UsageError(
                f"{type(stage_config).__name__} is not the configuration of a stage of training",
                hint=f"give the Config of one of groundup.commands: {', '.join(STAGES)}",
            )
        self.config = stage_config
        self.stage = importlib.import_module(type(stage_config).__module__)

    def fit(self) -> Any:
        """Train to the end; a run that was interrupted goes on when its `run_dir` is given again."""
        return self.stage.run(self.config)


STAGES = ("pretrain", "sft")


def _speaker(model: Any, tokenizer: Any) -> LanguageModel:
    if isinstance(model, LanguageModel):
        return model if tokenizer is None else LanguageModel(model.model, tokenizer, model.path, model.is_chat)
    tokenizer = tokenizer if tokenizer is not None else getattr(model, "tokenizer", None)
    if tokenizer is None:
        raise UsageError(
            "a bare model needs its tokenizer to read and write text",
            hint="pass tokenizer=..., or the model that groundup.load gives back",
        )
    return LanguageModel(model, tokenizer)


def _split(given: dict[str, Any]) -> tuple[Settings, dict[str, Any]]:
    """What was said by keyword: settings, those of a preset file among them, and how the text is to be shown."""
    options = {name: given.pop(name) for name in ("trim", "show_special", "shift") if name in given}
    file = given.pop("preset", None)
    preset = presets.read(file) if file else {}
    if "max_tokens" in given:
        preset.pop("max_new_tokens", None)
    return _settings(preset | given), options


def _settings(settings: dict[str, Any], max_new_tokens: int | None = None, max_tokens: int | None = None) -> Settings:
    """Settings from keyword arguments, with the spellings that other libraries have taught people."""
    settings = dict(settings)
    limits = {max_new_tokens, max_tokens, settings.pop("max_tokens", None), settings.pop("max_new_tokens", None)} - {
        None
    }
    if len(limits) > 1:
        raise UsageError("max_new_tokens and max_tokens are two names of one setting, and differ here")
    if limits:
        settings["max_new_tokens"] = limits.pop()
    for name in ("stop", "stop_ids"):
        if isinstance(settings.get(name), str | int):
            settings[name] = (settings[name],)
    made: Settings = config.from_dict(Settings, settings, "the arguments")
    made.check_said(settings.keys())
    return made


def _ids(speaker: LanguageModel, prompt: str, messages: Messages | None) -> list[int]:
    if messages is None:
        return speaker.prompt_ids(prompt)
    if prompt:
        raise UsageError("a prompt and messages cannot both be continued", hint="make the prompt the last message")
    return speaker.chat_ids([each if isinstance(each, Message) else Message(**each) for each in messages])
