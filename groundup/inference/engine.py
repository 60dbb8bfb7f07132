"""Prompts in, new token ids out: many texts at once, each with its own length, settings and end.

    engine = Engine(as_runner(model))
    engine.submit(ids, Settings())              joins at the next step, whatever the others are at
    while not engine.is_idle:
        for generation, id_ in engine.step():   every text that is on its way gets its next id
            ...

A step is one pass of the model: whole prompts for those that join, the newest id for those that are on their way. What
a text becomes depends on its prompt, settings, seed and copy, and not on its neighbours. Text, stop strings and chat
templates are not known here: `text_stream.py` has them. Models are not known either, but for what runner.py asks.
"""

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from groundup.inference import sampling
from groundup.inference.generation import Generation
from groundup.inference.history import History
from groundup.inference.prefixes import LEAST, Prefixes, n_alike
from groundup.inference.prompt import checked_prompt
from groundup.inference.runner import Runner, State, Work
from groundup.inference.settings import Settings
from groundup.inference.speculative import Draft, Reach, accept

OnToken = Callable[[Generation, int], Any]


class Engine:
    """Texts that join, run together and leave. It belongs to one thread, as its runner does.

    max_batch: texts that run at the same time; others wait.
    draft: guesses ids ahead (speculative.py). The texts stay the same; only how soon they come changes.
    most_bytes: of keys and values, if every running text gets as long as it may; texts wait until there is room. One
        always runs. None is no limit.
    n_kept: finished texts whose keys and values are kept, beyond `most_bytes`, for prompts that begin like them, see
        prefixes.py.
    """

    def __init__(
        self,
        runner: Runner,
        max_batch: int = 64,
        *,
        draft: Draft | None = None,
        most_bytes: int | None = None,
        n_kept: int = 8,
    ):
        if max_batch < 1:
            raise ValueError(f"max_batch is {max_batch}; valid values are whole numbers from 1")
        if draft is not None:
            draft.check(runner)
        self.runner = runner
        self.max_batch = max_batch
        self.draft = draft
        self.most_bytes = most_bytes
        self.n_drafted = self.n_accepted = 0
        """Guesses so far, and how many of them were right."""
        self._prefixes = Prefixes(runner.bytes_per_position, n_kept)
        self._waiting: deque[_Sequence] = deque()
        self._running: list[_Sequence] = []

    @property
    def is_idle(self) -> bool:
        return not self._waiting and not self._running

    def submit(
        self, prompt_ids: Sequence[int], settings: Settings, copy: int = 0, on_token: OnToken | None = None
    ) -> Generation:
        """Takes up a prompt. With one seed, another `copy` of a prompt gives another text.

        `on_token(generation, id)` is called for each new id; a true answer ends the text ("stop"). A text never grows
        beyond the model's `context_length`: it ends there with the reason "length". Raises UsageError for a prompt
        that is empty, does not fit in the context or has ids the model does not know.
        """
        runner = self.runner
        settings.check_vocabulary(runner.vocab_size)
        ids = checked_prompt(prompt_ids, runner.vocab_size, runner.context_length)
        sequence = _Sequence(ids, settings, copy, on_token, runner.context_length)
        if self.draft is not None:
            sequence.generation.n_drafted = sequence.generation.n_accepted = 0
        self._waiting.append(sequence)
        return sequence.generation

    def cancel(self, generation: Generation) -> None:
        """Ends a text where it is, if it has not ended yet."""
        if not generation.finish_reason:
            generation.finish_reason = "interrupted"
            self._retire()

    def step(self) -> list[tuple[Generation, int]]:
        """Every text gets its next id, or with a draft its next few; those that are ready leave. Returns what is new.

        An exception, Ctrl-C included, leaves every text with the ids it has; the next step goes on from there.
        """
        self._admit()
        running = list(self._running)
        if not running:
            return []
        made: list[tuple[Generation, int]] = []
        try:
            logits = self.runner.run([sequence.work(self.draft, self.max_batch > 1) for sequence in running])
            for sequence, rows in zip(running, logits, strict=True):
                made += [(sequence.generation, id_) for id_ in sequence.read(rows)]
                self._count(sequence)
        finally:
            self._retire()
        return made

    def _count(self, sequence: "_Sequence") -> None:
        if sequence.drafted:
            made = sequence.generation
            made.n_drafted = (made.n_drafted or 0) + len(sequence.drafted)
            made.n_accepted = (made.n_accepted or 0) + sequence.n_accepted
            self.n_drafted += len(sequence.drafted)
            self.n_accepted += sequence.n_accepted

    def close(self) -> None:
        """Gives all room back; texts that are not ready are cancelled."""
        for sequence in (*self._waiting, *self._running):
            sequence.generation.finish_reason = sequence.generation.finish_reason or "interrupted"
        self._retire()
        self._prefixes.clear()

    def _admit(self) -> None:
        """Lets texts join, as long as there is room."""
        for sequence in self._running:
            sequence.settle()
        starting: list[list[int]] = []
        postponed: list[_Sequence] = []
        while self._waiting and len(self._running) + len(postponed) < self.max_batch:
            if not self._has_room_for(self._waiting[0]):
                break
            sequence = self._waiting.popleft()
            prompt = sequence.generation.prompt_ids
            # One that shares most of its prompt with another that starts now is better off copying from it, next time.
            if any(n_alike(prompt, other) >= max(LEAST, len(prompt) // 2) for other in starting):
                postponed.append(sequence)
                continue
            state = self._prefixes.begin(prompt, [known for each in self._running if (known := each.known)])
            if state is None:
                state = self.runner.open()
                starting.append(prompt)
            sequence.state = state
            self._running.append(sequence)
        self._waiting.extendleft(reversed(postponed))

    def _has_room_for(self, newcomer: "_Sequence") -> bool:
        if self.most_bytes is None or not self._running:
            return True
        # A runner may keep rows of one length, and then all are as long as the longest.
        longest = max(sequence.longest for sequence in (*self._running, newcomer))
        return (len(self._running) + 1) * longest * self.runner.bytes_per_position <= self.most_bytes

    def _retire(self) -> None:
        """Those that are ready leave, and what was computed for them is kept for others."""
        done = [sequence for sequence in self._running if sequence.generation.finish_reason]
        self._running = [sequence for sequence in self._running if not sequence.generation.finish_reason]
        if any(sequence.generation.finish_reason for sequence in self._waiting):
            self._waiting = deque(sequence for sequence in self._waiting if not sequence.generation.finish_reason)
        for sequence in done:
            if sequence.state is not None:
                sequence.settle()
                self._prefixes.keep(sequence.history.ids, sequence.state)


class _Sequence:
    """One text on its way."""

    def __init__(
        self, prompt: Sequence[int], settings: Settings, copy: int, on_token: OnToken | None, context_length: int
    ):
        self.generation = Generation(list(prompt))
        self.settings = settings
        self.on_token = on_token
        self.history = History(prompt)
        self.longest = min(len(prompt) + settings.max_new_tokens, context_length)
        """How many ids it may come to have, with the prompt."""
        self.state: State | None = None
        self.drafted: list[int] = []
        self.n_accepted = 0
        self._noise = sampling.noise(settings.some_seed(), prompt, copy)
        self._uniforms: list[float] = []
        self._reach = Reach()

    @property
    def known(self) -> tuple[list[int], State] | None:
        return None if self.state is None else (self.history.ids, self.state)

    def settle(self) -> None:
        """The last id is still to be run, or run again; what was run in its place were guesses."""
        if self.state is not None:
            self.state.truncate(min(self.state.length, len(self.history.ids) - 1))

    def work(self, draft: Draft | None, in_company: bool) -> Work:
        """The ids that have to run, and a few guesses after them."""
        assert self.state is not None
        pending = self.history.ids[self.state.length :]
        self.drafted, self.n_accepted = [], 0
        n_left = self.longest - len(self.history.ids) - 1
        if draft is not None and len(pending) == 1 and (n_ahead := min(self._reach.next(), n_left)) > 0:
            uniforms = self._uniforms_from(len(self.generation.ids), n_ahead)
            self.drafted = list(draft.propose(self.history.ids, n_ahead, uniforms, self.settings))[:n_ahead]
        return Work(self.state, [*pending, *self.drafted], every=bool(self.drafted), in_company=in_company)

    def read(self, logits: np.ndarray) -> list[int]:
        """The new ids: one, and one more for each guess that was what would have been drawn anyway."""
        # With guesses there are logits after the last id that was certain, and after each guess.
        rows = logits if self.drafted else logits[None]
        uniforms = self._uniforms_from(len(self.generation.ids), len(rows))
        drawn = accept(rows, self.drafted, self.settings, self.history, uniforms)
        new = []
        for row, id_ in zip(rows, drawn, strict=False):
            if self.generation.finish_reason:  # the caller had enough
                break
            self._add(row, id_)
            new.append(id_)
        if self.drafted:
            self.n_accepted = sum(id_ == guess for id_, guess in zip(drawn, self.drafted, strict=False))
            self._reach.saw(len(self.drafted), self.n_accepted)
        return new

    def _add(self, logits: np.ndarray, id_: int) -> None:
        made, settings = self.generation, self.settings
        made.ids.append(id_)
        made.logprobs.append(sampling.log_probability(logits, id_))
        if settings.n_alternatives:
            made.alternatives.append(sampling.alternatives(logits, settings.n_alternatives))
        if id_ in settings.stop_ids:
            made.ends_with_stop_id = True
            made.finish_reason = "stop"
        elif len(made.prompt_ids) + len(made.ids) >= self.longest:
            made.finish_reason = "length"
        if self.on_token is not None and self.on_token(made, id_):
            made.finish_reason = "stop"

    def _uniforms_from(self, index: int, n: int) -> list[float]:
        """The numbers in [0, 1) that decide n new ids: each place has its own, however its id is come by."""
        while len(self._uniforms) < index + n:
            self._uniforms.append(self._noise.random())
        return self._uniforms[index : index + n]


# --- One call for those who have a model and prompts ---


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    settings: Settings,
    *,
    on_token: Callable[[int, int], Any] | None = None,
    batch_size: int = 64,
) -> list[Generation]:
    """Continues every prompt; the results stand in the order of the prompts.

    model: an nn.Module of models/, a Runner, or an Engine, which then decides how many run at the same time.
    `on_token(index of the prompt, id)` is called for each new id; a true answer ends that text ("stop"). Copies of a
    prompt get different texts. Errors are those of `Engine.submit`, before anything is computed.
    """
    settings = replace(settings, seed=settings.some_seed())
    with engine_for(model, min(batch_size, max(1, len(prompts)))) as engine:
        shape = engine.runner.vocab_size, engine.runner.context_length
        ids = [checked_prompt(prompt, *shape, f"prompt {index + 1}") for index, prompt in enumerate(prompts)]
        copies: Counter[tuple[int, ...]] = Counter()
        order = []
        for index, prompt in enumerate(ids):
            order.append((len(prompt), prompt, copies[prompt], index))
            copies[prompt] += 1

        # Prompts of similar length share a pass, and equal ones what is computed for them.
        made: dict[int, Generation] = {}
        for _, prompt, copy, index in sorted(order):
            made[index] = engine.submit(prompt, settings, copy, _listener(on_token, index))
        try:
            while not all(generation.finish_reason for generation in made.values()):
                engine.step()
        finally:
            for generation in made.values():
                engine.cancel(generation)
    return [made[index] for index in range(len(ids))]


def _listener(on_token: Callable[[int, int], Any] | None, index: int) -> OnToken | None:
    return None if on_token is None else lambda _, id_: on_token(index, id_)


def stream(model: Any, prompt: Sequence[int], settings: Settings, copy: int = 0) -> Generator[int, None, None]:
    """The new ids of one prompt, each as soon as it is drawn; the stop id, if one comes, is the last.

    They are the ids that `generate` returns for this prompt, or its given copy, with the same settings and seed.
    """
    with engine_for(model, max_batch=1) as engine:
        yield from follow(engine, engine.submit(prompt, settings, copy))


def follow(engine: Engine, generation: Generation) -> Generator[int, None, None]:
    """The ids of one text as they come, while all that the engine holds goes on. Left early, the text is cancelled."""
    try:
        n_given = 0
        while n_given < len(generation.ids) or not generation.finish_reason:
            if n_given == len(generation.ids):
                engine.step()
            else:
                n_given += 1
                yield generation.ids[n_given - 1]
    finally:
        engine.cancel(generation)


def as_runner(model: Any) -> Runner:
    """What runs a model: itself, if it is a Runner."""
    if isinstance(model, Runner):
        return model
    from groundup.inference.torch_runner import TorchRunner  # the compiled engine starts without torch

    return TorchRunner(model)


@contextmanager
def engine_for(model: Any, max_batch: int = 64, draft: Draft | None = None) -> Iterator[Engine]:
    """The engine itself, if `model` is one, with its own draft; else one for this purpose only, which keeps nothing."""
    if isinstance(model, Engine):
        yield model
        return
    engine = Engine(as_runner(model), max_batch, draft=draft, n_kept=0)
    try:
        yield engine
    finally:
        engine.close()
