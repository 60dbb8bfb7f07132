"""Prompts out of files: continued or answered, with all that stood beside them."""

import gzip
import io
import json

import pytest

from groundup.errors import DataError, UsageError
from groundup.inference.language_model import LanguageModel
from groundup.inference.prompt_file import read
from groundup.text.records import Message
from groundup.tokenizer import chat
from tests.inference import tiny

ASKED = {"role": "user", "content": "Who are you?"}


@pytest.fixture
def speaker() -> LanguageModel:
    return LanguageModel(tiny.model(), tiny.tokenizer(), is_chat=True)


@pytest.fixture
def file(tmp_path):
    def write(name: str, *rows: dict | str):
        path = tmp_path / name
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(path)

    return write


def asked(speaker, *messages: Message) -> tuple[int, ...]:
    return tuple(chat.render(messages, speaker.tokenizer, generation_prompt=True).ids.tolist())


def test_texts_to_continue_keep_what_stands_beside_them(speaker, file):
    path = file("prompts.jsonl", {"prompt": "Once", "id": 7}, {"prompt": "", "tags": ["a"]})
    first, second = read(path, speaker)
    assert (first.row, first.where) == ({"prompt": "Once", "id": 7}, f"{path}, row 1")
    assert first.ids == tuple(speaker.tokenizer.encode("Once").tolist())
    assert second.ids == (speaker.tokenizer.eos_id,), "an empty prompt begins a document"


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [ASKED]},
        {"messages": [ASKED, {"role": "assistant", "content": "I am Tiny."}]},
        {"conversations": [{"from": "human", "value": "Who are you?"}, {"from": "gpt", "value": "I am Tiny."}]},
        {"instruction": "Who are you?", "input": "", "output": "I am Tiny."},
        {"instruction": "Who are you?"},
        {"messages": [{"role": "system", "content": ""}, ASKED]},
    ],
)
def test_questions_are_asked_without_their_answer(speaker, file, row):
    [prompt] = read(file("questions.jsonl", row), speaker)
    assert prompt.ids == asked(speaker, Message("user", "Who are you?"))
    assert prompt.row == row


def test_lines_of_text_files_are_prompts(speaker, file):
    path = file("prompts.txt", "Once", "", "Then 你好")
    assert [(prompt.row, prompt.where) for prompt in read(path, speaker)] == [
        ({"prompt": "Once"}, f"{path}, line 1"),
        ({"prompt": "Then 你好"}, f"{path}, line 3"),
    ]


def test_packed_files(speaker, tmp_path):
    with gzip.open(tmp_path / "prompts.jsonl.gz", "wt", encoding="utf-8") as packed:
        packed.write('{"prompt": "Once"}\n')
    assert [prompt.row for prompt in read(str(tmp_path / "prompts.jsonl.gz"), speaker)] == [{"prompt": "Once"}]


@pytest.mark.parametrize(
    ("typed", "rows"),
    [
        ('{"prompt": "Once"}\n', [{"prompt": "Once"}]),
        ("Once\nThen\n", [{"prompt": "Once"}, {"prompt": "Then"}]),
    ],
)
def test_from_a_pipe(speaker, monkeypatch, typed, rows):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(typed.encode()))))
    assert [prompt.row for prompt in read("-", speaker)] == rows


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": 3}, "does not hold text"),
        ({"text": "Once", "id": 1}, "no prompt in a row with the keys text, id"),
        ({"messages": [{"role": "assistant", "content": "Hi"}]}, "nothing is asked"),
        ({"messages": [{"role": "wizard", "content": "Hi"}]}, "wizard"),
        ({"messages": [ASKED, ASKED]}, "both the user's"),
        ("{broken", "not JSON"),
    ],
)
def test_a_row_that_is_none_is_named(speaker, file, row, message):
    path = file("prompts.jsonl", {"prompt": "Once"}, row)
    with pytest.raises(DataError, match=message) as caught:
        read(path, speaker)
    assert caught.value.where == f"{path}, row 2"


def test_a_prompt_beyond_the_context_is_named_unless_it_may_be(speaker, file):
    path = file("prompts.jsonl", {"prompt": "Once"}, {"prompt": "word " * 300})
    with pytest.raises(UsageError, match="context of 96") as caught:
        read(path, speaker)
    assert caught.value.where == f"{path}, row 2"
    assert "--shift" in str(caught.value.hint)
    assert len(read(path, speaker, may_be_longer=True)[1].ids) > 96


def test_a_file_without_prompts(speaker, tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="no prompt"):
        read(str(tmp_path / "empty.jsonl"), speaker)
    with pytest.raises(DataError, match="no such file"):
        read(str(tmp_path / "nowhere.jsonl"), speaker)
