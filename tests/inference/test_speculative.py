"""Drafts: the text is the one without a draft, for whatever is guessed, and comes in fewer runs."""

import numpy as np
import pytest

from groundup.errors import UsageError
from groundup.inference import sampling
from groundup.inference.history import History
from groundup.inference.runner import Runner, Work
from groundup.inference.settings import Settings
from groundup.inference.speculative import Draft, DraftModel, PromptLookup, Reach, accept
from tests.inference.fake_runner import FakeRunner, bigrams, of_table, of_whole_text

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]
SETTINGS = [
    Settings(max_new_tokens=40, temperature=0.0),
    Settings(max_new_tokens=40, temperature=1.0, top_p=1.0, seed=1),
    Settings(max_new_tokens=40, temperature=0.7, top_p=0.9, top_k=6, seed=2),
    Settings(max_new_tokens=40, temperature=1.5, repetition_penalty=1.3, presence_penalty=0.4, frequency_penalty=0.3,
             no_repeat_ngram=2, seed=3),
    Settings(max_new_tokens=40, temperature=1.0, stop_ids=(7, 0), seed=4),
]  # fmt: skip


class Nonsense:
    """Guesses that are never looked at twice."""

    def propose(self, ids, n, uniforms, settings):
        return [(ids[-1] * 7 + i) % 10 for i in range(n)]

    def check(self, target):
        pass


def write(target: Runner, draft: Draft | None, settings: Settings, copy: int = 0, n_guesses: int = 4) -> list[int]:
    """The loop that an engine runs, in its shortest form."""
    history, noise = History(PROMPT), sampling.noise(settings.some_seed(), PROMPT, copy)
    state, fresh, uniforms = target.open(), PROMPT, []
    while True:
        n = min(n_guesses, settings.max_new_tokens - len(history.new) - 1)
        uniforms += noise.random(n + 1 - len(uniforms)).tolist() if len(uniforms) <= n else []
        guesses = draft.propose(history.ids, n, uniforms, settings) if draft and n else []
        [rows] = target.run([Work(state, [*fresh, *guesses], every=True)])
        new = accept(rows[len(fresh) - 1 :], guesses, settings, history, uniforms)
        del uniforms[: len(new)]
        state.truncate(len(history.ids) - 1)
        fresh = new[-1:]
        if fresh[0] in settings.stop_ids or len(history.new) == settings.max_new_tokens:
            return history.new


def drafts() -> dict[str, Draft]:
    return {
        "nonsense": Nonsense(),
        "lookup": PromptLookup(longest=2, shortest=1),
        "itself": DraftModel(of_table(bigrams(10))),
        "a like one": DraftModel(of_table(bigrams(10) + bigrams(10, seed=1, spread=0.3))),
        "another": DraftModel(of_table(bigrams(10, seed=2))),
        "short context": DraftModel(of_table(bigrams(10), context_length=12)),
    }


@pytest.mark.parametrize("settings", SETTINGS, ids=range(len(SETTINGS)))
@pytest.mark.parametrize("name", drafts())
def test_the_text_is_the_one_without_a_draft(name, settings):
    plain, target, draft = of_table(bigrams(10)), of_table(bigrams(10)), drafts()[name]
    for copy in range(5):
        assert write(target, draft, settings, copy) == write(plain, None, settings, copy)


@pytest.mark.parametrize("settings", SETTINGS[:4], ids=range(4))
def test_the_text_is_the_one_without_a_draft_where_every_id_counts(settings):
    plain, target = of_whole_text(10), of_whole_text(10)
    draft = DraftModel(of_whole_text(10), n_states=2)
    for copy in (0, 1, 2, 0, 1):
        assert write(target, draft, settings, copy) == write(plain, None, settings, copy)


def test_a_draft_that_is_the_model_itself_is_always_right():
    for settings in SETTINGS[:3]:
        target = of_table(bigrams(10))
        write(target, DraftModel(of_table(bigrams(10))), settings)
        assert target.n_runs == 40 / 5


