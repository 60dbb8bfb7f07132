"""How a conversation is written for a model: one row of TEMPLATES for each form that models were trained on.

A template says the same thing twice: `segments` for us, which knows what is special and what is learned, and `jinja`
for other programs. Tests hold the two together. To add one, write both and give it a row at the foot of the file.

chatml           <|im_start|>user\\nU<|im_end|>\\n<|im_start|>assistant\\nA<|im_end|>\\n
llama2           <s>[INST] U [/INST] A </s>
llama3           <|begin_of_text|><|start_header_id|>user<|end_header_id|>\\n\\nU<|eot_id|>...
alpaca           Below is an instruction...\\n\\n### Instruction:\\nU\\n\\n### Response:\\nA<|endoftext|>
plain            User:\\nU\\n\\nAssistant:\\nA<|endoftext|>

Llama's templates strip white space around what people and the model say; the others leave it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from groundup.errors import DataError
from groundup.text.records import Message

EOS = "(end of text)"
"""Stands for whichever special token ends a text in the tokenizer at hand."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a rendering: the name of a special token, or text. `is_target`: the model learns to produce it.

    `is_marker`: a special token where the tokenizer has one of this name, and text where not, as Qwen's `<think>`.
    """

    text: str
    is_target: bool = False
    is_special: bool = False
    is_marker: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    """segments: (messages, generation_prompt) to segments; with `generation_prompt` they end where the assistant
    begins to speak. special_tokens: names the tokenizer must have. stop_tokens: those of them that end an answer."""

    segments: Callable[[Sequence[Message], bool], list[Segment]]
    jinja: str
    special_tokens: tuple[str, ...]
    stop_tokens: tuple[str, ...]


def _special(name: str, is_target: bool = False) -> Segment:
    return Segment(name, is_target, is_special=True)


# --- ChatML: Qwen, SmolLM2, minimind ---
# https://github.com/openai/openai-python/blob/release-v0.28.1/chatml.md

IM_START, IM_END = "<|im_start|>", "<|im_end|>"


def _chatml(messages: Sequence[Message], generation_prompt: bool, *, default_system: str = "") -> list[Segment]:
    """ChatML; with `default_system` as the system prompt of conversations that have none."""
    if default_system and messages[0].role != "system":
        messages = [Message("system", default_system), *messages]
    segments = []
    for message in messages:
        is_answer = message.role == "assistant"
        segments += [
            _special(IM_START),
            Segment(f"{message.role}\n"),
            Segment(message.content, is_answer),
            _special(IM_END, is_answer),
            Segment("\n"),
        ]
    if generation_prompt:
        segments += [_special(IM_START), Segment("assistant\n")]
    return segments


def _qwen(
    messages: Sequence[Message], generation_prompt: bool, *, default_system: str = "", empty_thought: bool = False
) -> list[Segment]:
    """ChatML as Qwen writes it: the results of tools stand in a user's turn, those in a row together in one.

    Therefore a rendering that ends between two of them is not the beginning of the longer one, the one exception to
    that rule in this file. `empty_thought`: every answer follows an empty thought, which tells the model not to think.
    Qwen3's own Jinja takes the thoughts out of older answers, so that no rendering is the beginning of the next; here
    contents are written as they are.
    """
    segments: list[Segment] = []
    thought = [Segment("<think>", is_marker=True), Segment("\n\n"), Segment("</think>", is_marker=True)]
    opening = [*thought, Segment("\n\n")] if empty_thought else []
    if default_system and messages[0].role != "system":
        messages = [Message("system", default_system), *messages]
    for before, message in pairwise([None, *messages]):
        assert message is not None
        if message.role != "tool":
            written = _chatml([message], False)
            segments += [*written[:2], *opening, *written[2:]] if message.role == "assistant" else written
            continue
        if before is not None and before.role == "tool":
            del segments[-2:]
        else:
            segments += [_special(IM_START), Segment("user")]
        segments += [
            Segment("\n"),
            Segment("<tool_response>", is_marker=True),
            Segment(f"\n{message.content}\n"),
            Segment("</tool_response>", is_marker=True),
            _special(IM_END),
            Segment("\n"),
        ]
    if generation_prompt:
        segments += [_special(IM_START), Segment("assistant\n"), *opening]
    return segments


CHATML_JINJA = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

DEFAULT_SYSTEM_JINJA = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nSYSTEM<|im_end|>\\n' }}{% endif %}"
)

QWEN_JINJA = (
    "{% for message in messages %}"
    "{% if message['role'] == 'tool' %}"
    "{% if loop.first or messages[loop.index0 - 1]['role'] != 'tool' %}{{ '<|im_start|>user' }}{% endif %}"
    "{{ '\\n<tool_response>\\n' + message['content'] + '\\n</tool_response>' }}"
    "{% if loop.last or messages[loop.index0 + 1]['role'] != 'tool' %}{{ '<|im_end|>\\n' }}{% endif %}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ '<|im_start|>assistant\\nTHOUGHT' + message['content'] + '<|im_end|>\\n' }}"
    "{% else %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\nTHOUGHT' }}{% endif %}"
)

QWEN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
SMOLLM_SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def _chatml_row(segments: Callable[..., list[Segment]], jinja: str, default_system: str = "") -> Template:
    if default_system:
        segments = partial(segments, default_system=default_system)
        jinja = DEFAULT_SYSTEM_JINJA.replace("SYSTEM", default_system) + jinja
    return Template(segments, jinja, (IM_START, IM_END), (IM_END,))


CHATML = _chatml_row(_chatml, CHATML_JINJA)

# --- Llama 2 ---
# https://github.com/meta-llama/llama/blob/main/llama/generation.py, chat_completion

LLAMA2_TAGS = ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>")


def _llama2(messages: Sequence[Message], generation_prompt: bool) -> list[Segment]:
    """Each question and its answer between `<s>` and `</s>`; the system prompt stands in the first question.

    The tags are ordinary text that contents may therefore not hold: DataError, as Meta's code refuses them. A system
    prompt alone renders to nothing. The answer is encoded apart from `[/INST]`, with the space before it.
    """
    segments: list[Segment] = []
    system = ""
    for number, message in enumerate(messages, 1):
        for tag in LLAMA2_TAGS:
            if tag in message.content:
                raise DataError(
                    f"message {number} holds {tag!r}, which Llama 2 would take for the form of the conversation",
                    hint="take it out, or choose a template whose marks are special tokens, such as 'llama3'",
                )
        if message.role == "system":
            system = f"<<SYS>>\n{message.content}\n<</SYS>>\n\n"
        elif message.role == "user":
            segments += [_special("<s>"), Segment(f"[INST] {(system + message.content).strip()} [/INST]")]
            system = ""
        elif message.role == "assistant" and number > 1 and messages[number - 2].role == "user":
            segments += [Segment(f" {message.content.strip()} ", True), _special("</s>", True)]
        else:
            raise DataError(f"message {number}: Llama 2 knows only answers of the assistant to the user")
    return segments


LLAMA2_JINJA = (
    "{% set ns = namespace(system='') %}"
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{% set ns.system = '<<SYS>>\\n' + message['content'] + '\\n<</SYS>>\\n\\n' %}"
    "{% elif message['role'] == 'user' %}"
    "{{ '<s>[INST] ' + (ns.system + message['content']) | trim + ' [/INST]' }}{% set ns.system = '' %}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] | trim + ' </s>' }}"
    "{% else %}{{ raise_exception('Llama 2 knows only answers of the assistant to the user') }}"
    "{% endif %}"
    "{% endfor %}"
)

# --- Llama 3, 3.1, 3.2 ---
# https://github.com/meta-llama/llama3/blob/main/llama/tokenizer.py, ChatFormat

BEGIN_OF_TEXT, END_OF_HEADER, END_OF_TURN = "<|begin_of_text|>", "<|end_header_id|>", "<|eot_id|>"
START_OF_HEADER = "<|start_header_id|>"

DATE = "26 Jul 2024"
"""What Llama 3.1's own template takes for today where nobody says."""


