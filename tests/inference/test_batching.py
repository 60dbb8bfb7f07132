"""Texts that join and leave at any step, in any company; what is computed once; what an interruption leaves behind."""

import itertools
import random
import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from groundup import models
from groundup.errors import ArtefactError, UsageError
from groundup.inference import engine
from groundup.inference.engine import Engine, as_runner
from groundup.inference.generation import Generation
from groundup.inference.settings import Settings
from groundup.inference.torch_runner import TorchRunner
from tests.inference.fake_runner import FakeRunner, of_whole_text
from tests.models.tiny import CASES, VOCAB_SIZE

GREEDY = Settings(max_new_tokens=12, temperature=0.0)
RANDOM = Settings(max_new_tokens=9, temperature=1.3, top_p=0.9, top_k=30, repetition_penalty=1.2, seed=7)
STOPPING = Settings(max_new_tokens=15, temperature=1.5, top_p=1.0, seed=3, stop_ids=(4, 9, 11))
SETTINGS = (GREEDY, RANDOM, STOPPING)
PROMPTS = [[5, 6, 7], [9], [5, 6, 7, 8, 9, 10, 11], [30, 31, 32], [9, 9], list(range(20, 40)), list(range(20, 41))]


def finish(talking: Engine) -> None:
    while not talking.is_idle:
        talking.step()


def alone(runner, prompt: Sequence[int], settings: Settings, copy: int = 0) -> list[int]:
    talking = Engine(runner, n_kept=0)
    generation = talking.submit(prompt, settings, copy)
    finish(talking)
    return generation.ids


def fake() -> FakeRunner:
    return of_whole_text(VOCAB_SIZE)


@pytest.mark.parametrize(
    ("case", "max_batch"),
    [*((name, 64) for name in CASES), ("llama", 1), ("fast-with-ngrams", 2), ("fast-with-window", 3)],
)
def test_a_text_is_the_same_whenever_it_joins(case, max_batch):
    runner, dice = TorchRunner(CASES[case].model()), random.Random(max_batch)
    talking = Engine(runner, max_batch)
    waiting = [(prompt, dice.choice(SETTINGS), copy) for prompt in PROMPTS for copy in (0, 1)]
    dice.shuffle(waiting)
    made: list[tuple[Generation, tuple]] = []
    told: dict[int, list[int]] = {}
    while waiting or not talking.is_idle:
        for _ in range(min(len(waiting), dice.randint(0, 3))):
            asked = waiting.pop()
            made.append((talking.submit(*asked), asked))
        for generation, id_ in talking.step():
            told.setdefault(id(generation), []).append(id_)
    for generation, asked in made:
        assert generation.ids == alone(runner, *asked) == told[id(generation)]
        assert generation.finish_reason in ("stop", "length")
    talking.close()
    assert runner._pool.n_rows == 0


def test_each_text_has_its_own_settings():
    talking = Engine(fake())
    short, stopped, long = (
        talking.submit([1, 2], settings)
        for settings in (replace(GREEDY, max_new_tokens=2), replace(GREEDY, stop_ids=tuple(range(VOCAB_SIZE))), GREEDY)
    )
    finish(talking)
    assert [len(made.ids) for made in (short, stopped, long)] == [2, 1, 12]
    assert [made.finish_reason for made in (short, stopped, long)] == ["length", "stop", "length"]
    assert stopped.text_ids == []


def test_no_more_run_than_may():
    talking = Engine(fake(), max_batch=2)
    for prompt in PROMPTS[:5]:
        talking.submit(prompt, GREEDY)
    sizes = []
    while not talking.is_idle:
        sizes.append(len(talking.step()))
    assert sizes == [2] * 24 + [1] * 12


def test_no_more_memory_is_promised_than_there_is():
    runner = fake()
    runner.bytes_per_position = 10
    # 15, 13 and 19 positions at most, or the context of 64.
    talking = Engine(runner, most_bytes=300)
    made = [talking.submit(prompt, GREEDY) for prompt in PROMPTS[:3]]
    long = talking.submit(PROMPTS[0], replace(GREEDY, max_new_tokens=500))
    assert [len(talking.step()) for _ in range(12)] == [2] * 12
    assert [bool(generation.finish_reason) for generation in made] == [True, True, False]
    assert len(talking.step()) == 1
    finish(talking)
    assert len(long.ids) == 61, "one that is larger than all there is runs alone"


