"""Many prompts to finished texts: in batches, each told of when it has ended."""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from groundup.errors import UsageError
from groundup.inference import beam_text, engine, sliding
from groundup.inference.generation import Generation
from groundup.inference.prompt import checked_prompt
from groundup.inference.settings import Settings
from groundup.inference.speculative import Draft
from groundup.inference.text_stream import Completion, Text, completion_of, with_stop_ids

OnDone = Callable[[int, Completion], Any]
"""Told of the index of a prompt and its text."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while texts were made; `completions` are what there is of each."""

    def __init__(self, completions: list[Completion]):
        super().__init__()
        self.completions = completions


def complete(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    settings: Settings,
    *,
    show_special: bool = False,
    trim: bool = False,
    shift: bool = False,
    copies: Sequence[int] | None = None,
    on_done: OnDone | None = None,
    batch_size: int = 64,
    draft: Draft | None = None,
) -> list[Completion]:
    """Continues all prompts; each text is the one that a TextStream gives for the same seed.

    model: an nn.Module of models/, a Runner, or an Engine, which then decides how many run at the same time.
    copies: which copy of its prompt each text is; where nobody says, equal prompts are counted from 0. With beams in
    the settings, copy 0 is the best text, copy 1 the next.
    draft: guesses ahead, see speculative.py; an Engine has its own, and a beam search has no use for it.
    `on_done(index of the prompt, completion)` is called as soon as a text has come to its end. Ctrl-C raises
    Interrupted, a KeyboardInterrupt that has what was made so far.
    """
    settings = with_stop_ids(replace(settings, seed=settings.some_seed()), tokenizer)
    show = {"show_special": show_special, "trim": trim}
    copies = _counted(prompts) if copies is None else copies
    with engine.engine_for(model, min(batch_size, max(1, len(prompts))), draft) as talking:
        if settings.beams:
            if shift:
                raise UsageError("a beam search ends where the context does", where="shift", hint="leave out shift")
            return _search(talking, tokenizer, prompts, settings, copies, on_done, show)
        first = sliding.first_of(tokenizer) if shift else None
        return _Many(talking, tokenizer, prompts, settings, first, show).run(copies, on_done, batch_size)


def _search(
    talking: engine.Engine,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    settings: Settings,
    copies: Sequence[int],
    on_done: OnDone | None,
    show: dict[str, bool],
) -> list[Completion]:
    """The texts by beam search, one prompt after the other."""
    done: dict[int, Completion] = {}

    def add(index: int, completion: Completion) -> None:
        done[index] = completion
        if on_done is not None:
            on_done(index, completion)

    try:
        beam_text.search_all(talking.runner, tokenizer, prompts, settings, copies, add, **show)
    except KeyboardInterrupt as error:
        nothing = Completion("", "interrupted", (), 0.0)  # of a search there is no text before its end
        raise Interrupted([done.get(index, nothing) for index in range(len(prompts))]) from error
    return [done[index] for index in range(len(prompts))]


class _Many:
    """The texts of one call on their way."""

    def __init__(
        self,
        talking: engine.Engine,
        tokenizer: Any,
        prompts: Sequence[Sequence[int]],
        settings: Settings,
        first: list[int] | None,
        show: dict[str, bool],
    ):
        self.talking = talking
        self.prompts = [list(map(int, prompt)) for prompt in prompts]
        self.settings = settings
        self.first = first
        """What each window of a text begins with, see sliding.py; None for texts that end where the context does."""
        self.texts = [Text(tokenizer, settings, **show) for _ in prompts]
        self.generations: list[list[Generation]] = [[] for _ in prompts]
        self.on_way: dict[int, int] = {}
        """Which text a generation belongs to, by the generation's identity."""
        self.done: dict[int, Completion] = {}
        self.started = time.perf_counter()

    def run(self, copies: Sequence[int], on_done: OnDone | None, batch_size: int) -> list[Completion]:
        self._check()
        everyone = range(len(self.prompts))
        # Prompts of similar length share a pass, and equal ones what is computed for them.
        waiting = deque(sorted(everyone, key=lambda index: (len(self.prompts[index]), self.prompts[index])))
        try:
            while waiting or self.on_way:
                while waiting and len(self.on_way) < 2 * batch_size:  # a job may be longer than memory is large
                    index = waiting.popleft()
                    self._begin(index, copies[index])
                for generation, _ in self.talking.step():
                    index = self.on_way.pop(id(generation), None) if generation.finish_reason else None
                    if index is not None and not self._goes_on(index, generation):
                        self._finish(index, generation.finish_reason)
                        if on_done is not None:
                            on_done(index, self.done[index])
        except KeyboardInterrupt as error:
            for index in set(everyone) - set(self.done):
                self._finish(index, "interrupted")
            raise Interrupted([self.done[index] for index in everyone]) from error
        finally:
            for index in self.on_way.values():
                self.talking.cancel(self.generations[index][-1])
        return [self.done[index] for index in everyone]

    def _check(self) -> None:
        """All prompts before anything is computed. UsageError."""
        runner = self.talking.runner
        self.settings.check_vocabulary(runner.vocab_size)
        for number, prompt in enumerate(self.prompts, 1):
            checked_prompt(self._window(prompt), runner.vocab_size, runner.context_length, f"prompt {number}")

    def _window(self, ids: list[int]) -> list[int]:
        return ids if self.first is None else sliding.fitting(ids, self.talking.runner.context_length, self.first)

    def _begin(self, index: int, copy: int) -> None:
        text = self.texts[index]

        def push(_: Generation, id_: int) -> bool:
            text.push(id_)
            return text.stop.is_hit

        window = self._window([*self.prompts[index], *text.ids])
        settings = replace(self.settings, max_new_tokens=self.settings.max_new_tokens - len(text.ids))
        generation = self.talking.submit(window, settings, copy, push)
        self.generations[index].append(generation)
        self.on_way[id(generation)] = index

    def _goes_on(self, index: int, generation: Generation) -> bool:
        """Begins the next window of a text that has only filled the one before."""
        is_full = generation.finish_reason == "length" and len(self.texts[index].ids) < self.settings.max_new_tokens
        if self.first is None or not is_full:
            return False
        self._begin(index, copy=0)
        return True

    def _finish(self, index: int, reason: str) -> None:
        text = self.texts[index]
        text.finish(reason)
        self.done[index] = completion_of(text, reason, self.generations[index], time.perf_counter() - self.started)


def _counted(prompts: Sequence[Sequence[int]]) -> list[int]:
    """How many equal ones stand before each prompt."""
    seen: Counter[tuple[int, ...]] = Counter()
    copies = []
    for prompt in map(tuple, prompts):
        copies.append(seen[prompt])
        seen[prompt] += 1
    return copies
