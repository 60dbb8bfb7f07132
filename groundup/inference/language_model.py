"""A model together with the tokenizer it speaks through, opened from disk, and what can be asked of the two.

Here a prompt or a conversation becomes ids. Commands, the Python faces and the server all open models by `load`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from groundup import compiled_code
from groundup.errors import ArtefactError, UsageError
from groundup.inference.compiled.load import NotCompiled, NotReady
from groundup.inference.engine import Engine, as_runner
from groundup.inference.runner import Runner
from groundup.inference.settings import Settings
from groundup.inference.speculative import Draft, DraftModel, PromptLookup
from groundup.inference.text_stream import TextStream
from groundup.text.records import Message
from groundup.tokenizer import chat
from groundup.tokenizer.protocol import Tokenizer

ENGINES = ("auto", "torch", "compiled")
MOST_TEXTS = 64
"""That a draft model remembers: as many as an engine runs at the same time, if nobody says another number."""


@dataclass(frozen=True)
class LanguageModel:
    """What `load` gives back."""

    model: Any
    """An nn.Module of models/, or a Runner."""
    tokenizer: Tokenizer
    path: Path | None = None
    is_chat: bool = False
    """Tuned on conversations; a base model only continues text."""
    template: str | None = None
    """How it was taught to read conversations; None: as its tokenizer says."""
    skipped: tuple[str, ...] = ()
    """What did not fit and was passed over, because it was forced."""
    draft: Draft | None = None
    """What guesses ahead for it, so that its texts come sooner; they stay the same."""

    @property
    def context_length(self) -> int:
        model = self.model
        return model.context_length if isinstance(model, Runner) else model.config.context_length

    @property
    def engine(self) -> str:
        """Which one runs it, with how it keeps the weights."""
        model = self.model
        return f"{model.name} ({model.kept_as})" if hasattr(model, "kept_as") else "torch"

    @property
    def n_parameters(self) -> int:
        model = self.model
        return model.n_parameters if hasattr(model, "n_parameters") else sum(w.numel() for w in model.parameters())

    def prompt_ids(self, prompt: str) -> list[int]:
        """A text to continue, after `bos` if the model expects it. An empty one otherwise becomes the end token, after
        which a new document begins."""
        tokenizer = self.tokenizer
        ids = tokenizer.encode(prompt).tolist()
        if tokenizer.adds_bos and tokenizer.bos_id is not None:
            return [tokenizer.bos_id, *ids]
        return ids if ids or tokenizer.eos_id is None else [tokenizer.eos_id]

    def chat_ids(self, messages: Sequence[Message]) -> list[int]:
        """A conversation up to where the assistant begins to speak. No system prompt is added."""
        rendered = chat.render(messages, self.tokenizer, template=self.template, generation_prompt=True)
        return rendered.ids.tolist()


def load(
    path: Path | str,
    device: str | Callable[[], str] = "cpu",
    *,
    force: bool = False,
    engine: str = "torch",
    weights: str = "auto",
    wait: bool = False,
    notice: Callable[[str], object] = lambda text: None,
    draft: Path | str = "",
    prompt_lookup: bool = False,
) -> LanguageModel:
    """Open the model of a run folder, a checkpoint, a Hugging Face folder or a GGUF file, to talk and not to train.

    device: for the torch engine; a function is called when that engine is taken, and not before, for it needs torch.
    engine: "torch", on any device; "compiled", on a CPU and without torch, where it knows the family; or "auto", the
    compiled one on machines without a GPU, where it can serve at once, or after compiling with `wait`. `notice` hears
    why it cannot. weights: how the compiled engine keeps them, auto (as in the file), fp32, bf16, fp16, int8, int8-row
    or int4. draft: the path of a smaller model that guesses ahead, opened in the same way; prompt_lookup: guess that
    the text repeats itself, see speculative.py. Raises UsageError where there is no model, ArtefactError for one that
    is damaged or has no tokenizer, and for a draft of another tokenizer; `force` passes over what it can, see
    `weights.checkpoint.load`.
    """
    if draft and prompt_lookup:
        raise UsageError("a draft model and prompt look-up both guess ahead", hint="leave one of them out")
    opened = partial(_load, device=device, force=force, engine=engine, weights=weights, wait=wait, notice=notice)
    speaker = opened(path)
    if draft:
        return drafted_by(speaker, opened(draft))
    return replace(speaker, draft=PromptLookup()) if prompt_lookup else speaker


def drafted_by(speaker: LanguageModel, small: LanguageModel) -> LanguageModel:
    """The model with a smaller one that guesses ahead. ArtefactError if ids do not mean the same to both."""
    ours, theirs = speaker.tokenizer, small.tokenizer
    if ours.token_bytes != theirs.token_bytes or ours.special_ids != theirs.special_ids:
        what = f"the draft model has another tokenizer than {speaker.path}"
        hint = "take one that was trained with the same tokenizer; `groundup tokenizer compare` shows the difference"
        raise ArtefactError(what, where=str(small.path), hint=hint)
    return replace(speaker, draft=DraftModel(as_runner(small.model), n_states=MOST_TEXTS))


def _load(
    path: Path | str,
    device: str | Callable[[], str],
    force: bool,
    engine: str,
    weights: str,
    wait: bool,
    notice: Callable[[str], object],
) -> LanguageModel:
    if engine not in ENGINES:
        raise UsageError(f"the engine is {engine!r}; valid values are {', '.join(ENGINES)}", where="--engine")
    if engine == "compiled" or (engine == "auto" and not (force or has_gpu() or compiled_code.is_off())):
        try:
            return _load_compiled(path, weights, wait=wait or engine == "compiled", force=force)
        except NotCompiled as reason:
            if engine == "compiled":
                what = f"the compiled engine cannot take this model: {reason}"
                raise UsageError(what, where=str(path), hint="--engine torch") from reason
        except NotReady as reason:
            if reason.obstacle:
                notice(f"the torch engine serves, since the fast one cannot be compiled: {reason.obstacle}")
            else:
                notice("compiling the fast engine, once, for about 15 seconds; the torch engine serves meanwhile")
    if weights not in ("auto", "fp32"):
        notice(f"weights are kept in fp32: {weights} is the compiled engine's, which does not serve here")
    return _load_torch(path, device if isinstance(device, str) else device(), force)


def has_gpu() -> bool:
    """Does the system know one? Asked without torch, which takes a second to say so."""
    return any(Path(file).exists() for file in ("/dev/nvidia0", "/dev/kfd"))


def _load_compiled(path: Path | str, weights: str, wait: bool, force: bool) -> LanguageModel:
    from groundup.inference.compiled import load as compiled

    try:
        opened = compiled.load(path, weights, wait=wait, force=force)
    except ImportError as error:  # no numba for this machine
        raise NotCompiled(f"numba cannot be imported: {error}") from error
    return _speaker(opened.runner, opened.tokenizer, opened.path, opened.facts, opened.skipped)


def _load_torch(path: Path | str, device: str, force: bool) -> LanguageModel:
    from groundup.weights import checkpoint

    loaded = checkpoint.load(path, device=device, share=True, force=force)
    facts = loaded.contract.facts if loaded.contract else {}
    return _speaker(loaded.model, loaded.needed_tokenizer(), loaded.path, facts, tuple(loaded.skipped))


def _speaker(
    model: Any, tokenizer: Tokenizer, path: Path, facts: Mapping[str, Any], skipped: tuple[str, ...] = ()
) -> LanguageModel:
    has_template = tokenizer.chat_template is not None
    is_chat = facts["stage"] == "sft" if "stage" in facts else has_template
    return LanguageModel(model, tokenizer, path, is_chat, facts.get("template"), skipped)


class Chat:
    """A conversation as it goes on: it keeps what was said, and forgets the oldest when the context is full.

    chat = Chat(load("runs/demo"), Settings())
    answer = chat.ask("Who lives in the sea?")
    for piece in answer:
        print(piece, end="")
    chat.remember(answer)
    """

    def __init__(self, speaker: LanguageModel, settings: Settings, system: str = ""):
        self.speaker = speaker
        self.settings = settings
        self.system = system
        self.turns: list[Message] = []
        """User and assistant, one after the other."""
        self.n_dropped = 0
        """How many of the oldest messages made room for the last question."""
        self._asked: list[Message] = []
        self._copy = 0
        # It keeps what was computed for the last turn, and each turn begins with all that was said before.
        self._engine = Engine(as_runner(speaker.model), max_batch=1, draft=speaker.draft)

    def warm_up(self) -> None:
        """Runs what every first question begins with, the system prompt, so that its answer comes at once."""
        stream = self.ask("?")
        next(iter(stream), None)
        stream.stop()

    def ask(self, question: str) -> TextStream:
        """The answer, as a stream. Nothing is added to the conversation until `remember`."""
        self._copy = 0
        return self._answer([*self.turns, Message("user", question)])

    def retry(self) -> TextStream | None:
        """Another answer to the last question; None if there was none. A fixed seed is no reason to repeat oneself."""
        if not self.turns:
            return None
        self._copy += 1
        return self._answer(self.turns[:-1])

    def remember(self, answer: TextStream) -> None:
        """Adds the question and the finished (or stopped) answer to the conversation."""
        self.turns = [*self._asked, Message("assistant", answer.completion.text)]

    def reset(self) -> None:
        """Forgets what was said; the system prompt and the settings stay."""
        self.turns = []

    def ids(self, turns: Sequence[Message]) -> list[int]:
        """The system prompt and these messages, up to where the assistant begins to speak."""
        return self.speaker.chat_ids([*self._system(), *turns])

    @property
    def n_tokens(self) -> int:
        """How much of the context is full."""
        said = [*self._system(), *self.turns]
        return len(chat.render(said, self.speaker.tokenizer, template=self.speaker.template).ids) if said else 0

    def _system(self) -> list[Message]:
        return [Message("system", self.system)] if self.system else []

    def _answer(self, turns: list[Message]) -> TextStream:
        """Drops the oldest question with its answer until a fair part of the context is free to answer in."""
        context_length = self.speaker.context_length
        room = min(self.settings.max_new_tokens, context_length // 4)
        n_before = len(turns)
        while len(turns) > 1 and len(self.ids(turns)) + room > context_length:
            turns = turns[2:]
        self.n_dropped = n_before - len(turns)
        self._asked = turns
        return TextStream(self._engine, self.speaker.tokenizer, self.ids(turns), self.settings, copy=self._copy)