def test_a_caller_may_end_a_text_in_the_middle_of_a_step():
    talking = Engine(fake())
    made: list[Generation] = []

    def on_token(generation: Generation, _: int) -> bool:
        if generation is made[0] and len(generation.ids) == 3:
            talking.cancel(made[1])
        return generation is made[2] and len(generation.ids) == 2

    made += [talking.submit(prompt, GREEDY, 0, on_token) for prompt in PROMPTS[:4]]
    finish(talking)
    assert [len(generation.ids) for generation in made] == [12, 2, 2, 12]
    assert [generation.finish_reason for generation in made] == ["length", "interrupted", "stop", "length"]


def test_what_waits_can_be_cancelled():
    runner = fake()
    talking = Engine(runner, max_batch=1)
    one, other = talking.submit([1], GREEDY), talking.submit([2], GREEDY)
    talking.step()
    talking.cancel(other)
    talking.cancel(other)
    finish(talking)
    talking.cancel(one)
    assert (one.finish_reason, other.finish_reason, other.ids) == ("length", "interrupted", [])


def test_closing_cancels_and_gives_all_back():
    runner = fake()
    talking = Engine(runner, max_batch=2)
    made = [talking.submit(prompt, GREEDY) for prompt in PROMPTS]
    talking.step()
    talking.close()
    assert {generation.finish_reason for generation in made} == {"interrupted"}
    assert talking.is_idle
    assert all(state.is_closed for state in runner.states())
    assert talking.step() == []


def test_the_next_turn_runs_only_what_is_new():
    runner = fake()
    talking = Engine(runner)
    first = talking.submit([1, 2, 3], GREEDY)
    finish(talking)
    n_ids = runner.n_ids
    prompt = [1, 2, 3, *first.ids, 7, 8]
    second = talking.submit(prompt, GREEDY)
    talking.step()
    assert runner.n_ids - n_ids == 3, "the last id of an answer has not run yet"
    finish(talking)
    assert second.ids == alone(fake(), prompt, GREEDY)


def test_another_answer_to_the_same_prompt_runs_its_last_id_only():
    runner, prompt = fake(), list(range(30))
    talking = Engine(runner)
    for copy in range(3):
        n_ids = runner.n_ids
        made = talking.submit(prompt, RANDOM, copy)
        talking.step()
        assert runner.n_ids - n_ids == (30 if copy == 0 else 1)
        finish(talking)
        assert made.ids == alone(fake(), prompt, RANDOM, copy)


def test_copies_and_common_beginnings_are_computed_once():
    runner, system = fake(), list(range(30))
    prompts = [[*system, 1], [*system, 1], [*system, 2, 3], [7]]
    made = engine.generate(runner, prompts, RANDOM)
    n_new = sum(len(generation.ids) for generation in made)
    assert runner.n_ids == 31 + 1 + 2 + 1 + n_new - len(prompts)
    for prompt, copy, generation in zip(prompts, (0, 1, 0, 0), made, strict=True):
        assert generation.ids == alone(fake(), prompt, RANDOM, copy)


@pytest.mark.parametrize("family", ["llama", "fast-with-ngrams", "mixtral-with-window", "gpt2"])
def test_a_conversation_equals_prompts_that_begin_anew(family):
    """Ten turns that keep, cut and share what was computed, over a model."""
    runner, dice = TorchRunner(CASES[family].model()), random.Random(1)
    talking = Engine(runner, n_kept=3)
    texts = [[dice.randrange(VOCAB_SIZE) for _ in range(dice.randint(1, 12))] for _ in range(3)]
    for turn in range(10):
        text = dice.choice(texts)
        del text[dice.randint(1, 20) :]
        text += dice.choices(range(VOCAB_SIZE), k=2)
        made = talking.submit(text, replace(RANDOM, max_new_tokens=6), turn)
        finish(talking)
        assert made.ids == alone(runner, text, replace(RANDOM, max_new_tokens=6), turn)
        text += made.ids


class Failing(FakeRunner):
    """Breaks down when it is told to, before anything or after all of it has run."""

    breaks_before = breaks_after = False

    def run(self, work):
        if self.breaks_before:
            raise KeyboardInterrupt
        logits = super().run(work)
        if self.breaks_after:
            raise KeyboardInterrupt
        return logits