def _llama3_header(role: str) -> list[Segment]:
    return [_special(START_OF_HEADER), Segment(role), _special(END_OF_HEADER), Segment("\n\n")]


def _llama3(messages: Sequence[Message], generation_prompt: bool) -> list[Segment]:
    segments = [_special(BEGIN_OF_TEXT)]
    for message in messages:
        is_answer = message.role == "assistant"
        segments += _llama3_header(message.role)
        segments += [Segment(message.content.strip(), is_answer), _special(END_OF_TURN, is_answer)]
    if generation_prompt:
        segments += _llama3_header("assistant")
    return segments


def _llama3_dated(messages: Sequence[Message], generation_prompt: bool, *, date: str) -> list[Segment]:
    """A system prompt with two dates is always there; what a tool says has the role `ipython`."""
    system, rest = ("", messages) if messages[0].role != "system" else (messages[0].content.strip(), messages[1:])
    dates = f"Cutting Knowledge Date: December 2023\nToday Date: {date}\n\n"
    renamed = [Message("ipython", message.content) if message.role == "tool" else message for message in rest]
    segments = _llama3(renamed, generation_prompt)
    opening = [*_llama3_header("system"), Segment(dates + system), _special(END_OF_TURN)]
    return [*segments[:1], *opening, *segments[1:]]


