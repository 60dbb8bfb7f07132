"""`groundup generate` as a person calls it: text on stdout, everything else on stderr."""

import io
import json

import pytest

from groundup import cli
from tests.inference import tiny

BEGINNING, REST = "Once there", tiny.STORY.removeprefix("Once there")
GREEDY = ["--temperature", "0", "--max-new-tokens", "60"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny.save(tmp_path_factory.mktemp("models") / "base", stage="pretrain"))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    return str(tiny.save(tmp_path_factory.mktemp("models") / "tuned"))


@pytest.fixture
def typed(monkeypatch):
    def put(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    put("")
    return put


def test_the_completion_is_all_that_goes_to_a_pipe(base, typed, capsys):
    assert cli.main(["generate", base, BEGINNING, *GREEDY]) == 0
    assert capsys.readouterr() == (REST + "\n", "")


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_the_prompt_may_come_through_a_pipe(base, typed, capsys, arguments):
    typed(BEGINNING + "\n")
    assert cli.main(["generate", base, *arguments, *GREEDY]) == 0
    assert capsys.readouterr().out == REST + "\n"


def test_an_empty_prompt_begins_a_document(base, typed, capsys):
    assert cli.main(["generate", base, "", "--max-new-tokens", "5"]) == 0
    assert capsys.readouterr().out


def test_json_says_what_was_made_and_how(base, typed, capsys):
    assert cli.main(["generate", base, BEGINNING, "--json", "--max-new-tokens", "4", "--top-k", "3"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert set(made) == {"prompt", "completion", "finish_reason", "n_tokens", "tokens_per_second", "settings"}
    assert (made["prompt"], made["finish_reason"], made["n_tokens"]) == (BEGINNING, "length", 4)
    assert made["settings"]["top_k"] == 3

    again = ["generate", base, BEGINNING, "--max-new-tokens", "4", "--top-k", "3"]
    assert cli.main([*again, "--seed", str(made["settings"]["seed"])]) == 0
    assert capsys.readouterr().out == made["completion"] + "\n", "the seed that was drawn gives the same text"


def test_several_texts_differ(base, typed, capsys):
    arguments = ["generate", base, BEGINNING, "--n", "3", "--temperature", "3", "--seed", "1", "--max-new-tokens", "8"]
    assert cli.main([*arguments, "--json"]) == 0
    texts = [json.loads(line)["completion"] for line in capsys.readouterr().out.splitlines()]
    assert len(set(texts)) == 3
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out == "\n---\n".join(texts) + "\n"


def test_stop_trim_and_show_special(base, typed, capsys):
    assert cli.main(["generate", base, BEGINNING, *GREEDY, "--stop", "dog, and"]) == 0
    assert capsys.readouterr().out == " was a cat. It saw a \n"
    assert cli.main(["generate", base, BEGINNING, "--temperature", "0", "--max-new-tokens", "12", "--trim"]) == 0
    assert capsys.readouterr().out == " was a cat.\n"
    assert cli.main(["generate", base, BEGINNING, *GREEDY, "--show-special"]) == 0
    assert capsys.readouterr().out == REST + "<|endoftext|>\n"


def test_settings_come_from_a_file_and_flags_beat_it(base, typed, capsys, tmp_path):
    preset = tmp_path / "sampling.toml"
    preset.write_text("[sampling]\ntemperature = 0.0\nmax_new_tokens = 3\nmin_p = 0.1\nrepetition_penalty = 1.5\n")
    assert cli.main(["generate", base, BEGINNING, "--json", "--config", str(preset), "--max-new-tokens", "2"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["n_tokens"] == 2
    assert (made["settings"]["temperature"], made["settings"]["min_p"]) == (0.0, 0.1)
    assert made["settings"]["repetition_penalty"] == 1.5


def test_completing_with_a_chat_model_is_said_unless_quiet(tuned, typed, capsys):
    assert cli.main(["generate", tuned, BEGINNING, *GREEDY]) == 0
    out, err = capsys.readouterr()
    assert out == REST + "\n"
    assert "groundup chat" in err
    assert cli.main(["generate", tuned, BEGINNING, *GREEDY, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_a_full_context_is_said(base, typed, capsys):
    prompt = (tiny.STORY + " ") * 2 + "Once there was a"
    assert 80 < len(tiny.tokenizer().encode(prompt)) < 96
    assert cli.main(["generate", base, prompt, "--max-new-tokens", "500", "--temperature", "0"]) == 0
    err = capsys.readouterr().err
    assert "context of 96 tokens is full" in " ".join(err.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--top-p", "0"], "top_p"),
        (["--temperature", "-1"], "temperature"),
        (["--max-new-tokens", "0"], "max_new_tokens"),
        (["--n", "0"], "n is 0"),
        (["--temperatur", "1"], "--temperature"),
    ],
)
def test_settings_that_cannot_be_meant_end_with_2(base, typed, capsys, arguments, message):
    assert cli.main(["generate", base, "a", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_prompt_beyond_the_context_ends_with_2(base, typed, capsys):
    assert cli.main(["generate", base, "word " * 300]) == 2
    assert "context of 96" in " ".join(capsys.readouterr().err.split())


def test_no_model_ends_with_2(typed, capsys, tmp_path):
    assert cli.main(["generate"]) == 2
    assert cli.main(["generate", str(tmp_path / "nowhere"), "a"]) == 2
    assert capsys.readouterr().out == ""
