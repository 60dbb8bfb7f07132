"""Which state a prompt takes up, and which are kept."""

from groundup.inference.prefixes import LEAST, Prefixes, n_alike
from tests.inference.fake_runner import FakeState

LONG = list(range(LEAST))


def kept(*texts: list[int], **options) -> tuple[Prefixes, list[FakeState]]:
    prefixes, states = Prefixes(1, **options), [FakeState(text) for text in texts]
    for text, state in zip(texts, states, strict=True):
        prefixes.keep([*text, 99], state)  # the last id of a text has not been run
    return prefixes, states


def test_how_much_is_alike():
    assert [n_alike([1, 2, 3], other) for other in ([], [2], [1, 2, 9], [1, 2, 3], [1, 2, 3, 4])] == [0, 0, 2, 3, 3]


def test_a_prompt_that_goes_on_from_a_text_takes_its_state():
    prefixes, [state] = kept([1, 2, 3])
    assert prefixes.begin([1, 2, 3, 4]) is state
    assert state.ids == [1, 2, 3]
    assert prefixes.begin([1, 2, 3, 4]) is None, "it has gone"


def test_the_last_id_always_runs():
    prefixes, [state] = kept([1, 2, 3])
    assert prefixes.begin([1, 2, 3]) is state
    assert state.ids == [1, 2]


def test_a_text_that_went_on_differently_is_cut():
    prefixes, [state] = kept([1, 2, 3, 4])
    assert prefixes.begin([1, 2, 9, 9]) is state
    assert state.ids == [1, 2]


def test_a_text_that_would_lose_most_is_copied_if_that_is_worth_it():
    text = [*LONG, *range(100, 200)]
    prefixes, [state] = kept(text)
    copy = prefixes.begin([*LONG, 50, 51])
    assert copy is not None
    assert copy is not state
    assert (copy.length, state.ids) == (LEAST, text)
    assert prefixes.begin([*LONG[:-1], 50, 51]) is None, "too short to be worth a copy"


def test_of_several_the_longest_beginning_counts():
    prefixes, states = kept([1, 2], [1, 2, 3], [1])
    assert prefixes.begin([1, 2, 3, 4]) is states[1]


def test_a_running_text_is_copied_and_never_taken():
    prefixes, running = Prefixes(1), FakeState(LONG)
    copy = prefixes.begin([*LONG, 5], [([*LONG, 99], running)])
    assert copy is not None
    assert copy is not running
    assert (copy.length, running.length) == (LEAST, LEAST)
    assert prefixes.begin([*LONG[:-1], 50], [([*LONG, 99], running)]) is None


def test_a_state_that_holds_less_than_its_text_gives_what_it_holds():
    copy = Prefixes(1).begin([*LONG, *LONG, 7], [([*LONG, *LONG], FakeState([*LONG, 0]))])
    assert copy is not None
    assert copy.length == LEAST + 1


def test_a_handful_is_kept():
    prefixes, states = kept([1, 1], [2, 2], [3, 3], most=2)
    assert [state.is_closed for state in states] == [True, False, False]
    prefixes.clear()
    assert all(state.is_closed for state in states)
    assert prefixes.begin([3, 3, 3]) is None


def test_the_bytes_of_all_are_bounded_but_the_last_stays():
    _, states = kept([1] * 30, [2] * 60, [3] * 30, most_bytes=100)
    assert [state.is_closed for state in states] == [True, False, False]
    _, states = kept([1] * 30, [2] * 101, most_bytes=100)
    assert [state.is_closed for state in states] == [True, False]


def test_where_nothing_is_kept_states_are_closed():
    _, states = kept([1, 2], most=0)
    assert states[0].is_closed
    _, states = kept([])
    assert states[0].is_closed
