"""`groundup chat` through a pipe and at a terminal."""

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from groundup import cli
from tests.inference import tiny


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    return str(tiny.save(tmp_path_factory.mktemp("models") / "tuned"))


@pytest.fixture
def talk(tuned, monkeypatch, capsys):
    def say(*lines: str, flags: tuple[str, ...] = ("--temperature", "0"), model: str = tuned):
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(line + "\n" for line in lines)))
        code = cli.main(["chat", model, *flags])
        out, err = capsys.readouterr()
        return code, out, " ".join(err.split())

    return say


def test_each_line_of_a_pipe_is_a_question_and_the_history_is_kept(talk):
    code, out, err = talk("Say a", "", "And then?")
    assert (code, out) == (0, "a\nb, of course.\n")
    assert "tokens/s" in err
    assert "first after" in err


def test_tell_you_a_story_is_answered_by_the_model(talk):
    assert talk("tell you a story")[1] == tiny.STORY_ANSWER + "\n"


def test_characters_of_several_bytes_pass_both_ways(talk):
    assert talk("Say 你好")[1] == "你好, 世界!\n"


def test_json_is_one_object_for_each_answer(talk):
    code, out, _ = talk("Say a", "/set max_new_tokens 1", "And then?", flags=("--json", "--temperature", "0"))
    first, second = map(json.loads, out.splitlines())
    assert code == 0
    assert (first["prompt"], first["completion"], first["finish_reason"]) == ("Say a", "a", "stop")
    assert (second["completion"], second["finish_reason"], second["n_tokens"]) == ("b", "length", 1)
    assert second["settings"]["max_new_tokens"] == 1
    assert first["seconds_to_first"] > 0


def test_quiet_leaves_only_the_answers(talk):
    assert talk("Say a", flags=("--quiet", "--temperature", "0")) == (0, "a\n", "")


@pytest.mark.parametrize("word", ["/clear", "/reset"])
def test_clear_forgets(talk, word):
    _, out, err = talk("Say a", word, "/show", "Who are you?")
    assert out == "a\nI am Tiny.\n"
    assert "0 messages, 0 of 96 tokens" in err


def test_settings_and_system_prompt_change_on_the_way(talk):
    _, _, err = talk(
        "/set temperature 0.9", "/set top-k 4", '/set stop "\\n\\n"', "/system Be kind.", "/show", "/system", "/show"
    )
    assert "temperature 0.9" in err
    assert "top_k 4" in err
    assert r'stop ["\n\n"]' in err
    assert "parameters, context of 96 tokens" in err
    assert "system prompt: Be kind." in err
    assert "system prompt: none" in err


def test_retry_answers_the_last_question_again(talk):
    _, out, err = talk("/retry", "Say a", "/retry", "And then?")
    assert "Nothing has been asked yet" in err
    assert out == "a\na\nb, of course.\n"


def test_guesses_are_told_of(talk, tuned):
    _, out, err = talk("tell you a story", flags=("--temperature", "0", "--draft", tuned))
    assert out == tiny.STORY_ANSWER + "\n"
    assert re.search(r"first after [\d.]+ s, (\d\d) of \1 guessed tokens right", err)
    _, out, _ = talk("Say a", flags=("--temperature", "0", "--lookup", "--json"))
    assert {"n_drafted", "n_accepted"} < json.loads(out).keys()


def test_a_beam_search_does_not_talk(talk):
    code, out, err = talk(flags=("--beams", "3"))
    assert (code, out) == (2, "")
    assert "cannot show it as it comes" in err
    _, out, err = talk("/set beams 3", "Say a")
    assert out == "a\n", "the setting was not taken"
    assert "cannot show it as it comes (beams); leave out beams" in err


def test_set_alone_lists_the_settings(talk):
    _, _, err = talk("/set")
    assert "temperature 0.0 divide the logits by this" in err
    assert "seed none" in err


