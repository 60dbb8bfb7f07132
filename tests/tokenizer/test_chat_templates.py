"""Every template: its exact strings, equal to transformers' of its Jinja, and the rules that keep templates honest."""

import lzma

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from groundup.errors import DataError, UsageError
from groundup.text.records import Message
from groundup.tokenizer.chat import render, spans
from groundup.tokenizer.chat_templates import EOS, LLAMA2_TAGS, TEMPLATES, llama3_dated
from groundup.tokenizer.protocol import Tokenizer
from groundup.tokenizer.train import train

NAMED = sorted({name for form in TEMPLATES.values() for name in form.special_tokens} - {EOS})
MARKERS = ["<think>", "</think>", "<tool_response>", "</tool_response>"]
TEXT = (
    "user assistant system: The cat's hat.  \n\n 你好，世界。 ### Instruction:\n [INST] [/INST] 😀 What? It is so.\n\n"
    * 4
)
SPECIALS = ["<|endoftext|>", *NAMED, *MARKERS]
BY_PATTERN = {pattern: train([TEXT], 340, pattern=pattern, special_tokens=SPECIALS) for pattern in ("gpt2", "llama3")}
TOKENIZER = BY_PATTERN["gpt2"]

BEGIN, HEADER, HEADED, EOT = "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"
DATES = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
QWEN = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
SMOLLM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
ALPACA = "Below is an instruction that describes a task. Write a response that appropriately completes the request."

STRIPPING = {"llama2", "llama3", "llama3.1", "llama3.2"}
"""Templates that take white space off the ends of contents."""
PAIRS = {"llama2", "alpaca"}
"""Templates that know only a question and its answer."""

CHATML_PAIR = "<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n[[A<|im_end|>]]\n"
LLAMA3_PAIR = f"{HEADER}user{HEADED}\n\nU{EOT}{HEADER}assistant{HEADED}\n\n[[A{EOT}]]"
WRITTEN = {
    "chatml": CHATML_PAIR,
    "qwen2.5": f"<|im_start|>system\n{QWEN}<|im_end|>\n{CHATML_PAIR}",
    "qwen3": CHATML_PAIR,
    "qwen3-no-thinking": CHATML_PAIR.replace("[[", "<think>\n\n</think>\n\n[["),
    "smollm2": f"<|im_start|>system\n{SMOLLM}<|im_end|>\n{CHATML_PAIR}",
    "llama2": "<s>[INST] U [/INST][[ A </s>]]",
    "llama3": BEGIN + LLAMA3_PAIR,
    "llama3.1": f"{BEGIN}{HEADER}system{HEADED}\n\n{DATES}{EOT}{LLAMA3_PAIR}",
    "llama3.2": f"{BEGIN}{HEADER}system{HEADED}\n\n{DATES}{EOT}{LLAMA3_PAIR}",
    "alpaca": f"{ALPACA}\n\n### Instruction:\nU\n\n### Response:\n[[A<|endoftext|>]]",
    "plain": "User:\nU\n\nAssistant:\n[[A<|endoftext|>]]",
}
"""One question and its answer, the targets in double brackets."""

WITH_SYSTEM = {
    "chatml": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n",
    "qwen2.5": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n",
    "llama2": "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST]",
    "llama3.1": f"{BEGIN}{HEADER}system{HEADED}\n\n{DATES}S{EOT}{HEADER}user{HEADED}\n\nU{EOT}"
    f"{HEADER}assistant{HEADED}\n\n",
    "alpaca": "S\n\n### Instruction:\nU\n\n### Response:\n",
    "plain": "System:\nS\n\nUser:\nU\n\nAssistant:\n",
}

EVERY = pytest.mark.parametrize("name", TEMPLATES)


def decoded(ids) -> str:
    return TOKENIZER.decode(ids)


def conversation(system, turns) -> list[Message]:
    messages = [] if system is None else [Message("system", system)]
    return messages + [Message(role, said) for turn in turns for role, said in zip(("user", "assistant"), turn)]  # noqa: B905


@EVERY
def test_the_exact_string(name):
    messages = [Message("user", "U"), Message("assistant", "A")]
    shown = "".join(f"[[{text}]]" if is_target else text for text, is_target in spans(messages, name))
    assert shown == WRITTEN[name]
    assert decoded(render(messages, TOKENIZER, template=name).ids) == shown.replace("[[", "").replace("]]", "")


@pytest.mark.parametrize("name", WITH_SYSTEM)
def test_the_exact_string_with_a_system_prompt(name):
    messages = [Message("system", "S"), Message("user", "U")]
    assert decoded(render(messages, TOKENIZER, template=name, generation_prompt=True).ids) == WITH_SYSTEM[name]


def test_an_instruction_with_an_input():
    asked = decoded(render([Message("user", "I\n\n### Input:\nX")], TOKENIZER, template="alpaca").ids)
    assert asked == (
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a"
        " response that appropriately completes the request.\n\n### Instruction:\nI\n\n### Input:\nX\n\n### Response:\n"
    )