LLAMA3_JINJA = (
    "{{ '<|begin_of_text|>' }}"
    "{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'"
    " + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)

LLAMA3_DATED_JINJA = (
    "{% if date_string is not defined %}{% set date_string = 'DATE' %}{% endif %}"
    "{% if messages[0]['role'] == 'system' %}"
    "{% set system = messages[0]['content'] | trim %}{% set messages = messages[1:] %}"
    "{% else %}{% set system = '' %}{% endif %}"
    "{{ '<|begin_of_text|><|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\n'"
    " + 'Today Date: ' + date_string + '\\n\\n' + system + '<|eot_id|>' }}"
    "{% for message in messages %}"
    "{% set role = 'ipython' if message['role'] == 'tool' else message['role'] %}"
    "{{ '<|start_header_id|>' + role + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)

LLAMA3_TOKENS = (BEGIN_OF_TEXT, START_OF_HEADER, END_OF_HEADER, END_OF_TURN)


def llama3_dated(date: str = DATE) -> Template:
    """Llama 3.1's and 3.2's template on that day, such as "26 Jul 2024".

    Llama 3.2's own Jinja writes the day on which it runs, so that no two days' renderings are equal; here it is told.
    """
    jinja = LLAMA3_DATED_JINJA.replace("DATE", date)
    return Template(partial(_llama3_dated, date=date), jinja, LLAMA3_TOKENS, (END_OF_TURN,))


LLAMA3_DATED = llama3_dated()

# --- Alpaca ---
# https://github.com/tatsu-lab/stanford_alpaca/blob/main/train.py, PROMPT_DICT

ALPACA = "Below is an instruction that describes a task"
ALPACA_WITHOUT_INPUT = f"{ALPACA}. Write a response that appropriately completes the request."
ALPACA_WITH_INPUT = (
    f"{ALPACA}, paired with an input that provides further context."
    " Write a response that appropriately completes the request."
)
ALPACA_INPUT = "\n\n### Input:\n"


def _alpaca(messages: Sequence[Message], generation_prompt: bool) -> list[Segment]:
    """Instruction and response under headings; further ones follow the end token in the same form.

    An instruction with an input is written `I\\n\\n### Input:\\nX`, and then the first sentence is the one that speaks
    of an input. A system prompt stands in place of that sentence. The headings are ordinary text, so a user can spell
    them. The answer is encoded apart from the line before it.
    """
    segments: list[Segment] = []
    opening = ""
    for number, message in enumerate(messages, 1):
        if message.role == "tool":
            raise DataError(f"message {number} is a tool's, for which Alpaca's template has no place")
        if message.role == "system":
            opening = message.content
        elif message.role == "user":
            if number == 1:
                opening = ALPACA_WITH_INPUT if ALPACA_INPUT in message.content else ALPACA_WITHOUT_INPUT
            opening += "\n\n" if opening else ""
            segments.append(Segment(f"{opening}### Instruction:\n{message.content}\n\n### Response:\n"))
            opening = ""
        elif number > 1 and messages[number - 2].role == "user":
            segments += [Segment(message.content, True), _special(EOS, True)]
        else:
            raise DataError(f"message {number}: Alpaca's template knows only answers of the assistant to the user")
    return segments


ALPACA_JINJA = (
    "{% set ns = namespace(opening='') %}"
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{% set ns.opening = message['content'] %}"
    "{% elif message['role'] == 'user' %}"
    "{% if loop.first %}{% set ns.opening ="
    " 'WITH_INPUT' if '\\n\\n### Input:\\n' in message['content'] else 'WITHOUT_INPUT' %}{% endif %}"
    "{% if ns.opening %}{{ ns.opening + '\\n\\n' }}{% endif %}"
    "{{ '### Instruction:\\n' + message['content'] + '\\n\\n### Response:\\n' }}"
    "{% set ns.opening = '' %}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Alpaca has no place for a tool') }}"
    "{% endif %}"
    "{% endfor %}"
).replace("WITH_INPUT", ALPACA_WITH_INPUT).replace("WITHOUT_INPUT", ALPACA_WITHOUT_INPUT)  # fmt: skip


# --- plain: for tokenizers with no special token but one that ends a text ---


def _plain(messages: Sequence[Message], generation_prompt: bool) -> list[Segment]:
    """Who speaks, on a line of its own, and what is said; the assistant's words end with the end token.

    The names are ordinary text, so a user can spell them. The answer is encoded apart from the line before it. Behind
    a question there is nothing but text: so a rendering that ends there without generation prompt, which nobody needs,
    is the beginning of a longer one's text, but not always of its ids.
    """
    segments = []
    for number, message in enumerate(messages):
        is_answer = message.role == "assistant"
        between = "\n\n" if number > 0 else ""
        segments += [Segment(f"{between}{message.role.capitalize()}:\n"), Segment(message.content, is_answer)]
        if is_answer:
            segments.append(_special(EOS, True))
    if generation_prompt:
        segments.append(Segment("\n\nAssistant:\n"))
    return segments


PLAIN_JINJA = (
    "{% for message in messages %}"
    "{% if not loop.first %}{{ '\\n\\n' }}{% endif %}"
    "{{ message['role'] | capitalize + ':\\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '\\n\\nAssistant:\\n' }}{% endif %}"
)


TEMPLATES = {
    "chatml": CHATML,
    "qwen2.5": _chatml_row(_qwen, QWEN_JINJA.replace("THOUGHT", ""), QWEN_SYSTEM),
    "qwen3": _chatml_row(_qwen, QWEN_JINJA.replace("THOUGHT", "")),
    "qwen3-no-thinking": _chatml_row(
        partial(_qwen, empty_thought=True), QWEN_JINJA.replace("THOUGHT", "<think>\\n\\n</think>\\n\\n")
    ),
    "smollm2": _chatml_row(_chatml, CHATML_JINJA, SMOLLM_SYSTEM),
    "llama2": Template(_llama2, LLAMA2_JINJA, ("<s>", "</s>"), ("</s>",)),
    "llama3": Template(_llama3, LLAMA3_JINJA, LLAMA3_TOKENS, (END_OF_TURN,)),
    "llama3.1": LLAMA3_DATED,
    "llama3.2": LLAMA3_DATED,
    "alpaca": Template(_alpaca, ALPACA_JINJA, (EOS,), (EOS,)),
    "plain": Template(_plain, PLAIN_JINJA, (EOS,), (EOS,)),
}
"""By name."""