def test_a_draft_that_is_like_the_model_agrees_mostly_at_every_temperature():
    near = bigrams(10) + bigrams(10, seed=1, spread=0.1)
    for settings in SETTINGS[:3]:
        target = of_table(bigrams(10))
        write(target, DraftModel(of_table(near)), settings)
        assert target.n_runs <= 14


def test_texts_with_a_draft_are_as_frequent_as_the_model_says():
    table, like = bigrams(4, spread=1.0), bigrams(4, seed=1, spread=1.0)
    settings, n = Settings(max_new_tokens=3, temperature=1.0, top_p=1.0, seed=0), 4000
    target = FakeRunner(lambda ids: table[ids[-1] % 4], 4)
    draft = DraftModel(FakeRunner(lambda ids: like[ids[-1] % 4], 4))
    counts = np.zeros((4, 4))
    for copy in range(n):
        _, second, third = write(target, draft, settings, copy)
        counts[second, third] += 1

    def softmax(rows):
        return np.exp(rows) / np.exp(rows).sum(-1, keepdims=True)

    probs = softmax(table.astype(np.float64))
    expected = n * (probs[PROMPT[-1] % 4] @ probs)[:, None] * probs
    # With 15 degrees of freedom, exceeded once in a thousand times.
    assert ((counts - expected) ** 2 / expected).sum() < 37.70


# --- looking it up in the prompt ---


@pytest.mark.parametrize(
    ("ids", "n", "expected"),
    [
        ([5, 6, 7, 8, 9, 5, 6], 3, [7, 8, 9]),
        ([5, 6, 7, 8, 9, 5, 6], 1, [7]),
        ([5, 6, 7, 8, 9, 5, 6], 99, [7, 8, 9, 5, 6]),
        ([4, 5, 6, 1, 2, 3, 9, 5, 6, 7, 7, 7, 4, 5, 6], 2, [1, 2]),  # three in a row count more than two
        ([5, 6, 1, 1, 5, 6, 2, 2, 5, 6], 2, [2, 2]),  # the latest
        ([8, 8, 8, 8, 8], 2, [8, 8]),  # the latest with so many behind it
        ([8, 8, 8, 8, 8], 4, [8, 8]),  # none has; the earliest has most
        ([5, 6, 7, 8], 3, []),
        ([9, 6, 7, 8, 6], 3, []),  # one alone is chance
        ([5], 3, []),
    ],
)
def test_prompt_lookup_guesses_what_followed_before(ids, n, expected):
    assert PromptLookup().propose(ids, n, [], Settings()) == expected


def test_prompt_lookup_with_one_id():
    assert PromptLookup(shortest=1).propose([9, 6, 7, 8, 6], 2, [], Settings()) == [7, 8]
    for wrong in ({"shortest": 0}, {"longest": 1}):
        with pytest.raises(ValueError, match="shortest"):
            PromptLookup(**wrong)


# --- the draft model's states ---


def guess(draft: DraftModel, ids: list[int], n: int = 3) -> list[int]:
    guesses = draft.propose(ids, n, [0.5] * n, Settings(temperature=0.0))
    fresh = DraftModel(of_whole_text(10)).propose(ids, n, [0.5] * n, Settings(temperature=0.0))
    assert guesses == fresh
    return guesses


def test_a_text_that_goes_on_costs_only_its_new_ids():
    runner = of_whole_text(10)
    draft = DraftModel(runner)
    guesses = guess(draft, PROMPT)
    assert runner.n_ids == 8 + 2  # the last guess is not run
    guess(draft, [*PROMPT, *guesses[:2]])  # both were right, and the third was not
    assert runner.n_ids == 10 + 1 + 2
    guess(draft, [*PROMPT, *guesses[:2], (guesses[2] + 1) % 10, 4])
    assert runner.n_ids == 13 + 2 + 2
    assert len(runner.states()) == 1


