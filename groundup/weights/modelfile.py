"""Ollama's Modelfile: which GGUF file, how a conversation is written for it, and where an answer ends.

    ollama create mine --file model.Modelfile
    ollama run mine

Ollama's templates are Go's (https://pkg.go.dev/text/template) over `.Messages`, each with `.Role` and `.Content`, and
`.System`, the system prompt, which stands among the messages too. Of the Jinja inside a GGUF file Ollama knows a few
common ones and takes any other for no template at all; so each of groundup's own is written out here. What Go cannot
say is left away: white space around what people say stays (Llama's templates strip it), and Alpaca's sentence is the
one for instructions without input.
"""

import json
from collections.abc import Callable
from functools import partial

from groundup.errors import ArtefactError, EnvironmentFault
from groundup.text.records import Message
from groundup.tokenizer import chat, chat_templates, jinja_sandbox
from groundup.tokenizer.chat_templates import ALPACA_WITHOUT_INPUT, DATE, EOS, QWEN_SYSTEM, SMOLLM_SYSTEM, Template
from groundup.tokenizer.protocol import Tokenizer
from groundup.weights.portable import Portable

LARGEST_CONTEXT = 8192
"""Of `num_ctx`: Ollama takes memory for all of it when it starts."""

_ASKED, _ANSWERED, _TOLD = Message("user", "What?"), Message("assistant", "That."), Message("system", "Be brief.")
PROBES = ([_ASKED], [_ASKED, _ANSWERED, _ASKED], [_TOLD, _ASKED], [_TOLD, _ASKED, _ANSWERED, _ASKED])

NO_TEMPLATE = """\
# This model's chat template writes like none of groundup's. Ollama looks into the GGUF file for one that it knows; if
# answers make no sense, write TEMPLATE here: https://docs.ollama.com/template
"""


def text(file_name: str, source: Portable) -> str:
    """The Modelfile to put beside a GGUF file that was written from `source`."""
    parts = [f"FROM ./{file_name}\n"]
    if source.tokenizer is not None:
        parts.append(_template(source.tokenizer))
        stops = [name for name, i in source.tokenizer.special_ids.items() if i in source.tokenizer.stop_ids]
        parts.append("".join(f"PARAMETER stop {json.dumps(name, ensure_ascii=False)}\n" for name in stops))
    parts.append(f"PARAMETER num_ctx {min(source.config.context_length, LARGEST_CONTEXT)}\n")
    return "\n".join(filter(None, parts))


def _template(tokenizer: Tokenizer) -> str:
    if tokenizer.chat_template is None:
        return ""
    name = chat.template_for(tokenizer) or _alike(tokenizer)
    if name is None:
        return NO_TEMPLATE
    written = TEMPLATES[name]().replace(EOS, tokenizer.roles.get("eos", ""))
    if tokenizer.adds_bos:  # and Ollama with it
        written = written.removeprefix(tokenizer.roles.get("bos", ""))
    return f'TEMPLATE """{written}"""\n'


def _alike(tokenizer: Tokenizer) -> str | None:
    """Which of groundup's templates writes the PROBES as another program's Jinja does; None if it is none of them."""
    roles = {f"{role}_token": name for role, name in tokenizer.roles.items()}
    rows = [
        {"messages": [{"role": each.role, "content": each.content} for each in probe], "add_generation_prompt": True}
        for probe in PROBES
    ]
    try:
        found = jinja_sandbox.run(tokenizer.chat_template or "", [row | roles | {"tools": None} for row in rows], 100)
    except (ArtefactError, EnvironmentFault):
        return None
    wanted = [result.get("text") for result in found]
    eos = tokenizer.roles.get("eos", "")
    return next((name for name, form in chat_templates.TEMPLATES.items() if _written(form, eos) == wanted), None)


def _written(form: Template, eos: str) -> list[str | None]:
    return ["".join(part.text for part in form.segments(probe, True)).replace(EOS, eos) for probe in PROBES]


