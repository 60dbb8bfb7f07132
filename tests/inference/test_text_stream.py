"""Stop strings across token borders, whole sentences, and pieces that add up to the text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.errors import UsageError
from groundup.inference.completing import complete
from groundup.inference.settings import Settings
from groundup.inference.text_stream import (
    StopStrings,
    Text,
    TextStream,
    printable,
    trim_sentence,
    with_stop_ids,
)
from tests.inference import tiny

GREEDY = Settings(max_new_tokens=60, temperature=0.0)


def through(stop: list[str], pieces: list[str]) -> tuple[str, bool]:
    gate = StopStrings(stop)
    text = ""
    for piece in pieces:
        text += gate.push(piece)
        if gate.is_hit:
            return text, True
    return text + gate.flush(), False


def test_a_stop_string_may_cross_token_borders():
    assert through(["END"], ["the E", "N", "D!"]) == ("the ", True)


def test_what_only_began_like_a_stop_string_is_given_out():
    gate = StopStrings(["END"])
    assert [gate.push(piece) for piece in ("the E", "N", "ough")] == ["the ", "", "ENough"]
    assert [gate.push("E"), gate.flush(), gate.is_hit] == ["", "E", False]


def test_the_earliest_of_several_stop_strings_counts():
    assert through(["world", "lo"], ["hello world"]) == ("hel", True)


@given(st.text("ab", max_size=20), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3), st.data())
def test_pieces_stop_where_the_whole_text_would(text, stop, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    passed, is_hit = through(stop, pieces)
    ends = [end for end in range(len(text) + 1) if any(text[:end].endswith(s) for s in stop)]
    assert is_hit == bool(ends)
    if is_hit:
        assert not any(s in passed for s in stop)
        assert text.startswith(passed)
    else:
        assert passed == text


@pytest.mark.parametrize(
    ("text", "trimmed"),
    [
        ("He left. She st", "He left."),
        ('He said "Go!" and th', 'He said "Go!"'),
        ("It costs 3.5 coins and", ""),
        ("No end", ""),
        ("All is well.", "All is well."),
        ("他走了。她留", "他走了。"),
    ],
)
def test_trim_sentence(text, trimmed):
    assert trim_sentence(text) == trimmed


def written(letters: str, reason: str, **options) -> str:
    text = Text(tiny.tokenizer(), Settings(), **options)
    pieces = [text.push(id_) for id_ in tiny.tokenizer().encode(letters).tolist()]
    assert "".join([*pieces, text.finish(reason)]) == text.text
    return text.text


def test_trimming_a_stream_gives_what_trimming_the_text_would():
    assert written("he left. she st", "length", trim=True) == "he left."
    assert written("he left.", "length", trim=True) == "he left."
    assert written("a 3.0 b", "length", trim=True) == "a 3.0 b"
    assert written("no end", "length", trim=True) == "no end"
    assert written("he left. the end", "stop", trim=True) == "he left. the end"
    assert written("he left. she st", "length") == "he left. she st"


def test_pieces_add_up_and_are_what_a_batch_gives():
    prompts = [tiny.tokenizer().encode(text).tolist() for text in ("Once there", "The dog", "你")]
    for settings in (GREEDY, Settings(max_new_tokens=40, temperature=1.5, seed=3)):
        whole = complete(tiny.model(), tiny.tokenizer(), prompts, settings)
        for prompt, expected in zip(prompts, whole, strict=True):
            stream = TextStream(tiny.model(), tiny.tokenizer(), prompt, settings)
            assert "".join(stream) == stream.completion.text == expected.text
            assert stream.completion.finish_reason == expected.finish_reason
            assert stream.completion.ids == expected.ids


def test_a_character_of_several_tokens_comes_whole():
    ids = tiny.tokenizer().encode("Say 你好").tolist()
    for piece in TextStream(tiny.model(), tiny.tokenizer(), ids, Settings(max_new_tokens=30, temperature=1.0, seed=1)):
        assert piece.encode("utf-8").decode("utf-8") == piece


def test_a_learned_end_stops_and_is_not_shown():
    ids = tiny.tokenizer().encode("Once there").tolist()
    [completion] = complete(tiny.model(), tiny.tokenizer(), [ids], GREEDY)
    assert completion.text == tiny.STORY.removeprefix("Once there")
    assert completion.finish_reason == "stop"
    assert completion.ids[-1] == tiny.tokenizer().eos_id
    [shown] = complete(tiny.model(), tiny.tokenizer(), [ids], GREEDY, show_special=True)
    assert shown.text == completion.text + "<|endoftext|>"


def test_a_stop_string_ends_stream_and_batch_alike():
    ids = tiny.tokenizer().encode("Once there").tolist()
    settings = Settings(max_new_tokens=60, temperature=0.0, stop=("dog, and",))
    stream = TextStream(tiny.model(), tiny.tokenizer(), ids, settings)
    assert "".join(stream) == " was a cat. It saw a "
    assert stream.completion.finish_reason == "stop"
    [completion] = complete(tiny.model(), tiny.tokenizer(), [ids], settings)
    assert (completion.text, completion.ids) == (stream.completion.text, stream.completion.ids)


def test_a_stopped_stream_keeps_what_there_is():
    stream = TextStream(tiny.model(), tiny.tokenizer(), tiny.tokenizer().encode("Once there").tolist(), GREEDY)
    pieces = iter(stream)
    begun = next(pieces) + next(pieces)
    with pytest.raises(ValueError, match="still being made"):
        _ = stream.completion
    assert begun + stream.stop() == stream.completion.text
    assert stream.completion.finish_reason == "interrupted"


def test_a_completion_knows_how_likely_each_id_was():
    ids = tiny.tokenizer().encode("Once there").tolist()
    settings = Settings(max_new_tokens=12, temperature=0.0, n_alternatives=2)
    stream = TextStream(tiny.model(), tiny.tokenizer(), ids, settings)
    "".join(stream)
    [whole] = complete(tiny.model(), tiny.tokenizer(), [ids], settings)
    for completion in (stream.completion, whole):
        assert len(completion.logprobs) == len(completion.alternatives) == completion.n_tokens == 12
        assert [place[0][0] for place in completion.alternatives] == list(completion.ids)
        assert [place[0][1] for place in completion.alternatives] == pytest.approx(completion.logprobs)

    stream = TextStream(tiny.model(), tiny.tokenizer(), ids, settings)
    next(iter(stream))
    stream.stop()
    assert len(stream.completion.logprobs) == stream.completion.n_tokens == 1


def test_control_characters_do_not_reach_a_terminal():
    assert printable("a\x1b[31mb\r\x07\x9b\tc\n") == "a[31mb\tc\n"


def test_special_tokens_are_left_out_or_shown_by_their_names():
    tokenizer = tiny.tokenizer()
    (name, special), *_ = tokenizer.special_ids.items()
    ids = [*tokenizer.encode("the cat").tolist(), special, *tokenizer.encode(" ran").tolist()]

    def made(show_special: bool, **settings) -> str:
        text = Text(tokenizer, Settings(**settings), show_special=show_special)
        return "".join(text.push(id_) for id_ in ids) + text.finish("length")

    assert made(False) == "the cat ran"
    assert made(True) == f"the cat{name} ran"
    assert made(True, stop_ids=(special,)) == f"the cat{name} ran"
    # A stop id without a name is never shown.
    assert made(True, stop_ids=(ids[-1],)) == f"the cat{name} ran".removesuffix(tokenizer.decode(ids[-1:]))


def test_the_name_of_a_special_token_stops_at_the_token():
    tokenizer = tiny.tokenizer()
    settings = with_stop_ids(Settings(stop=("<|endoftext|>", "cat")), tokenizer)
    assert settings.stop == ("cat",)
    assert tokenizer.special_ids["<|endoftext|>"] in settings.stop_ids


def test_a_stop_id_that_is_no_token_is_refused():
    with pytest.raises(UsageError, match="300 is no token: the vocabulary ends at 299"):
        with_stop_ids(Settings(stop_ids=(300,)), tiny.tokenizer())