def test_texts_that_begin_alike_share_the_beginning_and_keep_their_own():
    runner = of_whole_text(10)
    draft = DraftModel(runner)
    guess(draft, [*PROMPT, 1, 1])
    before = runner.n_ids
    guess(draft, [*PROMPT, 2, 2])
    assert runner.n_ids == before + 2 + 2
    guess(draft, [*PROMPT, 1, 1, 5])
    guess(draft, [*PROMPT, 2, 2, 5])
    assert runner.n_ids <= before + 4 + 2 * 3
    assert len(runner.states()) == 2


def test_only_a_few_states_are_kept():
    runner = of_whole_text(10)
    draft = DraftModel(runner, n_states=2)
    for first in (1, 2, 3, 1, 2):
        guess(draft, [first, 5, 6])
    assert sum(not state.is_closed for state in runner.states()) == 2
    draft.close()
    assert all(state.is_closed for state in runner.states())
    with pytest.raises(ValueError, match="n_states"):
        DraftModel(runner, n_states=0)


def test_a_draft_ends_where_its_context_does_or_a_stop_id_is_guessed():
    table = np.roll(np.eye(10, dtype=np.float32), 1, axis=1) * 9  # 0 1 2 3 ...
    greedy, uniforms = Settings(temperature=0.0), [0.5] * 5
    assert DraftModel(of_table(table)).propose([0], 5, uniforms, greedy) == [1, 2, 3, 4, 5]
    assert DraftModel(of_table(table, context_length=4)).propose([0], 5, uniforms, greedy) == [1, 2, 3]
    assert DraftModel(of_table(table, context_length=1)).propose([0], 5, uniforms, greedy) == []
    assert DraftModel(of_table(table)).propose([0], 5, uniforms, Settings(temperature=0.0, stop_ids=(3,))) == [1, 2, 3]
    assert DraftModel(of_table(table)).propose([0], 0, [], greedy) == []


def test_a_draft_model_of_another_vocabulary_is_refused():
    DraftModel(of_table(bigrams(10))).check(of_table(bigrams(10, seed=1)))
    PromptLookup().check(of_table(bigrams(10)))
    with pytest.raises(UsageError, match="vocabulary of 10"):
        DraftModel(of_table(bigrams(10))).check(of_table(bigrams(11)))


# --- how far ahead ---


def reach_after(share: float, n_passes: int = 400) -> list[int]:
    """How far a text is guessed whose guesses are right so often, each by itself."""
    reach, dice, asked = Reach(), np.random.default_rng(0), []
    for _ in range(n_passes):
        asked.append(reach.next())
        if asked[-1]:
            is_wrong = dice.random(asked[-1]) >= share
            reach.saw(asked[-1], int(is_wrong.argmax()) if is_wrong.any() else asked[-1])
    return asked


def test_right_guesses_lead_far_and_wrong_ones_nowhere():
    always, never = reach_after(1.0, 20), reach_after(0.0, 200)
    assert always[0] == never[0] == 3
    assert always == sorted(always) and set(always[6:]) == {16}
    assert set(never[20:]) == {0, 1} and sum(never[20:]) == 180 // 9, "one is tried in nine passes"


@pytest.mark.parametrize("share", [0.65, 0.7, 0.8, 0.9])
def test_it_goes_as_far_as_all_are_right_more_often_than_not(share):
    wanted = int(np.log(0.5) / np.log(share))
    assert wanted / 2 <= np.median(reach_after(share)) <= 2 * wanted


def test_quoting_is_noticed_after_a_while_without():
    reach = Reach()
    for _ in range(100):
        if n := reach.next():
            reach.saw(n, 0)
    seen = []
    for _ in range(60):
        if n := reach.next():
            reach.saw(n, n)
        seen.append(n)
    assert seen[-1] == 16