def test_a_conversation_is_saved_and_gone_on_with(talk, tmp_path):
    file = tmp_path / "talk.json"
    code, out, err = talk("Say a", f"/save {file}", "/system Be kind.", f"/save {file}")
    assert (code, out) == (0, "a\n")
    assert "2 messages are saved in" in err
    content = json.loads(file.read_text())
    assert [turn["role"] for turn in content["messages"]] == ["system", "user", "assistant"], "its own file is renewed"

    _, out, err = talk("/load " + str(file), "/show", "/system", "And then?", "/retry")
    assert "system prompt: Be kind." in err
    assert out.splitlines() == ["b, of course.", "b, of course."]
    assert "Say a" in err, "the last question and its answer are shown"
    _, out, _ = talk("/system", "And then?", flags=("--load", str(file), "--temperature", "0"))
    assert out == "b, of course.\n"


def test_somebody_elses_file_is_not_written_over(talk, tmp_path):
    (tmp_path / "talk.json").write_text("mine")
    _, _, err = talk("Say a", f"/save {tmp_path / 'talk'}")
    assert "exists already" in err
    assert (tmp_path / "talk.json").read_text() == "mine"


def test_a_preset_is_taken_and_flags_beat_it(talk, tmp_path):
    (tmp_path / "calm.toml").write_text("temperature = 0.0\nmax_new_tokens = 1\ntop_k = 3\n")
    flags = ("--preset", str(tmp_path / "calm.toml"), "--max-new-tokens", "2", "--json")
    _, out, _ = talk("And then?", flags=flags)
    report = json.loads(out)
    assert (report["n_tokens"], report["settings"]["temperature"], report["settings"]["top_k"]) == (2, 0.0, 3)


def test_ctrl_c_in_a_pipe_ends_with_what_was_said(talk, tuned, monkeypatch):
    from groundup.inference import engine

    follow = engine.follow

    def broken_off(*arguments):
        for number, id_ in enumerate(follow(*arguments)):
            if number == 3:
                raise KeyboardInterrupt
            yield id_

    monkeypatch.setattr(engine, "follow", broken_off)
    code, out, err = talk("tell you a story", "Say a", flags=("--json", "--temperature", "0"))
    [report] = map(json.loads, out.splitlines())
    assert (code, report["finish_reason"], report["n_tokens"]) == (130, "interrupted", 3)
    assert tiny.STORY_ANSWER.startswith(report["completion"]) and report["completion"]


def test_leaving_ends_with_0(talk):
    for word in ("/quit", "/bye", "/exit"):
        assert talk("Say a", word, "Who are you?")[:2] == (0, "a\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/sytem Be kind.", "Did you mean /system?"),
        ("/save", "such as /save talk.json"),
        ("/save talk", "Nothing has been said yet"),
        ("/load nowhere.json", "cannot read the conversation"),
        ("/set temperature -1", "temperature"),
        ("/set tempo 1", "tempo"),
        ("/set temperature", "/set temperature 0.7"),
        ("/set temperature warm", "warm"),
        ("word " * 300, "context"),
    ],
)
def test_a_mistake_is_told_and_the_chat_goes_on(talk, line, message):
    code, out, err = talk(line, "Say a")
    assert (code, out) == (0, "a\n")
    assert message in err


def test_help_names_every_command(talk):
    _, _, err = talk("/help")
    for name in ("/system", "/set", "/show", "/retry", "/clear", "/save", "/load", "/help", "/bye"):
        assert name in err


def test_several_lines_are_one_question(talk):
    _, out, _ = talk("Say \\", "a", '"""', "Say", 'a"""', flags=("--json", "--temperature", "0"))
    assert [json.loads(line)["prompt"] for line in out.splitlines()] == ["Say \na", "Say\na"]


def test_the_oldest_turns_make_room(talk):
    code, _, err = talk(*["Say a"] * 8, flags=("--temperature", "0", "--max-new-tokens", "8"))
    assert code == 0
    assert "context is full" in err


def test_a_base_model_is_named_as_such(talk, tmp_path):
    code, _, err = talk("Say a", model=str(tiny.save(tmp_path / "base", stage="pretrain")))
    assert code == 0
    assert "base model" in err
    assert "groundup generate" in err


def test_no_model_ends_with_2(capsys):
    assert cli.main(["chat"]) == 2
    assert "model" in capsys.readouterr().err