# --- as chat_templates.py says them, always up to where the assistant begins to speak ---


def _chatml(system: str = "", opening: str = "", tool_result: str = "") -> str:
    """system: the system prompt of conversations that have none. opening: what every answer begins with. tool_result:
    the turn of a tool, where it is not one like the others."""
    begins = '{{ if eq .Role "assistant" }}' + opening + "{{ end }}" if opening else ""
    turn = "<|im_start|>{{ .Role }}\n" + begins + "{{ .Content }}<|im_end|>\n"
    if tool_result:
        turn = '{{ if eq .Role "tool" }}' + tool_result + "{{ else }}" + turn + "{{ end }}"
    first = "{{ if not .System }}<|im_start|>system\n" + system + "<|im_end|>\n{{ end }}" if system else ""
    return first + "{{ range .Messages }}" + turn + "{{ end }}<|im_start|>assistant\n" + opening


_qwen = partial(_chatml, tool_result="<|im_start|>user\n<tool_response>\n{{ .Content }}\n</tool_response><|im_end|>\n")
"""The results of tools stand in turns of the user, here each in one of its own."""


def _llama2() -> str:
    return (
        '{{ range $i, $message := .Messages }}{{ if eq .Role "user" }}<s>[INST] '
        "{{ if and $.System (le $i 1) }}<<SYS>>\n{{ $.System }}\n<</SYS>>\n\n{{ end }}{{ .Content }} [/INST]"
        '{{ else if eq .Role "assistant" }} {{ .Content }} </s>{{ end }}{{ end }}'
    )


def _llama3() -> str:
    return (
        "<|begin_of_text|>{{ range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>\n\n"
        "{{ .Content }}<|eot_id|>{{ end }}<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def _llama3_dated() -> str:
    return (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
        "Today Date: " + DATE + "\n\n"
        '{{ .System }}<|eot_id|>{{ range .Messages }}{{ if ne .Role "system" }}<|start_header_id|>'
        '{{ if eq .Role "tool" }}ipython{{ else }}{{ .Role }}{{ end }}<|end_header_id|>\n\n'
        "{{ .Content }}<|eot_id|>{{ end }}{{ end }}<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def _alpaca() -> str:
    return (
        '{{ range $i, $message := .Messages }}{{ if eq .Role "user" }}{{ if le $i 1 }}'
        "{{ if $.System }}{{ $.System }}{{ else }}" + ALPACA_WITHOUT_INPUT + "{{ end }}\n\n{{ end }}"
        "### Instruction:\n{{ .Content }}\n\n### Response:\n"
        '{{ else if eq .Role "assistant" }}{{ .Content }}' + EOS + "{{ end }}{{ end }}"
    )


def _plain() -> str:
    return (
        "{{ range $i, $message := .Messages }}{{ if $i }}\n\n{{ end }}"
        '{{ if eq .Role "system" }}System{{ else if eq .Role "user" }}User'
        '{{ else if eq .Role "assistant" }}Assistant{{ else }}Tool{{ end }}:\n'
        '{{ .Content }}{{ if eq .Role "assistant" }}' + EOS + "{{ end }}{{ end }}\n\nAssistant:\n"
    )


TEMPLATES: dict[str, Callable[[], str]] = {
    "chatml": _chatml,
    "smollm2": partial(_chatml, SMOLLM_SYSTEM),
    "qwen2.5": partial(_qwen, QWEN_SYSTEM),
    "qwen3": _qwen,
    "qwen3-no-thinking": partial(_qwen, opening="<think>\n\n</think>\n\n"),
    "llama2": _llama2,
    "llama3": _llama3,
    "llama3.1": _llama3_dated,
    "llama3.2": _llama3_dated,
    "alpaca": _alpaca,
    "plain": _plain,
}
"""By the names of chat_templates.TEMPLATES, all of them."""
