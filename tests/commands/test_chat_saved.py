"""Conversations written by /save and read by /load, and those of other people."""

import json

import pytest

from groundup.commands.chat import saved
from groundup.commands.chat.saved import Saved
from groundup.data import schemas
from groundup.errors import DataError, UsageError
from groundup.inference.settings import Settings
from groundup.text.records import Message

TURNS = [Message("user", "Say a\nand 你"), Message("assistant", "a")]


def test_what_was_written_is_read(tmp_path):
    content = Saved(TURNS, "Be kind.", Settings(temperature=0.3, stop=("\n",), seed=4))
    saved.write(tmp_path / "talk.json", content, "runs/demo", replace=False)
    assert saved.read(tmp_path / "talk.json") == content


def test_it_is_a_row_to_learn_from(tmp_path):
    saved.write(tmp_path / "talk.jsonl", Saved(TURNS, "", Settings()), "runs/demo", replace=False)
    [conversation] = schemas.conversations([tmp_path / "talk.jsonl"])
    assert list(conversation.messages) == TURNS


def test_nothing_is_written_over_unless_it_may_be(tmp_path):
    path = tmp_path / "talk.json"
    path.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        saved.write(path, Saved(TURNS, settings=Settings()), "runs/demo", replace=False)
    assert path.read_text() == "mine"
    saved.write(path, Saved(TURNS, settings=Settings()), "runs/demo", replace=True)
    assert saved.read(path).turns == TURNS


def test_other_peoples_conversations(tmp_path):
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    for content in ({"messages": messages}, messages):
        (tmp_path / "talk.json").write_text(json.dumps(content, indent=2))
        assert saved.read(tmp_path / "talk.json") == Saved([Message("user", "Hi"), Message("assistant", "Hello")])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("3", "no conversation"),
        ('{"messages": []}', "no conversation"),
        ('{"messages": [{"role": "user", "content": "Hi"}]}', "the assistant last"),
        ('{"messages": [{"role": "system", "content": "Hi"}]}', "the assistant last"),
        ('{"messages": [{"role": "assistant", "content": "Hi"}]}', "the assistant last"),
        ('{"messages": [{"role": "wizard", "content": "Hi"}]}', "wizard"),
    ],
)
def test_what_is_no_conversation_is_told(tmp_path, content, message):
    (tmp_path / "talk.json").write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        saved.read(tmp_path / "talk.json")
    assert caught.value.where == str(tmp_path / "talk.json")


def test_settings_of_a_file_are_checked(tmp_path):
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    (tmp_path / "talk.json").write_text(json.dumps({"messages": messages, "settings": {"temperature": -1}}))
    with pytest.raises(UsageError, match="temperature"):
        saved.read(tmp_path / "talk.json")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="cannot read the conversation"):
        saved.read(tmp_path / "nowhere.json")