def test_after_an_interruption_texts_go_on_as_if_nothing_had_happened():
    runner = Failing(fake().next_logits, VOCAB_SIZE)
    talking, dice = Engine(runner, max_batch=3), random.Random(0)
    made = [talking.submit(prompt, settings) for prompt in PROMPTS for settings in SETTINGS]
    n_failed = 0
    while not talking.is_idle:
        runner.breaks_before, runner.breaks_after = dice.random() < 0.2, dice.random() < 0.2
        try:
            talking.step()
        except KeyboardInterrupt:
            n_failed += 1
    assert n_failed > 10
    for generation, asked in zip(made, [(p, s) for p in PROMPTS for s in SETTINGS], strict=True):
        assert generation.ids == alone(fake(), *asked)


def test_a_listener_that_raises_spoils_nothing():
    runner = fake()
    talking = Engine(runner)
    n_heard = 0

    def on_token(*_: object) -> None:
        nonlocal n_heard
        n_heard += 1
        if n_heard % 3 == 0:
            raise RuntimeError

    made = [talking.submit(prompt, settings, 0, on_token) for prompt in PROMPTS for settings in SETTINGS]
    while not talking.is_idle:
        try:
            talking.step()
        except RuntimeError:
            continue
    for generation, asked in zip(made, [(p, s) for p in PROMPTS for s in SETTINGS], strict=True):
        assert generation.ids == alone(fake(), *asked)


def test_weights_that_are_damaged_are_told_of():
    model = CASES["llama"].model()
    with torch.no_grad():
        model.final_norm.weight[0] = float("nan")
    with pytest.raises(ArtefactError, match="not finite"):
        engine.generate(model, [[1, 2]], GREEDY)


def test_a_stream_that_is_left_early_is_cancelled():
    runner = fake()
    talking = Engine(runner)
    ids = engine.stream(talking, [1, 2, 3], GREEDY)
    begun = [next(ids), next(ids)]
    ids.close()
    assert talking.is_idle
    assert begun == alone(fake(), [1, 2, 3], GREEDY)[:2]
    assert list(engine.stream(talking, [1, 2, 3], GREEDY)) == alone(fake(), [1, 2, 3], GREEDY)

    ids = engine.stream(runner, [1], GREEDY)
    next(ids)
    ids.close()
    talking.close()
    assert all(state.is_closed for state in runner.states())


def test_two_streams_of_one_engine_go_on_together():
    runner = fake()
    talking = Engine(runner)
    streams = [engine.stream(talking, prompt, settings) for prompt, settings in zip(PROMPTS, SETTINGS, strict=False)]
    made: list[list[int]] = [[] for _ in streams]
    for step in itertools.zip_longest(*streams):
        for ids, id_ in zip(made, step, strict=True):
            ids += [] if id_ is None else [id_]
    assert made == [alone(fake(), *asked) for asked in zip(PROMPTS, SETTINGS, strict=False)]


def test_a_model_a_runner_and_an_engine_give_the_same():
    model = CASES["qwen3"].model()
    expected = [made.ids for made in engine.generate(model, PROMPTS, RANDOM)]
    assert [made.ids for made in engine.generate(as_runner(model), PROMPTS, RANDOM)] == expected
    assert [made.ids for made in engine.generate(Engine(as_runner(model), 2), PROMPTS, RANDOM)] == expected


def test_what_an_engine_cannot_be_is_refused():
    with pytest.raises(ValueError, match="max_batch is 0"):
        Engine(fake(), 0)
    talking = Engine(fake())
    for prompt, settings, message in [
        ([], GREEDY, "empty"),
        ([VOCAB_SIZE], GREEDY, f"id {VOCAB_SIZE}"),
        ([1] * 64, GREEDY, "64 tokens"),
        ([1], replace(GREEDY, logit_bias=((VOCAB_SIZE, 1.0),)), "logit_bias"),
    ]:
        with pytest.raises(UsageError, match=message):
            talking.submit(prompt, settings)
    assert talking.is_idle


def test_two_engines_in_two_threads():
    """With a model in common, and dropout to be kept off."""
    model = CASES["fast-with-ngrams"].model(dropout=0.5)
    expected = [alone(TorchRunner(model), prompt, settings) for prompt in PROMPTS for settings in SETTINGS]
    made: dict[int, list[list[int]]] = {}

    def talk(number: int) -> None:
        talking = Engine(as_runner(model), max_batch=1 + 3 * number)
        asked = [talking.submit(prompt, settings) for prompt in PROMPTS for settings in SETTINGS]
        finish(talking)
        made[number] = [generation.ids for generation in asked]

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == {number: expected for number in range(3)}


# --- guesses ---