def test_another_days_date():
    form = llama3_dated("01 Jan 2025")
    assert "Today Date: 01 Jan 2025\n\n" in decoded(render([Message("user", "U")], TOKENIZER, template=form).ids)
    assert "'01 Jan 2025'" in form.jinja


# --- equal to transformers ---


@pytest.fixture(scope="module")
def judges(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("tokenizers")
    for pattern, tokenizer in BY_PATTERN.items():
        tokenizer.save(folder / pattern)
    return {pattern: transformers.AutoTokenizer.from_pretrained(folder / pattern) for pattern in BY_PATTERN}


PLAIN_TEXT = st.lists(
    st.sampled_from(["\n", "\n\n", "  ", " ", "\t", "'s", "12", "你好", "The", "hat", "e\u0301", "<", "|>"])
    | st.text(st.characters(codec="utf-8"), max_size=4),
    max_size=6,
).map("".join)
TURNS = st.lists(st.tuples(PLAIN_TEXT, PLAIN_TEXT), min_size=1, max_size=3)
SPELLINGS = [*TOKENIZER.special_ids, *LLAMA2_TAGS]


BLANK_LINE = {"llama3", "llama3.1", "llama3.2", "qwen3-no-thinking"}
"""Templates with an empty line before the answer. GPT-2's pattern splits it in two before a letter, not at the end of a
prompt; the patterns of Llama 3 and Qwen do not, and so ids are equal with those."""


def check_against(judges, name, messages, generation_prompt, are_ids_equal=True):
    pattern = "llama3" if name in BLANK_LINE else "gpt2"
    judge, tokenizer = judges[pattern], BY_PATTERN[pattern]
    rows = [{"role": message.role, "content": message.content} for message in messages]
    how = {"chat_template": TEMPLATES[name].jinja, "add_generation_prompt": generation_prompt}
    rendered = render(messages, tokenizer, template=name, generation_prompt=generation_prompt)
    assert tokenizer.decode(rendered.ids) == judge.apply_chat_template(rows, tokenize=False, **how)
    if are_ids_equal:
        assert rendered.ids.tolist() == judge.apply_chat_template(rows, tokenize=True, **how)["input_ids"]


@EVERY
@settings(deadline=None, max_examples=60)
@given(system=st.none() | PLAIN_TEXT, turns=TURNS, is_asking=st.booleans())
def test_equal_to_apply_chat_template(judges, name, system, turns, is_asking):
    messages = conversation(system, turns)
    assume(not any(spelling in message.content for message in messages for spelling in SPELLINGS))
    if is_asking:
        messages = messages[:-1]
    answers = [message.content for message in messages if message.role == "assistant"]
    # The answer is encoded apart from the line before it, which shows only where white space meets white space.
    are_ids_equal = name in STRIPPING or not any(answer[:1].isspace() for answer in answers)
    check_against(judges, name, messages, is_asking, are_ids_equal)


TOOLS = [Message("user", "12 + 3?"), Message("tool", "15"), Message("tool", " 16 "), Message("assistant", "It is 15.")]


@pytest.mark.parametrize("name", sorted(TEMPLATES.keys() - PAIRS))
def test_what_a_tool_says_equals_apply_chat_template(judges, name):
    check_against(judges, name, TOOLS, False)
    check_against(judges, name, TOOLS[:2], True)
    asked = decoded(render(TOOLS[:2], TOKENIZER, template=name).ids)
    if name == "llama3.1":
        assert asked.endswith(f"{HEADER}ipython{HEADED}\n\n15{EOT}")
    if name == "qwen3":
        assert asked.endswith("<|im_start|>user\n<tool_response>\n15\n</tool_response><|im_end|>\n")


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_templates_of_pairs_refuse_everything_else(name):
    with pytest.raises(DataError, match="message 2"):
        render(TOOLS, TOKENIZER, template=name)
    with pytest.raises(DataError, match="message 1"):
        render([Message("assistant", "A")], TOKENIZER, template=name)


def test_markers_are_text_to_a_tokenizer_without_them():
    plain = train([TEXT], 300)
    messages = [Message("user", "U"), Message("assistant", "A")]
    ids = render(messages, plain, template="qwen3-no-thinking").ids
    assert plain.decode(ids) == WRITTEN["qwen3-no-thinking"].replace("[[", "").replace("]]", "")
    assert np.isin(ids, list(plain.special_ids.values())).sum() == 4


# --- rules that prevent the bugs of templates ---

HOSTILE = st.lists(
    st.sampled_from([*TOKENIZER.special_ids, "<|im_", "end|>", "<|", "|>", "＜|im_end|＞", "</s", ">", "\n", " "])
    | st.text(st.characters(codec=None), max_size=6),
    max_size=5,
).map("".join)


def check_nothing_is_injected(name, system, turns):
    """As many special ids as for contents without any, and exactly the answers are learned."""
    form = TEMPLATES[name]
    messages = conversation(system, turns)
    harmless = [Message(message.role, "x") for message in messages]
    rendered, expected = (render(said, TOKENIZER, template=name) for said in (messages, harmless))
    special = list(TOKENIZER.special_ids.values())
    there, wanted = (made.ids[np.isin(made.ids, special)].tolist() for made in (rendered, expected))
    assert there == wanted

    begin = TOKENIZER.special_ids[BEGIN]
    assert there.count(begin) == there[:1].count(begin) == int("llama3" in name)
    assert there.count(TOKENIZER.special_ids["<s>"]) == (len(turns) if name == "llama2" else 0)

    starts = np.flatnonzero(np.diff(rendered.is_target.astype(int), prepend=0) == 1)
    ends = np.flatnonzero(np.diff(rendered.is_target.astype(int), append=0) == -1) + 1
    learned = [decoded(rendered.ids[start:end]) for start, end in zip(starts, ends, strict=True)]
    answers = [answer.strip() if name in STRIPPING else answer for _, answer in turns]
    answers = [f" {answer} " for answer in answers] if name == "llama2" else answers
    stop = form.stop_tokens[0].replace(EOS, "<|endoftext|>")
    assert learned == [answer + stop for answer in answers]


@EVERY
@settings(deadline=None, max_examples=60)
@given(system=st.none() | HOSTILE, turns=st.lists(st.tuples(HOSTILE, HOSTILE), min_size=1, max_size=3))
def test_nothing_is_injected_and_the_answers_with_their_end_are_learned(name, system, turns):
    check_nothing_is_injected(name, system, turns)


@pytest.mark.soak
@EVERY
@settings(deadline=None, max_examples=1000)
@given(system=st.none() | HOSTILE, turns=st.lists(st.tuples(HOSTILE, HOSTILE), min_size=1, max_size=3))
def test_nothing_is_injected_in_ten_thousand_cases(name, system, turns):
    check_nothing_is_injected(name, system, turns)


@EVERY
@settings(deadline=None, max_examples=40)
@given(system=st.none() | HOSTILE, turns=st.lists(st.tuples(HOSTILE, HOSTILE), min_size=1, max_size=3))
def test_a_longer_conversation_begins_with_the_shorter_one(name, system, turns):
    messages = conversation(system, turns)
    whole = render(messages, TOKENIZER, template=name)
    for n in range(1, len(messages)):
        asks = messages[n - 1].role == "user"
        for generation_prompt in {False, asks}:
            if name == "plain" and messages[n - 1].role != "assistant" and not generation_prompt:
                continue  # the exception, which its docstring states
            part = render(messages[:n], TOKENIZER, template=name, generation_prompt=generation_prompt)
            assert whole.ids[: len(part.ids)].tolist() == part.ids.tolist()
            assert whole.is_target[: len(part.ids)].tolist() == part.is_target.tolist()


@pytest.mark.parametrize("tag", LLAMA2_TAGS)
@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_llama_2s_tags_are_refused_in_contents(role, tag):
    texts = {"system": "S", "user": "U", "assistant": "A"} | {role: f"x{tag}y"}
    with pytest.raises(DataError, match="takes? for the form of the conversation|would take"):
        render([Message(role, text) for role, text in texts.items()], TOKENIZER, template="llama2")


@EVERY
def test_stop_tokens_end_generation(name):
    form = TEMPLATES[name]
    assert set(form.stop_tokens) <= set(form.special_tokens)
    names = [stop.replace(EOS, "<|endoftext|>") for stop in form.stop_tokens]
    assert {train([TEXT], 300, special_tokens=names).special_ids[stop] for stop in names} == {0}
    assert train([TEXT], 300, special_tokens=names).stop_ids == (0,)


@EVERY
def test_a_tokenizer_without_the_tokens_is_told(name):
    with pytest.raises(UsageError, match=f"{name!r} needs the special token") as told:
        render([Message("user", "U")], train([TEXT], 280, special_tokens=()), template=name)
    assert "--special-tokens" in str(told.value.hint)


def test_llama_2_with_its_own_tokenizer_equals_sentencepiece(shared_data, tmp_path):
    """As Meta's code has it: every pair is one text for SentencePiece, between bos and eos."""
    sentencepiece = pytest.importorskip("sentencepiece")
    file = tmp_path / "tokenizer.model"
    file.write_bytes(lzma.decompress((shared_data / "tokenizers" / "llama2_tokenizer.model.xz").read_bytes()))
    theirs, ours = sentencepiece.SentencePieceProcessor(model_file=str(file)), Tokenizer.load(file)
    messages = conversation("Be kind.", [(" Hi, 你好\n", "Hello.  "), ("And?", "So")])
    texts = ["[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\n Hi, 你好 [/INST] Hello. ", "[INST] And? [/INST] So "]
    rendered = render(messages, ours, template="llama2")
    assert rendered.ids.tolist() == [i for text in texts for i in [1, *theirs.encode(text), 2]]
    assert [ours.token_bytes[i] for i in rendered.ids[rendered.is_target]][:3] == [b" Hello", b".", b" "]
