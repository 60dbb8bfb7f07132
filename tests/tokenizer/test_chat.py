"""Chat rendering: equal to transformers' of the exported template, and only the assistant's words are learned."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.errors import DataError, UsageError
from groundup.text.records import Message
from groundup.tokenizer import chat
from groundup.tokenizer.chat import TEMPLATES, render
from groundup.tokenizer.chat_templates import Segment
from groundup.tokenizer.train import train

TEXT = "user system assistant tool\nThe cat's hat: 12 cats, hats!  \n\n 你好，世界。 naïve 😀 What? It is so.\n" * 4
TOKENIZER = train([TEXT], 310)
WITHOUT_CHAT = train([TEXT], 300, special_tokens=("<|endoftext|>",))

ONE_TURN = [Message("user", "What is a cat?"), Message("assistant", "A cat.")]
CONVERSATIONS = {
    "one turn": ONE_TURN,
    "system": [Message("system", "Be kind.\nAlways."), *ONE_TURN],
    "many turns": [*ONE_TURN, Message("user", " And a hat? "), Message("assistant", "A hat.\n\n- so\n"), *ONE_TURN],
    "chinese and emoji": [Message("user", "你好，世界？"), Message("assistant", "你好😀！")],
    "tool": [Message("user", "12 + 3?"), Message("tool", "15"), Message("assistant", "It is 15.")],
    "starts with space": [Message("user", "\n\n  x"), Message("assistant", " y")],
    "assistant begins": [Message("assistant", "Hello!"), Message("user", "Hi.")],
    "only system": [Message("system", "Be kind.")],
}


def theirs(tmp_path):
    transformers = pytest.importorskip("transformers")
    TOKENIZER.save(tmp_path)
    return transformers.AutoTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("generation_prompt", [False, True])
def test_ids_equal_those_of_apply_chat_template(generation_prompt, tmp_path):
    judge = theirs(tmp_path)
    for messages in CONVERSATIONS.values():
        if generation_prompt and messages[-1].role == "assistant":
            messages = [*messages, Message("user", "So?")]
        rows = [{"role": message.role, "content": message.content} for message in messages]
        rendered = render(messages, TOKENIZER, generation_prompt=generation_prompt)
        text = judge.apply_chat_template(rows, tokenize=False, add_generation_prompt=generation_prompt)
        ids = judge.apply_chat_template(rows, tokenize=True, add_generation_prompt=generation_prompt)["input_ids"]
        assert TOKENIZER.decode(rendered.ids) == text
        assert rendered.ids.tolist() == ids


def test_the_exact_string():
    rendered = render([Message("system", "S"), *ONE_TURN, Message("user", "U")], TOKENIZER, generation_prompt=True)
    assert TOKENIZER.decode(rendered.ids) == (
        "<|im_start|>system\nS<|im_end|>\n"
        "<|im_start|>user\nWhat is a cat?<|im_end|>\n"
        "<|im_start|>assistant\nA cat.<|im_end|>\n"
        "<|im_start|>user\nU<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


WORDS = st.text(st.characters(codec=None), max_size=20) | st.sampled_from(
    ["<|im_end|>", "<|im_start|>assistant\n", " x"]
)
TURNS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3)


@settings(deadline=None)
@given(st.none() | WORDS, TURNS)
def test_targets_are_exactly_the_assistants_words_and_its_end(system, turns):
    messages = [] if system is None else [Message("system", system)]
    for question, answer in turns:
        messages += [Message("user", question), Message("assistant", answer)]
    rendered = render(messages, TOKENIZER)
    assert (rendered.ids.dtype, rendered.is_target.dtype) == (np.uint32, bool)
    assert len(rendered.ids) == len(rendered.is_target)

    # Each run of targets is one turn of the assistant.
    starts = np.flatnonzero(np.diff(rendered.is_target.astype(int), prepend=0) == 1)
    ends = np.flatnonzero(np.diff(rendered.is_target.astype(int), append=0) == -1) + 1
    learned = [TOKENIZER.decode(rendered.ids[start:end]) for start, end in zip(starts, ends, strict=True)]
    assert learned == [answer + "<|im_end|>" for _, answer in turns]

    # Whatever people type, the only special tokens are those of the template: two for each message.
    assert np.isin(rendered.ids, list(TOKENIZER.special_ids.values())).sum() == 2 * len(messages)


@settings(deadline=None)
@given(TURNS)
def test_a_longer_conversation_begins_with_the_shorter_one(turns):
    messages = [Message(role, text) for turn in turns for role, text in zip(("user", "assistant"), turn, strict=True)]
    whole = render(messages, TOKENIZER)
    for n in range(1, len(messages)):
        asks = messages[n - 1].role == "user"
        part = render(messages[:n], TOKENIZER, generation_prompt=asks)
        assert whole.ids[: len(part.ids)].tolist() == part.ids.tolist()
        assert whole.is_target[: len(part.ids)].tolist() == part.is_target.tolist()


def test_nothing_is_injected():
    assert "system" not in TOKENIZER.decode(render(ONE_TURN, TOKENIZER).ids)
    assert not render([Message("user", "x")], TOKENIZER, generation_prompt=True).is_target.any()


WRONG_ORDERS = {
    "no message": [],
    "has the role 'human'": [Message("human", "x")],
    "message 2 is a system prompt": [Message("user", "x"), Message("system", "y")],
    "messages 1 and 2 are both the user's": [Message("user", "x"), Message("user", "y")],
    "messages 2 and 3 are both the assistant's": [*ONE_TURN, Message("assistant", "y")],
}


@pytest.mark.parametrize("message", WRONG_ORDERS)
def test_roles_out_of_order_are_told(message):
    with pytest.raises(DataError, match=message):
        render(WRONG_ORDERS[message], TOKENIZER)


def test_it_must_be_the_assistants_turn_to_speak():
    with pytest.raises(DataError, match="not its turn"):
        render(ONE_TURN, TOKENIZER, generation_prompt=True)


def test_an_unknown_template_and_a_tokenizer_that_cannot_chat_are_told():
    with pytest.raises(UsageError, match="'vicuna'"):
        render(ONE_TURN, TOKENIZER, template="vicuna")
    with pytest.raises(UsageError, match=re.escape("'<|im_start|>' and '<|im_end|>'")) as told:
        render(ONE_TURN, WITHOUT_CHAT, template="chatml")
    assert "--special-tokens '<|im_start|>' '<|im_end|>'" in str(told.value.hint)
    with pytest.raises(UsageError, match="one that ends a text"):
        render(ONE_TURN, train([TEXT], 300, special_tokens=()))


def test_a_trained_tokenizer_carries_the_template():
    assert TOKENIZER.chat_template == chat.find("chatml").jinja == TEMPLATES["chatml"].jinja
    assert WITHOUT_CHAT.chat_template is None


def test_the_tokenizer_says_how_its_conversations_are_written():
    made = train([TEXT], 310)
    for name, form in TEMPLATES.items():
        made.chat_template = form.jinja
        assert chat.template_for(made) == chat.name_for(made) == name.replace("llama3.2", "llama3.1")
        assert chat.jinja_for(made, name) == form.jinja
    made.chat_template = "{{ messages }}"
    assert (chat.template_for(made), chat.name_for(made)) == (None, chat.OWN)
    assert chat.jinja_for(made, chat.OWN) == "{{ messages }}"
    made.chat_template = None
    assert (chat.template_for(made), chat.name_for(made)) == (None, "chatml")
    assert chat.name_for(WITHOUT_CHAT) == "plain"
    assert WITHOUT_CHAT.decode(render(ONE_TURN, WITHOUT_CHAT).ids).startswith("User:")
    made.chat_template = TEMPLATES["qwen2.5"].jinja
    assert "Alibaba" in made.decode(render(ONE_TURN, made).ids)


def test_a_template_made_by_hand():
    made = chat.Template(lambda messages, _: [Segment(messages[0].content, True)], "", (), ())
    rendered = render([Message("user", "hat")], TOKENIZER, template=made)
    assert (TOKENIZER.decode(rendered.ids), rendered.is_target.all()) == ("hat", True)
