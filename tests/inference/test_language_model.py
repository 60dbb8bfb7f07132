"""Opening a model, and a conversation that goes on."""

import pytest

from groundup.errors import ArtefactError, UsageError
from groundup.inference.language_model import Chat, LanguageModel, load
from groundup.inference.settings import Settings
from groundup.text.records import Message
from groundup.tokenizer.train import train
from groundup.weights import checkpoint
from tests.inference import tiny

GREEDY = Settings(max_new_tokens=40, temperature=0.0)


@pytest.fixture
def speaker() -> LanguageModel:
    return LanguageModel(tiny.model(), tiny.tokenizer(), is_chat=True)


def said(chat: Chat, question: str) -> str:
    answer = chat.ask(question)
    text = "".join(answer)
    chat.remember(answer)
    return text


def test_load_knows_the_stage(tmp_path):
    assert load(tiny.save(tmp_path / "sft")).is_chat
    assert not load(tiny.save(tmp_path / "base", stage="pretrain")).is_chat
    (tmp_path / "base" / "groundup.json").unlink()
    (tmp_path / "base" / "manifest.json").unlink()
    assert load(tmp_path / "base").is_chat, "without a contract the chat template tells"


def test_a_draft_of_the_same_tokenizer_guesses_ahead(tmp_path):
    big, small = tiny.save(tmp_path / "big"), tiny.save(tmp_path / "small", stage="pretrain")
    plain = said(Chat(load(big), GREEDY), "tell you a story")
    for options in ({"draft": small}, {"prompt_lookup": True}):
        chat = Chat(load(big, **options), GREEDY)
        answer = chat.ask("tell you a story")
        assert "".join(answer) == plain
        assert answer.completion.n_drafted > 0
        assert (answer.completion.n_accepted > 0) == ("draft" in options), "the story repeats nothing"
    with pytest.raises(UsageError, match="both guess ahead"):
        load(big, draft=small, prompt_lookup=True)


def test_a_draft_of_another_tokenizer_is_refused(tmp_path):
    other = train([tiny.STORY], 300)
    checkpoint.save(tmp_path / "other", tiny.model(), other)
    with pytest.raises(ArtefactError, match="another tokenizer") as caught:
        load(tiny.save(tmp_path / "big"), draft=tmp_path / "other")
    assert str(tmp_path / "other") in str(caught.value.where)


def test_a_model_without_a_tokenizer_is_refused(tmp_path):
    checkpoint.save(tmp_path / "model", tiny.model())
    with pytest.raises(ArtefactError, match="no tokenizer"):
        load(tmp_path / "model")


def test_an_empty_prompt_begins_a_document(speaker):
    assert speaker.prompt_ids("") == [speaker.tokenizer.eos_id]


def test_a_chat_keeps_its_history(speaker):
    chat = Chat(speaker, GREEDY)
    assert said(chat, "Say a") == "a"
    assert said(chat, "And then?") == "b, of course."
    assert [turn.content for turn in chat.turns] == ["Say a", "a", "And then?", "b, of course."]
    chat.reset()
    assert chat.turns == []


def test_a_first_question_does_not_wait_for_the_system_prompt(speaker, monkeypatch):
    n_ids, hidden = [], speaker.model.hidden
    monkeypatch.setattr(
        speaker.model, "hidden", lambda ids, **options: (n_ids.append(ids.numel()), hidden(ids, **options))[1]
    )
    chat = Chat(speaker, GREEDY, system="Be kind, and brief.")
    chat.warm_up()
    assert chat.turns == []
    del n_ids[:]
    said(chat, "Say a")
    assert n_ids[0] < len(chat.ids(chat.turns[:1])) / 2


def test_a_turn_runs_only_what_is_new(speaker, monkeypatch):
    n_ids, hidden = [], speaker.model.hidden
    monkeypatch.setattr(
        speaker.model, "hidden", lambda ids, **options: (n_ids.append(ids.numel()), hidden(ids, **options))[1]
    )
    chat = Chat(speaker, GREEDY)
    said(chat, "Say a")
    del n_ids[:]
    assert said(chat, "And then?") == "b, of course."
    prompt = chat.ids(chat.turns[:-1])
    n_known = len(chat.ids(chat.turns[:1])) + len(speaker.tokenizer.encode("a"))
    assert n_ids[0] == len(prompt) - n_known
    del n_ids[:]
    again = chat.retry()
    assert again is not None
    assert "".join(again) == "b, of course."
    assert n_ids[0] == 1, "the same prompt once more"


def test_no_system_prompt_is_injected(speaker):
    question = [Message("user", "Who are you?")]
    ids = Chat(speaker, GREEDY).ids(question)
    assert speaker.tokenizer.decode(ids) == "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n"
    ids = Chat(speaker, GREEDY, system="Be kind.").ids(question)
    assert speaker.tokenizer.decode(ids).startswith("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n")


def test_the_oldest_turns_are_forgotten_when_the_context_is_full(speaker):
    chat = Chat(speaker, Settings(max_new_tokens=8, temperature=0.0), system="Hm.")
    dropped = []
    for _ in range(8):
        said(chat, "Say a")
        dropped.append(chat.n_dropped)
    assert dropped[0] == 0
    assert sum(dropped) == 16 - len(chat.turns) > 0
    assert chat.turns[0].role == "user"
    assert len(chat.ids(chat.turns[:-1])) + 8 <= speaker.context_length


def test_a_question_longer_than_the_context_is_refused_and_not_kept(speaker):
    chat = Chat(speaker, GREEDY)
    said(chat, "Say a")
    with pytest.raises(UsageError, match="context"):
        said(chat, "word " * 200)
    assert [turn.content for turn in chat.turns] == ["Say a", "a"]
    assert said(chat, "And then?") == "b, of course."


def test_retry_gives_another_answer_in_the_same_place(speaker):
    chat = Chat(speaker, Settings(max_new_tokens=20, temperature=3.0, top_p=1.0, seed=0))
    assert chat.retry() is None
    first = said(chat, "Say a")
    answer = chat.retry()
    assert answer is not None
    second = "".join(answer)
    chat.remember(answer)
    assert second != first
    assert [turn.content for turn in chat.turns] == ["Say a", second]


def test_a_prompt_begins_with_bos_where_the_model_expects_it():
    from groundup.tokenizer.train import train

    tokenizer = train(["some text"], 262, special_tokens=["<|begin_of_text|>", "<|end_of_text|>"])
    speaker = LanguageModel(None, tokenizer)
    ids = tokenizer.encode("some").tolist()
    assert (speaker.prompt_ids("some"), speaker.prompt_ids("")) == (ids, [tokenizer.eos_id])
    tokenizer.adds_bos = True
    assert (speaker.prompt_ids("some"), speaker.prompt_ids("")) == ([tokenizer.bos_id, *ids], [tokenizer.bos_id])