class Terminal:
    """A `groundup chat` at the other end of a pseudo-terminal."""

    def __init__(self, state: Path, *arguments: str, kind: str = "dumb"):
        self.at, other = pty.openpty()
        command = [sys.executable, "-m", "groundup", "chat", *arguments]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TERM": kind, "COLUMNS": "200", "LINES": "50"}
        environment |= {"XDG_STATE_HOME": str(state)}
        # A shell lets what it starts in the background ignore Ctrl-C, and so would all that the tests start.
        self.process = subprocess.Popen(
            command, stdin=other, stdout=other, stderr=other, env=environment, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        os.close(other)
        self.seen = ""

    def wait_for(self, text: str, seconds: float = 60) -> str:
        """What was shown up to and with `text`."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < end, f"{text!r} did not come; there was {self.seen!r}"
            if select.select([self.at], [], [], 0.1)[0]:
                self.seen += os.read(self.at, 4096).decode()
        before, _, self.seen = self.seen.partition(text)
        return before + text

    def type(self, text: str) -> None:
        os.write(self.at, text.encode())

    def leave(self) -> int:
        try:
            return self.process.wait(timeout=60)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self.at)


def test_at_a_terminal_ctrl_c_stops_an_answer_and_at_the_prompt_leaves(tuned, tmp_path):
    terminal = Terminal(tmp_path, tuned, "--temperature", "0")
    terminal.wait_for("> ")
    terminal.type("Say a\n")
    terminal.wait_for("tokens/s")
    terminal.wait_for("> ")
    time.sleep(0.3)  # the prompt is shown a moment before its input is waited for
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.leave() == 130


@pytest.mark.skipif(sys.platform == "darwin", reason="libedit")
def test_at_a_terminal_what_was_typed_is_remembered(tuned, tmp_path):
    terminal = Terminal(tmp_path, tuned, "--temperature", "0", kind="xterm")
    terminal.wait_for("> ")
    terminal.type("Say a\n")
    terminal.wait_for("tokens/s")
    terminal.wait_for("> ")
    terminal.type("/sy\tBe kind.\n")
    terminal.wait_for("The system prompt is set.")
    terminal.process.kill()  # what was typed is kept whatever happens
    terminal.leave()
    history = tmp_path / "groundup" / "chat_history"
    assert history.read_text().splitlines() == ["Say a", "/system Be kind."]
    assert history.stat().st_mode & 0o077 == 0, "nobody else's business"

    terminal = Terminal(tmp_path, tuned, "--temperature", "0", kind="xterm")
    terminal.wait_for("> ")
    terminal.type("\x1b[A\x1b[A\n")
    terminal.wait_for("Say a")
    terminal.wait_for("tokens/s")
    terminal.wait_for("> ")
    terminal.type("\x04")
    assert terminal.leave() == 0

    terminal = Terminal(tmp_path / "other", tuned, "--no-history")
    terminal.wait_for("> ")
    terminal.type("/help\n")
    terminal.wait_for("/bye")
    terminal.type("/bye\n")
    assert terminal.leave() == 0
    assert not (tmp_path / "other").exists()


def test_at_a_terminal_the_end_of_input_leaves_with_0(tuned, tmp_path):
    terminal = Terminal(tmp_path, tuned)
    terminal.wait_for("/help lists commands")
    terminal.wait_for("> ")
    terminal.type("\x04")
    assert terminal.leave() == 0


def test_ctrl_c_during_an_answer_keeps_what_was_said(tuned, monkeypatch, capsys):
    from rich.console import Console

    from groundup.commands.chat import talk as talks
    from groundup.inference import language_model
    from groundup.inference.settings import Settings

    monkeypatch.setattr(talks, "is_interactive", lambda: True)
    talk = talks.Talk(language_model.Chat(language_model.load(tuned), Settings(temperature=0.0)), Console(stderr=True))
    hidden, calls = talk.chat.speaker.model.hidden, []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return hidden(*arguments, **options)

    monkeypatch.setattr(talk.chat.speaker.model, "hidden", interrupted)
    talk.hear("tell you a story")
    out, err = capsys.readouterr()
    assert out.strip()
    assert tiny.STORY_ANSWER.startswith(out.strip())
    assert "stopped" in err
    assert talk.chat.turns[-1].content == out.rstrip("\n")