class Guess:
    """A draft that knows what will come, and is right so often."""

    def __init__(self, runner: FakeRunner, settings: Settings, share: float):
        self.texts: list[list[int]] = []
        for prompt in PROMPTS:
            for copy in (0, 1):
                self.texts.append([*prompt, *alone(runner, prompt, settings, copy)])
        self.share, self.dice = share, random.Random(0)

    def propose(self, ids, n, uniforms, settings):
        assert len(uniforms) == n
        known = [text for text in self.texts if text[: len(ids)] == ids]
        right = known[0][len(ids) : len(ids) + n] if known else []
        return [id_ if self.dice.random() < self.share else (id_ + 1) % VOCAB_SIZE for id_ in right]

    def check(self, target):
        self.target = target


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("settings", [*SETTINGS, replace(GREEDY, max_new_tokens=500)])
def test_guesses_change_nothing_but_the_number_of_steps(settings, share):
    draft = Guess(fake(), settings, share)
    runner = fake()
    talking = Engine(runner, max_batch=4, draft=draft)
    assert draft.target is runner
    asked = [(prompt, settings, copy) for prompt in PROMPTS for copy in (0, 1)]
    made = [talking.submit(*each) for each in asked]
    finish(talking)
    for generation, each in zip(made, asked, strict=True):
        assert generation.ids == alone(fake(), *each)
        assert len(generation.logprobs) == len(generation.ids)
    if share == 0:
        assert talking.n_accepted == 0 < talking.n_drafted
    if share == 1:
        assert talking.n_accepted > 0
    talking.close()
    assert all(state.is_closed for state in runner.states())


def test_right_guesses_save_runs():
    settings = replace(GREEDY, max_new_tokens=40)
    runner = fake()
    talking = Engine(runner, draft=Guess(fake(), settings, share=1.0))
    made = talking.submit(PROMPTS[0], settings)
    finish(talking)
    assert len(made.ids) == 40
    assert runner.n_runs < 8


def test_a_caller_may_end_a_text_between_guesses():
    talking = Engine(fake(), draft=Guess(fake(), GREEDY, share=1.0))
    made = talking.submit([5, 6, 7], GREEDY, 0, lambda made, _: len(made.ids) == 4)
    finish(talking)
    assert made.ids == alone(fake(), [5, 6, 7], GREEDY)[:4]
    assert (len(made.logprobs), made.finish_reason) == (4, "stop")
    again = talking.submit([5, 6, 7, *made.ids], GREEDY)
    finish(talking)
    assert again.ids == alone(fake(), [5, 6, 7, *made.ids], GREEDY)


@pytest.mark.parametrize("family", models.names())
def test_models_that_guess_for_models(family):
    from groundup.inference.speculative import DraftModel, PromptLookup

    model, other = CASES[family].model(), CASES["llama"].model()
    prompts = [[1, 2, 3, 1, 2, 3, 1, 2], *PROMPTS[:2]]
    for settings in (GREEDY, RANDOM):
        expected = [alone(TorchRunner(model), prompt, settings) for prompt in prompts]
        for draft in (PromptLookup(), DraftModel(TorchRunner(other)), DraftModel(TorchRunner(model))):
            talking = Engine(TorchRunner(model), draft=draft)
            made = [talking.submit(prompt, settings) for prompt in prompts]
            finish(talking)
            assert [generation.ids for generation in made] == expected
    # The last draft was the model itself, with the same numbers to draw by.
    assert talking.n_accepted == talking.n_drafted > 0


def test_a_draft_of_another_vocabulary_is_refused():
    from groundup.inference.speculative import DraftModel

    with pytest.raises(UsageError, match="vocabulary"):
        Engine(fake(), draft=DraftModel(of_whole_text(VOCAB_SIZE + 1)))


def test_frequencies_are_those_of_the_model_with_and_without_guesses():
    """Chi-square of 4,000 second ids, drawn after guesses that are often wrong, against the probabilities."""
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1]))

    class Always:
        def propose(self, ids, n, uniforms, settings):
            return [1] * n

        def check(self, target):
            pass

    runner = FakeRunner(lambda ids: logits, 4)
    talking = Engine(runner, draft=Always())
    settings = Settings(max_new_tokens=5, temperature=1.0, top_p=1.0, seed=11)
    made = [talking.submit([0], settings, copy) for copy in range(4000)]
    finish(talking)
    counts = np.bincount([generation.ids[1] for generation in made], minlength=4)
    expected = 4000 * np.exp(logits)
    assert ((counts - expected) ** 2 / expected).sum() < 16.3, "three degrees of freedom, p = 0.001"
