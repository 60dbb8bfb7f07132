"""Ollama's Modelfile: its Go templates say what the Jinja templates of the same names say.

Go's text/template is computed here by a small interpreter of the few actions that they use.
"""

import re

import jinja2
import pytest

from groundup.models import llama
from groundup.tokenizer.chat_templates import TEMPLATES
from groundup.tokenizer.train import train
from groundup.weights import modelfile, portable

SPECIAL = ["<|endoftext|>", *(f"<|{name}|>" for name in ("im_start", "im_end", "begin_of_text", "eot_id"))]
SPECIAL += ["<s>", "</s>", "<|start_header_id|>", "<|end_header_id|>"]
TOKENIZER = train(["a text of a few words"], 270, special_tokens=SPECIAL)
MODEL = llama.Model(llama.Config(vocab_size=270, context_length=64, n_layers=1, d_model=8, n_heads=2))

USER = {"role": "user", "content": "Who are you?"}
ANSWER = {"role": "assistant", "content": "A model."}
SYSTEM = {"role": "system", "content": "Be brief."}
TOOL = {"role": "tool", "content": "42"}
CONVERSATIONS = {
    "question": [USER],
    "second question": [USER, ANSWER, USER],
    "system": [SYSTEM, USER],
    "system, second question": [SYSTEM, USER, ANSWER, USER],
    "tool": [USER, ANSWER, TOOL],
}


def source(template=None, adds_bos=False):
    tokenizer = TOKENIZER.with_tokens(TOKENIZER.token_bytes, TOKENIZER.merges)
    tokenizer.chat_template = template and TEMPLATES[template].jinja
    tokenizer.adds_bos = adds_bos
    return portable.of(MODEL, tokenizer)


# --- Go's templates ---


def go(template, messages):
    """The template executed as Ollama does: messages, and the system prompts among them joined."""
    actions = [part.strip() for part in re.findall(r"\{\{(.*?)\}\}", template)]
    texts = re.split(r"\{\{.*?\}\}", template)
    tree, rest = _block(list(zip(texts, [*actions, "end"], strict=True)))
    assert not rest
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    root = {"Messages": messages, "System": system}
    return _run(tree, root, root, 0)


def _block(parts):
    """[text or (action, block, other block)] up to `end` or `else`, and the parts after it."""
    tree = []
    while parts:
        text, action = parts.pop(0)
        tree.append(text)
        if action == "end" or action.startswith("else"):
            if action.startswith("else if"):
                inner, parts = _block_of(action.removeprefix("else "), parts)
                return [*tree, ("else", [inner])], parts
            return ([*tree, ("else", None)], parts) if action == "else" else (tree, parts)
        if action.startswith(("if", "range")):
            branch, parts = _block_of(action, parts)
            tree.append(branch)
        else:
            tree.append((action,))
    return tree, parts


def _block_of(action, parts):
    tree, parts = _block(parts)
    other = []
    if tree and isinstance(tree[-1], tuple) and tree[-1][0] == "else":
        marker = tree.pop()
        if marker[1] is None:
            other, parts = _block(parts)
        else:
            other = marker[1]
    return (action, tree, other), parts


def _run(tree, root, dot, i):
    out = ""
    for node in tree:
        if isinstance(node, str):
            out += node
        elif len(node) == 1:
            out += str(_value(node[0], root, dot, i))
        elif node[0].startswith("range"):
            for number, message in enumerate(root["Messages"]):
                out += _run(node[1], root, {"Role": message["role"], "Content": message["content"]}, number)
        else:
            holds = _value(node[0].removeprefix("if "), root, dot, i)
            out += _run(node[1] if holds else node[2], root, dot, i)
    return out


def _value(expression, root, dot, i):
    words = re.findall(r'\(.*\)|"[^"]*"|\S+', expression)
    values = [_value(word[1:-1], root, dot, i) if word[0] == "(" else _word(word, root, dot, i) for word in words[1:]]
    if words[0] == "eq":
        return values[0] == values[1]
    if words[0] == "ne":
        return values[0] != values[1]
    if words[0] == "le":
        return values[0] <= values[1]
    if words[0] == "not":
        return not values[0]
    if words[0] == "and":
        return all(values)
    assert len(words) == 1
    return _word(words[0], root, dot, i)


def _word(word, root, dot, i):
    if word.startswith('"'):
        return word[1:-1]
    if word == "$i":
        return i
    if word.isdigit():
        return int(word)
    if word.startswith("$."):
        return root[word[2:]]
    return dot[word[1:]]


# --- tests ---


def test_each_template_of_ours_has_one():
    assert modelfile.TEMPLATES.keys() == TEMPLATES.keys()


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_go_writes_what_jinja_writes(name, conversation):
    messages = CONVERSATIONS[conversation]
    if conversation == "tool" and name in ("llama2", "alpaca"):
        pytest.skip("this template has no place for a tool")
    content = modelfile.text("model.gguf", source(name))
    template = re.search(r'TEMPLATE """(.*?)"""', content, re.DOTALL)
    assert template is not None
    environment = jinja2.Environment(trim_blocks=False, keep_trailing_newline=True)
    expected = environment.from_string(TEMPLATES[name].jinja).render(
        messages=messages, add_generation_prompt=True, eos_token="<|endoftext|>"
    )
    assert go(template[1], messages) == expected


def test_a_whole_file():
    assert modelfile.text("mine.gguf", source("chatml")) == (
        "FROM ./mine.gguf\n"
        "\n"
        'TEMPLATE """{{ range .Messages }}<|im_start|>{{ .Role }}\n'
        "{{ .Content }}<|im_end|>\n"
        '{{ end }}<|im_start|>assistant\n"""\n'
        "\n"
        'PARAMETER stop "<|endoftext|>"\n'
        'PARAMETER stop "<|im_end|>"\n'
        'PARAMETER stop "<|eot_id|>"\n'
        "\n"
        "PARAMETER num_ctx 64\n"
    )


def test_a_model_that_only_continues_text_has_no_template():
    assert "TEMPLATE" not in modelfile.text("mine.gguf", source())
    assert modelfile.text("mine.gguf", portable.of(MODEL)) == "FROM ./mine.gguf\n\nPARAMETER num_ctx 64\n"


def test_another_programs_template_is_left_to_ollama():
    other = source()
    other.tokenizer.chat_template = "{{ messages }}"
    content = modelfile.text("mine.gguf", other)
    assert "like none of groundup's" in content
    assert 'TEMPLATE "' not in content


def test_another_programs_template_that_writes_what_one_of_ours_does():
    """SmolLM2's own Jinja says it in another way."""
    other = source()
    other.tokenizer.chat_template = (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
        "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    assert modelfile.text("mine.gguf", other) == modelfile.text("mine.gguf", source("smollm2"))
    other.tokenizer.chat_template = "{{ no_such.thing }}"
    assert 'TEMPLATE "' not in modelfile.text("mine.gguf", other)


def test_bos_is_written_once():
    assert '"""<|begin_of_text|>{{ range' in modelfile.text("mine.gguf", source("llama3"))
    assert '"""{{ range' in modelfile.text("mine.gguf", source("llama3", adds_bos=True))
