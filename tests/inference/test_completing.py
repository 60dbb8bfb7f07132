"""Many texts: told of one by one, copies told apart, interrupted, and beyond the context."""

import pytest

from groundup.errors import UsageError
from groundup.inference.completing import Interrupted, complete
from groundup.inference.engine import Engine, as_runner
from groundup.inference.settings import Settings
from groundup.inference.text_stream import Completion, TextStream
from tests.inference import tiny

GREEDY = Settings(max_new_tokens=60, temperature=0.0)
WILD = Settings(max_new_tokens=12, temperature=3.0, top_p=1.0, seed=4)
NEARLY_WHOLE = "Once there was a cat. It saw a dog, and it ran. Then the dog slept. The cat came"


def ids_of(*texts: str) -> list[list[int]]:
    return [tiny.tokenizer().encode(text).tolist() for text in texts]


@pytest.mark.parametrize("settings", [GREEDY, Settings(max_new_tokens=5, seed=1), Settings(stop=("dog",), seed=2)])
def test_each_text_is_told_as_soon_as_it_has_ended(settings):
    prompts = ids_of("Once", NEARLY_WHOLE, "Then")
    told: dict[int, Completion] = {}
    done = complete(tiny.model(), tiny.tokenizer(), prompts, settings, on_done=told.__setitem__)
    assert [told[at] for at in range(3)] == done
    lengths = [len(text.ids) for text in told.values()]
    assert lengths == sorted(lengths), "the shortest first"


def test_a_copy_is_what_it_is_among_all_copies():
    a, b = ids_of("Once", "Then")
    every = [text.text for text in complete(tiny.model(), tiny.tokenizer(), [a, b, a, a, b], WILD)]
    assert len(set(every)) == 5
    some = complete(tiny.model(), tiny.tokenizer(), [b, a], WILD, copies=[1, 2])
    assert [text.text for text in some] == [every[4], every[3]]
    assert "".join(TextStream(tiny.model(), tiny.tokenizer(), a, WILD, copy=2)) == every[3]


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_texts_do_not_depend_on_the_size_of_batches(batch_size):
    prompts = ids_of("Once", "Then the dog", "The", "Once there was", "It saw", "")[:5] * 3
    expected = [text.text for text in complete(tiny.model(), tiny.tokenizer(), prompts, WILD)]
    made = complete(tiny.model(), tiny.tokenizer(), prompts, WILD, batch_size=batch_size)
    assert [text.text for text in made] == expected


def test_ctrl_c_leaves_what_there_is():
    calls = []

    def interrupt(at: int, text: Completion) -> None:
        calls.append(at)
        raise KeyboardInterrupt

    engine = Engine(as_runner(tiny.model()))
    with pytest.raises(Interrupted) as caught:
        complete(engine, tiny.tokenizer(), ids_of(NEARLY_WHOLE, "Once"), GREEDY, on_done=interrupt)
    short, long = caught.value.completions
    assert (calls, short.finish_reason, long.finish_reason) == ([0], "stop", "interrupted")
    assert tiny.STORY.removeprefix("Once").startswith(long.text) and long.text
    assert isinstance(caught.value, KeyboardInterrupt)
    assert engine.is_idle, "nothing goes on behind"


def test_a_prompt_that_is_none_is_refused_before_anything_is_made():
    told = []
    with pytest.raises(UsageError, match="empty") as caught:
        complete(tiny.model(), tiny.tokenizer(), [*ids_of("Once"), []], GREEDY, on_done=lambda *each: told.append(each))
    assert (caught.value.where, told) == ("prompt 2", [])
    with pytest.raises(UsageError, match="context of 96"):
        complete(tiny.model(), tiny.tokenizer(), [[5] * 96], GREEDY)


def test_repetition_is_counted_over_the_new_tokens():
    [text] = complete(tiny.model(), tiny.tokenizer(), ids_of("Once"), GREEDY)
    assert text.repeated_4grams == 0
    assert text.report("Once", GREEDY)["repeated_4grams"] == 0
    assert Completion("", "length", (1,) * 10, 0.1).report("", GREEDY)["repeated_4grams"] == 0.8571


def test_one_text_is_alone_and_several_are_in_company():
    """Alone, its ids may be computed in whatever way is quickest."""
    runner, seen = as_runner(tiny.model()), []
    run = runner.run
    runner.run = lambda work: seen.extend(each.in_company for each in work) or run(work)
    [ids] = ids_of("Once")
    "".join(TextStream(runner, tiny.tokenizer(), ids, WILD))
    complete(runner, tiny.tokenizer(), [ids], WILD)
    assert seen and not any(seen)
    seen.clear()
    complete(runner, tiny.tokenizer(), [ids, ids], WILD)
    assert seen and all(seen)
